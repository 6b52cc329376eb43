"""What AiToEarn's bodies ask for, in both directions, and its echoes of it.

The bodies are read as the service's own schemas read them: unknown names are dropped, and no value
is made into one of another type [source]. What `Submit` has no words for and what changes no result
is kept in its `extra` under `OWN`, so that the echo of a body is that body; what changes the result
is in its `demands`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec

from safelight.errors import Malformed, Unsupported
from safelight.sizes import pixels
from safelight.task import Kind, Role, Source, Submit
from safelight.wire import (
    ANYTHING,
    FLAG,
    INTEGER,
    NUMBER,
    SEED,
    TEXT,
    TEXTS,
    Field,
    Fields,
    Frame,
    Reading,
    Sort,
    compact_json,
    is_address,
    merge_frames,
    pairs,
    read_frame,
    read_source,
    refuse_demands,
)

# ----------------------------------------------------------------------------------------- sorts


def _plain(number: float) -> float:
    return int(number) if number == int(number) else number


def _read_either(value: Any, path: str) -> Any:
    return TEXT.read(value, path) if isinstance(value, str) else TEXTS.read(value, path)


def _read_object(value: Any, path: str) -> Any:
    return Reading(value, path).values


def _read_tools(value: Any, path: str) -> Any:
    for tool in Reading({path: value}).objects(path):
        tool.value("type", _TOOL)
    return value


AMOUNT = Sort("number", NUMBER.read, _plain, NUMBER.parse)
EITHER = Sort("string or list of strings", _read_either, lambda value: value)
OBJECT = Sort("object", _read_object, dict)
FORMAT = pairs(TEXT, ("url", "url"), ("b64_json", "b64_json"))
_TOOL = pairs(TEXT, ("web_search", "web_search"))
TOOLS = Sort("list of tools", _read_tools, list)

# ----------------------------------------------------------------------------------------- forms


class Form(NamedTuple):
    """A body that asks for a task.

    `others` are the names whose values `Submit` has in other words or not at all; `demands` those
    of them that change the result, where they ask for anything; `places` those of the sources, each
    with its role; `most` is the largest `n`.
    """

    op: str
    kind: Kind
    fields: Fields
    others: Mapping[str, Sort]
    places: Mapping[str, tuple[Role, Sort]]
    demands: frozenset[str] = frozenset()
    most: int = 1


_MODEL, _PROMPT = Field("model", "model"), Field("prompt", "prompt")

GENERATE = Form(
    "image.generate",
    Kind.IMAGE,
    Fields(_MODEL, _PROMPT, Field("quality", "quality")),
    {
        "n": INTEGER,
        "size": TEXT,
        "style": TEXT,
        "user": TEXT,
        "response_format": FORMAT,
        "source": TEXT,
    },
    {},
    demands=frozenset({"style"}),
    most=10,
)
EDIT = Form(
    "image.edit",
    Kind.IMAGE,
    Fields(_MODEL, _PROMPT),
    {"n": INTEGER, "size": TEXT, "user": TEXT, "response_format": FORMAT, "source": TEXT},
    {"image": (Role.IMAGE, EITHER), "mask": (Role.MASK, TEXT)},
)
VIDEO = Form(
    "video.create",
    Kind.VIDEO,
    Fields(_MODEL, _PROMPT, Field("duration", "duration", AMOUNT), Field("seed", "seed", SEED)),
    {
        "resolution": TEXT,
        "ratio": TEXT,
        "size": TEXT,
        "mode": TEXT,
        "watermark": FLAG,
        "metadata": OBJECT,
        "tools": TOOLS,
        "groupId": TEXT,
        "source": TEXT,
    },
    {
        "image": (Role.FIRST_FRAME, EITHER),
        "image_tail": (Role.LAST_FRAME, TEXT),
        "images": (Role.IMAGE, TEXTS),
        "videos": (Role.VIDEO, TEXTS),
        "audios": (Role.AUDIO, TEXTS),
        "video_url": (Role.VIDEO, TEXT),
    },
    demands=frozenset({"mode", "watermark", "tools", "groupId"}),
)
FORMS = {form.op: form for form in (GENERATE, EDIT, VIDEO)}
# The same bodies, answered when the picture is there.
FORMS |= {"image.generate.sync": GENERATE, "image.edit.sync": EDIT}
DEMANDS = frozenset().union(*(form.demands for form in FORMS.values()))
# What the provider behind that service makes anyway.
_NOTHING = {"style": "vivid"}
# Who of the service's own programs asks, for its accounts: never part of an echo [source].
_UNTOLD = frozenset({"source", "sources"})
# Where a source of each role goes: a name, with [] where its value is a list.
_USUAL = {
    EDIT.op: {Role.IMAGE: "image", Role.MASK: "mask"},
    VIDEO.op: {
        Role.FIRST_FRAME: "image",
        Role.LAST_FRAME: "image_tail",
        Role.IMAGE: "images[]",
        Role.VIDEO: "videos[]",
        Role.AUDIO: "audios[]",
    },
}
_SINGLE = frozenset({Role.FIRST_FRAME, Role.LAST_FRAME, Role.MASK})
# The words of `Submit` that none of the forms, or not each of them, has a field for.
_UNSAID = ("negative", "format", "quality", "seed", "duration", "fps", "audio")
OWN = "aitoearn"  # in `Submit.extra`: what was said here and the common words do not say again

_MOST_PROMPT = 4000  # in UTF-16 units, as JavaScript counts

# ------------------------------------------------------------------------------ submit, from wire


def read_submit(form: Form, body: Reading) -> Submit:
    """What `body` asks for. Raises `Malformed`."""
    values = form.fields.read(body)
    others = {name: body.value(name, sort, None) for name, sort in form.others.items()}
    said = {name: value for name, value in others.items() if value is not None}
    _check(form, body, values, said)
    values |= merge_frames([read_frame(text, name) for name, text in _sizes_in(said)])
    found = list(_read_sources(form, body))
    if form is EDIT and all(source.role is not Role.IMAGE for _, source in found):
        raise Malformed("image", "required", "missing")
    sources = tuple(source for _, source in found)
    demands = {
        name: said.pop(name)
        for name in sorted(form.demands - {"mode"})
        if _asks(said.get(name)) and said[name] != _NOTHING.get(name)
    }
    if _asks(said.get("mode")):
        sources = _arrange(said["mode"], sources)
        if _mode_of(sources) != said["mode"]:
            demands["mode"] = said.pop("mode")
    submit = Submit(
        kind=form.kind, sources=sources, count=said.get("n", 1), demands=demands, **values
    )
    words = _words(submit, form)
    own = {name: value for name, value in said.items() if words.get(name) != value}
    places = [place for place, _ in found]
    if places != _usual_places(submit, form):
        own["sources"] = places
    return msgspec.structs.replace(submit, extra={OWN: own}) if own else submit


def _asks(value: Any) -> bool:
    # An empty text, an empty list and false ask for nothing.
    return bool(value.strip() if isinstance(value, str) else value)


def _check(form: Form, body: Reading, values: Mapping[str, Any], said: Mapping[str, Any]) -> None:
    model, prompt = body.text("model"), body.text("prompt")
    if not model and form.kind is Kind.VIDEO:
        raise Malformed("model", "must not be empty")
    if not 1 <= len(prompt) <= _MOST_PROMPT or _utf16_units(prompt) > _MOST_PROMPT:
        raise Malformed("prompt", f"must be 1 to {_MOST_PROMPT} characters long")
    if not 1 <= said.get("n", 1) <= form.most:
        raise Malformed("n", f"must be at least 1 and at most {form.most}")
    if values.get("duration", 1) <= 0:
        raise Malformed("duration", "must be more than 0")


def _utf16_units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _sizes_in(said: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The texts that say how large, each with its name; the first to say a thing wins."""
    fallback = said.get("metadata", {}).get("aspectRatio")
    for name in ("resolution", "size"):
        if said.get(name, "").strip():
            yield name, said[name]
            break
    if said.get("ratio", "").strip():
        yield "ratio", said["ratio"]
    elif isinstance(fallback, str):
        yield "metadata.aspectRatio", fallback


