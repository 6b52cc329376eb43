"""The worker: runs of small engines to every end there is, on a real store with real files."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from doubles import (
    ID,
    NOW,
    Play,
    Player,
    Sender,
    models_of,
    one_picture,
    picture,
    raising,
    task,
    until,
    write_picture,
)
from safelight.blob_names import task_folder
from safelight.blobs import Blobs
from safelight.config import ModelRule
from safelight.engines import (
    Event,
    Failed,
    File,
    Given,
    Job,
    Log,
    Preview,
    Progress,
    Remember,
    RemoteJob,
    Started,
    Waiting,
)
from safelight.fetching import Fetcher
from safelight.links import Links, Target
from safelight.pauses import Pauses
from safelight.secrets import Vault
from safelight.store import StoreUnavailable, scripts
from safelight.store.scripts import Query, Script, Single
from safelight.store.sqlite import SQLiteStore, connect
from safelight.task import Failure, FailureCode, Role, Source, Status, Task, new_id
from safelight.worker import Worker
from safelight.worker.observing import Observer

OTHER = new_id(NOW, b"other.")


class Observed(Observer):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []
        self.seconds: list[float] = []

    def begun(self, engine: str, waited: float | None, died: bool) -> None:
        self.told.append(("begun", engine, died))
        if waited is not None:
            self.seconds.append(waited)

    def engine(self, name: str, seconds: float) -> None:
        self.told.append(("engine", name))
        self.seconds.append(seconds)

    def ran(self, engine: str, seconds: float) -> None:
        self.told.append(("ran", engine))
        self.seconds.append(seconds)

    def ended(self, engine: str, status: Status, failure: Failure | None) -> None:
        code = failure.code.value if failure else None
        self.told.append(("ended", engine, status.value, code))


@dataclass
class Bench:
    """A worker and what it works with."""

    store: SQLiteStore
    blobs: Blobs
    files: Path
    scratch: Path
    links: Links
    engine: Player
    observed: Observed
    rules: tuple[ModelRule, ...] = ()
    public_url: str | None = None
    secret: Callable[[str], Awaitable[str | None]] | None = None

    def worker(
        self,
        name: str = "w1",
        *,
        time_limit: float = 10,
        most_deaths: int = 3,
        patience: float = 600,
    ) -> Worker:
        return Worker(
            name,
            self.store,
            self.blobs,
            models_of(self.engine, *self.rules),
            Fetcher(10_000, 5, private=True),
            self.links,
            results=Fetcher(10_000, 5),
            scratch=self.scratch,
            time_limit=time_limit,
            most_deaths=most_deaths,
            max_pixels=1_000_000,
            patience=patience,
            secret=self.secret,
            public_url=self.public_url,
            observe=self.observed,
        )

    async def add(self, *tasks: Task) -> None:
        for each in tasks or (task(),):
            await self.store.write(scripts.add(each, ""))

    async def run(self, play: Play = one_picture, **options: Any) -> Task:
        """Add a task and run it to its end."""
        self.engine.play = play
        await self.add()
        await self.worker(**options).run(ID, self.engine.name)
        return await self.task()

    async def task(self, id: str = ID) -> Task:
        found = await self.store.read(scripts.get_any(id))
        assert found is not None
        return found

    async def told(self) -> list[str]:
        return [row.what for row in await self.store.read(scripts.events(ID))]

    def kept(self) -> list[str]:
        found = (path for path in self.files.rglob("*") if path.is_file())
        return sorted(path.relative_to(self.files).as_posix() for path in found)

    def left(self) -> list[Path]:
        return list(self.scratch.iterdir()) if self.scratch.exists() else []


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    store, files = SQLiteStore.open(tmp_path / "db"), tmp_path / "files"
    yield Bench(
        store,
        Blobs.local(files),
        files,
        tmp_path / "scratch",
        Links(Vault(b"secret")),
        Player(),
        Observed(),
    )
    await store.close()


class Held:
    """An engine's run that waits until it is let go, and says where it is."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.gate = asyncio.Event()
        self.cleaned = False

    async def __call__(self, job: Job) -> AsyncIterator[Event]:
        try:
            yield Progress(percent=10)
            self.began.set()
            await self.gate.wait()
            yield write_picture(job)
        finally:
            self.cleaned = True


@pytest.fixture
async def held() -> Held:
    return Held()


def be_patient(
    monkeypatch: pytest.MonkeyPatch, first: float, longest: float, broken: float
) -> None:
    """Have writes tried again after such pauses, and what is broken for so many seconds."""
    pauses = partial(Pauses, first=first, longest=longest, growth=5.0)
    monkeypatch.setattr("safelight.worker.patience._PAUSES", pauses)
    monkeypatch.setattr("safelight.worker.patience._BROKEN_SECONDS", broken)


@contextmanager
def held_by_another(bench: Bench) -> Iterator[None]:
    """Somebody else writes in the database, and does not come to an end."""
    other = connect(bench.scratch.parent / "db")
    other.execute("begin immediate")
    try:
        yield
    finally:
        other.close()


@pytest.fixture
async def hasty(bench: Bench, tmp_path: Path) -> AsyncIterator[Bench]:
    """A bench whose store does not wait long for others."""
    await bench.store.close()
    bench.store = SQLiteStore.open(tmp_path / "db", busy=0.05)
    yield bench
    await bench.store.close()


# ------------------------------------------------------------------------------------- success


async def test_a_run_ends_with_its_files_kept(bench: Bench) -> None:
    ended = await bench.run()

    (artifact,) = ended.artifacts
    assert (ended.status, ended.progress, ended.attempt) == (Status.SUCCEEDED, 100, 1)
    assert artifact.blob == f"{task_folder(ID)}1-0.png"
    assert (artifact.media_type, artifact.width, artifact.height) == ("image/png", 8, 6)
    assert artifact.size == len(picture())
    assert await bench.blobs.get(artifact.blob) == picture()
    assert await bench.told() == ["queued", "running", "succeeded"]
    assert bench.left() == []
    assert bench.observed.told == [
        ("begun", "player", False), ("engine", "player"), ("ran", "player"),
        ("ended", "player", "succeeded", None),
    ]  # fmt: skip
    waited, *took = bench.observed.seconds
    assert waited > 0 and all(0 <= seconds < 10 for seconds in took)


