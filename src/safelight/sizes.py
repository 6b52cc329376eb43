"""How large a picture is to be: from the words of a `Submit` to pixels. No I/O."""

from __future__ import annotations

import math
import re

from safelight.errors import InvalidValue
from safelight.task import Kind, Submit

# Levels name the side of a square with as many pixels: 2K is 2048 x 2048, or 2720 x 1530.
_LEVEL = re.compile(r"([1-9][0-9]?)K")
# Lines name the shorter side, as for video: 720p is 1280 x 720, or 720 x 1280.
_LINES = re.compile(r"([1-9][0-9]{2,3})p")
_RATIO = re.compile(r"0*([1-9][0-9]{0,4}):0*([1-9][0-9]{0,4})")

# The share of a level's pixels below which an exact ratio is not worth what it costs.
_NEAR = 0.9

DEFAULT_IMAGE = "1K"
DEFAULT_VIDEO, DEFAULT_VIDEO_RATIO = "720p", "16:9"


def pixels(submit: Submit, source: tuple[int, int] | None = None) -> tuple[int, int]:
    """The width and height, in pixels, that `submit` asks for.

    `source` is the size of the first source picture, which the ratio `"auto"` follows, and which
    an edit that names no size keeps. A size in pixels is met exactly. At a level (`"2K"`) a ratio
    is met exactly too, with both sides even and no more pixels than the level has, where that does
    not take much from them; at a number of lines (`"720p"`) the shorter side is met exactly, and
    the longer is the nearest even number. Raises `InvalidValue`.
    """
    if submit.width and submit.height:
        return submit.width, submit.height
    named = submit.resolution is not None or submit.ratio not in (None, "auto")
    if source and not named and submit.kind is Kind.IMAGE:
        return source
    across, down = _ratio(submit, source)
    resolution = submit.resolution or (
        DEFAULT_VIDEO if submit.kind is Kind.VIDEO else DEFAULT_IMAGE
    )
    if found := _LEVEL.fullmatch(resolution):
        return _by_area(across, down, (int(found[1]) * 1024) ** 2)
    if found := _LINES.fullmatch(resolution):
        return _by_lines(across, down, int(found[1]))
    raise InvalidValue(f"resolution: {resolution!r} is not known", parameter="resolution")


def _ratio(submit: Submit, source: tuple[int, int] | None) -> tuple[int, int]:
    if submit.ratio and submit.ratio != "auto":
        if found := _RATIO.fullmatch(submit.ratio):
            return int(found[1]), int(found[2])
        raise InvalidValue(f"ratio: {submit.ratio!r} is not known", parameter="ratio")
    if source:
        return source
    across, _, down = (DEFAULT_VIDEO_RATIO if submit.kind is Kind.VIDEO else "1:1").partition(":")
    return int(across), int(down)


def _by_area(across: int, down: int, area: int) -> tuple[int, int]:
    shared = math.gcd(across, down)
    across, down = across // shared, down // shared
    unit = math.isqrt(area // (across * down))
    unit -= unit % 2
    if across * down * unit**2 >= _NEAR * area:
        return across * unit, down * unit
    scale = math.sqrt(area / (across * down))  # a source of odd measures: as near as may be
    return _even(across * scale), _even(down * scale)


def _by_lines(across: int, down: int, lines: int) -> tuple[int, int]:
    if across >= down:
        return _even(lines * across / down), _even(lines)
    return _even(lines), _even(lines * down / across)


def _even(side: float) -> int:
    return max(2, round(side / 2) * 2)
