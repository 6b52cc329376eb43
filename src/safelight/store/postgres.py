"""The store on PostgreSQL: any number of processes, on any number of machines.

A task and its job in PgQueuer's queue are written in one transaction, and what a script tells is
a notice of that transaction: heard once it is committed, and only then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from typing import TYPE_CHECKING, Any, TypeVar, cast

import aiosql
import asyncpg
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.domain.settings import DBSettings, Durability

from safelight.postgres import SCHEMA, Database, DatabaseGone
from safelight.store import (
    SCHEMA_VERSION,
    SchemaTooNew,
    StoreClosed,
    StoreUnavailable,
    migrations,
    refuse,
    scripts,
)
from safelight.store.scripts import KEYS, Change, Enqueue, Query, Row, Script, Tell
from safelight.task import Task

if TYPE_CHECKING:
    from safelight.postgres import Connection

_T = TypeVar("_T")

_CHANNEL = "safelight"  # of notices: a topic, a space, and what it is about
_LOCK = 0x5AFE_1167  # of those who migrate
_MIGRATION_SECONDS = 3600.0  # an index of a large table takes a while
# Reads that are under way at once; what is asked for meanwhile is read in one query after them.
_MOST_READS = 2
_MOST_IN_A_READ = 500

# A task's addition says which transaction it is part of, which costs no round trip of its own: if
# the answer to its commit is lost, the database is asked by that what became of it.
_ADDING, _SAYING_TRANSACTION = "add_task", ", pg_current_xact_id()::text"
# A change and what is told of it are one statement here, and so one round trip.
_CHANGING = """
with changed as ({change}), told as (
    insert into events (task_id, number, at, what, attempt, note)
    select id, (select coalesce(max(number), 0) + 1 from events where task_id = changed.id),
           ${at}::bigint, coalesce(${what}::text, {status}), coalesce(${attempt}::int, {held}),
           ${note}::text
    from changed
)
select * from changed
"""
_FATE = "select pg_xact_status($1::text::xid8)"
_NOW = "select (extract(epoch from clock_timestamp()) * 1000000)::bigint"
_GET = """
select id, owner, dialect, status, attempt, deaths, progress, seed, credits,
       submit, artifacts, failure, created, started, finished, updated
from tasks
where id = any($1::text[])
"""


class _Text:
    """The named queries with PostgreSQL's numbered parameters, and the order of their names."""

    def __init__(self) -> None:
        text = resources.files("safelight.store").joinpath("queries.sql").read_text()
        loaded: Any = aiosql.from_str(text, "asyncpg")
        self._order: dict[str, list[str]] = loaded.driver_adapter.var_sorted
        names = (name for name in loaded.available_queries if not name.endswith("_cursor"))
        self._sql = {name: getattr(loaded, name).sql for name in names}
        self._sql[_ADDING] = f"{self._sql[_ADDING].rstrip(' ;')} {_SAYING_TRANSACTION}"
        self._changes: dict[tuple[str, bool, bool], str] = {}

    def of(self, query: Query) -> tuple[str, list[Any]]:
        """A query's text, and its parameters in order."""
        values = query.parameters
        return self._sql[query.name], [values[name] for name in self._order.get(query.name, ())]

    def of_change(self, change: Change) -> tuple[str, list[Any]]:
        """The text of a change and of what is told of it, and its parameters in order."""
        sql, values = self.of(change.query)
        event = change.event
        names = change.query.name, event.what is None, event.attempt is None
        if names not in self._changes:
            numbers = range(len(values) + 1, len(values) + 5)
            at, what, attempt, note = numbers
            self._changes[names] = _CHANGING.format(
                change=sql.rstrip(" ;"),
                at=at,
                what=what,
                attempt=attempt,
                note=note,
                status="status" if event.what is None else "null",
                held="attempt" if event.attempt is None else "null",
            )
        return self._changes[names], [*values, *event]


_TEXT = _Text()


