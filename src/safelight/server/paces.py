"""How long the tasks of a model took of late, learned by workers and known to all processes.

These are hints for whoever waits: they are written now and then, and what a crash loses of them is
learned again.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from safelight.models import ModelMap
from safelight.store import Store, StoreClosed, StoreUnavailable, scripts
from safelight.task import Submit

_EVERY_SECONDS = 5.0
_MOST_PENDING = 1000  # runs that are learned from between two writes


class Paces:
    """The mean time of each model's tasks, from the start of a run to the end of its task."""

    def __init__(self, store: Store, models: ModelMap, every: float = _EVERY_SECONDS) -> None:
        self._store = store
        self._models = models
        self._every = every
        self._means: dict[tuple[str, str], float] = {}
        self._pending: list[tuple[str, str, float]] = []
        self._wanted = True

    def mean(self, submit: Submit) -> float | None:
        """Seconds that a task as this one takes; None where nothing is known."""
        self._wanted = True
        millis = self._means.get(self._models.rule_of(submit))
        return None if millis is None else millis / 1000

    def learn(self, submit: Submit, seconds: float) -> None:
        """A run of such a task was done in so many seconds."""
        if len(self._pending) < _MOST_PENDING:
            self._pending.append((*self._models.rule_of(submit), seconds * 1000))

    async def run(self) -> None:
        """Write what was learned, and read what others have, until cancelled."""
        while True:
            with suppress(StoreUnavailable, StoreClosed):
                await self.exchange()
            await asyncio.sleep(self._every)

    async def exchange(self) -> None:
        """Write what was learned here, and read what is known, where somebody asks for it."""
        if self._pending:
            pending, self._pending = self._pending, []
            await self._store.write(scripts.learn(pending))
        if self._wanted:
            self._wanted = False
            self._means = await self._store.read(scripts.paces())
