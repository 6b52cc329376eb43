"""The `input` of the jobs wire, as the server reads it: what a create body asks for.

Nearly everything in it has several names, and which one counts depends on the model, which
`safelight.dialects.aigptimage.models` knows. Reading takes all of them; writing
(`safelight.dialects.aigptimage.bodies`) takes the one that the model goes by. What is none of our
words is demanded by its name where it names media, or changes what is seen, and kept else. The
marks of where facts come from are those of `safelight.dialects.aigptimage.dialect`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from safelight.dialects.aigptimage.models import (
    PLAIN,
    SOURCES,
    Model,
    Usual,
    kind_said,
    model_of,
)
from safelight.errors import Malformed, UnknownModel
from safelight.task import Kind, Operation, Role, Source, Submit
from safelight.wire import (
    ANYTHING,
    FLAG,
    INTEGER,
    NUMBER,
    SEED,
    TEXT,
    Field,
    Fields,
    Frame,
    Reading,
    merge_frames,
    read_frame,
    read_json,
)

LONGEST_PROMPT = 20_000  # [A], and the widest of kie's models [K]
LONGEST_MODEL = 200  # ours: nobody says
LONGEST_NAME = 100  # of a field; ours, for faults repeat it

# ------------------------------------------------------------------------------------------ tables


def _at_least_one(value: Any, path: str) -> int:
    count: int = INTEGER.read(value, path)
    if count < 1:
        raise Malformed(path, "must be 1 or more")
    return count


def _read_seed(value: Any, path: str) -> int | None:
    seed: int | None = SEED.read(value, path)
    if seed is not None and seed < 0:
        raise Malformed(path, "must be -1 (any) or more")
    return seed


def _read_seconds(value: Any, path: str) -> float:
    seconds: float = NUMBER.read(value, path)
    if seconds <= 0:
        raise Malformed(path, "must be more than 0 seconds")
    return seconds


# A video model may name its container here; there is one, so it asks for nothing; see `_demanded`
# for the other.
_FORMATS: Mapping[str, str | None] = {
    "jpg": "jpeg",
    **{word: word for word in ("jpeg", "png", "webp", "bmp")},
    **dict.fromkeys(("mp4", "mov")),
}


def _read_format(value: Any, path: str) -> str | None:
    word = TEXT.read(value, path).lower()
    if word not in _FORMATS:
        raise Malformed(path, f"not one of {', '.join(_FORMATS)}")
    return _FORMATS[word]


def _read_factor(value: Any, path: str) -> float:
    factor: float = NUMBER.read(value, path)
    if factor <= 0:
        raise Malformed(path, "must be more than 0")
    return factor


def _read_quality(value: Any, path: str) -> str | None:
    text: str = TEXT.read(value, path)
    return None if _LEVEL.fullmatch(text) else text  # of some films a resolution [K]


def _read_grade(value: Any, path: str) -> str | None:
    text: str = TEXT.read(value, path)
    return text if text in _GRADES else None


COUNT = INTEGER._replace(read=_at_least_one)
_SEED = SEED._replace(read=_read_seed)  # [K] -1 asks for any
SECONDS = NUMBER._replace(read=_read_seconds)
FORMAT = TEXT._replace(read=_read_format)
_FACTOR = NUMBER._replace(read=_read_factor)
_QUALITY = TEXT._replace(read=_read_quality)
_GRADES = ("standard", "high")
_GRADE = TEXT._replace(read=_read_grade)  # what one family calls a size [K]
_LEVEL = re.compile(r"[1-9][0-9]?[kK]|[1-9][0-9]{2,3}[pP]")

# What every model calls by the same name, and what they call by several; `Model` says which. Of
# several that are said, the last counts.
INPUT = Fields(
    Field("prompt", "prompt"),
    Field("negative", "negative_prompt"),
    Field("seed", "seed", _SEED),
)
OTHER_INPUT = Fields(
    Field("quality", "size", _GRADE),
    Field("quality", "quality", _QUALITY),
    Field("fps", "frames_per_second", COUNT),
    Field("fps", "fps", COUNT),
    Field("audio", "audio", FLAG),
    Field("audio", "sound", FLAG),
    Field("audio", "generate_audio_switch", FLAG),
    Field("audio", "generate_audio", FLAG),
    Field("count", "max_images", COUNT),
    Field("count", "num_images", COUNT),
    Field("count", "n", COUNT),
    Field("duration", "n_frames", SECONDS),  # frames in name, seconds in fact [K]
    Field("duration", "duration", SECONDS),
    Field("format", "output_format", FORMAT),
)
# `ratio` wins over `aspect_ratio` [A].
FRAMES = (
    *("ratio", "aspect_ratio", "size", "image_size", "resolution", "image_resolution"),
    "output_resolution",
)
FACTORS = ("upscale_factor", "scale_factor", "scale")  # the first is [K], the others are guesses
KNOWN = INPUT.names | OTHER_INPUT.names | frozenset(FRAMES) | frozenset(SOURCES)

_VIDEO_FIELDS = (
    *("duration", "n_frames"),
    *(name for name, role in SOURCES.items() if role is Role.FIRST_FRAME),
)

_NO = frozenset({"false", "no", "off", "0"})  # and empty texts say nothing at all
# What is seen in a result and none of our words; at these values it asks for nothing [K].
DEFAULTS: Mapping[str, Any] = {
    "watermark": False,
    "return_last_frame": False,
    "multi_shots": False,
    "prefer_multi_shots": False,
    "generate_multi_clip_switch": False,
    "enable_sequential": False,
    "num_frames": 80,
    "audio_setting": "auto",
}
_MEDIA = frozenset(
    {
        *("url", "image", "video", "audio", "frame", "clip", "mask", "reference", "voice"),
        *("picture", "photo", "film", "file", "media"),
    }
)
# How a picture is to be, which is no picture.
_MEASURES = frozenset(
    {
        *("size", "resolution", "ratio", "format", "quality", "style", "mode", "type", "setting"),
        *("strength", "count", "number", "length", "duration", "weight"),
    }
)
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_NUMBER = re.compile(r"[+-]?[0-9]{1,20}(?:\.[0-9]{0,20})?")
_BETWEEN = re.compile(r"[0-9]{1,2}\.[0-9]{1,2}[kK]")  # a size that is none of ours, as 1.5K

# ----------------------------------------------------------------------------------------- reading


class Asked(NamedTuple):
    """A create body, opened: the name of a model, what it is, and what it is asked for."""

    name: str
    model: Model
    input: Reading


def open_body(asked: Reading, usual: Usual) -> Asked:
    """What a create body is about. Raises `Malformed`."""
    name = asked.text("model").strip()
    if len(name) > LONGEST_MODEL:
        raise Malformed("model", f"longer than {LONGEST_MODEL} characters")
    values = values_of(asked)
    model = model_of(usual, name, kind_of(name, values))
    kept = {
        name: value
        for name, value in values.items()
        if not (name in model.nothing and _alike(value, model.nothing[name]))
    }
    # Text, for there are numbers as text among the models' own examples [K].
    return Asked(name, model, Reading(kept, "input", text=True))


def read_body(asked: Asked) -> Submit:
    """What a create body says, whether or not it suffices. Raises `Malformed`."""
    name, model, input = asked
    values = OTHER_INPUT.read(input) | INPUT.read(input) | _read_frames(asked)
    return Submit(
        kind=model.kind or Kind.IMAGE,
        model=name,
        sources=tuple(source for _, source in locate_sources(asked)),
        operations=_read_operations(asked),
        named=model.named,
        demands={input.at(name): value for name, value in _demanded(asked)},
        **values,
    )


def kind_of(name: str, values: Mapping[str, Any]) -> Kind:
    """What the model of that name makes, by its name or by what it is asked for."""
    video = any(values.get(field) is not None for field in _VIDEO_FIELDS)
    return kind_said(name) or (Kind.VIDEO if video else Kind.IMAGE)


def values_of(asked: Reading) -> dict[str, Any]:
    """The input of a create body, without what is empty: such values ask for nothing."""
    raw = asked.value("input", ANYTHING, {})
    if isinstance(raw, str):  # in kie's newer `param`: JSON in JSON [K]
        try:
            raw = read_json(raw.encode())
        except Malformed as problem:
            raise Malformed("input", "not valid JSON", problem.kind) from None
    given = Reading(raw, "input").values
    if any(len(name) > LONGEST_NAME for name in given):
        raise Malformed("input", f"has a name longer than {LONGEST_NAME} characters")
    # Of a list that wants filling in, a page's form sends one that is empty [K].
    return {name: value for name, value in given.items() if value not in (None, "", [], [""], {})}


def _alike(value: Any, default: Any) -> bool:
    """Whether `value` says the default; numbers and flags come as text, too."""
    text = str(value).strip().lower()
    return text in _NO if default is False else text in (str(default), f"{default}.0")


def locate_sources(asked: Asked) -> list[tuple[str, Source]]:
    """The sources, each with the path of its field. Raises `Malformed`."""
    input = asked.input
    given = [
        (name, role, path, _address(url, path))
        for name, role in SOURCES.items()
        if name not in asked.model.demands
        for path, url in _read_urls(input, name)
    ]
    roles = {role for _, role, _, _ in given}
    if asked.model.kind is Kind.VIDEO and Role.FIRST_FRAME not in roles:
        given = _lead(given, asked.model)
    # One client says the same list by several names, to be understood everywhere [client].
    own, once = names_of(asked.model), dict[tuple[Role, str], str]()
    located = []
    for name, role, path, url in given:
        first = once.setdefault((role, url), name)
        if first == name or (first in own and name in own):
            located.append((path, Source(role=role, url=url)))
    return located


_Given = list[tuple[str, Role, str, str]]


def _lead(given: _Given, model: Model) -> _Given:
    """The first picture of a video is its first frame [A]; one family's second is the last [K]."""
    roles = (Role.FIRST_FRAME, Role.LAST_FRAME) if model.pair else (Role.FIRST_FRAME,)
    plain = dict.fromkeys(url for name, _, _, url in given if name in PLAIN)
    frames = dict(zip(plain, roles, strict=False))
    return [
        (name, frames.get(url, role) if name in PLAIN else role, path, url)
        for name, role, path, url in given
    ]


