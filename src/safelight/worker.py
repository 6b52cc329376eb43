"""Run one task: claim it, fetch its sources, run its engine, keep its files, write its end.

The rule for whoever edits it: every write names the attempt that the claim gave us, so a worker
that lost its task meanwhile changes nothing; and an end is written only when its files are kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import os
import random
import shutil
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import structlog

from safelight.blobs import BlobError, Blobs
from safelight.clock import now_millis
from safelight.engines import (
    Errand,
    Event,
    Failed,
    File,
    Given,
    Job,
    Log,
    Preview,
    Progress,
    Remember,
    Started,
    Waiting,
    traits_of,
)
from safelight.engines.kit.paid import see_through
from safelight.errors import UnknownModel
from safelight.fetching import Fetcher
from safelight.linked import find_linked
from safelight.links import Links, Target
from safelight.media_types import media_type_of, suffix_of
from safelight.models import ModelMap, Place
from safelight.service import folder_of
from safelight.store import Store, StoreClosed, StoreUnavailable, scripts
from safelight.store.scripts import Script
from safelight.task import Artifact, Failure, FailureCode, Source, Status, Task
from safelight.turns import Turns

_log = structlog.get_logger("safelight.worker")
_T = TypeVar("_T")

# Progress is for people: more than two writes a second is nobody's gain.
_PROGRESS_SECONDS = 0.5
_PREVIEW_SECONDS = 1.0
# How long an engine is held up for a note, and how long nothing is noted after one that was not
# written by then: no engine waits for a database that is away because of what nobody needs.
_NOTE_SECONDS, _QUIET_SECONDS = 3.0, 10.0
# How long to wait before a write is tried again that the database refused.
_PAUSES = (0.2, 1.0, 5.0, 15.0)
# Bytes of files, and how many, that are read or removed on the loop: to hand them over would cost
# more.
_SMALL, _FEW = 64 * 1024, 8
# Keeping files that takes no longer is nothing that anybody would see, and costs no commit.
_NOTICEABLE_SECONDS = 0.25
_MOST_LOG_LINE = 2000  # characters of a line that are kept
_MOST_LOG_LINES = 1000  # lines of a run that are kept: an engine's chatter must not fill the disk


class Lost(Exception):
    """The task is not ours any more: it was ended, or another worker has it."""


class Worker:
    """Runs tasks. `name` tells it from others, and from itself before a restart."""

    def __init__(
        self,
        name: str,
        store: Store,
        blobs: Blobs,
        models: ModelMap,
        fetcher: Fetcher,
        links: Links,
        *,
        results: Fetcher,
        scratch: Path,
        time_limit: float,
        most_deaths: int,
        max_pixels: int,
        patience: float = 600,
        secret: Callable[[str], Awaitable[str]] | None = None,
        public_url: str | None = None,
        observe: Callable[[str, float], None] = lambda engine, seconds: None,
        clock: Callable[[], int] = now_millis,
    ) -> None:
        self.name = name
        self._store = store
        self._blobs = blobs
        self._models = models
        self._fetcher = fetcher
        self._results = results  # fetches what was made elsewhere
        self._links = links
        self._scratch = scratch
        self._time_limit = time_limit
        self._most_deaths = most_deaths
        self._max_pixels = max_pixels
        self._patience = patience
        self._secret = secret
        self._public_url = public_url
        self._turns = Turns(store)
        self._ended: set[str] = set()  # tasks that run here, and were ended by their owners
        self._observe = observe
        self._clock = clock
        self._running: dict[str, asyncio.Task[None]] = {}
        self._elsewhere: set[str] = set()  # those whose engines only wait here
        self._releasing = False
        self._released: set[str] = set()  # those whose runs were told to give them back
        self._quiet_until = 0.0

    # -------------------------------------------------------------------------- from outside

    async def run(self, task_id: str, engine: str = "") -> bool:
        """Run the task to its end, unless it is at one. Never raises but when cancelled.

        `engine` is the one that it was queued for. False where the task is given back, to be run
        again.
        """
        if task_id in self._running:
            return True
        run = asyncio.ensure_future(self._run(task_id, engine))
        self._running[task_id] = run
        if self._models.waits(engine):
            self._elsewhere.add(task_id)
        try:
            await asyncio.wait([run])
        except asyncio.CancelledError:
            run.cancel()
            await asyncio.wait([run])
            raise
        finally:
            del self._running[task_id]
            self._ended.discard(task_id)
            self._elsewhere.discard(task_id)
            self._released.discard(task_id)
            problem = None if run.cancelled() else run.exception()
            if isinstance(problem, StoreClosed):
                _log.warning("store_closed", task=task_id)
            elif problem is not None:
                _log.error("run_failed", task=task_id, exc_info=problem)
        return not (self._releasing and (run.cancelled() or problem is not None))

    def runs(self, task_id: str) -> bool:
        """Whether the task is being run here."""
        return task_id in self._running

    @property
    def running(self) -> int:
        """How many tasks are being run here."""
        return len(self._running)

    def stop(self, task_id: str) -> None:
        """Stop the run of a task that has been ended, or is gone."""
        if (run := self._running.get(task_id)) is not None:
            self._ended.add(task_id)
            run.cancel()

    async def look(self) -> None:
        """Stop the runs of tasks that have been ended, or are gone, without our hearing of it."""
        for task_id in list(self._running):
            task = await self._store.read(scripts.get_any(task_id))
            if task is None or task.ended:
                self.stop(task_id)

    async def release(self, elsewhere: bool = False) -> None:
        """Stop all runs and give their tasks back, to be run again.

        Or those alone whose tasks are done `elsewhere`: they lose nothing by it, and need no grace.
        A run is told once, however often this is called: it would leave off giving its task back.
        """
        self._releasing = True
        ids = set(self._elsewhere if elsewhere else self._running)
        runs = [self._running[id] for id in ids]
        for id in ids - self._released:
            self._released.add(id)
            self._running[id].cancel()
        if runs:
            await asyncio.wait(runs)

    # ------------------------------------------------------------------------------- one run

    async def _run(self, task_id: str, engine: str) -> None:
        task = await self._claim(task_id, self._models.waits(engine))
        if task is None:
            return
        log = _log.bind(task=task.id, attempt=task.attempt)
        folder = self._scratch / f"{task.id}-{task.attempt}"
        try:
            await self._carry_out(task, folder)
        except Lost:
            log.info("task_lost")
            await self._forget(task)
        except Failed as problem:
            await self._fail(task, problem.failure)
        except asyncio.CancelledError:
            await see_through(self._leave(task))
            raise
        except MemoryError:
            sentence = "There was not enough memory for the task"
            await self._fail(task, Failure(code=FailureCode.OUT_OF_MEMORY, message=sentence))
        except StoreClosed:
            raise
        except Exception:
            log.exception("engine_broke")
            sentence = f"The server made a mistake (task {task.id}, attempt {task.attempt})"
            await self._fail(task, Failure(code=FailureCode.INTERNAL, message=sentence))
        finally:
            if not _remove_small(folder):
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _claim(self, task_id: str, waits: bool) -> Task | None:
        tries = itertools.count()
        # Told to stop meanwhile, it is written all the same, and looked at: left so, it would look
        # as if this worker had died of it.
        claimed = await see_through(
            self._write(
                lambda: scripts.claim(
                    task_id, self.name, self._clock(), again=next(tries) > 0, waits=waits
                )
            )
        )
        task = claimed.value
        if claimed.cancelled:
            if task is not None:
                await see_through(self._leave(task))
            raise asyncio.CancelledError
        return task

    async def _leave(self, task: Task) -> None:
        """Give back the task of a run that was cancelled, where this worker is to stop."""
        try:
            if self._releasing:
                await self._release(task)
            await self._forget(task)
        except Exception as problem:  # others find it by its silence
            _log.warning("not_given_back", task=task.id, problem=repr(problem)[:300])

    async def _release(self, task: Task) -> None:
        await self._write(lambda: scripts.release(task.id, task.attempt, self._clock()))

    async def _forget(self, task: Task) -> None:
        """Remove the files that this run has kept of a task that was deleted meanwhile."""
        with suppress(StoreUnavailable, StoreClosed, BlobError):  # housekeeping sees to it
            if await self._store.read(scripts.get_any(task.id)) is None:
                await self._blobs.remove(folder_of(task.id))

    async def _carry_out(self, task: Task, folder: Path) -> None:
        place = self._find_place(task)
        waits = traits_of(place.engine).waits
        memory = await self._recall(task) if waits else {}
        # What another service has accepted is not what workers die of, and may be paid for.
        if task.deaths >= self._most_deaths and not memory:
            raise Failed(
                FailureCode.WORKER_DIED, f"{task.deaths} workers died while they ran the task"
            )
        os.makedirs(folder)  # a thread would cost ten times as much
        files = await self._make_in_time(task, place, folder, memory)
        if not files:
            raise Failed(FailureCode.PROVIDER_ERROR, "The engine made no file")
        keeping = self._keep_all(task, files)
        if waits:
            # It may be paid for, and not be had again: who is told to stop keeps it first.
            answer = await see_through(keeping, lambda: task.id in self._ended)
            artifacts = answer.value
        else:
            artifacts = await keeping
        _log.info("task_succeeded", task=task.id, attempt=task.attempt, files=len(artifacts))

    async def _keep_all(self, task: Task, files: list[File]) -> tuple[Artifact, ...]:
        """Keep the files, and write that the task has succeeded. Raises `Lost`."""
        if task.status is Status.QUEUED:
            await self.note_start(task)
        keeping = asyncio.ensure_future(self._keep_each(task, files))
        try:
            await asyncio.wait([keeping], timeout=_NOTICEABLE_SECONDS)
            if not keeping.done():
                self._mine(await self._write(partial(self._say_kept, task)))
            artifacts = await keeping
        finally:
            # Nothing may be written any more once the run has ended: its task may be gone.
            keeping.cancel()
            await asyncio.wait([keeping])
        self._mine(
            await self._write(
                lambda: scripts.succeed(task.id, task.attempt, artifacts, self._clock())
            )
        )
        return artifacts

    def _say_kept(self, task: Task) -> Script[bool]:
        return scripts.upload(task.id, task.attempt, self._clock())

    async def _keep_each(self, task: Task, files: list[File]) -> tuple[Artifact, ...]:
        return tuple([await self._keep(task, number, file) for number, file in enumerate(files)])

    def _find_place(self, task: Task) -> Place:
        try:
            return self._models.find(task.submit)
        except UnknownModel as fault:  # it was known when the task was accepted
            raise Failed(FailureCode.INVALID_INPUT, fault.message) from None

    async def _recall(self, task: Task) -> dict[str, Any]:
        if task.attempt == 1:
            return {}
        return await self._patiently(
            lambda: self._store.read(scripts.recall(task.id)), (Exception,)
        )

    async def _make_in_time(
        self, task: Task, place: Place, folder: Path, memory: dict[str, Any]
    ) -> list[File]:
        # An engine that waits keeps the time itself: a limit here would throw away what is paid.
        waits = traits_of(place.engine).waits
        own = place.options.get("time_limit", None if waits else self._time_limit)
        seconds = float("inf") if own is None else float(own)
        limit = asyncio.timeout(None if own is None else seconds)
        began = time.perf_counter()
        try:
            async with limit:
                return await self._make(task, place, folder, memory, _Clock(limit, seconds))
        except TimeoutError:
            if not limit.expired():  # something else's, inside the engine
                raise
            sentence = f"The task took longer than {seconds:g} seconds"
            raise Failed(FailureCode.TIMEOUT, sentence) from None
        finally:
            self._observe(place.engine.name, time.perf_counter() - began)

    async def _job(self, task: Task, place: Place, folder: Path, memory: dict[str, Any]) -> Job:
        common: dict[str, Any] = {
            "task": task,
            "folder": folder,
            # What was asked for elsewhere must not fail for a source that is gone meanwhile.
            "sources": () if memory else await self._fetch_sources(task, folder),
            "options": dict(place.options),
            "max_pixels": self._max_pixels,
        }
        if not traits_of(place.engine).waits:
            return Job(**common)
        return Errand(
            **common,
            memory=memory,
            fetch_sources=lambda: self._fetch_sources(task, folder),
            ended=lambda: task.id in self._ended,
            secret=self._find_secret,
            take_turn=self._take_turn,
            fetch=self._fetch_result,
        )

    async def _find_secret(self, name: str) -> str:
        if self._secret is None:
            raise Failed(FailureCode.INTERNAL, f"There is no key {name!r} here")
        return await self._secret(name)

    async def _take_turn(self, service: str, per_second: float, urgent: bool) -> None:
        await self._patiently(
            lambda: self._turns.take(service, per_second, urgent), (StoreUnavailable,)
        )

    async def _make(
        self, task: Task, place: Place, folder: Path, memory: dict[str, Any], clock: _Clock
    ) -> list[File]:
        job = await self._job(task, place, folder, memory)
        files: list[File] = []
        notes = _Notes(self, task)
        events = place.engine.run(job)
        try:
            async for event in events:
                clock.hear(event)
                if isinstance(event, File):
                    files.append(event)
                else:
                    await notes.take(event)
        except Lost:
            await self._find_end(task)  # before the engine is closed, which may have to tell others
            raise
        finally:
            close: Any = getattr(events, "aclose", None)
            if close is not None:
                await close()
        return files

    async def _find_end(self, task: Task) -> None:
        """See whether a task that is not ours any more was ended by its owner."""
        with contextlib.suppress(StoreUnavailable, StoreClosed):
            kept = await self._store.read(scripts.get_any(task.id))
            if kept is None or kept.ended:
                self._ended.add(task.id)

    # ------------------------------------------------------------------------------- files

    async def _fetch_sources(self, task: Task, folder: Path) -> tuple[Given, ...]:
        given = []
        for number, source in enumerate(task.submit.sources):
            path = folder / f"source-{number}"
            await self._fetch_source(source, path, task.owner)
            with path.open("rb") as file:
                media_type = media_type_of(file.read(32))
            given.append(
                Given(
                    path=path,
                    role=source.role,
                    media_type=media_type,
                    url=self._public_link(task, number, source),
                )
            )
        return tuple(given)

    async def _fetch_result(self, url: str, path: Path, home: Collection[str]) -> None:
        await self._results.trusting(home).fetch(url, path)

    def _public_link(self, task: Task, number: int, source: Source) -> str | None:
        if source.url is not None:
            return source.url
        return self._links.of_source(task.id, number, source, self._public_url)

    async def _fetch_source(self, source: Source, path: Path, owner: str) -> None:
        blob = source.blob
        if blob is None and source.url and (target := self._links.read_url(source.url)):
            blob = await self._blob_of(target)
        if blob is None:
            await self._fetcher.on_behalf(owner).save(source.url or "", path)
            return
        try:
            await self._blobs.save(blob, path)
        except FileNotFoundError:
            raise Failed(
                FailureCode.SOURCE_UNAVAILABLE, "A source file is not there any more"
            ) from None

    async def _blob_of(self, target: Target) -> str:
        """The blob that one of our own links leads to: no need to call ourselves for it."""
        found = await find_linked(self._store, target)
        if found is None:
            raise Failed(FailureCode.SOURCE_UNAVAILABLE, "A source file is not there any more")
        return found.blob

    async def _keep(self, task: Task, number: int, file: File) -> Artifact:
        # The attempt is part of the name: a run that lost its task overwrites nothing.
        blob = f"{folder_of(task.id)}{task.attempt}-{number}{suffix_of(file.media_type)}"
        if file.path.stat().st_size <= _SMALL:
            size, digest = _measure(file.path)
        else:
            size, digest = await asyncio.to_thread(_measure, file.path)
        await self._patiently(lambda: self._put(blob, file), (BlobError, OSError))
        return Artifact(
            blob=blob,
            media_type=file.media_type,
            size=size,
            etag=digest,
            width=file.width,
            height=file.height,
            duration=file.duration,
        )

    async def keep_preview(self, task: Task, path: Path) -> None:
        """Keep a picture of how far the task is; it is no artifact, and may be lost."""
        with suppress(BlobError, OSError):
            preview = File(path=path, media_type="image/jpeg")
            await self._put(f"{folder_of(task.id)}preview.jpg", preview)

    async def _put(self, blob: str, file: File) -> None:
        put = asyncio.ensure_future(self._blobs.put(blob, file.path, file.media_type))
        try:
            await asyncio.shield(put)
        except asyncio.CancelledError:
            # Nothing may be written any more once the run has ended: its task may be gone.
            await asyncio.wait([put])
            raise

    # ------------------------------------------------------------------------------- writing

    async def _fail(self, task: Task, failure: Failure) -> None:
        # Told to stop meanwhile, it is written first: the task is at its end, and not to run again.
        failed = await see_through(
            self._write(lambda: scripts.fail(task.id, task.attempt, failure, self._clock())),
            lambda: task.id in self._ended,
        )
        if failed.value:
            _log.info(
                "task_failed", task=task.id, code=failure.code.value, message=failure.message[:200]
            )

    async def _write(self, script: Callable[[], Script[_T]]) -> _T:
        """Write, and when the database refuses (a full disk), try again for a while."""
        return await self._patiently(lambda: self._store.write(script()), (Exception,))

    async def _patiently(
        self, act: Callable[[], Awaitable[_T]], problems: tuple[type[Exception], ...]
    ) -> _T:
        began = time.monotonic()
        for pause in itertools.chain(_PAUSES, itertools.repeat(_PAUSES[-1])):
            try:
                return await act()
            except StoreClosed:
                raise
            except problems as problem:
                # What is away comes back; what is broken is not mended by waiting long.
                away = isinstance(problem, (StoreUnavailable, BlobError))
                limit = self._patience if away else sum(_PAUSES)
                if time.monotonic() - began + pause > limit:
                    raise
                _log.warning("will_try_again", seconds=pause, exc_info=problem)
                await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - a pause
        raise AssertionError

    def _mine(self, held: bool) -> None:
        if not held:
            raise Lost

    async def _note(self, script: Script[_T]) -> _T | None:
        """Write what need not be written; None where it was not, or not soon."""
        if time.monotonic() < self._quiet_until:
            return None
        try:
            async with asyncio.timeout(_NOTE_SECONDS):
                return await self._store.write(script)
        except StoreClosed:
            raise
        except Exception as problem:
            self._quiet_until = time.monotonic() + _QUIET_SECONDS
            _log.warning("not_noted", seconds=_QUIET_SECONDS, problem=repr(problem)[:300])
            return None

    async def note_progress(self, task: Task, percent: int) -> None:
        """Write how far the task is, if that can be done just now. Raises `Lost`."""
        note = scripts.progress(task.id, task.attempt, percent, self._clock())
        self._mine(await self._note(note) is not False)

    async def note_start(self, task: Task) -> None:
        """Write that a task which waited is being made."""
        await self._write(lambda: scripts.start(task.id, task.attempt, self._clock()))

    async def remember(self, task: Task, note: Remember) -> None:
        """Write what the engine must know if the task is run again. Raises `Lost`.

        Told to stop meanwhile, it writes all the same: it may be about what is paid for.
        """
        written = await see_through(self._write_memory(task, note.memory))
        self._mine(written.value)
        if written.cancelled:
            if note.stopped is not None:
                self._mine((await see_through(self._write_memory(task, note.stopped))).value)
            raise asyncio.CancelledError

    async def _write_memory(self, task: Task, memory: dict[str, Any]) -> bool:
        return await self._write(lambda: scripts.remember(task.id, task.attempt, memory))

    async def note_line(self, task: Task, line: str) -> None:
        """Write a line of the engine's log, if that can be done just now."""
        await self._note(scripts.log(task.id, task.attempt, line[:_MOST_LOG_LINE], self._clock()))


