"""What travels through a scene: boats on the water, birds and balloons in the sky."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image, ImageChops

from safelight.engines.sketch.figures.stencils import Pen, Points, band, cut, placed, polygons
from safelight.engines.sketch.layers import Chance, Layer, Size, disc, drawn, polygon, rgb
from safelight.engines.sketch.palettes import Colour, mix

# In shares of the boat's height, from where it floats.
_HULL = ((-0.36, -0.16), (0.42, -0.16), (0.28, 0.0), (-0.24, 0.0))
_MAIN = ((0.02, -1.0), (0.4, -0.22), (0.02, -0.22))
_JIB = ((-0.03, -0.92), (-0.03, -0.22), (-0.34, -0.22))
# In shares of the balloon's radius, from its middle.
_NECK = ((-0.93, 0.36), (0.93, 0.36), (0.2, 1.4), (-0.2, 1.4))
_BASKET = ((-0.2, 1.55), (0.2, 1.55), (0.16, 1.85), (-0.16, 1.85))


def boat(size: Size, place: tuple[float, float], tall: float, dark: Colour, sail: Colour) -> Layer:
    """A small sailing boat; `place` is where its hull floats, in shares of the canvas."""
    x, y = tall * 0.6, tall * 1.02
    hull = placed(_HULL, (x, y), tall)
    cloth = [placed(part, (x, y), tall) for part in (_MAIN, _JIB)]
    box = (max(4, int(tall * 1.2)), max(4, int(tall * 1.05)))
    hull_mask = drawn(box, lambda pen, scale: polygon(pen, hull, scale))
    sails = drawn(box, lambda pen, scale: polygons(pen, cloth, scale))
    image = cut(Image.new("RGB", box), [(hull_mask, dark), (sails, sail)])
    left, top = int(place[0] * size[0] - x), int(place[1] * size[1] - y)
    return Layer(image, ImageChops.lighter(hull_mask, sails), 0.4, top, left, 0.03, 0.006, 0.2)


def birds(size: Size, place: float, shade: Colour, chance: Chance) -> Layer:
    """A flock, at `place` (a share of the height)."""
    width, height = size
    unit = min(size)
    count = int(chance.integers(5, 12))
    centre = chance.uniform(0.25, 0.75) * width
    xs = centre + chance.normal(0, 0.09 * unit, count)
    ys = height * (place - 0.14) + chance.normal(0, 0.05 * unit, count)
    spans = unit * chance.uniform(0.008, 0.022, count)
    shapes: list[Points] = []
    for x, y, span in zip(xs.tolist(), ys.tolist(), spans.tolist(), strict=True):
        shapes.append(_bird(x, y, span, float(chance.uniform(0.25, 0.6)) * span))
    flock = band(size, min(ys) - unit * 0.05, max(ys) + unit * 0.05, shade, 0.3, shapes)
    return replace(flock, sway=0.03, lift=0.01, phase=0.4)


def _bird(x: float, y: float, span: float, flap: float) -> Points:
    return [
        (x - span, y - flap),
        (x - span * 0.4, y - flap * 1.05),
        (x, y),
        (x + span * 0.4, y - flap * 1.05),
        (x + span, y - flap),
        (x + span * 0.4, y - flap * 0.7),
        (x, y + span * 0.16),
        (x - span * 0.4, y - flap * 0.7),
    ]


def balloon(size: Size, shade: Colour, light: Colour, chance: Chance) -> Layer:
    """A hot-air balloon with stripes."""
    radius = min(size) * float(chance.uniform(0.09, 0.14))
    body, stripes, basket = _balloon_parts(radius)
    ground = rgb(mix(shade, np.zeros(3, np.float32), 0.5))
    image = cut(
        Image.new("RGB", body.size, ground), [(body, shade), (stripes, mix(shade, light, 0.75))]
    )
    left = int(size[0] * float(chance.uniform(0.12, 0.75)))
    top = int(size[1] * float(chance.uniform(0.08, 0.22)))
    return Layer(image, ImageChops.lighter(body, basket), 0.35, top, left, 0.02, 0.015, 0.1)


def _balloon_parts(radius: float) -> tuple[Image.Image, Image.Image, Image.Image]:
    """The masks of its body, its stripes and its basket."""
    box = (int(radius * 2.2) + 2, int(radius * 3.1) + 2)
    x, y = box[0] / 2, radius * 1.1

    def draw_body(pen: Pen, scale: float) -> None:
        disc(pen, (x, y), radius, scale)
        polygon(pen, placed(_NECK, (x, y), radius), scale)

    def draw_stripes(pen: Pen, scale: float) -> None:
        disc(pen, (x, y + radius * 0.1), (radius * 0.66, radius * 1.3), scale)
        disc(pen, (x, y + radius * 0.1), (radius * 0.3, radius * 1.4), scale, 0)

    basket = placed(_BASKET, (x, y), radius)
    body = drawn(box, draw_body)
    stripes = ImageChops.multiply(drawn(box, draw_stripes), body)
    return body, stripes, drawn(box, lambda pen, scale: polygon(pen, basket, scale))
