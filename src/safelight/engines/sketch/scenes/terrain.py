"""Sheets of land below a line of heights, with light and shade on their slopes."""

from __future__ import annotations

import numpy as np
from PIL import Image

from safelight.engines.sketch.layers import (
    Floats,
    Layer,
    as_mask,
    below,
    coarse,
    gradient,
    noise,
    smooth,
    tint,
)
from safelight.engines.sketch.palettes import Colour, mix
from safelight.engines.sketch.scenes.sheets import Sheet


def land(
    sheet: Sheet,
    heights: Floats,
    share: float,
    foot: Colour,
    depth: float,
    facets: float = 0.0,
    crest: Colour | None = None,
) -> Layer:
    """A sheet of land below `heights` (shares of the height), hazy towards its foot.

    `facets` is how strongly its slopes are lit from the side of the sun.
    """
    mask, top = below(sheet.size, heights * sheet.size[1])
    tone = sheet.ground(share) if crest is None else crest
    image = gradient(mask.size, [(0.0, tone), (0.18, tone), (1.0, foot)])
    if facets:
        _light_slopes(image, sheet, heights, top, tone, facets)
    return Layer(image, mask, depth=depth, top=top)


def _light_slopes(
    image: Image.Image, sheet: Sheet, heights: Floats, top: int, tone: Colour, strength: float
) -> None:
    """Light and shade on a slope: what the crest does, carried down and aside into the land."""
    small = coarse(image.size, 3)
    across = np.linspace(0, len(heights) - 1, small[0])
    crest = np.interp(across, np.arange(len(heights)), heights * sheet.size[1]).astype(np.float32)
    rows = np.linspace(0, image.height, small[1], dtype=np.float32)[:, None] + np.float32(top)
    under = np.maximum(rows - crest[None, :], 0)
    wander = noise(small, sheet.chance, (6, 8), 3) - np.float32(0.5)
    falls = _falls(crest, under, wander, sheet.size[0])
    side = 1 if sheet.sun[0] > 0.5 else -1
    lit = smooth(side * falls, -0.12, 0.18) + wander * 0.25
    fade = 1 - smooth(under / np.float32(image.height), 0.1, 0.75)
    tint(image, mix(tone, sheet.light, 0.55), as_mask(lit * fade, image.size), strength)
    tint(image, mix(tone, sheet.near, 0.6), as_mask((1 - lit) * fade, image.size), strength * 0.8)


def _falls(crest: Floats, under: Floats, wander: Floats, width: int) -> Floats:
    """How steeply the land falls at each place `under` the crest of a canvas so wide."""
    count = len(crest)
    lean = (0.35 + wander * 0.9) * under * count / width
    columns = np.arange(count, dtype=np.float32)[None, :] + lean
    slope = np.gradient(crest) * count / width
    padded = np.pad(slope, 2, "edge")
    soft = sum(padded[at : at + count] for at in range(5)) / 5
    falls: Floats = np.interp(columns, np.arange(count), soft).astype(np.float32)
    return falls
