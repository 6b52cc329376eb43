"""The store on PostgreSQL: reads that gather, writes that last, and how its schema comes about."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from backends import PostgresServer
from doubles import ID, NOW, task, until
from programs import carry_out
from safelight.postgres import Database
from safelight.store import (
    SCHEMA_VERSION,
    SchemaTooNew,
    StoreClosed,
    StoreUnavailable,
    migrations,
    scripts,
)
from safelight.store.postgres import PostgresStore, migrate
from safelight.store.scripts import ENDED, Accepted, AnyScript, Query, Script, Tell
from safelight.task import Status, new_id

IDS = [new_id(NOW + n, bytes(6)) for n in range(40)]

Open = Callable[[], Awaitable[PostgresStore]]


class Counted(Database):
    """A database whose reads are counted."""

    reads = 0

    async def fetch(self, sql: str, *values: Any) -> list[asyncpg.Record]:
        self.reads += 1
        return await super().fetch(sql, *values)


@pytest.fixture(scope="module")
def own() -> Iterator[PostgresServer]:
    """A server of these tests, which stop it."""
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture
async def url(postgres: PostgresServer) -> AsyncIterator[str]:
    async with postgres.lent() as url:
        yield url


@pytest.fixture
async def open_store(url: str) -> AsyncIterator[Open]:
    """Opens stores of one database, as several processes do."""
    async with AsyncExitStack() as stack:

        async def open_one() -> PostgresStore:
            store = await PostgresStore.open(await Counted.open(url, connections=5))
            stack.push_async_callback(store.close)
            await until(lambda: store.database.hears)
            return store

        yield open_one


@pytest.fixture
async def store(open_store: Open) -> PostgresStore:
    return await open_store()


def reads(store: PostgresStore) -> int:
    assert isinstance(store.database, Counted)
    return store.database.reads


def add(id: str, engine: str | None = None, token: str | None = None) -> AnyScript[Accepted]:
    return scripts.add(task(id, token=token), "", engine=engine)


def key(n: int) -> Script[None]:
    return scripts.add_key(f"K{n}", "name", f"lookup {n}", "secret", NOW)


async def jobs(store: PostgresStore) -> list[str]:
    rows = await store.database.fetch("select dedupe_key from pgqueuer order by id")
    return [row[0] for row in rows]


async def is_there(store: PostgresStore, id: str) -> bool:
    return await store.read(scripts.get_any(id)) is not None


@asynccontextmanager
async def held(url: str) -> AsyncIterator[None]:
    """The table of tasks, locked by somebody else: what is written there waits."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute("lock table safelight.tasks in exclusive mode")
            yield
    finally:
        await connection.close()


async def waiting(url: str, count: int) -> None:
    """Return once that many writes wait for a lock."""
    connection = await asyncpg.connect(url)
    asked = (
        "select count(*) from pg_stat_activity "
        "where datname = current_database() and wait_event_type = 'Lock'"
    )
    async with asyncio.timeout(10):
        while await connection.fetchval(asked) < count:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
    await connection.close()


# --------------------------------------------------------------------------------------- reads


async def test_what_is_asked_for_at_once_is_read_at_once(store: PostgresStore) -> None:
    for id in IDS:
        await store.write(add(id))
    before = reads(store)
    asked = [*IDS, "nothing"] * 20

    found = await asyncio.gather(*(store.get(id, "alice", 0) for id in asked))

    assert [task.id if task else "nothing" for task in found] == asked
    assert reads(store) - before <= 3


async def test_what_is_asked_for_meanwhile_is_read_together(store: PostgresStore) -> None:
    await store.write(add(ID))
    before = reads(store)

    async def ask_on() -> None:
        for _ in range(10):
            assert await store.get(ID, "alice", 0)

    await asyncio.gather(*(ask_on() for _ in range(50)))

    assert reads(store) - before <= 60  # of 500


