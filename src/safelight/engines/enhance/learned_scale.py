"""Super-resolution by networks that came out of their packages, on the runtime `ncnn`, on the CPU.

waifu2x (its network for photographs) doubles and is true to the source; Real-ESRGAN makes four
times the size and draws what it does not know, the large network in detail and in minutes.
"""

from __future__ import annotations

import os
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from safelight.engines.enhance.filling import filled
from safelight.engines.enhance.measures import Size
from safelight.engines.enhance.noise import measured
from safelight.engines.enhance.pixels import Bytes, Floats, as_floats, colors_of, to_bytes
from safelight.engines.enhance.tiles import tiled
from safelight.engines.enhance.weights import Weights
from safelight.task import Record

_LANCZOS = Image.Resampling.LANCZOS
_NEARLY = 1.25  # what is left to enlarge after the networks is resampled, up to this
_NOISY = 6.0  # grey levels: above it a poor source is not only compressed but noisy


class _Network(Record, frozen=True, kw_only=True):
    """Two files in a folder, and how to run them."""

    name: str  # for people
    file: str
    scale: int
    entry: str
    exit: str
    margin: int  # how far it looks, in pixels
    side: int = 256  # of what it is given at a time


def _waifu2x(noise: str) -> _Network:
    file = f"WAIFU2X_PHOTO_UP2X{f'_DENOISE{noise}X' if noise else ''}"
    name = f"waifu2x, photo{f', noise {noise}' if noise else ''}"
    return _Network(name=name, file=file, scale=2, entry="Input1", exit="Eltwise4", margin=8)


def _realesrgan(name: str, file: str, side: int) -> _Network:
    return _Network(
        name=f"Real-ESRGAN, {name}",
        file=f"REALESRGAN_{file}",
        scale=4,
        entry="data",
        exit="output",
        margin=18,
        side=side,
    )


_FAITHFUL = _waifu2x("")
_COMPRESSED, _GRAINY = _waifu2x("1"), _waifu2x("3")
_SHARP = _realesrgan("animevideov3", "ANIMAVIDEOV3_UP4X", 160)
_DETAILED = _realesrgan("x4plus", "X4PLUS_UP4X", 64)


def enlarge(image: Image.Image, kind: str, size: Size, weights: Weights) -> tuple[Image.Image, str]:
    """`image` at `size` in the way of that `kind`, and the name of the network that did it.

    Raises `ImportError` where what the kind needs is not installed, or there is nothing to enlarge.
    """
    if _missing(image.size, size) <= 1:
        raise ImportError("there is nothing to enlarge")
    network, folder = _chosen(image, kind, weights)
    colors, name = _opaque(image), network.name
    while _missing((colors.shape[1], colors.shape[0]), size) > _NEARLY:
        run = partial(_run, _loaded(str(folder / network.file)), network)
        colors = tiled(colors, run, side=network.side, margin=network.margin, scale=network.scale)
        if network in (_COMPRESSED, _GRAINY):  # what it has taken out is out
            network = _FAITHFUL
    result = Image.fromarray(colors).resize(size, _LANCZOS)
    if image.mode == "RGBA":
        result.putalpha(image.getchannel("A").resize(size, _LANCZOS))
    return result, name


def _missing(size: Size, wanted: Size) -> float:
    """How many times as long the sides are still to become, the side with more to go."""
    return max(wanted[0] / size[0], wanted[1] / size[1])


def _chosen(image: Image.Image, kind: str, weights: Weights) -> tuple[_Network, Path]:
    realesrgan, waifu2x = weights.realesrgan, weights.waifu2x
    if kind in ("super", "ultra") and realesrgan:
        patient = kind == "ultra" and image.width * image.height <= weights.slow_pixels
        return (_DETAILED if patient else _SHARP), realesrgan
    if waifu2x is None:
        raise ImportError("its network is not installed")
    if kind == "lq":
        return (_GRAINY if measured(image) > _NOISY else _COMPRESSED), waifu2x
    return _FAITHFUL, waifu2x


def _opaque(image: Image.Image) -> Bytes:
    """The colours; where the picture is clear, those around it, lest its edges bleed."""
    colors = colors_of(image)
    if image.mode != "RGBA":
        return colors
    seen = (np.asarray(image.getchannel("A")) > 0).astype(np.float32)
    return to_bytes(filled(as_floats(colors), seen)) if seen.any() else colors


@cache
def _loaded(path: str) -> Any:
    """The network in two files, ready to run; kept for the life of the process."""
    import ncnn

    network = ncnn.Net()
    network.opt.use_vulkan_compute = False
    network.opt.num_threads = os.cpu_count() or 1
    if network.load_param(f"{path}.param") or network.load_model(f"{path}.bin"):
        raise ImportError(f"the network in {path} cannot be read")
    return network


def _run(loaded: Any, network: _Network, colors: Floats) -> Floats:
    import ncnn

    extractor = loaded.create_extractor()
    planes = np.ascontiguousarray(colors.transpose(2, 0, 1))
    extractor.input(network.entry, ncnn.Mat(planes))
    _, result = extractor.extract(network.exit)
    return np.array(result).transpose(1, 2, 0)
