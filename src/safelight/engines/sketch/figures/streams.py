"""Ribbons that follow one field of flow, from pale and thin to bright and broad."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from safelight.engines.sketch.figures.stencils import Pen, Points
from safelight.engines.sketch.layers import Chance, Floats, Layer, Size, noise, rgb
from safelight.engines.sketch.palettes import Colour, mix


def stream(size: Size, row: int, tones: Sequence[Colour], chance: Chance) -> Layer:
    """Ribbons that follow one field of flow; the nearer the row, the fewer and the wider."""
    width, height = size
    scale = 2 if width * height < 600_000 else 1
    large = (width * scale, height * scale)
    colours, mask = Image.new("RGB", large), Image.new("L", large)
    number, wide = ((70, 0.012), (44, 0.026), (18, 0.055))[row]
    paths = _paths(size, number, chance)
    pens = ImageDraw.Draw(colours), ImageDraw.Draw(mask)
    for path in paths:
        shade = mix(tones[int(chance.integers(len(tones)))], tones[0], 0.45 - 0.2 * row)
        line = [(float(x) * scale, float(y) * scale) for x, y in path]
        broad = max(1, round(wide * min(size) * float(chance.uniform(0.35, 1.2)) * scale))
        _draw_ribbon(pens, line, (broad, broad + 2 * scale), shade, 120 + 60 * row)
    if scale > 1:
        colours, mask = colours.reduce(scale), mask.reduce(scale)
    return Layer(colours, mask, 0.1 + 0.3 * row, sway=0.015 * row, phase=row / 6)


def _draw_ribbon(
    pens: tuple[Pen, Pen], line: Points, widths: tuple[int, int], shade: Colour, strength: int
) -> None:
    """One ribbon with a dark edge: its colours with one pen, how much it hides with the other."""
    pen, pen_mask = pens
    broad, edged = widths
    edge = rgb(mix(shade, np.zeros(3, np.float32), 0.45))
    pen.line(line, fill=edge, width=edged, joint="curve")
    pen.line(line, fill=rgb(shade), width=broad, joint="curve")
    pen_mask.line(line, fill=strength, width=edged, joint="curve")


def _paths(size: Size, count: int, chance: Chance) -> list[Floats]:
    """Lines traced through a field of directions."""
    width, height = size
    field = noise((64, 64), chance, (2.2, 2.2), 2)
    steps = 60
    step = width * 1.9 / steps
    # From beyond the left edge, and always on to the right: no ribbon is seen to end.
    spread = chance.normal(0.5, 0.42, count) * height
    places = np.stack([np.full(count, -0.15 * width), spread], axis=1)
    turn = float(chance.uniform(-0.25, 0.25))
    lines = [places]
    for _ in range(steps):
        columns = np.clip(places[:, 0] / width * 63, 0, 63).astype(int)
        rows = np.clip(places[:, 1] / height * 63, 0, 63).astype(int)
        angles = np.clip((field[rows, columns] - 0.5) * 3.6, -1.3, 1.3) + turn
        places = places + np.stack([np.cos(angles), np.sin(angles)], axis=1) * step
        lines.append(places)
    paths = np.stack(lines, axis=1).astype(np.float32)
    return list(paths)