async def test_a_get_sees_what_another_has_just_committed(open_store: Open) -> None:
    writer, reader = await open_store(), await open_store()
    done = asyncio.Event()

    async def keep_busy() -> None:
        while not done.is_set():
            await reader.get(ID, "alice", 0)

    busy = [asyncio.create_task(keep_busy()) for _ in range(5)]
    for n, id in enumerate(IDS):
        await writer.write(add(id))
        assert await reader.get(id, "alice", 0), n
        await writer.write(scripts.cancel(id, "alice", NOW))
        seen = await reader.get(id, "alice", 0)
        assert seen is not None
        assert seen.status is Status.CANCELED
    done.set()
    await asyncio.gather(*busy)


async def test_a_caller_that_goes_away_takes_nobodys_answer(store: PostgresStore) -> None:
    await store.write(add(ID))
    gone = asyncio.create_task(store.get(ID, "alice", 0))
    stays = asyncio.create_task(store.get(ID, "alice", 0))
    await asyncio.sleep(0)
    gone.cancel()

    assert await stays
    assert await store.get(ID, "alice", 0)


async def test_a_read_does_not_write(store: PostgresStore) -> None:
    with pytest.raises(RuntimeError, match="only reads"):
        await store.read(scripts.enqueue(ID, "sketch"))


# -------------------------------------------------------------------------------------- writes


async def test_a_task_and_its_job_are_there_together_or_not_at_all(store: PostgresStore) -> None:
    def broken(problem: Exception) -> Script[None]:
        yield from add(IDS[1], "sketch")
        raise problem

    def twice() -> Script[None]:
        yield from add(IDS[2], "sketch")
        yield from add(IDS[2], "sketch")

    await store.write(add(IDS[0], "sketch"))
    with pytest.raises(LookupError):
        await store.write(broken(LookupError()))
    with pytest.raises(asyncpg.UniqueViolationError):
        await store.write(twice())

    assert await jobs(store) == [IDS[0]]
    assert [await is_there(store, id) for id in IDS[:3]] == [True, False, False]


async def test_what_waits_together_is_committed_together(store: PostgresStore, url: str) -> None:
    async with held(url):
        first = asyncio.create_task(store.write(add(ID, "sketch")))
        await waiting(url, 1)
        others = [asyncio.create_task(store.write(add(id, "sketch"))) for id in IDS]
        await waiting(url, 2)
    await asyncio.gather(first, *others)

    assert set(await jobs(store)) == {ID, *IDS}
    transactions = "select count(distinct xmin::text) from safelight.tasks"
    assert await ask(url, transactions) == 2  # the one that waited alone, and all the others


async def test_where_a_connection_ends_all_that_were_written_together_are_told(
    store: PostgresStore, url: str
) -> None:
    async with held(url):
        writing = [asyncio.create_task(store.write(add(id, "sketch"))) for id in IDS]
        await waiting(url, 1)
        other = await asyncpg.connect(url)
        await other.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and wait_event_type = 'Lock'"
        )
        await other.close()
        told = await asyncio.gather(*writing, return_exceptions=True)

    assert [type(each) for each in told] == [StoreUnavailable] * len(IDS)
    assert not any([await is_there(store, id) for id in IDS])
    await asyncio.gather(*(store.write(add(id, "sketch")) for id in IDS))
    assert await jobs(store) == sorted(IDS)


async def test_a_task_that_waits_has_one_job(store: PostgresStore) -> None:
    await store.write(add(ID, "sketch"))
    await asyncio.gather(*(store.write(scripts.enqueue(ID, "sketch")) for _ in range(5)))

    assert await jobs(store) == [ID]


async def test_what_is_told_is_heard_once_it_is_committed(open_store: Open) -> None:
    here, there = await open_store(), await open_store()
    heard: list[str] = []
    there.listen(ENDED, heard.append)

    def broken() -> Script[None]:
        yield Tell(ENDED, "never")
        raise LookupError

    with pytest.raises(LookupError):
        await here.write(broken())
    await here.write(add(ID))
    await here.write(scripts.cancel(ID, "alice", NOW))

    await until(lambda: heard)
    assert heard == [ID]


