"""What the queue on PostgreSQL has lost is found again, by one of all processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from backends import PostgresServer
from doubles import NOW, Player, models_of, task
from safelight.clock import now_millis
from safelight.config import ModelRule
from safelight.postgres import Database
from safelight.server.recovery import PostgresRecovery
from safelight.store import StoreUnavailable, scripts
from safelight.store.postgres import PostgresStore
from safelight.task import FailureCode, Status, Task, new_id

IDS = [new_id(NOW + n, bytes(6)) for n in range(5)]
ENGINE = Player.name

Open = Callable[[], Awaitable[PostgresStore]]


@pytest.fixture
async def open_store(postgres: PostgresServer) -> AsyncIterator[Open]:
    """Opens stores of one database, as several processes do."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(postgres.lent())

        async def open_one() -> PostgresStore:
            store = await PostgresStore.open(await Database.open(url, connections=3))
            stack.push_async_callback(store.close)
            return store

        yield open_one


@pytest.fixture
async def store(open_store: Open) -> PostgresStore:
    return await open_store()


def recovery(store: PostgresStore, *rules: ModelRule, every: float = 60) -> PostgresRecovery:
    return PostgresRecovery(store, store.database, models_of(Player(), *rules), every)


async def add(store: PostgresStore, *ids: str, engine: str = ENGINE) -> None:
    for id in ids:
        await store.write(scripts.add(task(id), "", engine=engine))


async def jobs(store: PostgresStore) -> dict[str, str]:
    """The engines whose queue the tasks are in."""
    rows = await store.database.fetch("select dedupe_key, entrypoint from pgqueuer order by id")
    return {row[0]: row[1] for row in rows}


async def age(store: PostgresStore) -> None:
    """Make all jobs old, as if their processes had been gone for a while."""
    await store.database.fetch(
        "update pgqueuer set heartbeat = now() - interval '1 hour' "
        "where status = 'queued' returning 1"
    )


async def test_a_clock_that_was_ahead_for_a_moment_stops_no_chores(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = time.time_ns
    with monkeypatch.context() as wrong:
        wrong.setattr("time.time_ns", lambda: right() + 86_400 * 10**9)
        assert await recovery(store, every=0.001).recover() == 0
    await add(store, *IDS)
    await lose(store, *IDS)

    await asyncio.sleep(0.01)  # until it is due again
    assert await recovery(store, every=0.001).recover() == len(IDS)


async def lose(store: PostgresStore, *ids: str) -> None:
    """Remove the jobs of tasks, as a restored backup may."""
    await store.database.fetch(
        "delete from pgqueuer where dedupe_key = any($1::text[]) returning 1", ids
    )


async def found(store: PostgresStore, id: str) -> Task:
    task = await store.read(scripts.get_any(id))
    assert task is not None
    return task


async def test_tasks_without_a_job_are_queued_again(store: PostgresStore) -> None:
    await add(store, *IDS)
    await store.write(scripts.claim(IDS[1], "dead", NOW))
    await store.write(scripts.cancel(IDS[2], "alice", NOW))
    await lose(store, *IDS[1:])

    assert await recovery(store).recover() == 3

    assert await jobs(store) == dict.fromkeys([IDS[0], IDS[1], IDS[3], IDS[4]], ENGINE)
    assert await recovery(store, every=0).recover() == 0
    assert [(await found(store, id)).status for id in IDS[:3]] == [
        Status.QUEUED,
        Status.RUNNING,
        Status.CANCELED,
    ]


async def test_many_are_queued_in_batches(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safelight.server.recovery._BATCH", 2)
    await add(store, *IDS)
    await lose(store, *IDS)

    assert await recovery(store).recover() == 5
    assert list(await jobs(store)) == IDS


async def test_a_task_whose_model_is_gone_fails_with_a_reason(store: PostgresStore) -> None:
    await add(store, *IDS[:2])
    await lose(store, IDS[0])
    other = ModelRule(name="another", engine="sketch")

    assert await recovery(store, other).recover() == 0

    ended = await found(store, IDS[0])
    assert ended.status is Status.FAILED
    assert ended.failure is not None
    assert ended.failure.code is FailureCode.INVALID_INPUT
    assert "still" in ended.failure.message
    assert (await store.read(scripts.events(IDS[0])))[-1].what == "failed"
    # What has a job is its worker's to end.
    assert (await found(store, IDS[1])).status is Status.QUEUED


async def test_a_model_that_this_process_does_not_know_yet_fails_nothing(
    store: PostgresStore,
) -> None:
    await store.write(scripts.add(task(IDS[0], now=now_millis()), "", engine=ENGINE))
    await lose(store, IDS[0])

    await recovery(store, ModelRule(name="another", engine="sketch")).recover()

    assert (await found(store, IDS[0])).status is Status.QUEUED


async def test_a_task_that_waits_for_an_engine_that_is_gone_waits_for_another(
    store: PostgresStore,
) -> None:
    await add(store, IDS[0])
    await add(store, *IDS[1:], engine="old")
    beat = "update pgqueuer set status = 'picked', heartbeat = now() - $2::text::interval"
    for id, ago in ((IDS[1], "1 second"), (IDS[2], "2 hours")):
        await store.database.fetch(f"{beat} where dedupe_key = $1 returning 1", id, ago)
    await store.write(scripts.cancel(IDS[3], "alice", NOW))

    # They may be a newer process's, which is just being started.
    assert await recovery(store, every=0).recover() == 0
    assert (await jobs(store))[IDS[4]] == "old"

    await age(store)
    assert await recovery(store, every=0).recover() == 0

    # One runs in a process that still has that engine.
    assert await jobs(store) == dict.fromkeys(IDS, ENGINE) | {IDS[1]: "old"}
    assert (await found(store, IDS[4])).status is Status.QUEUED


async def test_a_task_whose_engine_and_model_are_gone_fails(store: PostgresStore) -> None:
    await add(store, IDS[0], engine="old")
    await age(store)

    await recovery(store, ModelRule(name="another", engine="sketch")).recover()

    assert (await found(store, IDS[0])).status is Status.FAILED
    assert await jobs(store) == {IDS[0]: ENGINE}  # whoever gets it drops it


async def test_one_of_several_processes_recovers(open_store: Open) -> None:
    stores = [await open_store() for _ in range(3)]
    await add(stores[0], *IDS)
    await lose(stores[0], *IDS)

    counts = await asyncio.gather(*(recovery(store).recover() for store in stores))

    assert sorted(counts) == [0, 0, 5]
    assert list(await jobs(stores[0])) == IDS
    await lose(stores[0], *IDS)
    assert await recovery(stores[1]).recover() == 0  # somebody has just looked
    assert await recovery(stores[1], every=0).recover() == 5


async def test_the_queues_log_is_swept(store: PostgresStore) -> None:
    await add(store, *IDS)
    await store.database.fetch(
        "update pgqueuer_log set created = now() - interval '25 hours' "
        "where job_id <> (select max(id) from pgqueuer) returning 1"
    )

    await recovery(store).recover()

    rows = await store.database.fetch("select count(*) from pgqueuer_log")
    assert rows[0][0] == 1


async def test_a_database_that_does_not_answer_is_told(store: PostgresStore) -> None:
    await store.database.pool.close()

    with pytest.raises(StoreUnavailable):
        await recovery(store).recover()
