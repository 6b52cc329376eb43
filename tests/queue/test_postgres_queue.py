"""The queue on PostgreSQL: who is given what, and what becomes of a job whose worker goes."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta

import pytest

from backends import PostgresServer
from doubles import ID, NOW, task, until
from safelight.postgres import Database
from safelight.queue import Lane, Leave
from safelight.queue.postgres import PostgresQueue, misplaced, move, sweep_log, unqueued
from safelight.store import scripts
from safelight.store.groups import enqueue
from safelight.store.postgres import PostgresStore
from safelight.store.scripts import Enqueue
from safelight.task import new_id

LONG, SHORT = 60.0, 2.0  # heartbeats: one that no test sees the end of, and one that it waits for
AT_ONCE = 2.0  # seconds: far from the third of `LONG` after which a worker looks of its own accord

ONE = [Lane(("sketch",), 1)]

Open = Callable[[], Awaitable[Database]]


class Work:
    """Records what was handed out, for which engine; `gate` lets it end, `done` says how."""

    def __init__(self, done: bool = True) -> None:
        self.began: list[str] = []
        self.engines: dict[str, str] = {}
        self.ended: list[str] = []
        self.at_once = 0
        self.most_at_once = 0
        self.done = done
        self.gate = asyncio.Event()

    async def __call__(self, task_id: str, engine: str, leave: Leave) -> bool:
        self.began.append(task_id)
        self.engines[task_id] = engine
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await self.gate.wait()
        self.at_once -= 1
        self.ended.append(task_id)
        return self.done


@pytest.fixture
async def work() -> Work:
    return Work()


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
async def open_database(url: str) -> AsyncIterator[Open]:
    """Opens the database, as several processes do."""
    async with AsyncExitStack() as stack:

        async def open_one() -> Database:
            database = await Database.open(url, connections=4)
            stack.push_async_callback(database.close)
            return database

        yield open_one


@pytest.fixture
async def database(open_database: Open) -> Database:
    return await open_database()


@asynccontextmanager
async def running(
    database: Database,
    work: Work,
    places: int = 1,
    engines: tuple[str, ...] = ("sketch",),
    *more: Lane,
    heartbeat: float = LONG,
) -> AsyncIterator[PostgresQueue]:
    """A queue that runs and hears, and is stopped at the end."""
    queue = PostgresQueue(database, heartbeat)
    run = asyncio.create_task(queue.run(work, [Lane(engines, places), *more]))
    try:
        await until(lambda: database.hears)
        yield queue
    finally:
        queue.stop()
        work.gate.set()
        await asyncio.wait_for(run, 20)


async def put(database: Database, *ids: str, engine: str = "sketch", priority: int = 0) -> None:
    async with database.acquire() as connection, connection.transaction():
        for id in ids:
            await enqueue(connection, [Enqueue(id, engine, priority)])


async def jobs(database: Database, status: str = "%") -> list[str]:
    """The tasks that have a job, in the order of the jobs."""
    asked = "select dedupe_key from pgqueuer where status::text like $1 order by id"
    return [row[0] for row in await database.fetch(asked, status)]


async def until_jobs(database: Database, expected: list[str], status: str = "%") -> None:
    async with asyncio.timeout(20):
        while await jobs(database, status) != expected:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)


# ------------------------------------------------------------------------------ who gets what


async def test_what_was_put_before_and_after_is_handed_out_and_removed(
    database: Database, work: Work
) -> None:
    await put(database, "a")
    work.gate.set()
    async with running(database, work):
        await until(lambda: work.began == ["a"])
        await put(database, "b")
        await until(lambda: work.began == ["a", "b"])
        await until_jobs(database, [])


async def test_a_worker_gets_the_jobs_of_its_engines_and_no_others(
    open_database: Open, work: Work
) -> None:
    here, there, other = await open_database(), await open_database(), Work()
    work.gate.set()
    other.gate.set()
    async with running(here, work, 4, ("sketch", "enhance")), running(there, other, 4, ("film",)):
        await put(here, "a", engine="sketch")
        await put(here, "b", engine="film")
        await put(here, "c", engine="enhance")
        await put(here, "d", engine="nobody's")
        await until_jobs(here, ["d"])

    assert sorted(work.began) == ["a", "c"]
    assert other.began == ["b"]


async def test_the_first_in_is_the_first_out_and_a_higher_priority_before_it(
    database: Database, work: Work
) -> None:
    await put(database, "a", "b")
    await put(database, "c", engine="enhance")
    await put(database, "urgent", engine="enhance", priority=5)
    work.gate.set()
    async with running(database, work, 1, ("sketch", "enhance")):
        await until(lambda: len(work.began) == 4)

    assert work.began == ["urgent", "a", "b", "c"]


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_a_worker_holds_no_more_than_it_runs(
    database: Database, work: Work, concurrency: int
) -> None:
    names = [str(n) for n in range(8)]
    await put(database, *names)
    async with running(database, work, concurrency):
        await until(lambda: len(work.began) == concurrency)
        await put(database, "late")  # tells the worker once more
        assert await jobs(database, "picked") == names[:concurrency]
        work.gate.set()
        await until(lambda: len(work.began) == 9)
        await until_jobs(database, [])

    assert work.most_at_once == concurrency


async def test_a_place_that_is_left_early_is_anothers(database: Database, work: Work) -> None:
    async def leaves(task_id: str, engine: str, leave: Leave) -> bool:
        if task_id == "a":
            leave()
        return await work(task_id, engine, leave)

    await put(database, "a", "b", "c")
    queue = PostgresQueue(database, 30)
    run = asyncio.create_task(queue.run(leaves, [Lane(("sketch",), 1)]))
    await until(lambda: len(work.began) == 2)
    assert await jobs(database, "picked") == ["a", "b"]  # its job is its own until it ends
    work.gate.set()
    await until_jobs(database, [])
    queue.stop()
    await asyncio.wait_for(run, 20)
    assert work.began == ["a", "b", "c"]


async def test_two_workers_share_and_neither_gets_what_the_other_has(
    open_database: Open, work: Work
) -> None:
    here, there, other = await open_database(), await open_database(), Work()
    names = [f"{n:02}" for n in range(40)]
    work.gate.set()
    other.gate.set()
    async with running(here, work, 3), running(there, other, 3):
        await put(here, *names)
        await until_jobs(here, [])

    assert sorted(work.began + other.began) == names


async def test_a_worker_that_waits_is_woken_at_once(database: Database, work: Work) -> None:
    work.gate.set()
    async with running(database, work):
        for n in range(5):
            await until_jobs(database, [])
            await put(database, str(n))
            await until(lambda: len(work.began) > n, AT_ONCE)  # noqa: B023 - called here


async def test_a_job_that_was_put_while_nothing_was_heard_is_found(
    open_database: Open, work: Work
) -> None:
    here, there = await open_database(), await open_database()
    work.gate.set()
    async with running(here, work):
        await there.fetch(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()"
        )
        await until(lambda: not here.hears)
        await put(there, "a")
        await until(lambda: work.began == ["a"])


async def test_work_that_raises_does_not_stop_the_queue(database: Database) -> None:
    seen: list[str] = []

    async def work(task_id: str, engine: str, leave: Leave) -> bool:
        seen.append(task_id)
        if task_id == "bad":
            raise RuntimeError("this one")
        return True

    await put(database, "bad", "good")
    queue = PostgresQueue(database, LONG)
    run = asyncio.create_task(queue.run(work, ONE))
    await until(lambda: seen == ["bad", "good"])
    await until_jobs(database, [])
    queue.stop()
    await asyncio.wait_for(run, 5)


# --------------------------------------------------------------------------------------- lanes


async def test_an_engine_with_places_of_its_own_is_not_held_up(
    database: Database, work: Work
) -> None:
    long, short = [f"long {n}" for n in range(15)], [f"short {n}" for n in range(5)]
    await put(database, *long, engine="slow")
    await put(database, *short)
    async with running(database, work, 2, ("slow",), Lane(("sketch",), 3)):
        await until(lambda: len(work.began) == 5)
        await put(database, "late", engine="slow")  # tells the worker once more
        assert sorted(work.began) == [*long[:2], *short[:3]]
        assert await jobs(database, "picked") == [*long[:2], *short[:3]]
        assert (work.engines["long 0"], work.engines["short 0"]) == ("slow", "sketch")
        work.gate.set()
        await until(lambda: len(work.began) == 21)
        await until_jobs(database, [])
    assert work.most_at_once <= 5


async def test_a_lane_that_is_full_wakes_up_for_the_others_at_once(
    database: Database, work: Work
) -> None:
    await put(database, "a", "b", engine="slow")
    async with running(database, work, 1, ("slow",), Lane(("sketch",), 1)):
        await until(lambda: work.began == ["a"])
        await put(database, "c", "d")
        await until(lambda: work.began == ["a", "c"], AT_ONCE)
        assert await jobs(database, "queued") == ["b", "d"]


async def test_engines_of_one_lane_share_its_places(database: Database, work: Work) -> None:
    names = [str(n) for n in range(8)]
    for n, name in enumerate(names):
        await put(database, name, engine="sketch" if n % 2 else "enhance")
    async with running(database, work, 3, ("enhance", "sketch"), Lane(("slow",), 30)):
        await until(lambda: len(work.began) == 3)
        await put(database, "late")  # tells the worker once more
        assert await jobs(database, "picked") == names[:3]
        work.gate.set()
        await until_jobs(database, [])
    assert work.most_at_once == 3


async def test_many_places_are_filled_and_no_more_is_held(database: Database, work: Work) -> None:
    names = [f"{n:02}" for n in range(60)]
    await put(database, *names)
    async with running(database, work, 25):
        await until(lambda: len(work.began) == 25)
        await put(database, "late")  # tells the worker once more
        assert sorted(work.began) == names[:25]
        assert await jobs(database, "picked") == names[:25]
        work.gate.set()
        await until_jobs(database, [])
    assert work.most_at_once == 25


# --------------------------------------------------------------------------- stop, give back


async def test_stop_waits_for_what_runs_and_takes_no_more(database: Database, work: Work) -> None:
    await put(database, "a", "b", "c")
    queue = PostgresQueue(database, LONG)
    run = asyncio.create_task(queue.run(work, ONE))
    await until(lambda: work.began)
    queue.stop()
    done, _ = await asyncio.wait([run], timeout=0.1)
    assert not done
    work.gate.set()
    await asyncio.wait_for(run, 5)

    assert work.ended == ["a"]
    assert await jobs(database) == ["b", "c"]
    assert await jobs(database, "picked") == []


async def test_a_queue_that_was_stopped_before_it_ran_hands_out_nothing(
    database: Database, work: Work
) -> None:
    await put(database, "a")
    queue = PostgresQueue(database, LONG)
    queue.stop()
    await asyncio.wait_for(queue.run(work, ONE), 5)

    assert work.began == []
    assert await jobs(database, "queued") == ["a"]


async def test_what_is_given_back_is_another_workers_at_once(open_database: Open) -> None:
    here, there, other = await open_database(), await open_database(), Work()
    leaving = Work(done=False)
    other.gate.set()
    async with running(here, leaving) as queue:
        await put(here, "a")
        await until(lambda: leaving.began == ["a"])
        async with running(there, other):
            await put(there, "b")
            await until_jobs(there, ["a"])
            await asyncio.sleep(0.2)  # the other has looked and waits, so that it is to be told
            queue.stop()
            leaving.gate.set()
            await until(lambda: other.began == ["b", "a"], AT_ONCE)
            await until_jobs(there, [])


async def test_what_is_given_back_is_taken_again(database: Database) -> None:
    work = Work(done=False)
    work.gate.set()
    async with running(database, work):
        await put(database, "a")
        await until(lambda: len(work.began) == 3)
        work.done = True
        await until_jobs(database, [])

    assert work.most_at_once == 1


# -------------------------------------------------------------------------------------- deaths

# A worker in a process of its own. Its work ends, well or not, when it reads a line.
CHILD = """
import asyncio, sys
from safelight.postgres import Database
from safelight.queue import Lane
from safelight.queue.postgres import PostgresQueue

