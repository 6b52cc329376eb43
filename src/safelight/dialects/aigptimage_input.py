"""The `input` of the jobs wire, both directions: what a create body asks for.

Nearly everything in it has several names, and which one counts depends on the model: `Habits`
knows. Reading takes all of them; writing takes the one that the model goes by. The marks of where
facts come from are those of `safelight.dialects.aigptimage`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from safelight.errors import Malformed, Unsupported
from safelight.task import Kind, Role, Source, Submit
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
    refuse_demands,
)

LONGEST_PROMPT = 20_000  # [A], and the widest of kie's models [K]
LONGEST_MODEL = 200  # ours: nobody says

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


# A video model may name its container here; there is only one, so it asks for nothing.
_FORMATS = {"jpg": "jpeg", "jpeg": "jpeg", "png": "png", "webp": "webp", "bmp": "bmp", "mp4": None}


def _read_format(value: Any, path: str) -> str | None:
    word = TEXT.read(value, path).lower()
    if word not in _FORMATS:
        raise Malformed(path, f"not one of {', '.join(_FORMATS)}")
    return _FORMATS[word]


COUNT = INTEGER._replace(read=_at_least_one)
_SEED = SEED._replace(read=_read_seed)  # [K] -1 asks for any
SECONDS = NUMBER._replace(read=_read_seconds)
FORMAT = TEXT._replace(read=_read_format)

# What every model calls by the same name, and what they call by several; `Habits` says which.
INPUT = Fields(
    Field("prompt", "prompt"),
    Field("negative", "negative_prompt"),
    Field("quality", "quality"),
    Field("seed", "seed", _SEED),
    Field("fps", "fps", COUNT),
)
OTHER_INPUT = Fields(
    Field("audio", "audio", FLAG),
    Field("audio", "sound", FLAG),
    Field("audio", "generate_audio", FLAG),
    Field("count", "max_images", COUNT),
    Field("count", "num_images", COUNT),
    Field("count", "n", COUNT),
    Field("duration", "n_frames", SECONDS),  # frames in name, seconds in fact [K]
    Field("duration", "duration", SECONDS),
    Field("format", "output_format", FORMAT),
)
# `ratio` wins over `aspect_ratio` [A].
FRAMES = ("ratio", "aspect_ratio", "size", "image_size", "resolution", "image_resolution")
PLAIN = ("input_urls", "image_urls", "image_input", "image_url", "image")
SOURCES: Mapping[str, Role] = {
    "first_frame_url": Role.FIRST_FRAME,
    **dict.fromkeys(PLAIN, Role.IMAGE),
    "reference_image_urls": Role.IMAGE,
    "last_frame_url": Role.LAST_FRAME,
    "end_image_url": Role.LAST_FRAME,
    "tail_image_url": Role.LAST_FRAME,
    "mask_url": Role.MASK,
    "video_url": Role.VIDEO,
    "video_urls": Role.VIDEO,
    "reference_video_urls": Role.VIDEO,
    "audio_url": Role.AUDIO,
    "audio_urls": Role.AUDIO,
    "reference_audio_urls": Role.AUDIO,
}
KNOWN = INPUT.names | OTHER_INPUT.names | frozenset(FRAMES) | frozenset(SOURCES)

_VIDEO_NAME = re.compile(
    r"video|(?:^|[^a-z])(?:seedance|kling|veo|sora|hailuo|happyhorse|runway|animate|omnihuman)",
    re.IGNORECASE,
)
_VIDEO_FIELDS = ("duration", "n_frames", "first_frame_url")
# Models that work on their sources alone, and those that work on sources by a prompt.
_WITHOUT_PROMPT = re.compile(r"upscale|remove-background|reframe|watermark", re.IGNORECASE)
_WITH_SOURCE = re.compile(
    r"(?:image|video)-to-(?:image|video)|(?:^|[-_/])(?:i2i|i2v|edit|remix)(?:$|[-_/])",
    re.IGNORECASE,
)


class Habits(NamedTuple):
    """By which names a model takes its input: the wire has several for nearly everything."""

    images: str = "image_urls"
    video: str = "video_url"
    sound: str = "audio_url"
    first: str = ""  # a field of its own for the first frame; without one it leads the images
    last: str = "last_frame_url"  # "": the second of the images
    ratio: str = "aspect_ratio"
    ratio_words: str = ""  # which of `RATIO_WORDS`
    resolution: str = "resolution"
    lines: str = "p"  # as in 720p
    number: str = "num_images"
    duration: str = "duration"
    audio: str = "generate_audio"
    jpeg: str = "jpeg"
    texts: tuple[str, ...] = ()  # the fields whose numbers are said as text


RATIO_WORDS: Mapping[str, Mapping[str, str]] = {
    "": {},
    "named": {
        "1:1": "square_hd",
        "3:4": "portrait_4_3",
        "9:16": "portrait_16_9",
        "4:3": "landscape_4_3",
        "16:9": "landscape_16_9",
    },
    "turned": {"9:16": "portrait", "16:9": "landscape"},
}
# A field that a model does not know is ignored without a word [live], so its name matters. Rows
# add up, the later over the earlier; all are [K], but for `seedance-2.0`, which is [A].
HABITS: tuple[tuple[re.Pattern[str], dict[str, Any]], ...] = tuple(
    (re.compile(pattern), habits)
    for pattern, habits in (
        (r"gpt-image|flux-2|wan/2-7-image|motion-control", {"images": "input_urls"}),
        (r"nano-banana-(?:2|pro)", {"images": "image_input", "jpeg": "jpg"}),
        (r"nano-banana(?:-edit)?$", {"images": "image_urls", "ratio": "image_size"}),
        (r"recraft", {"images": "image"}),
        (r"ideogram|qwen", {"images": "image_url"}),
        (r"ideogram|qwen|seedream-v4", {"ratio": "image_size", "ratio_words": "named"}),
        (r"seedream", {"images": "image_urls", "number": "max_images"}),
        (r"seedream-v4", {"resolution": "image_resolution"}),
        (r"wan/", {"number": "n"}),
        (r"imagen4(?:-ultra)?$", {"texts": ("seed", "num_images")}),
        (r"kling|hailuo|bytedance/v1|wan/2-[25]", {"images": "image_url", "last": "end_image_url"}),
        (r"hailuo", {"lines": "P"}),
        (r"kling", {"last": "tail_image_url", "audio": "sound"}),
        (r"kling-2\.6|wan/2-6", {"images": "image_urls"}),
        (r"kling-3", {"images": "image_urls", "last": ""}),
        (r"motion-control", {"images": "input_urls", "video": "video_urls"}),
        (r"sora", {"ratio_words": "turned", "duration": "n_frames", "texts": ("n_frames",)}),
        (r"seedance-1\.5", {"images": "input_urls", "last": ""}),
        (r"wan/2-7-(?!image(?:-pro)?$)|seedance-2(?!\.0)", {"first": "first_frame_url"}),
        (r"wan/2-7-(?!image(?:-pro)?$)|seedance-2(?!\.0)", {"images": "reference_image_urls"}),
        (
            r"seedance-2(?!\.0)",
            {"video": "reference_video_urls", "sound": "reference_audio_urls"},
        ),
        (r"wan/2-7|seedance-(?:2|1\.5)|happyhorse", {"texts": ()}),
    )
)


class Usual(NamedTuple):
    """The habits of a service's models that no row names, by what they make."""

    images: Habits
    videos: Habits


