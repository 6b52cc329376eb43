"""Nothing that was accepted is forgotten: what is not at its end is queued, or queued again."""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog

from safelight.errors import UnknownModel
from safelight.models import ModelMap
from safelight.postgres import Database, DatabaseGone
from safelight.queue.memory import MemoryQueue
from safelight.queue.postgres import misplaced, move, sweep_log, unqueued
from safelight.service import now_millis
from safelight.store import Store, StoreUnavailable, scripts
from safelight.task import Failure, FailureCode
from safelight.worker import Worker

_log = structlog.get_logger("safelight.housekeeping")

_BATCH = 500
_LOG_DAYS = 1.0
# While processes are restarted with other models, those with the old ones must not end, or move,
# what only the new ones can run.
_GRACE_SECONDS = 600.0


class Recovery(Protocol):
    """Finds the tasks that the queue does not have. `wanting` is set when it is to look now."""

    wanting: asyncio.Event

    async def recover(self) -> int:
        """Queue the unfinished tasks that are neither queued nor run; how many."""


class MemoryRecovery:
    """Beside the queue in memory, which an earlier process took with it, and which has an end."""

    def __init__(self, store: Store, queue: MemoryQueue, worker: Worker) -> None:
        self._store = store
        self._queue = queue
        self._worker = worker
        self.wanting = queue.wanting

    async def recover(self) -> int:
        """Queue as many as fit, in the order of acceptance.

        At the start that is what an earlier process left; later what the queue had no room for,
        what a request that broke off just then had accepted, and what could not be ended.
        """
        self._queue.refill()
        count, after = 0, ""
        while ids := await self._store.read(scripts.unfinished(after, _BATCH)):
            for id in ids:
                if self._queue.holds(id) or self._worker.runs(id):
                    continue
                if not await self._queue.put(id):
                    return count
                count += 1
            after = ids[-1]
        return count


class PostgresRecovery:
    """Beside the queue in PostgreSQL, which has all tasks; unless it was emptied, or restored."""

    def __init__(self, store: Store, database: Database, models: ModelMap, every: float) -> None:
        self._store = store
        self._database = database
        self._models = models
        self._every = int(every * 700)
        self._silence = max(_GRACE_SECONDS, 3 * every)
        self.wanting = asyncio.Event()

    async def recover(self) -> int:
        if not await self._store.write(scripts.claim_chore("recover", now_millis(), self._every)):
            return 0
        try:
            return await self._recover()
        except DatabaseGone as problem:
            raise StoreUnavailable(str(problem)) from problem

    async def _recover(self) -> int:
        count, after = 0, ""
        while ids := await unqueued(self._database, after, _BATCH):
            for id in ids:
                if (engine := await self._engine_of(id)) is not None:
                    await self._store.write(scripts.enqueue(id, engine))
                    count += 1
            after = ids[-1]
        if count:
            _log.warning("queued_again", tasks=count)
        for id in await misplaced(self._database, self._models.engines, self._silence, _BATCH):
            # What has ended, now or before, is dropped by whoever gets it.
            engine = await self._engine_of(id) or self._models.engines[0]
            await move(self._database, id, engine)
        await sweep_log(self._database, _LOG_DAYS)
        return count

    async def _engine_of(self, id: str) -> str | None:
        """The engine that runs a task; one that none runs any more is ended."""
        task = await self._store.read(scripts.get_any(id))
        if task is None or task.ended:
            return None
        try:
            return self._models.find(task.submit).engine.name
        except UnknownModel as fault:  # it was known when the task was accepted
            if (task.updated or 0) > now_millis() - _GRACE_SECONDS * 1000:
                return None
            failure = Failure(code=FailureCode.INVALID_INPUT, message=fault.message)
            await self._store.write(scripts.fail(id, task.attempt, failure, now_millis()))
            return None