async def test_several_files_keep_their_order(bench: Bench) -> None:
    async def play(job: Job) -> AsyncIterator[Event]:
        for n in range(3):
            yield write_picture(job, f"{n}.png", width=n + 1)
        film = job.folder / "film"
        film.write_bytes(b"film")
        yield File(path=film, media_type="video/mp4", duration=2.5)

    ended = await bench.run(play)

    assert [artifact.width for artifact in ended.artifacts] == [1, 2, 3, None]
    assert ended.artifacts[3].blob == f"{task_folder(ID)}1-3.mp4"
    assert ended.artifacts[3].duration == 2.5
    assert len({artifact.etag for artifact in ended.artifacts}) == 4
    assert len(bench.kept()) == 4


async def test_the_engine_is_given_the_task_its_options_and_a_folder(bench: Bench) -> None:
    bench.rules = (ModelRule(name="still", engine="sketch", options={"steps": 4}),)

    await bench.run()

    (job,) = bench.engine.jobs
    assert job.options == {"steps": 4}
    assert job.submit.prompt == "a lighthouse"
    assert job.task.attempt == 1
    assert job.folder.parent == bench.scratch
    assert job.max_pixels == 1_000_000


async def test_the_same_file_has_the_same_etag(bench: Bench) -> None:
    await bench.run()
    await bench.add(task(OTHER))
    await bench.worker().run(OTHER)

    assert (await bench.task()).artifacts[0].etag == (await bench.task(OTHER)).artifacts[0].etag


async def test_an_ended_or_unknown_task_is_not_run(bench: Bench) -> None:
    await bench.run()

    await bench.worker().run(ID)
    await bench.worker().run(OTHER)

    assert len(bench.engine.jobs) == 1


async def test_a_task_is_run_once_at_a_time(bench: Bench, held: Held) -> None:
    bench.engine.play = held
    await bench.add()
    worker = bench.worker()
    run = asyncio.create_task(worker.run(ID))
    await held.began.wait()

    await worker.run(ID)

    assert worker.runs(ID)
    held.gate.set()
    await run
    assert not worker.runs(ID)
    ended = await bench.task()
    assert (ended.status, ended.attempt, ended.deaths) == (Status.SUCCEEDED, 1, 0)


# ------------------------------------------------------------------------------------- failure


async def test_what_the_engine_says_of_its_failure_is_told(bench: Bench) -> None:
    async def play(job: Job) -> AsyncIterator[Event]:
        yield write_picture(job)
        raise Failed(FailureCode.CONTENT_POLICY, "Not this prompt", "NSFW")

    ended = await bench.run(play)

    assert ended.status is Status.FAILED
    assert ended.failure is not None
    assert (ended.failure.code, ended.failure.message, ended.failure.provider_code) == (
        FailureCode.CONTENT_POLICY,
        "Not this prompt",
        "NSFW",
    )
    assert (ended.artifacts, bench.kept(), bench.left()) == ((), [], [])


async def test_what_an_engine_did_not_mean_to_raise_is_not_told(bench: Bench) -> None:
    ended = await bench.run(raising(RuntimeError(f"key sk-very-secret in {__file__}")))

    assert ended.failure is not None
    assert ended.failure.code is FailureCode.INTERNAL
    assert ID in ended.failure.message
    for secret in ("very", "RuntimeError", "Traceback", ".py"):
        assert secret not in ended.failure.message
    assert bench.left() == []


BREAKS = [
    (MemoryError(), FailureCode.OUT_OF_MEMORY),
    (TimeoutError("the engine's own"), FailureCode.INTERNAL),
    (FileNotFoundError("x"), FailureCode.INTERNAL),
    (ExceptionGroup("several", [ValueError()]), FailureCode.INTERNAL),
]


@pytest.mark.parametrize(("problem", "code"), BREAKS, ids=lambda value: type(value).__name__)
async def test_every_break_ends_the_task(
    bench: Bench, problem: Exception, code: FailureCode
) -> None:
    ended = await bench.run(raising(problem))

    assert ended.status is Status.FAILED
    assert ended.failure is not None
    assert ended.failure.code is code


async def test_a_task_that_takes_too_long_is_ended(bench: Bench, held: Held) -> None:
    ended = await bench.run(held, time_limit=0.05)

    assert ended.failure is not None
    assert ended.failure.code is FailureCode.TIMEOUT
    assert "0.05 seconds" in ended.failure.message
    assert held.cleaned
    assert bench.left() == []


async def test_a_model_may_have_a_time_limit_of_its_own(bench: Bench, held: Held) -> None:
    bench.rules = (ModelRule(name="still", engine="sketch", time_limit=0.03),)

    ended = await bench.run(held)

    assert ended.failure is not None
    assert "0.03 seconds" in ended.failure.message


async def test_a_run_without_files_has_failed(bench: Bench) -> None:
    async def play(job: Job) -> AsyncIterator[Event]:
        yield Progress(percent=99)

    ended = await bench.run(play)

    assert ended.failure is not None
    assert ended.failure.code is FailureCode.PROVIDER_ERROR
    assert ended.progress == 99


async def test_a_file_that_is_not_there_has_failed(bench: Bench) -> None:
    async def play(job: Job) -> AsyncIterator[Event]:
        yield File(path=job.folder / "none.png", media_type="image/png")

    ended = await bench.run(play)

    assert ended.failure is not None
    assert ended.failure.code is FailureCode.INTERNAL


async def test_a_model_that_is_gone_since_is_told(bench: Bench) -> None:
    bench.rules = (ModelRule(name="another", engine="sketch"),)

    ended = await bench.run()

    assert ended.failure is not None
    assert ended.failure.code is FailureCode.INVALID_INPUT
    assert "still" in ended.failure.message


# --------------------------------------------------------------------------- cancel and delete