def habits_of(usual: Usual, kind: Kind, model: str) -> Habits:
    """The habits of `model`, which makes `kind`."""
    return _habits(usual.videos if kind is Kind.VIDEO else usual.images, model)


@lru_cache(maxsize=1024)
def _habits(usual: Habits, model: str) -> Habits:
    for pattern, habits in HABITS:
        if pattern.search(model.lower()):
            usual = usual._replace(**habits)
    return usual


# ----------------------------------------------------------------------------------------- reading


def read_body(asked: Reading, usual: Usual) -> Submit:
    """What a create body says, whether or not it suffices. Raises `Malformed`."""
    model = asked.text("model").strip()
    if len(model) > LONGEST_MODEL:
        raise Malformed("model", f"longer than {LONGEST_MODEL} characters")
    input = _input_of(asked)
    kind = kind_of(model, input)
    values = OTHER_INPUT.read(input) | INPUT.read(input) | _read_frames(input)
    sources = _read_sources(kind, input, habits_of(usual, kind, model))
    return Submit(kind=kind, model=model, sources=sources, **values)


def _read_sources(kind: Kind, input: Reading, habits: Habits) -> tuple[Source, ...]:
    given = [
        (name, role, _address(url, input.at(name)))
        for name, role in SOURCES.items()
        for url in read_texts(input, name)
    ]
    if kind is Kind.VIDEO and not input.has("first_frame_url"):
        given = _lead(given, habits)
    # One client says the same list by several names, to be understood everywhere [client].
    once = dict.fromkeys((role, url) for _, role, url in given)
    return tuple(Source(role=role, url=url) for role, url in once)


