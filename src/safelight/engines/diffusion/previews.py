"""How the picture looks so far: a small JPEG out of the latents, when it is cheap enough."""

from __future__ import annotations

import inspect
import math
import time
from pathlib import Path
from typing import Any

import diffusers
import torch
from PIL import Image

SECONDS = 1.0  # between two previews, at least
_SHARE = 20  # times what a preview takes are computed before the next
_SIDE = 32  # of the latents that are decoded, at most


class Previews:
    """The previews of one computation. What goes wrong with them is not worth a task."""

    def __init__(self, folder: Path, wanted: bool) -> None:
        self._path = folder / "preview.jpg"
        self._next = time.monotonic() + (SECONDS if wanted else math.inf)

    def take(self, pipe: Any, latents: Any, size: tuple[int, int] | None) -> Path | None:
        """A preview of these latents, if it is time for one and there can be one."""
        began = time.monotonic()
        if began < self._next:
            return None
        try:
            picture = _decode(pipe, latents, size)
        except Exception:
            picture = None
        took = time.monotonic() - began
        if picture is None:
            self._next = math.inf
            return None
        self._next = began + max(SECONDS, _SHARE * took)
        return self._write(picture)

    def _write(self, picture: Image.Image) -> Path:
        fresh = self._path.with_suffix(".part")
        picture.save(fresh, "JPEG", quality=80)
        return fresh.replace(self._path)  # whoever reads it finds it whole


def _decode(pipe: Any, latents: Any, size: tuple[int, int] | None) -> Image.Image | None:
    vae = getattr(pipe, "vae", None)
    if vae is None or not isinstance(latents, torch.Tensor):
        return None
    if latents.ndim == 3:
        latents = _unpack(pipe, latents, size)
    if latents is None or latents.ndim not in (4, 5):
        return None
    latents = _shrink(_one(latents, isinstance(vae, diffusers.AutoencoderKL)))
    pixels = vae.decode(_scale(vae, latents).to(vae.dtype), return_dict=False)[0]
    pixels = pixels[0] if pixels.ndim == 4 else pixels[0, :, 0]
    bytes_ = ((pixels.float().clamp(-1, 1) + 1) * 127.5).byte().permute(1, 2, 0).cpu().numpy()
    return Image.fromarray(bytes_)


def _unpack(pipe: Any, latents: Any, size: tuple[int, int] | None) -> Any:
    """Latents that lie in a row (Flux, Qwen) as the picture that they are."""
    unpack = getattr(pipe, "_unpack_latents", None)
    if unpack is None or size is None:
        return None
    known = {"latents": latents, "width": size[0], "height": size[1],
             "vae_scale_factor": pipe.vae_scale_factor}  # fmt: skip
    wanted = inspect.signature(unpack).parameters
    return unpack(**known) if set(wanted) == set(known) else None


def _one(latents: Any, still: bool) -> Any:
    """The first picture, or the middle one of a film; a still one for a decoder of stills."""
    latents = latents[:1]
    if latents.ndim == 4:
        return latents
    middle = latents.shape[2] // 2
    return latents[:, :, middle] if still else latents[:, :, middle : middle + 1]


def _shrink(latents: Any) -> Any:
    height, width = latents.shape[-2:]
    factor = max(height, width) / _SIDE
    if factor <= 1:
        return latents
    small = (max(1, round(height / factor)), max(1, round(width / factor)))
    flat = latents if latents.ndim == 4 else latents[:, :, 0]
    flat = torch.nn.functional.interpolate(flat.float(), small, mode="area")
    return flat if latents.ndim == 4 else flat[:, :, None]


def _scale(vae: Any, latents: Any) -> Any:
    """From what the denoiser works on to what the decoder takes."""
    config = vae.config
    mean, std = config.get("latents_mean"), config.get("latents_std")
    if mean is not None and std is not None:
        shape = (1, -1, *([1] * (latents.ndim - 2)))
        mean, std = (torch.tensor(one, device=latents.device).view(shape) for one in (mean, std))
        return latents.float() * std / (config.get("scaling_factor") or 1.0) + mean
    return latents / (config.get("scaling_factor") or 1.0) + (config.get("shift_factor") or 0.0)
