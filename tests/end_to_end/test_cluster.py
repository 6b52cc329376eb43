"""The cluster: several real processes on one PostgreSQL and one bucket, as one installation."""

from __future__ import annotations

import asyncio
import io
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest
from PIL import Image

from backends import PostgresServer, S3Server
from end_to_end.cluster import (
    SECRET,
    Cluster,
    children,
    installed,
    lives,
    open_link,
    rules,
    so,
)
from end_to_end.running import (
    RULES,
    SERVED,
    START_SECONDS,
    TASK_SECONDS,
    Running,
    environment,
    until,
)
from end_to_end.words import IMAGES, VIDEOS, png, slow
from programs import carry_out
from safelight import Kind, NotFound, Source, Status, Task
from safelight.task import bare_id

SOON = 1.0  # seconds until a worker elsewhere has heard of a cancel or a delete
TOGETHER = 10  # servers that start at once
SLOW_FILM = {"duration": 15, "width": 640, "height": 360}


class Small(msgspec.Struct, frozen=True):
    """Two APIs that run no tasks, and a worker."""

    cluster: Cluster
    a: Running
    b: Running
    worker: Running


@pytest.fixture(scope="module")
def small(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer, s3: S3Server
) -> Iterator[Small]:
    """A cluster for all tests that leave it whole."""
    folder = tmp_path_factory.mktemp("cluster")
    with installed(folder, postgres.create(), s3.bucket(), RULES, heartbeat=5) as cluster:
        a, b, worker = cluster.start("serve --no-workers", "serve --no-workers", "work")
        yield Small(cluster, a, b, worker)


async def submit(server: Running, dialect: str, **words: object) -> Task:
    async with server.client(dialect) as client:
        return await client.submit(IMAGES[dialect], **words)


# ------------------------------------------------------------------------------- one installation


@pytest.mark.parametrize("dialect", SERVED)
async def test_what_one_process_accepts_every_other_answers_for_at_once(
    small: Small, dialect: str
) -> None:
    async with small.a.client(dialect) as client:
        task = await client.submit(IMAGES[dialect])

    for other in SERVED:
        async with small.b.client(other) as client:
            seen = await client.fetch(task.id, Kind.IMAGE)
            assert bare_id(seen.id) == bare_id(task.id)
            ended = await client.wait(seen, TASK_SECONDS)
            assert ended.status is Status.SUCCEEDED, ended.failure
            answer = await open_link(ended.artifacts[0].url or "")
            assert (answer.url.host, answer.status_code) == ("127.0.0.1", 200)
            assert str(answer.url).startswith(f"{small.cluster.bucket.options['endpoint']}/")
            assert "sk-" not in str(answer.url)
            assert answer.headers["content-type"] == "image/png"
            with Image.open(io.BytesIO(answer.content)) as image:
                image.load()
                assert image.size == (96, 64)


async def test_a_link_of_the_bucket_is_good_for_its_file_alone(small: Small) -> None:
    tasks = [await submit(small.a, "aigptimage") for _ in range(2)]
    async with small.b.client("aigptimage") as client:
        first, second = [await client.wait(task, TASK_SECONDS) for task in tasks]
    link, other = first.artifacts[0].url or "", second.artifacts[0].url or ""

    swapped = f"{other.partition('?')[0]}?{link.partition('?')[2]}"

    assert (await open_link(link)).status_code == 200
    assert (await open_link(swapped)).status_code == 403
    assert (await open_link(link.partition("?")[0])).status_code in (400, 403)


async def test_a_source_that_one_process_took_is_read_by_the_worker_of_another(
    small: Small,
) -> None:
    uploaded = (Source(data=png(), media_type="image/png"),)

    task = await submit(small.a, "tensorslab", sources=uploaded)

    async with small.b.client("tensorslab") as client:
        ended = await client.wait(task, TASK_SECONDS)
        assert ended.status is Status.SUCCEEDED, ended.failure
        # A file of the bucket may be a source too, although its address is a private one.
        again = await client.submit(
            IMAGES["tensorslab"], sources=(Source(url=ended.artifacts[0].url),)
        )
        assert (await client.wait(again, TASK_SECONDS)).status is Status.SUCCEEDED


