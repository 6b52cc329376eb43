"""The whole work of one `enhance` task, as its child process does it: operation by operation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
from PIL import Image

from safelight.engines import Event, Failed, Job, Progress
from safelight.engines._retouch import detail, noise, tones
from safelight.engines._retouch.measures import Size, size_after
from safelight.engines._retouch.picture import read_picture, write_picture
from safelight.engines._retouch.steps import plan
from safelight.task import FailureCode, Operation, Role

# The longest side of a result, in pixels, where an operation has a limit of its own.
_LONGEST: Mapping[str, int] = {"advanced_super_resolution": 4096}

_Work = Callable[[Image.Image, Mapping[str, Any], Size], Image.Image]
_WORK: Mapping[str, _Work] = {
    "low_light_enhance": lambda image, _, __: tones.lift(image),
    "denoise": lambda image, options, _: noise.denoise(image, options["type"]),
    "color_enhance": lambda image, options, _: tones.enrich(image, options["type"]),
    "image_quality_enhance": lambda image, options, _: tones.improve(image, options["type"]),
    "super_resolution": lambda image, options, size: detail.enlarge(image, options["type"], size),
    "advanced_super_resolution": lambda image, options, size: detail.enlarge(
        image, options["type"], size
    ),
    "image_resize": lambda image, options, size: detail.resize(image, options["mode"], size),
    "sharp_enhance": lambda image, options, _: detail.sharpen(image, options["intensity"]),
}


def process(job: Job, done: int) -> Iterator[Event]:
    """The work itself, which blocks; its progress starts at `done` percent."""
    steps = plan(job.submit)
    source = next(given for given in job.sources if given.role is Role.IMAGE)
    picture = read_picture(source.path, job.max_pixels)
    for number, step in enumerate(steps, start=1):
        yield Progress(percent=done + (99 - done) * number // (len(steps) + 1))
        if step.name == "encode":
            form, quality = step.options["format"], step.options["quality"]
            yield write_picture(picture, job.folder, form, quality)
        else:
            image = _carry_out(picture.image, step, job.max_pixels)
            picture = msgspec.structs.replace(picture, image=image)


def _carry_out(image: Image.Image, step: Operation, max_pixels: int) -> Image.Image:
    size = size_after(step, image.size)
    longest = _LONGEST.get(step.name)
    if longest and max(size) > longest:
        raise _too_large(step, size, f"{longest} pixels a side")
    if size[0] * size[1] > max_pixels:
        raise _too_large(step, size, f"{max_pixels} pixels")
    return _WORK[step.name](image, step.options, size)


def _too_large(step: Operation, size: Size, allowed: str) -> Failed:
    text = f"{step.name} would make {size[0]} x {size[1]} pixels; at most {allowed} are allowed."
    return Failed(FailureCode.INVALID_INPUT, text)
