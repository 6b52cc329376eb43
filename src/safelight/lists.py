"""Lists of a caller's tasks, read off the loop, and how many tasks there are in all.

Both may take as long as the caller has tasks. The rule for whoever edits it: a page is never old,
only its total may be, by some seconds; and a caller with many tasks keeps no other waiting.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import msgspec

from safelight.counts import Counts
from safelight.store import Store, StoreUnavailable, scripts
from safelight.store.scripts import Script
from safelight.task import List, Page

T = TypeVar("T")

_KEPT_SECONDS = 5.0
_encoder = msgspec.json.Encoder(order="deterministic")
# What of a list says which part of it is asked for, as in the first of all.
_PLACE: Mapping[str, Any] = {
    "limit": 1, "offset": 0, "before": None, "before_change": None, "by_change": False
}  # fmt: skip
_AT_ONCE = 2  # lists that are read at a time, one of each caller
_WAIT_SECONDS = 10.0  # for a place among them


class Lists:
    """Reads lists from a store."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._counts: Counts[int] = Counts(_KEPT_SECONDS, clock=clock)
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._own: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def page(self, who: str, asked: List, oldest: int) -> Page:
        """The tasks that `who` asks for, and how many there are in all, as of some seconds ago.

        How many is not known where it need not be counted. Raises `StoreUnavailable`, also where
        too many others are ahead.
        """
        page = await self._read(who, scripts.list_tasks(who, asked, oldest))
        if not asked.counted or _is_the_end(page, asked):
            return page
        what = (who, _encoder.encode(msgspec.structs.replace(asked, **_PLACE)))
        counted = await self._counts.get(
            what, lambda: self._read(who, scripts.count(who, asked, oldest))
        )
        return msgspec.structs.replace(page, total=max(page.total, counted))

    async def _read(self, who: str, script: Script[T]) -> T:
        own = self._own.setdefault(who, asyncio.Semaphore())
        await self._take(own)
        reading = asyncio.ensure_future(self._store.read_aside(script))
        # It goes on when who asked for it goes away, and its place is taken until it ends.
        reading.add_done_callback(lambda _: self._give(own))
        try:
            return await asyncio.shield(reading)
        finally:
            del reading  # else what it raises would keep itself, and all rows that were read

    async def _take(self, own: asyncio.Semaphore) -> None:
        """Wait for the caller's turn, and then for a place."""
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                await own.acquire()
                try:
                    await self._places.acquire()
                except BaseException:
                    own.release()
                    raise
        except TimeoutError:
            raise StoreUnavailable("too many lists are read just now") from None

    def _give(self, own: asyncio.Semaphore) -> None:
        self._places.release()
        own.release()


def _is_the_end(page: Page, asked: List) -> bool:
    """Whether the page ends the list, and so says how many there are before it."""
    known = bool(page.tasks) or asked.offset == 0
    return known and page.following is None and asked.before is None