async def test_files_come_through_the_server_where_the_settings_say_so(small: Small) -> None:
    (own,) = small.cluster.start("serve --no-workers", SAFELIGHT_FILES_LINKS="own")
    task = await submit(own, "aitoearn")

    async with own.client("aitoearn") as client:
        ended = await client.wait(task, TASK_SECONDS)
    link = ended.artifacts[0].url or ""

    assert link.startswith(f"{own.url}/files/")
    answer = await open_link(link)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert len(answer.content) == int(answer.headers["content-length"])
    # Another process answers for it as well: they share the secret that signed it.
    elsewhere = await open_link(link.replace(own.url, small.a.url))
    assert (elsewhere.status_code, elsewhere.content) == (200, answer.content)
    assert own.stop() == 0


# --------------------------------------------------------------------------------- cancel, delete


def run_folder(worker: Running, task: Task) -> Path | None:
    """Where a worker has the files of a task while it runs it."""
    found = (worker.data / "scratch").glob(f"*/{bare_id(task.id)}-*")
    return next(found, None)


@pytest.mark.parametrize("dialect", ["tencent", "tensorslab"])
async def test_an_end_that_is_asked_for_reaches_the_worker_of_another_process(
    small: Small, dialect: str
) -> None:
    """Tencent's wire cancels, TensorsLab's deletes; the run waits here, and there it draws."""
    async with small.a.client(dialect) as there, small.b.client(dialect) as here:
        waiting = await there.submit(IMAGES[dialect], model=slow(dialect, Kind.IMAGE))
        drawing = await there.submit(VIDEOS[dialect], **SLOW_FILM)
        until(lambda: run_folder(small.worker, waiting))
        until(lambda: run_folder(small.worker, drawing))
        idle = await painters(small.worker, drawing)

        for task in (waiting, drawing):
            if dialect == "tencent":
                await here.cancel(task)
            else:
                assert await here.delete(task) == (task.id,)
            answered = time.monotonic()
            until(lambda task=task: run_folder(small.worker, task) is None, SOON, 0.005)  # type: ignore[misc]
            assert time.monotonic() - answered < SOON
        assert children(small.worker.process.pid) == idle

        for task in (waiting, drawing):
            if dialect == "tencent":
                assert (await there.fetch(task)).ended
                said = [what for what, _, _ in await small.cluster.story(task.id)]
                assert said == ["queued", "running", "canceled"]
            else:
                with pytest.raises(NotFound):
                    await there.fetch(task)
                assert not [name for name in small.cluster.bucket.files() if task.id in name]
    await small.cluster.all_end()


async def painters(worker: Running, film: Task) -> set[int]:
    """The children of a worker but the one that draws the film, which has begun by then."""
    found: dict[int, float] = {}

    def drawing() -> int | None:
        for pid in children(worker.process.pid):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            busy = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            if busy - found.setdefault(pid, busy) > 0.2:
                return pid
        return None

    busy = await asyncio.to_thread(until, drawing)
    assert run_folder(worker, film) is not None
    return children(worker.process.pid) - {busy}


# ------------------------------------------------------------------------- processes of one server


def answered_by(url: str) -> set[int]:
    """How many requests each of the processes behind a port says it has answered, but none."""
    with httpx.Client(trust_env=False) as http:
        answer = http.get(f"{url}/metrics", headers={"connection": "close"})
    counts = re.findall(r"safelight_requests_total\{.*\} (\d+)", answer.text)
    return {sum(int(count) for count in counts)} - {0}


def until_both_answer(server: Running) -> None:
    """Wait until two processes have answered requests that came to one port."""
    seen: set[int] = set()

    def both() -> bool:
        with httpx.Client(trust_env=False) as http:
            http.get(f"{server.url}/api/v1/jobs/recordInfo?taskId=0")
        # Two of them tell different numbers sooner or later; one alone tells one.
        seen.clear()
        for _ in range(12):
            seen.update(answered_by(server.url))
        return len(seen) == 2

    until(both, START_SECONDS)


