"""Told to stop: what runs is given back, and the process ends in time, whatever does not answer."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from backends import PostgresServer, S3Server
from end_to_end.cluster import Cluster, installed, rules
from end_to_end.conftest import Start
from end_to_end.running import Running, until
from end_to_end.words import IMAGES
from safelight import Submit

GRACE = 1
# The grace, ten seconds to give back what runs, and some more for all the rest, and for a machine
# that has much to do.
END_SECONDS = GRACE + 10 + 10


@pytest.fixture(scope="module")
def own() -> Iterator[PostgresServer]:
    """A database server of these tests' own, which they stop."""
    server = PostgresServer()
    yield server
    server.close()


@asynccontextmanager
async def at_work(
    folder: Path, server: PostgresServer, s3: S3Server
) -> AsyncIterator[tuple[Cluster, list[Running]]]:
    """An API and a worker, each of which runs two long tasks."""
    database = await server.create_soon()
    with installed(
        folder, database, s3.bucket(), rules(300), grace=GRACE, concurrency=2, heartbeat=3
    ) as cluster:
        began = await asyncio.to_thread(cluster.start, "serve", "work")
        async with began[0].client("aigptimage") as client:
            tasks = [await client.submit(IMAGES["aigptimage"]) for _ in range(4)]
        for task in tasks:
            await cluster.runner(task.id)
        yield cluster, began


def tell_to_stop(members: list[Running]) -> float:
    """Tell processes to stop, and then twice more, by either signal."""
    began = time.monotonic()
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
        for one in members:
            one.process.send_signal(number)
        time.sleep(GRACE)  # the last one comes when the grace is over and tasks are given back
    return began


def wait_for_end(members: list[Running], began: float) -> None:
    """All are gone in time."""
    for one in members:
        try:
            one.process.wait(max(0, began + END_SECONDS - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise AssertionError(one.log.read_text()[-5000:]) from None


ALL = "select status, worker is null, deaths from tasks"


@pytest.mark.parametrize("how", ["stopped", "frozen"])
async def test_a_database_that_is_away_holds_up_no_end(
    tmp_path: Path, own: PostgresServer, s3: S3Server, how: str
) -> None:
    async with at_work(tmp_path, own, s3) as (cluster, members):
        with away(own, how):
            began = await asyncio.to_thread(tell_to_stop, members)
            await asyncio.to_thread(wait_for_end, members, began)

        # What could not be given back is found by its silence, as after a kill.
        assert {row[0] for row in await cluster.rows(ALL)} == {"running"}
        (worker,) = await asyncio.to_thread(cluster.start, "work --concurrency 4")
        for (id,) in await cluster.rows("select id from tasks"):
            assert await cluster.runner(id, members) is worker
        assert await cluster.rows("select max(deaths) from tasks") == [(1,)]


async def test_a_database_that_returns_in_time_takes_back_what_ran(
    tmp_path: Path, own: PostgresServer, s3: S3Server
) -> None:
    async with at_work(tmp_path, own, s3) as (cluster, members):
        with away(own, "stopped"):
            began = await asyncio.to_thread(tell_to_stop, members)
        await asyncio.to_thread(wait_for_end, members, began)

        assert [one.process.returncode for one in members] == [0, 0]
        assert await cluster.rows(ALL) == [("running", True, 0)] * 4
        jobs = await cluster.jobs()
        assert [job[1] for job in jobs] == ["queued"] * 4


@contextmanager
def away(server: PostgresServer, how: str) -> Iterator[None]:
    if how == "frozen":
        with server.frozen():
            yield
        return
    server.stop()
    try:
        yield
    finally:
        server.start()


async def test_signals_after_the_first_change_nothing(
    tmp_path: Path, postgres: PostgresServer, s3: S3Server
) -> None:
    async with at_work(tmp_path, postgres, s3) as (cluster, members):
        began = await asyncio.to_thread(tell_to_stop, members)
        await asyncio.to_thread(wait_for_end, members, began)

        assert [one.process.returncode for one in members] == [0, 0]
        assert await cluster.rows(ALL) == [("running", True, 0)] * 4


def test_an_answer_that_never_comes_holds_up_no_end(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connects, and says nothing
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        options = f'dialect = "kie", url = "{url}", key = "env:HOME"'
        rule = f'[[models]]\nname = "*"\nengine = "upstream"\noptions = {{ {options} }}\n'
        server = start(config=f"grace = {GRACE}\n{rule}")
        asyncio.run(submit(server))
        until(lambda: "asking" in (server.rows("select memory from tasks")[0][0] or ""))

        began = tell_to_stop([server])
        wait_for_end([server], began)

        again = start(config=f"grace = {GRACE}\n{rule}", key=server.key)
        until(lambda: again.rows("select status from tasks") == [("failed",)])
        (failure,) = again.rows("select failure from tasks")[0]
        assert '"submission_unknown"' in failure


async def submit(server: Running) -> None:
    async with server.client("aigptimage") as client:
        await client.submit(Submit(model="a", prompt="a lighthouse"))
