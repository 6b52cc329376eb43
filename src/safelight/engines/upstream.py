"""The engine `upstream`: runs a task on another service, through the client.

The rule for whoever edits it: a provider is asked once. That it is about to be asked is on disk
before it is, its id right after; whatever happens in between, the task is not submitted again by
itself, unless the wire makes that safe. See docs/engines/upstream.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import AsyncGenerator, Coroutine, Iterator, Mapping
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from safelight import dialects
from safelight.client import AsyncClient, read_data_url
from safelight.engines import (
    Engine,
    Event,
    Failed,
    File,
    Given,
    Job,
    Log,
    Progress,
    Remember,
    RemoteJob,
    Started,
    Traits,
    Unfetched,
)
from safelight.engines.kit.accounts import account_of
from safelight.engines.kit.asked import Asked
from safelight.engines.kit.asking import ASKING, Ask, Question, Refused, Taken, Unsure, ask_once
from safelight.engines.kit.pace import Pace
from safelight.engines.kit.paid import see_through
from safelight.engines.kit.reasons import code_of, precise
from safelight.engines.kit.results import Strange, read_media_type
from safelight.errors import (
    Fault,
    NotFound,
    RateLimited,
    SubmissionUnknown,
    Unauthenticated,
    Unavailable,
    Unreachable,
)
from safelight.pauses import Pauses
from safelight.task import (
    Artifact,
    Failure,
    FailureCode,
    Kind,
    ModelCard,
    Role,
    Source,
    Status,
    Submit,
    Task,
    drop_handling,
)
from safelight.wire import Dialect

_T = TypeVar("_T")

# What a model takes there is not known here; a first frame every service takes.
_CARDS: tuple[ModelCard, ...] = (
    ModelCard(
        name="upstream",
        kind=Kind.IMAGE,
        description="Runs at another service.",
        max_sources=16,
    ),
    ModelCard(
        name="upstream",
        kind=Kind.VIDEO,
        description="Runs at another service.",
        max_sources=16,
        roles=(Role.FIRST_FRAME,),
    ),
)

_PAUSES = 1.0, 30.0  # seconds, after a fault: the first, and the longest
_LONGEST_HOLD = 600.0  # that a service is left alone, whatever it asks for
_LAST_SECONDS = 30.0  # that an answer to the last question is waited for
_CANCEL_SECONDS = 5.0
_CLOSE_SECONDS = 2.0
_FORGOTTEN_SECONDS = 120.0  # after which a service that does not know its own id is believed
_CONNECTIONS = 200
# Seconds that an answer is asked to be held, what a question needs beside them, and how many are
# held at once: the other connections are for other questions.
_HELD_SECONDS, _MARGIN_SECONDS, _MOST_HELD = 20, 1.0, _CONNECTIONS // 2
_MOST_FILES = 32  # of one task
# How often the rest is tried where some files came, and one that comes as something else.
_MOST_ROUNDS = 5
_MOST_PACES = 500  # of models that are remembered: where a rule is a wildcard, callers name them
# After these a service has certainly not accepted a submission, and may accept it later.
_REFUSED_FOR_NOW = (Unreachable, Unavailable, RateLimited)


_Origin = Annotated[str, Field(pattern=r"^https?://[^\s/?#@]+$")]


class Options(BaseModel):
    """The options of a model that runs at another service."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dialect: str = "safelight"
    url: str | None = None  # the real service's when not set; a Safelight has none
    model: str | None = None  # its name there, when it is another
    key: str | None = None  # a kept key's name, or env:VARIABLE; the service's own variables else
    concurrency: int = Field(default=100, ge=1)  # submissions that are under way at once, here
    per_second: float | None = Field(default=None, gt=0)  # questions, of all workers together
    deadline: float = Field(default=7200, gt=0)  # seconds after which a task is given up
    fresh: float = Field(default=1.7, gt=0)  # seconds that an end may be seen late, where likely
    safe_to_repeat: bool = False  # that service takes an idempotency key: it is a Safelight
    timeout: float = Field(default=60, gt=0)  # seconds of one request
    result_origins: tuple[_Origin, ...] = ()  # private ones, besides its own, where results may lie