def _read_sources(form: Form, body: Reading) -> Iterator[tuple[str, Source]]:
    """The sources in `body`, each with its place."""
    for name, (role, sort) in form.places.items():
        value = body.value(name, sort, None)
        if isinstance(value, tuple):
            # One `image` is the first frame; several are references, even in one array.
            role = _plural(role) if len(value) > 1 else role
            for index, text in enumerate(value):
                yield f"{name}[]", read_source(text, f"{name}.{index}", role)
        elif value is not None and value.strip():
            yield name, read_source(value, name, role)


def _plural(role: Role) -> Role:
    return Role.IMAGE if role is Role.FIRST_FRAME else role


# ------------------------------------------------------------------------------------------ modes

_FRAMES = (Role.FIRST_FRAME, Role.LAST_FRAME)


class Media(NamedTuple):
    """How many sources of each sort there are, and whether one is said to be the last frame."""

    pictures: int
    videos: int
    sounds: int
    last: bool

    @classmethod
    def of(cls, sources: tuple[Source, ...]) -> Media:
        roles = [source.role for source in sources]
        videos, sounds = roles.count(Role.VIDEO), roles.count(Role.AUDIO)
        return cls(len(roles) - videos - sounds, videos, sounds, Role.LAST_FRAME in roles)

    @property
    def pictures_alone(self) -> bool:
        return not self.videos and not self.sounds