async def test_processes_of_one_server_share_its_port_and_its_fate(
    tmp_path: Path, postgres: PostgresServer, s3: S3Server
) -> None:
    database = await postgres.create_soon()
    with installed(tmp_path, database, s3.bucket(), rules(2), grace=20) as cluster:
        (server,) = cluster.start("serve --processes 2")
        first = children(server.process.pid)
        assert len(first) == 2
        until_both_answer(server)

        dead = first.pop()
        os.kill(dead, signal.SIGKILL)
        until(lambda: len(children(server.process.pid) - {dead}) == 2)
        until_both_answer(server)
        second = children(server.process.pid)
        assert first < second

        tasks = [await submit(server, dialect) for dialect in SERVED]
        ids = [bare_id(task.id) or "" for task in tasks[:2]]
        await so(lambda: run_by(cluster, ids, 2))
        assert server.stop() == 0

        assert not [pid for pid in second if lives(pid)]
        assert (await cluster.statuses(ids)) == {"succeeded": 2}
        assert not await cluster.rows("select 1 from tasks where deaths > 0 or worker is not null")
        with pytest.raises(httpx.ConnectError):
            answered_by(server.url)


async def run_by(cluster: Cluster, ids: list[str], count: int) -> bool:
    """Whether so many of these tasks are being run."""
    rows = await cluster.rows(
        "select 1 from tasks where id = any($1) and status = 'running'", list(ids)
    )
    return len(rows) >= count


async def test_processes_whose_parent_was_killed_end_by_themselves(
    tmp_path: Path, postgres: PostgresServer, s3: S3Server
) -> None:
    database = await postgres.create_soon()
    with installed(tmp_path, database, s3.bucket(), rules(1.5)) as cluster:
        (server,) = cluster.start("serve --processes 2")
        theirs = children(server.process.pid)
        id = bare_id((await submit(server, "tencent")).id) or ""
        await so(lambda: run_by(cluster, [id], 1))

        server.kill()

        until(lambda: not [pid for pid in theirs if lives(pid)])
        assert await cluster.rows("select status, deaths from tasks") == [("succeeded", 0)]
        assert len(re.findall(r"\] stopped\b", server.log.read_text())) == 2


# --------------------------------------------------------------------------------- starting


async def test_servers_that_start_at_once_on_an_empty_database_agree(
    tmp_path: Path, postgres: PostgresServer, s3: S3Server
) -> None:
    database = await postgres.create_soon(migrated=False)
    with installed(tmp_path, database, s3.bucket(), rules(0)) as cluster:
        servers = cluster.start(*["serve --no-workers"] * TOGETHER)

        assert len(cluster.first_keys()) == 1
        assert len(await cluster.rows("select 1 from keys")) == 1
        for server in servers:
            async with server.client("aigptimage", cluster.key) as client:
                await client.submit(IMAGES["aigptimage"])
        assert await cluster.unfinished() == TOGETHER


def refused(folder: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """A process that does not start, and says why without a traceback."""
    ended = carry_out(
        *(*words, "--data", str(folder / "refused")),
        timeout=START_SECONDS,
        env={**environment(), **environ},
        cwd=folder,
    )
    assert "Traceback" not in ended.stderr, ended.stderr[-2000:]
    assert not ended.stdout
    return ended


@pytest.mark.parametrize("words", ["serve --port 0", "work", "serve --port 0 --processes 2"])
def test_a_process_with_another_secret_is_refused(small: Small, tmp_path: Path, words: str) -> None:
    said = refused(
        tmp_path,
        *(*words.split(), "--database", small.cluster.database),
        SAFELIGHT_SECRET=f"not {SECRET}",
    )

    assert said.returncode == 1
    assert "were made with another secret" in said.stderr
    assert "SAFELIGHT_SECRET" in said.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("serve --port 0 --no-workers", "needs a PostgreSQL database"),
        ("serve --port 0 --processes 2", "need a PostgreSQL database"),
        ("work", "needs a PostgreSQL database"),
    ],
)
def test_several_processes_need_a_database_that_they_can_share(
    tmp_path: Path, words: str, sentence: str
) -> None:
    said = refused(tmp_path, *words.split())

    assert said.returncode == 2
    assert sentence in said.stderr
