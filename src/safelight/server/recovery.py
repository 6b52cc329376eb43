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
from safelight.store import Store, StoreUnavailable, scripts
from safelight.task import Failure, FailureCode, Submit
from safelight.worker import Worker

_log = structlog.get_logger("safelight.housekeeping")

_BATCH = 500
_MOST_LEFT_OUT = 2000
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

    def __init__(self, store: Store, queue: MemoryQueue, worker: Worker, models: ModelMap) -> None:
        self._store = store
        self._models = models
        self._queue = queue
        self._worker = worker
        self.wanting = queue.wanting
        self._first = True
        self._short: frozenset[str] = frozenset()

    async def recover(self) -> int:
        """Queue as many as fit, in the order of acceptance.

        At the start that is what an earlier process left; later what the queue had no room for,
        what a request that broke off just then had accepted, and what could not be ended.
        """
        # An engine that has room again may have its tasks behind thousands of another's.
        short = self._short | self._queue.left_out
        self._queue.refill()
        count, whole = await self._put_all(short)
        self._short = frozenset()
        if self._first and not whole:  # the start waits for this look: the next one sees all
            self._short = frozenset(self._models.engines)
            self.wanting.set()
        self._first = False
        return count

    async def _put_all(self, short: frozenset[str]) -> tuple[int, bool]:
        """Put tasks until the end, or until many and some of all in `short` were left out."""
        count, after, left_out = 0, "", 0
        while ids := await self._store.read(scripts.unfinished(after, _BATCH)):
            for id in ids:
                if self._queue.holds(id) or self._worker.runs(id):
                    continue
                if await self._queue.put(id, *await self._engine_of(id)):
                    count += 1
                else:
                    left_out += 1
            if left_out >= _MOST_LEFT_OUT and short <= self._queue.left_out:
                return count, False
            after = ids[-1]
            await asyncio.sleep(0)
        return count, True

    async def _engine_of(self, id: str) -> tuple[str, int]:
        """The engine that runs a task, and its priority there."""
        task = await self._store.read(scripts.get_any(id))
        submit = task.submit if task else Submit()
        try:
            return self._models.find(submit).engine.name, submit.priority
        except UnknownModel:  # its worker will say so
            return self._models.engines[0], submit.priority


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
        now = await self._store.now() // 1000
        if not await self._store.write(scripts.claim_chore("recover", now, self._every)):
            return 0
        try:
            return await self._recover()
        except DatabaseGone as problem:
            raise StoreUnavailable(str(problem)) from problem

    async def _recover(self) -> int:
        count, after = 0, ""
        while ids := await unqueued(self._database, after, _BATCH):
            for id in ids:
                if (place := await self._engine_of(id)) is not None:
                    await self._store.write(scripts.enqueue(id, *place))
                    count += 1
            after = ids[-1]
        if count:
            _log.warning("queued_again", tasks=count)
        for id in await misplaced(self._database, self._models.engines, self._silence, _BATCH):
            # What has ended, now or before, is dropped by whoever gets it.
            place = await self._engine_of(id)
            await move(self._database, id, place[0] if place else self._models.engines[0])
        await sweep_log(self._database, _LOG_DAYS)
        return count

    async def _engine_of(self, id: str) -> tuple[str, int] | None:
        """The engine that runs a task, and its priority; one that none runs any more is ended."""
        task = await self._store.read(scripts.get_any(id))
        if task is None or task.ended:
            return None
        try:
            return self._models.find(task.submit).engine.name, task.submit.priority
        except UnknownModel as fault:  # it was known when the task was accepted
            now = await self._store.now() // 1000
            if (task.updated or 0) > now - _GRACE_SECONDS * 1000:
                return None
            failure = Failure(code=FailureCode.INVALID_INPUT, message=fault.message)
            await self._store.write(scripts.fail(id, task.attempt, failure, now))
            return None
