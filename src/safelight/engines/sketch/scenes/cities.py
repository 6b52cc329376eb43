"""The scene of a city: rows of houses, and perhaps the water that shows them."""

from __future__ import annotations

import numpy as np
from PIL import Image

from safelight.engines.sketch.figures.buildings import skyline
from safelight.engines.sketch.layers import Layer, Size, as_mask, tint
from safelight.engines.sketch.palettes import mix
from safelight.engines.sketch.scenes.sheets import Sheet
from safelight.engines.sketch.scenes.skies import paint_sky, with_what_flies

_SHORE = 0.8  # where the water begins, as a share of the height


def city(sheet: Sheet) -> list[Layer]:
    """Four rows of houses behind each other, by the water or not."""
    layers = [paint_sky(sheet, 0.85, 0.7)]
    water = bool(sheet.chance.random() < 0.5)
    layers += [_row(sheet, at, water) for at in range(4)]
    if water:
        layers.append(_reflection(layers, sheet, _SHORE))
    return with_what_flies(layers, sheet, 0.3)


def _row(sheet: Sheet, at: int, water: bool) -> Layer:
    share = at / 3
    tone = mix(sheet.ground(share), sheet.horizon, 0.35 * (1 - share))
    foot = mix(tone, sheet.horizon, 0.45 * (1 - share * 0.7))
    return skyline(
        sheet.size,
        _SHORE if water else 1.0,
        (0.62 - 0.14 * at) * (0.8 if water else 1.0),
        share,
        (tone, foot),
        (sheet.light, sheet.accent),
        sheet.chance,
    )


def _reflection(layers: list[Layer], sheet: Sheet, place: float) -> Layer:
    """Still water at `place` that shows what stands above it."""
    width, height = sheet.size
    top = int(place * height)
    above = Image.new("RGB", sheet.size)
    for layer in layers:
        above.paste(layer.image, (0, layer.top), layer.mask)
    mirrored = above.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    water = _rippled(mirrored.crop((0, height - top, width, 2 * (height - top))), sheet)
    tint(water, sheet.near, _gradient_mask(water.size, 0.25, 0.75))
    return Layer(water, depth=1.0, top=top)


def _rippled(image: Image.Image, sheet: Sheet) -> Image.Image:
    """`image` with its rows moved to and fro, more so towards us."""
    rows = np.arange(image.height)
    waves = np.sin(rows / max(1.0, sheet.unit * 0.006) + sheet.chance.normal(0, 0.8, len(rows)))
    shifts = (waves * sheet.unit * 0.006 * (0.3 + rows / len(rows))).astype(int)
    columns = (np.arange(image.width)[None, :] + shifts[:, None]).clip(0, image.width - 1)
    pixels = np.asarray(image)[rows[:, None], columns]
    return Image.fromarray(np.ascontiguousarray(pixels))


def _gradient_mask(size: Size, top: float, bottom: float) -> Image.Image:
    rows = np.linspace(top, bottom, size[1], dtype=np.float32)[:, None]
    return as_mask(np.repeat(rows, 2, axis=1), (2, size[1])).resize(size)
