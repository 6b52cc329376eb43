"""The cluster when things fail: processes killed and held up, and databases and buckets away.

What is promised: a task whose create was answered ends, once, whatever happens on the way.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from backends import PostgresServer, S3Server
from end_to_end.cluster import Cluster, Load, go_on, installed, pause, rules, so
from end_to_end.running import SERVED, Running, until
from end_to_end.test_crash import check_files
from end_to_end.words import IMAGES, png
from safelight import FailureCode, Kind, Source, Status, Task, Unavailable
from safelight.dialects import named
from safelight.server.addresses import free_port
from safelight.task import Fetch, bare_id
from safelight.wire import Response

# The kills come at other moments in every run; this brings back those of a run that failed.
SEED = int(os.environ.get("CRASH_SEED") or random.SystemRandom().randrange(10**6))
FEW, MANY = 25, 300
KILLS = 10
AWAY_SECONDS = 2.0


async def submit(server: Running, dialect: str = "aigptimage", **words: object) -> Task:
    async with server.client(dialect) as client:
        return await client.submit(IMAGES[dialect], width=64, height=64, **words)


async def deaths(cluster: Cluster) -> int:
    """How many workers died of all tasks together."""
    return int((await cluster.rows("select coalesce(sum(deaths), 0) from tasks"))[0][0])


# ------------------------------------------------------------------------------- workers that die


async def test_a_task_whose_worker_is_killed_runs_again_elsewhere(
    tmp_path: Path, postgres: PostgresServer, s3: S3Server
) -> None:
    database = await postgres.create_soon()
    with installed(tmp_path, database, s3.bucket(), rules(1), heartbeat=2) as cluster:
        api, *_ = cluster.start("serve --no-workers", "work", "work")
        task = await submit(api)
        first = await cluster.runner(task.id)

        first.kill()
        second = await cluster.runner(task.id, [first])
        await cluster.all_end()

        assert second is not first
        assert await cluster.rows("select status, attempt, deaths from tasks") == [
            ("succeeded", 2, 1)
        ]
        said = [(what, attempt) for what, attempt, _ in await cluster.story(task.id)]
        assert said == [
            ("queued", 0),
            ("running", 1),
            ("running", 2),
            ("succeeded", 2),
        ]
        await check_files(api, [bare_id(task.id) or ""])


async def test_the_third_worker_that_dies_of_a_task_fails_it(
    tmp_path: Path, postgres: PostgresServer, s3: S3Server
) -> None:
    database = await postgres.create_soon()
    with installed(tmp_path, database, s3.bucket(), rules(60), heartbeat=2) as cluster:
        api, *_ = cluster.start("serve --no-workers", "work", "work", "work", "work")
        task = await submit(api)
        dead: list[Running] = []
        for _ in range(3):
            dead.append(await cluster.runner(task.id, dead))
            dead[-1].kill()
        await cluster.all_end()

        assert await cluster.rows("select status, attempt, deaths from tasks") == [("failed", 4, 3)]
        await cluster.check_ends()
        assert (await cluster.story(task.id))[-1] == ("failed", 4, "worker_died")
        for dialect in SERVED:
            async with api.client(dialect) as client:
                seen = await client.fetch(task.id, Kind.IMAGE)
            assert seen.status is Status.FAILED
            assert seen.failure is not None
            assert "3 workers died while they ran the task" in seen.failure.message
            if dialect == "tencent":  # the one wire that tells our codes apart
                assert seen.failure.code is FailureCode.WORKER_DIED


async def test_a_worker_that_was_held_up_changes_nothing_when_it_goes_on(
    tmp_path: Path, postgres: PostgresServer, s3: S3Server
) -> None:
    database = await postgres.create_soon()
    with installed(
        tmp_path, database, s3.bucket(), rules(1), heartbeat=2, concurrency=3
    ) as cluster:
        api, *_ = cluster.start("serve --no-workers", "work", "work")
        tasks = [(await submit(api)).id for _ in range(5)]
        runners = [await cluster.runner(id) for id in tasks]
        held = runners[0]
        (other,) = {one.data: one for one in cluster.started if one not in (api, held)}.values()
        pause(held)
        await so(lambda: ended_all(cluster, tasks))
        before = [await cluster.all_of(id) for id in tasks]
        assert {row[0][5:7] for row, _, _ in before} <= {(1, 0), (2, 1)}, before
        assert other.stop() == 0

        go_on(held)
        lost = [id for id, one in zip(tasks, runners, strict=True) if one is held]
        until(lambda: all(told_lost(held, id) for id in lost))
        after = await submit(api)
        await cluster.all_end()

        assert [await cluster.all_of(id) for id in tasks] == before
        await cluster.check_ends()
        assert (await cluster.statuses([*tasks, bare_id(after.id) or ""])) == {"succeeded": 6}
        assert held.stop() == 0
        await check_files(api, tasks)


async def ended_all(cluster: Cluster, ids: list[str]) -> bool:
    return (await cluster.statuses(ids)) == {"succeeded": len(ids)}


def told_lost(worker: Running, id: str) -> bool:
    """Whether a worker found that a task is not its own any more."""
    lines = worker.log.read_text(errors="replace").splitlines()
    return any("task_lost" in line and id in line for line in lines)


# ------------------------------------------------------------------------ databases that are away


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[PostgresServer]:
    """A database server of these tests' own, which they stop."""
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture(scope="module")
def own_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 server of these tests' own, which they stop."""
    root = tmp_path_factory.mktemp("own-s3") / "buckets"
    root.mkdir()
    server = S3Server(root)
    server.start()
    yield server
    server.close()


