"""The store on PostgreSQL: any number of processes, on any number of machines.

A task and its job in PgQueuer's queue are written in one transaction, and what a script tells is
a notice of that transaction: heard once it is committed, and only then.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

import asyncpg

from safelight.durations import BRIEF, Durations, timed
from safelight.postgres import SCHEMA, Database, DatabaseGone
from safelight.store import (
    SCHEMA_VERSION,
    SchemaTooNew,
    StoreClosed,
    StoreUnavailable,
    migrations,
    scripts,
)
from safelight.store.asking import Asked, Asking, answer, refuse
from safelight.store.groups import Groups, enqueue, queries_of, rows_of
from safelight.store.queries import TASK
from safelight.store.scripts import (
    KEYS,
    AnyScript,
    Change,
    Enqueue,
    Query,
    Row,
    Script,
    Single,
    Tell,
)
from safelight.store.texts import ADDING, CHANNEL, TEXTS
from safelight.task import Task

if TYPE_CHECKING:
    from safelight.postgres import Connection

_T = TypeVar("_T")

_LOCK = 0x5AFE_1167  # of those who migrate
_MIGRATION_SECONDS = 3600.0  # an index of a large table takes a while
# Reads that are under way at once; what is asked for meanwhile is read in one query after them.
_MOST_READS = 2
_MOST_IN_A_READ = 500

_FATE = "select pg_xact_status($1::text::xid8)"
_FEED = 12  # characters of its name
_RENUMBERING = "renumber changes"  # a chore
_LAST = TEXTS.of(Query("last_change_of_all", {}))[0].rstrip("; \n")
_RESTORED = f"select ({_LAST}) >= txid_snapshot_xmax(txid_current_snapshot())"
_RENUMBERED = (
    "insert into chores (name, done) values ($1, extract(epoch from clock_timestamp()) * 1000)"
    " on conflict (name) do update set done = greatest(excluded.done, chores.done + 1)"
)
_NOW = "select (extract(epoch from clock_timestamp()) * 1000000)::bigint"
_GET = f"select {TASK} from tasks where id = any($1::text[])"  # noqa: S608


class PostgresStore:
    """A store in a PostgreSQL database. Build it with `open`; closing it closes the database."""

    def __init__(self, database: Database, feed: str = "") -> None:
        self.durations: Durations[str] = Durations(BRIEF)
        self.database = database
        self.feed = feed
        self._groups = Groups(database)
        self._asking = Asking(self._read_asked)
        self._reads: set[asyncio.Task[None]] = set()
        self._writes: set[asyncio.Future[Any]] = set()
        self._closed = False
        self._heard: dict[str, list[Callable[[str], None]]] = {}
        self._version = 0
        database.listen(CHANNEL, self._hear)
        database.on_return(self._count_up)
        self.listen(KEYS, lambda _: self._count_up())

    @classmethod
    async def open(cls, database: Database) -> PostgresStore:
        """The store of that database, made and migrated where need be.

        Raises `SchemaTooNew`, `StoreUnavailable`.
        """
        return cls(database, await migrate(database))

    @timed("get")
    async def get(self, id: str, owner: str, oldest: int) -> Task | None:
        self._check_open()
        return await self._asking.get(id, owner, oldest)

    def _read_asked(self) -> None:
        if len(self._reads) < _MOST_READS and (asked := self._asking.take(_MOST_IN_A_READ)):
            read = asyncio.create_task(self._get_all(asked))
            self._reads.add(read)
            read.add_done_callback(self._read_more)

    def _read_more(self, read: asyncio.Task[None]) -> None:
        self._reads.discard(read)
        self._read_asked()

    async def _get_all(self, asked: Asked) -> None:
        try:
            with _told_as_unavailable():
                rows = await self.database.fetch(_GET, [id for id, _ in asked])
            tasks = {task.id: task for task in map(scripts.read_task, rows_of(rows))}
        except Exception as problem:
            refuse(asked, problem)
            return
        answer(asked, tasks)

    @timed("read")
    async def read(self, script: AnyScript[_T]) -> _T:
        return await self._read(script)

    async def _read(self, script: AnyScript[_T]) -> _T:
        self._check_open()
        steps = iter(script)
        try:
            step = next(steps)
            while True:
                if not isinstance(step, Query):
                    raise RuntimeError("a script that only reads enqueues and tells nothing")
                text, values = TEXTS.of(step)
                with _told_as_unavailable():
                    rows = await self.database.fetch(text, *values)
                step = steps.send(rows_of(rows))
        except StopIteration as stopped:
            return cast(_T, stopped.value)

    async def now(self) -> int:
        self._check_open()
        with _told_as_unavailable():
            rows = await self.database.fetch(_NOW)
        return int(rows[0][0])

    @timed("read_aside")
    async def read_aside(self, script: AnyScript[_T]) -> _T:
        return await self._read(script)  # it holds up nobody: there are several connections

    @timed("write")
    async def write(self, script: AnyScript[_T]) -> _T:
        self._check_open()
        # A caller that goes away does not take back what it asked to be written.
        write = asyncio.ensure_future(self._write(script))
        self._writes.add(write)
        write.add_done_callback(self._written)
        try:
            return await asyncio.shield(write)
        finally:
            del write  # a problem in it holds this frame: it would hold itself

    async def _write(self, script: AnyScript[_T]) -> _T:
        if isinstance(script, Single):
            return script.result(await self._groups.write(script.change))
        committing, transaction = False, list[str]()
        try:
            async with self.database.acquire() as connection, connection.transaction():
                result = await _step(connection, script, transaction)
                committing = True
            return result
        except DatabaseGone as problem:
            raise StoreUnavailable(str(problem), committing, *transaction) from problem

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


async def _step(connection: Connection, script: Script[_T], transaction: list[str]) -> _T:
    """Carry out a script; `transaction` is told which one it is part of, where it adds a task."""
    try:
        step = next(script)
        while True:
            rows = await _carry_out(connection, step)
            if isinstance(step, Change) and step.query.name == ADDING:
                transaction[:] = rows[0][3:4]
            step = script.send(rows)
    except StopIteration as stopped:
        return cast(_T, stopped.value)


async def _carry_out(connection: Connection, step: scripts.Step) -> Sequence[Row]:
    match step:
        case Query():
            text, values = TEXTS.of(step)
            return rows_of(await connection.fetch(text, *values))
        case Change():
            text, values = TEXTS.of_change(step)
            rows = rows_of(await connection.fetch(text, *values))
            if rows and step.then is not None:
                await enqueue(connection, [step.then])
            return rows
        case Enqueue():
            await enqueue(connection, [step])
        case Tell():
            await connection.execute(
                "select pg_notify($1, $2)", CHANNEL, f"{step.topic} {step.what}"
            )
    return ()


@contextmanager
def _told_as_unavailable() -> Iterator[None]:
    try:
        yield
    except DatabaseGone as problem:
        raise StoreUnavailable(str(problem)) from problem


# -------------------------------------------------------------------------------------- migration


async def migrate(database: Database) -> str:
    """Bring the database to this code's schema, and the queue to PgQueuer's; the store's `feed`.

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
                feed = await _find_feed(connection)
            await _migrate_queue(connection)
    return feed


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


async def _find_feed(connection: Connection) -> str:
    """What names the numbers of changes, which are those of this server's transactions.

    Where there are some that are still to come the database was restored from another server:
    changes are numbered anew, and what was numbered before comes before all that is.
    """
    if await connection.fetchval(_RESTORED):
        await connection.execute("update tasks set change = 0", timeout=_MIGRATION_SECONDS)
        await connection.execute(_RENUMBERED, _RENUMBERING)
    begun = await connection.fetchval("select done from chores where name = $1", _RENUMBERING)
    try:
        async with connection.transaction():
            server = await connection.fetchval("select system_identifier from pg_control_system()")
    except asyncpg.InsufficientPrivilegeError:
        server = 0
    return hashlib.sha256(f"{server} {begun or 0}".encode()).hexdigest()[:_FEED]


async def _migrate_queue(connection: Connection) -> None:
    """Bring a queue that an older PgQueuer made to this one's tables; not in a transaction."""
    queries = queries_of(connection)
    if (await queries.plan_upgrade()).statements:
        await queries.apply_upgrade()
