"""Turns to ask another service something: so many a second, over all processes together.

A process takes a few turns at a time from the store, so that a busy one does not write for each.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

from safelight.store import Store, scripts

_AHEAD_SECONDS = 0.5  # of turns are taken at once, at most, and never more than are waited for


class Turns:
    """The turns of one process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._services: dict[str, _Service] = {}

    async def take(self, service: str, per_second: float) -> None:
        """Return when it is the caller's turn to ask `service`. Raises what the store raises."""
        found = self._services.get(service)
        if found is None:
            found = self._services[service] = _Service(self._store, service)
        await found.take(per_second)


class _Service:
    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._name = name
        self._left: deque[float] = deque()
        self._waiting = 0
        self._lock = asyncio.Lock()

    async def take(self, per_second: float) -> None:
        self._waiting += 1
        try:
            async with self._lock:  # first come, first served
                while not self._left:
                    await self._take_some(per_second)
                at = self._left.popleft()
        finally:
            self._waiting -= 1
        # A turn that is past is still one: it was nobody else's.
        await asyncio.sleep(max(0.0, at - time.time()))

    async def _take_some(self, per_second: float) -> None:
        count = max(1, min(self._waiting, int(per_second * _AHEAD_SECONDS)))
        step = int(1_000_000 / per_second)
        now = time.time_ns() // 1000
        first = await self._store.write(scripts.take_turns(self._name, now, count * step))
        self._left.extend((first + number * step) / 1_000_000 for number in range(count))
