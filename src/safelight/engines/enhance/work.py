"""The whole work of one `enhance` task, as its child process does it: operation by operation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
from PIL import Image

from safelight.engines import Event, Failed, Job, Log, Progress
from safelight.engines.enhance import (
    cutout,
    detail,
    erase,
    expand,
    learned_noise,
    learned_scale,
    noise,
    tones,
)
from safelight.engines.enhance.measures import Size, size_after
from safelight.engines.enhance.picture import read_picture, with_alpha, write_picture
from safelight.engines.enhance.steps import plan, ruled
from safelight.engines.enhance.weights import Weights
from safelight.task import FailureCode, Operation, Role

# The longest side of a result, in pixels, where an operation has a limit of its own.
_LONGEST: Mapping[str, int] = {"advanced_super_resolution": 4096}

_Options = Mapping[str, Any]
_Work = Callable[[Image.Image, _Options, Size], Image.Image]
# What needs nothing but Pillow and NumPy.
_PLAIN: Mapping[str, _Work] = {
    "image_erase_logo": lambda image, options, _: erase.erase(
        image, options["image_area_boxes"], options["erase_strength"], smooth=True
    ),
    "low_light_enhance": lambda image, _, __: tones.lift(image),
    "denoise": lambda image, options, _: noise.denoise(image, options["type"]),
    "color_enhance": lambda image, options, _: tones.enrich(image, options["type"]),
    "image_quality_enhance": lambda image, options, _: tones.improve(image, options["type"]),
    "super_resolution": lambda image, options, size: detail.enlarge(image, options["type"], size),
    "advanced_super_resolution": lambda image, options, size: detail.enlarge(
        image, options["type"], size
    ),
    "ai_expansion": lambda image, _, size: expand.expand(image, size),
    "image_resize": lambda image, options, size: detail.resize(image, options["mode"], size),
    "sharp_enhance": lambda image, options, _: detail.sharpen(image, options["intensity"]),
}
# What those of them are called that something learned stands before.
_CLASSICAL: Mapping[str, str] = {
    "image_erase_logo": "smooth filling",
    "denoise": "sliding cosine transform",
    "super_resolution": "resampling (Lanczos)",
    "advanced_super_resolution": "resampling (Lanczos)",
}
_Learned = Callable[[Image.Image, _Options, Size, Weights], tuple[Image.Image, str]]
# What is done with what the extra brings: gives the picture, and what did it. Raises `ImportError`
# with a reason where that is not there, or of no use for this picture: then the plain way is gone.
_LEARNED: Mapping[str, _Learned] = {
    "image_erase_logo": lambda image, options, _, weights: erase.reconstruct(
        image, options["image_area_boxes"], options["erase_strength"], weights
    ),
    "denoise": lambda image, options, _, weights: learned_noise.denoise(
        image, options["type"], weights
    ),
    "super_resolution": lambda image, options, size, weights: learned_scale.enlarge(
        image, options["type"], size, weights
    ),
    "advanced_super_resolution": lambda image, options, size, weights: learned_scale.enlarge(
        image, options["type"], size, weights
    ),
    "ai_cutout": lambda image, _, __, weights: cutout.cut_out(image, weights),
}


def process(job: Job, done: int, weights: Weights = Weights()) -> Iterator[Event]:  # noqa: B008
    """The work itself, which blocks; its progress starts at `done` percent."""
    steps = plan(job.submit, ruled(job.options))
    source = next(given for given in job.sources if given.role is Role.IMAGE)
    picture = read_picture(source.path, job.max_pixels)
    for number, step in enumerate(steps, start=1):
        yield Progress(percent=done + (99 - done) * number // (len(steps) + 1))
        if step.name == "encode":
            form, quality = step.options["format"], step.options["quality"]
            yield write_picture(picture, job.folder, form, quality)
        else:
            image, by = _carry_out(picture.image, step, job.max_pixels, weights)
            if by:
                yield Log(text=f"{step.name}: {by}")
            picture = msgspec.structs.replace(picture, image=image)
            if step.name == "ai_cutout":
                picture = with_alpha(picture)


def _carry_out(
    image: Image.Image, step: Operation, max_pixels: int, weights: Weights
) -> tuple[Image.Image, str | None]:
    """The picture after the step, and what did it where there is more than one way."""
    size = size_after(step, image.size)
    longest = _LONGEST.get(step.name)
    if longest and max(size) > longest:
        raise _too_large(step, size, f"{longest} pixels a side")
    if size[0] * size[1] > max_pixels:
        raise _too_large(step, size, f"{max_pixels} pixels")
    learned, plain = _LEARNED.get(step.name), _PLAIN.get(step.name)
    if learned:
        try:
            return learned(image, step.options, size, weights)
        except ImportError as reason:
            if plain is None:
                raise Failed(FailureCode.INTERNAL, f"{step.name}: {reason}") from reason
            return plain(image, step.options, size), f"{_CLASSICAL[step.name]}; {reason}"
    assert plain is not None
    return plain(image, step.options, size), None


def _too_large(step: Operation, size: Size, allowed: str) -> Failed:
    text = f"{step.name} would make {size[0]} x {size[1]} pixels; at most {allowed} are allowed."
    return Failed(FailureCode.INVALID_INPUT, text)
