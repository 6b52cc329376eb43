"""The queue: PgQueuer, in memory beside SQLite.

It carries task ids and nothing else. The store is the truth: an id that is in the queue twice, or
whose task was ended meanwhile, does no harm, because a worker claims its task in the store first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from pgqueuer import PgQueuer
from pgqueuer.adapters.inmemory import InMemoryDriver, InMemoryQueries
from pgqueuer.models import Job

_ENTRYPOINT = "task"


class _Unlogged(list[Any]):
    """PgQueuer's in-memory log of jobs, which it only ever adds to: a server would fill up."""

    def append(self, entry: Any) -> None:
        pass


class Queue:
    """Task ids, waiting for a worker."""

    def __init__(self) -> None:
        driver = InMemoryDriver()
        self._queries = InMemoryQueries(driver=driver)
        self._queries._log = _Unlogged()
        self._queuer = PgQueuer(connection=driver, queries=self._queries)
        self._held: set[str] = set()

    def holds(self, task_id: str) -> bool:
        """Whether the task waits here."""
        return task_id in self._held

    async def put(self, task_id: str, priority: int = 0) -> None:
        """Add a task; of two priorities the higher one goes first."""
        self._held.add(task_id)
        await self._queries.enqueue(_ENTRYPOINT, task_id.encode(), priority)

    def depth(self) -> int:
        """How many tasks wait for a worker."""
        return len(self._held)

    async def run(self, work: Callable[[str], Awaitable[None]], concurrency: int) -> None:
        """Hand tasks to `work`, that many at a time, until `stop`; then wait for the last ones."""
        places = asyncio.Semaphore(concurrency)

        async def run_one(job: Job) -> None:
            async with places:
                task_id = (job.payload or b"").decode()
                self._held.discard(task_id)
                # What waited for a place while the queue was told to stop is left where it is.
                if not self._queuer.shutdown.is_set():
                    await work(task_id)

        self._queuer.entrypoint(_ENTRYPOINT, accepts_context=False)(run_one)
        await self._queuer.run(
            batch_size=1,
            max_concurrent_tasks=max(2, concurrency),  # the least that PgQueuer takes
            dequeue_timeout=timedelta(seconds=30),
        )

    def stop(self) -> None:
        """Hand out no more tasks."""
        self._queuer.shutdown.set()