class UpstreamEngine(Engine):
    """Runs tasks at other services. One for all of them: each model's options say which."""

    name = "upstream"
    models = _CARDS
    traits = Traits(waits=True, passes_on=True, concurrency=5000)

    def __init__(self, concurrency: int) -> None:
        self.traits = Traits(waits=True, passes_on=True, concurrency=concurrency)
        self._accounts: dict[str, _Account] = {}
        self._providers: dict[Options, _Provider] = {}
        self._asked = Asked()

    @property
    def requests(self) -> Mapping[tuple[str, str], int]:
        """Submissions and questions, by dialect and outcome."""
        return self._asked.counts

    def check(self, submit: Submit, options: Mapping[str, Any]) -> None:
        """Raise what the provider's wire has no words for, by the parameter's name."""
        chosen = read_options(options)
        asked = drop_handling(submit)
        asked = msgspec.structs.replace(asked, model=chosen.model or asked.model)
        # What the caller uploaded has an address only when the task is accepted.
        kept = tuple(
            msgspec.structs.replace(source, url=source.url or "https://example.com/source.png")
            for source in asked.sources
        )
        next(_dialect(chosen).call(msgspec.structs.replace(asked, sources=kept)))

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Raise `ValueError` where they are none."""
        read_options(options)

    async def run(self, job: Job) -> AsyncGenerator[Event]:
        """Submit, wait, and fetch the files; resumed by what was remembered."""
        assert isinstance(job, RemoteJob)  # as its traits say
        provider = self._provider(read_options(job.options))
        run, done = _Run(provider, job), False
        try:
            async with aclosing(run.events()) as events:
                async for event in events:
                    yield event
            done = True
        finally:
            if not done and job.ended():
                await run.pass_on_cancel()

    async def close(self) -> None:
        """Close the connections."""
        for provider in self._providers.values():
            await provider.close()
        self._providers.clear()

    def _provider(self, options: Options) -> _Provider:
        provider = self._providers.get(options)
        if provider is None:
            dialect = _dialect(options)
            url = (options.url or dialect.url).rstrip("/")
            provider = self._providers[options] = _Provider(
                options, dialect, url, self._accounts, self._asked
            )
        return provider


class _Account:
    """A key at a service, with which all models that run there ask in turn."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._hold_until = 0.0

    def hold(self, fault: Fault) -> float:
        """See whether it asks everybody to wait; for how many seconds."""
        asked = getattr(fault, "retry_after", None) or 0.0
        seconds = min(float(asked), _LONGEST_HOLD)
        self._hold_until = max(self._hold_until, time.monotonic() + seconds)
        return seconds

    async def turn(self, job: RemoteJob, per_second: float, urgent: bool) -> None:
        """Wait until it may be asked something, by any of all workers."""
        while True:
            await asyncio.sleep(max(0.0, self._left()))
            await job.take_turn(self._name, per_second, urgent)
            if self._left() <= 0:  # else it has asked so meanwhile
                return

    def _left(self) -> float:
        return self._hold_until - time.monotonic()


class _Provider:
    """A model at a service: its client, its pace, and who may submit next."""

    def __init__(
        self,
        options: Options,
        dialect: Dialect,
        url: str,
        accounts: dict[str, _Account],
        asked: Asked,
    ) -> None:
        self.options = options
        self.dialect = dialect
        self.url = url
        self._accounts = accounts  # of all providers, by name
        self.repeats = _repeats(options, dialect)
        self.places = asyncio.Semaphore(options.concurrency)
        self.paces: dict[tuple[str, Kind], Pace] = {}
        self._per_second = options.per_second or self.dialect.polls_per_second
        self._clients: dict[str, AsyncClient] = {}
        self.count = partial(asked.count, dialect.name)
        self._asked: set[asyncio.Future[Any]] = set()
        self.held = 0  # answers that are held for us

    @contextlib.contextmanager
    def holding(self, holds: bool) -> Iterator[None]:
        """A question whose answer may be held: it has a connection for as long."""
        self.held += holds
        try:
            yield
        finally:
            self.held -= holds

    def client(self, key: str | None) -> AsyncClient:
        """The client that asks with that key."""
        client = self._clients.get(key or "")
        if client is None:
            client = self._clients[key or ""] = AsyncClient(
                self.dialect,
                self.options.url,
                key,
                timeout=self.options.timeout,
                connections=_CONNECTIONS,
            )
        return client

    async def ask(self, question: Coroutine[Any, Any, _T]) -> _T:
        """The answer to a question. Whoever is told to stop does not wait for it.

        But the question goes on: a request that is cancelled in the middle leaves its connection
        behind, neither closed nor of any use.
        """
        asked = asyncio.ensure_future(question)
        self._asked.add(asked)
        asked.add_done_callback(self._answered)
        try:
            return await asyncio.shield(asked)
        finally:
            del asked  # it has the exception, whose traceback leads here

    def _answered(self, asked: asyncio.Future[Any]) -> None:
        self._asked.discard(asked)
        if not asked.cancelled():
            asked.exception()  # whoever asked has it too, unless it was told to stop

    async def close(self) -> None:
        """Close the connections, once what was asked is answered, or after a moment."""
        if self._asked:
            await asyncio.wait(self._asked, timeout=_CLOSE_SECONDS)
        for asked in self._asked:
            asked.cancel()
        for client in self._clients.values():
            await client.close()

    def pace(self, submit: Submit) -> Pace:
        """The pace of its model; of those that were not asked for lately, nothing is known."""
        name = (submit.model, submit.kind)
        pace = self.paces.pop(name) if name in self.paces else Pace(self.options.fresh)
        self.paces[name] = pace
        if len(self.paces) > _MOST_PACES:
            del self.paces[next(iter(self.paces))]
        return pace

    def account(self, key: str | None) -> _Account:
        """Whose turns are taken, and who is told to wait, where that key asks."""
        if key is None:
            key = ":".join(os.environ.get(name, "") for name in self.dialect.key_variables)
        name = account_of(f"{self.dialect.name} {self.url}", key)
        return self._accounts.setdefault(name, _Account(name))

    async def turn(self, job: RemoteJob, account: _Account, urgent: bool = False) -> None:
        """Wait until the service may be asked something; what is urgent is asked first."""
        await account.turn(job, self._per_second, urgent)