def _read_urls(input: Reading, name: str) -> Iterator[tuple[str, str]]:
    """One text or a list of them, each with its path; none where there is neither."""
    value = input.values.get(name)
    if isinstance(value, str):
        yield input.at(name), value
    else:
        for index, url in enumerate(input.texts(name, ())):
            yield f"{input.at(name)}.{index}", url


def _address(url: str, path: str) -> str:
    # Neither base64 nor data: URLs [A].
    if not url.lower().startswith(("http://", "https://")):
        raise Malformed(path, f"{url[:40]!r} is not a public http(s) URL")
    return url


def read_texts(reading: Reading, name: str) -> Iterable[str]:
    """One text or a list of them; none where there is neither."""
    return (text for _, text in _read_urls(reading, name))


# -- sizes


def _read_frames(asked: Asked) -> dict[str, Any]:
    merged = merge_frames([frame for _, frame in frames_said(asked)])
    if "width" in merged:  # pixels say it all
        return {"width": merged["width"], "height": merged["height"]}
    return merged


def frames_said(asked: Asked) -> Iterator[tuple[str, Frame]]:
    """What is said of the size, each with its field, in the order in which it counts."""
    input = asked.input
    leveled = input.has("resolution") or input.has("image_resolution")
    for name in dict.fromkeys((*FRAMES, "quality", asked.model.resolution)):
        if not input.has(name):
            continue
        text = input.text(name).strip()
        if name == "output_resolution" and text.isdecimal():
            text += "p"
        if _BETWEEN.fullmatch(text) or (name == "size" and text in _GRADES):
            continue
        # Some models' quality, or mode, is a resolution [K].
        if name in FRAMES or _LEVEL.fullmatch(text):
            yield name, _read_frame(text, input.at(name), leveled)


