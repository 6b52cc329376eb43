"""The files that a fake provider gives: one picture and one film, made once."""

from __future__ import annotations

import hashlib
import io
from fractions import Fraction
from functools import cache
from typing import NamedTuple

import av
import numpy as np
from av.video.stream import VideoStream
from PIL import Image

from safelight.task import Kind

_SIDE, _FRAMES, _RATE = 64, 8, 8


class Sample(NamedTuple):
    """A file, and what is known of it."""

    data: bytes
    media_type: str
    suffix: str
    etag: str
    side: int
    duration: float | None = None


@cache
def sample(kind: Kind) -> Sample:
    """The file that a task of that kind ends in."""
    if kind is Kind.IMAGE:
        data = _picture()
        return Sample(data, "image/png", ".png", _etag(data), _SIDE)
    data = _film()
    return Sample(data, "video/mp4", ".mp4", _etag(data), _SIDE, _FRAMES / _RATE)


def _etag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def _picture() -> bytes:
    file = io.BytesIO()
    Image.linear_gradient("L").resize((_SIDE, _SIDE)).convert("RGB").save(file, "PNG")
    return file.getvalue()


def _film() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=_RATE)
        assert isinstance(stream, VideoStream)
        stream.width = stream.height = _SIDE
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, _RATE)
        for number in range(_FRAMES):
            shade = 255 * number // _FRAMES
            pixels = np.full((_SIDE, _SIDE, 3), (shade, 96, 160), np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()
