"""Cuts the subject of a picture out of its ground: the result is clear where the ground was.

U2-Net(p), where its file is there, finds what a picture is of; without it OpenCV's GrabCut parts
the middle from the edges by colour.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from safelight.engines.enhance import vision
from safelight.engines.enhance.pixels import Bytes, Floats, colors_of, to_bytes
from safelight.engines.enhance.weights import Weights

_SIDE = 320  # what the network looks at
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_SPREAD = np.array([0.229, 0.224, 0.225], np.float32)
_CUT = 512  # the longest side that GrabCut looks at
_EDGE = 0.04  # of each side: what GrabCut takes for ground
_ROUNDS = 5
_FIT = 1e-4  # how nearly an edge of the mask follows one of the picture
_LOW, _HIGH = 0.1, 0.9  # less is clear, more is solid


def cut_out(image: Image.Image, weights: Weights) -> tuple[Image.Image, str]:
    """`image` with the ground clear, and what told it from the subject."""
    colors = colors_of(image)
    if weights.subject:
        mask, name = _subject(colors, str(weights.subject)), "U2-Netp (OpenCV)"
    else:
        mask, name = _grabbed(colors), "GrabCut (OpenCV)"
    alpha = to_bytes((_fitted(mask, colors) - _LOW) / (_HIGH - _LOW))
    if image.mode == "RGBA":
        alpha = np.minimum(alpha, np.asarray(image.getchannel("A")))
    result = image.convert("RGBA")
    result.putalpha(Image.fromarray(alpha))
    return result, name


@cache
def _loaded(path: str) -> Any:
    return vision.load().dnn.readNetFromONNX(path)


def _subject(colors: Bytes, path: str) -> Floats:
    """How much each pixel belongs to what the picture is of, 0 to 1, in a smaller square."""
    square = Image.fromarray(colors).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
    values = np.asarray(square).astype(np.float32)
    values = (values / max(1.0, float(values.max())) - _MEAN) / _SPREAD
    network = _loaded(path)
    network.setInput(np.ascontiguousarray(values.transpose(2, 0, 1)[None]))
    mask = np.asarray(network.forward())[0, 0]
    low, high = float(mask.min()), float(mask.max())
    subject: Floats = ((mask - low) / max(high - low, 1e-6)).astype(np.float32)
    return subject


def _grabbed(colors: Bytes) -> Floats:
    """The same by colour: what differs from the edges of the picture."""
    cv2 = vision.load()
    small = Image.fromarray(colors)
    small.thumbnail((_CUT, _CUT), Image.Resampling.BOX)
    values = np.asarray(small)[..., ::-1].copy()
    mask = np.full(values.shape[:2], cv2.GC_PR_FGD, np.uint8)
    down, across = (max(1, round(side * _EDGE)) for side in values.shape[:2])
    mask[:down] = mask[-down:] = cv2.GC_BGD
    mask[:, :across] = mask[:, -across:] = cv2.GC_BGD
    if (mask == cv2.GC_PR_FGD).sum() < 16 or values.std() < 1:
        return np.ones(mask.shape, np.float32)  # nothing to tell apart
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(values, mask, None, *models, _ROUNDS, cv2.GC_INIT_WITH_MASK)
    found = (mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)
    return found.astype(np.float32) if found.any() else np.ones(mask.shape, np.float32)


def _fitted(mask: Floats, colors: Bytes) -> Floats:
    """The mask at the size of the picture, its edges drawn to those of the picture."""
    size = (colors.shape[1], colors.shape[0])
    large = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.BICUBIC))
    radius = max(2, round(1.5 * max(size) / max(mask.shape)))
    guided = vision.load().ximgproc.guidedFilter(colors, large, radius, _FIT * 255**2)
    return np.asarray(guided, np.float32)