class PostgresStore:
    """A store in a PostgreSQL database. Build it with `open`; closing it closes the database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._asked: list[tuple[str, asyncio.Future[Task | None]]] = []
        self._reads: set[asyncio.Task[None]] = set()
        self._writes: set[asyncio.Future[Any]] = set()
        self._closed = False
        self._heard: dict[str, list[Callable[[str], None]]] = {}
        self._version = 0
        self._loop = asyncio.get_running_loop()
        database.listen(_CHANNEL, self._hear)
        database.on_return(self._count_up)
        self.listen(KEYS, lambda _: self._count_up())

    @classmethod
    async def open(cls, database: Database) -> PostgresStore:
        """The store of that database, made and migrated where need be.

        Raises `SchemaTooNew`, `StoreUnavailable`.
        """
        await migrate(database)
        return cls(database)

    async def get(self, id: str, owner: str, oldest: int) -> Task | None:
        self._check_open()
        future: asyncio.Future[Task | None] = self._loop.create_future()
        if not self._asked:
            self._loop.call_soon(self._read_asked)
        self._asked.append((id, future))
        try:
            task = await future
        finally:
            del future  # a problem in it holds this frame: it would hold itself
        if task is None or task.owner != owner:
            return None
        return None if task.finished is not None and task.finished <= oldest else task

    def _read_asked(self) -> None:
        if self._asked and len(self._reads) < _MOST_READS:
            asked, self._asked = self._asked[:_MOST_IN_A_READ], self._asked[_MOST_IN_A_READ:]
            read = asyncio.create_task(self._get_all(asked))
            self._reads.add(read)
            read.add_done_callback(self._read_more)

    def _read_more(self, read: asyncio.Task[None]) -> None:
        self._reads.discard(read)
        self._read_asked()

    async def _get_all(self, asked: list[tuple[str, asyncio.Future[Task | None]]]) -> None:
        try:
            with _told_as_unavailable():
                rows = await self.database.fetch(_GET, [id for id, _ in asked])
            tasks = {row[0]: scripts.read_task(row) for row in _rows(rows)}
        except Exception as problem:
            refuse(asked, problem)
            return
        for id, future in asked:
            if not future.cancelled():
                future.set_result(tasks.get(id))

    async def read(self, script: Script[_T]) -> _T:
        self._check_open()
        try:
            step = next(script)
            while True:
                if not isinstance(step, Query):
                    raise RuntimeError("a script that only reads enqueues and tells nothing")
                text, values = _TEXT.of(step)
                with _told_as_unavailable():
                    rows = await self.database.fetch(text, *values)
                step = script.send(_rows(rows))
        except StopIteration as stopped:
            return cast(_T, stopped.value)

    async def now(self) -> int:
        self._check_open()
        with _told_as_unavailable():
            rows = await self.database.fetch(_NOW)
        return int(rows[0][0])

    async def read_aside(self, script: Script[_T]) -> _T:
        return await self.read(script)  # it holds up nobody: there are several connections

    async def write(self, script: Script[_T]) -> _T:
        self._check_open()
        # A caller that goes away does not take back what it asked to be written.
        write = asyncio.ensure_future(self._write(script))
        self._writes.add(write)
        write.add_done_callback(self._written)
        try:
            return await asyncio.shield(write)
        finally:
            del write  # a problem in it holds this frame: it would hold itself

    async def _write(self, script: Script[_T]) -> _T:
        try:
            first = next(script)
        except StopIteration as stopped:
            return cast(_T, stopped.value)
        if isinstance(first, Change) and first.alone:
            return await self._write_alone(script, first)
        committing, transaction = False, list[str]()
        try:
            async with self.database.acquire() as connection, connection.transaction():
                result = await _step(connection, script, first, transaction)
                committing = True
            return result
        except DatabaseGone as problem:
            raise StoreUnavailable(str(problem), committing, *transaction) from problem

    async def _write_alone(self, script: Script[_T], change: Change) -> _T:
        """Carry out a script that is one statement, which is a transaction of its own."""
        asked = False
        try:
            async with self.database.acquire() as connection:
                asked = True
                rows = await _carry_out(connection, change)
        except DatabaseGone as problem:
            raise StoreUnavailable(str(problem), asked) from problem
        try:
            script.send(rows)
        except StopIteration as stopped:
            return cast(_T, stopped.value)
        raise RuntimeError("a script goes on after the change that is all it does")

    async def is_settled(self, problem: StoreUnavailable) -> bool:
        self._check_open()
        if problem.transaction is None:  # nothing was added
            return True
        try:
            with _told_as_unavailable():
                rows = await self.database.fetch(_FATE, problem.transaction)
        except asyncpg.InvalidParameterValueError:
            return True  # of a transaction that is still to come: it was lost in a crash
        return rows[0][0] in ("committed", "aborted")

    def _written(self, write: asyncio.Future[Any]) -> None:
        self._writes.discard(write)
        if not write.cancelled():
            write.exception()  # its caller has it too, unless it went away

    def listen(self, topic: str, heard: Callable[[str], None]) -> None:
        self._heard.setdefault(topic, []).append(heard)

    def on_return(self, returned: Callable[[], None]) -> None:
        self.database.on_return(returned)

    def version(self) -> int | None:
        self._check_open()
        return self._version if self.database.hears else None

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._writes:
            await asyncio.wait(self._writes)
        await self.database.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosed

    def _hear(self, notice: str) -> None:
        topic, _, what = notice.partition(" ")
        for heard in self._heard.get(topic, ()):
            heard(what)

    def _count_up(self) -> None:
        self._version += 1


async def _step(
    connection: Connection, script: Script[_T], step: scripts.Step, transaction: list[str]
) -> _T:
    """Carry out a script from its first step on.

    `transaction` is told which one it is part of, where it adds a task.
    """
    try:
        while True:
            rows = await _carry_out(connection, step)
            if isinstance(step, Change) and step.query.name == _ADDING:
                transaction[:] = rows[0][1:]
            step = script.send(rows)
    except StopIteration as stopped:
        return cast(_T, stopped.value)


async def _carry_out(connection: Connection, step: scripts.Step) -> Sequence[Row]:
    match step:
        case Query():
            text, values = _TEXT.of(step)
            return _rows(await connection.fetch(text, *values))
        case Change():
            text, values = _TEXT.of_change(step)
            return _rows(await connection.fetch(text, *values))
        case Enqueue():
            await enqueue(connection, step)
        case Tell():
            await connection.execute(
                "select pg_notify($1, $2)", _CHANNEL, f"{step.topic} {step.what}"
            )
    return ()


def _rows(records: object) -> Sequence[Row]:
    return cast("Sequence[Row]", records)  # asyncpg's records are sequences, but not by type


async def enqueue(connection: Connection, asked: Enqueue) -> None:
    """Put a task in the queue of its engine, unless it is there, in the caller's transaction."""
    await queries_of(connection).enqueue(
        asked.engine,
        asked.task_id.encode(),
        asked.priority,
        dedupe_key=asked.task_id,
        on_conflict="skip",
    )


