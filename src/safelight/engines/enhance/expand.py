"""Expands a picture beyond its edges: it stays as it is, on a ground that goes on from it."""

from __future__ import annotations

import numpy as np
from PIL import Image

from safelight.engines.enhance.measures import Size, enclosed
from safelight.engines.enhance.pixels import (
    Bytes,
    Floats,
    as_floats,
    blur,
    colors_of,
    planes_of,
    to_bytes,
)

_LANCZOS = Image.Resampling.LANCZOS
_SOFTEST = 24.0  # pixels: the blur of the ground far from the picture, in one of a thousand
_STEPS = 4


def expand(image: Image.Image, size: Size) -> Image.Image:
    """`image` in the middle of a picture of `size`, made smaller where it does not fit.

    The ground is the picture mirrored at its edges, the softer the farther from them.
    """
    inner = enclosed(size, image.size)
    if inner[0] > image.width:
        inner = image.size
    picture = image if inner == image.size else image.resize(inner, _LANCZOS)
    left, top = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    edges = ((top, size[1] - inner[1] - top), (left, size[0] - inner[0] - left))
    mirrored = np.pad(colors_of(picture), (*edges, (0, 0)), mode="symmetric")
    ground = Image.fromarray(_softened(mirrored, edges))
    result = ground.convert(picture.mode)
    result.paste(picture, (left, top))
    return result


def _softened(colors: Bytes, edges: tuple[tuple[int, int], tuple[int, int]]) -> Bytes:
    """`colors` blurred by their distance from the picture within these edges."""
    distance = np.hypot(*_outside(colors.shape[:2], edges))
    farthest = max(1.0, float(distance.max()))
    softest = max(2.0, _SOFTEST * max(colors.shape[:2]) / 1000)
    at = np.sqrt(distance / farthest) * (_STEPS - 1)
    values = as_floats(colors)
    result = np.zeros_like(values)
    for step in range(_STEPS):
        weight = np.maximum(0, 1 - np.abs(at - step)).astype(np.float32)[..., None]
        if step:
            deviation = softest * (step / (_STEPS - 1)) ** 2
            values = np.dstack([blur(plane, deviation) for plane in planes_of(as_floats(colors))])
        result += weight * values
    return to_bytes(result)


def _outside(
    shape: tuple[int, ...], edges: tuple[tuple[int, int], tuple[int, int]]
) -> tuple[Floats, Floats]:
    """How many pixels each pixel is beyond the picture: down, and across."""
    beyond = []
    for side, (before, after) in zip(shape, edges, strict=True):
        at = np.arange(side)
        beyond.append(np.maximum(np.maximum(before - at, at - (side - after - 1)), 0))
    return beyond[0][:, None].astype(np.float32), beyond[1][None, :].astype(np.float32)