async def main(url, heartbeat):
    database = await Database.open(url, connections=2)
    queue = PostgresQueue(database, heartbeat)

    async def work(task_id, engine, leave):
        print("began", task_id, flush=True)
        line = await asyncio.to_thread(sys.stdin.readline)
        queue.stop()
        return line.strip() == "done"

    await queue.run(work, [Lane(("sketch",), 1)])
    await database.close()
    print("ended", flush=True)

asyncio.run(main(sys.argv[1], float(sys.argv[2])))
"""


@pytest.fixture
async def child(url: str, database: Database) -> AsyncIterator[subprocess.Popen[str]]:
    """A worker in another process that has begun with the job `a`."""
    await put(database, "a")
    process = subprocess.Popen(  # noqa: ASYNC220 - it does not block for long
        [sys.executable, "-c", CHILD, url, str(SHORT)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "began a\n"
        yield process
    finally:
        process.kill()
        with suppress(BrokenPipeError):
            process.communicate()


async def test_the_job_of_a_worker_that_died_is_anothers(
    child: subprocess.Popen[str], database: Database, work: Work
) -> None:
    async with running(database, work, heartbeat=SHORT):
        child.kill()
        await until(lambda: work.began == ["a"])
        work.gate.set()
        await until_jobs(database, [])


async def test_the_job_of_a_worker_that_beats_is_its_own(
    child: subprocess.Popen[str], database: Database, work: Work
) -> None:
    async with running(database, work, heartbeat=SHORT):
        await asyncio.sleep(1.5 * SHORT)  # were it not to beat, it would be taken for dead
        assert work.began == []
        await asyncio.to_thread(child.communicate, "done\n", 20)
        await until_jobs(database, [])
    assert work.began == []


@pytest.mark.parametrize("end", ["done", "given back"])
async def test_a_worker_that_was_taken_for_dead_leaves_its_job_alone(
    child: subprocess.Popen[str], database: Database, work: Work, end: str
) -> None:
    async with running(database, work, heartbeat=SHORT):
        child.send_signal(signal.SIGSTOP)
        await until(lambda: work.began == ["a"])
        child.send_signal(signal.SIGCONT)
        output, _ = await asyncio.to_thread(child.communicate, f"{end}\n", 20)
        assert output == "ended\n"

        assert await jobs(database, "picked") == ["a"]
        assert work.at_once == 1
        work.gate.set()
        await until_jobs(database, [])
    assert work.began == ["a"]


# ------------------------------------------------------------------------------------- outages


@pytest.mark.parametrize("ends", ["while it is away", "after it is back"])
async def test_a_database_that_restarts_under_a_job_stops_nothing(
    own: PostgresServer, work: Work, ends: str
) -> None:
    database = await Database.open(await own.create_soon(), connections=3)
    async with running(database, work, 2):
        await put(database, "a", "b", "c")
        await until(lambda: work.began == ["a", "b"])
        await asyncio.to_thread(own.stop)
        if ends == "while it is away":
            work.gate.set()
            await until(lambda: work.ended == ["a", "b"])
        await asyncio.to_thread(own.start)
        work.gate.set()
        await until(lambda: work.ended == ["a", "b", "c"])
        await until_jobs(database, [])
        await put(database, "d")
        await until(lambda: work.ended == ["a", "b", "c", "d"])
        await until_jobs(database, [])
    await database.close()


async def test_a_stop_does_not_wait_long_for_a_database_that_is_away(
    own: PostgresServer, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safelight.queue.postgres._STOPPING_SECONDS", 0.6)
    database = await Database.open(await own.create_soon(), connections=3)
    await put(database, "a", "b")
    queue = PostgresQueue(database, SHORT)
    run = asyncio.create_task(queue.run(work, ONE))
    await until(lambda: work.began == ["a"])
    await asyncio.to_thread(own.stop)
    try:
        queue.stop()
        began = time.monotonic()
        work.gate.set()
        await asyncio.wait_for(run, 15)
        assert time.monotonic() - began < 8
    finally:
        await asyncio.to_thread(own.start)

    assert work.ended == ["a"]
    again = Work()  # whoever comes next takes up both
    again.gate.set()
    async with running(database, again, heartbeat=SHORT):
        await until_jobs(database, [])
    assert sorted(again.began) == ["a", "b"]
    await database.close()


# ------------------------------------------------------------------------------ what is missing


@pytest.fixture
async def store(database: Database) -> PostgresStore:
    return PostgresStore(database)


async def test_unfinished_tasks_without_a_job_are_found_in_order(
    store: PostgresStore, database: Database
) -> None:
    ids = [new_id(NOW + n, bytes(6)) for n in range(6)]
    for id in ids:
        await store.write(scripts.add(task(id), "", engine="sketch"))
    await store.write(scripts.claim(ids[3], "w", NOW))
    await store.write(scripts.cancel(ids[4], "alice", NOW))
    assert await unqueued(database, "", 10) == []
    await database.fetch("delete from pgqueuer where dedupe_key <> $1 returning 1", ids[0])

    assert await unqueued(database, "", 10) == [ids[1], ids[2], ids[3], ids[5]]
    assert await unqueued(database, "", 2) == ids[1:3]
    assert await unqueued(database, ids[2], 10) == [ids[3], ids[5]]


async def test_jobs_of_engines_that_are_gone_are_found(database: Database) -> None:
    await put(database, "a", engine="sketch")
    for name in ("waits", "lost", "runs"):
        await put(database, name, engine="old")
    beaten = "update pgqueuer set status = 'picked', heartbeat = now() - $2::interval"
    for name, ago in (("lost", 100), ("runs", 10)):
        sql = f"{beaten} where dedupe_key = $1 returning id"
        await database.fetch(sql, name, timedelta(seconds=ago))

    assert await misplaced(database, ["sketch"], 60, 10) == ["lost"]  # the other is too new
    await database.fetch(
        "update pgqueuer set heartbeat = now() - $2::interval where dedupe_key = $1 returning id",
        "waits",
        timedelta(seconds=100),
    )
    assert sorted(await misplaced(database, ["sketch"], 60, 10)) == ["lost", "waits"]
    assert len(await misplaced(database, ["sketch"], 60, 1)) == 1
    assert await misplaced(database, ["old", "sketch"], 60, 10) == []


async def test_a_job_that_is_moved_is_run_at_once(database: Database, work: Work) -> None:
    work.gate.set()
    async with running(database, work):
        await put(database, "a", engine="old")
        await move(database, "a", "sketch")
        await until(lambda: work.began == ["a"], AT_ONCE)


async def test_the_log_is_swept_of_what_is_old(database: Database) -> None:
    await put(database, ID, "b")
    await database.fetch(
        "update pgqueuer_log set created = now() - interval '2 days' "
        "where job_id = (select id from pgqueuer where dedupe_key = $1) returning 1",
        ID,
    )
    await sweep_log(database, 1.0)

    rows = await database.fetch(
        "select dedupe_key from pgqueuer_log join pgqueuer on pgqueuer.id = job_id"
    )
    assert [row[0] for row in rows] == ["b"]
