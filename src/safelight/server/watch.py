"""One way to wait for a task, or for all of a caller: whoever waits looks, and sleeps until told.

What changes is told by the store, in whichever process it was changed. Such notices get lost, and
progress is told by none: so one query over all tasks that are watched here, now and then, finds
what was not heard. The rule for whoever edits it: to be woken says that something may have changed,
and nothing else; what is told to a caller is read from the store afterwards.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from safelight.store import Store, StoreClosed, StoreUnavailable, scripts

# Between two looks at all that is watched: for what was not heard, and for those to whom progress
# matters.
_LOOK_SECONDS, _PROGRESS_SECONDS = 2.0, 0.5
_MOST_IN_A_LOOK = 1000  # tasks of a query
# Between looks at a list of changes after a notice: what began before it is still being written.
_SOON = (0.0, 0.02, 0.05, 0.1, 0.25)


class Ticket:
    """One who waits: woken by changes since `revision`, the last one that he has seen."""

    __slots__ = ("_woken", "progress", "revision", "told")

    def __init__(self, revision: int, progress: bool) -> None:
        self.revision = revision
        self.progress = progress
        self.told = False  # whether a notice said so, since this was last set back
        self._woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wake(self) -> None:
        """Something may have changed."""
        if not self._woken.done():
            self._woken.set_result(None)

    def hear(self, what: str) -> None:
        """A notice said so, of a task or of a caller."""
        self.told = True
        self.wake()

    def knows(self, id: str, revision: int | None) -> bool:
        """Whether that revision of a task, or that it is gone, was seen."""
        return revision == self.revision

    async def changed(self, seconds: float, *others: asyncio.Future[Any]) -> None:
        """Return when something may have changed, the time is up, or one of the others is done."""
        if seconds > 0:
            waited = (self._woken, *others)
            await asyncio.wait(waited, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if self._woken.done():
            self._woken = asyncio.get_running_loop().create_future()

    async def pauses(self, seconds: float, *others: asyncio.Future[Any]) -> tuple[float, ...]:
        """As `changed`; then the seconds to sleep before each look at a list of changes.

        After a notice it may show nothing yet, and is looked at again.
        """
        await self.changed(seconds, *others)
        told, self.told = self.told, False
        return _SOON if told else _SOON[:1]


class RoundTicket(Ticket):
    """One who waits for any of several tasks, of each of which a revision was seen."""

    __slots__ = ("_heard", "_seen")

    def __init__(self, seen: Mapping[str, int]) -> None:
        super().__init__(0, False)
        self._seen = seen
        self._heard: set[str] = set()

    def wake(self) -> None:
        """Any of them may have changed."""
        self._heard.update(self._seen)
        super().wake()

    def hear(self, what: str) -> None:
        """This one has."""
        self._heard.add(what)
        super().wake()

    def knows(self, id: str, revision: int | None) -> bool:
        return revision == self._seen.get(id)

    def heard(self) -> tuple[str, ...]:
        """Those that may have changed, since this was asked the last time."""
        heard, self._heard = self._heard, set()
        return tuple(sorted(heard))


class Watch:
    """Those who wait in this process, by the task or the caller whose tasks they wait for."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tasks: defaultdict[str, set[Ticket]] = defaultdict(set)
        self._owners: defaultdict[str, set[Ticket]] = defaultdict(set)
        self._last: dict[str, int] = {}  # the last change of each caller that was looked for
        self._looking: asyncio.Task[None] | None = None
        self.closed = False  # whether nobody is to wait any more who need not
        store.listen(scripts.CHANGED, self._hear)
        store.on_return(self.wake)

    @contextmanager
    def task(self, id: str, revision: int, progress: bool = False) -> Iterator[Ticket]:
        """Watch a task, of which `revision` was seen; `progress` matters, or the status alone."""
        with self._watching(self._tasks, id, Ticket(revision, progress)) as ticket:
            yield ticket

    @contextmanager
    def tasks(self, seen: Mapping[str, int]) -> Iterator[RoundTicket]:
        """Watch several tasks at once, of each of which a revision was seen, for their status."""
        ticket = RoundTicket(seen)
        with ExitStack() as watched:
            for id in seen:
                watched.enter_context(self._watching(self._tasks, id, ticket))
            yield ticket

    @contextmanager
    def owner(self, owner: str) -> Iterator[Ticket]:
        """Watch all tasks of a caller, for changes of status."""
        with self._watching(self._owners, owner, Ticket(0, False)) as ticket:
            yield ticket

    @contextmanager
    def _watching(
        self, kept: defaultdict[str, set[Ticket]], key: str, ticket: Ticket
    ) -> Iterator[Ticket]:
        kept[key].add(ticket)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_on())
        try:
            yield ticket
        finally:
            kept[key].discard(ticket)
            if not kept[key]:
                del kept[key]

    @property
    def waits(self) -> bool:
        """Whether anybody waits here."""
        return bool(self._tasks or self._owners)

    def close(self) -> None:
        """The server stops: whoever need not wait for an end is told to go."""
        self.closed = True
        self.wake()

    def wake(self) -> None:
        """Wake everybody."""
        for kept in (self._tasks, self._owners):
            for tickets in kept.values():
                for ticket in tickets:
                    ticket.wake()

    def _hear(self, what: str) -> None:
        id, _, owner = what.partition(" ")
        for ticket in (*self._tasks.get(id, ()), *self._owners.get(owner, ())):
            ticket.hear(id)

    async def _look_on(self) -> None:
        """Look again and again, until nobody waits."""
        loop = asyncio.get_running_loop()
        looked = loop.time()
        while self.waits:
            await asyncio.sleep(_PROGRESS_SECONDS)
            everything = loop.time() - looked >= _LOOK_SECONDS
            if everything:
                looked = loop.time()
            with suppress(StoreUnavailable, StoreClosed):  # it passes, and is looked for again
                await self._look(everything)

    async def _look(self, everything: bool) -> None:
        await self._look_at_tasks(everything)
        for owner in tuple(self._owners) if everything else ():
            last = (await self._store.read(scripts.last_change(owner)))[0]
            if self._last.get(owner, last) != last:
                for ticket in self._owners.get(owner, ()):
                    ticket.wake()
            self._last[owner] = last
        self._last = {owner: last for owner, last in self._last.items() if owner in self._owners}

    async def _look_at_tasks(self, everything: bool) -> None:
        ids = [id for id, tickets in self._tasks.items() if everything or _any_progress(tickets)]
        for first in range(0, len(ids), _MOST_IN_A_LOOK):
            part = ids[first : first + _MOST_IN_A_LOOK]
            found = await self._store.read(scripts.revisions(part))
            for id in part:
                for ticket in self._tasks.get(id, ()):
                    if not ticket.knows(id, found.get(id)) and (everything or ticket.progress):
                        ticket.hear(id)


def _any_progress(tickets: set[Ticket]) -> bool:
    return any(ticket.progress for ticket in tickets)
