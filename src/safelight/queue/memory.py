"""The queue beside SQLite: PgQueuer in memory, for the one process that there is."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from pgqueuer import PgQueuer
from pgqueuer.adapters.inmemory import InMemoryDriver, InMemoryQueries
from pgqueuer.models import Job

from safelight.queue import Work

_ENTRYPOINT = "task"


class _Unlogged(list[Any]):
    """PgQueuer's in-memory log of jobs, which it only ever adds to: a server would fill up."""

    def append(self, entry: Any) -> None:
        pass


class MemoryQueue:
    """Task ids, waiting for a worker: at most `capacity` of them, for the others wait in the store.

    `wanting` is set when some were left out and there is room again.
    """

    def __init__(self, capacity: int = 2000) -> None:
        driver = InMemoryDriver()
        self._queries = InMemoryQueries(driver=driver)
        self._queries._log = _Unlogged()
        self._queuer = PgQueuer(connection=driver, queries=self._queries)
        self._capacity = capacity
        self._held: set[str] = set()
        self._left_out = False
        self.wanting = asyncio.Event()

    def holds(self, task_id: str) -> bool:
        """Whether the task waits here."""
        return task_id in self._held

    async def put(self, task_id: str, priority: int = 0) -> bool:
        """Add a task; of two priorities the higher one goes first. False where it was left out.

        Once one was left out all later ones are, until `refill`, so that none overtakes it.
        """
        if self._left_out or len(self._held) >= self._capacity:
            self._left_out = True
            return False
        if task_id not in self._held:
            self._held.add(task_id)
            await self._queries.enqueue(_ENTRYPOINT, task_id.encode(), priority)
        return True

    def refill(self) -> None:
        """Take tasks again: those that were left out are about to be put, in their order."""
        self.wanting.clear()
        self._left_out = False

    def _take(self, task_id: str) -> None:
        self._held.discard(task_id)
        if self._left_out and len(self._held) <= self._capacity // 2:
            self.wanting.set()

    async def run(self, work: Work, concurrency: int) -> None:
        places = asyncio.Semaphore(concurrency)

        async def run_one(job: Job) -> None:
            async with places:
                task_id = (job.payload or b"").decode()
                self._take(task_id)
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
        self._queuer.shutdown.set()
