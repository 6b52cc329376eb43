"""Housekeeping: what was left is taken up, what is old is swept."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest
import structlog
from msgspec.structs import replace

from backends import SEEN_SECONDS, Bucket, PostgresServer, S3Server
from doubles import NOW, Player, Serving, StartApp, models_of, picture, task, until, upload
from safelight.blob_names import task_folder
from safelight.blobs import Blobs
from safelight.config import ModelRule
from safelight.engines import Event, Job, Progress
from safelight.models import ModelMap
from safelight.postgres import Database
from safelight.queue import Lane
from safelight.queue.memory import MemoryQueue
from safelight.server.housekeeping import Housekeeping
from safelight.server.recovery import MemoryRecovery, PostgresRecovery
from safelight.store import scripts
from safelight.store.postgres import PostgresStore
from safelight.task import Delete, FailureCode, Status, Submit, Task, new_id

IDS = [new_id(NOW + n, bytes(6)) for n in range(6)]
RETENTION = 1000
UPLOADS_KEPT = 3 * 86_400_000


async def add(serving: Serving, *ids: str) -> None:
    for id in ids:
        await serving.app.store.write(scripts.add(task(id), ""))


def keeper(serving: Serving, failed: Callable[[int], None] = lambda tasks: None) -> Housekeeping:
    app = serving.app
    recovery = MemoryRecovery(app.store, waiting(serving), app.worker, models_of(serving.engine))
    return Housekeeping(
        app.store, app.blobs, recovery, RETENTION, UPLOADS_KEPT, every=0.01, failed=failed
    )


def waiting(serving: Serving) -> MemoryQueue:
    assert isinstance(serving.app.queue, MemoryQueue)
    return serving.app.queue


@pytest.fixture
async def idle(start_app: StartApp) -> Serving:
    """An app whose workers do not run."""
    return await start_app(start=False)


# ------------------------------------------------------------------------------------- recover


async def test_what_is_unfinished_is_queued_once(idle: Serving) -> None:
    await add(idle, *IDS)
    await idle.app.store.write(scripts.claim(IDS[0], "dead", NOW))  # runs nowhere any more
    await idle.app.store.write(scripts.cancel(IDS[1], "alice", NOW))

    assert await keeper(idle).recover() == 5
    assert await keeper(idle).recover() == 0
    assert [waiting(idle).holds(id) for id in IDS] == [True, False, True, True, True, True]


async def test_what_is_run_is_not_queued_again(start_app: StartApp) -> None:
    began = asyncio.Event()

    async def play(job: Job) -> AsyncIterator[Event]:
        began.set()
        await asyncio.sleep(60)
        yield Progress(percent=1)

    serving = await start_app(play)
    id = await serving.create()
    await began.wait()

    assert await keeper(serving).recover() == 0

    assert serving.app.worker.runs(id)
    assert not waiting(serving).holds(id)


async def test_a_small_queue_is_filled_again_and_again_in_order(idle: Serving) -> None:
    await add(idle, *IDS)
    app, queue = idle.app, MemoryQueue(capacity=2)
    recovery = MemoryRecovery(app.store, queue, app.worker, models_of(idle.engine))
    house = Housekeeping(app.store, app.blobs, recovery, 10**9, UPLOADS_KEPT)
    assert await house.recover() == 2
    running = asyncio.create_task(queue.run(app.worker.run, [Lane(("player",), 1)]))
    keeping = asyncio.create_task(house.run())
    await until(lambda: len(idle.engine.jobs) == len(IDS))
    queue.stop()
    await running
    keeping.cancel()
    await asyncio.wait([keeping])

    assert [job.task.id for job in idle.engine.jobs] == IDS


class Another(Player):
    """An engine beside the first."""

    name = "another"


def two_engines(serving: Serving) -> ModelMap:
    """Models of which `slow` is another engine's than the others."""
    rules = [ModelRule(name="slow", engine="enhance"), ModelRule(name="*", engine="sketch")]
    return ModelMap(rules, {"sketch": serving.engine, "enhance": Another()})


def of_model(id: str, model: str) -> Task:
    plain = task(id)
    return replace(plain, submit=replace(plain.submit, model=model))


async def test_a_task_is_queued_for_the_engine_of_its_model(idle: Serving) -> None:
    for n, id in enumerate(IDS):
        await idle.app.store.write(scripts.add(of_model(id, "slow" if n < 3 else "still"), ""))
    queue = MemoryQueue(capacity=1)
    await MemoryRecovery(idle.app.store, queue, idle.app.worker, two_engines(idle)).recover()

    assert [queue.holds(id) for id in IDS] == [True, False, False, True, False, False]
    assert queue.left_out == {"player", "another"}


