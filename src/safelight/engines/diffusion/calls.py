"""From a task to the arguments of a pipeline's call: by what its signature takes."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from safelight.engines import Failed, Job
from safelight.engines.diffusion.options import Options
from safelight.engines.sketch import sources
from safelight.errors import InvalidValue
from safelight.sizes import pixels
from safelight.task import FailureCode, Kind, Record, Role

Size = tuple[int, int]
DEFAULT_FPS = 16
_AREA = 4  # times the size that a model was made for: beyond it pictures repeat themselves


class Given(Record, frozen=True, kw_only=True):
    """The sources by what they are for."""

    pictures: tuple[Path, ...] = ()
    last: Path | None = None
    mask: Path | None = None


class Plan(Record, frozen=True, kw_only=True):
    """What is to be computed, and what is to be made of it.

    `size` is computed and `target` is asked for; None where nothing is said, and the pipeline
    chooses. `computed` frames are asked of the pipeline, at `native` a second.
    """

    given: Given
    size: Size | None = None
    target: Size | None = None
    computed: int | None = None
    native: int = 0
    fps: int = 0
    seconds: float | None = None


def takes(pipe: Any) -> Mapping[str, inspect.Parameter]:
    """The parameters of a pipeline's call."""
    return inspect.signature(type(pipe).__call__).parameters


def requires(pipe: Any, name: str) -> bool:
    """Whether the call has a parameter of that name that cannot be left out."""
    found = takes(pipe).get(name)
    return found is not None and found.default is inspect.Parameter.empty


def read_given(job: Job) -> Given:
    """Sort the sources. Nothing but their headers is read."""
    roles = (Role.FIRST_FRAME, Role.IMAGE)  # in this order, what is shown first
    return Given(
        pictures=tuple(one.path for role in roles for one in job.sources if one.role is role),
        last=next((one.path for one in job.sources if one.role is Role.LAST_FRAME), None),
        mask=next((one.path for one in job.sources if one.role is Role.MASK), None),
    )


def plan(job: Job, options: Options, pipe: Any, given: Given) -> Plan:
    """What `pipe` is to compute for the job. Raises `Failed`."""
    target = _target(job, options, given)
    size = None if target is None else _size(target, options, pipe)
    if job.submit.kind is not Kind.VIDEO:
        return Plan(given=given, size=size, target=target)
    native = _native_fps(job, options, pipe)
    seconds = job.submit.duration
    return Plan(
        given=given,
        size=size,
        target=target,
        native=native,
        fps=job.submit.fps or native,
        seconds=seconds,
        computed=None if seconds is None else _frames(seconds, native, options, pipe),
    )


# --- sizes


def _target(job: Job, options: Options, given: Given) -> Size | None:
    submit = job.submit
    source = sources.measure(given.pictures[0], job.max_pixels) if given.pictures else None
    named = (
        (submit.width and submit.height) or submit.resolution or submit.ratio not in (None, "auto")
    )
    if not named and options.resolution is None and source is None:
        return None
    if submit.resolution is None and (named or submit.kind is Kind.VIDEO or source is None):
        submit = msgspec.structs.replace(submit, resolution=options.resolution)
    try:
        size = pixels(submit, source)
    except InvalidValue as problem:
        raise Failed(FailureCode.INVALID_INPUT, problem.message) from None
    if size[0] * size[1] > job.max_pixels:
        text = f"The picture would be {size[0]}x{size[1]} pixels, more than are made here."
        raise Failed(FailureCode.INVALID_INPUT, text)
    return size


def _size(target: Size, options: Options, pipe: Any) -> Size:
    """What the pipeline takes that is nearest to `target`, and not smaller unless it must be."""
    most = options.max_pixels or _AREA * _native_side(pipe) ** 2
    scale = min(1.0, math.sqrt(most / (target[0] * target[1]))) if most else 1.0
    unit = options.multiple or _multiple(pipe)
    width, height = (max(unit, math.ceil(side * scale / unit - 1e-9) * unit) for side in target)
    return width, height


