"""Runs a network over a large picture piece by piece, so that the memory it takes is bounded."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from safelight.engines.enhance.pixels import Bytes, Floats, as_floats, to_bytes


def tiled(
    colors: Bytes, work: Callable[[Floats], Floats], *, side: int, margin: int, scale: int = 1
) -> Bytes:
    """`colors` as `work` makes them, each side `scale` times as long.

    `work` is given squares of `side` pixels (smaller ones in small pictures) with `margin` pixels
    around them, mirrored at the edges of the picture; what it gives is cut to the middle, so it
    may give less margin than it was given.
    """
    height, width = colors.shape[:2]
    padded = np.pad(colors, ((margin, margin), (margin, margin), (0, 0)), mode="symmetric")
    result = np.empty((height * scale, width * scale, 3), np.uint8)
    for top in range(0, height, side):
        for left in range(0, width, side):
            rows, columns = min(side, height - top), min(side, width - left)
            around = padded[top : top + rows + 2 * margin, left : left + columns + 2 * margin]
            given = work(as_floats(around))
            piece = _middle(given, rows * scale, columns * scale)
            place = np.s_[
                top * scale : (top + rows) * scale, left * scale : (left + columns) * scale
            ]
            result[place] = to_bytes(piece)
    return result


def _middle(values: Floats, rows: int, columns: int) -> Floats:
    top, left = (values.shape[0] - rows) // 2, (values.shape[1] - columns) // 2
    return values[top : top + rows, left : left + columns]
