"""Where tasks are kept. `scripts` says what is done, a `Store` does it on its database."""

from __future__ import annotations

import copy
from collections.abc import Callable
from importlib import resources
from typing import Protocol, TypeVar

from safelight.durations import Durations
from safelight.store.scripts import AnyScript
from safelight.task import Task

_T = TypeVar("_T")

# What the code knows; a database that says a higher one was written by a newer Safelight.
SCHEMA_VERSION = 6


class SchemaTooNew(Exception):
    """The database was written by a newer version of Safelight than this one."""

    @classmethod
    def of(cls, found: int) -> SchemaTooNew:
        """The exception for a database with schema `found`."""
        return cls(
            f"the database has schema {found}, this Safelight knows {SCHEMA_VERSION}; "
            "run the newer Safelight that wrote it"
        )


class StoreClosed(Exception):
    """The store was closed while something was still to be written."""


class StoreUnavailable(Exception):
    """The database does not answer just now: ask again in a moment.

    `unclear` says that something was to be written, and may have been: the answer alone was lost.
    `transaction` is what the database calls that, where a task was to be added.
    """

    def __init__(self, message: str, unclear: bool = False, transaction: str | None = None) -> None:
        super().__init__(message)
        self.unclear = unclear
        self.transaction = transaction


def own(problem: Exception) -> Exception:
    """The same problem, for one of several who are told of it.

    Raised by two, one exception would hold the frames of both, and all that is in them.
    """
    copied = copy.copy(problem).with_traceback(None)
    copied.__cause__ = problem
    return copied


class Store(Protocol):
    """A database that carries out scripts. Everything raises `StoreUnavailable`.

    `durations` are how long its operations took: `get`, `read`, `read_aside`, `write`.
    """

    durations: Durations[str]

    feed: str
    """Names the way in which changes are numbered: another one says that they began anew."""

    async def get(self, id: str, owner: str, oldest: int) -> Task | None:
        """The task of that owner; None where there is none, or it ended at `oldest` or before."""

    async def read(self, script: AnyScript[_T]) -> _T:
        """Carry out a script that only reads. It sees everything that was written before."""

    def version(self) -> int | None:
        """A number that stays the same only while nothing is written; None where none is known."""

    async def now(self) -> int:
        """The time by the clock that all processes share: microseconds since 1970, UTC.

        That is the database's, where it has one: two machines' own may differ by hours.
        """

    async def write(self, script: AnyScript[_T]) -> _T:
        """Carry out a script as one transaction, on disk when this returns.

        What it enqueues is queued by then.
        """

    async def is_settled(self, problem: StoreUnavailable) -> bool:
        """Whether what was `unclear` is written by now, or never will be. For a task's addition.

        Who looks after that sees which. Until then the task may still come.
        """

    def listen(self, topic: str, heard: Callable[[str], None]) -> None:
        """Have `heard` called with what scripts tell of that topic, in whichever process."""

    def on_return(self, returned: Callable[[], None]) -> None:
        """Have `returned` called whenever something may have been told that was not heard."""

    async def read_aside(self, script: AnyScript[_T]) -> _T:
        """Carry out a long script that only reads, without holding up the others."""

    async def close(self) -> None:
        """Write what is waiting, and close."""


def migrations() -> list[tuple[int, str]]:
    """The migrations as (version, SQL text), in order."""
    folder = resources.files(__package__).joinpath("migrations")
    files = sorted(file.name for file in folder.iterdir() if file.name.endswith(".sql"))
    return [(int(name.partition("_")[0]), folder.joinpath(name).read_text()) for name in files]
