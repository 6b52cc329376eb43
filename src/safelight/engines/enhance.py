"""The engine `enhance`: processes a picture with Pillow and NumPy, without any learned model.

`_retouch.steps` says what can be asked for, and in which order it is done; whatever else is asked
is refused before the task is accepted. See docs/engines/enhance.md.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing
from typing import Any

import anyio
import msgspec
from PIL import Image

from safelight.engines import Event, Failed, Job, Progress
from safelight.engines._child import Children
from safelight.engines._retouch import detail, noise, tones
from safelight.engines._retouch.measures import Size, size_after
from safelight.engines._retouch.picture import read_picture, write_picture
from safelight.engines._retouch.steps import plan
from safelight.errors import MissingParameter, Unsupported
from safelight.task import FailureCode, Kind, ModelCard, Operation, Role, Submit

CARD = ModelCard(
    name="enhance",
    kind=Kind.IMAGE,
    description="Enlarges, denoises, corrects, sharpens, resizes and converts a picture.",
    max_sources=1,
)

_PAUSES = 10  # steps of the option `seconds`

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


class Enhance:
    """Carries out a task's operations on its one source picture. The same task, the same bytes."""

    name = "enhance"
    models = (CARD,)

    def __init__(self) -> None:
        self._children = Children()

    def check(self, submit: Submit, options: Mapping[str, Any]) -> None:
        """Raise the `BadRequest` that names what this engine cannot do. `options` change nothing.

        A prompt is let pass unread, because some wires cannot leave it out.
        """
        if submit.kind is not Kind.IMAGE:
            raise Unsupported("This engine processes pictures, not films.", parameter="kind")
        if submit.count != 1:
            raise Unsupported("This engine makes one picture of one.", parameter="count")
        if not any(source.role is Role.IMAGE for source in submit.sources):
            raise MissingParameter("A picture to process is missing.", parameter="sources")
        if len(submit.sources) > 1:
            raise Unsupported("This engine takes one picture at a time.", parameter="sources")
        plan(submit)

    async def run(self, job: Job) -> AsyncGenerator[Event]:
        """Process the source in a child process. `seconds` of `job.options` are waited before."""
        done = 0
        if seconds := float(job.options.get("seconds") or 0):
            for _ in range(_PAUSES):
                await anyio.sleep(seconds / _PAUSES)
                done += 9
                yield Progress(percent=done)
        async with aclosing(self._children.run(process, job, done)) as events:
            async for event in events:
                yield event


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


def build(settings: Mapping[str, Any]) -> Enhance:
    """The engine; it needs no settings."""
    return Enhance()
