"""From frames to a film: H.264, and AAC where it is to sound, in an MP4 that plays at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from safelight.engines.sketch.layers import Chance, Floats, Size

SAMPLE_RATE = 44_100
_TAU = 2 * np.pi


def write(
    path: Path, size: Size, fps: int, frames: Iterable[Image.Image], sound: Floats | None
) -> Iterator[int]:
    """Write the film to `path`, and yield how many frames are in it, after each of them.

    The same frames make the same bytes: one thread, no dates, no name of who made it.
    """
    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    with av.open(str(path), "w", format="mp4", options=options) as container:
        stream = _video_stream(container, size, fps)
        audio = _audio_stream(container) if sound is not None else None
        heard = 0
        for count, picture in enumerate(frames, start=1):
            frame = av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")
            frame.pts, frame.time_base = count - 1, Fraction(1, fps)
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
            if audio is not None and sound is not None:
                until = min(sound.shape[1], round(count / fps * SAMPLE_RATE))
                _encode_sound(container, audio, sound[:, heard:until], heard)
                heard = until
            yield count
        container.mux(stream.encode(None))
        if audio is not None:
            container.mux(audio.encode(None))


def _video_stream(container: OutputContainer, size: Size, fps: int) -> VideoStream:
    stream = container.add_stream("libx264", rate=fps)
    assert isinstance(stream, VideoStream)
    stream.width, stream.height = size
    stream.pix_fmt = "yuv420p"
    stream.time_base = Fraction(1, fps)
    stream.options = {
        "preset": "superfast",
        "crf": "20",
        "threads": "1",
        "flags": "+bitexact",
        # Without the tree of macroblocks: in widths that are no multiple of 128 its assembly reads
        # what was never written, and the same frames do not make the same bytes.
        "x264-params": "threads=1:lookahead-threads=1:mbtree=0",
    }
    return stream


def _audio_stream(container: OutputContainer) -> AudioStream:
    stream = container.add_stream("aac", rate=SAMPLE_RATE, layout="stereo")
    assert isinstance(stream, AudioStream)
    stream.options = {"flags": "+bitexact"}
    stream.bit_rate = 128_000
    return stream


def _encode_sound(
    container: OutputContainer, stream: AudioStream, samples: Floats, start: int
) -> None:
    if samples.shape[1]:
        block: NDArray[np.float32] = np.ascontiguousarray(samples)
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="stereo")
        frame.sample_rate = SAMPLE_RATE
        frame.pts, frame.time_base = start, Fraction(1, SAMPLE_RATE)
        container.mux(stream.encode(frame))


def ambience(seconds: float, chance: Chance) -> Floats:
    """A quiet chord that breathes, with a little wind: two channels of samples."""
    count = round(seconds * SAMPLE_RATE)
    time = np.arange(count, dtype=np.float32) / np.float32(SAMPLE_RATE)
    root = float(chance.choice([110.0, 123.47, 130.81, 146.83]))
    left, right = np.zeros(count, np.float32), np.zeros(count, np.float32)
    for ratio in (1, 1.5, 2, 2.5, 3):
        breath = 0.5 + 0.5 * np.sin(_TAU * (time * chance.uniform(0.05, 0.17) + chance.random()))
        tone = np.sin(_TAU * root * ratio * time) * breath / ratio
        side = float(chance.uniform(0.3, 0.7))
        left += (tone * side).astype(np.float32)
        right += (tone * (1 - side)).astype(np.float32)
    # No convolution: its last bits depend on where the arrays happen to lie in memory.
    wind = np.interp(time * 900, np.arange(900 * seconds + 2), _hiss(900 * seconds + 2, chance))
    swell = 0.5 + 0.5 * np.sin(_TAU * time * np.float32(0.11))
    edges = np.clip(np.minimum(time, np.float32(seconds) - time) / 0.4, 0, 1)
    both = np.stack([left, right]) * 0.13 + wind * swell * 0.015
    sound: Floats = np.clip(both * edges, -0.9, 0.9).astype(np.float32)
    return sound


def _hiss(count: float, chance: Chance) -> Floats:
    return chance.standard_normal(int(np.ceil(count)))
