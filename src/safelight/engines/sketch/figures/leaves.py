"""Leaves: their outlines and their veins, for whatever grows them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from safelight.engines.sketch.figures.stencils import Pen, Points


def leaf(root: tuple[float, float], angle: float, long: float, fat: float) -> Points:
    """The outline of a leaf that grows from `root` at `angle`, `long` pixels, `fat` as a share."""
    shares = np.linspace(0, 1, 14)
    bulge = np.sin(np.pi * shares**0.8) * fat * long
    bend = 0.35 * shares**2 * np.sign(np.cos(angle))
    directions = angle + bend
    xs = root[0] + np.cumsum(np.cos(directions)) * long / 14
    ys = root[1] + np.cumsum(np.sin(directions)) * long / 14
    nx, ny = -np.sin(directions) * bulge, np.cos(directions) * bulge
    one = list(zip((xs + nx).tolist(), (ys + ny).tolist(), strict=True))
    other = list(zip((xs - nx).tolist(), (ys - ny).tolist(), strict=True))
    return [*one, *reversed(other)]


def draw_veins(pen: Pen, scale: float, leaves: Sequence[Points], thick: float) -> None:
    """The middle line of each leaf."""
    for outline in leaves:
        half = len(outline) // 2
        middle = [
            (
                (outline[at][0] + outline[-1 - at][0]) / 2 * scale,
                (outline[at][1] + outline[-1 - at][1]) / 2 * scale,
            )
            for at in range(half - 2)
        ]
        pen.line(middle, fill=255, width=max(1, round(thick * scale)))