async def start(bench: Bench, held: Held, worker: Worker) -> asyncio.Task[bool]:
    bench.engine.play = held
    await bench.add()
    run = asyncio.create_task(worker.run(ID))
    await held.began.wait()
    return run


async def test_a_cancelled_task_is_stopped_at_once(bench: Bench, held: Held) -> None:
    worker = bench.worker()
    run = await start(bench, held, worker)

    await bench.store.write(scripts.cancel(ID, "alice", NOW))
    worker.stop(ID)

    assert await run is True
    assert held.cleaned
    assert (await bench.task()).status is Status.CANCELED
    assert (bench.kept(), bench.left(), worker.runs(ID)) == ([], [], False)


async def test_a_deleted_task_leaves_nothing(bench: Bench, held: Held) -> None:
    worker = bench.worker()
    run = await start(bench, held, worker)

    await bench.store.write(scripts.delete((ID,), "alice", None))
    worker.stop(ID)
    await run

    assert held.cleaned
    assert (bench.kept(), bench.left()) == ([], [])


@pytest.mark.parametrize("stopped", [False, True])
async def test_a_task_that_is_deleted_while_its_files_are_kept_leaves_none(
    bench: Bench, stopped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, entered, gate = Blobs.take, asyncio.Event(), asyncio.Event()

    async def slowly(self: Blobs, name: str, data: Path, *more: Any) -> None:
        entered.set()
        await gate.wait()
        await take(self, name, data, *more)

    monkeypatch.setattr(Blobs, "take", slowly)
    await bench.add()
    worker = bench.worker()
    run = asyncio.create_task(worker.run(ID))
    await entered.wait()

    await bench.store.write(scripts.delete((ID,), "alice", None))
    await bench.blobs.remove(task_folder(ID))
    if stopped:
        worker.stop(ID)
    gate.set()
    await run

    assert bench.kept() == []


@pytest.mark.parametrize("end", ["cancel", "delete", "none"])
async def test_an_end_that_was_not_heard_of_is_seen(bench: Bench, held: Held, end: str) -> None:
    worker = bench.worker()
    run = await start(bench, held, worker)
    if end == "cancel":
        await bench.store.write(scripts.cancel(ID, "alice", NOW))
    if end == "delete":
        await bench.store.write(scripts.delete((ID,), "alice", None))

    await worker.look()

    if end == "none":
        assert worker.runs(ID)
        held.gate.set()
    assert await run is True
    assert held.cleaned
    assert (bench.left(), len(bench.kept())) == ([], 1 if end == "none" else 0)


async def test_stopping_what_is_not_run_does_nothing(bench: Bench) -> None:
    bench.worker().stop(ID)


async def test_a_run_that_is_cancelled_from_outside_says_so(bench: Bench, held: Held) -> None:
    worker = bench.worker()
    run = await start(bench, held, worker)

    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run

    assert held.cleaned
    assert not worker.runs(ID)


# ----------------------------------------------------------------------- claims, deaths, drain


@pytest.mark.parametrize("how", ["end", "fail", "progress"])
async def test_a_worker_that_lost_its_claim_changes_nothing(
    bench: Bench, held: Held, how: str
) -> None:
    async def play(job: Job) -> AsyncIterator[Event]:
        async for event in held(job):
            if held.gate.is_set() and how == "fail":
                raise Failed(FailureCode.PROVIDER_ERROR, "too late")
            yield event
            if held.gate.is_set() and how == "progress":
                await asyncio.sleep(0.5)  # so long as progress is not written again
                yield Progress(percent=90)
                raise AssertionError("it was not told that the task is lost")

    bench.engine.play = play
    await bench.add()
    run = asyncio.create_task(bench.worker("w1").run(ID))
    await held.began.wait()
    other = await bench.store.write(scripts.claim(ID, "w2", NOW + 5))
    before = await bench.task()

    held.gate.set()
    await run

    assert await bench.task() == before == other
    assert await bench.told() == ["queued", "running", "running"]
    assert bench.left() == []


async def test_what_another_attempt_kept_is_not_overwritten(bench: Bench, held: Held) -> None:
    run = await start(bench, held, bench.worker("w1"))
    bench.engine.play = one_picture
    await bench.worker("w2").run(ID)
    ended = await bench.task()

    held.gate.set()
    await run

    assert await bench.task() == ended
    assert ended.artifacts[0].blob == f"{task_folder(ID)}2-0.png"
    assert (ended.attempt, ended.deaths) == (2, 1)
    assert ("begun", "", True) in bench.observed.told


async def test_a_drained_run_is_given_back_and_no_death(bench: Bench, held: Held) -> None:
    worker = bench.worker("w1")
    run = await start(bench, held, worker)

    await worker.release()

    assert await run is False  # the queue is to hand it out again
    assert held.cleaned
    given_back = await bench.task()
    assert (given_back.status, given_back.deaths) == (Status.RUNNING, 0)
    assert bench.left() == []

    bench.engine.play = one_picture
    await bench.worker("w2").run(ID)
    ended = await bench.task()
    assert (ended.status, ended.attempt, ended.deaths) == (Status.SUCCEEDED, 2, 0)


async def test_a_claim_that_is_on_its_way_is_given_back_too(bench: Bench) -> None:
    gate = threading.Event()

    def hold() -> Script[None]:
        yield Query("list_keys", {})
        gate.wait(10)

    await bench.add()
    holding = asyncio.create_task(bench.store.write(hold()))
    await asyncio.sleep(0)
    worker = bench.worker("w1")
    run = asyncio.create_task(worker.run(ID))
    await until(lambda: worker.runs(ID))
    await asyncio.sleep(0)  # the claim waits for the writer
    releasing = asyncio.create_task(worker.release())
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(holding, run, releasing)

    assert bench.engine.jobs == []
    await bench.worker("w2").run(ID)
    assert (await bench.task()).deaths == 0


async def test_what_is_being_given_back_is_not_disturbed(sending: Bench) -> None:
    """Those elsewhere are given back at once, all others after the grace: nobody is told twice."""
    gate = threading.Event()

    def hold() -> Script[None]:
        yield Query("list_keys", {})
        gate.wait(10)

    worker, play = sending.worker("w1"), Elsewhere()
    run = await send(sending, play, worker)
    holding = asyncio.create_task(sending.store.write(hold()))
    await asyncio.sleep(0)
    releasing = [asyncio.create_task(worker.release(remote_only=True))]
    await until(lambda: play.ended == [False, False])  # the engine is closed: now it is written
    await asyncio.sleep(0.05)
    releasing += [asyncio.create_task(worker.release(elsewhere)) for elsewhere in (False, True)]
    worker.stop(ID)  # and what an owner wants of it at this moment does no harm
    await asyncio.sleep(0.05)
    assert not any(one.done() for one in (run, *releasing))
    gate.set()
    await asyncio.gather(holding, run, *releasing)

    again = await sending.store.write(scripts.claim(ID, "w2", NOW))
    assert again is not None
    assert again.deaths == 0


async def test_an_end_that_is_being_written_is_not_disturbed(
    hasty: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_patient(monkeypatch, 0.05, 0.05, broken=2.5)
    worker, failing = hasty.worker("w1"), asyncio.Event()

    async def play(job: Job) -> AsyncIterator[Event]:
        yield Progress(percent=1)
        failing.set()
        raise Failed(FailureCode.CONTENT_POLICY, "Not this prompt")

    hasty.engine.play = play
    await hasty.add()
    run = asyncio.create_task(worker.run(ID))
    await failing.wait()
    with held_by_another(hasty):
        await asyncio.sleep(0.2)
        releasing = asyncio.create_task(worker.release())
        await asyncio.sleep(0.2)
    await asyncio.gather(run, releasing)

    ended = await hasty.task()
    assert (ended.status, ended.attempt, ended.deaths) == (Status.FAILED, 1, 0)


async def test_who_is_to_end_does_not_wait_long_to_give_back(
    bench: Bench, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, write, refusals = bench.worker("w1"), SQLiteStore.write, 2

    async def away(self: SQLiteStore, script: Script[Any]) -> Any:
        nonlocal refusals
        if refusals and getattr(script, "__name__", "") == "release":
            refusals -= 1
            raise StoreUnavailable("the database is away")
        return await write(self, script)

    run = await start(bench, held, worker)
    monkeypatch.setattr(SQLiteStore, "write", away)
    be_patient(monkeypatch, 60, 60, broken=1)  # as it is while there is all the time in the world

    await asyncio.wait_for(worker.release(), 10)

    assert (await run, refusals) == (False, 0)
    assert (await bench.task()).deaths == 0


async def test_what_cannot_be_given_back_is_left_to_others(
    hasty: Bench, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_patient(monkeypatch, 0.01, 0.01, broken=0.02)
    worker = hasty.worker("w1", patience=0.2)
    run = await start(hasty, held, worker)
    with held_by_another(hasty):
        await worker.release()

    assert await run is False  # the queue is to hand it out again
    assert not worker.runs(ID)


async def test_nothing_to_release_is_released(bench: Bench) -> None:
    await bench.worker().release()


async def test_three_deaths_are_enough(bench: Bench) -> None:
    await bench.add()
    for n in range(3):
        await bench.store.write(scripts.claim(ID, f"dead {n}", NOW + n))

    await bench.worker("w4").run(ID)

    ended = await bench.task()
    assert (ended.status, ended.deaths, ended.attempt) == (Status.FAILED, 3, 4)
    assert ended.failure is not None
    assert ended.failure.code is FailureCode.WORKER_DIED
    assert "3 workers died" in ended.failure.message
    assert bench.engine.jobs == []


async def test_two_deaths_are_not(bench: Bench) -> None:
    await bench.add()
    for n in range(2):
        await bench.store.write(scripts.claim(ID, f"dead {n}", NOW + n))

    await bench.worker("w3").run(ID)

    assert (await bench.task()).status is Status.SUCCEEDED


async def test_a_worker_that_died_while_uploading_is_followed(bench: Bench) -> None:
    await bench.add()
    await bench.store.write(scripts.claim(ID, "dead", NOW))
    await bench.store.write(scripts.upload(ID, 1, NOW))

    await bench.worker().run(ID)

    assert (await bench.task()).status is Status.SUCCEEDED


# -------------------------------------------------------------------------- engines that wait


@pytest.fixture
async def sending(bench: Bench) -> Bench:
    """A bench whose engine has its tasks done elsewhere."""
    bench.engine = Sender()
    return bench


def remote_of(job: Job) -> RemoteJob:
    assert isinstance(job, RemoteJob)
    return job


class Elsewhere:
    """A run that has its task done elsewhere: it remembers, starts, and waits to be let go."""

    def __init__(self, remembered: dict[str, Any] | None = None, started: bool = True) -> None:
        self.remembered = {"id": "cgt-1"} if remembered is None else remembered
        self.started = started
        self.began = asyncio.Event()
        self.gate = asyncio.Event()
        self.ended: list[bool] = []

    async def __call__(self, job: Job) -> AsyncIterator[Event]:
        remote = remote_of(job)
        self.ended.append(remote.ended())
        try:
            yield Remember(memory=self.remembered)
            if self.started:
                yield Started()
            self.began.set()
            await self.gate.wait()
            yield write_picture(job)
        finally:
            self.ended.append(remote.ended())


async def send(bench: Bench, play: Elsewhere, worker: Worker) -> asyncio.Task[bool]:
    """Add a task and run it until it waits elsewhere."""
    bench.engine.play = play
    await bench.add()
    run = asyncio.create_task(worker.run(ID, "sender"))
    await play.began.wait()
    return run


async def test_an_engine_that_waits_is_given_a_remote_job(sending: Bench) -> None:
    async def secret(name: str) -> str:
        return f"the key {name}"

    sending.secret = secret
    sending.public_url = "https://images.example.com"
    sending.rules = (ModelRule(name="still", engine="sketch", options={"steps": 4}),)
    told: list[str] = []

    async def play(job: Job) -> AsyncIterator[Event]:
        remote = remote_of(job)
        told.append(await remote.secret("kie"))
        await remote.take_turn("kie", 100, False)
        assert not remote.ended()
        fetched.extend(await remote.fetch_sources())
        yield write_picture(job)

    fetched: list[Given] = []
    sending.engine.play = play
    await sending.blobs.put("tasks/x/source-0", picture())
    await sending.add(task(sources=[Source(blob="tasks/x/source-0")]))
    assert await sending.worker().run(ID, "sender")

    assert (await sending.task()).status is Status.SUCCEEDED
    (job,) = map(remote_of, sending.engine.jobs)
    assert (job.memory, job.options, told) == ({}, {"steps": 4}, ["the key kie"])
    assert (job.folder.parent, job.max_pixels) == (sending.scratch, 1_000_000)
    assert job.sources == ()  # they are fetched when there is a place for the task
    (given,) = fetched
    assert given.url is not None
    target = sending.links.read_url(given.url)
    assert given.url.startswith("https://images.example.com/")
    assert target is not None
    assert (target.id, target.what, target.number) == (ID, "s", 0)


async def test_without_a_public_address_a_source_has_no_link(sending: Bench) -> None:
    async def play(job: Job) -> AsyncIterator[Event]:
        fetched.extend(await remote_of(job).fetch_sources())
        yield write_picture(job)

    fetched: list[Given] = []
    sending.engine.play = play
    await sending.blobs.put("tasks/x/source-0", picture())
    await sending.add(task(sources=[Source(blob="tasks/x/source-0")]))
    await sending.worker().run(ID, "sender")

    assert [given.url for given in fetched] == [None]


async def test_a_job_of_another_engine_is_no_remote_job(bench: Bench) -> None:
    await bench.run()

    assert not isinstance(bench.engine.jobs[0], RemoteJob)


async def no_key(name: str) -> None:
    return None


@pytest.mark.parametrize("secret", [None, no_key])
async def test_a_key_that_is_not_there_fails_the_task(
    sending: Bench, secret: Callable[[str], Awaitable[str | None]] | None
) -> None:
    sending.secret = secret

    async def play(job: Job) -> AsyncIterator[Event]:
        await remote_of(job).secret("kie")
        yield write_picture(job)

    ended = await sending.run(play)

    assert ended.failure is not None
    assert ended.failure.code is FailureCode.INTERNAL
    assert "'kie'" in ended.failure.message


async def test_what_is_remembered_is_on_disk_before_the_engine_goes_on(sending: Bench) -> None:
    seen: list[dict[str, Any]] = []

    async def play(job: Job) -> AsyncIterator[Event]:
        for memory in ({"asking": 1.5}, {"id": "cgt-1", "urls": ["a"]}):
            yield Remember(memory=memory)
            other = SQLiteStore.open(sending.scratch.parent / "db")
            seen.append(await other.read(scripts.recall(ID)))
            await other.close()
        yield write_picture(job)

    ended = await sending.run(play)

    assert ended.status is Status.SUCCEEDED
    assert seen == [{"asking": 1.5}, {"id": "cgt-1", "urls": ["a"]}]


@pytest.mark.parametrize("how", ["release", "death"])
async def test_the_next_attempt_is_given_what_was_remembered(sending: Bench, how: str) -> None:
    worker, play = sending.worker("w1"), Elsewhere()
    run = await send(sending, play, worker)
    if how == "release":
        await worker.release()
        assert await run is False

    again = Elsewhere({"id": "cgt-1", "polls": 7})
    again.gate.set()
    sending.engine.play = again
    assert await sending.worker("w2").run(ID, "sender")
    if how == "death":
        play.gate.set()  # it lives after all, and comes too late
        await run

    ended = await sending.task()
    memories = [remote_of(job).memory for job in sending.engine.jobs]
    assert memories == [{}, {"id": "cgt-1"}]
    assert await sending.store.read(scripts.recall(ID)) == {"id": "cgt-1", "polls": 7}
    assert (ended.status, ended.attempt) == (Status.SUCCEEDED, 2)
    assert ended.deaths == (1 if how == "death" else 0)
    assert ended.artifacts[0].blob == f"{task_folder(ID)}2-0.png"


async def test_a_worker_that_lost_its_task_remembers_nothing_more(sending: Bench) -> None:
    gate, began, went_on = asyncio.Event(), asyncio.Event(), False

    async def play(job: Job) -> AsyncIterator[Event]:
        nonlocal went_on
        yield Remember(memory={"asking": 1})
        began.set()
        await gate.wait()
        yield Remember(memory={"asking": 2})
        went_on = True

    sending.engine.play = play
    await sending.add()
    run = asyncio.create_task(sending.worker().run(ID, "sender"))
    await began.wait()
    await sending.store.write(scripts.claim(ID, "w2", NOW, waits=True))
    gate.set()
    await run

    assert not went_on  # it would ask the other service, and pay, a second time
    assert await sending.store.read(scripts.recall(ID)) == {"asking": 1}


async def test_a_task_that_waits_is_queued_until_it_is_started(sending: Bench) -> None:
    seen: list[Status] = []

    async def play(job: Job) -> AsyncIterator[Event]:
        seen.append((await sending.task()).status)
        yield Progress(percent=3)
        yield Remember(memory={"id": 1})
        seen.append((await sending.task()).status)
        for _ in range(2):
            yield Started()
            seen.append((await sending.task()).status)
        yield write_picture(job)

    ended = await sending.run(play)

    assert seen == [Status.QUEUED, Status.QUEUED, Status.RUNNING, Status.RUNNING]
    assert ended.started is not None
    assert await sending.told() == ["queued", "queued", "running", "succeeded"]


async def test_a_task_that_was_never_started_runs_before_it_is_uploaded(sending: Bench) -> None:
    ended = await sending.run()

    assert ended.status is Status.SUCCEEDED
    assert await sending.told() == ["queued", "queued", "running", "succeeded"]


async def test_a_task_that_waits_may_fail_before_it_is_started(sending: Bench) -> None:
    ended = await sending.run(raising(Failed(FailureCode.CONTENT_POLICY, "no")))

    assert ended.status is Status.FAILED
    assert await sending.told() == ["queued", "queued", "failed"]


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("how", ["cancel", "delete", "unheard"])
async def test_an_engine_knows_that_the_owner_has_ended_its_task(
    sending: Bench, how: str, started: bool
) -> None:
    worker, play = sending.worker(), Elsewhere(started=started)
    run = await send(sending, play, worker)
    if how == "delete":
        await sending.store.write(scripts.delete((ID,), "alice", None))
    else:
        await sending.store.write(scripts.cancel(ID, "alice", NOW))
    if how == "unheard":
        await worker.look()
    else:
        worker.stop(ID)

    assert await run is True
    assert play.ended == [False, True]
    assert sending.left() == []


async def test_a_task_that_is_given_back_was_not_ended(sending: Bench) -> None:
    worker, play = sending.worker(), Elsewhere()
    run = await send(sending, play, worker)

    await worker.release()

    assert await run is False
    assert play.ended == [False, False]
    assert (await sending.task()).status is Status.RUNNING


async def test_an_end_of_one_run_is_none_of_the_next(sending: Bench) -> None:
    worker, play = sending.worker(), Elsewhere()
    run = await send(sending, play, worker)
    worker.stop(ID)  # though nobody has ended it: so it is run again
    await run
    play.gate.set()

    await worker.run(ID, "sender")

    assert play.ended == [False, True, False, False]
    assert (await sending.task()).status is Status.SUCCEEDED


async def die(bench: Bench, times: int) -> None:
    for n in range(times):
        await bench.store.write(scripts.claim(ID, f"dead {n}", NOW + n, waits=True))


@pytest.mark.parametrize("deaths", [3, 7])
async def test_deaths_do_not_fail_a_task_that_another_service_has(
    sending: Bench, deaths: int
) -> None:
    await sending.add()
    await die(sending, deaths)
    await sending.store.write(scripts.remember(ID, deaths, {"id": "cgt-1"}))

    await sending.worker().run(ID, "sender")

    ended = await sending.task()
    assert (ended.status, ended.deaths) == (Status.SUCCEEDED, deaths)
    assert remote_of(sending.engine.jobs[0]).memory == {"id": "cgt-1"}


async def test_three_deaths_fail_a_task_that_no_service_has(sending: Bench) -> None:
    await sending.add()
    await die(sending, 3)
    await sending.store.write(scripts.remember(ID, 3, {}))

    await sending.worker().run(ID, "sender")

    failure = (await sending.task()).failure
    assert failure is not None
    assert failure.code is FailureCode.WORKER_DIED
    assert sending.engine.jobs == []


async def test_memory_that_cannot_be_read_just_now_is_waited_for(
    sending: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken for none, the other service would be asked, and paid, a second time."""
    await sending.add()
    await die(sending, 1)
    await sending.store.write(scripts.remember(ID, 1, {"id": "cgt-1"}))
    read, refusals = SQLiteStore.read, 2

    async def away(self: SQLiteStore, script: Script[Any]) -> Any:
        nonlocal refusals
        if refusals and getattr(script, "__name__", "") == "recall":
            refusals -= 1
            raise StoreUnavailable("away")
        return await read(self, script)

    be_patient(monkeypatch, 0.01, 0.01, broken=10.0)
    monkeypatch.setattr(SQLiteStore, "read", away)

    await sending.worker().run(ID, "sender")

    assert refusals == 0
    assert [remote_of(job).memory for job in sending.engine.jobs] == [{"id": "cgt-1"}]


async def test_an_engine_that_waits_keeps_the_time_itself(sending: Bench) -> None:
    async def play(job: Job) -> AsyncIterator[Event]:
        await asyncio.sleep(0.2)
        yield write_picture(job)

    ended = await sending.run(play, time_limit=0.02)

    assert ended.status is Status.SUCCEEDED


async def test_a_model_of_an_engine_that_waits_may_have_a_time_limit(sending: Bench) -> None:
    sending.rules = (ModelRule(name="still", engine="sketch", time_limit=0.03),)

    ended = await sending.run(Elsewhere())

    assert ended.failure is not None
    assert ended.failure.code is FailureCode.TIMEOUT
    assert "0.03 seconds" in ended.failure.message


async def test_turns_are_shared_by_the_workers_of_one_store(sending: Bench) -> None:
    times: list[float] = []

    async def play(job: Job) -> AsyncIterator[Event]:
        await remote_of(job).take_turn("kie", 20, False)
        times.append(time.time())
        yield write_picture(job)

    sending.engine.play = play
    ids = [new_id(NOW + n, bytes(6)) for n in range(8)]
    await sending.add(*map(task, ids))
    workers = [sending.worker(f"w{n}") for n in range(2)]
    began = time.time()
    await asyncio.gather(*(workers[n % 2].run(id, "sender") for n, id in enumerate(ids)))

    assert all(at >= began + n / 20 - 0.002 for n, at in enumerate(sorted(times)))
    assert [(await sending.task(id)).status for id in ids] == [Status.SUCCEEDED] * 8


async def test_a_turn_that_the_database_cannot_give_is_waited_for(
    sending: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, refusals = SQLiteStore.write, 2

    async def away(self: SQLiteStore, script: Script[Any]) -> Any:
        nonlocal refusals
        if refusals and getattr(script, "__name__", "") == "take_turns":
            refusals -= 1
            raise StoreUnavailable("away")
        return await write(self, script)

    async def play(job: Job) -> AsyncIterator[Event]:
        await remote_of(job).take_turn("kie", 100, False)
        yield write_picture(job)

    be_patient(monkeypatch, 0.01, 0.01, broken=10.0)
    monkeypatch.setattr(SQLiteStore, "write", away)

    assert (await sending.run(play)).status is Status.SUCCEEDED
    assert refusals == 0


# ------------------------------------------------------------------------------------- sources


async def run_with(bench: Bench, *sources: Source) -> Task:
    await bench.add(task(sources=sources))
    await bench.worker().run(ID)
    return await bench.task()


async def test_an_upload_is_given_to_the_engine(bench: Bench) -> None:
    seen: list[bytes] = []

    async def play(job: Job) -> AsyncIterator[Event]:
        seen.extend(given.path.read_bytes() for given in job.sources)
        yield write_picture(job)

    bench.engine.play = play
    data = picture(3, 3, "JPEG")
    await bench.blobs.put("tasks/x/source-0", data)

    ended = await run_with(bench, Source(blob="tasks/x/source-0", role=Role.MASK))

    assert ended.status is Status.SUCCEEDED
    assert seen == [data]
    (given,) = bench.engine.jobs[0].sources
    assert (given.role, given.media_type) == (Role.MASK, "image/jpeg")


async def test_a_link_of_ours_is_read_from_the_blobs(bench: Bench) -> None:
    await bench.add(task(OTHER, sources=[Source(blob="tasks/x/source-0")]))
    await bench.blobs.put("tasks/x/source-0", picture(format="BMP"))
    await bench.worker().run(OTHER)
    # Whatever name this server was called by: no connection is made to it.
    base = "http://nowhere.invalid"
    made = bench.links.write(base, Target(OTHER, "a", 0), "image/png")
    sent = bench.links.write(base, Target(OTHER, "s", 0), "image/bmp")

    ended = await run_with(bench, Source(url=made), Source(url=sent))

    assert ended.status is Status.SUCCEEDED
    types = [given.media_type for given in bench.engine.jobs[-1].sources]
    assert types == ["image/png", "image/bmp"]


async def test_a_link_of_ours_that_leads_nowhere_is_told(bench: Bench) -> None:
    gone = bench.links.write("http://x", Target(OTHER, "a", 0), "image/png")

    ended = await run_with(bench, Source(url=gone))

    assert ended.failure is not None
    assert ended.failure.code is FailureCode.SOURCE_UNAVAILABLE


async def test_an_upload_that_is_gone_is_told(bench: Bench) -> None:
    ended = await run_with(bench, Source(blob="tasks/x/source-0"))

    assert ended.failure is not None
    assert ended.failure.code is FailureCode.SOURCE_UNAVAILABLE
    assert "tasks/x" not in ended.failure.message


async def test_an_address_is_fetched(bench: Bench) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        status = "200 OK" if "/there" in head else "404 Not Found"
        body = picture(format="WEBP")
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        there = await run_with(bench, Source(url=f"{base}/there"))
        await bench.add(task(OTHER, sources=[Source(url=f"{base}/away?token=x")]))
        await bench.worker().run(OTHER)

    assert there.status is Status.SUCCEEDED
    (given,) = bench.engine.jobs[0].sources
    assert given.media_type == "image/webp"
    away = (await bench.task(OTHER)).failure
    assert away is not None
    assert away.code is FailureCode.SOURCE_UNAVAILABLE
    assert away.message == f"{base}/away: answered with status 404"


async def test_a_source_that_is_too_large_is_told_without_its_query(bench: Bench) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10001\r\n\r\n" + bytes(10_001))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ended = await run_with(bench, Source(url=f"{base}/large?token=x"))

    assert ended.failure is not None
    assert ended.failure.code is FailureCode.INVALID_INPUT
    assert ended.failure.message == f"{base}/large: larger than 10000 bytes"


async def test_a_failed_source_is_told_in_few_words(bench: Bench) -> None:
    ended = await run_with(bench, Source(url=f"http://{'a' * 300}.example/x?token=secret"))

    assert ended.failure is not None
    assert "secret" not in ended.failure.message
    assert len(ended.failure.message) < 300


async def test_a_source_that_is_slow_counts_into_the_time_limit(bench: Bench) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the other side has enough of it
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        await bench.add(task(sources=[Source(url=url)]))
        await bench.worker(time_limit=0.1).run(ID)

    failure = (await bench.task()).failure
    assert failure is not None
    assert failure.code is FailureCode.TIMEOUT


# --------------------------------------------------------------------------- progress and logs


async def test_progress_is_written_now_and_then_and_is_never_whole(bench: Bench) -> None:
    seen: list[int | None] = []

    async def play(job: Job) -> AsyncIterator[Event]:
        for percent in (-5, 3, 50, 100, 250):
            yield Progress(percent=percent)
            seen.append((await bench.task()).progress)
        await asyncio.sleep(0.55)  # so long as progress is not written again
        for percent in (400, 20):
            yield Progress(percent=percent)
            seen.append((await bench.task()).progress)
        yield write_picture(job)

    ended = await bench.run(play)

    assert seen == [0, 0, 0, 0, 0, 99, 99]
    assert ended.progress == 100


async def test_lines_of_the_engine_are_kept_and_cut(bench: Bench) -> None:
    async def play(job: Job) -> AsyncIterator[Event]:
        yield Log(text="loading")
        yield Log(text="x" * 5000)
        yield write_picture(job)

    await bench.run(play)

    rows = await bench.store.read(scripts.events(ID))
    notes = [row.note for row in rows if row.what == "log"]
    assert notes == ["loading", "x" * 2000]


@pytest.mark.parametrize("notes", ["progress", "lines"])
async def test_what_cannot_be_noted_neither_ends_a_task_nor_holds_it_up(
    bench: Bench, notes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safelight.worker.notes._PROGRESS_SECONDS", 0)
    took: list[float] = []

    async def play(job: Job) -> AsyncIterator[Event]:
        began = time.monotonic()
        with held_by_another(bench):
            for n in range(50):
                yield Progress(percent=n) if notes == "progress" else Log(text=f"line {n}")
            took.append(time.monotonic() - began)
        yield write_picture(job)

    ended = await bench.run(play, time_limit=600)

    assert ended.status is Status.SUCCEEDED
    assert took[0] < 9  # three for the first note, and next to nothing for the others


async def test_a_note_after_those_that_were_dropped_is_written(
    hasty: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safelight.worker.notes._PROGRESS_SECONDS", 0)
    monkeypatch.setattr("safelight.worker.patience._QUIET_SECONDS", 0)
    seen: list[int | None] = []

    async def play(job: Job) -> AsyncIterator[Event]:
        with held_by_another(hasty):
            yield Progress(percent=10)
            seen.append((await hasty.task()).progress)
        yield Progress(percent=20)
        seen.append((await hasty.task()).progress)
        yield write_picture(job)

    assert (await hasty.run(play)).status is Status.SUCCEEDED
    assert seen == [None, 20]


async def test_what_must_be_written_waits_for_a_database_that_is_held(
    hasty: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_patient(monkeypatch, 0.01, 0.2, broken=0.21)

    async def play(job: Job) -> AsyncIterator[Event]:
        yield write_picture(job)
        held = held_by_another(hasty)
        held.__enter__()
        asyncio.get_running_loop().call_later(1.5, held.__exit__, None, None, None)

    # Longer than a problem is waited for that is none of a database that is away.
    assert (await hasty.run(play)).status is Status.SUCCEEDED


async def test_a_place_is_left_once_the_engine_is_done_and_before_its_files_are_kept(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, kept, left = Blobs.take, asyncio.Event(), asyncio.Event()

    async def slow(self: Blobs, name: str, path: Path, media_type: str | None = None) -> None:
        await kept.wait()
        await take(self, name, path, media_type)

    monkeypatch.setattr(Blobs, "take", slow)
    await bench.add()
    worker = bench.worker()
    run = asyncio.create_task(worker.run(ID, bench.engine.name, left.set))

    await asyncio.wait_for(left.wait(), 5)
    assert not run.done()
    assert worker.runs(ID)  # a server that drains waits for it
    kept.set()
    await asyncio.wait_for(run, 5)
    assert (await bench.task()).status is Status.SUCCEEDED


async def test_a_place_is_kept_where_too_many_keep_their_files(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, kept, left = Blobs.take, asyncio.Event(), list[str]()

    async def slow(self: Blobs, name: str, path: Path, media_type: str | None = None) -> None:
        await kept.wait()
        await take(self, name, path, media_type)

    monkeypatch.setattr(Blobs, "take", slow)
    monkeypatch.setattr("safelight.worker.run._MOST_KEEPING", 1)
    others = [f"{ID[:-1]}{n}" for n in range(5, 8)]
    await bench.add(*(task(id=id) for id in others))
    worker = bench.worker()
    runs = [
        asyncio.create_task(worker.run(id, bench.engine.name, partial(left.append, id)))
        for id in others
    ]

    await until(lambda: len(left) == 1 and len(bench.engine.jobs) == 3)
    kept.set()
    await asyncio.wait_for(asyncio.gather(*runs), 5)
    assert len(left) == 1


# ------------------------------------------------------------------------------------- trouble


async def test_a_write_that_the_database_refuses_is_tried_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, refusals = SQLiteStore.write, 2

    async def full(self: SQLiteStore, script: Script[Any]) -> Any:
        nonlocal refusals
        if refusals and isinstance(script, Single) and script.change.query.name == "finish_task":
            refusals -= 1
            raise OSError("disk full")
        return await write(self, script)

    be_patient(monkeypatch, 0.01, 0.01, broken=10.0)
    monkeypatch.setattr(SQLiteStore, "write", full)

    ended = await bench.run()

    assert ended.status is Status.SUCCEEDED
    assert refusals == 0


async def test_a_database_that_refuses_for_good_does_not_raise(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.add()
    be_patient(monkeypatch, 0.01, 0.01, broken=0.01)

    async def full(self: SQLiteStore, script: Script[Any]) -> Any:
        raise OSError("disk full")

    with monkeypatch.context() as broken:
        broken.setattr(SQLiteStore, "write", full)
        await bench.worker().run(ID)

    assert (await bench.task()).status is Status.QUEUED


async def test_a_store_that_closes_under_a_run_ends_it_quietly(bench: Bench, held: Held) -> None:
    run = await start(bench, held, bench.worker())

    await bench.store.close()
    held.gate.set()
    await run

    assert held.cleaned
    assert bench.left() == []


async def test_an_engine_need_not_be_a_generator(bench: Bench) -> None:
    class Two:
        """An iterator without `aclose`."""

        def __init__(self, job: Job) -> None:
            self.events: list[Event] = [write_picture(job), Progress(percent=10)]

        def __aiter__(self) -> Two:
            return self

        async def __anext__(self) -> Event:
            if not self.events:
                raise StopAsyncIteration
            return self.events.pop()

    assert (await bench.run(Two)).status is Status.SUCCEEDED


# ------------------------------------------------------------- what is seen and waited for


async def test_a_preview_is_kept_for_those_who_look_on_and_is_no_result(bench: Bench) -> None:
    async def play(job: Job) -> AsyncIterator[Event]:
        (job.folder / "so-far.jpg").write_bytes(picture(format="JPEG"))
        for _ in range(5):  # at most one a second is kept
            yield Preview(path=job.folder / "so-far.jpg")
        yield write_picture(job)

    done = await bench.run(play)

    assert done.status is Status.SUCCEEDED
    assert len(done.artifacts) == 1
    assert f"{task_folder(ID)}preview.jpg" in bench.kept()
    assert (bench.files / task_folder(ID) / "preview.jpg").read_bytes() == picture(format="JPEG")


async def test_a_preview_that_cannot_be_kept_does_no_harm(bench: Bench) -> None:
    async def play(job: Job) -> AsyncIterator[Event]:
        yield Preview(path=job.folder / "nothing.jpg")
        yield write_picture(job)

    assert (await bench.run(play)).status is Status.SUCCEEDED


async def test_waiting_for_a_turn_does_not_count_for_the_time_limit(bench: Bench) -> None:
    async def play(job: Job) -> AsyncIterator[Event]:
        yield Waiting()
        await asyncio.sleep(0.5)
        yield Progress(percent=1)
        yield write_picture(job)

    assert (await bench.run(play, time_limit=0.3)).status is Status.SUCCEEDED


async def test_the_time_limit_goes_on_after_the_turn_has_come(bench: Bench) -> None:
    async def play(job: Job) -> AsyncIterator[Event]:
        yield Waiting()
        yield Progress(percent=1)
        await asyncio.sleep(60)
        yield write_picture(job)

    ended = await bench.run(play, time_limit=0.2)
    assert ended.failure is not None
    assert ended.failure.code is FailureCode.TIMEOUT
