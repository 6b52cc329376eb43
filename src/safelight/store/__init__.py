"""Where tasks are kept. `scripts` says what is done, a `Store` does it on its database."""

from __future__ import annotations

from typing import Protocol, TypeVar

from safelight.store.scripts import Script
from safelight.task import Task

_T = TypeVar("_T")

# What the code knows; a database that says a higher one was written by a newer Safelight.
SCHEMA_VERSION = 1


class SchemaTooNew(Exception):
    """The database was written by a newer version of Safelight than this one."""


class StoreClosed(Exception):
    """The store was closed while something was still to be written."""


class Store(Protocol):
    """A database that carries out scripts."""

    async def get(self, id: str, owner: str, oldest: int) -> Task | None:
        """The task of that owner; None where there is none, or it ended at `oldest` or before."""

    async def read(self, script: Script[_T]) -> _T:
        """Carry out a script that only reads. It sees everything that was written before."""

    def version(self) -> int | None:
        """A number that stays the same only while nothing is written; None where none is known."""

    async def write(self, script: Script[_T]) -> _T:
        """Carry out a script as one transaction, on disk when this returns."""

    async def read_aside(self, script: Script[_T]) -> _T:
        """Carry out a long script that only reads, without holding up the others."""

    async def close(self) -> None:
        """Write what is waiting, and close."""
