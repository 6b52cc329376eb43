"""Light and colour: lifts what is dark, makes colours fuller, and improves a little of everything.

The alpha channel is left as it is.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from safelight.engines.enhance.detail import sharpen
from safelight.engines.enhance.noise import denoise
from safelight.engines.enhance.pixels import (
    LUMA,
    Bytes,
    Floats,
    as_floats,
    blur,
    change,
    colors_of,
    strips,
    to_bytes,
    with_colors,
)

_BRIGHT_ENOUGH = 0.45  # the mean that a dark picture is lifted to
_STRONGEST = 0.85  # the highest power
_EDGE = 0.01  # a variance above this is an edge between light and shadow
_DARKEST = 0.04  # light below this is lifted no more than this is: it is mostly noise


def lift(image: Image.Image) -> Image.Image:
    """Lift a dark picture, its shadows the most.

    Each pixel is divided by a power of the light around it, which is never less than the pixel's
    own, so that nothing can clip; how high the power is depends on how dark the picture is.
    """
    colors = colors_of(image)
    brightest = colors.max(axis=2)
    mean = float(brightest.mean()) / 255
    if not 0 < mean < _BRIGHT_ENOUGH:
        return image
    power = min(_STRONGEST, 1 - math.log(_BRIGHT_ENOUGH) / math.log(mean))
    gain = np.maximum(_light(brightest), np.float32(_DARKEST)) ** np.float32(-power)
    result = np.empty_like(colors)
    for rows in strips(image):
        result[rows] = to_bytes(as_floats(colors[rows]) * gain[rows, :, None])
    return with_colors(image, result)


def _light(brightest: Bytes) -> Floats:
    """The light that falls on each pixel: smooth but for the edges of things.

    A guided filter, worked out on a small copy; never below `brightest` itself.
    """
    full = Image.fromarray(brightest)
    small = full.copy()
    small.thumbnail((384, 384), Image.Resampling.BOX)
    plane = as_floats(np.asarray(small))
    deviation = max(1.0, max(small.size) / 32)
    mean = blur(plane, deviation)
    variance = blur(plane * plane, deviation) - mean * mean
    slope = variance / (variance + np.float32(_EDGE))
    offset = blur(mean - slope * mean, deviation)
    own = as_floats(brightest)
    light = _resampled(blur(slope, deviation), full.size) * own + _resampled(offset, full.size)
    result: Floats = np.maximum(light, own)
    return result


def _resampled(plane: Floats, size: tuple[int, int]) -> Floats:
    return np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BILINEAR))


_SATURATION = {"weak": 1.2, "normal": 1.4, "strong": 1.7}
_BALANCE = 0.1  # the most that a channel is turned up or down by the white balance


def enrich(image: Image.Image, strength: str) -> Image.Image:
    """Take out part of a colour cast, and make the colours fuller, the paler ones the most."""
    gains = _white_balance(image)
    factor = _SATURATION[strength]
    return change(image, lambda strip: _saturate(strip * gains, factor))


def _white_balance(image: Image.Image) -> Floats:
    """What to multiply each channel by, at a mean of one.

    From the sixth-power mean of each channel, between the mean ("the world is grey") and the
    maximum ("the brightest is white"); half of the cast is left, because it may be meant.
    """
    small = image.convert("RGB")
    small.thumbnail((256, 256), Image.Resampling.BOX)
    values = as_floats(np.asarray(small)).astype(np.float64)
    light = ((values**6).mean(axis=(0, 1)) + 1e-9) ** (1 / 6)
    gains = np.sqrt(light.mean() / light).clip(1 - _BALANCE, 1 + _BALANCE)
    even: Floats = (gains / gains.mean()).astype(np.float32)
    return even


def _saturate(colors: Floats, factor: float) -> Floats:
    """Colours further from their grey by up to `factor`, short of where they would clip."""
    colors = colors.clip(0, 1)
    gray = (colors @ LUMA)[..., None]
    color = colors - gray
    paleness = 1 - (colors.max(axis=2) - colors.min(axis=2))[..., None]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        room = np.where(color > 0, (1 - gray) / color, np.where(color < 0, -gray / color, np.inf))
    limit = np.maximum(1, room.min(axis=2, keepdims=True))
    fuller: Floats = gray + color * np.minimum(1 + (factor - 1) * paleness, limit)
    return fuller


# Of each strength: the percent of the pixels that may become black, and white; how much fuller
# the colours; how much sharper.
_QUALITY = {"weak": (0.1, 1.05, 0.2), "normal": (0.3, 1.12, 0.35), "strong": (0.6, 1.2, 0.5)}


def improve(image: Image.Image, strength: str) -> Image.Image:
    """A little of everything: noise, contrast, colours, sharpness."""
    cut, factor, intensity = _QUALITY[strength]
    image = denoise(image, "weak")
    low, high = _range(image, cut)
    scale = np.float32(1 / (high - low))
    image = change(image, lambda strip: _saturate((strip - np.float32(low)) * scale, factor))
    return sharpen(image, intensity)


def _range(image: Image.Image, cut: float) -> tuple[float, float]:
    """The greys that are to become black and white: a hazy picture stays a little hazy."""
    counts = np.cumsum(image.convert("L").histogram())
    low = int(np.searchsorted(counts, counts[-1] * cut / 100, side="right")) / 255
    high = int(np.searchsorted(counts, counts[-1] * (1 - cut / 100))) / 255
    return min(low, 0.12), max(high, 0.8)
