"""The store on SQLite: reads on the loop, all writes through one thread that commits in groups.

The rule for whoever edits it: only the writer thread writes, and it answers for a transaction only
after the commit that it is part of is on disk (WAL with `synchronous=FULL`). While a commit waits
for the disk further transactions gather, and the next commit carries them all. What SQLite cannot
do just now is told as `StoreUnavailable`, and leaves no transaction open.
"""

from __future__ import annotations

import asyncio
import json
import queue
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import aiosql
import apsw

from safelight.durations import BRIEF, Durations, timed
from safelight.store import (
    SCHEMA_VERSION,
    SchemaTooNew,
    StoreClosed,
    StoreUnavailable,
    migrations,
    own,
    scripts,
)
from safelight.store.asking import Asking, answer, refuse
from safelight.store.queries import query_text
from safelight.store.scripts import (
    AnyScript,
    Change,
    Enqueue,
    Query,
    Row,
    Tell,
    event_of,
    telling,
)
from safelight.task import Task

_T = TypeVar("_T")

# As many transactions at most share one commit: enough to be fast, few enough to answer soon.
_LARGEST_GROUP = 256
_GATHER_SECONDS = 0.001
# How long to wait for other processes that write; and how long to hold up the loop for one that
# keeps readers out, which next to nothing does.
_BUSY_SECONDS = 10.0
_HOLD_UP_SECONDS = 0.25

# What is raised where SQLite cannot just now. A file that is damaged, or none of SQLite's, is not
# among them: waiting mends it not.
AWAY: tuple[type[apsw.Error], ...] = (
    apsw.BusyError,  # another process holds the database
    apsw.LockedError,  # another connection of this one does
    apsw.ProtocolError,  # others were at its log each time that this one looked
    apsw.FullError,
    apsw.IOError,
    apsw.CantOpenError,  # the folder is gone, or there are too many open files
    apsw.ReadOnlyError,  # the disk has become so, or another file is in its place
    apsw.PermissionsError,
    apsw.NoMemError,
    apsw.InterruptError,
)


def load_queries() -> dict[str, str]:
    """The named queries as SQL text with `:name` parameters."""
    loaded: Any = aiosql.from_str(query_text(), "apsw")
    names = (name for name in loaded.available_queries if not name.endswith("_cursor"))
    return {name: getattr(loaded, name).sql for name in names}


_QUERIES = load_queries()


