"""What `sketch` takes and how it writes: known before a task is accepted, and light to load."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from safelight.task import Record, Submit

MIN_SIDE, MAX_SIDE = 16, 8192
MAX_FILM_PIXELS = 4_000_000_000  # of all frames: a minute of 1080p at 30 frames a second
DEFAULT_SECONDS, DEFAULT_FPS = 5.0, 24
QUALITIES: Mapping[str | None, int] = {"low": 70, "medium": 85, "high": 95}


class Form(Record, frozen=True, kw_only=True):
    """How a picture is written."""

    ending: str
    media_type: str
    pillow: str
    lossy: bool = False
    options: dict[str, Any] = msgspec.field(default_factory=dict)


_JPEG = Form(ending="jpg", media_type="image/jpeg", pillow="JPEG", lossy=True)
FORMS: Mapping[str, Form] = {
    # Level 1: the grain does not compress anyway, and 6 takes five times as long.
    "png": Form(ending="png", media_type="image/png", pillow="PNG", options={"compress_level": 1}),
    "jpeg": _JPEG,
    "jpg": _JPEG,
    "webp": Form(
        ending="webp", media_type="image/webp", pillow="WEBP", lossy=True, options={"method": 2}
    ),
    "bmp": Form(ending="bmp", media_type="image/bmp", pillow="BMP"),
}


def frame_count(duration: float | None, fps: int | None) -> int:
    """How many frames a film of that length has; the defaults are ours."""
    return max(1, round((duration or DEFAULT_SECONDS) * (fps or DEFAULT_FPS)))


def film_pixels(submit: Submit, size: tuple[int, int]) -> int:
    """The pixels of all frames of all films that `submit` asks for."""
    return size[0] * size[1] * frame_count(submit.duration, submit.fps) * submit.count
