"""The engine that needs nothing: it draws, from a prompt and a seed, landscapes and compositions.

It is no generative model and does not pretend to be one: words in the prompt choose among scenes,
colours and figures that are programmed here. The same seed makes the same bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from typing import Any

from safelight.engines import Engine, Event, Job, Progress
from safelight.engines.kit.children import Children
from safelight.engines.kit.numbers import check_number
from safelight.engines.sketch.limits import (
    DEFAULT_FPS,
    DEFAULT_SECONDS,
    FORMS,
    MAX_FILM_PIXELS,
    MAX_SIDE,
    MIN_SIDE,
    film_pixels,
)
from safelight.errors import InvalidValue, Unsupported
from safelight.sizes import DEFAULT_VIDEO, DEFAULT_VIDEO_RATIO, pixels
from safelight.task import Kind, ModelCard, Role, Submit

MAX_COUNT, MAX_SOURCES, MAX_SECONDS, MAX_FPS = 16, 4, 60, 60
MAX_PIXELS = 4096 * 4096
_RATIOS = ("1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3", "21:9", "auto")
_STEPS = 10  # in which the option `seconds` stretches a task
_STRETCHED = 50  # the percent that they count for

MODELS = (
    ModelCard(
        name="sketch",
        kind=Kind.IMAGE,
        description="Draws scenes and compositions from words and a seed. No generative model.",
        max_sources=MAX_SOURCES,
        sizes=("512x512", "1024x1024", "1280x720", "720x1280", "1920x1080", "2048x2048"),
        ratios=_RATIOS,
        resolutions=("1K", "2K", "4K"),
    ),
    ModelCard(
        name="sketch-video",
        kind=Kind.VIDEO,
        description="A camera's way through a drawn scene, or on from a first frame.",
        max_sources=MAX_SOURCES,
        roles=(Role.IMAGE, Role.FIRST_FRAME, Role.LAST_FRAME),
        ratios=_RATIOS,
        resolutions=("360p", "480p", "720p", "1080p"),
        durations=(2, 3, 5, 8, 10, 15, 30, 60),
        default_ratio=DEFAULT_VIDEO_RATIO,
        default_resolution=DEFAULT_VIDEO,
        default_duration=round(DEFAULT_SECONDS),
    ),
)


class Sketch(Engine):
    """The engine. Its drawing is done in child processes, one for each processor at most."""

    name = "sketch"
    models = MODELS

    def __init__(self) -> None:
        self._children = Children()

    def check(self, submit: Submit, options: Mapping[str, Any]) -> None:
        """Refuse what cannot be drawn, by the parameter that asks for it."""
        if submit.operations:
            raise Unsupported(
                "operations: sketch draws, it does not process", parameter="operations"
            )
        _check_range("count", submit.count, 1, MAX_COUNT)
        _check_format(submit)
        _check_sources(submit)
        _check_size(submit, options)
        if submit.kind is Kind.VIDEO:
            _check_film(submit)

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Raise `ValueError` for an option of a model that is not valid."""
        check_number(options, "seconds", least=0)
        check_number(options, "max_pixels", least=1, whole=True)

    async def run(self, job: Job) -> AsyncIterator[Event]:
        """Draw; with the option `seconds`, not before they have gone by."""
        seconds = float(job.options.get("seconds", 0))
        for step in range(_STEPS if seconds > 0 else 0):
            await asyncio.sleep(seconds / _STEPS)
            yield Progress(percent=(step + 1) * _STRETCHED // _STEPS)
        async with aclosing(self._children.run(_draw, job)) as events:
            async for event in events:
                if isinstance(event, Progress) and seconds > 0:
                    yield Progress(percent=_STRETCHED + event.percent * (99 - _STRETCHED) // 99)
                else:
                    yield event


def _draw(job: Job) -> Iterator[Event]:
    """What the child does."""
    # Loaded there and not in the server, which needs neither NumPy nor the film encoder.
    from safelight.engines.sketch.work import draw

    yield from draw(job)


def build(settings: Mapping[str, Any]) -> Sketch:
    """The engine, always: there is nothing to set up."""
    return Sketch()


def _check_range(parameter: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        text = f"{parameter}: {value:g} is not from {low:g} to {high:g}"
        raise InvalidValue(text, parameter=parameter)


def _check_format(submit: Submit) -> None:
    known = ("mp4",) if submit.kind is Kind.VIDEO else tuple(FORMS)
    if submit.format is not None and submit.format.lower() not in known:
        text = f"format: {submit.format!r} is not one of {', '.join(known)}"
        raise InvalidValue(text, parameter="format")


def _check_sources(submit: Submit) -> None:
    roles = [source.role for source in submit.sources]
    if len(roles) > MAX_SOURCES:
        text = f"sources: {len(roles)} are too many; at most {MAX_SOURCES} are taken"
        raise InvalidValue(text, parameter="sources")
    for index, role in enumerate(roles):
        if role in (Role.VIDEO, Role.AUDIO):
            name = f"sources.{index}"
            raise Unsupported(f"{name}: sketch takes pictures only", parameter=name)
    if Role.MASK in roles and (submit.kind is Kind.VIDEO or set(roles) == {Role.MASK}):
        name = f"sources.{roles.index(Role.MASK)}"
        raise Unsupported(f"{name}: a mask needs a picture to edit", parameter=name)
    for role in (Role.FIRST_FRAME, Role.LAST_FRAME, Role.MASK):
        if roles.count(role) > 1:
            raise InvalidValue(f"sources: more than one {role}", parameter="sources")


def _check_size(submit: Submit, options: Mapping[str, Any]) -> None:
    for parameter, side in (("width", submit.width), ("height", submit.height)):
        if side is not None:
            _check_range(parameter, side, MIN_SIDE, MAX_SIDE)
            if submit.kind is Kind.VIDEO and side % 2:
                text = f"{parameter}: {side} is odd, and a film's sides are even"
                raise InvalidValue(text, parameter=parameter)
    width, height = pixels(submit)
    most = int(options.get("max_pixels", MAX_PIXELS))
    parameter = "width" if submit.width and submit.height else "resolution"
    if width * height > most:
        text = f"{parameter}: {width}x{height} is larger than {most} pixels"
        raise InvalidValue(text, parameter=parameter)
    if min(width, height) < MIN_SIDE or max(width, height) > MAX_SIDE:
        text = f"ratio: {width}x{height} has a side that is not from {MIN_SIDE} to {MAX_SIDE}"
        raise InvalidValue(text, parameter="ratio")


def _check_film(submit: Submit) -> None:
    duration = DEFAULT_SECONDS if submit.duration is None else submit.duration
    fps = DEFAULT_FPS if submit.fps is None else submit.fps
    if not 0 < duration <= MAX_SECONDS:
        text = f"duration: {duration:g} is not more than 0 and at most {MAX_SECONDS} seconds"
        raise InvalidValue(text, parameter="duration")
    _check_range("fps", fps, 1, MAX_FPS)
    if film_pixels(submit, pixels(submit)) > MAX_FILM_PIXELS:
        text = "duration: so many frames of that size are too much; ask for fewer, or smaller ones"
        raise InvalidValue(text, parameter="duration")
