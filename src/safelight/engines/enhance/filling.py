"""Fills holes in a picture from what lies around them, with NumPy alone: smooth, no texture."""

from __future__ import annotations

import numpy as np
from PIL import Image

from safelight.engines.enhance.pixels import Floats, planes_of


def filled(colors: Floats, known: Floats) -> Floats:
    """`colors` where `known` is 1; where it is 0, what the nearest known ones blend into.

    The picture is halved until there is no hole left in it; each hole is then filled out of the
    smaller picture, which is what is known of its surroundings.
    """
    if known.min() > 0 or max(known.shape) == 1:
        return colors
    weight = _halved(known[..., None])
    smaller = _halved(colors * known[..., None]) / np.maximum(weight, np.float32(1e-6))
    below = filled(smaller, (weight[..., 0] > 0).astype(np.float32))
    return np.where(known[..., None] > 0, colors, _enlarged(below, colors.shape[:2]))


def _halved(values: Floats) -> Floats:
    edges = [(0, side % 2) for side in values.shape[:2]]
    even = np.pad(values, [*edges, (0, 0)])
    parts = even.reshape(even.shape[0] // 2, 2, even.shape[1] // 2, 2, even.shape[2])
    halved: Floats = parts.mean(axis=(1, 3))
    return halved


def _enlarged(values: Floats, shape: tuple[int, ...]) -> Floats:
    size, bilinear = (shape[1], shape[0]), Image.Resampling.BILINEAR
    planes = [Image.fromarray(plane).resize(size, bilinear) for plane in planes_of(values)]
    return np.dstack([np.asarray(plane) for plane in planes])
