"""Plants in rows: stems with leaves, and daisies, tulips, seed heads or ferns at their ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image, ImageChops

from safelight.engines.sketch.figures.leaves import draw_veins, leaf
from safelight.engines.sketch.figures.stencils import Pen, Points, cut, polygons
from safelight.engines.sketch.layers import Chance, Layer, Size, disc, drawn, flat, tint
from safelight.engines.sketch.palettes import Colour, mix

_TAU = 2 * np.pi
_FERN = 3  # the kind of plant that has leaves only; below it are the kinds of flowers


def plants(
    size: Size,
    row: int,
    tones: Sequence[Colour],
    blooms: Sequence[Colour],
    light: Colour,
    chance: Chance,
) -> list[Layer]:
    """One row (0 the farthest) of stems with leaves and flowers."""
    width, height = size
    layers = []
    count = max(2, round(width / min(size) * (3, 3, 4)[row]))
    depth, sway = 0.35 + 0.25 * row, 0.008 + 0.004 * row
    for at in range(count):
        x = width * (at + 0.5 + float(chance.normal(0, 0.28))) / count
        tall = height * (0.74, 0.6, 0.36)[row] * float(chance.uniform(0.72, 1.12))
        bloom = blooms[int(chance.integers(len(blooms)))]
        tone = mix(tones[row], bloom, float(chance.uniform(0, 0.12)))
        kind = int(chance.integers(4))
        phase = float(chance.random())
        layer = _plant(size, (x, tall), kind, (tone, bloom, light), chance)
        layers.append(replace(layer, depth=depth, sway=sway, phase=phase))
    return layers


def _plant(
    size: Size, place: tuple[float, float], kind: int, tones: Sequence[Colour], chance: Chance
) -> Layer:
    """One stem: its leaves in pairs, and a flower, a round seed head or a leaf at its end."""
    x, tall = place
    half = tall * 0.42
    box = (max(4, int(half * 2)), max(4, int(tall * 1.16)))
    stem = _stem(half, box[1], tall, tall * float(chance.normal(0, 0.09)))
    image, mask = _green(box, stem, _leaves(stem, tall, kind, chance), tall, tones)
    if kind != _FERN:
        radius = tall * float(chance.uniform(0.08, 0.13))
        petals, heart = _bloom(box, stem[-1], radius, kind, chance)
        cut(image, [(petals, tones[1]), (heart, mix(tones[1], tones[0], 0.65))])
        mask = ImageChops.lighter(ImageChops.lighter(mask, petals), heart)
    return Layer(image, mask, top=size[1] - box[1], left=int(x - half))


def _green(
    box: Size, stem: Points, leaves: Sequence[Points], tall: float, tones: Sequence[Colour]
) -> tuple[Image.Image, Image.Image]:
    """Stem and leaves with their veins, and the mask of them."""
    thick = max(0.8, tall * 0.006)

    def draw(pen: Pen, scale: float) -> None:
        line = [(px * scale, py * scale) for px, py in stem]
        pen.line(line, fill=255, width=max(1, round(thick * scale * 1.6)), joint="curve")
        polygons(pen, leaves, scale)

    body = drawn(box, draw)
    veins = drawn(box, lambda pen, scale: draw_veins(pen, scale, leaves, thick * 0.5))
    image = flat(body, tones[0])
    tint(image, mix(tones[0], tones[2], 0.35), veins)
    return image, body


def _stem(x: float, foot: float, tall: float, lean: float) -> list[tuple[float, float]]:
    shares = np.linspace(0, 1, 24)
    return [(float(x + lean * share**2), float(foot - tall * share)) for share in shares]


def _leaves(stem: Points, tall: float, kind: int, chance: Chance) -> list[Points]:
    fern = kind == _FERN
    pairs = 9 if fern else int(chance.integers(3, 6))
    fat = 0.15 if fern else 0.24
    leaves: list[Points] = []
    for at in np.linspace(0.14, 0.98 if fern else 0.78, pairs):
        x, y = stem[int(at * (len(stem) - 1))]
        long = tall * (0.2 if fern else 0.24) * (1.1 - 0.75 * at)
        for side in (-1, 1):
            angle = -0.5 * np.pi + side * float(chance.uniform(0.75, 1.15))
            leaves.append(leaf((x, y), angle, long * float(chance.uniform(0.8, 1.15)), fat))
    if fern:
        leaves.append(leaf(stem[-2], -0.5 * np.pi, tall * 0.1, fat))
    return leaves


def _bloom(
    size: Size, at: tuple[float, float], radius: float, kind: int, chance: Chance
) -> tuple[Image.Image, Image.Image]:
    """Petals and heart: a daisy, a tulip or a ball."""
    count = int(chance.integers(6, 12))
    turn = float(chance.random())

    def draw_petals(pen: Pen, scale: float) -> None:
        if kind == 0:
            polygons(pen, _daisy(at, radius, count, turn), scale)
        elif kind == 1:
            polygons(pen, _tulip(at, radius), scale)
        else:
            _draw_ball(pen, scale, at, radius, turn)

    heart = radius * (0.34, 0.0, 0.2)[kind]
    return drawn(size, draw_petals), drawn(
        size, lambda pen, scale: disc(pen, at, heart, scale) if heart else None
    )


def _daisy(at: tuple[float, float], radius: float, count: int, turn: float) -> list[Points]:
    angles = [_TAU * (petal + turn) / count for petal in range(count)]
    return [leaf(at, angle, radius * 1.25, 0.26) for angle in angles]


def _tulip(at: tuple[float, float], radius: float) -> list[Points]:
    root = (at[0], at[1] + radius * 0.6)
    return [leaf(root, -0.5 * np.pi + lean, radius * 1.9, 0.3) for lean in (-0.42, 0.42, 0.0)]


def _draw_ball(pen: Pen, scale: float, at: tuple[float, float], radius: float, turn: float) -> None:
    """The seed head of a dandelion: rays with a dot at the end of each."""
    x, y = at
    wide = max(1, round(radius * 0.035 * scale))
    for ray in range(26):
        angle = _TAU * (ray + turn) / 26
        end = (x + radius * np.cos(angle), y + radius * np.sin(angle))
        pen.line([(x * scale, y * scale), (end[0] * scale, end[1] * scale)], fill=255, width=wide)
        disc(pen, end, radius * 0.1, scale)