_SHAPE = re.compile(r"(square|portrait|landscape)(?:_hd|_([0-9]+)_([0-9]+))?")


def _read_frame(text: str, path: str, leveled: bool) -> Frame:
    """As `read_frame`; beside a resolution, a named size is only a ratio [K]."""
    found = _SHAPE.fullmatch(text.lower())
    if not found or not (leveled or found[0] in ("portrait", "landscape")):
        return read_frame(text, path)
    if found[1] == "square":
        return Frame(ratio="1:1")
    longer, shorter = found[2] or "16", found[3] or "9"
    sides = (longer, shorter) if found[1] == "landscape" else (shorter, longer)
    return read_frame(":".join(sides), path)


# -- what is done to a picture


def _read_operations(asked: Asked) -> tuple[Operation, ...]:
    operation = asked.model.operation
    if operation is None:
        return ()
    factor = factor_said(asked)
    if factor is None or operation.name != "super_resolution":
        return (operation,)
    number = asked.input.value(factor, _FACTOR)
    if number in (2, 3, 4):
        return (_with(operation, size=int(number)),)
    # To any size, and to the same.
    return (Operation(name="advanced_super_resolution", options={"percent": float(number)}),)


def factor_said(asked: Asked) -> str | None:
    """The field that says how many times as long the sides become, if one does."""
    return next((name for name in FACTORS if asked.input.has(name)), None)


