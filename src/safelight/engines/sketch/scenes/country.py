"""The scenes of open land: hills, desert and forest."""

from __future__ import annotations

import numpy as np
from PIL import ImageChops

from safelight.engines.sketch.figures.buildings import pyramids
from safelight.engines.sketch.figures.trees import conifers, round_trees, tree_line
from safelight.engines.sketch.layers import (
    Floats,
    Layer,
    as_mask,
    below,
    coarse,
    flat,
    ridge,
    smooth,
)
from safelight.engines.sketch.palettes import Colour, mix
from safelight.engines.sketch.scenes.sheets import Sheet
from safelight.engines.sketch.scenes.skies import paint_sky, rays, with_what_flies
from safelight.engines.sketch.scenes.terrain import land

_TAU = 2 * np.pi


def hills(sheet: Sheet) -> list[Layer]:
    """Ranges of hills or mountains behind each other, some with trees on them."""
    layers = [paint_sky(sheet)]
    count = int(sheet.chance.integers(4, 7))
    peaks = bool(sheet.chance.random() < 0.6)
    start = float(sheet.chance.uniform(0.4, 0.52))
    for at in range(count):
        share = at / (count - 1)
        heights = _range(sheet, start, share, peaks)
        foot = mix(sheet.ground(share), sheet.horizon, 0.55 * (1 - share * 0.85))
        layers.append(land(sheet, heights, share, foot, 0.2 + 0.8 * share, 0.5 if peaks else 0.3))
        if 0.45 < share < 1 and sheet.chance.random() < 0.75:
            tone, tall = sheet.ground(share + 0.12), 0.02 + 0.05 * share
            trees = tree_line(sheet.size, heights, tone, tall, layers[-1].depth, sheet.chance)
            layers.append(trees)
    return with_what_flies(layers, sheet, 0.42)


def _range(sheet: Sheet, start: float, share: float, peaks: bool) -> Floats:
    """The crest of the range that is `share` of the way to us."""
    place = start + (0.93 - start) * share**1.15
    tall = float(sheet.chance.uniform(0.12, 0.2)) * (1 if peaks else 0.6) * (1 - 0.35 * share)
    sharp = max(0.0, 0.75 - 1.1 * share) if peaks else 0.0
    line = ridge(sheet.size[0], sheet.chance, 1.2 + 1.3 * share, 0.46 - 0.1 * share, sharp)
    heights: Floats = place - tall * line
    return heights


def desert(sheet: Sheet) -> list[Layer]:
    """Dunes behind each other, perhaps with pyramids beyond them."""
    layers = [paint_sky(sheet, 0.7, 0.5)]
    if "pyramids" in sheet.figures or sheet.chance.random() < 0.3:
        layers.append(pyramids(sheet.size, sheet.far, sheet.light, sheet.chance))
    count = int(sheet.chance.integers(4, 6))
    for at in range(count):
        share = at / (count - 1)
        place = 0.56 + 0.36 * share
        line = _dunes(sheet)
        heights = place - (0.07 + 0.1 * share) * line
        tone = mix(sheet.far, sheet.near, 0.62 * share)
        crest = mix(tone, sheet.light, 0.22)
        depth = 0.25 + 0.75 * share
        layers.append(land(sheet, heights, share, tone, depth, 0.0, crest))
        layers.append(_lee(sheet, heights, mix(tone, sheet.near, 0.45), depth))
    return with_what_flies(layers, sheet, 0.4)


def _dunes(sheet: Sheet) -> Floats:
    """A line of dunes from 0 to 1: long on the side of the wind, steep on the other."""
    width, height = sheet.size
    across = np.linspace(0, width / height, width, dtype=np.float32)
    bend = 0.22 * np.sin(_TAU * (across * 0.55 + sheet.chance.random()))
    place = (across * float(sheet.chance.uniform(0.75, 1.2)) + bend + sheet.chance.random()) % 1
    rise = np.where(place < 0.72, place / 0.72, (1 - place) / 0.28)
    line: Floats = (rise * rise * (3 - 2 * rise)).astype(np.float32) ** np.float32(0.8)
    return line


def _lee(sheet: Sheet, heights: Floats, shade: Colour, depth: float) -> Layer:
    """The shaded sides of dunes, from the crest down into the sand and aside."""
    rows = heights * sheet.size[1]
    mask, top = below(sheet.size, rows)
    small = coarse(mask.size, 2)
    columns = np.linspace(0, len(rows) - 1, small[0])
    down = np.linspace(0, mask.height, small[1])[:, None] + top
    under = np.maximum(down - np.interp(columns, np.arange(len(rows)), rows)[None, :], 0)
    wind = 0.9 + 0.5 * np.sin(under / sheet.unit * 14 + float(sheet.chance.uniform(0, 6)))
    falls = np.where(np.gradient(rows) > 0, 1.0, 0.0)
    shaded = np.interp(columns[None, :] + under * wind, np.arange(len(rows)), falls)
    fade = 1 - smooth(under / sheet.size[1], 0.02, 0.24)
    shadow = ImageChops.multiply(mask, as_mask(shaded * fade, mask.size))
    return Layer(flat(shadow, shade), shadow, depth=depth, top=top)


def forest(sheet: Sheet) -> list[Layer]:
    """Walls of trees behind each other, with beams of light between them."""
    sky = paint_sky(sheet, 0.9, 0.6)
    layers = [sky, rays(sheet, sky.depth)]
    count = 5
    tall = sheet.chance.random() < 0.5
    for at in range(count):
        share = at / (count - 1)
        line = ridge(sheet.size[0], sheet.chance, 1.5, 0.4)
        heights = 0.55 + 0.36 * share - 0.08 * line
        tone = mix(sheet.ground(share), sheet.horizon, 0.42 * (1 - share))
        foot = mix(tone, sheet.horizon, 0.5 * (1 - share))
        depth = 0.2 + 0.8 * share
        size = (0.14 + 0.3 * share**1.4) * (1.25 if tall else 0.9)
        trees = conifers if tall or at % 2 == 0 else round_trees
        layers.append(trees(sheet.size, heights, tone, size, depth, sheet.chance))
        layers.append(land(sheet, heights, share, foot, depth, 0.25, tone))
        if at == 2:
            layers.append(rays(sheet, depth))
    return with_what_flies(layers, sheet, 0.2)
