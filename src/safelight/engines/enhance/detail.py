"""Sharpness and size: raises detail, enlarges with care, and resizes by any of the modes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
from PIL import Image

from safelight.engines.enhance.measures import Size, enclosed, window
from safelight.engines.enhance.noise import denoise
from safelight.engines.enhance.pixels import (
    LUMA,
    Floats,
    as_floats,
    blur,
    change,
    colors_of,
    reach,
    to_bytes,
    with_colors,
)
from safelight.task import Record

_LANCZOS = Image.Resampling.LANCZOS
_FINE = 1.2  # pixels: the deviation of the blur whose loss is detail
_HIGHEST = 2.5  # how many times the detail is added at intensity 1
_HALO = 0.15  # the most that sharpening may change a pixel by


def sharpen(image: Image.Image, intensity: float) -> Image.Image:
    """Raise detail in brightness by an `intensity` of 0 to 1, large steps less than fine ones."""
    if not intensity:
        return image
    amount = _HIGHEST * intensity
    return change(image, partial(_raise_detail, amount=np.float32(amount)), reach(_FINE))


def _raise_detail(colors: Floats, amount: np.float32) -> Floats:
    gray = colors @ LUMA
    detail = (gray - blur(gray, _FINE)) * amount
    raised: Floats = colors + (np.float32(_HALO) * np.tanh(detail / np.float32(_HALO)))[..., None]
    return raised


class _Enlarging(Record, frozen=True, kw_only=True):
    """How a type of super-resolution enlarges."""

    denoise: bool = False  # before it
    rounds: int = 0  # of giving back what shrinking the result would lose
    intensity: float  # of the sharpening after it


_ENLARGING: Mapping[str, _Enlarging] = {
    "lq": _Enlarging(denoise=True, intensity=0.1),
    "hq": _Enlarging(rounds=2, intensity=0.1),
    "standard": _Enlarging(intensity=0.1),
    "super": _Enlarging(rounds=1, intensity=0.1),
    "ultra": _Enlarging(rounds=3, intensity=0.15),
}


def enlarge(image: Image.Image, kind: str, size: Size) -> Image.Image:
    """`image` resampled to `size` in the way of that `kind`."""
    way = _ENLARGING[kind]
    if way.denoise:
        image = denoise(image, "weak")
    result = image.resize(size, _LANCZOS)
    if min(size[0] - image.width, size[1] - image.height) <= 0:
        return result
    # Where a picture is transparent its colours mean nothing, and must not be given back.
    for _ in range(way.rounds if image.mode == "RGB" else 0):
        result = _give_back(image, result)
    return sharpen(result, way.intensity)


def _give_back(image: Image.Image, enlarged: Image.Image) -> Image.Image:
    """`enlarged`, corrected so that shrinking it comes nearer to `image` (a back-projection)."""
    shrunk = enlarged.resize(image.size, Image.Resampling.BOX)
    lost = as_floats(colors_of(image)) - as_floats(colors_of(shrunk))
    result = colors_of(enlarged).copy()
    for channel in range(3):
        plane = Image.fromarray(np.ascontiguousarray(lost[..., channel]))
        back = np.asarray(plane.resize(enlarged.size, Image.Resampling.BICUBIC))
        result[..., channel] = to_bytes(as_floats(result[..., channel]) + back)
    return with_colors(enlarged, result)


def resize(image: Image.Image, mode: str, size: Size) -> Image.Image:
    """`image` at `size`: by force, cut to the proportions, or on a ground of white or nothing."""
    match mode:
        case "fill" | "shape":
            return image.resize(size, _LANCZOS, box=window(size, image.size))
        case "pad":
            inner = image.resize(enclosed(size, image.size), _LANCZOS)
            ground = Image.new(image.mode, size, (255, 255, 255, 0)[: len(image.mode)])
            ground.paste(inner, ((size[0] - inner.width) // 2, (size[1] - inner.height) // 2))
            return ground
        case _:
            return image.resize(size, _LANCZOS)
