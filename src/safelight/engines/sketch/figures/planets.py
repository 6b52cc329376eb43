"""Planets with bands and a shadow, their rings, and their moons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from safelight.engines.sketch.figures.stencils import Pen
from safelight.engines.sketch.layers import (
    Chance,
    Floats,
    Layer,
    Size,
    as_mask,
    disc,
    drawn,
    flat,
    noise,
    rgb,
    smooth,
    tint,
)
from safelight.engines.sketch.palettes import Colour, mix


def planet(size: Size, tones: Sequence[Colour], chance: Chance) -> list[Layer]:
    """A planet, perhaps with a ring, and a moon."""
    width, height = size
    unit = min(size)
    radius = unit * float(chance.uniform(0.2, 0.32))
    at = (width * float(chance.uniform(0.3, 0.7)), height * float(chance.uniform(0.36, 0.55)))
    ringed = chance.random() < 0.6
    body = _ball(radius, at, tones, chance, 0.3)
    beside = (at[0] + radius * 1.7, at[1] - radius * 1.1)
    moon = _ball(unit * 0.05, beside, (tones[3], tones[1], tones[2], tones[3]), chance, 0.2)
    if not ringed:
        return [moon, body]
    tilt = float(chance.uniform(-0.5, 0.5))
    back, front = _ring(radius, at, mix(tones[1], tones[3], 0.4), tilt)
    return [moon, back, body, front]


def _ball(
    radius: float, at: tuple[float, float], tones: Sequence[Colour], chance: Chance, depth: float
) -> Layer:
    side = int(radius * 2) + 4
    middle = side / 2
    bands, light = _surface(side, radius, chance)
    image = Image.new("RGB", (side, side), rgb(tones[0]))
    tint(image, tones[1], as_mask(smooth(bands, 0.2, 0.9), image.size), 0.75)
    tint(image, tones[3], as_mask((light**6).astype(np.float32), image.size), 0.4)
    shadow = (1 - light.astype(np.float32)) ** np.float32(1.4)
    tint(image, tones[2], as_mask(shadow, image.size), 0.93)
    mask = drawn((side, side), lambda pen, scale: disc(pen, (middle, middle), radius, scale))
    return Layer(image, mask, depth, int(at[1] - middle), int(at[0] - middle), 0.006, 0.004)


def _surface(side: int, radius: float, chance: Chance) -> tuple[Floats, Floats]:
    """Where a ball has its bands, and where light falls on it, from 0 to 1."""
    axis = (np.arange(side, dtype=np.float32) + 0.5 - side / 2) / np.float32(radius)
    x, y = axis[None, :], axis[:, None]
    z = np.sqrt(np.clip(1 - x * x - y * y, 0, 1))
    swirl = noise((side, side), chance, (3, 6), 4) - np.float32(0.5)
    bands = 0.5 + 0.5 * np.sin((y * 1.0 + x * 0.25 + swirl * 0.55) * 9)
    light: Floats = np.clip(-0.6 * x - 0.45 * y + 0.66 * z, 0, 1)
    return bands.astype(np.float32), light


def _ring(radius: float, at: tuple[float, float], tone: Colour, turn: float) -> tuple[Layer, Layer]:
    """A ring in two parts: the one behind the planet, and the one before it."""
    side = int(radius * 4.6) + 4
    middle = (side / 2, side / 2)

    def draw(pen: Pen, scale: float) -> None:
        for share, light in ((2.15, 150), (1.95, 225), (1.72, 120), (1.6, 190), (1.38, 0)):
            disc(pen, middle, (radius * share, radius * share * 0.27), scale, light)

    whole = drawn((side, side), draw)
    left, top = int(at[0] - side / 2), int(at[1] - side / 2)
    masks = (_half(whole, 0, side // 2, turn), _half(whole, side // 2, side, turn))
    back, front = (Layer(flat(mask, tone), mask, 0.3, top, left, 0.006, 0.004) for mask in masks)
    return back, front


def _half(whole: Image.Image, first: int, last: int, turn: float) -> Image.Image:
    """The rows of `whole` from `first` to `last` alone, turned with it."""
    half = Image.new("L", whole.size)
    half.paste(whole.crop((0, first, whole.width, last)), (0, first))
    return half.rotate(np.degrees(turn), Image.Resampling.BICUBIC)
