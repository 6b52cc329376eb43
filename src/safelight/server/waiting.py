"""Requests that are answered once their task is further: how long, and how many at once.

Two kinds wait. Routes whose answer is the end of the task have a place before it is accepted, and
are told the task's id where their wait ends too early. Who only prefers to wait (RFC 7240) is
answered with the task as it is, whatever ends his wait, and at once where there is no place. The
rule for whoever edits it: a task goes on whatever becomes of whoever waits for it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import msgspec
from starlette.types import Receive

from safelight.errors import RateLimited, StillRunning, Unavailable
from safelight.server.watch import Watch
from safelight.service import Service
from safelight.store import StoreUnavailable
from safelight.task import Changed, Changes, Fetch, FetchMany, Several, Task

_AGAIN_SECONDS = 5.0
_TASKS_OF_A_PLACE = 20  # that are waited for together, each more takes its part of another
_MOST_MESSAGES = 8  # of a connection that tells nothing but that it is there


class Places:
    """Places to wait: at most `most`, half of them of one key."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.share = max(1, most // 2)
        self._taken: Counter[str] = Counter()  # by key

    @property
    def taken(self) -> int:
        """How many are taken."""
        return self._taken.total()

    @property
    def full(self) -> bool:
        """Whether there is none for anybody."""
        return self.taken >= self.most

    def full_for(self, who: str) -> bool:
        """Whether that key has its share."""
        return self._taken[who] >= self.share

    def free(self, who: str) -> bool:
        """Whether there is one for that key."""
        return not self.full and not self.full_for(who)

    @contextmanager
    def take(self, who: str, count: int = 1) -> Iterator[None]:
        """Take one for that key, or so many, whether there are any or not."""
        self._taken[who] += count
        try:
            yield
        finally:
            self._taken[who] -= count
            if not self._taken[who]:
                del self._taken[who]


