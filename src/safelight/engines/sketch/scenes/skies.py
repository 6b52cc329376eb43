"""The sky of a scene: its light, its stars and clouds, its beams, and what flies in it."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from safelight.engines.sketch.figures.travellers import balloon, birds
from safelight.engines.sketch.layers import (
    Layer,
    as_mask,
    coarse,
    disc,
    drawn,
    flat,
    glow,
    gradient,
    noise,
    rgb,
    smooth,
    tint,
)
from safelight.engines.sketch.palettes import mix
from safelight.engines.sketch.scenes.sheets import Sheet


def paint_sky(sheet: Sheet, end: float = 0.75, clouds: float = 1.0) -> Layer:
    """The sky down to `end` (a share of the height), with its light and its clouds."""
    stops = [(0.0, sheet.high), (end * 0.55, sheet.middle), (end, sheet.horizon)]
    sky = gradient(sheet.size, stops)
    if sheet.dark:
        stars(sky, sheet, end)
    _sun(sky, sheet)
    if clouds and sheet.chance.random() < 0.8:
        _clouds(sky, sheet, end, clouds)
    return Layer(sky, depth=0.12)


def _sun(sky: Image.Image, sheet: Sheet) -> None:
    width, height = sheet.size
    at = (sheet.sun[0] * width, sheet.sun[1] * height)
    radius = sheet.unit * float(sheet.chance.uniform(0.045, 0.12))
    warm = mix(sheet.light, sheet.horizon, 0.4)
    tint(sky, warm, glow(sheet.size, at, sheet.unit * 0.9, 2.6), 0.75)
    tint(sky, sheet.light, glow(sheet.size, at, radius * 2.6, 2.0), 0.65)
    crescent = bool(sheet.dark and sheet.chance.random() < 0.45)
    side = max(2, int(radius * 2) + 4)
    left, top = int(at[0] - side / 2), int(at[1] - side / 2)
    orb = _orb(side, (at[0] - left, at[1] - top), radius, crescent)
    sky.paste(rgb(sheet.light), (left, top), orb)


def _orb(side: int, at: tuple[float, float], radius: float, crescent: bool) -> Image.Image:
    """The sun or the moon itself, as a mask."""
    x, y = at

    def draw(pen: ImageDraw.ImageDraw, scale: float) -> None:
        disc(pen, (x, y), radius, scale)
        if crescent:
            disc(pen, (x + radius * 0.42, y - radius * 0.22), radius * 0.9, scale, 0)

    return drawn((side, side), draw)


def stars(sky: Image.Image, sheet: Sheet, end: float) -> None:
    """Stars on `sky` down to `end` (a share of the height), fewer to be seen towards it."""
    width, height = sheet.size
    count = int(np.clip(width * height / 4500, 12, 900))
    places = sheet.chance.random((count, 2)) * (width, height * end)
    sizes = sheet.unit * 0.0022 * sheet.chance.pareto(3.0, count).clip(0.12, 1.6)
    lights = sheet.chance.uniform(60, 255, count)

    def draw(pen: ImageDraw.ImageDraw, scale: float) -> None:
        for (x, y), size, light in zip(places, sizes, lights, strict=True):
            fade = 1 - y / (height * end)
            disc(pen, (x, y), max(0.45, float(size)), scale, int(light * (0.25 + 0.75 * fade)))

    tint(sky, sheet.light, drawn(sheet.size, draw))


def _clouds(sky: Image.Image, sheet: Sheet, end: float, amount: float) -> None:
    width, height = sheet.size
    small = coarse(sheet.size, 4)
    stretch = 2.2 * width / height
    billows = noise(small, sheet.chance, (stretch, 5.5), 5)
    rows = np.linspace(0, 1, small[1], dtype=np.float32)[:, None] / np.float32(end)
    band = smooth(rows, 0.05, 0.4) * (1 - smooth(rows, 0.75, 1.0))
    cover = smooth(billows, 0.5, 0.72) * band
    lit = mix(sheet.light, sheet.middle, 0.35 if sheet.dark else 0.12)
    under = mix(sheet.middle, sheet.far, 0.5)
    strength = (0.28 if sheet.dark else 0.62) * amount
    tint(sky, under, as_mask(np.roll(cover, max(1, small[1] // 60), 0), sheet.size), strength * 0.6)
    tint(sky, lit, as_mask(cover, sheet.size), strength)


def rays(sheet: Sheet, depth: float) -> Layer:
    """Beams of light that fan out from the sun."""
    small = coarse(sheet.size, 4)
    across = np.linspace(0, 1, small[0], dtype=np.float32)[None, :] - np.float32(sheet.sun[0])
    down = np.linspace(0, 1, small[1], dtype=np.float32)[:, None] - np.float32(sheet.sun[1] - 0.45)
    angle = np.arctan2(across, np.maximum(down, 0.02))
    beams = np.interp(angle, np.linspace(-1.6, 1.6, 60), sheet.chance.random(60) ** 1.5)
    fade = np.exp(-2.2 * np.abs(down - 0.5)).astype(np.float32)
    mask = as_mask((beams.astype(np.float32) * fade) * 0.42, sheet.size)
    return Layer(flat(mask, mix(sheet.light, sheet.horizon, 0.3)), mask, depth=depth)


def with_what_flies(layers: list[Layer], sheet: Sheet, place: float) -> list[Layer]:
    """`layers` with birds and balloons in the sky, before all else that is there."""
    if "balloon" in sheet.figures:
        layers.insert(2, balloon(sheet.size, sheet.accent, sheet.light, sheet.chance))
    if "birds" in sheet.figures or (not sheet.dark and sheet.chance.random() < 0.35):
        layers.insert(1, birds(sheet.size, place, sheet.near, sheet.chance))
    return layers
