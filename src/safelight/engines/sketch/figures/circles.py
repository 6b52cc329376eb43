"""Compositions of large round forms: rings, discs and bars that overlap, and arches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from safelight.engines.sketch.figures.stencils import Pen, cut
from safelight.engines.sketch.layers import Chance, Layer, Size, disc, drawn, gradient, polygon
from safelight.engines.sketch.palettes import Colour, mix

_TAU = 2 * np.pi


def orbits(size: Size, tones: Sequence[Colour], chance: Chance) -> list[Layer]:
    """Large rings, discs and bars that overlap."""
    width, height = size
    unit = min(size)
    layers: list[Layer] = []
    for at in range(int(chance.integers(6, 10))):
        tone = tones[at % len(tones)]
        centre = (float(chance.normal(0.5, 0.2)) * width, float(chance.normal(0.5, 0.2)) * height)
        radius = unit * float(chance.uniform(0.34, 0.42) if at == 0 else chance.uniform(0.06, 0.26))
        kind = "disc" if at == 0 else str(chance.choice(["disc", "ring", "bar", "half"]))
        layers.append(_orbit(kind, centre, radius, tone, chance, 0.25 + 0.08 * at))
    return layers


def _orbit(
    kind: str,
    centre: tuple[float, float],
    radius: float,
    tone: Colour,
    chance: Chance,
    depth: float,
) -> Layer:
    side = int(radius * 2.2) + 4
    mask = _orbit_mask(side, kind, radius, chance)
    image = gradient((side, side), [(0, mix(tone, np.full(3, 255, np.float32), 0.14)), (1, tone)])
    left, top = int(centre[0] - side / 2), int(centre[1] - side / 2)
    return Layer(image, mask, depth, top, left, 0.012, 0.012, float(chance.random()))


def _orbit_mask(side: int, kind: str, radius: float, chance: Chance) -> Image.Image:
    turn = float(chance.uniform(0, _TAU))
    thin = float(chance.uniform(0.04, 0.3))
    middle = (side / 2, side / 2)

    def draw(pen: Pen, scale: float) -> None:
        if kind == "bar":
            _draw_bar(pen, scale, side, radius, thin, turn)
            return
        disc(pen, middle, radius, scale)
        if kind == "ring":
            disc(pen, middle, radius * (1 - thin), scale, 0)
        if kind == "half":
            _cut_half(pen, scale, side, turn)

    mask = drawn((side, side), draw)
    return mask.point([round(value * 0.92) for value in range(256)]) if kind == "disc" else mask


def _draw_bar(pen: Pen, scale: float, side: int, radius: float, thin: float, turn: float) -> None:
    dx, dy = np.cos(turn) * radius, np.sin(turn) * radius
    ends = [
        ((side / 2 - dx) * scale, (side / 2 - dy) * scale),
        ((side / 2 + dx) * scale, (side / 2 + dy) * scale),
    ]
    pen.line(ends, fill=255, width=max(1, int(radius * thin * scale)))


def _cut_half(pen: Pen, scale: float, side: int, turn: float) -> None:
    angles = [turn + bend for bend in (-1.57, -0.7, 0.7, 1.57)]
    far = [
        (side / 2 + np.cos(at) * side * 1.5, side / 2 + np.sin(at) * side * 1.5) for at in angles
    ]
    pen.polygon([(x * scale, y * scale) for x, y in far], fill=0)


def arches(size: Size, tones: Sequence[Colour], chance: Chance) -> list[Layer]:
    """Rainbow-like arches beside and before each other, and a disc above."""
    width, height = size
    unit = min(size)
    centre = (width * float(chance.uniform(0.2, 0.8)), height * 0.27)
    layers = [_orbit("disc", centre, unit * 0.14, tones[0], chance, 0.2)]
    count = max(3, round(3.2 * width / unit))
    for at in range(count):
        wide = unit * float(chance.uniform(0.3, 0.5))
        tall = height * float(chance.uniform(0.35, 0.72))
        x = width * (at + 0.5 + float(chance.normal(0, 0.15))) / count
        bands = [tones[which] for which in chance.permutation(len(tones))[:4]]
        layers.append(_arch(size, x, (wide, tall), bands, 0.3 + 0.1 * (at % 4)))
    return layers


def _arch(
    size: Size, x: float, measures: tuple[float, float], bands: Sequence[Colour], depth: float
) -> Layer:
    """An arch on the lower edge, its bands given from the outermost."""
    wide, tall = measures
    box = (int(wide) + 2, max(int(tall), int(wide)) + 2)
    image = Image.new("RGB", box)
    masks = [_arch_mask(box, wide, wide / 2 * (1 - at * 0.24)) for at in range(len(bands))]
    cut(image, list(zip(masks, bands, strict=True)))
    return Layer(image, masks[0], depth, size[1] - box[1] + 1, int(x - wide / 2))


def _arch_mask(box: Size, wide: float, half: float) -> Image.Image:
    middle, top = box[0] / 2, wide / 2
    left, right = middle - half, middle + half
    legs = [(left, top), (right, top), (right, box[1]), (left, box[1])]

    def draw(pen: Pen, scale: float) -> None:
        disc(pen, (middle, top), half, scale)
        polygon(pen, legs, scale)

    return drawn(box, draw)