class SQLiteStore:
    """A store in one file. Build it with `open`, on the loop that will read from it."""

    def __init__(
        self,
        path: Path,
        reader: apsw.Connection,
        writer: apsw.Connection,
        enqueue: Callable[[str, str, int], Awaitable[object]] | None = None,
    ) -> None:
        self.durations: Durations[str] = Durations(BRIEF)
        self._path = path
        self._file = _identity(path)
        self._enqueue = enqueue
        self._heard: dict[str, list[Callable[[str], None]]] = {}
        self._reader = reader
        self._writer = writer
        self._transactions = Transactions(writer)
        self._waiting: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._crowd = 0  # how many writes the last commit carried
        self._commit_seconds = _GATHER_SECONDS  # what it took
        self._closed = False
        self.feed = ""  # numbers go up for ever: see `Transactions`
        self._asking = Asking(self._get_all)
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(
            target=self._write_groups, name="safelight-store", daemon=True
        )
        self._thread.start()

    @classmethod
    def open(
        cls,
        path: Path,
        enqueue: Callable[[str, str, int], Awaitable[object]] | None = None,
        busy: float | None = None,
    ) -> SQLiteStore:
        """Open the database at `path`, made and migrated where need be.

        `enqueue` is given the tasks to be run (id, engine, priority), once they are written; `busy`
        is how many seconds a write waits for other processes that write. Raises `SchemaTooNew`,
        `StoreUnavailable`.
        """
        with _told_as_unavailable():
            writer = connect(path, busy)
            try:
                migrate(writer)
                reader = connect(path, busy)
                reader.set_busy_timeout(int(_HOLD_UP_SECONDS * 1000))
                return cls(path, reader, writer, enqueue)
            except BaseException:
                writer.close()
                raise

    @timed("get")
    async def get(self, id: str, owner: str, oldest: int) -> Task | None:
        # Each call of SQLite gives up the interpreter lock, which costs more than the query: so
        # all tasks that are asked for in one turn of the loop are read in one.
        if self._closed:
            raise StoreClosed
        return await self._asking.get(id, owner, oldest)

    def _get_all(self) -> None:
        asked = self._asking.take()
        try:
            ids = json.dumps([id for id, _ in asked])
            rows = self._reader.execute(_QUERIES["get_tasks"], {"ids": ids}).fetchall()
            tasks = {task.id: task for task in map(scripts.read_task, rows)}
        except Exception as problem:
            refuse(asked, _as_told(problem))
            return
        answer(asked, tasks)

    @timed("read")
    async def read(self, script: AnyScript[_T]) -> _T:
        if self._closed:
            raise StoreClosed
        with _told_as_unavailable():
            return _step(self._reader, script)

    def version(self) -> int:
        if self._closed:
            raise StoreClosed
        # SQLite's own: it differs after every commit of another connection, in any process.
        with _told_as_unavailable():
            return cast(int, self._reader.pragma("data_version"))

    async def now(self) -> int:
        return time.time_ns() // 1000  # of one machine, as all its processes

    @timed("read_aside")
    async def read_aside(self, script: AnyScript[_T]) -> _T:
        def run() -> _T:
            connection = connect(self._path, create=False)
            try:
                return _step(connection, script)
            finally:
                connection.close()

        with _told_as_unavailable():
            return await asyncio.to_thread(run)

    @timed("write")
    async def write(self, script: AnyScript[_T]) -> _T:
        if self._closed:
            raise StoreClosed
        future: asyncio.Future[_Written] = self._loop.create_future()
        self._waiting.put(_Write(script, future))
        try:
            # A caller that goes away does not take back what it asked to be written.
            written = await future
        finally:
            del future  # a problem in it holds this frame: it would hold itself
        if self._enqueue is not None:
            for asked in written.enqueued:
                await self._enqueue(*asked)
        return cast(_T, written.result)

    async def is_settled(self, problem: StoreUnavailable) -> bool:
        # A commit that failed is not seen, but may be on the disk, and be there after a crash; the
        # next one that succeeds is written in its place.
        await self.write(scripts.write_anything(await self.now()))
        return True

    def listen(self, topic: str, heard: Callable[[str], None]) -> None:
        self._heard.setdefault(topic, []).append(heard)

    def on_return(self, returned: Callable[[], None]) -> None:
        pass  # what is told here is heard: it never leaves this process

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._waiting.put(None)
        await asyncio.to_thread(self._thread.join)
        self._reader.close()
        self._writer.close()

    # ------------------------------------------------------------------------ the writer thread

    def _write_groups(self) -> None:
        while True:
            first = self._waiting.get()
            if first is None:
                return
            group, last = self._gather(first)
            self._crowd = len(group)
            self._write_group(group)
            self._loop.call_soon_threadsafe(self._answer, group)
            if last:
                return
            del first, group  # while it waits for the next, this thread holds nobody's request

    def _gather(self, first: _Write) -> tuple[list[_Write], bool]:
        group = [first]
        if self._crowd > 1:
            # Others wrote at the same time just now, and are about to again: one commit for more
            # of them is worth a moment, and no more than it costs. Who writes alone is not kept
            # waiting.
            time.sleep(min(_GATHER_SECONDS, self._commit_seconds))
        while len(group) < _LARGEST_GROUP:
            try:
                following = self._waiting.get_nowait()
            except queue.Empty:
                break
            if following is None:
                return group, True
            group.append(following)
        return group, False

    def _write_group(self, group: list[_Write]) -> None:
        """One commit for all; a transaction that fails is undone alone."""
        committing = False
        try:
            self._begin()
            for write in group:
                write.carry_out(self._writer)
            committing, began = True, time.perf_counter()
            self._writer.execute("commit")
            self._commit_seconds = time.perf_counter() - began
        except Exception as problem:
            # A commit that SQLite has ended itself may have reached the disk before it failed;
            # not where that was full: what says that it is whole is written last.
            ended = committing and not self._writer.in_transaction
            unclear = ended and not isinstance(problem, apsw.FullError)
            with suppress(apsw.Error):  # the next group tries it again
                self._roll_back()
            for write in group:
                write.problem = write.problem or _as_told(problem, unclear)

    def _begin(self) -> None:
        self._roll_back()  # what could not be after the last one
        if _identity(self._path) != self._file:
            # What is written into a file that was removed is lost with the process.
            raise apsw.CantOpenError("the file was removed, or another is in its place")
        self._writer.execute("begin immediate")
        self._transactions.next()

    def _roll_back(self) -> None:
        if self._writer.in_transaction:
            self._writer.execute("rollback")

    def _answer(self, group: list[_Write]) -> None:
        for write in group:
            for told in write.told if write.problem is None else ():
                for heard in self._heard.get(told.topic, ()):
                    heard(told.what)
            write.answer()
        group.clear()  # frames that a problem holds hold the list too


class _Written(NamedTuple):
    """What became of a script that was carried out and committed."""

    result: Any
    enqueued: list[Enqueue]


class _Write:
    """A script that waits to be written, and who waits for it."""

    __slots__ = ("enqueued", "future", "problem", "result", "script", "told")

    def __init__(self, script: AnyScript[Any], future: asyncio.Future[_Written]) -> None:
        self.script = script
        self.future = future
        self.enqueued: list[Enqueue] = []
        self.told: list[Tell] = []
        self.result: Any = None
        self.problem: Exception | None = None

    def carry_out(self, connection: apsw.Connection) -> None:
        connection.execute("savepoint one")
        try:
            self.result = _step(connection, self.script, self.enqueued, self.told)
        except AWAY:
            raise  # SQLite may have undone what the others did too
        except Exception as problem:
            self.problem = problem
            connection.execute("rollback to one")
        connection.execute("release one")

    def answer(self) -> None:
        """Tell who waits, once: a problem that was told is not held here any more.

        It holds the frame of `carry_out`, and with that this write.
        """
        future, problem = self.future, self.problem
        del self.future, self.problem
        if future.cancelled():
            return
        if problem is None:
            future.set_result(_Written(self.result, self.enqueued))
        else:
            future.set_exception(problem)


