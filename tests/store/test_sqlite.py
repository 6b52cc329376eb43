"""The store on SQLite: its group commit, what survives, and who else may write at the same time."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import apsw
import pytest

from doubles import ID, NOW, task, until
from safelight.store import (
    SCHEMA_VERSION,
    SchemaTooNew,
    StoreClosed,
    StoreUnavailable,
    migrations,
    scripts,
)
from safelight.store.scripts import Query, Script
from safelight.store.sqlite import AWAY, SQLiteStore, connect, load_queries, migrate
from safelight.task import new_id

KEYS = 40


def key(n: int) -> Script[None]:
    return scripts.add_key(f"K{n}", "name", f"lookup {n}", "secret", NOW)


def hold(gate: threading.Event) -> Script[None]:
    """A transaction that holds up the writer until the gate opens."""
    yield Query("list_keys", {})
    gate.wait(10)


class Counted:
    """A store whose commits are counted, and may be made to fail."""

    def __init__(self, path: Path) -> None:
        self.commits = 0
        self.refuse = False
        writer = connect(path)
        migrate(writer)
        writer.set_commit_hook(self._count)
        self.store = SQLiteStore(path, connect(path), writer)

    def _count(self) -> bool:
        self.commits += 1
        return self.refuse


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
async def counted(path: Path) -> AsyncIterator[Counted]:
    opened = Counted(path)
    yield opened
    await opened.store.close()


@pytest.fixture
async def store(counted: Counted) -> SQLiteStore:
    return counted.store


# ------------------------------------------------------------------------------- group commit


async def test_waiting_transactions_share_one_commit(counted: Counted) -> None:
    gate, store = threading.Event(), counted.store
    first = asyncio.create_task(store.write(hold(gate)))
    rest = [asyncio.create_task(store.write(key(n))) for n in range(200)]
    await asyncio.sleep(0)  # every task has put its script
    gate.set()
    await asyncio.gather(first, *rest)

    assert counted.commits <= 3
    assert len(await store.read(scripts.list_keys())) == 200


async def test_one_after_the_other_each_has_its_commit(counted: Counted) -> None:
    for n in range(3):
        await counted.store.write(key(n))

    assert counted.commits == 3


async def test_a_group_has_an_end(counted: Counted) -> None:
    gate, store = threading.Event(), counted.store
    first = asyncio.create_task(store.write(hold(gate)))
    rest = [asyncio.create_task(store.write(key(n))) for n in range(600)]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(first, *rest)

    assert 3 <= counted.commits <= 6


async def test_a_transaction_that_fails_is_undone_alone(store: SQLiteStore) -> None:
    def broken() -> Script[None]:
        yield from key(100)
        yield from key(100)  # the same lookup once more

    gate = threading.Event()
    first = asyncio.create_task(store.write(hold(gate)))
    writes = [key(0), broken(), key(1), broken(), key(2)]
    rest = [asyncio.create_task(store.write(script)) for script in writes]
    await asyncio.sleep(0)
    gate.set()
    await first
    outcomes = await asyncio.gather(*rest, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [
        type(None),
        apsw.ConstraintError,
        type(None),
        apsw.ConstraintError,
        type(None),
    ]
    assert [row.id for row in await store.read(scripts.list_keys())] == ["K0", "K1", "K2"]


async def test_a_commit_that_fails_is_told_to_all_who_share_it(counted: Counted) -> None:
    store, gate = counted.store, threading.Event()
    await store.write(key(0))
    counted.refuse = True
    first = asyncio.create_task(store.write(hold(gate)))
    rest = [asyncio.create_task(store.write(key(n))) for n in (1, 2)]
    await asyncio.sleep(0)
    gate.set()
    outcomes = await asyncio.gather(first, *rest, return_exceptions=True)
    counted.refuse = False

    assert all(isinstance(outcome, apsw.Error) for outcome in outcomes[1:])
    assert [row.id for row in await store.read(scripts.list_keys())] == ["K0"]
    await store.write(key(3))  # and it goes on
    assert len(await store.read(scripts.list_keys())) == 2


# ---------------------------------------------------------------------------- who waits, and not


async def test_what_a_cancelled_caller_asked_for_is_written(store: SQLiteStore) -> None:
    gate = threading.Event()
    first = asyncio.create_task(store.write(hold(gate)))
    caller = asyncio.create_task(store.write(scripts.add(task(), "")))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    gate.set()
    await first

    await store.write(key(0))  # written after it

    assert await store.read(scripts.get_any(ID)) is not None


async def test_reads_go_on_while_a_write_waits(store: SQLiteStore) -> None:
    gate = threading.Event()
    held = asyncio.create_task(store.write(hold(gate)))
    await asyncio.sleep(0)

    assert await store.read(scripts.list_keys()) == ()
    assert await store.read_aside(scripts.list_keys()) == ()
    assert not held.done()

    gate.set()
    await held


async def test_a_script_that_fails_to_read_raises_to_its_reader(store: SQLiteStore) -> None:
    def broken() -> Script[None]:
        yield Query("get_task", {})

    with pytest.raises(KeyError):
        await store.read(broken())
    with pytest.raises(KeyError):
        await store.read_aside(broken())
    assert await store.read(scripts.list_keys()) == ()


async def test_tasks_that_are_asked_for_together_are_read_together(store: SQLiteStore) -> None:
    ids = [new_id(NOW + n, bytes(6)) for n in range(3)]
    for id in ids:
        await store.write(scripts.add(task(id), ""))
    asked = [*ids, ids[0], "0" * 24]

    found = await asyncio.gather(*(store.get(id, "alice", 0) for id in asked))

    assert [one.id if one else None for one in found] == [*ids, ids[0], None]
    assert await asyncio.gather(*(store.get(id, "bob", 0) for id in ids)) == [None] * 3


async def test_a_caller_who_leaves_takes_nothing_from_the_others(store: SQLiteStore) -> None:
    await store.write(scripts.add(task(), ""))
    gone = asyncio.create_task(store.get(ID, "alice", 0))
    stays = asyncio.create_task(store.get(ID, "alice", 0))
    asyncio.get_running_loop().call_soon(gone.cancel)  # when both have asked, before they are read

    assert await stays is not None
    with pytest.raises(asyncio.CancelledError):
        await gone


async def test_what_cannot_be_read_is_told_to_all_who_asked(store: SQLiteStore, path: Path) -> None:
    other = connect(path)
    other.execute("alter table tasks rename to elsewhere")
    other.close()
    asked = [asyncio.create_task(store.get(ID, "alice", 0)) for _ in range(3)]
    asyncio.get_running_loop().call_soon(asked[1].cancel)

    outcomes = await asyncio.gather(*asked, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [
        apsw.SQLError,
        asyncio.CancelledError,
        apsw.SQLError,
    ]


async def test_close_writes_what_waits(path: Path) -> None:
    store, gate = SQLiteStore.open(path), threading.Event()
    first = asyncio.create_task(store.write(hold(gate)))
    writes = [asyncio.create_task(store.write(key(n))) for n in range(KEYS)]
    await asyncio.sleep(0)
    closing = asyncio.create_task(store.close())
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(first, *writes, closing)

    reopened = SQLiteStore.open(path)
    assert len(await reopened.read(scripts.list_keys())) == KEYS
    await reopened.close()


async def test_a_closed_store_writes_no_more(path: Path) -> None:
    store = SQLiteStore.open(path)
    threads = threading.active_count()
    await store.close()
    await store.close()

    with pytest.raises(StoreClosed):
        await store.write(key(0))
    with pytest.raises(StoreClosed):
        await store.read(scripts.list_keys())
    with pytest.raises(StoreClosed):
        await store.get(ID, "alice", 0)
    with pytest.raises(StoreClosed):
        store.version()
    await until(lambda: threading.active_count() <= threads)


async def test_what_is_enqueued_is_given_on_once_it_is_written(path: Path) -> None:
    seen: list[tuple[str, str, int, bool]] = []

    async def enqueue(id: str, engine: str, priority: int) -> None:
        there = await opened.read(scripts.get_any(id)) is not None
        seen.append((id, engine, priority, there))

    def half() -> Script[None]:
        yield from scripts.add(task(new_id(NOW, b"broken")), "", engine="sketch")
        raise RuntimeError("in the middle")

    opened = SQLiteStore.open(path, enqueue)
    with pytest.raises(RuntimeError, match="in the middle"):
        await opened.write(half())
    await opened.write(scripts.add(task(token="t", priority=3), "", engine="sketch"))
    await opened.write(scripts.add(task(new_id(NOW, b"other."), token="t"), "", engine="sketch"))
    await opened.close()

    assert seen == [(ID, "sketch", 3, True)]


# --------------------------------------------------------------------------------- on the disk


def test_every_connection_is_durable(path: Path) -> None:
    for _ in range(2):
        connection = connect(path)
        assert connection.pragma("journal_mode") == "wal"
        assert connection.pragma("synchronous") == 2  # full
        assert connection.pragma("foreign_keys") == 1
        connection.close()


WRITING = """
import asyncio, sys
from pathlib import Path
from safelight.store import scripts
from safelight.store.sqlite import SQLiteStore

