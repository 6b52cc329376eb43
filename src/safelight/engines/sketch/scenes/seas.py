"""The scene of the sea: still water in the light, islands, a boat, and waves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw

from safelight.engines.sketch.figures.travellers import boat
from safelight.engines.sketch.layers import (
    Floats,
    Layer,
    Size,
    below,
    disc,
    drawn,
    flat,
    gradient,
    ridge,
    tint,
)
from safelight.engines.sketch.palettes import mix
from safelight.engines.sketch.scenes.sheets import Sheet
from safelight.engines.sketch.scenes.skies import paint_sky, with_what_flies
from safelight.engines.sketch.scenes.terrain import land

_TAU = 2 * np.pi


def sea(sheet: Sheet) -> list[Layer]:
    """Water to the horizon, perhaps an island and a boat, and waves towards us."""
    horizon = float(sheet.chance.uniform(0.5, 0.6))
    layers = [paint_sky(sheet, horizon)]
    if sheet.chance.random() < 0.55:
        layers.append(_island(sheet, horizon))
    layers.append(_water(sheet, horizon))
    if "boat" in sheet.figures or (not sheet.figures and sheet.chance.random() < 0.45):
        place = (float(sheet.chance.uniform(0.25, 0.75)), horizon + 0.05)
        layers.append(boat(sheet.size, place, sheet.unit * 0.17, sheet.near, sheet.light))
    count = int(sheet.chance.integers(4, 7))
    for at in range(count):
        share = at / (count - 1)
        place = horizon + 0.1 + (0.97 - horizon - 0.1) * share**1.2
        layers += _wave(sheet, place, share)
    return with_what_flies(layers, sheet, 0.3)


def _island(sheet: Sheet, horizon: float) -> Layer:
    line = ridge(sheet.size[0], sheet.chance, 1.6, 0.45, 0.4)
    across = np.linspace(0, 1, sheet.size[0], dtype=np.float32)
    middle = float(sheet.chance.uniform(0.1, 0.9))
    hump = np.exp(-(((across - middle) / 0.22) ** 2)).astype(np.float32)
    heights = horizon + 0.03 - (0.06 + 0.12 * line) * hump
    tone = mix(sheet.far, sheet.horizon, 0.25)
    return land(sheet, heights, 0.1, mix(tone, sheet.horizon, 0.4), 0.16, 0.35, tone)


def _water(sheet: Sheet, horizon: float) -> Layer:
    width, height = sheet.size
    top = int(horizon * height)
    deep = mix(sheet.far, sheet.near, 0.3)
    upper, lower = mix(sheet.horizon, deep, 0.25), mix(sheet.middle, deep, 0.45)
    water = gradient((width, height - top), [(0.0, upper), (0.12, lower), (1.0, deep)])
    tint(water, sheet.light, _glitter(sheet, water.size))
    return Layer(water, depth=0.2, top=top)


def _glitter(sheet: Sheet, size: Size) -> Image.Image:
    """The light on the water below the sun, as a mask: lines that grow towards us."""
    lines = max(40, int(size[1] * 0.5))
    depth = np.sort(sheet.chance.random(lines)) ** 1.6
    spread = sheet.unit * (0.03 + 0.32 * depth)
    places = sheet.sun[0] * size[0] + sheet.chance.normal(0, 1, lines) * spread
    halves = sheet.unit * (0.008 + 0.05 * depth) * sheet.chance.uniform(0.3, 1.4, lines)

    def draw(pen: ImageDraw.ImageDraw, scale: float) -> None:
        for x, share, half in zip(places, depth, halves, strict=True):
            thick = max(0.5, sheet.unit * (0.0009 + 0.0035 * share))
            disc(pen, (x, share * size[1]), (half, thick), scale, int(235 - 120 * share))

    return drawn(size, draw)


def _wave(sheet: Sheet, place: float, share: float) -> list[Layer]:
    """One wave: its body, and the foam along its crest."""
    phase = float(sheet.chance.random())
    crest = _crest(sheet, 3.4 - 2.1 * share, phase)
    heights = (place - (0.018 + 0.05 * share) * crest).astype(np.float32)
    body = mix(mix(sheet.middle, sheet.far, 0.5), sheet.near, 0.15 + 0.7 * share)
    top_tone = mix(body, sheet.horizon, 0.34 * (1 - 0.5 * share))
    depth, sway = 0.3 + 0.7 * share, 0.02 + 0.03 * share
    wave = land(sheet, heights, share, body, depth, 0.0, top_tone)
    mask, top = below(sheet.size, (heights - 0.003 - 0.005 * share * crest) * sheet.size[1])
    foam = Layer(flat(mask, mix(top_tone, sheet.light, 0.72)), mask, depth, top)
    lift = 0.008 + 0.006 * share
    return [replace(layer, sway=sway, lift=lift, phase=phase) for layer in (foam, wave)]


def _crest(sheet: Sheet, long: float, phase: float) -> Floats:
    """The line of a wave: sharp above, round below, and no two of its tops alike."""
    width, height = sheet.size
    across = np.linspace(0, width / height, width, dtype=np.float32)
    swell = np.sin(_TAU * (across * long * 0.43 + sheet.chance.random()))
    angle = _TAU * (across * long + phase) + swell
    crest: Floats = (1 - np.abs(np.sin(angle / 2))) ** 1.35 + 0.25 * swell
    return crest