@pytest.mark.parametrize("later", [False, True])
async def test_an_engine_is_not_starved_by_the_many_tasks_of_another(
    idle: Serving, monkeypatch: pytest.MonkeyPatch, later: bool
) -> None:
    monkeypatch.setattr("safelight.server.recovery._MOST_LEFT_OUT", 5)
    monkeypatch.setattr("safelight.server.recovery._BATCH", 3)
    app, queue = idle.app, MemoryQueue(capacity=2)
    slow = [new_id(NOW + n, bytes(6)) for n in range(30)]
    short = [new_id(NOW + 100 + n, bytes(6)) for n in range(6)]
    given = [*(of_model(id, "slow") for id in slow), *(of_model(id, "still") for id in short)]
    recovery = MemoryRecovery(app.store, queue, app.worker, two_engines(idle))
    if later:
        assert await recovery.recover() == 0
        for each in given:
            engine = "another" if each.submit.model == "slow" else "player"
            await app.store.write(scripts.add(each, ""))
            await queue.put(each.id, engine)
    else:
        for each in given:
            await app.store.write(scripts.add(each, ""))
    house = Housekeeping(app.store, app.blobs, recovery, 10**9, UPLOADS_KEPT)
    await house.recover()
    running = asyncio.create_task(queue.run(app.worker.run, [Lane(("player",), 1)]))
    keeping = asyncio.create_task(house.run())
    await until(lambda: len(idle.engine.jobs) == len(short))
    queue.stop()
    await running
    keeping.cancel()
    await asyncio.wait([keeping])

    assert [job.task.id for job in idle.engine.jobs] == short


