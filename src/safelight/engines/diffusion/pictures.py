"""From computed pixels to files of exactly the size that was asked for. Without PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from safelight.engines import Event, File, Job, Log, Progress
from safelight.engines.diffusion.orders import COMPUTED, Made
from safelight.engines.sketch import film, sources
from safelight.engines.sketch.limits import FORMS, QUALITIES
from safelight.task import Kind

_QUALITY = 90


def save(job: Job, made: tuple[Made, ...]) -> Iterator[Event]:
    """Write the files."""
    write = _film if job.submit.kind is Kind.VIDEO else _picture
    for number, one in enumerate(made):
        yield write(job, one, number)
        one.path.unlink()
        yield Progress(percent=COMPUTED + (99 - COMPUTED) * (number + 1) // len(made))
    if job.submit.kind is Kind.VIDEO and job.submit.audio:
        yield Log(text="The model makes no sound, so the film has none.")


def _picture(job: Job, made: Made, number: int) -> File:
    picture = sources.cover(Image.fromarray(np.load(made.path)), made.size)
    if made.under is not None and made.mask is not None:
        picture = _mend(job, made, picture)
    form = FORMS[(job.submit.format or "png").lower()]
    path = job.folder / f"{number + 1:02d}.{form.ending}"
    options = dict(form.options)
    if form.lossy:
        options["quality"] = QUALITIES.get(job.submit.quality, _QUALITY)
    picture.save(path, form.pillow, **options)
    width, height = picture.size
    return File(path=path, media_type=form.media_type, width=width, height=height)


def _mend(job: Job, made: Made, picture: Image.Image) -> Image.Image:
    """`picture` where the mask is open, and elsewhere the source, to the pixel."""
    assert made.under is not None and made.mask is not None
    kept = sources.cover(sources.read(made.under, job.max_pixels), made.size)
    mask = sources.read(made.mask, job.max_pixels, "RGBA")
    return Image.composite(picture, kept, sources.opening(mask, made.size))


def _film(job: Job, made: Made, number: int) -> File:
    assert made.fps is not None
    computed = np.load(made.path, mmap_mode="r")
    path = job.folder / f"{number + 1:02d}.mp4"
    for _ in film.write(path, made.size, made.fps, _frames(computed, made), None):
        pass
    width, height = made.size
    duration = made.frames / made.fps
    return File(path=path, media_type="video/mp4", width=width, height=height, duration=duration)


def _frames(computed: Any, made: Made) -> Iterator[Image.Image]:
    """The film's frames: at each moment the one that was computed for it."""
    pace = (made.native or 1) / (made.fps or 1)
    for frame in range(made.frames):
        at = min(len(computed) - 1, int(frame * pace))
        yield sources.cover(Image.fromarray(np.asarray(computed[at])), made.size)
