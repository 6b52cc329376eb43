"""How large a picture is to be: from the words of a `Submit` to pixels. No I/O."""

from __future__ import annotations

import math
import re

from safelight.errors import InvalidValue
from safelight.task import Kind, Submit

# Levels name the side of a square with as many pixels: 2K is 2048 x 2048, or 2720 x 1530.
_LEVEL = re.compile(r"([0-9]{1,2})K")
# Lines name the shorter side, as for video: 720p is 1280 x 720, or 720 x 1280.
_LINES = re.compile(r"([0-9]{3,4})p")

DEFAULT_IMAGE = "1K"
DEFAULT_VIDEO = "720p"


def pixels(submit: Submit, source: tuple[int, int] | None = None) -> tuple[int, int]:
    """The width and height, in pixels, that `submit` asks for.

    `source` is the size of the first source picture, which the ratio `"auto"` follows, and which
    an edit that names no size keeps. A size in pixels is met exactly; a ratio is met exactly too,
    with both sides even, as near to the resolution as that allows. Raises `InvalidValue`.
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
        across, _, down = submit.ratio.partition(":")
        if across.isdigit() and down.isdigit() and int(across) and int(down):
            return int(across), int(down)
        raise InvalidValue(f"ratio: {submit.ratio!r} is not known", parameter="ratio")
    if source:
        return source
    return (16, 9) if submit.kind is Kind.VIDEO else (1, 1)


def _by_area(across: int, down: int, area: int) -> tuple[int, int]:
    shared = math.gcd(across, down)
    across, down = across // shared, down // shared
    unit = math.isqrt(area // (across * down))
    if unit >= 2:
        unit -= unit % 2
        return across * unit, down * unit
    scale = math.sqrt(area / (across * down))  # a source of odd measures: as near as may be
    return _even(across * scale), _even(down * scale)


def _by_lines(across: int, down: int, lines: int) -> tuple[int, int]:
    if across >= down:
        return _even(lines * across / down), _even(lines)
    return _even(lines), _even(lines * down / across)


def _even(side: float) -> int:
    return max(2, round(side / 2) * 2)