async def test_trouble_is_waited_out(idle: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safelight.server.housekeeping._PAUSE_SECONDS", 0.01)
    calls = 0

    async def broken(now: int) -> int:
        nonlocal calls
        calls += 1
        raise OSError("no disk")

    house = keeper(idle)
    monkeypatch.setattr(house, "sweep", broken)
    keeping = asyncio.create_task(house.run())
    await until(lambda: calls >= 3)

    assert not keeping.done()
    keeping.cancel()
    await asyncio.wait([keeping])


# --------------------------------------------------------------------------------------- sweep


async def end(serving: Serving, id: str, at: int) -> None:
    app = serving.app
    await app.blobs.put(f"{task_folder(id)}1-0.png", b"x")
    claimed = await app.store.write(scripts.claim(id, "w", at))
    assert claimed is not None
    await app.store.write(scripts.upload(id, claimed.attempt, at))
    assert await app.store.write(scripts.succeed(id, claimed.attempt, (), at))


async def test_what_ended_long_ago_is_removed_with_its_files(idle: Serving) -> None:
    await add(idle, *IDS)
    for n, id in enumerate(IDS[:4]):
        await end(idle, id, NOW + n)

    swept = await keeper(idle).sweep(NOW + RETENTION + 1)

    assert swept == 2
    for n, id in enumerate(IDS):
        there = n > 1
        assert (await idle.app.store.read(scripts.get_any(id)) is not None) is there
        if n < 4:
            names = [path.name for path in (idle.app.settings.data / "files").rglob(id)]
            assert bool(names) is there


async def test_many_are_swept_in_batches(idle: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safelight.server.housekeeping._BATCH", 2)
    await add(idle, *IDS)
    for id in IDS:
        await idle.app.store.write(scripts.cancel(id, "alice", NOW))

    assert await keeper(idle).sweep(NOW + RETENTION) == 6
    assert await keeper(idle).sweep(NOW + RETENTION) == 0


class Refusing:
    """An app whose files are in a bucket that refuses to remove those of some tasks."""

    def __init__(self, serving: Serving, bucket: Bucket, stuck: Path) -> None:
        self.serving = serving
        self.bucket = bucket
        self._stuck = stuck / bucket.folder.name

    async def fill(self, *ids: str, stuck: Sequence[str] = ()) -> None:
        """Tasks that ended one after the other, each with a file, of which some stay."""
        await add(self.serving, *ids)
        for n, id in enumerate(ids):
            self.make(id, stuck=id in stuck)
            assert await self.serving.app.store.write(scripts.cancel(id, "alice", NOW + n))
        await asyncio.sleep(SEEN_SECONDS)

    def make(self, id: str, *, stuck: bool = False) -> None:
        """A file of a task, made behind the server's back."""
        path = (self._stuck if stuck else self.bucket.folder) / "kept" / task_folder(id) / "1-0.png"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x")

    async def free(self) -> None:
        """Let all files be removed."""
        shutil.rmtree(self._stuck)
        await asyncio.sleep(SEEN_SECONDS)

    async def rows(self, *ids: str) -> list[str]:
        """Those of the tasks that are there."""
        there = [await self.serving.app.store.read(scripts.get_any(id)) for id in ids]
        return [task.id for task in there if task is not None]


@pytest.fixture
async def refusing(start_app: StartApp, tmp_path: Path) -> AsyncIterator[Refusing]:
    root, stuck = tmp_path / "buckets", tmp_path / "stuck"
    root.mkdir()
    stuck.mkdir()
    server = S3Server(root, stuck=stuck)
    server.start()
    try:
        bucket = server.bucket()
        (stuck / bucket.folder.name).mkdir()
        serving = await start_app(start=False, files=bucket.url, files_options=bucket.options)
        yield Refusing(serving, bucket, stuck)
    finally:
        server.close()


async def test_files_that_cannot_be_removed_keep_their_rows_and_no_others(
    refusing: Refusing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safelight.server.housekeeping._BATCH", 2)
    await refusing.fill(*IDS, stuck=IDS[:3])  # more than are looked at in one go
    told: list[int] = []
    house = keeper(refusing.serving, told.append)

    with structlog.testing.capture_logs() as logs:
        assert await house.sweep(NOW * 2) == 3
        assert await house.sweep(NOW * 2) == 0

    assert await refusing.rows(*IDS) == IDS[:3]
    assert refusing.bucket.files() == []
    warned = [line for line in logs if line["event"] == "files_not_removed"]
    assert [(line["tasks"], line["task"]) for line in warned] == [(3, IDS[0])] * 2
    assert told == [3, 3]
    await refusing.free()
    assert await house.sweep(NOW * 2) == 3
    assert await refusing.rows(*IDS) == []


async def test_what_takes_too_long_to_fail_is_gone_on_with_by_the_next_sweep(
    refusing: Refusing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safelight.server.housekeeping._FAILING_SECONDS", 0.0)
    await refusing.fill(*IDS[:4], stuck=(IDS[0], IDS[2]))
    house = keeper(refusing.serving)

    assert [await house.sweep(NOW * 2) for _ in range(3)] == [0, 1, 1]

    assert await refusing.rows(*IDS) == [IDS[0], IDS[2]]
    await refusing.free()
    assert await house.sweep(NOW * 2) == 2  # from the beginning again


async def test_files_that_cannot_be_removed_stop_no_sweep_of_orphans(
    refusing: Refusing, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n, id in enumerate(IDS[:4]):
        refusing.make(id, stuck=n in (0, 2))
    await asyncio.sleep(SEEN_SECONDS)
    house = keeper(refusing.serving)

    assert await house.sweep_orphans(NOW * 2) == 2
    assert refusing.bucket.files() == []

    monkeypatch.setattr("safelight.server.housekeeping._FAILING_SECONDS", 0.0)
    refusing.make(IDS[1])
    refusing.make(IDS[3])
    await asyncio.sleep(SEEN_SECONDS)
    assert [await house.sweep_orphans(NOW * 2) for _ in range(3)] == [0, 1, 1]
    assert refusing.bucket.files() == []


async def test_a_folder_that_cannot_be_removed_keeps_its_row_and_no_other(idle: Serving) -> None:
    await add(idle, *IDS[:3])
    for n, id in enumerate(IDS[1:3]):
        await end(idle, id, NOW + n)
    assert await idle.app.store.write(scripts.cancel(IDS[0], "alice", NOW))
    blocked = idle.app.settings.data / "files" / task_folder(IDS[0])
    blocked.write_bytes(b"a file, where a folder should be")

    assert await keeper(idle).sweep(NOW * 2) == 2
    assert await idle.app.store.read(scripts.get_any(IDS[0])) is not None

    blocked.unlink()
    assert await keeper(idle).sweep(NOW * 2) == 1


async def test_a_deleted_task_is_gone_though_its_files_cannot_be_removed(
    refusing: Refusing,
) -> None:
    await refusing.fill(*IDS[:3], stuck=IDS[:1])

    deleted = await refusing.serving.app.service.delete("alice", Delete(ids=tuple(IDS[:3])))

    assert deleted.ids == tuple(IDS[:3])
    assert await refusing.rows(*IDS) == []
    assert refusing.bucket.files() == []
    await refusing.free()
    refusing.make(IDS[0])  # as if it could be removed by now
    await asyncio.sleep(SEEN_SECONDS)
    assert await keeper(refusing.serving).sweep_orphans(NOW * 2) == 1


async def test_a_source_that_was_swept_is_told_to_who_uses_it(serving: Serving) -> None:
    first = await serving.app.service.submit(
        serving.key.id, "tensorslab", Submit(sources=(upload(picture()),))
    )
    await serving.ended(first.id)
    url = (await serving.ask(first.id)).json()["data"]["images"][0]
    await serving.age(first.id)
    await serving.app.housekeeping.sweep(NOW * 2)

    second = await serving.create(imageUrl=url)

    ended = await serving.ended(second)
    assert ended.status is Status.FAILED
    assert ended.failure is not None
    assert ended.failure.code is FailureCode.SOURCE_UNAVAILABLE


# ------------------------------------------------------------------------------------- orphans


async def test_files_without_a_task_are_removed_when_they_are_a_day_old(idle: Serving) -> None:
    day = 86_400_000
    app, house = idle.app, keeper(idle)
    young = new_id(NOW - day + 1, bytes(6))
    orphan, kept = new_id(NOW - day - 2, bytes(6)), new_id(NOW - day - 1, bytes(6))
    for id in (young, orphan, kept):
        await app.blobs.put(f"{task_folder(id)}source-0", b"x")
    await add(idle, kept)

    assert await house.sweep_orphans(NOW) == 1

    assert await folders(idle) == sorted([young, kept])
    assert await house.sweep_orphans(NOW + day, NOW - day + 2) == 0  # it is older than that
    assert await house.sweep_orphans(NOW + day, NOW - day + 1) == 1
    assert await folders(idle) == [kept]


@pytest.mark.parametrize("hours", [1, -1, 30])
async def test_a_clock_that_is_wrong_removes_no_sources_of_what_is_being_accepted(
    postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """Whether it is that of the process that sweeps, or of the one that accepts."""
    store = await PostgresStore.open(await Database.open(await postgres.create_soon()))
    blobs, right = Blobs.local(tmp_path), time.time_ns
    accepting, sweeping = (0, hours) if hours > 0 else (hours, 0)
    id = new_id(right() // 10**6 + accepting * 3_600_000 - 60_000, bytes(6))
    await blobs.put(f"{task_folder(id)}source-0", b"x")
    recovery = PostgresRecovery(store, store.database, models_of(Player()), 60)
    house = Housekeeping(store, blobs, recovery, RETENTION, UPLOADS_KEPT, every=0.01)
    monkeypatch.setattr("time.time_ns", lambda: right() + sweeping * 3600 * 10**9)

    keeping = asyncio.create_task(house.run())
    async with asyncio.timeout(10):
        while not await store.read(scripts.last_done("all orphans")):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)  # for the sweep that follows
    keeping.cancel()
    await asyncio.wait([keeping])
    await store.close()

    assert [name async for name in blobs.folders("tasks/", "0", "g")] == [id]


async def folders(serving: Serving) -> list[str]:
    return sorted([name async for name in serving.app.blobs.folders("tasks/", "0", "g")])


# -------------------------------------------------------------------------------------- chores


async def test_a_chore_is_one_houses_while_it_is_done_often_enough(
    idle: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[int, int]] = []

    async def sweep(self: Housekeeping, now: int) -> int:
        done.append((now, -1))
        return 0

    async def sweep_orphans(self: Housekeeping, now: int, since: int) -> int:
        done.append((now, since))
        return 0

    monkeypatch.setattr(Housekeeping, "sweep", sweep)
    monkeypatch.setattr(Housekeeping, "sweep_orphans", sweep_orphans)
    houses = [keeper(idle) for _ in range(3)]
    day, hour = 86_400_000, 3_600_000
    again = 2 * day

    for now in (NOW, NOW + 1, NOW + 2 * hour, NOW + 8 * day):
        await asyncio.gather(*(house._do_chores(now) for house in houses))

    # Some of what was looked at before is looked at once more: who did may have died of it.
    assert sorted(done) == [
        (NOW, -1),
        (NOW, 0),
        (NOW + 2 * hour, -1),
        (NOW + 2 * hour, NOW - again),
        (NOW + 8 * day, -1),
        (NOW + 8 * day, 0),  # and once a week all that there is
    ]