class _Found:
    """The files of a result that came, by their number, and why others did not."""

    def __init__(self) -> None:
        self.count = 0
        self.files: dict[int, File] = {}
        self.gone: set[int] = set()  # that are not tried again
        self.complaint = ""  # the last one
        self._why: dict[int, str] = {}
        self._strange: Counter[int] = Counter()

    def miss(self, number: int, problem: Unfetched) -> None:
        """Note why one did not come; what is nothing of the kind is not had by asking for ever."""
        self.complaint = self._why[number] = str(problem)
        self._strange[number] += isinstance(problem, Strange)
        if not problem.passing or self._strange[number] >= _MOST_ROUNDS:
            self.gone.add(number)

    @property
    def done(self) -> bool:
        """Whether there is nothing more to try."""
        return 0 < self.count == len(self.files) + len(self.gone)

    def lost(self) -> list[tuple[int, str]]:
        """Those that did not come, and why."""
        return [
            (n, self._why.get(n, "it took too long"))
            for n in range(self.count)
            if n not in self.files
        ]


class _Run:
    """One task's way through another service."""

    def __init__(self, provider: _Provider, job: RemoteJob) -> None:
        self._provider = provider
        self._job = job
        options = provider.options
        self._asked = msgspec.structs.replace(
            drop_handling(job.submit),
            model=options.model or job.submit.model,
            idempotency_key=job.task.id if provider.repeats > 0 else None,
        )
        self._id: str | None = None
        self._submitted = 0.0  # by the clock of the world, for it outlives this process
        self._client: AsyncClient | None = None
        self._account = _Account("")  # of the key that it asks with
        self._held = False  # whether the last answer was held until there was something to tell
        self._trouble, self._complaint = 0, ""  # faults in a row, and the last one
        self._pauses = Pauses(*_PAUSES)  # after each of these
        self._unknown_since: float | None = None

    async def events(self) -> AsyncGenerator[Event]:
        key = self._provider.options.key
        secret = await self._job.secret(key) if key else None
        self._client, self._account = self._provider.client(secret), self._provider.account(secret)
        memory = self._job.memory
        if "id" in memory:
            self._id, self._submitted = str(memory["id"]), float(memory["at"])
            yield Log(text=f"Resumed: {self._provider.url} has it as {self._id}")
        else:
            async for event in self._submit(memory.get(ASKING)):
                yield event
        task = None
        async for seen in self._wait():
            if isinstance(seen, Task):
                task = seen
            else:
                yield seen
        assert task is not None
        for made in await self._fetch_files(task):
            yield made

    # --------------------------------------------------------------------------- submission

    async def _submit(self, since: float | None) -> AsyncGenerator[Event]:
        """Submit once. `since`: an earlier run was about to, and what became of it is unknown."""
        provider = self._provider
        question: Question[Task] = Question(
            service=provider.url,
            place=provider.places,
            ready=self._ready,
            turn=partial(
                provider.turn, self._job, self._account, True
            ),  # not after thousands of questions
            unknown=self._unknown,
            deadline=provider.options.deadline,
            repeats=provider.repeats,
            since=since,
        )
        cancelled = False
        async with aclosing(ask_once(question)) as told:
            async for event in told:
                if isinstance(event, Taken):
                    self._id, self._submitted = event.value.id, time.time()
                    cancelled = event.cancelled
                else:
                    yield event
        yield Remember(memory={"id": self._id, "at": self._submitted})
        if cancelled:
            raise asyncio.CancelledError
        yield Log(text=f"{provider.url} accepted it as {self._id}")

    async def _ready(self) -> Ask[Task]:
        """What submits the task, with its sources."""
        asked = msgspec.structs.replace(self._asked, sources=await self._sources())
        return partial(self._send, await self._send_files(asked))

    async def _send(self, asked: Submit) -> Task:
        """Submit. Raises `Refused`, `Unsure`, `Failed`."""
        assert self._client is not None
        try:
            return await self._provider.count(self._client.submit(asked))
        except SubmissionUnknown as fault:
            raise Unsure(fault.message) from None
        except Fault as fault:
            raise self._refusal(fault) from None

    def _refusal(self, fault: Fault) -> Refused | Failed:
        """What it means that the service has not taken something."""
        if isinstance(fault, _REFUSED_FOR_NOW):
            return Refused(fault.message, self._account.hold(fault))
        return self._failed(fault)

    async def _send_files(self, asked: Submit) -> Submit:
        """`asked` with addresses for what it has as data, where the service keeps such files.

        Before anything is asked: what is lost here was nothing, and is sent again.
        """
        assert self._client is not None
        began, pauses = time.time(), Pauses(*_PAUSES)
        while True:
            try:
                return await self._client.upload_sources(asked)
            except Fault as fault:
                problem = self._refusal(fault)
                if isinstance(problem, Failed):
                    raise problem from None
                if time.time() - began > self._provider.options.deadline:
                    raise self._failed(fault, FailureCode.TIMEOUT) from None
                wait = pauses.next(problem.seconds)
            await asyncio.sleep(wait)

    async def _sources(self) -> tuple[Source, ...]:
        """The sources, as the provider's wire takes them."""
        given = await self._job.fetch_sources()
        return await asyncio.to_thread(
            lambda: tuple(map(self._source, self._job.submit.sources, given))
        )

    def _source(self, source: Source, given: Given) -> Source:
        dialect = self._provider.dialect
        if not dialect.uploads and given.url is not None:
            return msgspec.structs.replace(source, url=given.url, data=None, blob=None)
        if not dialect.uploads and not dialect.keeps_files:
            raise Failed(
                FailureCode.INVALID_INPUT,
                f"{dialect.title} takes sources by address only, and this server "
                "has no public one (public_url)",
            )
        return msgspec.structs.replace(
            source,
            url=None,
            blob=None,
            data=given.path.read_bytes(),
            media_type=given.media_type,
        )

    def _unknown(self, why: str) -> Failed:
        """What is known, for a person to settle it."""
        key = self._asked.idempotency_key
        how = f"with the idempotency key {key}" if key else "once"
        return Failed(
            FailureCode.SUBMISSION_UNKNOWN,
            f"{self._provider.url} may have accepted this task, and may charge for it: {why}. It "
            f"was asked {how}, for model {self._asked.model!r}, on behalf of task "
            f"{self._job.task.id}; look for it there before you submit it again",
        )

    def _failed(self, fault: Fault, code: FailureCode | None = None) -> Failed:
        if isinstance(fault, Unauthenticated):
            sentence = f"{self._provider.url} does not take the key of this server"
            return Failed(code_of(fault), sentence)
        return Failed(code or code_of(fault), f"{self._provider.url}: {fault.message}", fault.code)

    # ------------------------------------------------------------------------------ waiting

    async def _wait(self) -> AsyncGenerator[Event | Task]:
        """Ask until it is at its end; the last thing is the task as it succeeded there."""
        pace = self._provider.pace(self._asked)
        asked, started, before = 0, False, 0.0
        while True:
            age = time.time() - self._submitted
            pause = self._pause(pace, age, asked)
            left = self._provider.options.deadline - age
            await asyncio.sleep(max(0.0, min(pause, left)))
            if left <= pause:
                yield await self._ask_last()
                return
            # After an outage, or a restart, an end may be seen long after it was there.
            timely = not self._trouble and (asked > 0 or "id" not in self._job.memory)
            seen = await self._ask(left - pause)
            if seen is None:
                if self._trouble == 1 and self._complaint:
                    yield Log(text=self._complaint)
                continue
            asked += 1
            if seen.ended:
                if timely:
                    pace.learn(time.time() - self._submitted, before)
                yield self._end(seen)
                return
            before = time.time() - self._submitted
            if seen.status is not Status.QUEUED:
                if not started:
                    yield Started()
                started = True
                if (percent := self._percent(seen, pace)) is not None:
                    yield Progress(percent=percent)

    async def _ask(self, left: float) -> Task | None:
        """The task as the provider tells it now; None where it tells nothing."""
        try:
            # A service may ask us to wait for longer than that, or drip its answer.
            async with asyncio.timeout(left):
                await self._provider.turn(self._job, self._account)
                seen = await self._fetch(left - _MARGIN_SECONDS)
        except TimeoutError:
            return None
        except NotFound as fault:
            # Some answer so for a while after they have accepted a task.
            self._unknown_since = self._unknown_since or time.time()
            if time.time() - self._unknown_since > _FORGOTTEN_SECONDS:
                raise self._failed(fault) from None
            self._trouble, self._complaint = self._trouble + 1, ""
        except Fault as fault:
            # The task goes on there, whatever keeps it from telling.
            self._trouble += 1
            self._complaint = f"{self._provider.url}: {fault.message}"
            self._account.hold(fault)
        else:
            self._trouble, self._unknown_since = 0, None
            self._pauses.reset()
            return seen
        return None

    def _percent(self, seen: Task, pace: Pace) -> int | None:
        """How far it is: as the provider says, else by what others took; never 100."""
        percent = seen.progress
        if percent is None:
            percent = pace.progress(time.time() - self._submitted)
        return None if percent is None else min(99, percent)

    def _pause(self, pace: Pace, age: float, asked: int) -> float:
        """Seconds until it is asked again; none where it tells the end when it is there."""
        assert self._client is not None
        if self._held or (asked == 0 and not self._trouble and self._client.holds):
            return 0.0
        return self._pauses.next() if self._trouble else pace.next(age, asked)

    async def _fetch(self, left: float = 0.0) -> Task:
        """The task as it is told: at once, or later where that is how the service tells ends."""
        client = self._client
        assert client is not None and self._id is not None
        wait = 0
        if client.holds is not False and self._provider.held < _MOST_HELD:
            wait = max(0, min(_HELD_SECONDS, int(left)))
        began, self._held = time.monotonic(), False
        with self._provider.holding(bool(wait)):
            question = self._provider.count(client.fetch(self._id, self._asked.kind, wait))
            seen = await self._provider.ask(question)
        # One that only says that it holds its answers is asked as any other.
        self._held = bool(wait and client.holds) and time.monotonic() - began >= wait / 2
        return seen

    async def _ask_last(self) -> Task:
        """The deadline is there: ask once more, and take a late success."""
        seen: Task | None = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_SECONDS):
                seen = await self._hear()
        if seen is not None and seen.ended:
            return self._end(seen)
        await self.pass_on_cancel()
        raise Failed(
            FailureCode.TIMEOUT,
            f"{self._provider.url} did not end task {self._id} within "
            f"{self._provider.options.deadline:g} seconds",
        )

    async def _hear(self) -> Task:
        """The task as the provider tells it, once it does; whatever it asks us to wait for."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_SECONDS / 3):
                await self._provider.turn(self._job, self._account)
        pauses = Pauses(*_PAUSES)
        while True:
            with contextlib.suppress(Fault):
                return await self._fetch()
            await asyncio.sleep(pauses.next())

    def _end(self, seen: Task) -> Task:
        if seen.status is Status.SUCCEEDED:
            return seen
        failure = seen.failure or Failure(
            code=FailureCode.PROVIDER_ERROR, message="no reason was given"
        )
        code = precise(failure.code, failure.message)
        if seen.status is Status.CANCELED:
            code = FailureCode.PROVIDER_ERROR  # its owner here did not ask for that
        raise Failed(code, failure.message, failure.provider_code)

    async def pass_on_cancel(self) -> None:
        """Ask the provider to stop, where its wire can; no more than a moment."""
        if self._id is None or self._client is None:
            return
        with contextlib.suppress(Fault, TimeoutError):
            (await see_through(self._stop_there())).value  # noqa: B018 - it raises

    async def _stop_there(self) -> None:
        assert self._client is not None and self._id is not None
        async with asyncio.timeout(_CANCEL_SECONDS):
            await self._client.cancel(self._id, self._asked.kind)

    # -------------------------------------------------------------------------------- files

    async def _fetch_files(self, task: Task) -> list[Event]:
        """Copy the files; while that fails, with fresh links, for it was made and is paid for.

        But not for longer than once more the time that the task had, and where some came, not long
        for the rest. What did not come is logged. Raises `Failed` where nothing did.
        """
        found = _Found()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._provider.options.deadline):
                await self._fetch_patiently(task, found)
        if not found.files:
            raise self._unfetched(found.complaint or "it took too long") from None
        lost = [Log(text=f"File {number + 1} is lost: {why}") for number, why in found.lost()]
        return [*lost, *(file for _, file in sorted(found.files.items()))]

    async def _fetch_patiently(self, task: Task, found: _Found) -> None:
        pauses, rounds = Pauses(*_PAUSES), 0
        while True:
            kept_from_writing = await self._copy_all(task, found)
            rounds += not kept_from_writing
            if found.done or (found.files and rounds >= _MOST_ROUNDS):
                return
            await asyncio.sleep(pauses.next())
            with contextlib.suppress(Fault):
                await self._provider.turn(self._job, self._account)
                fresh = await self._fetch()
                task = fresh if fresh.status is Status.SUCCEEDED else task

    async def _copy_all(self, task: Task, found: _Found) -> bool:
        """Copy what did not come yet; whether a disk that is full, or gone, kept some from it."""
        linked = _linked(task)
        if not linked:
            found.complaint = "it has no file"
        if len(linked) > _MOST_FILES:
            raise self._unfetched(f"it has more than {_MOST_FILES} files")
        found.count = max(found.count, len(linked))
        full = False
        for number, artifact in enumerate(linked):
            if number in found.files or number in found.gone:
                continue
            try:
                found.files[number] = await self._copy(number, artifact)
            except Unfetched as problem:
                found.miss(number, problem)
            except Fault as problem:
                found.miss(number, Unfetched(problem.message, passing=True))
            except OSError as problem:  # also that passes
                full = True
                found.miss(number, Unfetched(str(problem), passing=True))
        return full

    async def _copy(self, number: int, artifact: Artifact) -> File:
        """Copy one file. Raises `Unfetched`, `Upstream`, `OSError`."""
        path, url = self._job.folder / f"made-{number}", artifact.url or ""
        if url.startswith("data:"):  # the answer had it in itself
            await asyncio.to_thread(lambda: path.write_bytes(read_data_url(url)[0]))
        else:
            home = (self._provider.url, *self._provider.options.result_origins)
            await self._job.fetch(url, path, home)
        return await asyncio.to_thread(_file, path, artifact, self._asked.kind)

    def _unfetched(self, why: str) -> Failed:
        return Failed(
            FailureCode.PROVIDER_ERROR,
            f"Made, but not to be fetched from {self._provider.url} (task {self._id} there): {why}",
        )


def _linked(task: Task) -> list[Artifact]:
    return [artifact for artifact in task.artifacts if artifact.url]


def _file(path: Path, artifact: Artifact, kind: Kind) -> File:
    return File(
        path=path,
        media_type=read_media_type(path, kind),
        width=artifact.width,
        height=artifact.height,
        duration=artifact.duration,
    )


def _repeats(options: Options, dialect: Dialect) -> float:
    """For how many seconds the same submission is certainly the same task there."""
    if options.safe_to_repeat:
        return options.deadline
    return min(options.deadline, dialect.repeats_seconds) if dialect.repeats_safely else 0.0


def _dialect(options: Options) -> Dialect:
    return dialects.named(options.dialect)


def read_options(options: Mapping[str, Any]) -> Options:
    """The options of a model. Raises `ValueError`."""
    try:
        read = Options(**options)
        if not (read.url or _dialect(read).url):
            raise ValueError("url: a Safelight is wherever it is run")
    except ValidationError as problems:
        sentences = [f"{one['loc'][0]}: {one['msg']}" for one in problems.errors()]
        raise ValueError("; ".join(sentences)) from None
    except LookupError as problem:
        raise ValueError(f"dialect: {problem}") from None
    return read


def build(settings: Mapping[str, Any]) -> UpstreamEngine:
    """The engine. Its setting `concurrency` is how many tasks wait in one process at most."""
    return UpstreamEngine(int(settings.get("concurrency", 5000)))
