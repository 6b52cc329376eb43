"""What is foreseen of tasks that are not at their end: their place, their end, when to ask again.

Told from what is learned of their models, and from how many wait. Exact is only a task's place, as
of the moment when it is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from safelight.clock import now_millis
from safelight.counts import Counts
from safelight.models import ModelMap
from safelight.server.paces import Paces
from safelight.store import Store, scripts
from safelight.store.scripts import Load
from safelight.task import Outlook, Status, Task

_KEPT_SECONDS = 2.0  # that counts of what waits are told again
_LEAST, _MOST = 1, 60  # seconds after which a caller may ask again
_LATE = 4  # of a time that was longer than expected, what part of it is waited again
_ALMOST = 95  # percent that an estimate never exceeds


class Foresight:
    """Foresees, from what is in the store."""

    def __init__(
        self,
        store: Store,
        models: ModelMap,
        paces: Paces,
        clock: Callable[[], int] = now_millis,
    ) -> None:
        self._store = store
        self._models = models
        self._paces = paces
        self._clock = clock
        self._counts: Counts[dict[str, Load]] = Counts(_KEPT_SECONDS)

    def again(self, task: Task) -> int | None:
        """Whole seconds after which to ask for a task again; None where nothing is known of it.

        Half of the time that is left: fewer questions the further its end is, and few too late.
        """
        mean = self._paces.mean(task.submit)
        if mean is None:
            return None
        spent = 0.0 if task.started is None else (self._clock() - task.started) / 1000
        left = (mean - spent) / 2 if spent < mean else spent / _LATE
        return max(_LEAST, min(_MOST, math.ceil(left)))

    async def loads(self) -> dict[str, Load]:
        """What waits and runs, by engine; as of a moment ago."""
        return await self._counts.get("", lambda: self._store.read_aside(scripts.loads()))

    async def look(self, task: Task) -> Task:
        """The task with its outlook. Raises `StoreUnavailable`."""
        if task.ended:
            return task
        engine = self._models.rule_of(task.submit)[1]
        mean = self._paces.mean(task.submit)
        ahead = None
        if task.status is Status.QUEUED:
            ahead = await self._store.read(scripts.ahead(task, engine))
        end = None
        if mean is not None:
            end = await self._end(task, engine, mean, ahead or 0)
        outlook = Outlook(
            engine=engine, ahead=ahead, end=end, progress=self._percent(task, mean),
            again=self.again(task),
        )  # fmt: skip
        return task.with_outlook(outlook)

    async def _end(self, task: Task, engine: str, mean: float, ahead: int) -> int:
        """When the task is at its end, by the mean of its model: milliseconds since 1970."""
        now = self._clock()
        if task.started is not None:
            return max(now, task.started + int(mean * 1000))
        load = (await self.loads()).get(engine)
        places = max(1, load.running if load is not None else 1)
        return now + int((ahead / places + 1) * mean * 1000)

    def _percent(self, task: Task, mean: float | None) -> int | None:
        """How far a task is whose engine does not tell: by its time, and never quite there."""
        if task.progress is not None or task.started is None or not mean:
            return None
        return min(_ALMOST, int((self._clock() - task.started) / 10 / mean))
