"""Requests that are answered once their task is at its end: how long, and how many at once.

The rule for whoever edits it: a place to wait is had before a task is accepted, and a task goes on
whatever becomes of whoever waits for it. What ends a wait too early says the task's id.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from starlette.types import Receive

from safelight.errors import RateLimited, StillRunning, Unavailable
from safelight.pauses import Pauses
from safelight.service import Service
from safelight.store import StoreUnavailable
from safelight.task import Fetch, Task

_FIRST_PAUSE, _LONGEST_PAUSE, _GROWTH = 0.1, 1.0, 1.5  # between two looks at a task, in seconds
_AGAIN_SECONDS = 5.0
_MOST_MESSAGES = 8  # of a connection that tells nothing but that it is there


class Waiting:
    """Those who wait: at most `most`, half of them of one key; each for so many seconds."""

    def __init__(self, service: Service, seconds: float, most: int) -> None:
        self._service = service
        self._seconds = seconds
        self._most = most
        self._share = max(1, most // 2)
        self._waiting: Counter[str] = Counter()  # by key
        self._refusing = False
        self._ended = asyncio.Event()

    def look(self, who: str) -> None:
        """See whether there is a place for that key. Raises `Unavailable`, `RateLimited`."""
        if self._refusing:
            sentence = "The server is stopping, and takes nothing that it would have to wait for"
            raise Unavailable(sentence, retry_after=_AGAIN_SECONDS)
        if self._waiting.total() >= self._most:
            sentence = f"{self._most} requests wait for their tasks already; please try again"
            raise Unavailable(sentence, retry_after=_AGAIN_SECONDS)
        if self._waiting[who] >= self._share:
            raise RateLimited(
                f"{self._share} requests of this key wait for their tasks already",
                retry_after=_AGAIN_SECONDS,
                limit=self._share,
                used=self._share + 1,
            )

    @contextmanager
    def place(self, who: str) -> Iterator[None]:
        """A place for that key. Raises `Unavailable`, `RateLimited`."""
        self.look(who)
        self._waiting[who] += 1
        try:
            yield
        finally:
            self._waiting[who] -= 1
            if not self._waiting[who]:
                del self._waiting[who]

    async def wait(self, who: str, task: Task, receive: Receive) -> Task:
        """The task of that key at its end.

        Raises `StillRunning` where that takes too long, or nobody is there any more to hear it, or
        the server stops; and `NotFound` where it was deleted meanwhile.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + self._seconds
        pauses = Pauses(_FIRST_PAUSE, _LONGEST_PAUSE, _GROWTH)
        gone = asyncio.ensure_future(_gone(receive))
        ended = asyncio.ensure_future(self._ended.wait())
        try:
            while not task.ended:
                left = until - loop.time()
                if left <= 0 or gone.done():
                    raise StillRunning(task_id=task.id)
                if ended.done():
                    sentence = f"The server is stopping; the task {task.id} goes on: ask for it"
                    raise StillRunning(sentence, task_id=task.id)
                await asyncio.wait(
                    (gone, ended),
                    timeout=min(pauses.next(), left),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                with suppress(StoreUnavailable):  # it passes, or the time to wait does
                    task = await self._service.fetch(who, Fetch(id=task.id))
            return task
        finally:
            gone.cancel()
            ended.cancel()
            await asyncio.gather(gone, ended, return_exceptions=True)

    def refuse(self) -> None:
        """Take nobody any more."""
        self._refusing = True

    def end(self) -> None:
        """End all waits."""
        self.refuse()
        self._ended.set()


async def _gone(receive: Receive) -> None:
    """Return when whoever asked is not there any more."""
    for _ in range(_MOST_MESSAGES):
        message = await receive()
        if message["type"] == "http.disconnect":
            return
    await asyncio.Event().wait()
