"""What an engine is: one way to make or process images or video.

An engine is a module of this package with a function `build(settings)`, where `settings` is the
table of its own name in the configuration; it is found by being there. So are those of other
packages, which entry points of the group `safelight.engines` lead to; they are loaded where a name
is none of ours, and once. The worker does the rest: it fetches the sources, keeps the files, counts
attempts and enforces the time limit.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from safelight.plugins import Brought, Plugin, Unusable, bring, load_module, plugins, said
from safelight.task import Failure, FailureCode, ModelCard, Record, Role, Submit, Task

GROUP = "safelight.engines"
_KIT = "kit"  # what engines share, and none itself
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")  # it stands in settings, in jobs and in metrics


class Progress(Record, frozen=True, kw_only=True):
    """How far the work is, 0 to 99 percent: only the worker knows when it is done."""

    percent: int


class Log(Record, frozen=True, kw_only=True):
    """A line for the task's log."""

    text: str


class File(Record, frozen=True, kw_only=True):
    """A result, complete on disk in the job's folder. Sizes in pixels, duration in seconds."""

    path: Path
    media_type: str
    width: int | None = None
    height: int | None = None
    duration: float | None = None


class Started(Record, frozen=True, kw_only=True):
    """The work has begun, elsewhere: until then the task waits. Of engines that wait."""


class Remember(Record, frozen=True, kw_only=True):
    """What the engine must know if the task is run again: on disk when the engine goes on.

    It takes the place of what was remembered before. JSON values. Where the run is told to stop
    while this is written, the engine does not go on, and `stopped`, if given, is remembered.
    """

    memory: dict[str, Any]
    stopped: dict[str, Any] | None = None


class Preview(Record, frozen=True, kw_only=True):
    """How the result looks so far: a small JPEG in the job's folder, which the next one replaces.

    No result: it is kept for those who look on, and not for long.
    """

    path: Path


class Waiting(Record, frozen=True, kw_only=True):
    """The work waits for its turn, at a device or whatever is scarce; the next event ends that.

    What it waits does not count for its time limit.
    """


Event = Progress | Log | File | Preview | Waiting | Started | Remember


class Given(Record, frozen=True, kw_only=True):
    """A source, fetched: a file on disk that the engine may read."""

    path: Path
    role: Role = Role.IMAGE
    media_type: str = "application/octet-stream"
    url: str | None = None  # where anybody can fetch it, if there is such a place


class Job(Record, frozen=True, kw_only=True):
    """What an engine is given: the task, its sources as files, and a folder of its own.

    `options` are those of the model in the configuration; `max_pixels` is the largest picture
    that may be read or made. The folder is removed when the run ends, however it ends.
    """

    task: Task
    folder: Path
    sources: tuple[Given, ...] = ()
    options: dict[str, Any] = msgspec.field(default_factory=dict)
    max_pixels: int = 4096 * 4096

    @property
    def submit(self) -> Submit:
        return self.task.submit


class RemoteJob(Job, frozen=True, kw_only=True):
    """A job for an engine that has it done elsewhere: what it needs to do so once, and in turn.

    `memory` is what an earlier run of the task has yielded as `Remember` last. `sources` is empty:
    `fetch_sources()` fetches them, once there is a place for the task, and where a task that was
    taken up again needs them. `ended()` says
    whether the task was ended by its owner, and not only this run. `secret(name)` is a key at
    another service; it raises `Failed`. `take_turn(service, per_second, urgent)` returns when it
    is time to ask that service something: so many questions a second are asked by all workers
    together, and what is urgent before what is not.

    What was made elsewhere comes from there by `fetch(url, path, home)` alone, which writes it to
    `path` by the rules for sources: from public addresses, with limits of size and time. `home` are
    the addresses of the service itself, as its settings name them, which may be private. It raises
    `Unfetched`.
    """

    memory: dict[str, Any]
    fetch_sources: Callable[[], Awaitable[tuple[Given, ...]]]
    ended: Callable[[], bool]
    secret: Callable[[str], Awaitable[str]]
    take_turn: Callable[[str, float, bool], Awaitable[None]]
    fetch: Callable[[str, Path, Collection[str]], Awaitable[None]]


class Failed(Exception):
    """The task cannot be carried out; the failure is told to whoever asks for the task."""

    def __init__(self, code: FailureCode, message: str, provider_code: str | None = None) -> None:
        super().__init__(message)
        self.failure = Failure(code=code, message=message, provider_code=provider_code)


class Unfetched(Exception):
    """A file could not be fetched; `passing` says whether it may be had another time."""

    def __init__(self, message: str, *, passing: bool) -> None:
        super().__init__(message)
        self.passing = passing


