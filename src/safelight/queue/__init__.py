"""Which task is run next, and where: PgQueuer, in memory or in PostgreSQL.

A queue carries task ids and nothing else, each once. The store is the truth: an id whose task was
ended meanwhile does no harm, because a worker claims its task in the store first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

# Runs the task of that id; False where it is given back, to be run again.
Work = Callable[[str], Awaitable[bool]]


class Queue(Protocol):
    """Hands tasks to workers."""

    async def run(self, work: Work, concurrency: int) -> None:
        """Hand tasks to `work`, that many at a time, until `stop`; then wait for the last ones."""

    def stop(self) -> None:
        """Hand out no more tasks."""