def _native_side(pipe: Any) -> int:
    """The side that the model was made for; 0 where it does not say."""
    side = getattr(pipe, "default_sample_size", None)
    if side is None and getattr(pipe, "unet", None) is not None:
        side = getattr(pipe.unet.config, "sample_size", None)
    scale = getattr(pipe, "vae_scale_factor", None)
    return side * scale if isinstance(side, int) and isinstance(scale, int) else 0


def _multiple(pipe: Any) -> int:
    names = ("vae_scale_factor_spatial", "vae_spatial_compression_ratio", "vae_scale_factor")
    scale = next((found for name in names if (found := getattr(pipe, name, None))), 8)
    config = getattr(getattr(pipe, "transformer", None), "config", {})
    patch = config.get("patch_size") or 1
    return int(scale) * int(patch if isinstance(patch, int) else patch[-1])


# --- time


def _native_fps(job: Job, options: Options, pipe: Any) -> int:
    """How many of the pipeline's frames make a second."""
    if options.fps:
        return options.fps
    for name in ("frame_rate", "fps"):
        default = getattr(takes(pipe).get(name), "default", None)
        if isinstance(default, int | float) and default > 0:
            return round(default)
    return job.submit.fps or DEFAULT_FPS


def _frames(seconds: float, native: int, options: Options, pipe: Any) -> int:
    """The frames to compute, of a number that the pipeline takes: one more than a multiple."""
    wanted = max(1, round(seconds * native))
    names = ("vae_scale_factor_temporal", "vae_temporal_compression_ratio")
    unit = next((found for name in names if (found := getattr(pipe, name, None))), 1)
    frames = math.ceil((wanted - 1) / unit) * unit + 1
    if options.max_frames and wanted > options.max_frames:
        text = f"duration: the model makes films of {options.max_frames / native:g} s at most"
        raise Failed(FailureCode.INVALID_INPUT, text)
    return min(frames, options.max_frames or frames)


# --- arguments


def arguments(job: Job, options: Options, pipe: Any, plan: Plan, count: int) -> dict[str, Any]:
    """What the call gets, but for the generators and callbacks. Raises `Failed`."""
    known = takes(pipe)
    wanted = {
        "prompt": job.submit.prompt,
        "negative_prompt": job.submit.negative or options.negative,
        "num_inference_steps": options.steps,
        "guidance_scale": options.guidance,
        "strength": options.strength,
        "width": plan.size and plan.size[0],
        "height": plan.size and plan.size[1],
        "num_images_per_prompt": count if count > 1 else None,
        "num_frames": plan.computed,
        "frame_rate": plan.native or None,
        "fps": plan.native or None,
        **_pictures(job, pipe, plan),
    }
    if unknown := set(options.arguments) - set(known):
        text = f"The model's pipeline has no argument {', '.join(sorted(unknown))}."
        raise Failed(FailureCode.INTERNAL, text)
    said = {name: value for name, value in wanted.items() if value is not None and name in known}
    # So that the pixels are ours to scale and to write, whatever the pipeline's own default is.
    output = {"output_type": "pil"} if "output_type" in known else {}
    return {**output, **said, **options.arguments}


def _pictures(job: Job, pipe: Any, plan: Plan) -> dict[str, Any]:
    given = plan.given
    if not given.pictures:
        return {}
    read = [sources.read(path, job.max_pixels) for path in given.pictures]
    if plan.size is not None:
        read = [sources.cover(picture, plan.size) for picture in read]
    found: dict[str, Any] = {"image": read if len(read) > 1 else read[0]}
    if given.mask is not None:
        mask = sources.read(given.mask, job.max_pixels, "RGBA")
        found["mask_image"] = sources.opening(mask, read[0].size)
    if given.last is not None:
        last = sources.read(given.last, job.max_pixels)
        found["last_image"] = sources.cover(last, read[0].size)
    return found