def _input_of(asked: Reading) -> Reading:
    """The input of a create body, without what is null or empty; such values ask for nothing."""
    raw = asked.value("input", ANYTHING, {})
    if isinstance(raw, str):  # in kie's newer `param`: JSON in JSON [K]
        try:
            raw = read_json(raw.encode())
        except Malformed as problem:
            raise Malformed("input", "not valid JSON", problem.kind) from None
    given = Reading(raw, "input").values
    kept = {name: value for name, value in given.items() if value not in (None, "", [])}
    # Text, for there are numbers as text among the models' own examples [K].
    return Reading(kept, "input", text=True)


def kind_of(model: str, input: Reading) -> Kind:
    """What `model` makes, by its name or by what it is asked for."""
    video = _VIDEO_NAME.search(model) or any(input.has(name) for name in _VIDEO_FIELDS)
    return Kind.VIDEO if video else Kind.IMAGE


def require(submit: Submit) -> None:
    """Raise `Malformed` where `submit` lacks what every model of its sort has to have."""
    alone = _WITHOUT_PROMPT.search(submit.model)
    if not submit.model:
        raise Malformed("model", "required", "missing")
    if not alone and not submit.prompt.strip():
        raise Malformed("input.prompt", "required", "missing")
    if len(submit.prompt) > LONGEST_PROMPT:
        raise Malformed("input.prompt", f"longer than {LONGEST_PROMPT} characters")
    if not submit.sources and (alone or _WITH_SOURCE.search(submit.model)):
        raise Malformed("input.input_urls", "required, for the model works on a source", "missing")


def read_texts(reading: Reading, name: str) -> Iterable[str]:
    """One text or a list of them; none where there is neither."""
    if isinstance(reading.values.get(name), str):
        return (reading.values[name],)
    texts: tuple[str, ...] = reading.texts(name, ())
    return texts


def _address(url: str, path: str) -> str:
    # Neither base64 nor data: URLs [A].
    if not url.lower().startswith(("http://", "https://")):
        raise Malformed(path, f"{url[:40]!r} is not a public http(s) URL")
    return url


def _lead(given: list[tuple[str, Role, str]], habits: Habits) -> list[tuple[str, Role, str]]:
    """The first picture of a video is its first frame [A]; one family's second is the last [K]."""
    roles = (Role.FIRST_FRAME,) if habits.last else (Role.FIRST_FRAME, Role.LAST_FRAME)
    plain = dict.fromkeys(url for name, _, url in given if name in PLAIN)
    frames = dict(zip(plain, roles, strict=False))
    return [
        (name, frames.get(url, role) if name in PLAIN else role, url) for name, role, url in given
    ]


def _read_frames(input: Reading) -> dict[str, Any]:
    leveled = input.has("resolution") or input.has("image_resolution")
    texts = {name: input.text(name) for name in FRAMES if input.has(name)}
    if texts.get("size") in ("standard", "high"):
        del texts["size"]  # one family's grades of quality [K]
    frames = [_read_frame(text, input.at(name), leveled) for name, text in texts.items()]
    merged = merge_frames(frames)
    if "width" in merged:  # pixels say it all
        return {"width": merged["width"], "height": merged["height"]}
    return merged


_SHAPE = re.compile(r"(square|portrait|landscape)(?:_hd|_([0-9]+)_([0-9]+))?")


