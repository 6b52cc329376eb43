"""Takes out noise: a sliding cosine transform, whose weak coefficients are set to nothing."""

from __future__ import annotations

from functools import partial

import numpy as np
from PIL import Image

from safelight.engines.enhance.pixels import Floats, change, colors_of

_BLOCK = 8
_SHIFTS = range(0, _BLOCK, 2)
# Coefficients below this many times the noise are taken for noise, and the least noise that is
# assumed, in grey levels of 255.
_THRESHOLD = {"weak": (2.5, 0.4), "strong": (3.2, 2.0)}
# Colours apart from brightness, as three planes of the same noise as the channels had.
_OPPONENT = np.array(
    [[1 / 3**0.5] * 3, [1 / 2**0.5, 0, -1 / 2**0.5], [1 / 6**0.5, -2 / 6**0.5, 1 / 6**0.5]],
    np.float32,
)


def _cosines() -> Floats:
    """The orthonormal cosine transform of a block, as one matrix on its pixels in a row."""
    at = np.arange(_BLOCK)
    line = np.cos(np.pi * (2 * at[None, :] + 1) * at[:, None] / (2 * _BLOCK)) * np.sqrt(2 / _BLOCK)
    line[0] /= np.sqrt(2)
    return np.kron(line, line).astype(np.float32)


_COSINES = _cosines()


def denoise(image: Image.Image, strength: str) -> Image.Image:
    """Take out noise, as much as is found.

    Sliding cosine transform: in blocks of 8 x 8 at every second place what is weaker than noise
    is set to nothing, and the blocks that cover a pixel are averaged, the plainest the heaviest.
    """
    times, least = _THRESHOLD[strength]
    noise = np.maximum(_noise(image), np.float32(least / 255))
    return change(image, partial(_smooth, limits=noise * np.float32(times)), 2 * _BLOCK)


def measured(image: Image.Image) -> float:
    """How strong the noise in brightness is: its standard deviation in grey levels of 255.

    Fine texture passes for noise: a photograph without any measures 1 to 4.
    """
    return float(_noise(image)[0]) * 255


def _noise(image: Image.Image) -> Floats:
    """The standard deviation of the noise in each opponent plane, from 0 to 1.

    From the median of the finest diagonal differences, few of which are edges.
    """
    colors = colors_of(image)
    if min(colors.shape[:2]) < 2:
        return np.zeros(3, np.float32)
    step = 2 * max(1, round(np.sqrt(image.width * image.height / 2**21)))
    height, width = colors.shape[0] // 2 * 2, colors.shape[1] // 2 * 2
    corners = [
        colors[down:height:step, across:width:step].astype(np.float32) @ _OPPONENT.T
        for down in (0, 1)
        for across in (0, 1)
    ]
    diagonal = (corners[0] - corners[1] - corners[2] + corners[3]) / 2
    return np.asarray(np.median(np.abs(diagonal), axis=(0, 1)) / 0.6745 / 255, np.float32)


def _smooth(colors: Floats, limits: Floats) -> Floats:
    """`colors` without the coefficients below `limits`, one limit for each opponent plane."""
    height, width = colors.shape[:2]
    edges = [(_BLOCK, _BLOCK + -side % _BLOCK) for side in (height, width)]
    planes = np.pad(colors @ _OPPONENT.T, [*edges, (0, 0)], mode="symmetric")
    total, weight = np.zeros_like(planes), np.zeros_like(planes)
    rows, columns = planes.shape[0] - _BLOCK, planes.shape[1] - _BLOCK
    for down in _SHIFTS:
        for across in _SHIFTS:
            place = np.s_[down : down + rows, across : across + columns]
            blocks, heaviness = _shrink(_cut(planes[place]), limits)
            weight[place] += _join(np.broadcast_to(heaviness, blocks.shape), rows, columns)
            total[place] += _join(blocks * heaviness, rows, columns)
    inside = np.s_[_BLOCK : _BLOCK + height, _BLOCK : _BLOCK + width]
    return (total[inside] / weight[inside]) @ _OPPONENT


def _cut(planes: Floats) -> Floats:
    """(rows, columns, 3) as (3, blocks, pixels)."""
    rows, columns = planes.shape[0] // _BLOCK, planes.shape[1] // _BLOCK
    blocks = planes.reshape(rows, _BLOCK, columns, _BLOCK, 3).transpose(4, 0, 2, 1, 3)
    return blocks.reshape(3, rows * columns, _BLOCK * _BLOCK)


def _join(blocks: Floats, rows: int, columns: int) -> Floats:
    """The inverse of `_cut`."""
    parts = blocks.reshape(3, rows // _BLOCK, columns // _BLOCK, _BLOCK, _BLOCK)
    return parts.transpose(1, 3, 2, 4, 0).reshape(rows, columns, 3)


def _shrink(blocks: Floats, limits: Floats) -> tuple[Floats, Floats]:
    """The blocks without their weak coefficients, and the weight of each."""
    coefficients = blocks @ _COSINES.T
    kept = np.abs(coefficients) >= limits[:, None, None]
    kept[..., 0] = True  # the mean
    heaviness = 1 / kept.sum(axis=2, keepdims=True, dtype=np.float32)
    return (coefficients * kept) @ _COSINES, heaviness