class Mode(NamedTuple):
    """What a film is made from: in words, whether some sources are that, and their roles.

    The roles are those of its pictures in their order; of more pictures the last is repeated.
    """

    takes: str
    fits: Callable[[Media], bool]
    roles: tuple[Role, ...] = ()


# The modes and their typical sources [doc: use/video-generation].
MODES = {
    "text2video": Mode("no sources", lambda has: has == (0, 0, 0, False)),
    "image2video": Mode(
        "one picture, which is no last frame, and nothing else",
        lambda has: has == (1, 0, 0, False),
        (Role.FIRST_FRAME,),
    ),
    "flf2video": Mode(
        "two pictures, the first frame and the last, and nothing else",
        lambda has: has.pictures == 2 and has.pictures_alone,
        _FRAMES,
    ),
    "lf2video": Mode(
        "one picture, the last frame, and nothing else",
        lambda has: has.pictures == 1 and has.pictures_alone,
        (Role.LAST_FRAME,),
    ),
    "multi-image2video": Mode(
        "two pictures or more, none of them a last frame, and nothing else",
        lambda has: has.pictures >= 2 and has.pictures_alone and not has.last,
        (Role.IMAGE,),
    ),
    "multi-ref": Mode(
        "pictures, videos or sounds, and no last frame",
        lambda has: has.pictures + has.videos + has.sounds > 0 and not has.last,
        (Role.IMAGE,),
    ),
    "video2video": Mode(
        "a video, and no last frame",
        lambda has: has.videos > 0 and not has.last,
        (Role.IMAGE,),
    ),
}


def _arrange(name: str, sources: tuple[Source, ...]) -> tuple[Source, ...]:
    """`sources` in the roles that the mode gives them. Raises `Unsupported`."""
    mode = MODES.get(name)
    if mode is None:
        sentence = f"mode: {name[:40]!r} is not one of {', '.join(MODES)}"
        raise Unsupported(sentence, parameter="mode")
    if not mode.fits(Media.of(sources)):
        raise Unsupported(f"mode: {name} takes {mode.takes}", parameter="mode")
    roles = [source.role for source in sources]
    pictures = [at for at, role in enumerate(roles) if role not in (Role.VIDEO, Role.AUDIO)]
    pictures.sort(key=lambda at: roles[at] is Role.LAST_FRAME)
    for number, at in enumerate(pictures):
        roles[at] = mode.roles[min(number, len(mode.roles) - 1)]
    return tuple(
        msgspec.structs.replace(source, role=role)
        for source, role in zip(sources, roles, strict=True)
    )


def _mode_of(sources: tuple[Source, ...]) -> str | None:
    """The mode that these sources say by themselves; None where none does."""
    has, roles = Media.of(sources), {source.role for source in sources}
    if not has.pictures_alone:
        return "video2video" if not has.pictures and not has.sounds else "multi-ref"
    if len(sources) < 2:
        return "lf2video" if has.last else ("image2video" if sources else "text2video")
    if not has.last:
        return "multi-image2video"
    return "flf2video" if len(sources) == 2 and roles == {*_FRAMES} else None


# -------------------------------------------------------------------------------- submit, to wire


def form_of(submit: Submit) -> Form:
    """The form that asks for `submit`."""
    if submit.kind is Kind.VIDEO:
        return VIDEO
    return EDIT if submit.sources else GENERATE


def _own(submit: Submit) -> dict[str, Any]:
    own = submit.extra.get(OWN)
    return own if isinstance(own, dict) else {}