async def main():
    store = SQLiteStore.open(Path(sys.argv[1]))
    async def one(n):
        await store.write(scripts.add_key(f"K{n}", "name", f"lookup {n}", "secret", 1))
        print(n, flush=True)
    n = 0
    while True:
        await asyncio.gather(*(one(n + i) for i in range(20)))
        n += 20

asyncio.run(main())
"""


def test_what_was_answered_survives_kill_9(path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITING, str(path)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        told = [child.stdout.readline() for _ in range(100)]
        child.kill()
        told += child.stdout.readlines()

    numbers = {int(line) for line in told if line.endswith("\n")}
    connection = connect(path)
    kept = {row[0] for row in connection.execute("select id from keys")}
    assert len(numbers) >= 100
    assert {f"K{n}" for n in numbers} <= kept
    assert connection.pragma("integrity_check") == "ok"
    connection.close()


async def test_all_of_a_task_is_read_after_a_restart(path: Path) -> None:
    store = SQLiteStore.open(path)
    await store.write(scripts.add(task(token="t"), "digest"))
    await store.close()

    again = SQLiteStore.open(path)
    assert await again.read(scripts.get_any(ID)) == task(token="t")
    same = await again.write(scripts.add(task(new_id(NOW, b"other."), token="t"), "digest"))
    assert not same.new
    await again.close()


# ---------------------------------------------------------------------------------- the schema


def test_a_database_that_another_process_keeps_to_itself_is_waited_for(
    path: Path,
) -> None:
    other = apsw.Connection(str(path))
    other.execute("create table theirs (id)")
    other.execute("begin exclusive")

    with pytest.raises(apsw.BusyError):
        connect(path, busy=0)
    with pytest.raises(StoreUnavailable, match="locked"):
        SQLiteStore.open(path, busy=0)

    releasing = threading.Timer(0.05, other.close)
    releasing.start()
    connect(path, busy=10).close()
    releasing.join()


def test_a_database_of_a_newer_version_is_left_alone(path: Path) -> None:
    newer = connect(path)
    newer.execute(f"pragma user_version = {SCHEMA_VERSION + 1}")

    with pytest.raises(SchemaTooNew, match=str(SCHEMA_VERSION + 1)):
        SQLiteStore.open(path)

    assert newer.execute("select count(*) from sqlite_schema").get == 0
    newer.close()


def test_a_migration_that_fails_leaves_nothing(path: Path) -> None:
    connection = connect(path)
    connection.execute("create table keys (id text)")  # in the way of the first one

    with pytest.raises(apsw.SQLError, match="already exists"):
        migrate(connection)

    assert connection.pragma("user_version") == 0
    assert connection.execute("select name from sqlite_schema").get == "keys"
    connection.close()


def test_the_migrations_are_numbered_and_end_at_this_version() -> None:
    assert [version for version, _ in migrations()] == list(range(1, SCHEMA_VERSION + 1))


FIRST_TASKS = """
insert into tasks (id, owner, kind, dialect, status, attempt, seed, submit, created, updated)
values (:id, 'alice', 'image', 'tensorslab', 'running', 1, 7, '{"model": "still"}', :now, :now)
"""
FIRST_EVENTS = "insert into events (task_id, at, what, attempt, note) values (?, ?, ?, 1, ?)"


async def test_a_database_of_the_first_version_goes_on(path: Path) -> None:
    first = connect(path)
    first.execute(migrations()[0][1])
    first.execute("pragma user_version = 1")
    ids = [new_id(NOW + n, bytes(6)) for n in range(3)]
    for id in ids:
        first.execute(FIRST_TASKS, {"id": id, "now": NOW})
    notes = [f"line {n}" for n in range(20)]
    for id in ids:
        first.execute(FIRST_EVENTS, (id, NOW, "queued", ""))
    for note in notes:
        first.executemany(FIRST_EVENTS, [(id, NOW + 1, "log", note) for id in ids])
    first.close()

    store = SQLiteStore.open(path)
    claimed = await store.write(scripts.claim(ids[1], "w", NOW + 1))
    assert claimed is not None
    for line in ("after it", "and again"):
        await store.write(scripts.log(ids[1], claimed.attempt, line, NOW + 1))
    told = [await store.read(scripts.events(id)) for id in ids]
    await store.close()

    assert claimed.attempt == 2
    old = [("queued", ""), *(("log", note) for note in notes)]
    assert [[(row.what, row.note) for row in rows] for rows in told] == [
        old,
        [*old, ("running", ""), ("log", "after it"), ("log", "and again")],
        old,
    ]
    again = connect(path)
    assert again.pragma("user_version") == SCHEMA_VERSION
    assert again.pragma("integrity_check") == "ok"
    again.close()


MIGRATING = """
import sys
from pathlib import Path
from safelight.store.sqlite import connect, migrate

