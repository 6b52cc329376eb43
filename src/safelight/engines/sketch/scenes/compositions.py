"""The scenes that show no place, most of them on paper: garden, shapes, portrait, ribbons."""

from __future__ import annotations

from safelight.engines.sketch.figures.circles import arches, orbits
from safelight.engines.sketch.figures.people import bust
from safelight.engines.sketch.figures.stems import plants
from safelight.engines.sketch.figures.streams import stream
from safelight.engines.sketch.figures.tiling import tiles
from safelight.engines.sketch.layers import (
    Layer,
    as_mask,
    coarse,
    disc,
    drawn,
    flat,
    gradient,
    noise,
    smooth,
    tint,
)
from safelight.engines.sketch.palettes import mix
from safelight.engines.sketch.scenes.sheets import Sheet
from safelight.engines.sketch.scenes.skies import paint_sky


def _paper(sheet: Sheet, warm: float = 0.75) -> Layer:
    """A ground like tinted paper, lighter in its middle."""
    tone = mix(sheet.horizon, sheet.light, warm)
    paper = gradient(sheet.size, [(0, tone), (1, mix(tone, sheet.middle, 0.25))])
    blots = noise(coarse(sheet.size, 6), sheet.chance, (5, 5), 4)
    tint(paper, mix(tone, sheet.middle, 0.6), as_mask(smooth(blots, 0.45, 0.8), sheet.size), 0.3)
    return Layer(paper, depth=0.1)


def garden(sheet: Sheet) -> list[Layer]:
    """Three rows of plants before a halo."""
    dark = bool(sheet.dark or sheet.chance.random() < 0.3)
    layers = [paint_sky(sheet, 1.0, 0.4) if dark else _paper(sheet), _halo(sheet, dark)]
    tones = (sheet.far, mix(sheet.far, sheet.near, 0.5), sheet.near)
    pale, warm = mix(sheet.accent, sheet.light, 0.5), mix(sheet.middle, sheet.accent, 0.3)
    blooms = (sheet.accent, pale, warm)
    for row in range(3):
        layers += plants(sheet.size, row, tones, blooms, sheet.light, sheet.chance)
    return layers


def _halo(sheet: Sheet, dark: bool) -> Layer:
    width, height = sheet.size
    at = (width * float(sheet.chance.uniform(0.35, 0.65)), height * 0.4)
    radius = sheet.unit * float(sheet.chance.uniform(0.24, 0.34))
    halo = drawn(sheet.size, lambda pen, scale: disc(pen, at, radius, scale))
    shade = mix(sheet.middle, sheet.light, 0.2) if dark else mix(sheet.accent, sheet.horizon, 0.55)
    return Layer(flat(halo, shade), halo, depth=0.2)


def shapes(sheet: Sheet) -> list[Layer]:
    """Tiles of quarter and half circles, after the posters of the nineteen-twenties."""
    layers = [_paper(sheet)]
    tones = [sheet.accent, sheet.near, sheet.far, sheet.middle, sheet.high, sheet.horizon]
    kind = int(sheet.chance.integers(3))
    if kind == 0:
        layers.append(tiles(sheet.size, tones, sheet.light, sheet.chance))
    elif kind == 1:
        layers += orbits(sheet.size, tones, sheet.chance)
    else:
        layers += arches(sheet.size, tones, sheet.chance)
    return layers


def portrait(sheet: Sheet) -> list[Layer]:
    """Head and shoulders, on paper or before a dark sky."""
    layers = [_paper(sheet, 0.35) if not sheet.dark else paint_sky(sheet, 1.0, 0.3)]
    tones = (
        sheet.high,
        sheet.middle,
        sheet.horizon,
        sheet.light,
        sheet.far,
        sheet.near,
        sheet.accent,
    )
    return layers + bust(sheet.size, tones, sheet.chance)


def ribbons(sheet: Sheet) -> list[Layer]:
    """Bands that follow one flow, from far and pale to near and bright."""
    upper, lower = mix(sheet.near, sheet.high, 0.5), mix(sheet.high, sheet.middle, 0.6)
    back = gradient(sheet.size, [(0, upper), (0.6, sheet.high), (1, lower)])
    clouds = noise(coarse(sheet.size, 8), sheet.chance, (2, 2), 3)
    tint(back, sheet.middle, as_mask(clouds, sheet.size), 0.6)
    tones = [sheet.middle, sheet.horizon, sheet.accent, sheet.light, sheet.far]
    bands = [stream(sheet.size, row, tones, sheet.chance) for row in range(3)]
    return [Layer(back, depth=0.1), *bands]
