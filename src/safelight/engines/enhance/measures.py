"""How large a picture is after an operation: from options and a size to a size. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from safelight import sizes
from safelight.task import Operation, Submit

Size = tuple[int, int]  # width and height in pixels


def size_after(operation: Operation, source: Size) -> Size:
    """The size of the picture of size `source` after `operation`, its options all set."""
    if operation.name == "super_resolution":
        times = operation.options["size"]
        return source[0] * times, source[1] * times
    if operation.name == "ai_expansion":
        return _expanded(operation.options, source)
    if "mode" in operation.options:
        return _BY_MODE[operation.options["mode"]](operation.options, source)
    return source


def enclosed(box: Size, source: Size) -> Size:
    """The largest size of the proportions of `source` that fits into `box`."""
    return _scaled(source, min(box[0] / source[0], box[1] / source[1]))


def enclosing(box: Size, source: Size) -> Size:
    """The smallest size of the proportions of `source` that covers `box`."""
    return _scaled(source, max(box[0] / source[0], box[1] / source[1]))


def window(box: Size, source: Size) -> tuple[float, float, float, float]:
    """The largest centred part of `source` with the proportions of `box`: left, top, right, bottom.

    In pixels of the source, not whole ones.
    """
    scale = max(box[0] / source[0], box[1] / source[1])
    across, down = box[0] / scale, box[1] / scale
    left, top = max(0.0, (source[0] - across) / 2), max(0.0, (source[1] - down) / 2)
    return left, top, min(left + across, source[0]), min(top + down, source[1])


def _scaled(source: Size, factor: float) -> Size:
    return max(1, round(source[0] * factor)), max(1, round(source[1] * factor))


def _box(options: Mapping[str, Any], source: Size) -> Size:
    """The size that is named. A side that is not follows from the proportions of the source."""
    width, height = options["width"], options["height"]
    if width is None and height is None:
        sides = options["long_side"], options["short_side"]
        width, height = sides if source[0] >= source[1] else sides[::-1]
    if width is None:
        return max(1, round(source[0] * height / source[1])), height
    return width, height or max(1, round(source[1] * width / source[0]))


def _expanded(options: Mapping[str, Any], source: Size) -> Size:
    """The size that is named, or the smallest one of the ratio that is, around the source."""
    width, height = options["width"], options["height"]
    if width or height:
        return width or source[0], height or source[1]
    ratio = options["aspect_ratio"]
    return max(source[0], round(source[1] * ratio)), max(source[1], round(source[0] / ratio))


def _shape(options: Mapping[str, Any], source: Size) -> Size:
    return sizes.pixels(Submit(ratio=options["ratio"], resolution=options["resolution"]), source)


_BY_MODE: Mapping[str, Callable[[Mapping[str, Any], Size], Size]] = {
    "percent": lambda options, source: _scaled(source, options["percent"]),
    "mfit": lambda options, source: enclosing(_box(options, source), source),
    "aspect": lambda options, source: enclosing(_box(options, source), source),
    "lfit": lambda options, source: enclosed(_box(options, source), source),
    "fill": _box,
    "pad": _box,
    "fixed": _box,
    "shape": _shape,
}
