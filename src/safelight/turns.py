"""Turns to ask another service something: so many a second, over all processes together.

A process takes a few turns at a time from the store, so that a busy one does not write for each.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections import deque

from safelight.store import Store, scripts

_AHEAD_SECONDS = 0.5  # of turns are taken at once, at most, and never more than are waited for


class Turns:
    """The turns of one process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._services: dict[str, _Service] = {}

    async def take(self, service: str, per_second: float, urgent: bool = False) -> None:
        """Return when it is the caller's turn to ask `service`. Raises what the store raises.

        First come, first served; but what is `urgent` comes before what is not.
        """
        found = self._services.get(service)
        if found is None:
            found = self._services[service] = _Service(self._store, service)
        await found.take(per_second, urgent)


class _Service:
    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._name = name
        self._left: deque[float] = deque()
        self._waiting: list[tuple[bool, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._giving: asyncio.Task[None] | None = None

    async def take(self, per_second: float, urgent: bool) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (not urgent, next(self._numbers), turn))
        if self._giving is None or self._giving.done():
            self._giving = asyncio.create_task(self._give(per_second))
        await turn

    async def _give(self, per_second: float) -> None:
        """Give turns to those who wait, until nobody does."""
        while self._waiting:
            try:
                if not self._left:
                    await self._take_some(per_second)
                # A turn that is past is still one: it was nobody else's.
                await asyncio.sleep(max(0.0, self._left[0] - time.time()))
            except Exception as problem:
                if (turn := self._next()) is not None:
                    turn.set_exception(problem)
            else:
                if (turn := self._next()) is not None:
                    self._left.popleft()
                    turn.set_result(None)

    def _next(self) -> asyncio.Future[None] | None:
        while self._waiting:
            turn = heapq.heappop(self._waiting)[2]
            if not turn.done():  # else its caller went away
                return turn
        return None

    async def _take_some(self, per_second: float) -> None:
        count = max(1, min(len(self._waiting), int(per_second * _AHEAD_SECONDS)))
        step = int(1_000_000 / per_second)
        now = time.time_ns() // 1000
        first = await self._store.write(scripts.take_turns(self._name, now, count * step))
        self._left.extend((first + number * step) / 1_000_000 for number in range(count))
