"""Events as they happen, as server-sent events: of one task, or of all of a caller's.

What is sent is read from the rows that were written with each change, and never from what a process
remembers: so a stream that was cut off goes on where it was, after a restart, or at another
process. Nothing is queued for anybody: a stream keeps the last revision that it has told, and reads
on from there once what it sent was taken. The rules for whoever edits it: an id is sent only when
all that lies before it was; and every stream ends when the server stops.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec
from starlette.types import Receive, Send

from safelight.dialects.safelight.writing import event_said
from safelight.server.waiting import Places, gone
from safelight.server.watch import Ticket, Watch
from safelight.store import Store, StoreClosed, StoreUnavailable, scripts
from safelight.store.scripts import Script
from safelight.task import Task, TaskEvent

MEDIA_TYPE = "text/event-stream"
DONE = "-done"  # what the id of a task's last event ends with
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would keep events until there are many
]
_FIRST = b"retry: 2000\n\n"
_ALIVE, _STOPPING = b": here\n\n", b": the server is stopping\n\n"
_ALIVE_SECONDS = 15.0  # after which a line that says nothing is sent: proxies cut what is silent
_SEND_SECONDS = 30.0  # in which what is sent is to be taken
_AWAY_SECONDS = 1.0  # until the next look at a database that is away
_BATCH = 100

Tell = Callable[[Task], Any]  # a task as JSON values


class Sent(NamedTuple):
    """An event to send, and the id by which whoever has it goes on after it."""

    name: str
    id: str
    said: Any

    def encode(self) -> bytes:
        """As it is sent. JSON has no line breaks of its own."""
        said = msgspec.json.encode(self.said)
        return b"event: %b\nid: %b\ndata: %b\n\n" % (self.name.encode(), self.id.encode(), said)


class Streams:
    """Streams of events. At most so many at once as `places` has."""

    def __init__(self, store: Store, watch: Watch, places: Places, oldest: Callable[[], int]):
        self._store = store
        self._watch = watch
        self.places = places
        self._oldest = oldest
        self._open: dict[str, set[asyncio.Future[None]]] = {}  # by key: what ends them
        store.listen(scripts.KEYS, self._close)

    def _close(self, who: str) -> None:
        """End the streams of a key, which was revoked."""
        for away in self._open.get(who, ()):
            away.cancel()

    async def _may_go_on(self, who: str) -> bool:
        """Whether a key is still one. Where a notice cannot come, this is how it is seen."""
        with suppress(StoreUnavailable, StoreClosed):
            return await self._store.read(scripts.get_key(who)) is not None
        return True

    @property
    def open(self) -> int:
        """How many are open."""
        return sum(map(len, self._open.values()))

    @property
    def stopping(self) -> bool:
        """Whether no more are to be begun."""
        return self._watch.closed

    async def send(
        self,
        who: str,
        stream: Callable[[asyncio.Future[None]], AsyncIterator[Sent | None]],
        receive: Receive,
        send: Send,
    ) -> None:
        """Send events until there are no more, nobody takes them, or the server stops.

        `stream` is given what is done once nobody is there any more. None among its events says
        that there was nothing to tell for a while.
        """
        away = asyncio.ensure_future(gone(receive))
        self._open.setdefault(who, set()).add(away)
        events = stream(away)
        with self.places.take(who), suppress(TimeoutError, OSError):
            try:
                await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
                await _piece(send, _FIRST)
                async for event in events:
                    if away.done() or (event is None and not await self._may_go_on(who)):
                        break
                    await _piece(send, _ALIVE if event is None else event.encode())
                if self._watch.closed:
                    await _piece(send, _STOPPING)
                await send({"type": "http.response.body", "body": b""})
            finally:
                away.cancel()
                self._open[who].discard(away)
                if not self._open[who]:
                    del self._open[who]
                close: Any = getattr(events, "aclose", None)
                if close is not None:
                    await close()

    async def of_task(
        self, task: Task, last: int | None, tell: Tell, away: asyncio.Future[None]
    ) -> AsyncIterator[Sent | None]:
        """What happens to a task, from its revision `last` on; from now on where that is None.

        First comes what was missed, then the task as it is, then each change, and in the end the
        task at its end.
        """
        told = _Told(task.revision if last is None else last, tell)
        with self._watch.task(task.id, task.revision, progress=True) as ticket:
            found: Task | None = task
            while found is not None and not self._over(away):
                ticket.revision = found.revision
                try:
                    rows = await self._missed(found, told)
                    for event in told.all(found, rows):
                        yield event
                    if found.ended:
                        return
                    await ticket.changed(_ALIVE_SECONDS, away)
                    if (found := await self._store.read(self._get(task))) == told.task:
                        yield None
                except StoreUnavailable:  # what was not told is told once it is there again
                    await asyncio.sleep(_AWAY_SECONDS)
                    yield None
                except StoreClosed:
                    return

    def _get(self, task: Task) -> Script[Task | None]:
        return scripts.get_any(task.id, self._oldest())

    async def _missed(self, task: Task, told: _Told) -> list[scripts.EventRow]:
        """What has happened since, up to the revision of the task as it was read."""
        if told.number >= task.revision:
            return []
        rows = await self._store.read(scripts.events(task.id, told.number))
        return [row for row in rows if row.number <= task.revision]

    async def of_owner(
        self,
        who: str,
        after: tuple[int, str] | None,
        cursor: Callable[[int, str], str],
        tell: Tell,
        away: asyncio.Future[None],
    ) -> AsyncIterator[Sent | None]:
        """All of a caller's tasks, each time that one's status changes; from `after`, or now, on.

        `cursor` writes where to go on.
        """
        with self._watch.owner(who) as ticket:
            while after is None and not self._over(away):
                try:
                    after = await self._store.read(scripts.last_change(who))
                except (StoreUnavailable, StoreClosed):
                    await asyncio.sleep(_AWAY_SECONDS)
                    yield None
            while after is not None and not self._over(away):
                rows = await self._changes(who, after) or await self._next(who, after, ticket, away)
                for row in rows:
                    after = (row.change, row.task.id)
                    yield Sent("task", cursor(*after), tell(row.task))
                if not rows:
                    yield None

    def _over(self, away: asyncio.Future[None]) -> bool:
        return self._watch.closed or away.done()

    async def _next(
        self, who: str, after: tuple[int, str], ticket: Ticket, away: asyncio.Future[None]
    ) -> tuple[scripts.Changed, ...]:
        """What changes next; nothing where nothing did for a while."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _ALIVE_SECONDS
        while (left := until - loop.time()) > 0 and not self._over(away):
            for pause in await ticket.pauses(left, away):
                await asyncio.sleep(pause)
                if rows := await self._changes(who, after):
                    return rows
        return ()

    async def _changes(self, who: str, after: tuple[int, str]) -> tuple[scripts.Changed, ...]:
        try:
            return await self._store.read(scripts.changes(who, *after, _BATCH, self._oldest()))
        except (StoreUnavailable, StoreClosed):
            await asyncio.sleep(_AWAY_SECONDS)
            return ()


