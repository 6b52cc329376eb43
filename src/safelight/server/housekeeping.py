"""What has to be done again and again: take up what was left, sweep what is old.

The rule for whoever edits it: what cannot be removed is gone past, and tried again by a later
sweep; a task keeps its row until its files could be removed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable

import structlog

from safelight import blob_names
from safelight.blobs import BlobError, Blobs
from safelight.config import Settings
from safelight.server.metrics import Metrics
from safelight.server.recovery import Recovery
from safelight.store import Store, StoreUnavailable, hooks, scripts
from safelight.store.scripts import FIRST_ENDED, Ended
from safelight.task import new_id

_log = structlog.get_logger("safelight.housekeeping")

_PAUSE_SECONDS = 1.0
_BATCH = 500
_ORPHANS_SECONDS, _ALL_ORPHANS_SECONDS = 3600, 7 * 86_400
_NEARLY = 0.7  # of a chore's time: whoever wakes a little early does it
# A request that is being accepted keeps its sources a moment before its task is there; its id says
# when that was by the clock of its own machine, which may be wrong by a time zone.
_ACCEPTING = 86_400_000
_WAITED_FOR = 86_400_000  # ms that a task may wait for an upload that it names
_TOLD = 30 * 86_400_000  # ms that is kept of what was told, and how it went
_HOST_UNUSED = 86_400_000  # ms after which a host is forgotten that no task names
_AGAIN = 2 * _ACCEPTING  # how much of what was looked at before is looked at once more
# How long one sweep may take over what it cannot remove: a bucket that is away tells so slowly.
_FAILING_SECONDS = 30.0


class Housekeeping:
    """Keeps the house of one process, or of all: each chore is done by one of them."""

    def __init__(
        self,
        store: Store,
        blobs: Blobs,
        recovery: Recovery,
        retention: int,
        uploads_kept: int,
        every: float = 60,
        failed: Callable[[int], None] = lambda tasks: None,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._recovery = recovery
        self._retention = retention
        self._uploads_kept = uploads_kept
        self._every = every
        self._failed = failed  # is told of how many tasks a sweep could not remove the files
        # Where a sweep that was given up goes on the next time.
        self._after = FIRST_ENDED
        self._after_upload = FIRST_ENDED
        self._after_orphan = ""

    @classmethod
    def build(
        cls, settings: Settings, store: Store, blobs: Blobs, recovery: Recovery, metrics: Metrics
    ) -> Housekeeping:
        """Housekeeping with the times that the settings name."""
        return cls(
            store,
            blobs,
            recovery,
            settings.retention,
            settings.uploads_kept,
            failed=metrics.stuck,
        )

    async def run(self) -> None:
        """Do all of it once a minute, and recover when that is wanted, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                # Not all processes at the same moment.
                async with asyncio.timeout(self._every * random.uniform(0.8, 1.2)):  # noqa: S311
                    await self._recovery.wanting.wait()
            try:
                await self.recover()
                await self._do_chores(await self._store.now() // 1000)
            except StoreUnavailable as problem:
                _log.warning("housekeeping_waits", problem=str(problem))
                await asyncio.sleep(_PAUSE_SECONDS)
            except Exception:
                _log.exception("housekeeping_failed")
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _do_chores(self, now: int) -> None:
        if await self._take("sweep", now, self._every):
            await self.sweep(now)
            await self.sweep_uploads(now)
            await self.sweep_webhooks(now)
        since = await self._store.read(scripts.last_done("orphans"))
        if await self._take("orphans", now, _ORPHANS_SECONDS):
            # Some of what was looked at before once more: who looked may have died of it. Now and
            # then all: the row of an old task may be deleted while its files cannot be.
            everything = await self._take("all orphans", now, _ALL_ORPHANS_SECONDS)
            since = max(0, min(since, now) - _AGAIN)
            await self.sweep_orphans(now, 0 if everything else since)

    async def _take(self, chore: str, now: int, seconds: float) -> bool:
        return await self._store.write(
            scripts.claim_chore(chore, now, int(seconds * _NEARLY * 1000))
        )

    async def recover(self) -> int:
        """Queue the unfinished tasks that are neither queued nor run; how many."""
        return await self._recovery.recover()

    async def sweep(self, now: int) -> int:
        """Remove the tasks that ended longer ago than they are kept; returns how many.

        The files go first: a task that is too old answers as unknown already, so a crash between
        the two leaves nothing behind but a row for the next sweep.
        """
        count, stuck = 0, _Stuck()
        while not stuck.enough:
            old = scripts.expired(now - self._retention, _BATCH, self._after)
            if not (found := await self._store.read(old)):
                self._after = FIRST_ENDED
                break
            count += await self._sweep_batch(found, stuck)
        self._tell("swept", count, stuck)
        return count

    async def _sweep_batch(self, found: tuple[Ended, ...], stuck: _Stuck) -> int:
        gone = []
        for each in found:
            if stuck.enough:
                break
            self._after = each
            if await self._remove(each.id, stuck):
                gone.append(each.id)
        if gone:
            await self._store.write(scripts.remove(tuple(gone)))
        return len(gone)

    async def sweep_uploads(self, now: int) -> int:
        """Remove the uploads that are kept no longer; returns how many.

        A day later than their links end: tasks that named one may still wait for their turn.
        """
        count, stuck = 0, _Stuck()
        oldest = now - self._uploads_kept - _WAITED_FOR
        while not stuck.enough:
            found = await self._store.read(scripts.old_uploads(oldest, _BATCH, self._after_upload))
            if not found:
                self._after_upload = FIRST_ENDED
                break
            count += await self._sweep_upload_batch(found, stuck)
        self._tell("swept_uploads", count, stuck)
        return count

    async def _sweep_upload_batch(self, found: tuple[Ended, ...], stuck: _Stuck) -> int:
        count = 0
        for each in found:
            if stuck.enough:
                break
            self._after_upload = each
            if await self._remove(each.id, stuck, blob_names.upload_folder(each.id)):
                await self._store.write(scripts.remove_upload(each.id))
                count += 1
        return count

    async def sweep_webhooks(self, now: int) -> None:
        """Remove what was told long ago, though its task is there yet, and what is nobody's."""
        sweep = hooks.sweep(now - _TOLD, now - _HOST_UNUSED)
        while await self._store.write(sweep):
            sweep = hooks.sweep(now - _TOLD, now - _HOST_UNUSED)

    async def sweep_orphans(self, now: int, since: int = 0) -> int:
        """Remove files whose task was never accepted, or is gone; returns of how many tasks.

        A crash can leave them: between an upload and its task, or between a task and its files.
        Looked at are the tasks that are older than a day, from `since` on: their ids say when.
        """
        first, last = (new_id(max(0, millis), bytes(6)) for millis in (since, now - _ACCEPTING))
        count, stuck = 0, _Stuck()
        begin, self._after_orphan = max(first, self._after_orphan), ""
        async for id in self._blobs.folders(blob_names.TASKS, begin, last):
            if stuck.enough:
                self._after_orphan = id
                break
            if await self._store.read(scripts.get_any(id)) is None:
                count += await self._remove(id, stuck)
            await asyncio.sleep(0)
        self._tell("swept_orphans", count, stuck)
        return count

    async def _remove(self, id: str, stuck: _Stuck, folder: str | None = None) -> bool:
        """Remove the files of a task, or those in `folder`; whether they are gone."""
        began = time.monotonic()
        try:
            await self._blobs.remove(folder or blob_names.task_folder(id))
        except (BlobError, OSError) as problem:
            stuck.add(id, problem, time.monotonic() - began)
            return False
        return True

    def _tell(self, what: str, count: int, stuck: _Stuck) -> None:
        """Log a sweep: in a line, and another one for all that it could not remove."""
        if count:
            _log.info(what, tasks=count)
        if stuck.tasks:
            self._failed(stuck.tasks)
            _log.warning(
                "files_not_removed", tasks=stuck.tasks, task=stuck.task, problem=stuck.problem
            )


class _Stuck:
    """The tasks whose files a sweep could not remove: how many, and the first."""

    def __init__(self) -> None:
        self.tasks = 0
        self.task = self.problem = ""
        self._seconds = 0.0

    def add(self, id: str, problem: Exception, seconds: float) -> None:
        if not self.tasks:
            self.task, self.problem = id, str(problem)[:300]
        self.tasks += 1
        self._seconds += seconds

    @property
    def enough(self) -> bool:
        """Whether it took so long that the rest is for the next sweep."""
        return self._seconds > _FAILING_SECONDS
