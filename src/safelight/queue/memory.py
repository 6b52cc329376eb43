"""The queue beside SQLite: PgQueuer in memory, for the one process that there is."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from pgqueuer import PgQueuer
from pgqueuer.adapters.inmemory import InMemoryDriver, InMemoryQueries
from pgqueuer.domain.settings import db_settings
from pgqueuer.models import Job
from pgqueuer.ports.repository import EntrypointExecutionParameter
from pgqueuer.types import QueueEntrypoint, QueueManagerId

from safelight.queue import Lane, Places, Work, change_notice


class _Unlogged(list[Any]):
    """PgQueuer's in-memory log of jobs, which it only ever adds to: a server would fill up."""

    def append(self, entry: Any) -> None:
        pass


class MemoryQueue:
    """Task ids, waiting for a worker: of each engine at most `capacity`, the others in the store.

    `wanting` is set when some were left out and there is room again.
    """

    def __init__(self, capacity: int = 2000) -> None:
        driver = InMemoryDriver()
        self._queries = _Jobs(driver=driver)
        self._queries._log = _Unlogged()
        self._queuer = PgQueuer(connection=driver, queries=self._queries)
        self._capacity = capacity
        self._held: dict[str, set[str]] = defaultdict(set)  # by engine
        self._left_out: set[str] = set()  # engines
        self.wanting = asyncio.Event()

    def holds(self, task_id: str) -> bool:
        """Whether the task waits here."""
        return any(task_id in held for held in self._held.values())

    async def put(self, task_id: str, engine: str, priority: int = 0) -> bool:
        """Add a task; of two priorities the higher one goes first. False where it was left out.

        Once one of an engine was left out all later ones are, until `refill`, so that none
        overtakes it.
        """
        held = self._held[engine]
        if engine in self._left_out or len(held) >= self._capacity:
            self._left_out.add(engine)
            return False
        if task_id not in held:
            held.add(task_id)
            await self._queries.enqueue(engine, task_id.encode(), priority)
        return True

    @property
    def left_out(self) -> frozenset[str]:
        """The engines of which one was left out."""
        return frozenset(self._left_out)

    def refill(self) -> None:
        """Take tasks again: those that were left out are about to be put, in their order."""
        self.wanting.clear()
        self._left_out.clear()

    def _take(self, task_id: str, engine: str) -> None:
        held = self._held[engine]
        held.discard(task_id)
        if engine in self._left_out and len(held) <= self._capacity // 2:
            self.wanting.set()

    async def run(self, work: Work, lanes: Sequence[Lane]) -> None:
        self._queries.places = Places(lanes)

        async def run_one(job: Job) -> None:
            task_id = (job.payload or b"").decode()
            self._take(task_id, job.entrypoint)
            try:
                await work(task_id, job.entrypoint)
            finally:
                self._queries.places.leave(job.entrypoint, job.id)
                await self._queries.driver.notify(db_settings().channel, change_notice())

        for engine in self._queries.places.engines():
            self._queuer.entrypoint(engine, accepts_context=False)(run_one)
        await self._queuer.run(batch_size=1, dequeue_timeout=timedelta(seconds=30))

    def stop(self) -> None:
        self._queuer.shutdown.set()


class _Jobs(InMemoryQueries):
    """PgQueuer's queries in memory, of a worker that takes no more than it has places for."""

    places: Places

    async def dequeue(
        self,
        batch_size: int,
        entrypoints: dict[QueueEntrypoint, EntrypointExecutionParameter],
        queue_manager_id: QueueManagerId,
        global_concurrency_limit: int | None,
        heartbeat_timeout: timedelta,
    ) -> list[Job]:
        free = self.places.free()
        if not free:
            return []
        jobs = await super().dequeue(
            batch_size,
            {name: entrypoints[name] for name in entrypoints if name in free},
            queue_manager_id,
            global_concurrency_limit,
            heartbeat_timeout,
        )
        for job in jobs:
            self.places.take(job.entrypoint, job.id)
        return jobs
