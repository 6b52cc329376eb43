"""The queue beside SQLite, for the one process that there is: in memory, for the store has all."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import structlog

from safelight.queue import Lane, Places, Work

_log = structlog.get_logger("safelight.queue")


class _Waiting(NamedTuple):
    """A task that waits, in the order in which tasks go: `number` counts them all."""

    urgency: int  # of two the lower one goes first
    number: int
    task_id: str


class MemoryQueue:
    """Task ids, waiting for a worker: of each engine at most `capacity`, the others in the store.

    `wanting` is set when some were left out and there is room again.
    """

    def __init__(self, capacity: int = 2000) -> None:
        self._capacity = capacity
        self._waiting: dict[str, list[_Waiting]] = defaultdict(list)  # heaps, by engine
        self._held: dict[str, set[str]] = defaultdict(set)  # by engine
        self._left_out: set[str] = set()  # engines
        self._numbers = itertools.count()
        self._changed = asyncio.Event()
        self._stopped = False
        self.wanting = asyncio.Event()
        self.places = Places(())

    def holds(self, task_id: str) -> bool:
        """Whether the task waits here."""
        return any(task_id in held for held in self._held.values())

    async def put(self, task_id: str, engine: str, priority: int = 0) -> bool:
        """Add a task; of two priorities the higher one goes first. False where it was left out.

        Once one of an engine was left out all later ones are, until `refill`, so that none
        overtakes it.
        """
        held = self._held[engine]
        if engine in self._left_out or len(held) >= self._capacity:
            self._left_out.add(engine)
            return False
        if task_id not in held:
            held.add(task_id)
            waiting = _Waiting(-priority, next(self._numbers), task_id)
            heapq.heappush(self._waiting[engine], waiting)
            self._changed.set()
        return True

    @property
    def left_out(self) -> frozenset[str]:
        """The engines of which one was left out."""
        return frozenset(self._left_out)

    def refill(self) -> None:
        """Take tasks again: those that were left out are about to be put, in their order."""
        self.wanting.clear()
        self._left_out.clear()

    def _take(self, task_id: str, engine: str) -> None:
        held = self._held[engine]
        held.discard(task_id)
        if engine in self._left_out and len(held) <= self._capacity // 2:
            self.wanting.set()

    async def run(self, work: Work, lanes: Sequence[Lane]) -> None:
        places = self.places = Places(lanes)
        running: set[asyncio.Task[None]] = set()

        async def run_one(engine: str, waiting: _Waiting) -> None:
            def leave() -> None:
                places.leave(engine, waiting.number)
                self._changed.set()

            try:
                await work(waiting.task_id, engine, leave)
            except Exception:  # the others are no worse for it
                _log.exception("work_broke", task=waiting.task_id)
            finally:
                leave()

        try:
            while not self._stopped:
                self._changed.clear()
                while (engine := self._first(places)) is not None:
                    waiting = heapq.heappop(self._waiting[engine])
                    self._take(waiting.task_id, engine)
                    places.take(engine, waiting.number)
                    one = asyncio.create_task(run_one(engine, waiting))
                    running.add(one)
                    one.add_done_callback(running.discard)
                await self._changed.wait()
            if running:
                await asyncio.wait(running)
        except asyncio.CancelledError:
            for one in running:
                one.cancel()
            raise

    def _first(self, places: Places) -> str | None:
        """The engine whose task is next, of those that have one and a place for it."""
        free = [engine for engine in places.free() if self._waiting[engine]]
        return min(free, key=lambda engine: self._waiting[engine][0], default=None)

    def stop(self) -> None:
        self._stopped = True
        self._changed.set()
