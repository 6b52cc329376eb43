"""The engine `diffusion`: any pipeline of the diffusers library, from a folder or a hub.

Each device has a process of its own, which keeps its models warm; files are written by other
processes, so that the device has its next task meanwhile. The server itself never loads PyTorch:
a process that only answers calls needs none. See docs/engines/diffusion.md.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from functools import cached_property
from importlib.util import find_spec
from typing import Any

from safelight.engines import Engine, Event, Failed, Job, Log, Waiting
from safelight.engines.diffusion.devices import Device, Devices
from safelight.engines.diffusion.options import (
    Options,
    Settings,
    find_devices,
    read_options,
    read_settings,
)
from safelight.engines.diffusion.orders import Made, Order, Warm
from safelight.engines.kit.children import NICENESS, Children, Crashed
from safelight.engines.sketch.limits import FORMS, MAX_SIDE, MIN_SIDE
from safelight.errors import InvalidValue, Unsupported
from safelight.sizes import pixels
from safelight.task import FailureCode, Kind, ModelCard, Role, Submit

EXTRA = 'pip install "safelight[diffusion]"'
MAX_COUNT, MAX_SECONDS, MAX_FPS = 16, 60, 60
MAX_PIXELS = 4096 * 4096
_PICTURES = frozenset({Role.IMAGE, Role.FIRST_FRAME})
# Read by the libraries when they are loaded: no bars, no reports of theirs.
_QUIET = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DIFFUSERS_VERBOSITY": "error",
    "TRANSFORMERS_VERBOSITY": "error",
}
_NEEDED = ("torch", "diffusers", "transformers", "accelerate", "safetensors")


class Diffusion(Engine):
    """The engine."""

    name = "diffusion"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._savers = Children()

    def cards(self, options: Mapping[str, Any]) -> tuple[ModelCard, ...]:
        """What a model with these options is. Raises `ValueError`."""
        read = read_options(options)
        kinds = (Kind.IMAGE, Kind.VIDEO) if read.kind is None else (read.kind,)
        return tuple(
            ModelCard(
                name="diffusion",
                kind=kind,
                max_sources=read.max_sources,
                roles=(Role.IMAGE, Role.FIRST_FRAME) if kind is Kind.VIDEO else (),
            )
            for kind in kinds
        )

    def check(self, submit: Submit, options: Mapping[str, Any]) -> None:
        """Refuse what no pipeline with these options can do, by the parameter that asks for it.

        What only the pipeline itself knows, this process may never see: that fails the task.
        """
        read = read_options(options)
        if submit.operations:
            text = "operations: diffusion makes pictures and films, it does not process them"
            raise Unsupported(text, parameter="operations")
        if read.kind not in (None, submit.kind):
            raise Unsupported(f"model: it makes no {submit.kind}", parameter="model")
        _check_range("count", submit.count, 1, MAX_COUNT)
        _check_format(submit)
        _check_sources(submit, read)
        _check_size(submit)
        if submit.kind is Kind.VIDEO:
            _check_film(submit, read)

    async def run(self, job: Job) -> AsyncIterator[Event]:
        """Compute on a device when it is our turn, then write the files."""
        _check_installed()
        options = read_options(job.options)
        made: list[Made] = []
        yield Waiting()
        async with self._devices.turn(options.key) as device:
            yield Log(text=f"Runs on {device.name}.")
            async with aclosing(self._compute(job, options, device)) as events:
                async for event in events:
                    if isinstance(event, Made):
                        made.append(event)
                    else:
                        yield event
        async with aclosing(self._savers.run(_save, job, tuple(made))) as saving:
            async for event in saving:
                yield event

    async def close(self) -> None:
        """End the idle processes now, and not when the engine is collected."""
        for children in (self._savers, *self._processes.values()):
            children.close()

    async def _compute(
        self, job: Job, options: Options, device: Device
    ) -> AsyncGenerator[Event | Made]:
        """What the device's process tells; what it says of its models is kept here."""
        order = Order(job=job, options=options, settings=self._settings, device=device.name)
        told = False
        async with aclosing(self._processes[device.name].run(_compute, order)) as events:
            try:
                async for event in events:
                    if isinstance(event, Warm):
                        device.warm, told = event.models, True
                    else:
                        yield event
            except (Failed, Crashed) as problem:
                if isinstance(problem, Crashed) or not told:
                    device.warm = ()  # they went with the process
                raise

    @cached_property
    def _devices(self) -> Devices:
        return Devices(self._names, self._settings.patience)

    @cached_property
    def _processes(self) -> Mapping[str, Children]:
        idle, stop = self._settings.idle_seconds, self._settings.stop_seconds
        # What feeds another device than the processor must not keep it waiting.
        return {
            name: Children(1, idle, stop, NICENESS if name == "cpu" else 0) for name in self._names
        }

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return self._settings.devices or tuple(find_devices())


