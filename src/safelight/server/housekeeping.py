"""What has to be done again and again: take up what was left, sweep what is old."""

from __future__ import annotations

import asyncio
import contextlib

import structlog

from safelight.blobs import Blobs
from safelight.queue import Queue
from safelight.service import folder_of, now_millis
from safelight.store import Store, scripts
from safelight.worker import Worker

_log = structlog.get_logger("safelight.housekeeping")

_SECONDS = 60.0
_PAUSE_SECONDS = 1.0
_BATCH = 500


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

    async def run(self) -> None:
        """Do all of it once a minute, and fill the queue when it wants, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SECONDS):
                    await self._queue.wanting.wait()
            try:
                await self.recover()
                await self.sweep(now_millis())
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
