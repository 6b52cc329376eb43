"""Denoising by Open Image Denoise, a network that is made for renderings and does well on photos.

It is given the picture with half its noise taken out by the sliding cosine transform: so it smears
less, and is nearer to the original than either of the two alone (see docs/engines/enhance.md).
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from safelight.engines.enhance import noise
from safelight.engines.enhance.pixels import Floats, colors_of, with_colors
from safelight.engines.enhance.tiles import tiled
from safelight.engines.enhance.weights import Weights

_FINE = 8.0  # grey levels: below it the cosine transform alone is the nearer one
_SIDE, _MARGIN = 640, 64


def denoise(image: Image.Image, strength: str, weights: Weights) -> tuple[Image.Image, str]:
    """`image` without its noise, and what took it out."""
    if not weights.denoiser:
        raise ImportError("Open Image Denoise is not installed")
    plain = noise.denoise(image, strength)
    if strength == "weak" and noise.measured(image) < _FINE:
        return plain, "sliding cosine transform, for there is little noise"
    before, after = colors_of(image), colors_of(plain)
    half = ((before.astype(np.uint16) + after + 1) // 2).astype(np.uint8)
    result = tiled(half, _run, side=_SIDE, margin=_MARGIN)
    return with_colors(image, result), "Open Image Denoise"


def _run(colors: Floats) -> Floats:
    import pyoidn  # keeps its device and its filter

    return np.asarray(pyoidn.denoise(np.ascontiguousarray(colors, np.float32)))