def _read_frame(text: str, path: str, leveled: bool) -> Frame:
    """As `read_frame`; beside a resolution, a named size is only a ratio [K]."""
    found = _SHAPE.fullmatch(text.strip().lower())
    if not found or not (leveled or found[0] in ("portrait", "landscape")):
        return read_frame(text, path)
    if found[1] == "square":
        return Frame(ratio="1:1")
    longer, shorter = found[2] or "16", found[3] or "9"
    sides = (longer, shorter) if found[1] == "landscape" else (shorter, longer)
    return read_frame(":".join(sides), path)


# ----------------------------------------------------------------------------------------- writing


def write_body(submit: Submit, usual: Usual) -> dict[str, Any]:
    """The create body that asks for `submit`, by the names that its model goes by."""
    habits = habits_of(usual, submit.kind, submit.model)
    input = {name: value for name, value in INPUT.write(submit).items() if value != ""}
    input |= _sources(submit, habits) | _frame(submit, habits)
    if submit.format is not None:
        input["output_format"] = habits.jpeg if submit.format == "jpeg" else submit.format
    if submit.count != 1:
        input[habits.number] = submit.count
    if submit.duration is not None:
        input[habits.duration] = _whole(submit.duration)
    if submit.audio is not None:
        input[habits.audio] = submit.audio
    for name in habits.texts:
        if name in input:
            input[name] = str(input[name])
    return {"model": submit.model, "input": input}


_ONCE = (Role.FIRST_FRAME, Role.LAST_FRAME, Role.MASK)


def refuse_unsaid(submit: Submit) -> None:
    """Raise `Unsupported` where `submit` asks for what has no field on this wire."""
    refuse_demands(submit, "This wire")
    if submit.operations:
        raise Unsupported("This wire has no field for operations", parameter="operations")
    for source in submit.sources:
        if not source.url:
            raise Unsupported(
                "This wire takes sources by public address alone", parameter="sources"
            )
    roles = [source.role for source in submit.sources]
    for role in _ONCE:
        if roles.count(role) > 1:
            raise Unsupported(f"This wire takes one {role} at most", parameter="sources")


def beyond(submit: Submit) -> dict[str, Any]:
    """What a create body said in words that only a model of this wire knows."""
    body = submit.extra.get("body")
    input = body.get("input") if isinstance(body, dict) else None
    if not isinstance(input, dict):
        return {}
    return {name: value for name, value in input.items() if name not in KNOWN}


def _sources(submit: Submit, habits: Habits) -> dict[str, Any]:
    urls: dict[Role, list[str]] = {role: [] for role in Role}
    for source in submit.sources:
        if source.url:
            urls[source.role].append(source.url)
    first, last, plain = urls[Role.FIRST_FRAME], urls[Role.LAST_FRAME], urls[Role.IMAGE]
    named = {habits.last or "last_frame_url": last, "mask_url": urls[Role.MASK]}
    if first and habits.first:
        named[habits.first] = first[:1]
        plain = first[1:] + plain
    elif first and last and not habits.last:
        plain = first + last + plain
        del named["last_frame_url"]
    else:
        plain = first + plain
    named |= {
        habits.images: plain,
        habits.video: urls[Role.VIDEO],
        habits.sound: urls[Role.AUDIO],
    }
    input: dict[str, Any] = {}
    for name, given in named.items():
        if given:
            input |= _addresses(name, given)
    return input


def _addresses(name: str, urls: list[str]) -> dict[str, Any]:
    """`urls` under `name`: all of them, or the one, or, where there are more, under its plural."""
    if name.endswith(("_urls", "_input")):
        return {name: urls}
    if len(urls) == 1:
        return {name: urls[0]}
    return {"image_urls" if name == "image" else f"{name}s": urls}


def _frame(submit: Submit, habits: Habits) -> dict[str, Any]:
    if submit.width and submit.height:
        shared = math.gcd(submit.width, submit.height)
        # Few models heed pixels; the ratio keeps the rest from making a square in silence.
        return {
            "aspect_ratio": f"{submit.width // shared}:{submit.height // shared}",
            "image_size": f"{submit.width}x{submit.height}",
        }
    input = {}
    if submit.ratio is not None:
        words = RATIO_WORDS[habits.ratio_words]
        input[habits.ratio] = words.get(submit.ratio, submit.ratio)
    if submit.resolution is not None:
        input[habits.resolution] = submit.resolution.replace("p", habits.lines)
    return input


def _whole(number: float) -> float:
    return int(number) if number == int(number) else number
