"""What drifts in the air of a scene: snow, rain, petals, sparks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image

from safelight.engines.sketch.layers import Motes, disc, drawn, glow, polygon, rgb
from safelight.engines.sketch.palettes import Colour, mix
from safelight.engines.sketch.scenes.sheets import Sheet

# Size as a share of the shorter side; fall and drift a second, as shares of the canvas; how many.
_KINDS: Mapping[str, tuple[float, float, float, int]] = {
    "snow": (0.007, 0.09, 0.03, 170),
    "rain": (0.03, 0.9, 0.08, 220),
    "petals": (0.013, 0.06, 0.07, 60),
    "sparks": (0.012, -0.03, 0.02, 70),
}


def motes(kind: str | None, sheet: Sheet) -> Motes | None:
    """The motes of that kind, if any is asked for."""
    if kind is None:
        return None
    size, fall, drift, count = _KINDS[kind]
    speeds = sheet.chance.uniform(0.6, 1.4, (count, 2)) * (drift, fall)
    return Motes(
        sprite=_sprite(kind, max(1.0, size * sheet.unit)),
        colour=rgb(_shade(kind, sheet)),
        places=sheet.chance.random((count, 2), dtype=np.float32),
        speeds=speeds.astype(np.float32),
    )


def _shade(kind: str, sheet: Sheet) -> Colour:
    if kind == "petals":
        return mix(sheet.accent, sheet.light, 0.45)
    return sheet.accent if kind == "sparks" else sheet.light


def _sprite(kind: str, size: float) -> Image.Image:
    side = int(size) + 3
    if kind == "rain":
        return _drop(side, size)
    if kind == "sparks":
        return glow((side * 2, side * 2), (side, side), side, 1.5)
    wide = (size / 2, size / 3.2) if kind == "petals" else size / 2
    return drawn((side, side), lambda pen, scale: disc(pen, (side / 2, side / 2), wide, scale))


def _drop(side: int, size: float) -> Image.Image:
    thin = max(0.6, size * 0.02)
    upper, lower = side * 0.2, side * 0.12
    points = [(upper, 0), (upper + thin, 0), (lower + thin, size), (lower, size)]
    mask = drawn((side, side), lambda pen, scale: polygon(pen, points, scale))
    return mask.point([value // 2 for value in range(256)])
