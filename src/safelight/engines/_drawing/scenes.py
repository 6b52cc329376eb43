"""The scenes that can be drawn, each from a palette and a source of chance.

A scene is a function in `PAINTERS`: it takes a `Sheet` and gives layers, the farthest first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from safelight.engines._drawing import figures
from safelight.engines._drawing.layers import (
    Chance,
    Floats,
    Layer,
    Motes,
    Size,
    Stage,
    as_mask,
    below,
    coarse,
    disc,
    drawn,
    flat,
    glow,
    gradient,
    noise,
    polygon,
    rgb,
    ridge,
    smooth,
    tint,
)
from safelight.engines._drawing.palettes import PALETTES, Colour, Idea, Palette, colour, mix

_TAU = 2 * np.pi


@dataclass(frozen=True, slots=True)
class Sheet:
    """What a scene is drawn with: the canvas, the colours, chance, and where the light stands."""

    size: Size
    chance: Chance
    high: Colour
    middle: Colour
    horizon: Colour
    light: Colour
    far: Colour
    near: Colour
    accent: Colour
    dark: bool
    sun: tuple[float, float]  # shares of the canvas
    figures: tuple[str, ...]

    @property
    def unit(self) -> float:
        """The shorter side: what things are measured by."""
        return float(min(self.size))

    def ground(self, share: float) -> Colour:
        """The colour of the land, from the farthest (0) to the nearest (1)."""
        return mix(self.far, self.near, share)


def stage(idea: Idea, size: Size, chance: Chance) -> Stage:
    """The scene of `idea`, ready to be composed at any time and from any place."""
    sheet = _sheet(idea, PALETTES[idea.palette], size, chance)
    layers = PAINTERS[idea.scene](sheet)
    return Stage(
        size=size,
        layers=(*layers, *figures.foreground(sheet.size, idea.figures, sheet.near, chance)),
        motes=_motes(idea.motes, sheet),
    )


def _sheet(idea: Idea, palette: Palette, size: Size, chance: Chance) -> Sheet:
    shift = chance.normal(0, 7, 3).astype(np.float32)  # no two skies are quite the same
    return Sheet(
        size=size,
        chance=chance,
        high=colour(palette.high) + shift,
        middle=colour(palette.middle) + shift,
        horizon=colour(palette.horizon) + shift / 2,
        light=colour(palette.light),
        far=colour(palette.far) + shift,
        near=colour(palette.near) + shift / 3,
        accent=colour(palette.accent),
        dark=palette.dark,
        sun=(float(chance.uniform(0.2, 0.8)), float(chance.uniform(0.2, 0.42))),
        figures=idea.figures,
    )


# --- the sky


def _sky(sheet: Sheet, end: float = 0.75, clouds: float = 1.0) -> Layer:
    """The sky down to `end` (a share of the height), with its light and its clouds."""
    stops = [(0.0, sheet.high), (end * 0.55, sheet.middle), (end, sheet.horizon)]
    sky = gradient(sheet.size, stops)
    if sheet.dark:
        _stars(sky, sheet, end)
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
    crescent = sheet.dark and sheet.chance.random() < 0.45
    side = max(2, int(radius * 2) + 4)
    left, top = int(at[0] - side / 2), int(at[1] - side / 2)
    x, y = at[0] - left, at[1] - top

    def draw(pen: ImageDraw.ImageDraw, scale: float) -> None:
        disc(pen, (x, y), radius, scale)
        if crescent:
            disc(pen, (x + radius * 0.42, y - radius * 0.22), radius * 0.9, scale, 0)

    sky.paste(rgb(sheet.light), (left, top), drawn((side, side), draw))


def _stars(sky: Image.Image, sheet: Sheet, end: float) -> None:
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


# --- land


def _land(
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
    lean = (0.35 + wander * 0.9) * under * small[0] / sheet.size[0]
    columns = np.arange(small[0], dtype=np.float32)[None, :] + lean
    slope = np.gradient(crest) * small[0] / sheet.size[0]
    padded = np.pad(slope, 2, "edge")
    soft = sum(padded[at : at + len(slope)] for at in range(5)) / 5
    falls = np.interp(columns, np.arange(small[0]), soft).astype(np.float32)
    side = 1 if sheet.sun[0] > 0.5 else -1
    lit = smooth(side * falls, -0.12, 0.18) + wander * 0.25
    fade = 1 - smooth(under / np.float32(image.height), 0.1, 0.75)
    tint(image, mix(tone, sheet.light, 0.55), as_mask(lit * fade, image.size), strength)
    tint(image, mix(tone, sheet.near, 0.6), as_mask((1 - lit) * fade, image.size), strength * 0.8)


def _hills(sheet: Sheet) -> list[Layer]:
    layers = [_sky(sheet)]
    count = int(sheet.chance.integers(4, 7))
    peaks = sheet.chance.random() < 0.6
    start = float(sheet.chance.uniform(0.4, 0.52))
    for at in range(count):
        share = at / (count - 1)
        place = start + (0.93 - start) * share**1.15
        tall = float(sheet.chance.uniform(0.12, 0.2)) * (1 if peaks else 0.6) * (1 - 0.35 * share)
        sharp = max(0.0, 0.75 - 1.1 * share) if peaks else 0.0
        line = ridge(sheet.size[0], sheet.chance, 1.2 + 1.3 * share, 0.46 - 0.1 * share, sharp)
        heights = place - tall * line
        foot = mix(sheet.ground(share), sheet.horizon, 0.55 * (1 - share * 0.85))
        layers.append(_land(sheet, heights, share, foot, 0.2 + 0.8 * share, 0.5 if peaks else 0.3))
        if 0.45 < share < 1 and sheet.chance.random() < 0.75:
            layers.append(
                figures.tree_line(
                    sheet.size,
                    heights,
                    sheet.ground(share + 0.12),
                    0.02 + 0.05 * share,
                    layers[-1].depth,
                    sheet.chance,
                )
            )
    return _with_distant_figures(layers, sheet, 0.42)


def _desert(sheet: Sheet) -> list[Layer]:
    layers = [_sky(sheet, 0.7, 0.5)]
    if "pyramids" in sheet.figures or sheet.chance.random() < 0.3:
        layers.append(figures.pyramids(sheet.size, sheet.far, sheet.light, sheet.chance))
    count = int(sheet.chance.integers(4, 6))
    for at in range(count):
        share = at / (count - 1)
        place = 0.56 + 0.36 * share
        line = _dunes(sheet)
        heights = place - (0.07 + 0.1 * share) * line
        tone = mix(sheet.far, sheet.near, 0.62 * share)
        crest = mix(tone, sheet.light, 0.22)
        depth = 0.25 + 0.75 * share
        layers.append(_land(sheet, heights, share, tone, depth, 0.0, crest))
        layers.append(_lee(sheet, heights, mix(tone, sheet.near, 0.45), depth))
    return _with_distant_figures(layers, sheet, 0.4)


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


def _forest(sheet: Sheet) -> list[Layer]:
    sky = _sky(sheet, 0.9, 0.6)
    layers = [sky, _rays(sheet, sky.depth)]
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
        trees = figures.conifers if tall or at % 2 == 0 else figures.round_trees
        layers.append(trees(sheet.size, heights, tone, size, depth, sheet.chance))
        layers.append(_land(sheet, heights, share, foot, depth, 0.25, tone))
        if at == 2:
            layers.append(_rays(sheet, depth))
    return _with_distant_figures(layers, sheet, 0.2)


def _rays(sheet: Sheet, depth: float) -> Layer:
    """Beams of light that fan out from the sun."""
    small = coarse(sheet.size, 4)
    across = np.linspace(0, 1, small[0], dtype=np.float32)[None, :] - np.float32(sheet.sun[0])
    down = np.linspace(0, 1, small[1], dtype=np.float32)[:, None] - np.float32(sheet.sun[1] - 0.45)
    angle = np.arctan2(across, np.maximum(down, 0.02))
    beams = np.interp(angle, np.linspace(-1.6, 1.6, 60), sheet.chance.random(60) ** 1.5)
    fade = np.exp(-2.2 * np.abs(down - 0.5)).astype(np.float32)
    mask = as_mask((beams.astype(np.float32) * fade) * 0.42, sheet.size)
    return Layer(flat(mask, mix(sheet.light, sheet.horizon, 0.3)), mask, depth=depth)


# --- water


def _sea(sheet: Sheet) -> list[Layer]:
    horizon = float(sheet.chance.uniform(0.5, 0.6))
    layers = [_sky(sheet, horizon)]
    if sheet.chance.random() < 0.55:
        layers.append(_island(sheet, horizon))
    layers.append(_water(sheet, horizon))
    if "boat" in sheet.figures or (not sheet.figures and sheet.chance.random() < 0.45):
        place = (float(sheet.chance.uniform(0.25, 0.75)), horizon + 0.05)
        layers.append(figures.boat(sheet.size, place, sheet.unit * 0.17, sheet.near, sheet.light))
    count = int(sheet.chance.integers(4, 7))
    for at in range(count):
        share = at / (count - 1)
        place = horizon + 0.1 + (0.97 - horizon - 0.1) * share**1.2
        layers += _wave(sheet, place, share)
    return _with_distant_figures(layers, sheet, 0.3)


def _island(sheet: Sheet, horizon: float) -> Layer:
    line = ridge(sheet.size[0], sheet.chance, 1.6, 0.45, 0.4)
    across = np.linspace(0, 1, sheet.size[0], dtype=np.float32)
    middle = float(sheet.chance.uniform(0.1, 0.9))
    hump = np.exp(-(((across - middle) / 0.22) ** 2)).astype(np.float32)
    heights = horizon + 0.03 - (0.06 + 0.12 * line) * hump
    tone = mix(sheet.far, sheet.horizon, 0.25)
    return _land(sheet, heights, 0.1, mix(tone, sheet.horizon, 0.4), 0.16, 0.35, tone)


def _water(sheet: Sheet, horizon: float) -> Layer:
    width, height = sheet.size
    top = int(horizon * height)
    size = (width, height - top)
    deep = mix(sheet.far, sheet.near, 0.3)
    water = gradient(
        size,
        [(0.0, mix(sheet.horizon, deep, 0.25)), (0.12, mix(sheet.middle, deep, 0.45)), (1.0, deep)],
    )
    lines = max(40, int(size[1] * 0.5))
    depth = np.sort(sheet.chance.random(lines)) ** 1.6
    spread = sheet.unit * (0.03 + 0.32 * depth)
    places = sheet.sun[0] * width + sheet.chance.normal(0, 1, lines) * spread
    halves = sheet.unit * (0.008 + 0.05 * depth) * sheet.chance.uniform(0.3, 1.4, lines)

    def draw(pen: ImageDraw.ImageDraw, scale: float) -> None:
        for x, share, half in zip(places, depth, halves, strict=True):
            thick = max(0.5, sheet.unit * (0.0009 + 0.0035 * share))
            disc(pen, (x, share * size[1]), (half, thick), scale, int(235 - 120 * share))

    tint(water, sheet.light, drawn(size, draw))
    return Layer(water, depth=0.2, top=top)


def _wave(sheet: Sheet, place: float, share: float) -> list[Layer]:
    """One wave: its body, and the foam along its crest."""
    width, height = sheet.size
    across = np.linspace(0, width / height, width, dtype=np.float32)
    long = 3.4 - 2.1 * share
    phase = float(sheet.chance.random())
    swell = np.sin(_TAU * (across * long * 0.43 + sheet.chance.random()))
    angle = _TAU * (across * long + phase) + swell
    crest = (1 - np.abs(np.sin(angle / 2))) ** 1.35 + 0.25 * swell
    heights = (place - (0.018 + 0.05 * share) * crest).astype(np.float32)
    body = mix(mix(sheet.middle, sheet.far, 0.5), sheet.near, 0.15 + 0.7 * share)
    top_tone = mix(body, sheet.horizon, 0.34 * (1 - 0.5 * share))
    depth, sway = 0.3 + 0.7 * share, 0.02 + 0.03 * share
    wave = _land(sheet, heights, share, body, depth, 0.0, top_tone)
    mask, top = below(sheet.size, (heights - 0.003 - 0.005 * share * crest) * height)
    foam = Layer(flat(mask, mix(top_tone, sheet.light, 0.72)), mask, depth, top)
    lines = (_moving(layer, sway, 0.008 + 0.006 * share, phase) for layer in (foam, wave))
    return list(lines)


def _moving(layer: Layer, sway: float, lift: float, phase: float) -> Layer:
    return Layer(layer.image, layer.mask, layer.depth, layer.top, layer.left, sway, lift, phase)


# --- what people build


def _city(sheet: Sheet) -> list[Layer]:
    layers = [_sky(sheet, 0.85, 0.7)]
    water = sheet.chance.random() < 0.5
    ground = 0.8 if water else 1.0
    for at in range(4):
        share = at / 3
        tone = mix(sheet.ground(share), sheet.horizon, 0.35 * (1 - share))
        foot = mix(tone, sheet.horizon, 0.45 * (1 - share * 0.7))
        tall = (0.62 - 0.14 * at) * (0.8 if water else 1.0)
        layers.append(
            figures.skyline(
                sheet.size,
                ground,
                tall,
                share,
                (tone, foot),
                (sheet.light, sheet.accent),
                sheet.chance,
            )
        )
    if water:
        layers.append(_reflection(layers, sheet, ground))
    return _with_distant_figures(layers, sheet, 0.3)


def _reflection(layers: list[Layer], sheet: Sheet, place: float) -> Layer:
    """Still water at `place` that shows what stands above it."""
    width, height = sheet.size
    top = int(place * height)
    above = Image.new("RGB", sheet.size)
    for layer in layers:
        above.paste(layer.image, (0, layer.top), layer.mask)
    below_ = above.transpose(Image.Transpose.FLIP_TOP_BOTTOM).crop(
        (0, height - top, width, 2 * (height - top) + 1)
    )
    below_ = below_.crop((0, 0, width, height - top))
    rows = np.arange(height - top)
    waves = np.sin(rows / max(1.0, sheet.unit * 0.006) + sheet.chance.normal(0, 0.8, len(rows)))
    shifts = (waves * sheet.unit * 0.006 * (0.3 + rows / len(rows))).astype(int)
    columns = (np.arange(width)[None, :] + shifts[:, None]).clip(0, width - 1)
    pixels = np.asarray(below_)[rows[:, None], columns]
    water = Image.fromarray(np.ascontiguousarray(pixels))
    tint(water, sheet.near, gradient_mask(water.size, 0.25, 0.75))
    return Layer(water, depth=1.0, top=top)


def gradient_mask(size: Size, top: float, bottom: float) -> Image.Image:
    rows = np.linspace(top, bottom, size[1], dtype=np.float32)[:, None]
    return as_mask(np.repeat(rows, 2, axis=1), (2, size[1])).resize(size)


# --- on paper


def _paper(sheet: Sheet, warm: float = 0.75) -> Layer:
    """A ground like tinted paper, lighter in its middle."""
    tone = mix(sheet.horizon, sheet.light, warm)
    paper = gradient(sheet.size, [(0, tone), (1, mix(tone, sheet.middle, 0.25))])
    blots = noise(coarse(sheet.size, 6), sheet.chance, (5, 5), 4)
    tint(paper, mix(tone, sheet.middle, 0.6), as_mask(smooth(blots, 0.45, 0.8), sheet.size), 0.3)
    return Layer(paper, depth=0.1)


def _garden(sheet: Sheet) -> list[Layer]:
    width, height = sheet.size
    dark = sheet.dark or sheet.chance.random() < 0.3
    layers = [_sky(sheet, 1.0, 0.4) if dark else _paper(sheet)]
    at = (width * float(sheet.chance.uniform(0.35, 0.65)), height * 0.4)
    radius = sheet.unit * float(sheet.chance.uniform(0.24, 0.34))
    halo = drawn(sheet.size, lambda pen, scale: disc(pen, at, radius, scale))
    shade = mix(sheet.middle, sheet.light, 0.2) if dark else mix(sheet.accent, sheet.horizon, 0.55)
    layers.append(Layer(flat(halo, shade), halo, depth=0.2))
    tones = (sheet.far, mix(sheet.far, sheet.near, 0.5), sheet.near)
    blooms = (
        sheet.accent,
        mix(sheet.accent, sheet.light, 0.5),
        mix(sheet.middle, sheet.accent, 0.3),
    )
    for row in range(3):
        layers += figures.plants(sheet.size, row, tones, blooms, sheet.light, sheet.chance)
    return layers


def _shapes(sheet: Sheet) -> list[Layer]:
    """Tiles of quarter and half circles, after the posters of the nineteen-twenties."""
    layers = [_paper(sheet)]
    tones = [sheet.accent, sheet.near, sheet.far, sheet.middle, sheet.high, sheet.horizon]
    kind = int(sheet.chance.integers(3))
    if kind == 0:
        layers.append(figures.tiles(sheet.size, tones, sheet.light, sheet.chance))
    elif kind == 1:
        layers += figures.orbits(sheet.size, tones, sheet.chance)
    else:
        layers += figures.arches(sheet.size, tones, sheet.chance)
    return layers


def _portrait(sheet: Sheet) -> list[Layer]:
    layers = [_paper(sheet, 0.35) if not sheet.dark else _sky(sheet, 1.0, 0.3)]
    tones = (
        sheet.high,
        sheet.middle,
        sheet.horizon,
        sheet.light,
        sheet.far,
        sheet.near,
        sheet.accent,
    )
    return layers + figures.bust(sheet.size, tones, sheet.chance)


def _ribbons(sheet: Sheet) -> list[Layer]:
    """Bands that follow one flow, from far and pale to near and bright."""
    back = gradient(
        sheet.size,
        [
            (0, mix(sheet.near, sheet.high, 0.5)),
            (0.6, sheet.high),
            (1, mix(sheet.high, sheet.middle, 0.6)),
        ],
    )
    tint(
        back,
        sheet.middle,
        as_mask(noise(coarse(sheet.size, 8), sheet.chance, (2, 2), 3), sheet.size),
        0.6,
    )
    layers = [Layer(back, depth=0.1)]
    tones = [sheet.middle, sheet.horizon, sheet.accent, sheet.light, sheet.far]
    for row in range(3):
        layers.append(figures.stream(sheet.size, row, tones, sheet.chance))
    return layers


def _space(sheet: Sheet) -> list[Layer]:
    width, height = sheet.size
    deep = mix(sheet.near, np.zeros(3, np.float32), 0.35)
    sky = gradient(sheet.size, [(0, deep), (1, mix(deep, sheet.high, 0.6))])
    clouds = noise(coarse(sheet.size, 4), sheet.chance, (2.2 * width / height, 2.2), 5)
    veil = noise(coarse(sheet.size, 4), sheet.chance, (3, 3), 5)
    tint(sky, sheet.middle, as_mask(smooth(clouds, 0.42, 0.8), sheet.size), 0.75)
    tint(sky, sheet.horizon, as_mask(smooth(clouds * veil, 0.3, 0.55), sheet.size), 0.6)
    _stars(sky, sheet, 1.4)
    layers = [Layer(sky, depth=0.08)]
    layers += figures.planet(
        sheet.size, (sheet.accent, sheet.horizon, sheet.near, sheet.light), sheet.chance
    )
    if sheet.chance.random() < 0.5:
        line = ridge(width, sheet.chance, 2.0, 0.5, 0.6)
        heights = 0.92 - 0.14 * line
        tone = mix(sheet.near, sheet.far, 0.25)
        layers.append(_land(sheet, heights, 0.9, sheet.near, 0.9, 0.5, tone))
    return layers


def _with_distant_figures(layers: list[Layer], sheet: Sheet, place: float) -> list[Layer]:
    """`layers` with birds and balloons in the sky, before all else that is there."""
    if "balloon" in sheet.figures:
        layers.insert(2, figures.balloon(sheet.size, sheet.accent, sheet.light, sheet.chance))
    if "birds" in sheet.figures or (not sheet.dark and sheet.chance.random() < 0.35):
        layers.insert(1, figures.birds(sheet.size, place, sheet.near, sheet.chance))
    return layers


# --- the air


def _motes(kind: str | None, sheet: Sheet) -> Motes | None:
    if kind is None:
        return None
    size, fall, drift, count = {
        "snow": (0.007, 0.09, 0.03, 170),
        "rain": (0.03, 0.9, 0.08, 220),
        "petals": (0.013, 0.06, 0.07, 60),
        "sparks": (0.012, -0.03, 0.02, 70),
    }[kind]
    speeds = sheet.chance.uniform(0.6, 1.4, (count, 2)) * (drift, fall)
    shade = sheet.accent if kind in ("petals", "sparks") else sheet.light
    if kind == "petals":
        shade = mix(sheet.accent, sheet.light, 0.45)
    return Motes(
        sprite=_sprite(kind, max(1.0, size * sheet.unit)),
        colour=rgb(shade),
        places=sheet.chance.random((count, 2), dtype=np.float32),
        speeds=speeds.astype(np.float32),
    )


def _sprite(kind: str, size: float) -> Image.Image:
    side = int(size) + 3
    if kind == "rain":
        thin = max(0.6, size * 0.02)
        points = [
            (side * 0.2, 0),
            (side * 0.2 + thin, 0),
            (side * 0.12 + thin, size),
            (side * 0.12, size),
        ]
        mask = drawn((side, side), lambda pen, scale: polygon(pen, points, scale))
        return mask.point([value // 2 for value in range(256)])
    if kind == "sparks":
        return glow((side * 2, side * 2), (side, side), side, 1.5)
    wide = (size / 2, size / 3.2) if kind == "petals" else size / 2
    return drawn((side, side), lambda pen, scale: disc(pen, (side / 2, side / 2), wide, scale))


PAINTERS: Mapping[str, Callable[[Sheet], list[Layer]]] = {
    "hills": _hills,
    "sea": _sea,
    "forest": _forest,
    "city": _city,
    "desert": _desert,
    "garden": _garden,
    "shapes": _shapes,
    "portrait": _portrait,
    "ribbons": _ribbons,
    "space": _space,
}
