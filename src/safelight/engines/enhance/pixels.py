"""Between pictures and numbers: colours as arrays, work on them strip by strip, a blur.

Colours are worked on as float32 from 0 to 1, and in strips of rows, so that the memory used hardly
grows with the picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[Any]  # float32; NumPy's own types lose track of it
Bytes = NDArray[np.uint8]

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # how bright each channel is
_STRIP = 2**19  # pixels worked on at a time


def colors_of(image: Image.Image) -> Bytes:
    return np.asarray(image.convert("RGB"))


def with_colors(image: Image.Image, colors: Bytes) -> Image.Image:
    """A picture of these colours with the alpha channel of `image`, if it has one."""
    result = Image.fromarray(colors)
    if image.mode == "RGBA":
        result.putalpha(image.getchannel("A"))
    return result


def as_floats(values: Bytes) -> Floats:
    return values.astype(np.float32) / np.float32(255)


def to_bytes(values: Floats) -> Bytes:
    return (values.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def planes_of(values: Floats) -> list[Floats]:
    """The channels of colours, each an array of its own."""
    return [np.ascontiguousarray(values[..., one]) for one in range(values.shape[2])]


def strips(image: Image.Image) -> Iterator[slice]:
    """The rows of `image`, a strip at a time; each begins at an even row."""
    rows = max(16, _STRIP // image.width // 2 * 2)
    for top in range(0, image.height, rows):
        yield slice(top, min(top + rows, image.height))


def change(image: Image.Image, work: Callable[[Floats], Floats], margin: int = 0) -> Image.Image:
    """`image` with `work` applied to its colours, strip by strip.

    `margin` (even) is how many rows beyond a strip `work` looks at.
    """
    colors = colors_of(image)
    result = np.empty_like(colors)
    for rows in strips(image):
        first = max(0, rows.start - margin)
        around = work(as_floats(colors[first : rows.stop + margin]))
        result[rows] = to_bytes(around[rows.start - first :][: rows.stop - rows.start])
    return with_colors(image, result)


def reach(deviation: float) -> int:
    """How many pixels away `blur` looks: an even number."""
    return 2 * math.ceil(1.5 * deviation)


def blur(plane: Floats, deviation: float) -> Floats:
    """`plane` under a Gaussian of `deviation` pixels, mirrored at its edges."""
    far = reach(deviation)
    bell = np.exp(-0.5 * (np.arange(-far, far + 1) / deviation) ** 2)
    bell = (bell / bell.sum()).astype(np.float32)
    return _blur_down(_blur_down(plane, bell).T, bell).T


def _blur_down(plane: Floats, bell: Floats) -> Floats:
    far = len(bell) // 2
    padded = np.pad(plane, ((far, far), (0, 0)), mode="symmetric")
    result = np.zeros_like(plane)
    for at, weight in enumerate(bell):
        result += weight * padded[at : at + len(plane)]
    return result
