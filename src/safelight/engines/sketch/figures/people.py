"""People: head and shoulders in flat colours, in front of a halo and leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import ImageChops

from safelight.engines.sketch.figures.leaves import draw_veins, leaf
from safelight.engines.sketch.figures.stencils import (
    Pen,
    Points,
    band,
    cut,
    cut_out,
    placed,
    polygons,
)
from safelight.engines.sketch.layers import Chance, Layer, Size, disc, drawn, polygon, tint
from safelight.engines.sketch.palettes import Colour, mix

_TAU = 2 * np.pi
_SKINS = [
    np.array(tone, np.float32)
    for tone in ((243, 205, 172), (226, 172, 128), (188, 124, 82), (132, 84, 58), (98, 60, 44))
]

# Outlines in shares of the face's half width, from its middle; mirrored with the light.
_NECK = ((-0.42, 0.7), (0.42, 0.7), (0.62, 1.85), (0.0, 2.12), (-0.62, 1.85))
_SHADED = (
    *((0.02, -1.5), (0.0, -0.35), (0.06, -0.1), (0.2, 0.42), (0.02, 0.5), (0.06, 0.72)),
    *((0.0, 0.9), (0.04, 1.3), (0.0, 2.6), (-1.7, 2.6), (-1.7, -1.5)),
)
_LIPS = (
    *((-0.27, 0.76), (-0.1, 0.69), (0.0, 0.72), (0.1, 0.69), (0.27, 0.76)),
    *((0.1, 0.87), (-0.1, 0.87)),
)
_PART = (
    *((0.35, -1.55), (0.3, -0.98), (-0.2, -0.72), (-0.75, -0.5), (-0.98, 0.05)),
    *((-1.16, 0.3), (-1.3, -0.4), (-1.0, -1.2), (-0.4, -1.62)),
)
_OTHER_PART = (
    *((0.28, -1.55), (0.3, -0.98), (0.62, -0.68), (0.95, -0.1)),
    *((1.12, 0.3), (1.3, -0.4), (1.02, -1.2)),
)


@dataclass(frozen=True, slots=True)
class _Look:
    """Where a head is on its canvas, and how it looks."""

    size: Size
    x: float
    y: float
    face: float  # half its width
    long: float  # how long the hair is
    side: int  # 1 or -1: where the hair is parted

    def layer(self, shade: Colour, draw: Callable[[Pen, float, _Look], None]) -> Layer:
        """A part of it in one colour."""
        return cut_out(self.size, shade, 0.55, lambda pen, scale: draw(pen, scale, self))

    def outline(self, points: Points, turned: int = 1) -> Points:
        return placed(points, (self.x, self.y), self.face, turned)


def bust(size: Size, tones: Sequence[Colour], chance: Chance) -> list[Layer]:
    """Head and shoulders in flat colours, with half of the face in the shade."""
    _, middle, horizon, light, far, near, accent = tones
    width, height = size
    unit = min(width, height * 0.95)
    x, y = width * float(chance.uniform(0.44, 0.56)), height - unit * 0.55
    face = unit * float(chance.uniform(0.15, 0.175))
    skin = mix(_SKINS[int(chance.integers(len(_SKINS)))], mix(horizon, light, 0.3), 0.22)
    hair = mix(near, accent, float(chance.uniform(0, 0.3)))
    cloth = mix(accent, far, float(chance.uniform(0, 0.7)))
    long = float(chance.choice([0.6, 1.0, 2.1]))
    look = _Look(size, x, y, face, long, int(chance.choice([-1, 1])))
    leaves = _frond(size, (x, y, unit), (mix(far, middle, 0.2), light), chance)
    return [
        _halo(look, unit * 0.34, mix(accent, horizon, 0.35)),
        leaves,
        look.layer(hair, _hair_back),
        look.layer(cloth, _shoulders),
        _head(look, skin, (near, accent), chance),
        look.layer(hair, _fringe),
        look.layer(light, _earring),
    ]


def _halo(look: _Look, radius: float, shade: Colour) -> Layer:
    at = (look.x, look.y)
    return cut_out(look.size, shade, 0.15, lambda pen, scale: disc(pen, at, radius, scale))


def _frond(
    size: Size, place: tuple[float, float, float], tones: Sequence[Colour], chance: Chance
) -> Layer:
    """Leaves that frame the head."""
    x, y, unit = place
    shapes: list[Points] = []
    for side in (-1, 1):
        for angle in np.linspace(-0.3, 1.2, 5):
            turn = -0.5 * np.pi + side * (0.55 + float(angle))
            root = (x + side * unit * 0.18, y + unit * 0.2)
            shapes.append(leaf(root, turn, unit * float(chance.uniform(0.36, 0.5)), 0.085))
    leaves = band(size, 0, size[1], tones[0], 0.3, shapes)
    veins = drawn(size, lambda pen, scale: draw_veins(pen, scale, shapes, unit * 0.004))
    tint(leaves.image, mix(tones[0], tones[1], 0.5), veins)
    return leaves


def _hair_back(pen: Pen, scale: float, look: _Look) -> None:
    x, y, face, long = look.x, look.y, look.face, look.long
    disc(pen, (x, y - face * 0.25), (face * 1.32, face * 1.45), scale)
    if long > 0.8:
        disc(pen, (x, y + face * (long - 0.7)), (face * 1.38, face * (0.9 + 0.5 * long)), scale)
    else:
        disc(pen, (x, y - face * 1.75), face * 0.52, scale)  # a bun


def _shoulders(pen: Pen, scale: float, look: _Look) -> None:
    x, face, foot = look.x, look.face, look.size[1]
    top = look.y + face * 1.75
    middle = top + face * 1.1
    disc(pen, (x, middle), (face * 2.35, face * 1.15), scale)
    wide, wider = face * 2.35, face * 2.6
    corners = [(x - wide, middle), (x + wide, middle), (x + wider, foot), (x - wider, foot)]
    polygon(pen, corners, scale)


def _fringe(pen: Pen, scale: float, look: _Look) -> None:
    """Hair parted at one side, down to the temples."""
    polygons(pen, (look.outline(part, look.side) for part in (_PART, _OTHER_PART)), scale)


def _earring(pen: Pen, scale: float, look: _Look) -> None:
    ear = (look.x - look.side * look.face * 1.02, look.y + look.face * 0.72)
    disc(pen, ear, look.face * 0.11, scale)


def _head(look: _Look, skin: Colour, tones: tuple[Colour, Colour], chance: Chance) -> Layer:
    """Face and neck, one half along brow, nose and chin in the shade."""
    near, accent = tones
    dark = mix(skin, near, 0.42)
    head = look.layer(skin, _skull)
    half = look.outline(_SHADED, look.side)
    shade = drawn(look.size, lambda pen, scale: polygon(pen, half, scale))
    assert head.mask
    cut(head.image, [(ImageChops.multiply(shade, head.mask), dark)])
    mouth = look.outline(_LIPS)
    lips = drawn(look.size, lambda pen, scale: polygon(pen, mouth, scale))
    lines = drawn(look.size, lambda pen, scale: _draw_eyes(pen, scale, look))
    cut(head.image, [(lines, near), (lips, mix(accent, dark, float(chance.uniform(0, 0.35))))])
    return head


def _skull(pen: Pen, scale: float, look: _Look) -> None:
    polygon(pen, look.outline(_NECK), scale)
    angles = np.linspace(0, _TAU, 60)
    narrow = 1 - 0.2 * np.clip(np.sin(angles), 0, 1) ** 2
    xs = look.x + look.face * np.cos(angles) * narrow
    ys = look.y + look.face * 1.3 * np.sin(angles)
    polygon(pen, np.stack([xs, ys], axis=1).astype(np.float32), scale)


def _draw_eyes(pen: Pen, scale: float, look: _Look) -> None:
    """Brows and lowered lids: little is enough."""
    for at in (-0.45, 0.45):
        lid = _box(look, scale, (at - 0.24, -0.28), (at + 0.24, 0.1))
        pen.arc(lid, 20, 160, fill=255, width=max(1, round(look.face * 0.05 * scale)))
        brow = _box(look, scale, (at - 0.3, -0.5), (at + 0.3, -0.12))
        pen.arc(brow, 205, 335, fill=255, width=max(1, round(look.face * 0.06 * scale)))


def _box(
    look: _Look, scale: float, first: tuple[float, float], last: tuple[float, float]
) -> tuple[float, float, float, float]:
    (left, top), (right, bottom) = look.outline((first, last))
    return left * scale, top * scale, right * scale, bottom * scale
