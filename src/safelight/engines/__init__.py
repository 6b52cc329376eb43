"""What an engine is: one way to make or process images or video.

An engine is a module of this package with a function `build(settings)`, where `settings` is the
table of its own name in the configuration; it is found by being there. The worker does the rest:
it fetches the sources, keeps the files, counts attempts and enforces the time limit.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from safelight.task import Failure, FailureCode, ModelCard, Record, Role, Submit, Task


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


Event = Progress | Log | File


class Given(Record, frozen=True, kw_only=True):
    """A source, fetched: a file on disk that the engine may read."""

    path: Path
    role: Role = Role.IMAGE
    media_type: str = "application/octet-stream"


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


class Failed(Exception):
    """The task cannot be carried out; the failure is told to whoever asks for the task."""

    def __init__(self, code: FailureCode, message: str, provider_code: str | None = None) -> None:
        super().__init__(message)
        self.failure = Failure(code=code, message=message, provider_code=provider_code)


class Engine(Protocol):
    """One way to make or process images or video."""

    name: str
    models: tuple[ModelCard, ...]  # what it runs, with the inputs that each takes

    def check(self, submit: Submit, options: Mapping[str, Any]) -> None:
        """Raise `Unsupported` or `InvalidValue`, naming the parameter, for what it cannot do.

        Called before a task is accepted, with the options of its model. Cheap, and no I/O.
        """

    def run(self, job: Job) -> AsyncIterator[Event]:
        """Do the work. Cancelled like any coroutine; cleans up in `finally`. Raises `Failed`.

        Blocking work goes to a thread or a child process.
        """


def found() -> tuple[str, ...]:
    """The names of the engines in this package."""
    return tuple(
        module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")
    )


def build(name: str, settings: Mapping[str, Any]) -> Engine | None:
    """The engine of that name, or None where it is not configured. Raises `LookupError`."""
    if name not in found():
        raise LookupError(f"no engine {name!r}; there are {', '.join(found())}")
    module = importlib.import_module(f"{__name__}.{name}")
    engine: Engine | None = module.build(settings)
    return engine
