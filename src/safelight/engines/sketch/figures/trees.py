"""Trees in rows: firs far away, firs in a wall, and leafy trees."""

from __future__ import annotations

import numpy as np

from safelight.engines.sketch.figures.stencils import Pen, Points, band
from safelight.engines.sketch.layers import (
    Chance,
    Floats,
    Layer,
    Size,
    disc,
    drawn,
    flat,
    polygon,
)
from safelight.engines.sketch.palettes import Colour

_TAU = 2 * np.pi


def tree_line(
    size: Size, heights: Floats, tone: Colour, tall: float, depth: float, chance: Chance
) -> Layer:
    """Small firs along the crest `heights` (shares of the height), in groves."""
    width, height = size
    step = max(2.0, tall * height * 0.32)
    shapes: list[Points] = []
    groves = np.sin(_TAU * (np.linspace(0, 3, 64) * chance.uniform(0.6, 1.4) + chance.random()))
    for x in np.arange(0, width, step):
        if groves[int(x / width * 63)] < -0.1:
            continue
        at = x + float(chance.normal(0, step * 0.4))
        foot = float(heights[int(np.clip(at, 0, width - 1))]) * height + tall * height * 0.15
        shapes.append(_fir(at, foot, tall * height * float(chance.uniform(0.5, 1.15)), chance, 3))
    top = (float(heights.min()) - tall * 1.4) * height
    bottom = (float(heights.max()) + tall * 0.3) * height
    return band(size, top, bottom, tone, depth, shapes)


def conifers(
    size: Size, heights: Floats, tone: Colour, tall: float, depth: float, chance: Chance
) -> Layer:
    """A wall of firs that stand on `heights`."""
    width, height = size
    step = tall * height * 0.26
    shapes: list[Points] = []
    for x in np.arange(-step, width + step, step):
        at = x + float(chance.normal(0, step * 0.35))
        foot = float(heights[int(np.clip(at, 0, width - 1))]) * height + height * 0.02
        shapes.append(_fir(at, foot, tall * height * float(chance.uniform(0.55, 1.2)), chance, 7))
    top = (float(heights.min()) - tall * 1.3) * height
    return band(size, top, (float(heights.max()) + 0.04) * height, tone, depth, shapes)


def _fir(x: float, foot: float, tall: float, chance: Chance, tiers: int) -> Points:
    half = tall * float(chance.uniform(0.17, 0.23))
    left: list[tuple[float, float]] = []
    right: list[tuple[float, float]] = []
    for tier in range(tiers):
        share = (tier + 1) / tiers
        y = foot - tall + tall * 0.93 * share
        reach = half * (0.12 + 0.88 * share)
        droop = tall * 0.035
        for side, edge in ((-1, left), (1, right)):
            out = reach * float(chance.uniform(0.8, 1.12))
            edge.append((x + side * out, y + droop * float(chance.uniform(0.2, 1))))
            edge.append((x + side * out * 0.5, y - droop * 0.4))
    trunk = half * 0.13
    return [(x, foot - tall), *right, (x + trunk, foot), (x - trunk, foot), *reversed(left)]


def round_trees(
    size: Size, heights: Floats, tone: Colour, tall: float, depth: float, chance: Chance
) -> Layer:
    """Leafy trees: trunks with crowns of many round clumps."""
    width, height = size
    step = tall * height * 0.5
    top = max(0, int((float(heights.min()) - tall * 1.25) * height))
    bottom = min(height, int((float(heights.max()) + 0.04) * height) + 1)
    places = np.arange(-step, width + step, step)
    places = places + chance.normal(0, step * 0.3, len(places))
    talls = tall * height * chance.uniform(0.6, 1.1, len(places))

    def draw(pen: Pen, scale: float) -> None:
        for x, high in zip(places.tolist(), talls.tolist(), strict=True):
            foot = float(heights[int(np.clip(x, 0, width - 1))]) * height + height * 0.02 - top
            _leafy(pen, scale, (x, foot), high, chance)

    mask = drawn((width, max(1, bottom - top)), draw)
    return Layer(flat(mask, tone), mask, depth=depth, top=top)


def _leafy(pen: Pen, scale: float, foot: tuple[float, float], tall: float, chance: Chance) -> None:
    x, y = foot
    polygon(pen, _trunk(x, y, tall), scale)
    for _ in range(26):
        away = chance.normal(0, 1, 2).clip(-1.6, 1.6) * (tall * 0.14, tall * 0.11)
        radius = tall * float(chance.uniform(0.05, 0.12))
        disc(pen, (x + float(away[0]), y - tall * 0.7 + float(away[1])), radius, scale)


def _trunk(x: float, foot: float, tall: float) -> Points:
    half, top = tall * 0.028, foot - tall * 0.6
    return [(x - half, foot), (x - half * 0.6, top), (x + half * 0.6, top), (x + half, foot)]
