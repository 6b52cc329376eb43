"""Turns to ask another service something: so many a second, over all processes together.

A process takes a few turns at a time from the store, so that a busy one does not write for each.
When they are is said by the clock that all processes share, and waited for by this one's own. The
client has turns of its own: it shares them with nobody, and has no store to take them from.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from typing import NamedTuple

from safelight.store import Store, scripts

_AHEAD_SECONDS = 0.5  # of turns are taken at once, at most, and never more than are waited for
# As many processes as may have taken all that they may ahead: turns after that time are nobody's.
_MOST_PROCESSES = 100


class Turns:
    """The turns of one process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._services: dict[str, _Service] = {}

    async def take(self, service: str, per_second: float, urgent: bool = False) -> None:
        """Return when it is the caller's turn to ask `service`. Raises what the store raises.

        First come, first served; but what is `urgent` comes before what is not. Callers with
        another rate each keep their own: the next turn after theirs is so much later.
        """
        found = self._services.get(service)
        if found is None:
            found = self._services[service] = _Service(self._store, service)
        await found.take(1 / per_second, urgent)


class _Waiting(NamedTuple):
    """Who waits for a turn, in the order in which turns are given; `seconds` it is to last."""

    late: bool
    number: int
    seconds: float
    turn: asyncio.Future[None]


class _Turn(NamedTuple):
    """A turn that was taken: when it begins, by the loop's clock, and the seconds it lasts."""

    begins: float
    seconds: float


class _Service:
    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._name = name
        self._left: deque[_Turn] = deque()
        self._waiting: list[_Waiting] = []
        self._numbers = itertools.count()
        self._giving: asyncio.Task[None] | None = None

    async def take(self, seconds: float, urgent: bool) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, _Waiting(not urgent, next(self._numbers), seconds, turn))
        if self._giving is None or self._giving.done():
            self._giving = asyncio.create_task(self._give())
        try:
            await turn
        finally:
            del turn  # a problem in it holds this frame: it would hold itself

    async def _give(self) -> None:
        """Give turns to those who wait, until nobody does."""
        loop = asyncio.get_running_loop()
        while (first := self._first()) is not None:
            # After every wait it is seen who is the first by now: who was may have gone away.
            if not self._left or self._left[0].seconds < first.seconds:
                try:
                    await self._take_some(first.seconds)
                except Exception as problem:
                    self._refuse(problem)
            # A turn that is past is still one: it was nobody else's.
            elif (pause := self._left[0].begins - loop.time()) > 0:
                await asyncio.sleep(pause)
            else:
                self._left.popleft()
                heapq.heappop(self._waiting).turn.set_result(None)

    def _first(self) -> _Waiting | None:
        """Who is to have the next turn; who went away has none."""
        while self._waiting and self._waiting[0].turn.done():
            heapq.heappop(self._waiting)
        return self._waiting[0] if self._waiting else None

    def _refuse(self, problem: Exception) -> None:
        if self._first() is not None:
            heapq.heappop(self._waiting).turn.set_exception(problem)

    async def _take_some(self, seconds: float) -> None:
        """Take turns that last so long each, for the next of those to whom that is enough."""
        suited = itertools.takewhile(lambda one: one.seconds <= seconds, sorted(self._waiting))
        count = max(1, min(sum(1 for _ in suited), int(_AHEAD_SECONDS / seconds)))
        span, most = count * seconds, _MOST_PROCESSES * max(seconds, _AHEAD_SECONDS)
        now = await self._store.now()
        here = asyncio.get_running_loop().time()
        first = await self._store.write(
            scripts.take_turns(self._name, now, int(span * 1e6), int(most * 1e6))
        )
        begins = here + (first - now) / 1e6
        self._left = deque(_Turn(begins + number * seconds, seconds) for number in range(count))