# How each wire says that it cannot just now: its HTTP status, and the code in the body.
AWAY: dict[str, tuple[int, Callable[[Any], Any], Any]] = {
    "tensorslab": (503, lambda body: body["code"], 9999),
    "aigptimage": (503, lambda body: body["code"], 503),
    "aitoearn": (200, lambda body: body["code"], 19001),
    "safelight": (503, lambda body: body["code"], "unavailable"),
    "tencent": (200, lambda body: body["Response"]["Error"]["Code"], "ServiceUnavailable"),
}


def check_away(api: Running, http: httpx.Client, dialect: str, command: Any) -> None:
    """The API says in that dialect's words that it cannot just now, and to ask again."""
    answer = api.ask(http, dialect, command)
    status, code_of, code = AWAY[dialect]
    assert (answer.status_code, code_of(answer.json())) == (status, code), answer.text
    assert "please try again" in answer.text
    assert float(answer.headers["retry-after"]) > 0
    heard = Response(
        status=answer.status_code, headers=tuple(answer.headers.items()), body=answer.content
    )
    with pytest.raises(Unavailable) as told:
        named(dialect).read_reply(command, heard)
    assert told.value.retry_after is None or told.value.retry_after > 0


async def test_a_database_that_crashes_and_returns_costs_no_task(
    tmp_path: Path, own_postgres: PostgresServer, s3: S3Server, http: httpx.Client
) -> None:
    database = await own_postgres.create_soon()
    with installed(
        tmp_path, database, s3.bucket(), rules(0.3), heartbeat=15, concurrency=6
    ) as cluster:
        api, *_ = cluster.start("serve --no-workers", "work", "work")
        async with Load([api.url], api.key, SERVED) as load:
            await load.grow(FEW)
            await asyncio.to_thread(own_postgres.stop, "immediate")
            try:
                await asyncio.to_thread(check_everything_away, api, http, load.accepted[0])
                await asyncio.sleep(AWAY_SECONDS)
            finally:
                await asyncio.to_thread(own_postgres.start)
            until(lambda: http.get(f"{api.url}/readyz").status_code == 200)
            await load.grow(FEW)
        await cluster.all_end()

        assert load.faults["unavailable"] > 0
        assert load.faults.keys() == {"unavailable"}
        assert not load.unknown
        await check_nothing_lost(cluster, load)
        assert await deaths(cluster) == 0
        await check_files(api, load.accepted)
        assert all(one.stop() == 0 for one in cluster.started)


def check_everything_away(api: Running, http: httpx.Client, id: str) -> None:
    assert http.get(f"{api.url}/healthz").status_code == 200
    # What was there a moment ago is told for some seconds.
    until(lambda: http.get(f"{api.url}/readyz").status_code == 503)
    until(lambda: http.get(f"{api.url}/metrics").status_code == 503)
    for dialect in SERVED:
        check_away(api, http, dialect, IMAGES[dialect])
        check_away(api, http, dialect, Fetch(id=id, kind=Kind.IMAGE))


async def check_nothing_lost(cluster: Cluster, load: Load) -> None:
    """What was accepted has succeeded, once, and is all there is."""
    assert await cluster.statuses(load.accepted) == {"succeeded": len(load.accepted)}
    assert len(set(load.accepted)) == len(load.accepted)
    assert len(await cluster.rows("select id from tasks")) == len(load.accepted)
    await cluster.check_ends()


