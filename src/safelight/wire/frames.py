"""How large a picture is to be, in the words that the wires share."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from safelight.errors import Malformed


class Frame(NamedTuple):
    """How large a picture is to be, in the words of `Submit`."""

    width: int | None = None
    height: int | None = None
    ratio: str | None = None
    resolution: str | None = None


_PIXELS = re.compile(r"([0-9]{1,5})\s*[xX*×]\s*([0-9]{1,5})")
_RATIO = re.compile(r"([0-9]{1,4}):([0-9]{1,4})")
_LEVEL = re.compile(r"([1-9][0-9]?)[kK]|([1-9][0-9]{2,3})[pP]")
# The named sizes of the fal and kie families, in pixels.
NAMED_SIZES: Mapping[str, tuple[int, int]] = {
    "square": (512, 512),
    "square_hd": (1024, 1024),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
    "portrait_3_2": (683, 1024),
    "landscape_3_2": (1024, 683),
    "landscape_21_9": (1024, 439),
    "portrait_21_9": (439, 1024),
}
_AS_SOURCE = frozenset({"auto", "adaptive"})


def read_frame(text: str, path: str) -> Frame:
    """The size that `text` says.

    Read are `1024x1024`, `1024*1024`, `16:9`, `2K`, `720p`, `square_hd` and `auto`.
    Raises `Malformed` where it says none.
    """
    word = text.strip()
    if found := _PIXELS.fullmatch(word):
        width, height = int(found[1]), int(found[2])
        if width and height:
            return Frame(width=width, height=height)
    elif found := _RATIO.fullmatch(word):
        if int(found[1]) and int(found[2]):
            return Frame(ratio=word)
    elif found := _LEVEL.fullmatch(word):
        return Frame(resolution=f"{found[1]}K" if found[1] else f"{found[2]}p")
    elif word.lower() in _AS_SOURCE:
        return Frame(ratio="auto")
    elif word.lower() in NAMED_SIZES:
        width, height = NAMED_SIZES[word.lower()]
        return Frame(width=width, height=height)
    raise Malformed(path, f"{text[:40]!r} is no size", "value")


def merge_frames(frames: Sequence[Frame]) -> dict[str, Any]:
    """The fields of `Submit` that `frames` say together; the first that says one wins."""
    merged: dict[str, Any] = {}
    for frame in frames:
        for name, value in frame._asdict().items():
            if value is not None:
                merged.setdefault(name, value)
    return merged
