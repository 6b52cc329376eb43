"""A PostgreSQL database that starts late, goes away and comes back, and what is heard of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest
from structlog.testing import capture_logs

from backends import PostgresServer
from doubles import until
from safelight.postgres import Database, DatabaseGone, without_password

TERMINATE = (
    "select pg_terminate_backend(pid) from pg_stat_activity "
    "where datname = current_database() and pid <> pg_backend_pid()"
)


@pytest.fixture(scope="module")
def own() -> Iterator[PostgresServer]:
    """A server of these tests, which stop it."""
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture
async def database(postgres: PostgresServer) -> AsyncIterator[Database]:
    opened = await Database.open(await postgres.create_soon(migrated=False), connections=3)
    yield opened
    await opened.close()


async def terminate(database: Database) -> None:
    """Have the server end all connections to the database, as an administrator does."""
    connection = await asyncpg.connect(database._url)
    await connection.execute(TERMINATE)
    await connection.close()


async def notify(database: Database, channel: str, payload: str) -> None:
    await database.fetch("select pg_notify($1, $2)", channel, payload)


async def fill(database: Database) -> None:
    """Have all connections of the pool open."""
    await asyncio.gather(*(database.fetch("select pg_sleep(0.05)") for _ in range(3)))


# ---------------------------------------------------------------------------------------- open


async def test_a_server_that_is_still_starting_is_waited_for(own: PostgresServer) -> None:
    own.stop()
    opening = asyncio.create_task(Database.open(own.url(), connections=1))
    try:
        await asyncio.sleep(0)
    finally:
        await asyncio.to_thread(own.start)
    database = await opening

    assert [row[0] for row in await database.fetch("select 1")] == [1]
    await database.close()


async def test_a_server_that_does_not_start_is_given_up(own: PostgresServer) -> None:
    own.stop()
    began = time.monotonic()
    try:
        with pytest.raises(DatabaseGone, match=r"within 0\.3 seconds"):
            await Database.open(own.url(), patience=0.3)
    finally:
        took = time.monotonic() - began
        own.start()

    assert 0.3 <= took < 3


async def test_what_is_no_address_and_no_database_is_told_at_once(own: PostgresServer) -> None:
    began = time.monotonic()
    for wrong in ("localhost:none/tasks", "localhost/tasks?sslmode=perhaps"):
        with pytest.raises(ValueError, match=r"none|sslmode"):
            await Database.open(f"postgresql://{wrong}")
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await Database.open(own.url("nowhere"))

    assert time.monotonic() - began < 5


# ------------------------------------------------------------------------------------- queries


@pytest.mark.parametrize("noticed", [True, False])
async def test_a_read_outlives_a_restart(own: PostgresServer, noticed: bool) -> None:
    database = await Database.open(own.url(), connections=3)
    await fill(database)
    if noticed:
        await asyncio.to_thread(own.restart)
    else:
        own.restart()  # holds up the loop: all connections look alive

    rows = await asyncio.gather(*(database.fetch("select $1::int", n) for n in range(6)))

    assert [row[0][0] for row in rows] == list(range(6))
    await database.close()


async def test_a_read_outlives_the_end_of_its_connections(database: Database) -> None:
    await fill(database)
    for _ in range(3):
        await terminate(database)
        assert (await database.fetch("select 7"))[0][0] == 7


async def test_a_read_whose_connection_ends_under_it_is_made_again(database: Database) -> None:
    other = await asyncpg.connect(database._url)
    await other.execute("select pg_advisory_lock(7)")
    reading = asyncio.create_task(database.fetch("select pg_advisory_xact_lock(7), 7"))
    end = (
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where datname = current_database() and wait_event_type = 'Lock'"
    )
    async with asyncio.timeout(10):
        while not await other.fetch(end):  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.01)
    assert not reading.done()
    await other.close()

    assert (await reading)[0][1] == 7


async def test_a_connection_that_goes_in_the_middle_is_told(database: Database) -> None:
    with pytest.raises(DatabaseGone):
        async with database.acquire() as connection:
            await terminate(database)
            await connection.execute("select 1")

    assert (await database.fetch("select 7"))[0][0] == 7


async def test_a_query_that_is_wrong_is_not_the_databases_absence(database: Database) -> None:
    with pytest.raises(asyncpg.UndefinedTableError):
        await database.fetch("select 1 from nothing")
    with pytest.raises(asyncpg.DataError):
        await database.fetch("select $1::int", "seven")


async def test_a_database_that_is_away_is_told(own: PostgresServer) -> None:
    database = await Database.open(own.url(), connections=2)
    await asyncio.to_thread(own.stop)
    try:
        with pytest.raises(DatabaseGone):
            await database.fetch("select 1")
    finally:
        await asyncio.to_thread(own.start)

    assert (await database.fetch("select 7"))[0][0] == 7
    await database.close()


async def test_closing_does_not_wait_for_what_runs_long(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safelight.postgres._CONNECT_SECONDS", 0.3)
    reading = asyncio.create_task(database.fetch("select pg_sleep(60)"))
    await until(lambda: database.pool.get_idle_size() == 0)
    began = time.monotonic()

    await database.close()

    with pytest.raises(DatabaseGone):
        await reading
    assert time.monotonic() - began < 5


# ----------------------------------------------------------------------------------- listening


async def test_notices_are_heard_also_on_channels_added_later(database: Database) -> None:
    first: list[str] = []
    second: list[str] = []
    assert not database.hears
    database.listen("one", first.append)
    await until(lambda: database.hears)
    database.listen("two", second.append)
    database.listen("one", second.append)  # another who listens to the same
    await until(lambda: database.hears)
    await notify(database, "one", "a")
    await notify(database, "two", "b")

    await until(lambda: len(second) == 2)
    assert (first, second) == (["a"], ["a", "b"])


async def test_channels_may_be_added_at_any_moment_of_the_beginning(database: Database) -> None:
    heard: list[str] = []
    channels: list[str] = []

    def add() -> bool:
        channels.append(f"channel_{len(channels)}")
        database.listen(channels[-1], heard.append)
        return database.hears or len(channels) == 50

    with capture_logs() as logs:
        await until(add)
        await until(lambda: database.hears)
        for channel in channels:
            await notify(database, channel, channel)
        await until(lambda: len(heard) == len(channels))

    assert heard == channels
    assert logs == []


@pytest.mark.parametrize("end", ["connections", "server"])
async def test_hearing_ends_and_begins_again_with_the_database(
    own: PostgresServer, end: str
) -> None:
    database = await Database.open(own.url(), connections=2)
    heard: list[str] = []
    returns: list[bool] = []
    database.on_return(lambda: returns.append(database.hears))
    database.listen("one", heard.append)
    await until(lambda: database.hears)
    assert returns == [True]

    if end == "server":
        await asyncio.to_thread(own.stop)
        await until(lambda: not database.hears)
        await asyncio.to_thread(own.start)
    else:
        await terminate(database)
        await until(lambda: not database.hears)
    await until(lambda: database.hears)
    await notify(database, "one", "a")

    await until(lambda: heard)
    assert heard == ["a"]
    assert returns == [True, True]
    await database.close()
    assert not database.hears


async def test_who_listens_badly_disturbs_nobody(database: Database) -> None:
    heard: list[str] = []
    returns: list[int] = []

    def broken(payload: str = "") -> None:
        raise RuntimeError("this one")

    database.on_return(broken)
    database.on_return(lambda: returns.append(1))
    database.listen("one", broken)
    database.listen("one", heard.append)
    await until(lambda: database.hears)
    await notify(database, "one", "a")
    await notify(database, "one", "b")

    await until(lambda: len(heard) == 2)
    assert returns == [1]
    assert database.hears


# ----------------------------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    "url, told",
    [
        ("postgresql://me:secret@db.example:5433/tasks", "postgresql://db.example:5433/tasks"),
        ("postgres://me:s%40cret@db.example/tasks", "postgres://db.example/tasks"),
        ("postgresql://me:s@cret@db.example/tasks", "postgresql://db.example/tasks"),
        ("postgresql://db.example/tasks?password=secret", "postgresql://db.example/tasks"),
        ("postgresql://me:secret@/tasks?host=/run/pg", "postgresql:///run/pg/tasks"),
        ("postgresql:///tasks?host=/run/pg&password=secret", "postgresql:///run/pg/tasks"),
        ("postgresql://me:sec/ret@db.example/tasks", "postgresql://..."),
        ("postgresql://me:sec?ret@db.example/tasks", "postgresql://..."),
        ("postgresql://me:sec#ret@db.example/tasks", "postgresql://..."),
    ],
)
def test_an_address_is_told_without_its_password(url: str, told: str) -> None:
    assert without_password(url) == told