def _words(submit: Submit, form: Form) -> dict[str, Any]:
    """The common words of `submit` (all but its sources) by the names of `form`."""
    words = form.fields.write(submit)
    if submit.count != 1:
        words["n"] = submit.count
    sized = f"{submit.width}x{submit.height}" if submit.width and submit.height else None
    if form.kind is Kind.IMAGE:
        frame = {"size": sized or submit.ratio or submit.resolution}
    else:
        frame = {"resolution": submit.resolution, "ratio": submit.ratio, "size": sized}
    return words | {name: value for name, value in frame.items() if value is not None}


def _usual_places(submit: Submit, form: Form) -> list[str]:
    usual = _USUAL.get(form.op, {})
    places = [usual.get(source.role, "image") for source in submit.sources]
    if form is EDIT and places.count("image") > 1:
        return ["image[]" if place == "image" else place for place in places]
    return places


def _places(submit: Submit, form: Form) -> list[str]:
    """Where each source goes: where it was, if it came on this wire."""
    kept = _own(submit).get("sources")
    if isinstance(kept, list) and len(kept) == len(submit.sources):
        places = [str(place) for place in kept]
        if form.places.keys() >= {place.removesuffix("[]") for place in places}:
            return places
    return _usual_places(submit, form)


def _write_sources(submit: Submit, form: Form) -> dict[str, Any]:
    """The sources by the names of `form`: as data URIs where their bytes are here."""
    written: dict[str, Any] = {}
    if not submit.sources:
        return written
    for place, source in zip(_places(submit, form), submit.sources, strict=True):
        text = _source_text(source)
        if text is not None:
            name = place.removesuffix("[]")
            written[name] = text if name == place else [*written.get(name, ()), text]
    return written


def _source_text(source: Source) -> str | None:
    if source.data is None:
        return source.url
    encoded = base64.b64encode(source.data).decode()
    return f"data:{source.media_type or _sniff(source)};base64,{encoded}"


_SIGNATURES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"RIFF": "image/webp"}
_LIKELY = {Role.VIDEO: "video/mp4", Role.AUDIO: "audio/mpeg"}


def _sniff(source: Source) -> str:
    """The media type of bytes that came without one; a data URI cannot do without."""
    for signature, media_type in _SIGNATURES.items():
        if source.role not in _LIKELY and (source.data or b"").startswith(signature):
            return media_type
    return _LIKELY.get(source.role, "image/png")


def write_submit(submit: Submit, form: Form) -> dict[str, Any]:
    """The body that asks for `submit`. Raises `Unsupported` for what has no field in it."""
    _refuse_unsaid(submit, form)
    own = {name: value for name, value in _own(submit).items() if name != "sources"}
    own |= submit.demands
    words = _words(submit, form)
    named = submit.resolution is not None or submit.ratio not in (None, "auto")
    if form.kind is Kind.IMAGE and named:
        # The catalogue lists sizes in pixels, and no other form of them [doc].
        words["size"] = "{}x{}".format(*pixels(submit))
    return own | words | _write_sources(submit, form)


def _refuse_unsaid(submit: Submit, form: Form) -> None:
    refuse_demands(submit, "AiToEarn", form.demands)
    says = {field.ours for field in form.fields.fields}
    unsaid = [name for name in _UNSAID if name not in says and getattr(submit, name) is not None]
    unsaid += ["operations"] if submit.operations else []
    unsaid += ["count"] if submit.count != 1 and form.most == 1 else []
    unsaid += sorted(_own(submit).keys() - form.others.keys() - {"sources"})
    for name in unsaid:
        raise Unsupported(f"AiToEarn has no field for {name} in {form.op}", parameter=name)
    roles: list[Role] = [source.role for source in submit.sources]
    for source in submit.sources:
        several = source.role in _SINGLE and roles.count(source.role) > 1
        if several or source.role not in _USUAL[form.op]:
            raise Unsupported(f"AiToEarn takes no such {source.role}", parameter="sources")
        if source.data is None and source.url is None:
            raise Unsupported("AiToEarn takes addresses and data alone", parameter="sources")


# ----------------------------------------------------------------------------------------- names


def parameter_name(form: Form, name: str, submit: Submit) -> str:
    """What the body of that form calls a parameter of ours."""
    what, _, number = name.partition(".")
    if what == "sources":
        return _source_name(_places(submit, form), number)
    if what in Frame._fields:
        return _frame_name(form, what, submit)
    if name == "extra":
        return longest(_own(submit))
    return "n" if name == "count" else name


