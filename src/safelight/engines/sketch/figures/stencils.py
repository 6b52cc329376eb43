"""What figures are cut out with: outlines on a canvas, and layers and parts of one colour."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw

from safelight.engines.sketch.layers import Layer, Size, drawn, flat, polygon, tint
from safelight.engines.sketch.palettes import Colour

Pen: TypeAlias = ImageDraw.ImageDraw
Points: TypeAlias = Sequence[tuple[float, float]]


def placed(outline: Points, at: tuple[float, float], side: float, turned: int = 1) -> Points:
    """An outline in shares of `side` as pixels around `at`; with `turned` = -1, mirrored."""
    return [(at[0] + turned * px * side, at[1] + py * side) for px, py in outline]


def polygons(pen: Pen, shapes: Iterable[Points], scale: float) -> None:
    """Draw each of `shapes` in white."""
    for shape in shapes:
        polygon(pen, shape, scale)


def cut_out(size: Size, shade: Colour, depth: float, draw: Callable[[Pen, float], None]) -> Layer:
    """A layer of the canvas's size and of one colour, where `draw` draws."""
    mask = drawn(size, draw)
    return Layer(flat(mask, shade), mask, depth=depth)


def band(
    size: Size, top: float, bottom: float, shade: Colour, depth: float, shapes: Sequence[Points]
) -> Layer:
    """A layer of one colour with polygons between two rows of the canvas."""
    first = int(np.clip(top, 0, size[1] - 1))
    last = int(np.clip(bottom, first + 1, size[1]))

    def draw(pen: Pen, scale: float) -> None:
        for shape in shapes:
            polygon(pen, [(x, y - first) for x, y in shape], scale)

    mask = drawn((size[0], last - first), draw)
    return Layer(flat(mask, shade), mask, depth=depth, top=first)


def cut(image: Image.Image, masks: Sequence[tuple[Image.Image, Colour]]) -> Image.Image:
    """`image` with each colour laid over it where its mask says."""
    for mask, shade in masks:
        tint(image, shade, mask)
    return image