class _Notes:
    """What an engine tells while it works, written down at a bearable pace."""

    def __init__(self, worker: Worker, task: Task) -> None:
        self._worker = worker
        self._task = task
        self._percent = -1
        self._written = 0.0
        self._previewed = 0.0
        self._lines = 0

    async def take(self, event: Event) -> None:
        match event:
            case Log(text=text):
                self._lines += 1
                if self._lines <= _MOST_LOG_LINES:
                    await self._worker.note_line(self._task, text)
            case Progress(percent=percent):
                await self._take_percent(min(99, max(0, percent)))
            case Started():
                await self._worker.note_start(self._task)
            case Remember():
                await self._worker.remember(self._task, event)
            case Preview(path=path):
                await self._take_preview(path)

    async def _take_percent(self, percent: int) -> None:
        now = time.monotonic()
        if percent > self._percent and now - self._written >= _PROGRESS_SECONDS:
            self._percent, self._written = percent, now
            await self._worker.note_progress(self._task, percent)

    async def _take_preview(self, path: Path) -> None:
        now = time.monotonic()
        if now - self._previewed >= _PREVIEW_SECONDS:
            self._previewed = now
            await self._worker.keep_preview(self._task, path)


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


def _remove_small(folder: Path) -> bool:
    """Remove a folder in which there is next to nothing; whether it was."""
    try:
        with os.scandir(folder) as entries:
            found = list(itertools.islice(entries, _FEW + 1))
        if len(found) > _FEW or sum(entry.stat().st_size for entry in found) > _SMALL:
            return False
        for entry in found:
            os.unlink(entry)
        folder.rmdir()
    except OSError:  # another folder in it, or it is gone
        return False
    return True


def _measure(path: Path) -> tuple[int, str]:
    """The size of a file in bytes, and a digest of its content for its ETag."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:32]
    return path.stat().st_size, digest