def _step(
    connection: apsw.Connection,
    script: AnyScript[_T],
    enqueued: list[Enqueue] | None = None,
    told: list[Tell] | None = None,
) -> _T:
    """Carry out a script; what it enqueues and tells is left in the lists."""
    steps = iter(script)
    try:
        step = next(steps)
        while True:
            rows: Sequence[Row] = ()
            if isinstance(step, Query):
                rows = _fetch(connection, step)
            elif isinstance(step, Change):
                rows = _fetch(connection, step.query)
                if rows:
                    _fetch(connection, event_of(step, rows[0]))
                    if step.tells:
                        _step(connection, telling(step, rows[0]), enqueued, told)
                    if step.then is not None:
                        _must(enqueued).append(step.then)
            elif isinstance(step, Enqueue):
                _must(enqueued).append(step)
            else:
                _must(told).append(step)
            step = steps.send(rows)
    except StopIteration as stopped:
        return cast(_T, stopped.value)


def _fetch(connection: apsw.Connection, query: Query) -> Sequence[Row]:
    return connection.execute(_QUERIES[query.name], query.parameters).fetchall()


def _must(written: list[_T] | None) -> list[_T]:
    if written is None:
        raise RuntimeError("a script that only reads enqueues and tells nothing")
    return written


class Transactions:
    """Numbers the transactions of the connection that writes, for PostgreSQL's own functions.

    One writes at a time, so they are seen in the order of their numbers. Where the last number is
    not known the time says one: the task that had the last may be gone, or a backup be older.
    """

    def __init__(self, writer: apsw.Connection) -> None:
        self._writer = writer
        self._version = -1  # of the database, as this connection has left it
        self._number = 0
        writer.create_scalar_function("txid_current", self._current, 0)

    def next(self) -> None:
        """A transaction has begun, and is written by nobody else until it ends."""
        version = cast(int, self._writer.pragma("data_version"))
        if version != self._version:  # another process has written
            self._version = version
            self._number = max(self._number, self._last(), time.time_ns() // 1_000_000)
        self._number += 1

    def _current(self, *_: object) -> int:
        return self._number

    def _last(self) -> int:
        rows = self._writer.execute(_QUERIES["last_change_of_all"]).fetchall()
        return cast(int, rows[0][0])


# -------------------------------------------------------------------------------------- connection


def connect(path: Path, busy: float | None = None, create: bool = True) -> apsw.Connection:
    """A connection that is durable to power loss and waits `busy` seconds for other processes."""
    seconds = _BUSY_SECONDS if busy is None else busy
    flags = apsw.SQLITE_OPEN_READWRITE | (apsw.SQLITE_OPEN_CREATE if create else 0)
    connection = apsw.Connection(str(path), flags=flags)
    try:
        connection.set_busy_timeout(int(seconds * 1000))
        _switch_to_wal(connection, seconds)
        for pragma in ("synchronous = full", "foreign_keys = on"):
            connection.execute(f"pragma {pragma}").fetchall()
        # What is seen here is older than all that is still under way: there is one writer.
        connection.create_scalar_function("txid_current_snapshot", _no_bound, 0)
        connection.create_scalar_function("txid_snapshot_xmin", _no_bound, 1)
    except BaseException:
        connection.close()
        raise
    return connection


def _no_bound(*_: object) -> int:
    return 2**62  # higher than the number of any transaction


def _switch_to_wal(connection: apsw.Connection, seconds: float) -> None:
    # SQLite waits for nobody here: where another process makes the same database at this moment,
    # it says at once that it is busy.
    until = time.monotonic() + seconds
    while True:
        try:
            connection.execute("pragma journal_mode = wal").fetchall()
            return
        except apsw.BusyError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from another at the same path; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextmanager
def _told_as_unavailable() -> Iterator[None]:
    try:
        yield
    except AWAY as problem:
        raise _as_told(problem) from problem


def _as_told(problem: Exception, unclear: bool = False) -> Exception:
    """A problem as one who asked is told of it: an exception of his own."""
    if not isinstance(problem, AWAY):
        return own(problem)
    told = StoreUnavailable(f"SQLite cannot just now: {problem}", unclear)
    told.__cause__ = problem
    return told


def migrate(connection: apsw.Connection) -> None:
    """Bring the database to this code's schema; two may do so at once. Raises `SchemaTooNew`."""
    connection.execute("begin immediate")
    try:
        found = cast(int, connection.execute("pragma user_version").get)
        if found > SCHEMA_VERSION:
            raise SchemaTooNew.of(found)
        for version, text in migrations():
            if version > found:
                connection.execute(text)
        connection.execute(f"pragma user_version = {SCHEMA_VERSION}")
        connection.execute("commit")
    except BaseException:
        if connection.in_transaction:  # a disk that is full has ended it already
            connection.execute("rollback")
        raise