def _compute(order: Order) -> Iterator[Event | Warm | Made]:
    """What a device's process does."""
    os.environ |= _QUIET | ({"HF_HUB_OFFLINE": "1"} if order.settings.offline else {})
    from safelight.engines.diffusion.work import compute

    yield from compute(order)


def _save(job: Job, made: tuple[Made, ...]) -> Iterator[Event]:
    """What another process does with the pixels."""
    from safelight.engines.diffusion.pictures import save

    yield from save(job, made)


def build(settings: Mapping[str, Any]) -> Diffusion:
    """The engine, also where the extra is not installed: other processes may run its tasks."""
    return Diffusion(read_settings(settings))


def _check_installed() -> None:
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        text = f"This worker cannot run local models ({', '.join(missing)} missing): {EXTRA}"
        raise Failed(FailureCode.INTERNAL, text)


def _check_range(parameter: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        text = f"{parameter}: {value:g} is not from {low:g} to {high:g}"
        raise InvalidValue(text, parameter=parameter)


def _check_format(submit: Submit) -> None:
    known = ("mp4",) if submit.kind is Kind.VIDEO else tuple(FORMS)
    if submit.format is not None and submit.format.lower() not in known:
        text = f"format: {submit.format!r} is not one of {', '.join(known)}"
        raise InvalidValue(text, parameter="format")


def _check_sources(submit: Submit, options: Options) -> None:
    roles = [source.role for source in submit.sources]
    film = submit.kind is Kind.VIDEO
    allowed = _PICTURES | {Role.LAST_FRAME if film else Role.MASK}
    if strange := sorted(set(roles) - allowed):
        text = f"sources: nothing can be done with a {strange[0]} here"
        raise Unsupported(text, parameter="sources")
    pictures = sum(role in _PICTURES for role in roles)
    if pictures > options.max_sources:
        text = f"sources: {pictures} are too many; at most {options.max_sources} are taken"
        raise InvalidValue(text, parameter="sources")
    for role in (Role.MASK, Role.LAST_FRAME):
        if roles.count(role) > 1:
            raise InvalidValue(f"sources: more than one {role}", parameter="sources")
        if role in roles and not pictures:
            raise Unsupported(f"sources: a {role} needs a picture too", parameter="sources")


def _check_size(submit: Submit) -> None:
    for parameter, side in (("width", submit.width), ("height", submit.height)):
        if side is not None:
            _check_range(parameter, side, MIN_SIDE, MAX_SIDE)
            if submit.kind is Kind.VIDEO and side % 2:
                text = f"{parameter}: {side} is odd, and a film's sides are even"
                raise InvalidValue(text, parameter=parameter)
    width, height = pixels(submit)
    if width * height > MAX_PIXELS:
        parameter = "width" if submit.width and submit.height else "resolution"
        text = f"{parameter}: {width}x{height} is larger than {MAX_PIXELS} pixels"
        raise InvalidValue(text, parameter=parameter)
    if min(width, height) < MIN_SIDE or max(width, height) > MAX_SIDE:
        text = f"ratio: {width}x{height} has a side that is not from {MIN_SIDE} to {MAX_SIDE}"
        raise InvalidValue(text, parameter="ratio")


def _check_film(submit: Submit, options: Options) -> None:
    if submit.fps is not None:
        _check_range("fps", submit.fps, 1, MAX_FPS)
    if submit.duration is None:
        return
    most = float(MAX_SECONDS)
    if options.max_frames and options.fps:
        most = min(most, options.max_frames / options.fps)
    if not 0 < submit.duration <= most:
        text = f"duration: {submit.duration:g} is not more than 0 and at most {most:g} seconds"
        raise InvalidValue(text, parameter="duration")