class _Told:
    """What was told of a task: up to which revision, and how it was then."""

    def __init__(self, number: int, tell: Tell) -> None:
        self.number = number
        self.task: Task | None = None
        self._tell = tell

    def all(self, task: Task, rows: list[scripts.EventRow]) -> Iterator[Sent]:
        """What there is to tell: what has happened, and then the task as it is by that."""
        for row in rows:
            self.number = row.number
            yield self._row(row)
        self.number = max(self.number, task.revision)
        for name, said in self._state(task, self.task):
            # Told the last status, one has not been told the end.
            yield Sent(name, f"{self.number}{DONE if task.ended else ''}", said)
        self.task = task

    def _row(self, row: scripts.EventRow) -> Sent:
        """An event in the words in which the list of events has it."""
        said = event_said(TaskEvent(**row._asdict()))
        return Sent(said.event, str(row.number), said)

    def _state(self, task: Task, last: Task | None) -> Iterator[tuple[str, Any]]:
        """What is told of the task as it is, where it was so when it was told the last time."""
        if task.ended:
            yield "done", self._tell(task)
        elif last is None:
            yield "snapshot", self._tell(task)
        else:
            if task.progress != last.progress:
                yield "progress", {"progress": task.progress}
            if task.previews != last.previews:
                yield "preview", {"url": self._tell(task).get("preview_url")}


async def _piece(send: Send, body: bytes) -> None:
    """Send a piece. Raises `TimeoutError` where it is not taken."""
    async with asyncio.timeout(_SEND_SECONDS):
        await send({"type": "http.response.body", "body": body, "more_body": True})
