"""Changes of tasks on PostgreSQL: those that wait at the same time are one transaction.

A commit waits for the disk, whatever is in it. While some changes are written further ones gather,
and the next transaction carries them all, each sent before the one before it is answered. The rule
for whoever edits it: a change is answered only after the commit that it is part of, and one that
fails is undone alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.domain.settings import DBSettings, Durability

from safelight.postgres import Database, DatabaseGone
from safelight.store import StoreUnavailable, own
from safelight.store.scripts import Change, Enqueue, Row
from safelight.store.texts import ADDING, TEXTS

if TYPE_CHECKING:
    from safelight.postgres import Connection

# Transactions that are under way at once, and the changes that one of them carries at most: enough
# to be fast, few enough to answer soon.
_MOST_WRITTEN, _LARGEST = 2, 64


class _Waiting(NamedTuple):
    """A change that waits to be written, and who waits for its row."""

    change: Change
    future: asyncio.Future[Sequence[Row]]

    @property
    def task_id(self) -> str:
        return cast(str, self.change.query.parameters["id"])


class Groups:
    """Writes changes that are all their scripts do; of one task in the order of their coming."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[_Waiting] = []
        self._written: set[asyncio.Task[None]] = set()
        self._busy: set[str] = set()  # the tasks of changes that are being written
        self._called = False

    async def write(self, change: Change) -> Sequence[Row]:
        """The row of a change, once it is committed; none where it changed nothing.

        Raises `StoreUnavailable`, or what is wrong with it.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Sequence[Row]] = loop.create_future()
        self._waiting.append(_Waiting(change, future))
        if not self._called:  # what is asked for in this turn of the loop belongs together
            self._called = True
            loop.call_soon(self._start)
        try:
            return await future
        finally:
            del future  # a problem in it holds this frame: it would hold itself

    def _start(self) -> None:
        self._called = False
        while len(self._written) < _MOST_WRITTEN and (group := self._take()):
            ids = [waiting.task_id for waiting in group]
            self._busy.update(ids)
            written = asyncio.create_task(self._write(group))
            self._written.add(written)
            written.add_done_callback(partial(self._go_on, ids))

    def _go_on(self, ids: list[str], written: asyncio.Task[None]) -> None:
        self._busy.difference_update(ids)
        self._written.discard(written)
        self._start()

    def _take(self) -> list[_Waiting]:
        """The next group: of a task one change, once the one before it is written."""
        group: dict[str, _Waiting] = {}
        left: list[_Waiting] = []
        for waiting in self._waiting:
            id = waiting.task_id
            if len(group) < _LARGEST and id not in group and id not in self._busy:
                group[id] = waiting
            else:
                left.append(waiting)
        self._waiting = left
        return list(group.values())

    async def _write(self, group: list[_Waiting]) -> None:
        try:
            if len(group) == 1 and group[0].change.then is None:
                await self._write_alone(group[0])
            else:
                await self._write_together(group)
        except Exception as problem:
            if len(group) == 1:
                _refuse(group, problem)
            for waiting in list(group):  # none of them was written, and one alone is at fault
                await self._write([waiting])

    async def _write_alone(self, waiting: _Waiting) -> None:
        """A change that is one statement, which is a transaction of its own."""
        asked = False
        try:
            async with self._database.acquire() as connection:
                asked = True
                text, values = TEXTS.of_change(waiting.change)
                rows = await connection.fetch(text, *values)
        except DatabaseGone as problem:
            raise StoreUnavailable(str(problem), asked) from problem
        _answer(waiting, rows_of(rows))

    async def _write_together(self, group: list[_Waiting]) -> None:
        committing, rows = False, dict[str, Row]()
        try:
            async with self._database.acquire() as connection, connection.transaction():
                rows = await _carry_out(connection, [waiting.change for waiting in group])
                committing = True
        except DatabaseGone as problem:
            for waiting in list(group):
                added = _transaction(waiting.change, rows.get(waiting.task_id))
                _refuse([waiting], StoreUnavailable(str(problem), committing, *added))
            return
        for waiting in group:
            row = rows.get(waiting.task_id)
            _answer(waiting, () if row is None else (row,))


async def _carry_out(connection: Connection, changes: list[Change]) -> dict[str, Row]:
    """Carry out changes of different tasks; the rows that they returned, by task."""
    together: dict[str, list[list[Any]]] = {}
    for change in sorted(changes, key=lambda change: str(change.query.parameters["id"])):
        text, values = TEXTS.of_change(change)
        together.setdefault(text, []).append(values)
    rows: dict[str, Row] = {}
    for text, arguments in together.items():
        rows |= {row[0]: row for row in rows_of(await connection.fetchmany(text, arguments))}
    then = [change.then for change in changes if change.query.parameters["id"] in rows]
    await enqueue(connection, [asked for asked in then if asked is not None])
    return rows


def _transaction(change: Change, row: Row | None) -> Sequence[str]:
    """Which transaction a task was added in, where one was."""
    return row[3:4] if change.query.name == ADDING and row is not None else ()


def _answer(waiting: _Waiting, rows: Sequence[Row]) -> None:
    if not waiting.future.done():
        waiting.future.set_result(rows)


def _refuse(group: list[_Waiting], problem: Exception) -> None:
    """Tell each of a problem, and forget them: the frames that it holds hold their list too."""
    for waiting in group:
        if not waiting.future.done():
            waiting.future.set_exception(own(problem))
    group.clear()


def rows_of(records: object) -> Sequence[Row]:
    """asyncpg's records, which are sequences, but not by type."""
    return cast("Sequence[Row]", records)


async def enqueue(connection: Connection, asked: Sequence[Enqueue]) -> None:
    """Put tasks in the queues of their engines, unless they are there, in this transaction."""
    if asked:
        await queries_of(connection).enqueue(
            [job.engine for job in asked],
            [job.task_id.encode() for job in asked],
            [job.priority for job in asked],
            dedupe_key=[job.task_id for job in asked],
            on_conflict="skip",
        )


def queries_of(connection: Connection) -> Queries:
    """PgQueuer's queries, on that connection."""
    return Queries(AsyncpgDriver(cast(Any, connection)), qbe=_ENVIRONMENT)


# PgQueuer's log of what it did is not read here: it need not outlive a crash.
_ENVIRONMENT = QueryBuilderEnvironment(settings=DBSettings(durability=Durability.balanced))
