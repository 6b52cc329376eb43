"""What people built: rows of houses with lit windows, and pyramids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from safelight.engines.sketch.figures.stencils import Pen, Points, cut, polygons
from safelight.engines.sketch.layers import (
    Chance,
    Layer,
    Size,
    disc,
    drawn,
    gradient,
    polygon,
    rgb,
)
from safelight.engines.sketch.palettes import Colour, mix

Block: TypeAlias = tuple[float, float, float, int]  # left, roof, width and kind of a house


def skyline(
    size: Size,
    ground: float,
    tall: float,
    share: float,
    tones: tuple[Colour, Colour],
    lights: tuple[Colour, Colour],
    chance: Chance,
) -> Layer:
    """A row of houses that ends at `ground`, hazy at its foot, some of its windows lit.

    `ground` and `tall` are shares of the height; `share` is how near it is.
    """
    width, height = size
    unit = min(size)
    bottom = int(ground * height)
    blocks = _blocks(width, unit, bottom, tall * height, share, chance)
    top = max(0, int(min(block[1] for block in blocks) - unit * 0.08))
    mask = _row(blocks, (width, max(1, bottom - top)), top, bottom)
    tone, foot = tones
    image = gradient(mask.size, [(0, tone), (0.35, tone), (1, foot)])
    if share > 0.25:
        houses = [(left, roof - top, wide) for left, roof, wide, _ in blocks]
        panes, others = _panes(mask.size, houses, unit * (0.007 + 0.008 * share), chance)
        cut(image, [(panes, lights[0]), (others, mix(lights[0], lights[1], 0.7))])
    return Layer(image, mask, depth=0.2 + 0.75 * share, top=top)


def _blocks(
    width: int, unit: float, bottom: int, tall: float, share: float, chance: Chance
) -> list[Block]:
    """The houses of a row, from the left to the right."""
    blocks: list[Block] = []
    left = -unit * 0.05
    centre = width * float(chance.uniform(0.25, 0.75))
    while left < width:
        wide = unit * float(chance.uniform(0.05, 0.12)) * (0.7 + 0.7 * share)
        near = float(np.exp(-(((left - centre) / (width * 0.35)) ** 2)))
        high = tall * (0.3 + 0.5 * near) * float(chance.uniform(0.55, 1.25))
        blocks.append((left, bottom - high, wide, int(chance.integers(6))))
        left += wide * float(chance.uniform(0.85, 1.12))
    return blocks


def _row(blocks: Sequence[Block], box: Size, top: int, bottom: int) -> Image.Image:
    def draw(pen: Pen, scale: float) -> None:
        for left, roof, wide, kind in blocks:
            _house(pen, scale, (left, roof - top, wide, bottom - roof), kind)

    return drawn(box, draw)


def _house(pen: Pen, scale: float, box: tuple[float, float, float, float], kind: int) -> None:
    left, roof, wide, high = box
    right, foot = left + wide, roof + high
    polygon(pen, [(left, roof), (right, roof), (right, foot), (left, foot)], scale)
    polygons(pen, _roofs(left, roof, wide, kind), scale)
    if kind == 4:  # a dome
        disc(pen, ((left + right) / 2, roof), (wide * 0.5, wide * 0.3), scale)


def _roofs(left: float, roof: float, wide: float, kind: int) -> list[Points]:
    """What stands on the walls of a house."""
    right = left + wide
    middle, thin = (left + right) / 2, wide * 0.03
    if kind == 1:  # a mast
        return [[(middle - thin, roof), (middle, roof - wide * 0.9), (middle + thin, roof)]]
    if kind == 2:  # a slanting roof
        return [[(left, roof), (right, roof - wide * 0.45), (right, roof)]]
    if kind == 3:
        steps = ((0.2, 0.3), (0.38, 0.65))
        return [_step(left, right, roof, wide * inset, wide * high) for inset, high in steps]
    return []


def _step(left: float, right: float, roof: float, inset: float, high: float) -> Points:
    left, right = left + inset, right - inset
    return [(left, roof - high), (right, roof - high), (right, roof), (left, roof)]


def _panes(
    size: Size, houses: Sequence[tuple[float, float, float]], step: float, chance: Chance
) -> tuple[Image.Image, Image.Image]:
    """The lit windows in two colours."""
    masks = (Image.new("L", size), Image.new("L", size))
    pens = tuple(ImageDraw.Draw(mask) for mask in masks)
    step = max(2.0, step)
    for left, roof, wide in houses:
        share = float(chance.choice([0.08, 0.25, 0.5]))
        xs = np.arange(left + step * 0.8, left + wide - step, step * 1.25)
        ys = np.arange(roof + step, size[1] - step, step * 1.7)
        lit = chance.random((len(ys), len(xs)))
        for row, column in zip(*np.nonzero(lit < share), strict=True):
            x, y = xs[column], ys[row]
            light = int(150 + 105 * chance.random())
            pens[int(lit[row, column] < share * 0.2)].rectangle(
                (x, y, x + step * 0.55, y + step * 0.75), fill=light
            )
    return masks


def pyramids(size: Size, shade: Colour, light: Colour, chance: Chance) -> Layer:
    """Two or three pyramids, lit from one side."""
    width, height = size
    mask = Image.new("L", size)
    image = Image.new("RGB", size, rgb(shade))
    for _ in range(int(chance.integers(2, 4))):
        x = width * float(chance.uniform(0.1, 0.9))
        tall = height * float(chance.uniform(0.14, 0.27))
        body, face = _pyramid(size, (x, height * 0.57), tall)
        cut(image, [(body, shade), (face, mix(shade, light, 0.45))])
        mask = ImageChops.lighter(mask, body)
    return Layer(image, mask, depth=0.18)


def _pyramid(size: Size, at: tuple[float, float], tall: float) -> tuple[Image.Image, Image.Image]:
    """The whole of it, and its lit face."""
    x, foot = at
    half = tall * 0.85
    whole = [(x - half, foot), (x, foot - tall), (x + half, foot)]
    lit = [(x - half, foot), (x, foot - tall), (x + half * 0.25, foot)]
    body = drawn(size, lambda pen, scale: polygon(pen, whole, scale))
    return body, drawn(size, lambda pen, scale: polygon(pen, lit, scale))
