"""The scene of space: nebulae, stars, a planet, and perhaps the ground that we stand on."""

from __future__ import annotations

import numpy as np

from safelight.engines.sketch.figures.planets import planet
from safelight.engines.sketch.layers import (
    Layer,
    as_mask,
    coarse,
    gradient,
    noise,
    ridge,
    smooth,
    tint,
)
from safelight.engines.sketch.palettes import mix
from safelight.engines.sketch.scenes.sheets import Sheet
from safelight.engines.sketch.scenes.skies import stars
from safelight.engines.sketch.scenes.terrain import land


def space(sheet: Sheet) -> list[Layer]:
    """A planet before nebulae."""
    layers = [_nebulae(sheet)]
    tones = (sheet.accent, sheet.horizon, sheet.near, sheet.light)
    layers += planet(sheet.size, tones, sheet.chance)
    if sheet.chance.random() < 0.5:
        line = ridge(sheet.size[0], sheet.chance, 2.0, 0.5, 0.6)
        tone = mix(sheet.near, sheet.far, 0.25)
        layers.append(land(sheet, 0.92 - 0.14 * line, 0.9, sheet.near, 0.9, 0.5, tone))
    return layers


def _nebulae(sheet: Sheet) -> Layer:
    width, height = sheet.size
    deep = mix(sheet.near, np.zeros(3, np.float32), 0.35)
    sky = gradient(sheet.size, [(0, deep), (1, mix(deep, sheet.high, 0.6))])
    clouds = noise(coarse(sheet.size, 4), sheet.chance, (2.2 * width / height, 2.2), 5)
    veil = noise(coarse(sheet.size, 4), sheet.chance, (3, 3), 5)
    tint(sky, sheet.middle, as_mask(smooth(clouds, 0.42, 0.8), sheet.size), 0.75)
    tint(sky, sheet.horizon, as_mask(smooth(clouds * veil, 0.3, 0.55), sheet.size), 0.6)
    stars(sky, sheet, 1.4)
    return Layer(sky, depth=0.08)