async def test_a_bucket_that_is_away_for_a_while_costs_no_task(
    tmp_path: Path, postgres: PostgresServer, own_s3: S3Server, http: httpx.Client
) -> None:
    database = await postgres.create_soon()
    with installed(
        tmp_path, database, own_s3.bucket(), rules(0), heartbeat=5, concurrency=6
    ) as cluster:
        api, *_ = cluster.start("serve --no-workers", "work")
        asked = msgspec.structs.replace(
            IMAGES["tensorslab"],
            width=64,
            height=64,
            sources=(Source(data=png(), media_type="image/png"),),
        )
        async with Load([api.url], api.key, SERVED) as load, api.client("tensorslab") as client:
            await load.grow(FEW)
            own_s3.stop()
            try:
                await load.grow(FEW)  # what comes without files is taken all the same
                await so(partial(uploads, cluster))
                with pytest.raises(Unavailable, match="please try again"):
                    await client.submit(asked)
                until(lambda: http.get(f"{api.url}/readyz").status_code == 503)
            finally:
                own_s3.start()
            load.accepted.append((await client.submit(asked)).id)
        await cluster.all_end()

        assert not load.faults
        await check_nothing_lost(cluster, load)
        assert await deaths(cluster) == 0
        await check_files(api, load.accepted)
        assert all(one.stop() == 0 for one in cluster.started)


async def uploads(cluster: Cluster) -> bool:
    """Whether several tasks have files to store."""
    return len(await cluster.rows("select 1 from tasks where status = 'uploading'")) >= 3


# ------------------------------------------------------------------------------- rolling, and all


async def test_a_rolling_restart_is_noticed_by_no_task(
    tmp_path: Path, postgres: PostgresServer, s3: S3Server
) -> None:
    database = await postgres.create_soon()
    ports = [free_port("127.0.0.1") for _ in range(2)]
    apis = [f"serve --no-workers --port {port}" for port in ports]
    with installed(tmp_path, database, s3.bucket(), rules(0.3), heartbeat=10) as cluster:
        commands = [*apis, "work --concurrency 4", "work --concurrency 4"]
        first = cluster.start(*commands)
        async with Load([one.url for one in first[:2]], cluster.key, SERVED) as load:
            await load.grow(FEW)
            for old, command in zip(first, commands, strict=True):
                old.ask_to_stop()
                assert await asyncio.to_thread(old.process.wait, 30) == 0
                await asyncio.to_thread(cluster.start, command)
                await load.grow(FEW // 5)
            await load.grow(FEW)
        await cluster.all_end()

        assert not load.unknown
        assert load.faults.keys() <= {"unreachable", "unavailable"}
        await check_nothing_lost(cluster, load)
        assert await cluster.rows("select 1 from tasks where deaths > 0") == []
        await check_files(cluster.started[-4], load.accepted)
        assert all(one.stop() == 0 for one in cluster.started)


async def test_whatever_is_killed_no_task_is_lost_or_ends_twice_or_gets_stuck(
    tmp_path: Path, postgres: PostgresServer, s3: S3Server
) -> None:
    print(f"CRASH_SEED={SEED}")
    chance = random.Random(SEED)
    database = await postgres.create_soon()
    ports = [free_port("127.0.0.1") for _ in range(2)]
    commands = [f"serve --no-workers --port {port}" for port in ports]
    commands += ["work --concurrency 4"] * 3
    settings = {"heartbeat": 2, "most_deaths": 1000}
    with installed(tmp_path, database, s3.bucket(), rules(0.2), **settings) as cluster:
        alive = cluster.start(*commands)
        urls = [one.url for one in alive[:2]]
        async with Load(urls, cluster.key, SERVED, pace=0.1, most=MANY) as load:
            for _ in range(KILLS):
                await asyncio.sleep(chance.uniform(0.2, 0.8))
                number = chance.randrange(len(alive))
                alive[number].kill()
                (alive[number],) = await asyncio.to_thread(cluster.start, commands[number])
            await load.grow(MANY - len(load.accepted))
        await cluster.all_end()

        await check_nothing_lost(cluster, load)
        assert await deaths(cluster) > 0
        await check_files(alive[0], load.accepted)
        print(f"{len(load.accepted)} tasks, {await deaths(cluster)} deaths, {load.faults}")
        assert all(one.stop() == 0 for one in alive)