async def test_what_a_caller_that_goes_away_wrote_is_written(
    store: PostgresStore, url: str
) -> None:
    async with held(url):
        writing = asyncio.create_task(store.write(add(ID)))
        await waiting(url, 1)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
    other = await asyncpg.connect(url)
    await store.close()  # waits for it

    assert await other.fetchval("select count(*) from safelight.tasks") == 1
    await other.close()


async def test_closing_waits_for_all_that_is_being_written(open_store: Open, url: str) -> None:
    store, other = await open_store(), await open_store()
    async with held(url):
        # More than there are connections: some wait for one.
        writing = [asyncio.create_task(store.write(add(id, token=id))) for id in IDS]
        await waiting(url, 5)
        closing = asyncio.create_task(store.close())
        await asyncio.sleep(0)
        with pytest.raises(StoreClosed):
            await store.write(add(ID))
        with pytest.raises(StoreClosed):
            await store.get(ID, "alice", 0)
        assert not closing.done()
    await asyncio.gather(closing, *writing)

    assert all([await is_there(other, id) for id in IDS])


async def test_what_was_asked_for_just_before_the_end_is_written(open_store: Open) -> None:
    store, other = await open_store(), await open_store()
    writing = [asyncio.create_task(store.write(add(id))) for id in IDS]
    await asyncio.sleep(0)  # none has reached the database
    await store.close()
    await asyncio.gather(*writing)

    assert all([await is_there(other, id) for id in IDS])


# ------------------------------------------------------------------------------------- version


async def test_a_key_that_another_revokes_changes_the_version(open_store: Open) -> None:
    here, there = await open_store(), await open_store()
    await here.write(key(1))
    before = there.version()
    assert before is not None
    assert there.version() == before
    await here.write(scripts.revoke_key("K1", NOW))

    await until(lambda: there.version() not in (None, before))


async def test_there_is_no_version_while_nothing_is_heard(store: PostgresStore, url: str) -> None:
    before = store.version()
    other = await asyncpg.connect(url)
    await other.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where datname = current_database() and pid <> pg_backend_pid()"
    )
    await other.close()
    await until(lambda: store.version() is None)

    await until(lambda: store.version() is not None)
    assert store.version() != before  # a key may have been revoked meanwhile


# ---------------------------------------------------------------------------------------- away


async def test_a_database_that_is_away_is_told_and_comes_back(own: PostgresServer) -> None:
    store = await PostgresStore.open(await Database.open(await own.create_soon(), connections=3))
    returned: list[int] = []
    store.on_return(lambda: returned.append(1))
    await until(lambda: store.version() is not None)
    await asyncio.gather(*(store.write(add(id)) for id in IDS[:3]))
    await asyncio.to_thread(own.stop)
    try:
        outcomes = await asyncio.gather(
            store.get(IDS[0], "alice", 0),
            store.get(IDS[1], "alice", 0),
            store.read(scripts.count_by_status()),
            store.write(add(ID)),
            return_exceptions=True,
        )
        await until(lambda: store.version() is None)
    finally:
        await asyncio.to_thread(own.start)

    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 4
    assert await store.get(IDS[0], "alice", 0)
    await store.write(add(ID))
    assert await is_there(store, ID)
    await until(lambda: store.version() is not None)
    assert returned
    await store.close()


async def test_a_transaction_whose_connection_ends_is_undone(
    store: PostgresStore, url: str
) -> None:
    def breaking() -> Script[None]:
        yield from add(ID, "sketch")
        yield Query("list_keys", {})

    async with held(url):
        writing = asyncio.create_task(store.write(breaking()))
        await waiting(url, 1)
        other = await asyncpg.connect(url)
        await other.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and wait_event_type = 'Lock'"
        )
        await other.close()
        with pytest.raises(StoreUnavailable):
            await writing

    assert not await is_there(store, ID)
    assert await jobs(store) == []
    await store.write(breaking())
    assert await jobs(store) == [ID]