def longest(own: Mapping[str, Any]) -> str:
    """The name of what is longest among what was kept, or our own for all of it."""
    said = own.keys() - {"sources"}
    return max(sorted(said), key=lambda name: len(compact_json(own[name])), default="extra")


def _source_name(places: list[str], number: str) -> str:
    index = int(number) if number.isdecimal() else 0
    if index >= len(places):
        return "image"
    place = places[index]
    bare = place.removesuffix("[]")
    # Where all sources are meant the field of the first one is named, and not its place there.
    return f"{bare}.{places[:index].count(place)}" if bare != place and number else bare


def _frame_name(form: Form, name: str, submit: Submit) -> str:
    if form.kind is Kind.IMAGE:
        return "size"
    if getattr(submit, name) is None and submit.ratio is not None:
        name = "ratio"  # all that was said of the size
    for field, text in _sizes_in(_own(submit)):
        with suppress(Malformed):
            if getattr(read_frame(text, field), name) == getattr(submit, name):
                return field
    return name if name in ("ratio", "resolution") else "size"


# ------------------------------------------------------------------------------------------ echo

INPUT = Fields(
    Field("prompt", "prompt"),
    Field("duration", "duration", AMOUNT),
    Field("ratio", "aspectRatio"),
    Field("resolution", "resolution"),
)
_INPUT_PLACES = {
    **{name: VIDEO.places[name] for name in ("image", "images", "videos", "audios")},
    "videoUrl": VIDEO.places["video_url"],
}
REQUEST = Fields(*GENERATE.fields.fields, Field("count", "n", INTEGER))


def write_request_echo(submit: Submit) -> dict[str, Any]:
    """The body that was accepted: as it was said here, or in our words for it."""
    form = form_of(submit)
    data = _words(submit, form)
    for name, value in (_own(submit) | submit.demands).items():
        if name in form.others and name not in _UNTOLD:
            data[name] = value
    return data | _write_sources(submit, form)


def write_input_echo(submit: Submit) -> dict[str, Any]:
    """What a film was asked with, in the names of the answer, which are not the body's."""
    data = INPUT.write(submit)
    if submit.width and submit.height:
        data["resolution"] = f"{submit.width}x{submit.height}"
    sources = _write_sources(submit, VIDEO)
    if "image_tail" in sources:  # the echo has no name of its own for it
        tail, first = sources.pop("image_tail"), sources.get("image", [])
        sources["image"] = [*(first if isinstance(first, list) else [first]), tail]
    if "video_url" in sources:
        data["videoUrl"] = sources.pop("video_url")
    if isinstance(group := submit.demands.get("groupId"), str):
        data["groupId"] = group
    return data | sources


def read_request_echo(asked: Reading) -> Submit:
    """What a picture was asked with, as far as `asked` tells."""
    return Submit(kind=Kind.IMAGE, **_read_echo(REQUEST, asked, ("size",), EDIT.places))


def read_input_echo(asked: Reading) -> Submit:
    """What a film was asked with, as far as `asked` tells."""
    values = _read_echo(INPUT, asked, ("resolution", "aspectRatio"), _INPUT_PLACES)
    return Submit(kind=Kind.VIDEO, **values)


def _read_echo(
    fields: Fields,
    asked: Reading,
    sizes: tuple[str, ...],
    places: Mapping[str, tuple[Role, Sort]],
) -> dict[str, Any]:
    """What was asked, as far as it can be read: no result is lost to a strange echo of it."""
    values: dict[str, Any] = {}
    for ours, theirs, sort in fields.fields:
        with suppress(Malformed):
            value = None if theirs in sizes else asked.value(theirs, sort, None)
            values |= {} if value is None else {ours: value}
    for name in sizes:
        with suppress(Malformed):
            frame = merge_frames([read_frame(asked.text(name), name)])
            values = frame | values
    values["sources"] = tuple(_read_links(asked, places))
    return values


def _read_links(asked: Reading, places: Mapping[str, tuple[Role, Sort]]) -> Iterator[Source]:
    """The sources that have an address; a data URI is not taken back out of an echo."""
    for name, (role, _) in places.items():
        value = asked.value(name, ANYTHING, None)
        texts = value if isinstance(value, list) else [value]
        for text in texts:
            if isinstance(text, str) and is_address(text):
                yield Source(role=role if len(texts) == 1 else _plural(role), url=text)
