"""A wall of square tiles, each with one figure of circles, halves, triangles, bars or dots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw

from safelight.engines.sketch.figures.stencils import Pen
from safelight.engines.sketch.layers import Chance, Layer, Size, rgb
from safelight.engines.sketch.palettes import Colour

Shade: TypeAlias = tuple[int, int, int]
Frame: TypeAlias = tuple[float, float, float, float]  # left, top, right, bottom


def tiles(size: Size, tones: Sequence[Colour], light: Colour, chance: Chance) -> Layer:
    """The whole wall, its tiles in colours out of `tones`."""
    width, height = size
    count = int(chance.integers(4, 8))
    side = max(4.0, min(size) / count)
    scale = 2
    sheet = Image.new("RGB", (width * scale, height * scale), rgb(light))
    pen = ImageDraw.Draw(sheet)
    columns, rows = int(np.ceil(width / side)), int(np.ceil(height / side))
    for row in range(rows):
        for column in range(columns):
            shades = [rgb(tones[at]) for at in chance.choice(len(tones), 3, False)]
            box = (column * side * scale, row * side * scale, side * scale)
            _tile(pen, box, shades, int(chance.integers(8)), int(chance.integers(4)))
    return Layer(sheet.reduce(scale), depth=0.5)


def _tile(
    pen: Pen, box: tuple[float, float, float], shades: Sequence[Shade], kind: int, turn: int
) -> None:
    x, y, side = box
    ground, figure, dot = shades
    frame = (x, y, x + side, y + side)
    pen.rectangle(frame, fill=ground)
    if kind < 3:
        _rounds(pen, frame, kind, turn, shades)
    elif kind == 3:  # a half
        pen.pieslice(frame, turn * 90, turn * 90 + 180, fill=figure)
    elif kind == 4:
        _circle(pen, (x + side / 2, y + side / 2), side * 0.42, figure)
        _circle(pen, (x + side / 2, y + side / 2), side * 0.2, dot)
    elif kind == 5:
        _triangles(pen, box, figure, dot if turn else figure)
    elif kind == 6:
        _bars(pen, box, figure)
    else:
        _dots(pen, box, figure)


def _triangles(pen: Pen, box: tuple[float, float, float], left: Shade, right: Shade) -> None:
    x, y, side = box
    middle = (x + side / 2, y + side / 2)
    pen.polygon([(x, y), middle, (x, y + side)], fill=left)
    pen.polygon([(x + side, y), middle, (x + side, y + side)], fill=right)


def _bars(pen: Pen, box: tuple[float, float, float], shade: Shade) -> None:
    x, y, side = box
    for line in range(4):
        top = y + side * line / 4
        pen.rectangle((x, top, x + side, top + side / 8), fill=shade)


def _dots(pen: Pen, box: tuple[float, float, float], shade: Shade) -> None:
    x, y, side = box
    for at in range(9):
        centre = (x + side * (at % 3 + 0.5) / 3, y + side * (at // 3 + 0.5) / 3)
        _circle(pen, centre, side * 0.1, shade)


def _rounds(pen: Pen, frame: Frame, kind: int, turn: int, shades: Sequence[Shade]) -> None:
    """A quarter of a circle (0), quarters within each other (1), or one against another (2)."""
    ground, figure, dot = shades
    left, top, right, bottom = frame
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    corner, other = corners[turn], corners[(turn + 2) % 4]
    side = right - left
    _quarter(pen, frame, corner, side, figure)
    if kind == 1:
        _quarter(pen, frame, corner, side * 0.66, ground)
        _quarter(pen, frame, corner, side * 0.33, dot)
    if kind == 2:
        _quarter(pen, frame, other, side * 0.45, dot)


def _quarter(
    pen: Pen, frame: Frame, corner: tuple[float, float], radius: float, shade: Shade
) -> None:
    """The quarter of a circle around a corner of a tile that lies within the tile."""
    x, y = corner
    start = {(True, True): 0, (False, True): 90, (False, False): 180, (True, False): 270}[
        (x == frame[0], y == frame[1])
    ]
    box = (x - radius, y - radius, x + radius, y + radius)
    pen.pieslice(box, start, start + 90, fill=shade)


def _circle(pen: Pen, at: tuple[float, float], radius: float, shade: tuple[int, int, int]) -> None:
    pen.ellipse((at[0] - radius, at[1] - radius, at[0] + radius, at[1] + radius), fill=shade)