async def test_who_gives_way_in_a_deadlock_is_told_to_ask_again(
    store: PostgresStore, url: str
) -> None:
    for id in IDS[:2]:
        await store.write(add(id))
    other = await asyncpg.connect(url)
    remove = "delete from safelight.tasks where id = $1"
    async with other.transaction():
        await other.execute(remove, IDS[1])
        deleting = asyncio.create_task(store.write(scripts.delete(tuple(IDS[:2]), "alice", None)))
        await waiting(url, 1)
        await other.execute(remove, IDS[0])  # the one that waits longer gives way
        with pytest.raises(StoreUnavailable, match="deadlock"):
            await deleting
    await other.close()

    assert not any([await is_there(store, id) for id in IDS[:2]])


# ----------------------------------------------------------------------------------- migration


def run_migrate(url: str, data: Path) -> tuple[int, str]:
    """What the command answers, and all that it says."""
    words = ("migrate", "--database", url, "--data", str(data))
    done = carry_out(*words, env=os.environ, cwd=data.parent, timeout=90)
    return done.returncode, done.stdout + done.stderr


async def ask(url: str, sql: str) -> Any:
    connection = await asyncpg.connect(url, server_settings={"search_path": "safelight"})
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def test_ten_processes_migrate_an_empty_database_at_once(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    url = await postgres.create_soon(migrated=False)
    with ThreadPoolExecutor(10) as starting:
        ended = [*starting.map(run_migrate, [url] * 10, [tmp_path / "data"] * 10)]

    assert [code for code, _ in ended] == [0] * 10, ended
    assert all(f"schema {SCHEMA_VERSION}" in output for _, output in ended)
    versions = await ask(url, "select array_agg(version order by version) from schema_version")
    assert versions == list(range(1, SCHEMA_VERSION + 1))
    for table in ("tasks", "chores", "pgqueuer", "pgqueuer_log", "pgqueuer_statistics"):
        assert await ask(url, f"select count(*) from safelight.{table}") == 0
    public = "select count(*) from pg_tables where schemaname = 'public'"
    assert await ask(url, public) == 0


async def test_a_newer_schema_is_refused(url: str, tmp_path: Path) -> None:
    newer = SCHEMA_VERSION + 1
    await ask(url, f"insert into schema_version values ({newer})")

    code, output = run_migrate(url, tmp_path / "data")

    assert code == 1
    assert f"the database has schema {newer}" in " ".join(output.split())
    assert "Traceback" not in output
    database = await Database.open(url, connections=1)
    with pytest.raises(SchemaTooNew):
        await PostgresStore.open(database)
    await database.close()


async def test_an_older_database_is_brought_up_with_what_is_in_it(postgres: PostgresServer) -> None:
    url = await postgres.create_soon(migrated=False)
    first = dict(migrations())[1]
    await ask(url, "create schema safelight")
    connection = await asyncpg.connect(url, server_settings={"search_path": "safelight"})
    await connection.execute("create table schema_version (version integer not null)")
    await connection.execute(first)
    await connection.execute("insert into schema_version values (1)")
    await connection.execute(
        "insert into tasks (id, owner, kind, dialect, status, submit, created, updated) "
        "values ($1, 'alice', 'image', 'tensorslab', 'running', $2, $3, $3)",
        ID,
        '{"kind": "image", "model": "still", "prompt": "a lighthouse"}',
        NOW,
    )
    for n, what in enumerate(("queued", "running")):
        await connection.execute(
            "insert into events (task_id, at, what, attempt, note) values ($1, $2, $3, 0, '')",
            ID,
            NOW + n,
            what,
        )
    await connection.close()

    store = await PostgresStore.open(await Database.open(url, connections=2))

    found = await store.get(ID, "alice", 0)
    assert found is not None
    assert found.submit.prompt == "a lighthouse"
    await store.write(scripts.cancel(ID, "alice", NOW + 2))
    events = [event.what for event in await store.read(scripts.events(ID))]
    assert events == ["queued", "running", "canceled"]
    assert await store.write(scripts.claim_chore("sweep", NOW, 1))
    await store.write(add(IDS[0], "sketch"))
    assert await jobs(store) == [IDS[0]]
    await store.close()
    assert await ask(url, "select max(version) from schema_version") == SCHEMA_VERSION


async def test_a_change_that_began_first_and_is_committed_last_is_not_missed(
    postgres: PostgresServer,
) -> None:
    async with postgres.lent() as url:
        store = await PostgresStore.open(await Database.open(url, connections=3))
        await store.write(add(IDS[0], "sketch"))
        await store.write(add(IDS[1], "sketch"))
        first, last = await store.read(scripts.changes("alice", 0, "", 10, 0))
        slow = await asyncpg.connect(url, server_settings={"search_path": "safelight"})
        changing = "update tasks set status = 'running', change = txid_current() where id = $1"
        async with slow.transaction():
            await slow.execute(changing, IDS[0])  # its number is the lower one
            await store.write(scripts.claim(IDS[1], "w", NOW))

            # What came after it is held back, for whoever went on after it would miss the slow one.
            assert await store.read(scripts.changes("alice", last.change, last.task.id, 9, 0)) == ()
        told = await store.read(scripts.changes("alice", last.change, last.task.id, 9, 0))
        await slow.close()
        await store.close()

    assert [each.task.id for each in told] == [IDS[0], IDS[1]]
    assert first.change < last.change < told[0].change < told[1].change


async def test_a_migration_that_breaks_leaves_nothing(postgres: PostgresServer) -> None:
    url = await postgres.create_soon(migrated=False)
    await ask(url, "create schema safelight")
    await ask(url, "create table chores (mine integer)")  # in the way of the second migration
    database = await Database.open(url, connections=1)

    with pytest.raises(asyncpg.DuplicateTableError):
        await migrate(database)
    assert await ask(url, "select to_regclass('tasks')") is None

    await ask(url, "drop table chores")
    await migrate(database)
    assert await ask(url, "select count(*) from tasks") == 0
    await database.close()


async def test_a_role_that_may_create_nothing_works_where_all_is_there(url: str) -> None:
    role = f"r{uuid.uuid4().hex[:12]}"
    owner = await asyncpg.connect(url)
    await owner.execute(f"""
        create role {role} login;
        grant usage on schema safelight to {role};
        grant select, insert, update, delete on all tables in schema safelight to {role};
        grant usage on all sequences in schema safelight to {role};
    """)
    database = await Database.open(url.replace("postgres@", f"{role}@"), connections=2)
    try:
        store = await PostgresStore.open(database)
        await store.write(add(ID, "sketch"))
        assert await store.get(ID, "alice", 0)
        assert await jobs(store) == [ID]
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await database.fetch("create table mine (n integer)")
    finally:
        await store.close()
        await owner.execute(f"drop owned by {role}; drop role {role};")
        await owner.close()


async def test_after_a_restore_into_another_server_changes_are_numbered_anew(
    postgres: PostgresServer,
) -> None:
    """Its transactions have lower numbers than those of the server that the rows come from."""
    async with postgres.lent() as url:
        store = await PostgresStore.open(await Database.open(url))
        same = await PostgresStore.open(await Database.open(url))
        await store.write(add(IDS[0], "sketch"))
        await store.write(add(IDS[1], "sketch"))
        await ask(url, "update tasks set change = change + 1000000000")
        before = await ask(url, "select max(change) from tasks")
        assert await store.read(scripts.is_to_come(before))
        await store.close()

        restored = await PostgresStore.open(await Database.open(url))
        again = await PostgresStore.open(await Database.open(url))
        assert same.feed == store.feed != restored.feed == again.feed
        now = await restored.read(scripts.last_change("alice"))
        assert not await restored.read(scripts.is_to_come(now[0]))
        await restored.write(scripts.cancel(IDS[0], "alice", NOW))
        told = await restored.read(scripts.changes("alice", *now, 9, 0))
        everything = await restored.read(scripts.changes("alice", 0, "", 9, 0))
        for each in (same, restored, again):
            await each.close()

    assert [each.task.id for each in told] == [IDS[0]]
    assert [each.task.id for each in everything] == [IDS[1], IDS[0]]
