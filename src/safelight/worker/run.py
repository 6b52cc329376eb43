"""One run of one task: claim it, fetch its sources, run its engine, keep its files, write its end.

The rule for whoever edits it: every write names the attempt that the claim gave us, so a worker
that lost its task meanwhile changes nothing; and an end is written only when its files are kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import time
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import structlog

from safelight.engines import Event, Failed, File, Given, Job, RemoteJob, Unfetched, Waiting
from safelight.engines.kit.paid import see_through
from safelight.errors import UnknownModel
from safelight.fetching import Fetcher, FetchError
from safelight.models import ModelMap, Place
from safelight.store import Store, StoreClosed, StoreUnavailable, scripts
from safelight.store.scripts import AnyScript
from safelight.task import Artifact, Failure, FailureCode, Record, Status, Submit, Task
from safelight.turns import Turns
from safelight.worker.keeping import Keeper, remove_folder
from safelight.worker.notes import Lost, Notes, check_ours
from safelight.worker.observing import Observer
from safelight.worker.patience import Patience
from safelight.worker.sources import Sources

_log = structlog.get_logger("safelight.worker")

# So many runs of a process whose engines are done keep their files beside those that work: what an
# engine takes, a device or a processor, need not wait for disks and networks.
_MOST_KEEPING = 16
# Keeping files that takes no longer is nothing that anybody would see, and costs no commit.
_NOTICEABLE_SECONDS = 0.25


class Limits(Record, frozen=True, kw_only=True):
    """What a run may take: `seconds` unless its model says otherwise, and pixels of a picture.

    A task of which so many workers died is not run again.
    """

    seconds: float
    deaths: int
    pixels: int


class Keeping:
    """Counts the runs whose engines are done, and which keep their files."""

    def __init__(self) -> None:
        self._runs = 0

    @contextmanager
    def beside(self, leave: Callable[[], None]) -> Iterator[None]:
        """Keep files beside runs that work: `leave`, unless too many do already."""
        self._runs += 1
        if self._runs <= _MOST_KEEPING:
            leave()
        try:
            yield
        finally:
            self._runs -= 1


class Means(Record, frozen=True, kw_only=True):
    """What all runs of a worker share.

    `results` fetches what was made elsewhere, `secret` gives a key at another service, None where
    there is none of that name, `observe` hears of runs and `learn` how many seconds a whole one
    took, and `leaving` says whether tasks are to be given back when their runs are cancelled.
    """

    name: str
    store: Store
    models: ModelMap
    limits: Limits
    patience: Patience
    sources: Sources
    keeper: Keeper
    keeping: Keeping
    turns: Turns
    results: Fetcher
    scratch: Path
    secret: Callable[[str], Awaitable[str | None]] | None
    observe: Observer
    learn: Callable[[Submit, float], None]
    clock: Callable[[], int]
    leaving: Callable[[], bool]


class Run:
    """One run of the task of that id, which was queued for an engine of that name.

    `leave` is called when that engine is done, and may do other work.
    """

    def __init__(self, means: Means, task_id: str, engine: str, leave: Callable[[], None]) -> None:
        self.engine = engine
        self.waits = means.models.waits(engine)  # the task is done elsewhere
        self.leave = leave
        self.ended = False  # set where the task was ended by its owner
        self._means = means
        self._id = task_id

    async def carry_out(self) -> None:
        """Run the task to its end, if it is to be had."""
        task = await self._claim()
        if task is not None:
            await _Attempt(self, self._means, task).carry_out()

    async def _claim(self) -> Task | None:
        tries = itertools.count()
        # Told to stop meanwhile, it is written all the same, and looked at: left so, it would look
        # as if this worker had died of it.
        claimed = await see_through(self._means.patience.write(lambda: self._claiming(tries)))
        task = claimed.value
        if claimed.cancelled:
            if task is not None:
                await see_through(_Attempt(self, self._means, task).leave())
            raise asyncio.CancelledError
        if task is not None:
            self._tell_begun(task)
        return task

    def _tell_begun(self, task: Task) -> None:
        waited = None
        if task.attempt == 1:
            waited = max(0, (task.updated or 0) - (task.created or 0)) / 1000
        self._means.observe.begun(self.engine, waited, died=task.deaths > 0)

    def _claiming(self, tries: itertools.count[int]) -> AnyScript[Task | None]:
        name, now, again = self._means.name, self._means.clock(), next(tries) > 0
        return scripts.claim(self._id, name, now, again=again, waits=self.waits)


class _Attempt:
    """The task as it was claimed: its place, its folder and its memory."""

    def __init__(self, run: Run, means: Means, task: Task) -> None:
        self._run = run
        self._means = means
        self._task = task
        self._folder = means.scratch / f"{task.id}-{task.attempt}"
        self._notes = Notes(task, means.patience, means.keeper, means.clock)
        self._memory: dict[str, Any] = {}
        self._began = time.perf_counter()

    async def carry_out(self) -> None:
        """Make the files, keep them, and write the end, whatever it is."""
        task, log = self._task, _log.bind(task=self._task.id, attempt=self._task.attempt)
        try:
            await self._succeed()
        except Lost:
            log.info("task_lost")
            await self._means.keeper.forget(task)
        except Failed as problem:
            await self._fail(problem.failure)
        except asyncio.CancelledError:
            await see_through(self.leave())
            raise
        except MemoryError:
            sentence = "There was not enough memory for the task"
            await self._fail(Failure(code=FailureCode.OUT_OF_MEMORY, message=sentence))
        except StoreClosed:
            raise
        except Exception:
            log.exception("engine_broke")
            sentence = f"The server made a mistake (task {task.id}, attempt {task.attempt})"
            await self._fail(Failure(code=FailureCode.INTERNAL, message=sentence))
        finally:
            await remove_folder(self._folder)

    async def leave(self) -> None:
        """Give back the task of a run that was cancelled, where its worker is to stop."""
        try:
            if self._means.leaving():
                await self._write(scripts.release)
            await self._means.keeper.forget(self._task)
        except Exception as problem:  # others find it by its silence
            _log.warning("not_given_back", task=self._task.id, problem=repr(problem)[:300])

    async def _succeed(self) -> None:
        place, began = self._find_place(), time.perf_counter()
        self._memory = await self._recall() if self._waits(place) else {}
        # What another service has accepted is not what workers die of, and may be paid for.
        if self._task.deaths >= self._means.limits.deaths and not self._memory:
            sentence = f"{self._task.deaths} workers died while they ran the task"
            raise Failed(FailureCode.WORKER_DIED, sentence)
        os.makedirs(self._folder)  # a thread would cost ten times as much
        files = await self._make_in_time(place)
        if not files:
            raise Failed(FailureCode.PROVIDER_ERROR, "The engine made no file")
        with self._means.keeping.beside(self._run.leave):
            artifacts = await self._keep(place, files)
        if not self._memory:  # else it was begun by another run
            self._means.learn(self._task.submit, time.perf_counter() - began)
        _log.info(
            "task_succeeded",
            task=self._task.id,
            attempt=self._task.attempt,
            files=len(artifacts),
        )

    async def _keep(self, place: Place, files: list[File]) -> tuple[Artifact, ...]:
        if not self._waits(place):
            return await self._keep_all(files)
        # It may be paid for, and not be had again: who is told to stop keeps it first.
        answer = await see_through(self._keep_all(files), lambda: self._run.ended)
        return answer.value

    def _find_place(self) -> Place:
        try:
            return self._means.models.find(self._task.submit)
        except UnknownModel as fault:  # it was known when the task was accepted
            raise Failed(FailureCode.INVALID_INPUT, fault.message) from None

    def _waits(self, place: Place) -> bool:
        return place.engine.traits.waits

    async def _recall(self) -> dict[str, Any]:
        if self._task.attempt == 1:
            return {}
        return await self._means.patience.insist(
            lambda: self._means.store.read(scripts.recall(self._task.id)), (Exception,)
        )

    # ------------------------------------------------------------------------------- making

    async def _make_in_time(self, place: Place) -> list[File]:
        # An engine that waits keeps the time itself: a limit here would throw away what is paid.
        own = place.time_limit
        if own is None and not self._waits(place):
            own = self._means.limits.seconds
        seconds = float("inf") if own is None else own
        limit = asyncio.timeout(None if own is None else seconds)
        began = time.perf_counter()
        try:
            async with limit:
                return await self._make(place, _Clock(limit, seconds))
        except TimeoutError:
            if not limit.expired():  # something else's, inside the engine
                raise
            sentence = f"The task took longer than {seconds:g} seconds"
            raise Failed(FailureCode.TIMEOUT, sentence) from None
        finally:
            self._means.observe.engine(place.engine.name, time.perf_counter() - began)

    async def _make(self, place: Place, clock: _Clock) -> list[File]:
        job = await self._job(place)
        files: list[File] = []
        events = place.engine.run(job)
        try:
            async for event in events:
                clock.hear(event)
                if isinstance(event, File):
                    files.append(event)
                else:
                    await self._notes.take(event)
        except Lost:
            await self._find_end()  # before the engine is closed, which may have to tell others
            raise
        finally:
            close: Any = getattr(events, "aclose", None)
            if close is not None:
                await close()
        return files

    async def _job(self, place: Place) -> Job:
        # An engine that waits may have thousands of tasks, and fetches for those that it has places
        # for; and what was asked for elsewhere must not fail for a source that is gone meanwhile.
        job = Job(
            task=self._task,
            folder=self._folder,
            sources=() if self._waits(place) else await self._fetch_sources(),
            options=dict(place.options),
            max_pixels=self._means.limits.pixels,
        )
        if not self._waits(place):
            return job
        return RemoteJob(
            **msgspec.structs.asdict(job),
            memory=self._memory,
            fetch_sources=self._fetch_sources,
            ended=lambda: self._run.ended,
            secret=self._find_secret,
            take_turn=self._take_turn,
            fetch=self._fetch_result,
        )

    async def _fetch_sources(self) -> tuple[Given, ...]:
        return await self._means.sources.fetch(self._task, self._folder)

    async def _find_secret(self, name: str) -> str:
        secret = await self._means.secret(name) if self._means.secret is not None else None
        if secret is None:
            raise Failed(FailureCode.INTERNAL, f"This server has no key {name!r} of the service")
        return secret

    async def _take_turn(self, service: str, per_second: float, urgent: bool) -> None:
        await self._means.patience.insist(
            lambda: self._means.turns.take(service, per_second, urgent), (StoreUnavailable,)
        )

    async def _fetch_result(self, url: str, path: Path, home: Collection[str]) -> None:
        try:
            await self._means.results.trusting(home).fetch(url, path)
        except FetchError as problem:
            raise Unfetched(str(problem), passing=problem.passing) from None

    async def _find_end(self) -> None:
        """See whether a task that is not ours any more was ended by its owner."""
        with contextlib.suppress(StoreUnavailable, StoreClosed):
            kept = await self._means.store.read(scripts.get_any(self._task.id))
            if kept is None or kept.ended:
                self._run.ended = True

    # ------------------------------------------------------------------------------- its end

    async def _keep_all(self, files: list[File]) -> tuple[Artifact, ...]:
        """Keep the files, and write that the task has succeeded. Raises `Lost`."""
        if self._task.status is Status.QUEUED:
            await self._notes.start()
        keeping = asyncio.ensure_future(self._means.keeper.keep(self._task, files))
        try:
            await asyncio.wait([keeping], timeout=_NOTICEABLE_SECONDS)
            if not keeping.done():
                check_ours(await self._write(scripts.upload))
            artifacts = await keeping
        finally:
            # Nothing may be written any more once the run has ended: its task may be gone.
            keeping.cancel()
            await asyncio.wait([keeping])
        check_ours(await self._write(partial(_succeed, artifacts=artifacts)))
        self._tell_end(Status.SUCCEEDED, None)
        return artifacts

    async def _fail(self, failure: Failure) -> None:
        # Told to stop meanwhile, it is written first: the task is at its end, and not to run again.
        failed = await see_through(
            self._write(partial(_fail, failure=failure)), lambda: self._run.ended
        )
        if failed.value:
            self._tell_end(Status.FAILED, failure)
            _log.info(
                "task_failed",
                task=self._task.id,
                code=failure.code.value,
                message=failure.message[:200],
            )

    def _tell_end(self, status: Status, failure: Failure | None) -> None:
        observe, engine = self._means.observe, self._run.engine
        observe.ran(engine, time.perf_counter() - self._began)
        observe.ended(engine, status, failure)

    async def _write(self, change: Callable[[str, int, int], AnyScript[bool]]) -> bool:
        """Write a change of this attempt, at the time of each try."""
        id, attempt = self._task.id, self._task.attempt
        return await self._means.patience.write(lambda: change(id, attempt, self._means.clock()))


def _succeed(id: str, attempt: int, now: int, artifacts: tuple[Artifact, ...]) -> AnyScript[bool]:
    return scripts.succeed(id, attempt, artifacts, now)


def _fail(id: str, attempt: int, now: int, failure: Failure) -> AnyScript[bool]:
    return scripts.fail(id, attempt, failure, now)


class _Clock:
    """The time limit of a run, which stands still while the engine waits for its turn."""

    def __init__(self, limit: asyncio.Timeout, seconds: float) -> None:
        self._limit = limit
        self._left = seconds
        self._stopped = False

    def hear(self, event: Event) -> None:
        """Stop at `Waiting`, and go on at whatever comes then."""
        now = asyncio.get_running_loop().time()
        if isinstance(event, Waiting):
            if (when := self._limit.when()) is not None:
                self._left = when - now
            self._limit.reschedule(None)
            self._stopped = True
        elif self._stopped:
            self._limit.reschedule(now + self._left)
            self._stopped = False
