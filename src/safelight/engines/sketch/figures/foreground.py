"""What stands before everything else: a cat, a cottage, a lone tree, a lighthouse."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from PIL import ImageChops

from safelight.engines.sketch.figures.stencils import Pen, Points, cut, placed, polygons
from safelight.engines.sketch.layers import Chance, Layer, Size, disc, drawn, flat, polygon
from safelight.engines.sketch.palettes import Colour

# Outlines in shares of the figure's height.
_CAT = (
    *((0.0, 0.44), (0.13, 0.47), (0.21, 0.62), (0.27, 0.82), (0.26, 1.0)),
    *((-0.26, 1.0), (-0.27, 0.82), (-0.21, 0.62), (-0.13, 0.47)),
)
_CAT_ROUNDS = ((0.84, 0.275, 0.2), (0.6, 0.18, 0.24), (0.33, 0.185, 0.16))  # down, wide, tall
_CAT_EAR = ((0.18, 0.31), (0.165, 0.06), (0.03, 0.2))
_COTTAGE = (
    ((0.2, 1.0), (0.2, 0.5), (1.4, 0.5), (1.4, 1.0)),
    ((0.08, 0.54), (0.5, 0.12), (1.1, 0.12), (1.52, 0.54)),
    ((1.05, 0.3), (1.05, 0.0), (1.2, 0.0), (1.2, 0.3)),
)
_LIGHTHOUSE = (
    ((-0.09, 0.22), (0.09, 0.22), (0.14, 0.95), (-0.14, 0.95)),
    ((-0.12, 0.2), (0.12, 0.2), (0.12, 0.24), (-0.12, 0.24)),
    ((-0.065, 0.08), (0.065, 0.08), (0.065, 0.22), (-0.065, 0.22)),
    ((-0.085, 0.09), (0.0, 0.0), (0.085, 0.09)),
    ((-0.45, 1.0), (-0.25, 0.9), (0.2, 0.88), (0.45, 1.0)),
)
_WINDOW_LIGHT = np.array([255, 214, 130], np.float32)
_BEACON_LIGHT = np.array([255, 232, 176], np.float32)


def foreground(size: Size, names: Sequence[str], shade: Colour, chance: Chance) -> list[Layer]:
    """The figures of `names` that stand before everything else, two at most."""
    chosen = [name for name in names if name in _MAKERS][:2]
    layers = []
    for at, name in enumerate(chosen):
        place = (at + 0.5 + float(chance.uniform(-0.18, 0.18))) / len(chosen)
        layers.append(_MAKERS[name](size, place * size[0], shade, chance))
    return layers


def _standing(
    size: Size, x: float, box: Size, shade: Colour, draw: Callable[[Pen, float], None]
) -> Layer:
    """A layer that stands on the lower edge of the canvas, its middle at `x`."""
    mask = drawn(box, draw)
    return Layer(flat(mask, shade), mask, 1.0, size[1] - box[1], int(x - box[0] / 2))


def _cat(size: Size, x: float, shade: Colour, chance: Chance) -> Layer:
    """A cat that sits with its back to us and looks at the view."""
    tall = min(size) * float(chance.uniform(0.34, 0.42))
    box = (int(tall * 1.1), int(tall))
    middle = box[0] * 0.45
    shapes = [placed(_CAT, (middle, 0), tall)]
    shapes += [placed(_CAT_EAR, (middle, 0), tall, ear) for ear in (-1, 1)]

    def draw(pen: Pen, scale: float) -> None:
        polygons(pen, shapes, scale)
        for down, wide, high in _CAT_ROUNDS:
            disc(pen, (middle, tall * down), (tall * wide, tall * high), scale)
        _draw_tail(pen, scale, middle, tall)

    return _standing(size, x, box, shade, draw)


def _draw_tail(pen: Pen, scale: float, middle: float, tall: float) -> None:
    tail = np.linspace(0, 1, 30)
    xs = middle + tall * (0.18 + 0.3 * np.sin(tail * 2.2))
    ys = tall * (0.97 - 0.5 * tail + 0.06 * np.sin(tail * 9))
    for x, y in zip(xs.tolist(), ys.tolist(), strict=True):
        disc(pen, (x, y), tall * 0.035, scale)


def _cottage(size: Size, x: float, shade: Colour, chance: Chance) -> Layer:
    """A house with a lit window and smoke-less chimney."""
    tall = min(size) * float(chance.uniform(0.2, 0.27))
    box = (int(tall * 1.6), int(tall))
    walls = [placed(part, (0, 0), tall) for part in _COTTAGE]
    panes = [placed(_pane(left), (0, 0), tall) for left in (0.4, 0.98)]
    house = _standing(size, x, box, shade, lambda pen, scale: polygons(pen, walls, scale))
    lit = drawn(box, lambda pen, scale: polygons(pen, panes, scale))
    cut(house.image, [(lit, _WINDOW_LIGHT)])
    return house


def _pane(left: float) -> Points:
    return [(left, 0.62), (left + 0.2, 0.62), (left + 0.2, 0.82), (left, 0.82)]


def _lone_tree(size: Size, x: float, shade: Colour, chance: Chance) -> Layer:
    tall = min(size) * float(chance.uniform(0.5, 0.62))
    box = (int(tall * 1.1), int(tall))
    foot = (box[0] / 2, float(box[1]))
    return _standing(size, x, box, shade, lambda pen, scale: _grown(pen, scale, foot, tall, chance))


def _grown(pen: Pen, scale: float, foot: tuple[float, float], tall: float, chance: Chance) -> None:
    """A tree that forks again and again, with leaves where it ends."""
    branches = [(foot, -0.5 * np.pi, tall * 0.24, tall * 0.032)]
    while branches:
        (x, y), angle, long, thick = branches.pop()
        end = (x + float(np.cos(angle)) * long, y + float(np.sin(angle)) * long)
        pen.line(
            [(x * scale, y * scale), (end[0] * scale, end[1] * scale)],
            fill=255,
            width=max(1, round(thick * scale * 2)),
        )
        disc(pen, end, thick * 0.95, scale)
        if long < tall * 0.06:
            disc(pen, end, tall * float(chance.uniform(0.03, 0.06)), scale)
            continue
        for turn in (-1, 1):
            bend = turn * float(chance.uniform(0.25, 0.6))
            branches.append(
                (end, angle + bend, long * float(chance.uniform(0.68, 0.82)), thick * 0.66)
            )


def _lighthouse(size: Size, x: float, shade: Colour, chance: Chance) -> Layer:
    tall = min(size) * float(chance.uniform(0.5, 0.6))
    box = (int(tall * 0.9), int(tall))
    middle = box[0] / 2
    parts = [placed(part, (middle, 0), tall) for part in _LIGHTHOUSE]
    tower = _standing(size, x, box, shade, lambda pen, scale: polygons(pen, parts, scale))
    lamp = drawn(box, lambda pen, scale: _draw_light(pen, scale, middle, tall))
    assert tower.mask
    cut(tower.image, [(ImageChops.multiply(lamp, tower.mask), _BEACON_LIGHT)])
    return tower


def _draw_light(pen: Pen, scale: float, middle: float, tall: float) -> None:
    """The lamp, and the light stripes of the tower."""
    disc(pen, (middle, tall * 0.15), tall * 0.042, scale)
    for top in (0.36, 0.6, 0.82):
        foot = top + 0.09
        stripe = [(-0.105, top), (0.105, top), (0.115, foot), (-0.115, foot)]
        polygon(pen, placed(stripe, (middle, 0), tall), scale)


_MAKERS: Mapping[str, Callable[[Size, float, Colour, Chance], Layer]] = {
    "cat": _cat,
    "house": _cottage,
    "lone tree": _lone_tree,
    "lighthouse": _lighthouse,
}
