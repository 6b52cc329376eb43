"""Tasks that are late are ended: those not begun in their time, and those not at their end.

The rule for whoever edits it: the store says whether a task is late, in the write that ends it, so
that any number of processes may look; and whoever runs the task hears of it as of a cancel.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from safelight.store import Store, StoreUnavailable, scripts
from safelight.task import Task

_log = structlog.get_logger("safelight.housekeeping")

_EVERY_SECONDS = 1.0
_BATCH = 100


class Deadlines:
    """Looks for late tasks, again and again."""

    def __init__(
        self,
        store: Store,
        every: float = _EVERY_SECONDS,
        ended: Callable[[Task], None] = lambda task: None,
    ) -> None:
        self._store = store
        self._ended = ended  # is told of each task that was ended here
        self._every = every

    async def run(self) -> None:
        """End what is late, once a second, until cancelled."""
        while True:
            try:
                await self.end_late()
            except StoreUnavailable as problem:
                _log.warning("deadlines_wait", problem=str(problem)[:300])
            except Exception:
                _log.exception("deadlines_failed")
            await asyncio.sleep(self._every)

    async def end_late(self) -> int:
        """End the tasks that are late now; how many."""
        count = ended = 0
        while True:
            now = await self._store.now() // 1000
            found = await self._store.read(scripts.late(now, _BATCH))
            ended = sum([await self._end(task, now) for task in found])
            count += ended
            if not ended or len(found) < _BATCH:
                break
        if count:
            _log.info("late_tasks_ended", tasks=count)
        return count

    async def _end(self, late: scripts.Late, now: int) -> bool:
        task = await self._store.write(scripts.end_late(late, now))
        if task is not None:
            self._ended(task)
        return task is not None