class Traits(Record, frozen=True, kw_only=True):
    """How an engine's tasks are to be run.

    An engine that `waits` has its tasks done elsewhere: it is given a `RemoteJob`, its tasks count
    as queued until it yields `Started`, and it keeps their time itself. `concurrency` is how many
    of its tasks one process runs at once, beside those of the other engines; None: it shares
    theirs. Of one that `passes_on`, its `check` says which of `Submit.demands` it cannot; of others
    nothing may be demanded.
    """

    waits: bool = False
    passes_on: bool = False
    concurrency: int | None = None


class Engine(ABC):
    """One way to make or process images or video: what an engine is asked for.

    A subclass has a `name` and `run`; the rest is as it stands here unless it says otherwise.
    """

    name: str
    models: tuple[ModelCard, ...] = ()  # what it runs, with the inputs that each takes
    traits: Traits = Traits()

    def check(self, submit: Submit, options: Mapping[str, Any]) -> None:  # noqa: B027
        """Raise `Unsupported` or `InvalidValue`, naming the parameter, for what it cannot do.

        Called before a task is accepted, with the options of its model. Cheap, and no I/O.
        """

    def check_options(self, options: Mapping[str, Any]) -> None:  # noqa: B027
        """Raise `ValueError` for options of a model that are not valid.

        Called for each rule when the settings are read.
        """

    def cards(self, options: Mapping[str, Any]) -> tuple[ModelCard, ...]:
        """What a model with these options is. Raises `ValueError` for options that are not valid.

        Called for each rule when the settings are read. Cheap, and no I/O.
        """
        return self.models

    @property
    def requests(self) -> Mapping[tuple[str, str], int]:
        """How often it has asked other services, by the name of the service and the outcome.

        Both have few values: they are labels of a metric.
        """
        return {}

    def prepare(self) -> None:  # noqa: B027
        """Raise `ImportError` where what it needs to run is not installed.

        Called at the start of processes that run its tasks.
        """

    @abstractmethod
    def run(self, job: Job) -> AsyncIterator[Event]:
        """Do the work. Cancelled like any coroutine; cleans up in `finally`. Raises `Failed`.

        Blocking work goes to a thread or a child process.
        """

    async def close(self) -> None:  # noqa: B027
        """Give up what it holds open: the last of its tasks has ended."""


def found() -> tuple[str, ...]:
    """The names of the engines that there are."""
    return tuple(sorted({*own(), *_brought().by_name}))


def own() -> tuple[str, ...]:
    """The names of the engines in this package."""
    return tuple(module.name for module in pkgutil.iter_modules(__path__) if module.name != _KIT)


def known() -> frozenset[str]:
    """The names of all engines that settings may be for, those left out among them."""
    return frozenset({*own(), *(plugin.name for plugin in plugins(GROUP))})


def problems() -> tuple[str, ...]:
    """What is wrong with engines of other packages that are left out: a sentence for each."""
    return _brought().problems


def build(name: str, settings: Mapping[str, Any]) -> Engine | None:
    """The engine of that name, or None where it is not configured.

    A name with a dot is that of a module. Raises `LookupError` where there is none, `Unusable`
    where it is another package's and broken, and `ValueError` for settings that are not valid.
    """
    if name in own():
        engine: Engine | None = importlib.import_module(f"{__name__}.{name}").build(settings)
        return engine
    if "." in name:
        return _build_from_elsewhere(name, load_module(name), settings)
    module = _brought().by_name.get(name)
    if module is None:
        known = f"no engine {name!r}; there are {', '.join(found())}"
        raise LookupError("; ".join((known, *problems())))
    return _build_from_elsewhere(name, module, settings)


def _build_from_elsewhere(
    name: str, module: ModuleType, settings: Mapping[str, Any]
) -> Engine | None:
    """The engine that a module of another package builds. Raises `Unusable`, `ValueError`."""
    try:
        engine = module.build(settings)
    except ValueError:
        raise
    except Exception as problem:
        raise Unusable(f"the engine {name} cannot be built: {said(problem)}") from None
    if engine is None:
        return None
    if not isinstance(engine, Engine):
        raise Unusable(f"{module.__name__}.build made {engine!r:.100}, which is no Engine")
    called = getattr(engine, "name", None)
    if "." in name:
        if not isinstance(called, str) or not called or called in own():
            raise Unusable(f"the engine of {name} calls itself {called!r:.100}, as none may")
    elif called != name:
        raise Unusable(f"the engine {name} calls itself {called!r:.100}")
    return engine


@cache
def _brought() -> Brought[ModuleType]:
    return bring(GROUP, own(), _read_plugin)


def _read_plugin(plugin: Plugin, taken: Collection[str]) -> Mapping[str, ModuleType]:
    """The module of a plug-in, by its engine's name. Raises `Unusable`."""
    if plugin.name in taken:
        raise plugin.unusable(f"there is another engine {plugin.name}")
    module = plugin.load()
    if not _NAME.fullmatch(plugin.name):
        raise plugin.unusable("a name has small letters, digits, - and _")
    if not callable(getattr(module, "build", None)):
        raise plugin.unusable(f"{plugin.module} has no function build")
    return {plugin.name: module}