class Waiting:
    """Those who wait.

    For its end a task is waited for `seconds`, by `most` at once; who prefers to wait does so for
    `longest` seconds, `most_polls` at once.
    """

    def __init__(
        self,
        service: Service,
        watch: Watch,
        seconds: float,
        most: int,
        longest: float = 60,
        most_polls: int = 1000,
    ) -> None:
        self._service = service
        self._watch = watch
        self._seconds = seconds
        self._places = Places(most)
        self.longest = longest
        self.polls = Places(most_polls)
        self._refusing = False
        self._over = False

    @property
    def at_end(self) -> int:
        """How many are answered at the end of their tasks."""
        return self._places.taken

    def look(self, who: str) -> None:
        """See whether there is a place for that key. Raises `Unavailable`, `RateLimited`."""
        places = self._places
        if self._refusing:
            sentence = "The server is stopping, and takes nothing that it would have to wait for"
            raise Unavailable(sentence, retry_after=_AGAIN_SECONDS)
        if places.full:
            sentence = f"{places.most} requests wait for their tasks already; please try again"
            raise Unavailable(sentence, retry_after=_AGAIN_SECONDS)
        if places.full_for(who):
            raise RateLimited(
                f"{places.share} requests of this key wait for their tasks already",
                retry_after=_AGAIN_SECONDS,
                limit=places.share,
                used=places.share + 1,
            )

    @contextmanager
    def place(self, who: str) -> Iterator[None]:
        """A place for that key. Raises `Unavailable`, `RateLimited`."""
        self.look(who)
        with self._places.take(who):
            yield

    async def wait(self, who: str, task: Task, receive: Receive) -> Task:
        """The task of that key at its end.

        Raises `StillRunning` where that takes too long, or nobody is there any more to hear it, or
        the server stops; and `NotFound` where it was deleted meanwhile.
        """
        seconds = self._seconds
        task = await self._follow(who, task, _at_end, seconds, receive, lambda: self._over)
        if task.ended:
            return task
        if self._over:
            sentence = f"The server is stopping; the task {task.id} goes on: ask for it"
            raise StillRunning(sentence, task_id=task.id)
        raise StillRunning(task_id=task.id)

    def may_wait(self, who: str) -> bool:
        """Whether there is a place for one of that key who only prefers to wait."""
        return not self._watch.closed and self.polls.free(who)

    async def prefer(
        self, who: str, task: Task, seconds: float, receive: Receive, seen: bool = False
    ) -> Task:
        """The task of that key at its end; where it was `seen`, once it is another than it was.

        Or as it is after so many seconds, or when the server stops, or nobody is there any more.
        Raises `NotFound` where it was deleted meanwhile.
        """
        revision = task.revision

        def done(task: Task) -> bool:
            return task.revision != revision if seen else task.ended

        watch = self._watch
        with self.polls.take(who):
            return await self._follow(who, task, done, seconds, receive, lambda: watch.closed, seen)

    async def several(
        self, who: str, asked: FetchMany, found: Several, seconds: float, receive: Receive
    ) -> Several:
        """Tasks of that key, once one of them is at its end, or gone.

        Or as they are after so many seconds, or when the server stops, or nobody is there any more.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        seen = {task.id: task.revision for task in found.tasks}
        away = asyncio.ensure_future(gone(receive))
        try:
            places = 1 + len(seen) // _TASKS_OF_A_PLACE  # what is watched is looked for
            with self.polls.take(who, places), self._watch.tasks(seen) as ticket:
                ids = tuple(seen)  # they may have ended before they were watched
                while not (found := await self._fetch_many(who, ids)).any_over:
                    seen.update((task.id, task.revision) for task in found.tasks)
                    left = until - loop.time()
                    if left <= 0 or away.done() or self._watch.closed:
                        break
                    await ticket.changed(left, away)
                    ids = ticket.heard()
        finally:
            away.cancel()
            await asyncio.gather(away, return_exceptions=True)
        return await self._service.fetch_many(who, asked)

    async def _fetch_many(self, who: str, ids: tuple[str, ...]) -> Several:
        with suppress(StoreUnavailable):  # it passes, or the time to wait does
            return await self._service.fetch_many(who, FetchMany(ids=ids))
        return Several(tasks=())

    async def changes(
        self, who: str, asked: Changes, found: Changed, seconds: float, receive: Receive
    ) -> Changed:
        """What changed of a caller's tasks, once there is something; `found` was nothing.

        Or nothing still, after so many seconds, or when the server stops, or nobody is there.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        asked = msgspec.structs.replace(asked, since=found.after)
        away = asyncio.ensure_future(gone(receive))
        try:
            with self.polls.take(who), self._watch.owner(who) as ticket:
                pauses: tuple[float, ...] = (0.0,)  # it may have changed before this was watched
                while True:
                    for pause in pauses:
                        await asyncio.sleep(pause)
                        with suppress(StoreUnavailable):
                            found = await self._service.changes(who, asked)
                        if found.tasks:
                            return found
                    left = until - loop.time()
                    if left <= 0 or away.done() or self._watch.closed:
                        return found
                    pauses = await ticket.pauses(left, away)
        finally:
            away.cancel()
            await asyncio.gather(away, return_exceptions=True)

    async def _follow(
        self,
        who: str,
        task: Task,
        done: Callable[[Task], bool],
        seconds: float,
        receive: Receive,
        stopped: Callable[[], bool],
        progress: bool = False,
    ) -> Task:
        """The task once it is `done`, or as it is when its time is up or nobody waits any more."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        away = asyncio.ensure_future(gone(receive))
        try:
            with self._watch.task(task.id, task.revision, progress) as ticket:
                # It may have changed before anybody would have told.
                task = await self._fetch(who, task)
                while not done(task):
                    ticket.revision = task.revision
                    left = until - loop.time()
                    if left <= 0 or away.done() or stopped():
                        break
                    await ticket.changed(left, away)
                    task = await self._fetch(who, task)
            return task
        finally:
            away.cancel()
            await asyncio.gather(away, return_exceptions=True)

    async def _fetch(self, who: str, task: Task) -> Task:
        with suppress(StoreUnavailable):  # it passes, or the time to wait does
            return await self._service.fetch(who, Fetch(id=task.id))
        return task

    def refuse(self) -> None:
        """Take nobody any more."""
        self._refusing = True

    def end(self) -> None:
        """End all waits."""
        self.refuse()
        self._over = True
        self._watch.wake()


def _at_end(task: Task) -> bool:
    return task.ended


async def gone(receive: Receive) -> None:
    """Return when whoever asked is not there any more."""
    for _ in range(_MOST_MESSAGES):
        message = await receive()
        if message["type"] == "http.disconnect":
            return
    await asyncio.Event().wait()
