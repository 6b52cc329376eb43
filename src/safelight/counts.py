"""Counts that take long: made once for all who ask at a time, and kept for some seconds."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Counts(Generic[T]):
    """What was counted last, by what it was that was counted. At most `most` are kept."""

    def __init__(
        self, seconds: float, most: int = 1000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._most = most
        self._clock = clock
        self._kept: OrderedDict[Hashable, _Kept[T]] = OrderedDict()

    async def get(self, what: Hashable, count: Callable[[], Awaitable[T]]) -> T:
        """What `count` says, now or some seconds ago; raises what it raises, which is not kept."""
        kept = self._kept.get(what)
        if kept is None or self._clock() > kept.until:
            kept = self._begin(what, count)
        try:
            # Whoever goes away does not take the count along that others wait for.
            return await asyncio.shield(kept.counting)
        finally:
            del kept  # else what it raises would keep itself

    def _begin(self, what: Hashable, count: Callable[[], Awaitable[T]]) -> _Kept[T]:
        kept = _Kept(asyncio.ensure_future(count()))
        kept.counting.add_done_callback(lambda _: self._end(what, kept))
        self._kept[what] = kept
        self._kept.move_to_end(what)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return kept

    def _end(self, what: Hashable, kept: _Kept[T]) -> None:
        kept.until = self._clock() + self._seconds
        failed = kept.counting.cancelled() or kept.counting.exception() is not None
        if failed and self._kept.get(what) is kept:
            del self._kept[what]


class _Kept(Generic[T]):
    """A count under way, and until when it may be told once it is there."""

    __slots__ = ("counting", "until")

    def __init__(self, counting: asyncio.Future[T]) -> None:
        self.counting = counting
        self.until = float("inf")
