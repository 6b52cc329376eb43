"""Erases what lies in areas of a picture: fills them from their surroundings, and nothing else.

Where OpenCV is installed its frequency-selective reconstruction does it, which goes on with lines
and texture; without it the fill is smooth.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from safelight.engines.enhance import vision
from safelight.engines.enhance.filling import filled
from safelight.engines.enhance.options import Area
from safelight.engines.enhance.pixels import (
    Bytes,
    Floats,
    as_floats,
    blur,
    colors_of,
    planes_of,
    to_bytes,
    with_colors,
)
from safelight.engines.enhance.weights import Weights

Mask = NDArray[np.bool_]
Box = tuple[int, int, int, int]  # left, top, right, bottom

_AROUND = 48  # pixels around an area that the fill may learn from
_LONGEST = 512  # a larger hole is filled on a smaller copy: the time grows with its square
# How far letters are widened, in pixels; None fills their whole area.
_WIDENED = {"low": 2, "mid": 3, "high": None}
_LETTER = 0.06  # how far from its ground a letter is, in brightness or colour, at least
_FULL = 0.7  # the share of an area above which there are no single letters to be told apart


def boxes(areas: Iterable[Area], size: tuple[int, int]) -> list[tuple[Area, Box]]:
    """The areas with their places in a picture of this size; those outside it are left out."""
    placed = []
    for area in areas:
        sides = (*size, *size)
        scale = sides if area.shares else (1, 1, 1, 1)
        left, top, right, bottom = (at * by for at, by in zip(area.corners, scale, strict=True))
        box = int(left), int(top), min(size[0], -int(-right // 1)), min(size[1], -int(-bottom // 1))
        if box[0] < box[2] and box[1] < box[3]:
            placed.append((area, box))
    return placed


def reconstruct(
    image: Image.Image, areas: Iterable[Area], strength: str, weights: Weights
) -> tuple[Image.Image, str]:
    """`erase` with OpenCV, and its name. Raises `ImportError` where that is not installed."""
    if not weights.vision:
        raise ImportError("OpenCV is not installed")
    vision.load()
    name = "frequency-selective reconstruction (OpenCV)"
    return erase(image, areas, strength, smooth=False), name


def erase(image: Image.Image, areas: Iterable[Area], strength: str, smooth: bool) -> Image.Image:
    """`image` with these areas filled, every other pixel as it was."""
    colors = colors_of(image).copy()
    widened = _WIDENED[strength]
    for area, box in boxes(areas, image.size):
        mask = np.ones((box[3] - box[1], box[2] - box[0]), bool)
        if area.text and widened is not None:
            mask = _letters(colors[box[1] : box[3], box[0] : box[2]], widened)
        _fill(colors, mask, box, smooth)
    return with_colors(image, colors)


def _letters(colors: Bytes, widened: int) -> Mask:
    """Where the letters in this area are: what stands out from its ground, and a little around."""
    values = as_floats(colors)
    deviation = max(4.0, min(colors.shape[:2]) / 4)
    apart = np.max([np.abs(plane - blur(plane, deviation)) for plane in planes_of(values)], axis=0)
    found = Image.fromarray(apart > max(_LETTER, _between(apart))).convert("L")
    letters: Mask = np.asarray(found.filter(ImageFilter.MaxFilter(2 * widened + 1))) > 0
    return letters if 0 < letters.mean() < _FULL else np.ones_like(letters)


def _between(values: Floats) -> float:
    """The threshold that parts the values best into two groups (Otsu's)."""
    counts, edges = np.histogram(values, bins=64)
    centers = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * centers)
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(edges[1 + int(np.nanargmax(apart[:-1]))])


def _fill(colors: Bytes, mask: Mask, box: Box, smooth: bool) -> None:
    """Fill the hole `mask`, which lies at `box`, in place."""
    left, top = max(0, box[0] - _AROUND), max(0, box[1] - _AROUND)
    crop = colors[top : box[3] + _AROUND, left : box[2] + _AROUND]
    hole = np.zeros(crop.shape[:2], bool)
    hole[box[1] - top : box[3] - top, box[0] - left : box[2] - left] = mask
    longest = max(crop.shape[:2])
    if smooth:
        known = (~hole).astype(np.float32)
        fill = to_bytes(filled(as_floats(crop), known))
    elif longest <= _LONGEST:
        fill = _reconstructed(crop, hole)
    else:
        size = tuple(max(1, side * _LONGEST // longest) for side in (crop.shape[1], crop.shape[0]))
        small = _resized(crop, size), _resized(hole.astype(np.uint8) * 255, size) > 0
        fill = _resized(_reconstructed(*small), (crop.shape[1], crop.shape[0]))
    crop[hole] = fill[hole]


def _resized(values: Bytes, size: tuple[int, ...]) -> Bytes:
    resample = Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(values).resize((size[0], size[1]), resample))


def _reconstructed(colors: Bytes, hole: Mask) -> Bytes:
    cv2 = vision.load()
    result = np.zeros_like(colors)
    known = np.where(hole, 0, 255).astype(np.uint8)
    cv2.xphoto.inpaint(np.ascontiguousarray(colors), known, result, cv2.xphoto.INPAINT_FSR_FAST)
    return result