print("ready", flush=True)
sys.stdin.readline()
for n in range(25):
    connection = connect(Path(sys.argv[1]) / f"{n}.db")
    migrate(connection)
    connection.close()
print("done")
"""


def test_several_processes_migrate_at_once(tmp_path: Path) -> None:
    children = [
        subprocess.Popen(
            [sys.executable, "-c", MIGRATING, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    told = [child.communicate(timeout=30) for child in children]

    assert told == [("done\n", "")] * len(children)
    connection = connect(tmp_path / "0.db")
    assert connection.pragma("user_version") == SCHEMA_VERSION
    connection.close()


def test_every_query_that_a_script_names_is_there() -> None:
    folder = Path(scripts.__file__).parent
    names = ("scripts.py", "hooks.py", "sqlite.py")
    source = "".join(folder.joinpath(name).read_text() for name in names)

    loaded = load_queries()

    assert all(f'"{name}"' in source for name in loaded)
    assert all(";" not in text.rstrip().rstrip(";") for text in loaded.values())


# --------------------------------------------------------------------------- other processes


async def test_a_write_waits_for_another_processes(store: SQLiteStore, path: Path) -> None:
    other = connect(path)
    other.execute("begin immediate")
    other.execute("update keys set revoked = 1")
    waiting = asyncio.create_task(store.write(key(0)))
    done, _ = await asyncio.wait([waiting], timeout=0.05)

    assert not done

    other.execute("commit")
    await waiting
    assert other.execute("select count(*) from keys").get == 1
    other.close()


LOCKING = """
import sys, apsw
other = apsw.Connection(sys.argv[1])
other.execute("begin immediate")
print("locked", flush=True)
sys.stdin.readline()
other.execute("rollback")
"""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process writes in the database, and does not come to an end."""
    with subprocess.Popen(
        [sys.executable, "-c", LOCKING, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        try:
            yield
        finally:
            other.communicate("\n", timeout=30)


async def test_a_database_that_another_process_holds_is_unavailable(path: Path) -> None:
    store = SQLiteStore.open(path, busy=0.2)
    try:
        with locked(path):
            began = time.monotonic()
            writes = (store.write(key(n)) for n in range(KEYS))
            outcomes = await asyncio.gather(*writes, return_exceptions=True)
            took = time.monotonic() - began

            assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}
            assert len({id(outcome) for outcome in outcomes}) == KEYS  # to each his own
            assert not any(getattr(outcome, "unclear", True) for outcome in outcomes)
            assert took < 0.2 * 3 + 2  # they wait together, not one after the other
            with pytest.raises(StoreUnavailable, match="locked"):
                SQLiteStore.open(path, busy=0.1)
            assert await store.read(scripts.list_keys()) == ()
            assert await store.read_aside(scripts.list_keys()) == ()
        await store.write(key(0))
        assert len(await store.read(scripts.list_keys())) == 1
    finally:
        await store.close()


# --------------------------------------------------------------------------------- away


@pytest.fixture
async def handled(path: Path) -> AsyncIterator[Handled]:
    writer = connect(path, busy=0.1)
    migrate(writer)
    opened = Handled(SQLiteStore(path, connect(path), writer), writer)
    yield opened
    await opened.store.close()


@dataclass
class Handled:
    """A store, and the connection that it writes on."""

    store: SQLiteStore
    writer: apsw.Connection


async def test_a_disk_that_is_full_is_unavailable_until_it_is_not(handled: Handled) -> None:
    store, pages = handled.store, handled.writer.pragma("page_count")
    handled.writer.pragma("max_page_count", pages + 1)
    large = scripts.add_key("K", "name", "lookup", "s" * 100_000, NOW)

    gate = threading.Event()
    first = asyncio.create_task(store.write(hold(gate)))
    rest = [asyncio.create_task(store.write(script)) for script in (key(0), large, key(1))]
    await asyncio.sleep(0)  # all share a commit
    gate.set()
    await asyncio.wait([first, *rest])

    assert {type(one.exception()) for one in rest} == {StoreUnavailable}
    assert "full" in str(rest[0].exception())
    assert not any(getattr(one.exception(), "unclear", True) for one in rest)
    assert await store.read(scripts.list_keys()) == ()
    handled.writer.pragma("max_page_count", 2**30)
    for n in range(2):
        await store.write(key(n))
    assert len(await store.read(scripts.list_keys())) == 2


FILLING = """
import asyncio, resource, sys
from pathlib import Path
from safelight.store import StoreUnavailable, scripts
from safelight.store.sqlite import SQLiteStore

def key(n):
    return scripts.add_key(f"K{n}", "name", f"lookup {n}", "s" * 2000, 1)

async def main():
    store = SQLiteStore.open(Path(sys.argv[1]))
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    told = []
    for n in range(200):
        try:
            await store.write(key(n))
        except StoreUnavailable as problem:
            assert problem.unclear, problem
        else:
            told.append(f"K{n}")
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert await store.is_settled(StoreUnavailable("it failed", unclear=True))
    failed = 200 - len(told)
    for n in range(200, 210):
        await store.write(key(n))
        told.append(f"K{n}")
    there = [row.id for row in await store.read(scripts.list_keys())]
    assert sorted(there) == sorted(told), (there, told)
    await store.close()
    print(failed)

asyncio.run(main())
"""


def test_a_disk_that_fails_is_unavailable_and_what_was_answered_is_there(path: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-c", FILLING, str(path)], capture_output=True, text=True, timeout=60
    )

    assert child.returncode == 0, child.stderr
    assert int(child.stdout) > 50
    connection = connect(path)
    assert connection.execute("select count(*) from keys").get == 210 - int(child.stdout)
    assert connection.pragma("integrity_check") == "ok"
    connection.close()


async def test_a_file_that_may_only_be_read_is_unavailable(path: Path) -> None:
    reader = connect(path)
    migrate(reader)
    # What SQLite opens where the file may not be written.
    writer = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    store = SQLiteStore(path, reader, writer)

    with pytest.raises(StoreUnavailable, match="readonly"):
        await store.write(key(0))

    assert await store.read(scripts.list_keys()) == ()
    await store.close()


async def test_a_folder_that_is_gone_is_unavailable_until_it_is_back(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    folder.mkdir()
    store = SQLiteStore.open(folder / "store.db")
    await store.write(key(0))
    folder.rename(elsewhere)

    with pytest.raises(StoreUnavailable, match="removed"):
        await store.write(key(1))
    with pytest.raises(StoreUnavailable):
        await store.read_aside(scripts.list_keys())
    with pytest.raises(StoreUnavailable):
        SQLiteStore.open(folder / "store.db")
    folder.mkdir()
    with pytest.raises(StoreUnavailable):
        await store.read_aside(scripts.list_keys())
    assert list(folder.iterdir()) == []  # no empty database in the place of the one that was there

    folder.rmdir()
    elsewhere.rename(folder)
    await store.write(key(2))
    assert [row.id for row in await store.read_aside(scripts.list_keys())] == ["K0", "K2"]
    await store.close()


async def test_a_transaction_that_could_not_be_undone_is_undone_later(handled: Handled) -> None:
    store, refused = handled.store, list[str]()

    def allow(operation: int, what: str | None, *_: object) -> int:
        if operation == apsw.SQLITE_TRANSACTION and what in ("COMMIT", "ROLLBACK"):
            refused.append(what)
            return apsw.SQLITE_DENY
        return apsw.SQLITE_OK

    handled.writer.authorizer = allow
    for n in range(2):
        with pytest.raises(apsw.AuthError):
            await store.write(key(n))
    handled.writer.authorizer = None

    await store.write(key(2))
    assert refused.count("ROLLBACK") >= 2
    assert [row.id for row in await store.read(scripts.list_keys())] == ["K2"]


def test_of_every_problem_that_sqlite_has_it_is_said_whether_it_is_away() -> None:
    """A new one in apsw is to be thought about, and put into one of the two."""
    found = {kind for kind in vars(apsw).values() if isinstance(kind, type)}
    problems = {kind for kind in found if issubclass(kind, apsw.Error)} - {apsw.Error}
    broken = {f"{name}Error" for name in BROKEN} | {"ExecTraceAbort"}

    assert {kind.__name__ for kind in problems - set(AWAY)} == broken


BROKEN = (
    # A mistake of ours, or of apsw's user.
    *("Abort", "Auth", "Bindings", "ConnectionClosed", "ConnectionNotClosed", "Constraint"),
    *("CursorClosed", "ExecutionComplete", "ExtensionLoading", "ForkingViolation"),
    *("IncompleteExecution", "InvalidContext", "Mismatch", "Misuse", "NoFTS5", "NotFound"),
    *("Range", "SQL", "SchemaChange", "ThreadingViolation", "TooBig", "VFSFileClosed"),
    "VFSNotImplemented",
    # What no waiting mends.
    *("Corrupt", "Empty", "Format", "Internal", "NoLFS", "NotADB"),
)


async def test_changes_are_numbered_on_where_the_last_one_is_gone(tmp_path: Path) -> None:
    store = SQLiteStore.open(tmp_path / "store.db")
    await store.write(scripts.add(task(), ""))
    last = await store.read(scripts.last_change("alice"))
    await store.write(scripts.delete((ID,), "alice", None))
    await store.close()
    await asyncio.sleep(0.002)  # numbers begin with the time, in milliseconds

    store = SQLiteStore.open(tmp_path / "store.db")
    other = new_id(NOW + 1, bytes(6))
    await store.write(scripts.add(task(other), ""))
    told = await store.read(scripts.changes("alice", *last, 9, 0))
    await store.close()

    assert [each.task.id for each in told] == [other]