def queries_of(connection: Connection) -> Queries:
    """PgQueuer's queries, on that connection."""
    return Queries(AsyncpgDriver(cast(Any, connection)), qbe=_ENVIRONMENT)


# PgQueuer's log of what it did is not read here: it need not outlive a crash.
_ENVIRONMENT = QueryBuilderEnvironment(settings=DBSettings(durability=Durability.balanced))


@contextmanager
def _told_as_unavailable() -> Iterator[None]:
    try:
        yield
    except DatabaseGone as problem:
        raise StoreUnavailable(str(problem)) from problem


# -------------------------------------------------------------------------------------- migration


async def migrate(database: Database) -> None:
    """Bring the database to this code's schema, and the queue to PgQueuer's.

    Any number of processes may do so at once: one does it and the others wait for it. Raises
    `SchemaTooNew`, `StoreUnavailable`.
    """
    with _told_as_unavailable():
        async with database.acquire() as connection:
            async with connection.transaction():
                await connection.execute(
                    "select pg_advisory_xact_lock($1)", _LOCK, timeout=_MIGRATION_SECONDS
                )
                await _migrate_ours(connection)
            await _migrate_queue(connection)


async def _migrate_ours(connection: Connection) -> None:
    # Asked for first: to create needs the right to, even where it is there and nothing is done.
    if not await connection.fetchval("select 1 from pg_namespace where nspname = $1", SCHEMA):
        await connection.execute(f"create schema {SCHEMA}")
    if not await connection.fetchval("select to_regclass('schema_version') is not null"):
        await connection.execute("create table schema_version (version integer not null)")
    found: int = await connection.fetchval("select max(version) from schema_version") or 0
    if found > SCHEMA_VERSION:
        raise SchemaTooNew.of(found)
    for version, text in migrations():
        if version > found:
            await connection.execute(text, timeout=_MIGRATION_SECONDS)
            await connection.execute("insert into schema_version values ($1)", version)
    queries = queries_of(connection)
    if not await queries.schema_is_installed():
        await queries.install(create_schema=False)
        await queries.optimize_autovacuum()


async def _migrate_queue(connection: Connection) -> None:
    """Bring a queue that an older PgQueuer made to this one's tables; not in a transaction."""
    queries = queries_of(connection)
    if (await queries.plan_upgrade()).statements:
        await queries.apply_upgrade()
