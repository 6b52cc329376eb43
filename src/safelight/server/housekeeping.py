"""What has to be done again and again: take up what was left, sweep what is old."""

from __future__ import annotations

import asyncio

import structlog

from safelight.blobs import Blobs
from safelight.queue import Queue
from safelight.service import folder_of, now_millis
from safelight.store import Store, scripts
from safelight.worker import Worker

_log = structlog.get_logger("safelight.housekeeping")

_SECONDS = 60.0
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
        """Do all of it once a minute, until cancelled."""
        while True:
            await asyncio.sleep(_SECONDS)
            try:
                await self.recover()
                await self.sweep(now_millis())
            except Exception:
                _log.exception("housekeeping_failed")

    async def recover(self) -> int:
        """Queue every unfinished task that is neither queued nor run; returns how many.

        At the start that is what an earlier process left. Later it is nothing, unless a task was
        accepted by a request that broke off just then, or its end could not be written.
        """
        count, after = 0, ""
        while ids := await self._store.read(scripts.unfinished(after, _BATCH)):
            for id in ids:
                if not self._queue.holds(id) and not self._worker.runs(id):
                    await self._queue.put(id)
                    count += 1
            after = ids[-1]
        if count:
            _log.info("recovered", tasks=count)
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
