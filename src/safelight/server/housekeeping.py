"""What has to be done again and again: take up what was left, sweep what is old."""

from __future__ import annotations

import asyncio
import contextlib

import structlog

from safelight.blobs import Blobs
from safelight.queue import Queue
from safelight.service import TASKS, folder_of, now_millis
from safelight.store import Store, scripts
from safelight.task import new_id
from safelight.worker import Worker

_log = structlog.get_logger("safelight.housekeeping")

_SECONDS = 60.0
_PAUSE_SECONDS = 1.0
_BATCH = 500
# A request that is being accepted keeps its sources a moment before its task is there.
_ACCEPTING = 3_600_000


class Housekeeping:
    """Keeps one server's house."""

    def __init__(
        self, store: Store, blobs: Blobs, queue: Queue, worker: Worker, retention: int
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._queue = queue
        self._worker = worker
        self._retention = retention
        self._looked_until = 0

    async def run(self) -> None:
        """Do all of it once a minute, and fill the queue when it wants, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SECONDS):
                    await self._queue.wanting.wait()
            try:
                await self.recover()
                await self.sweep(now_millis())
                await self.sweep_orphans(now_millis())
            except Exception:
                _log.exception("housekeeping_failed")
                await asyncio.sleep(_PAUSE_SECONDS)

    async def recover(self) -> int:
        """Queue the unfinished tasks that are neither queued nor run, as many as fit; how many.

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

    async def sweep(self, now: int) -> int:
        """Remove the tasks that ended longer ago than they are kept; returns how many.

        The files go first: a task that is too old answers as unknown already, so a crash between
        the two leaves nothing behind but a row for the next sweep.
        """
        count = 0
        while ids := await self._store.read(scripts.expired(now - self._retention, _BATCH)):
            for id in ids:
                await self._blobs.remove(folder_of(id))
            await self._store.write(scripts.remove(ids))
            count += len(ids)
        if count:
            _log.info("swept", tasks=count)
        return count

    async def sweep_orphans(self, now: int) -> int:
        """Remove files whose task was never accepted, or is gone; returns of how many tasks.

        A crash can leave them: between an upload and its task, or between a task and its files.
        Looked at are the tasks that became an hour old since the last look: their ids say when.
        """
        until = now - _ACCEPTING
        if until - self._looked_until < _ACCEPTING:
            return 0
        first, last = (new_id(max(0, millis), bytes(6)) for millis in (self._looked_until, until))
        count = 0
        for id in await self._blobs.folders(TASKS):
            if first <= id < last and await self._store.read(scripts.get_any(id)) is None:
                await self._blobs.remove(folder_of(id))
                count += 1
            await asyncio.sleep(0)
        self._looked_until = until
        if count:
            _log.info("swept_orphans", tasks=count)
        return count