def _with(operation: Operation, **options: Any) -> Operation:
    return msgspec.structs.replace(operation, options={**operation.options, **options})


# -- what is none of our words


def _demanded(asked: Asked) -> Iterator[tuple[str, Any]]:
    """What is asked for in words of this wire alone, and changes the result."""
    for name, value in asked.input.values.items():
        if _changes(name, value, asked.model):
            yield name, value


def _changes(name: str, value: Any, model: Model) -> bool:
    if name in model.demands:
        return True
    text = value.strip() if isinstance(value, str) else ""
    if name in KNOWN:
        return bool(_BETWEEN.fullmatch(text)) or (name == "output_format" and text == "mov")
    if name in DEFAULTS:
        return not _alike(value, DEFAULTS[name])
    if _LEVEL.fullmatch(text) and name == "mode":
        return model.resolution != name
    return isinstance(value, list | dict) or names_media(name, text) or _names_id(name)


def names_media(name: str, text: str) -> bool:
    """Whether a field of that name, whose value is that text, names media: by either of the two."""
    if text.lower().startswith(("http://", "https://", "data:")):
        return True
    if not text or _NUMBER.fullmatch(text) or text.lower() in ("true", "false"):
        return False
    words = [word.lower().removesuffix("s") for word in _WORD.findall(name)]
    if not words or words[-1] in _MEASURES:
        return False
    return any(word in _MEDIA or word.endswith("url") for word in words)


def _names_id(name: str) -> bool:
    """Whether a field names what its service has by an id: an earlier task, a voice, a template."""
    words = _WORD.findall(name)
    return bool(words) and words[-1].lower() in ("id", "ids")


# -- what has to be there


def refuse_foreign(asked: Asked) -> None:
    """Raise `UnknownModel` where what is asked for is neither a picture nor a film."""
    if asked.model.foreign:
        text = f"{asked.name[:100]!r} makes neither pictures nor films"
        raise UnknownModel(text, parameter="model")


def require(asked: Asked, submit: Submit) -> None:
    """Raise `Malformed` where `submit` lacks what its model has to have."""
    name, model, _ = asked
    if not name:
        raise Malformed("model", "required", "missing")
    said = bool(submit.prompt.strip())
    missing = next(_missing(asked, submit), None)
    # The prompt first, as all pages do.
    if model.prompt and not said:
        raise Malformed("input.prompt", "required", "missing")
    if len(submit.prompt) > LONGEST_PROMPT:
        raise Malformed("input.prompt", f"longer than {LONGEST_PROMPT} characters")
    if missing is not None:
        raise Malformed(f"input.{missing}", "required", "missing")
    if not (said or submit.sources or _names_some(submit)):
        raise Malformed("input.prompt", "required, where there is no source", "missing")


def _names_some(submit: Submit) -> bool:
    """Whether something to work on is named in words of this wire alone: media, or a task."""
    return any(
        isinstance(value, list | dict | str) or _names_id(name)
        for name, value in submit.demands.items()
    )


def _missing(asked: Asked, submit: Submit) -> Iterator[str]:
    """The fields of media that its model needs and that nothing was said for."""
    _, model, input = asked
    given = {group for name in input.values for group in _groups(name)}
    if model.needs is None:
        if not model.sourced:
            return
        first = names_of(model)[0]
        # Whoever's model nobody documents works on whatever it is given; so does any on what has
        # no word of ours.
        there = given & _groups(first) if model.takes else submit.sources
        if not there and not _names_some(submit):
            yield first
        return
    yield from (name for name in model.needs if _groups(name).isdisjoint(given))


def _groups(name: str) -> frozenset[str]:
    """What is as good as a field of that name: one relative's list is another's."""
    role = SOURCES.get(name)
    if name in PLAIN:
        return frozenset({"plain"})
    if role is Role.IMAGE:
        return frozenset({"reference"})
    if role is Role.FIRST_FRAME:
        return frozenset({role, "plain"})
    return frozenset({role or name})


def names_of(model: Model) -> tuple[str, ...]:
    """The fields of sources that `model` takes."""
    return tuple(field.removesuffix("[]") for field in model.takes or (model.images,))
