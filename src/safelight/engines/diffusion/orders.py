"""What the server's process and that of a device tell each other. Light to load."""

from __future__ import annotations

from pathlib import Path

from safelight.engines import Job
from safelight.engines.diffusion.options import Options, Settings
from safelight.task import Record

COMPUTED = 95  # percent, when the pixels are there; the rest is the writing of files


class Order(Record, frozen=True, kw_only=True):
    """A task for a device's process."""

    job: Job
    options: Options
    settings: Settings
    device: str


class Warm(Record, frozen=True, kw_only=True):
    """The models that are loaded now, the most recently used last."""

    models: tuple[str, ...]


class Made(Record, frozen=True, kw_only=True):
    """What was computed, not yet a file: pixels, and what is to become of them.

    `path` holds an array of bytes, height x width x 3 for a picture, frames before that for a
    film. `size` is what was asked for. Of an edit, what `mask` does not open is kept as in `under`.
    """

    path: Path
    size: tuple[int, int]
    fps: int | None = None  # of the film
    native: int | None = None  # of what was computed: so many of its frames are a second
    frames: int = 1  # that the film has
    under: Path | None = None
    mask: Path | None = None
