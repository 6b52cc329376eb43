"""The client: drives a dialect's exchange over HTTP, waits without being a nuisance, downloads.

One client speaks one dialect to one address. `AsyncClient` does the work; `Client` runs the same
one on a thread of its own. The rule for whoever edits it: nothing here sends a submission twice.
"""

from __future__ import annotations

import asyncio
import base64
import math
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, aclosing, suppress
from functools import partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec
from anyio.from_thread import BlockingPortal, start_blocking_portal

from safelight import dialects
from safelight.errors import (
    Fault,
    Internal,
    Malformed,
    NotFound,
    RateLimited,
    StillRunning,
    SubmissionUnknown,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnknownOperation,
    Unreachable,
    Unsupported,
    Upstream,
)
from safelight.media_types import media_type_of, suffix_of
from safelight.pauses import Pauses
from safelight.task import (
    Balance,
    Cancel,
    Catalogue,
    Changed,
    Changes,
    Command,
    Confirm,
    Credits,
    Delete,
    Deleted,
    Events,
    Fetch,
    FetchMany,
    History,
    Kind,
    List,
    Models,
    Page,
    Reply,
    Retry,
    Several,
    Status,
    Submit,
    Task,
    TemplatePage,
    Templates,
    Upload,
    Uploaded,
)
from safelight.wire import Dialect, Exchange, Key, Request, Response, read_retry_after

_T = TypeVar("_T")
OnProgress = Callable[[Task], object]

# Waiting: the pauses between two polls grow by a quarter, up to the longest one.
_GROWTH, _LONGEST_PAUSE = 1.25, 10.0
# After a fault pauses double, up to this.
_LONGEST_BACKOFF = 30.0
# Every wait asks once, however little time it has, and gives that question so many seconds.
_FIRST_SECONDS = 5.0
# A turn that is taken late by no more than this delays none of those behind it: timers are late.
_LATE_SECONDS = 0.02
# Submissions that are remembered: a service may not know a task yet that it has just accepted.
_MOST_OWN = 10_000
# Bytes a second that the slowest of lines takes; what is sent adds to the time of a request.
_SLOWEST = 128 * 1024
# Encodings that unpack to a bounded multiple. None is asked for; in a row they would have no bound.
_ENCODINGS = frozenset({"identity", "gzip", "deflate"})
# What says that a request never left.
_UNSENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
)
# Answers that do not say whether a submission was carried out before something broke: a server's
# own mistake, and those of what stands before it (52x: Cloudflare's).
_UNCLEAR = frozenset({500, 502, 504, 520, 522, 524})
_PASSING = (Unreachable, Unavailable, RateLimited, Internal, Upstream)
_NOT_MODIFIED = 304
_HELD_SECONDS = 25  # that an answer is asked to be held; proxies cut connections after sixty
_DOWNLOAD_TRIES, _MOST_REDIRECTS = 4, 20
# What has no place in a file name; ids and addresses are the service's words, and not ours.
_UNSAFE = re.compile(r"[^0-9A-Za-z_-]")
_SUFFIX = re.compile(r"\.[0-9A-Za-z]{1,8}")


class _Told(NamedTuple):
    """A task as it was told: with what tag, whether late for our sake, and when to ask again."""

    task: Task
    tag: str | None = None
    held: bool = False
    again: float | None = None


class AsyncClient:
    """A client of one service, or of a Safelight, in one dialect.

    `dialect` is a name such as `"tensorslab"`, by default Safelight's own; `url` the address, by
    default the real service's, and for Safelight's own always said; `key` the secret, or a `Key` of
    id and secret for Tencent, by default from the environment variables that the service's own
    tools read. `pace` is the first pause, in seconds, between two polls of one task; `per_second`
    bounds the polls of all waits together. At most `connections` requests are under way at once.

    `timeout` is how many seconds a request may take altogether, whatever comes and however slowly;
    what is uploaded with it has more, by its size. `max_answer` are the bytes that its answer may
    have, `max_file` those of a file that is downloaded, which may take `download_timeout` seconds.
    Within `grace` seconds of a submission, its task need not be known yet. `transport` is httpx's,
    for tests and proxies.
    """

    def __init__(
        self,
        dialect: str | Dialect = "safelight",
        url: str | None = None,
        key: str | Key | None = None,
        *,
        pace: float = 1.0,
        per_second: float | None = None,
        timeout: float = 60.0,
        connections: int = 100,
        max_answer: int = 64 * 2**20,
        max_file: int = 16 * 2**30,
        download_timeout: float = 3600.0,
        grace: float = 60.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.dialect = dialects.named(dialect) if isinstance(dialect, str) else dialect
        self.url = (url or self.dialect.url).rstrip("/")
        if not self.url:
            raise ValueError(f"{self.dialect.title} is wherever it is run: say its url")
        self._key = key
        self._pace = pace
        self._turns = _Turns(per_second or self.dialect.polls_per_second)
        self._timeout = timeout
        self._max_answer = max_answer
        self._max_file = max_file
        self._download_timeout = download_timeout
        self._grace = grace
        self.holds: bool | None = None  # whether the service holds answers; unknown until asked to
        self._own: dict[str, float] = {}  # what was submitted here lately, and when
        open_http = partial(
            httpx.AsyncClient,
            # One for both: it takes longer to make than all else. A transport has its own.
            verify=httpx.create_ssl_context() if transport is None else True,
            timeout=timeout,
            transport=transport,
            follow_redirects=False,
            headers={"accept-encoding": "identity"},
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),  # none are kept
        )
        self._http = open_http(
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=20)
        )
        # A connection that was kept may end just when a submission is sent on it, and that looks
        # like an answer that was lost: each has one of its own.
        self._fresh = open_http(
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=0)
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()
        await self._fresh.aclose()

    # ------------------------------------------------------------------------------- commands

    async def submit(self, submit: Submit | None = None, **words: Any) -> Task:
        """Submit a task: a `Submit`, or its fields by name. Never sent twice.

        Where the wire takes sources by address alone and keeps files, those that come as data are
        uploaded first. Raises `SubmissionUnknown` where the answer was lost: the task may exist,
        and may cost.
        """
        asked = msgspec.structs.replace(submit, **words) if submit else Submit(**words)
        asked = await self.upload_sources(asked)
        task = await self._carry_out(asked)
        assert isinstance(task, Task)
        self._remember(task.id)
        return task

    async def fetch(self, task: Task | str, kind: Kind | None = None, wait: int = 0) -> Task:
        """The state of a task. Raises `NotFound`.

        The service is asked to answer only once the task is at its end, or after `wait` seconds;
        `holds` says afterwards whether it does so. Others answer at once.
        """
        return (await self._fetch_once(_fetch(task, kind), wait)).task

    async def _fetch_once(self, asked: Fetch, wait: int = 0, seen: _Told | None = None) -> _Told:
        """What is told of a task; where `seen` has a tag, once it is something else, or the same.

        Raises what `fetch` raises.
        """
        headers: list[tuple[str, str]] = []
        if wait:
            headers.append(("prefer", f"wait={wait}"))
            if seen is not None and seen.tag is not None:
                headers.append(("if-none-match", seen.tag))
        exchange = self.dialect.call(asked)
        reply, answer = await self._converse(asked, exchange, headers, wait)
        if wait and answer is not None:
            held = answer.header("preference-applied") is not None
            self.holds = held or bool(self.holds)
        else:
            held = False
        if reply is None:
            assert seen is not None
            return seen._replace(held=held)
        assert isinstance(reply, Task)
        tag = answer.header("etag") if answer is not None else None
        return _Told(reply, tag, held, read_retry_after(answer) if answer is not None else None)

    async def wait(
        self,
        task: Task | str,
        timeout: float | None = 900.0,  # noqa: ASYNC109 - what callers look for; raises StillRunning
        on_progress: OnProgress | None = None,
        kind: Kind | None = None,
    ) -> Task:
        """Ask until the task is at its end, and return it, whatever the end.

        A service that holds its answers (`Prefer: wait`, as every Safelight does) is asked to, and
        others are polled. Faults of the network and of an overloaded service are waited out.
        `on_progress` hears of every change. Raises `NotFound` at once, unless the task was
        submitted here a moment ago, and `StillRunning` after `timeout` seconds. It has asked once
        by then, in any case: where there was no turn or hardly any time for that, it takes a moment
        longer.
        """
        asked = _fetch(task, kind)
        until = None if timeout is None else asyncio.get_running_loop().time() + timeout
        first = await self._ask_first(asked, until)
        limit = asyncio.timeout_at(until)
        try:
            async with limit:
                every = on_progress is not None
                async for state in self._states(asked, first, until, every):
                    if on_progress is not None:
                        on_progress(state)
                    if state.ended:
                        return state
        except TimeoutError:
            if not limit.expired():  # something else's, in `on_progress`
                raise
            raise StillRunning(task_id=asked.id) from None
        raise AssertionError("polling goes on until the end")  # pragma: no cover

    async def cancel(self, task: Task | str, kind: Kind | None = None) -> None:
        """Ask that the task end. Raises `Unsupported` where the wire has no word for it."""
        asked = _fetch(task, kind)
        await self._carry_out(Cancel(id=asked.id, kind=asked.kind))

    async def delete(self, *tasks: Task | str, kind: Kind | None = None) -> tuple[str, ...]:
        """Remove tasks and their files. Raises `Unsupported` where the wire cannot."""
        asked = [_fetch(task, kind) for task in tasks]
        known = asked[0].kind if asked else kind
        reply = await self._carry_out(Delete(ids=tuple(one.id for one in asked), kind=known))
        assert isinstance(reply, Deleted)
        return reply.ids

    async def list(self, asked: List | None = None, **words: Any) -> Page:
        """One's own tasks: a `List`, or its fields by name. Raises `Unsupported`."""
        page = await self._carry_out(msgspec.structs.replace(asked or List(), **words))
        assert isinstance(page, Page)
        return page

    async def fetch_many(self, *tasks: Task | str) -> Several:
        """The states of many tasks: at once, where the wire can, else one after the other."""
        ids = tuple(task if isinstance(task, str) else task.id for task in tasks)
        several = await self._carry_out(FetchMany(ids=ids))
        assert isinstance(several, Several)
        return several

    async def changes(self, cursor: str | None = None, limit: int = 100) -> Changed:
        """The tasks whose status has changed since: go on with `cursor` of what is returned.

        Without one nothing has yet. Raises `Unsupported`.
        """
        changed = await self._carry_out(Changes(cursor=cursor, limit=limit))
        assert isinstance(changed, Changed)
        return changed

    async def events(self, task: Task | str, after: int = 0) -> History:
        """What happened to a task, after the event of that number. Raises `Unsupported`."""
        id = task if isinstance(task, str) else task.id
        history = await self._carry_out(Events(id=id, after=after))
        assert isinstance(history, History)
        return history

    async def retry(self, task: Task | str, same_seed: bool = False, **words: Any) -> Task:
        """A new task, asked for as one that ended, but for `words`. Never sent twice.

        An `idempotency_key` may be among them. Raises `Unsupported` where the wire cannot.
        """
        id = task if isinstance(task, str) else task.id
        key = words.pop("idempotency_key", None)
        asked = Retry(id=id, words=words, same_seed=same_seed, idempotency_key=key)
        made = await self._carry_out(asked)
        assert isinstance(made, Task)
        self._remember(made.id)
        return made

    async def models(self, asked: Models | None = None, **words: Any) -> Catalogue:
        """The models of the service. Raises `Unsupported` where the wire does not tell them."""
        found = await self._carry_out(msgspec.structs.replace(asked or Models(), **words))
        assert isinstance(found, Catalogue)
        return found

    async def upload(
        self, file: Path | str | bytes, name: str | None = None, folder: str | None = None
    ) -> Uploaded:
        """Have the service keep a file for a while: `url` of what it answers may be a source.

        `file` is a path, or the file itself; `name` and `folder` are what it is to be called there.
        Raises `Unsupported` where the wire keeps none.
        """
        if isinstance(file, bytes):
            data = file
        else:
            data = await asyncio.to_thread(Path(file).read_bytes)
            name = name or Path(file).name
        with suppress(Unsupported):
            return await self._keep(Upload(name=name, folder=folder, data=data))
        told = await self._keep(Upload(name=name, folder=folder, size=len(data)))
        await self._put(told.upload_url or "", data)
        return await self._keep(Confirm(id=told.id))

    async def credits(self) -> float | None:
        """The credits that are left; None where none are counted. Raises `Unsupported`."""
        reply = await self._carry_out(Balance())
        assert isinstance(reply, Credits)
        return reply.left

    async def _keep(self, command: Upload | Confirm) -> Uploaded:
        reply = await self._carry_out(command)
        assert isinstance(reply, Uploaded)
        return reply

    async def _put(self, url: str, data: bytes) -> None:
        """Send a file to where the service wants it, which needs no key. Raises `Fault`."""
        seconds = self._timeout + len(data) / _SLOWEST
        try:
            async with asyncio.timeout(seconds):
                answer = await self._http.put(url, content=data, timeout=seconds)
        except (TimeoutError, httpx.HTTPError, httpx.InvalidURL) as problem:
            raise Unreachable(f"the file could not be sent ({_said(problem)})") from None
        if not answer.is_success:
            raise Upstream(f"the file was not taken (status {answer.status_code})")

    async def upload_sources(self, submit: Submit) -> Submit:
        """`submit` with the addresses of what came as data, each file sent once.

        As it is, where the wire takes data, or keeps no files.
        """
        if self.dialect.uploads or not self.dialect.keeps_files:
            return submit
        sources = []
        for source in submit.sources:
            if source.data is None:
                sources.append(source)
                continue
            try:
                kept = await self.upload(source.data, source.name)
            except (NotFound, UnknownOperation):
                sentence = f"{self.url} keeps no files: a source has to have an address"
                raise Unsupported(sentence, parameter="sources") from None
            sources.append(msgspec.structs.replace(source, data=None, url=kept.url))
        return msgspec.structs.replace(submit, sources=tuple(sources))

    async def templates(self, asked: Templates | None = None, **words: Any) -> TemplatePage:
        """The numbered templates of the service. Raises `Unsupported` where it has none."""
        found = await self._carry_out(msgspec.structs.replace(asked or Templates(), **words))
        assert isinstance(found, TemplatePage)
        return found

    async def download(self, task: Task, folder: Path | str) -> Sequence[Path]:
        """Save the files of a task in `folder`, made if need be; returns their paths.

        A file has its name only when it is complete.
        """
        into = Path(folder)
        into.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - one call, before any waiting
        urls = [artifact.url for artifact in task.artifacts if artifact.url]
        if task.status is Status.SUCCEEDED and not urls:
            raise Upstream(f"The task {task.id} succeeded and has no file")
        return [
            await self._download(url, into / f"{_UNSAFE.sub('_', task.id)}-{number}")
            for number, url in enumerate(urls)
        ]

    # ------------------------------------------------------------------------------- exchange

    async def _carry_out(self, command: Command) -> Reply:
        reply, _ = await self._converse(command, self.dialect.call(command))
        assert reply is not None
        return reply

    async def _converse(
        self,
        command: Command,
        exchange: Exchange,
        headers: Sequence[tuple[str, str]] = (),
        longer: float = 0.0,
    ) -> tuple[Reply | None, Response | None]:
        """What comes of an exchange, and its last answer.

        `headers` go with each request, which may take so many seconds `longer`. No reply where the
        service says that what it told before is still so.
        """
        answer: Response | None = None
        try:
            request = next(exchange)
            while True:
                answer = await self._send(command, request.with_headers(*headers), longer)
                if answer.status == _NOT_MODIFIED:
                    exchange.close()
                    return None, answer
                request = exchange.send(answer)
        except StopIteration as stopped:
            reply: Reply = stopped.value
            return reply, answer
        except Malformed as problem:
            raise _lost(command, Upstream(f"{self.url} answered nonsense: {problem}")) from None
        except (Internal, Upstream, Unavailable) as fault:
            # Something broke there: before, or after, it did what was asked.
            broken = answer is not None and answer.status in _UNCLEAR
            if not isinstance(fault, Unavailable) or broken or not fault.certain:
                raise _lost(command, fault) from None
            raise

    async def _send(self, command: Command, request: Request, longer: float = 0.0) -> Response:
        url = self._url_for(command)
        request = request.with_headers(("host", urlsplit(url).netloc.rpartition("@")[2]))
        if isinstance(command, Submit | Retry) and command.idempotency_key:
            name = self.dialect.idempotency_headers[0]
            request = request.with_headers((name, command.idempotency_key))
        request = self.dialect.write_key(request, self._find_key(), _now())
        seconds = self._timeout + len(request.body) / _SLOWEST + longer
        try:
            async with asyncio.timeout(seconds):
                return await self._exchange(command, url, request, seconds)
        except _UNSENT as problem:
            raise Unreachable(f"{url} cannot be reached ({_said(problem)})") from None
        except TimeoutError:
            sentence = f"{url} did not answer within {seconds:.0f} seconds"
            raise _lost(command, Unreachable(sentence)) from None
        except httpx.RequestError as problem:
            sentence = f"{url} did not answer ({_said(problem)})"
            raise _lost(command, Unreachable(sentence)) from None

    def _url_for(self, command: Command) -> str:
        """Where `command` is carried out: a service may keep files at another address."""
        if isinstance(command, Upload) and self.url == self.dialect.url.rstrip("/"):
            return self.dialect.files_url or self.url
        return self.url

    async def _exchange(
        self, command: Command, url: str, request: Request, seconds: float
    ) -> Response:
        """Send a request and read the whole answer. Raises `Upstream` where it has no end."""
        # To wait for a connection, to open it, and its handshake: together they take no longer than
        # the request may. So what was not sent is never taken for an answer that was lost.
        before = self._timeout / 3
        http = self._fresh if isinstance(command, Submit | Retry) else self._http
        async with http.stream(
            request.method,
            f"{url}{request.target}",
            headers=list(request.headers),
            content=request.body,
            timeout=httpx.Timeout(seconds, connect=before, pool=before),
        ) as answer:
            _check_encoding(answer, f"{url} answered")
            body = bytearray()
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > self._max_answer:
                    raise Upstream(f"{url} answered with more than {self._max_answer} bytes")
        return Response(
            status=answer.status_code,
            headers=tuple((name.lower(), value) for name, value in answer.headers.items()),
            body=bytes(body),
        )

    def _find_key(self) -> Key:
        if isinstance(self._key, Key):
            return self._key
        names = self.dialect.key_variables
        secret = self._key or os.environ.get(names[-1], "")
        id = os.environ.get(names[0], "") if len(names) > 1 else ""
        if isinstance(self._key, str) and len(names) > 1 and ":" in self._key:
            id, _, secret = self._key.partition(":")
        if not secret or (len(names) > 1 and not id):
            raise Unauthenticated(f"no key: set {' and '.join(names)}", reason="missing")
        return Key(id=id, secret=secret)

    # ------------------------------------------------------------------------------- waiting

    async def _ask_first(self, asked: Fetch, until: float | None) -> _Told | Fault:
        """Ask when it is its turn, or where none comes in time, out of turn: each asks once.

        Raises `StillRunning` where the time is up and there is no answer.
        """
        await self._turns.take(until)
        if until is not None:
            until = max(until, asyncio.get_running_loop().time() + _FIRST_SECONDS)
        try:
            async with asyncio.timeout_at(until):
                return await self._ask(asked)
        except TimeoutError:
            raise StillRunning(task_id=asked.id) from None

    async def _ask(self, asked: Fetch, wait: int = 0, seen: _Told | None = None) -> _Told | Fault:
        """The task as it is told now; or what kept it from being told, if that may pass."""
        try:
            return await self._fetch_once(asked, wait, seen)
        except NotFound as fault:
            if not self._is_own(asked.id):
                raise
            return fault
        except _PASSING as fault:
            return fault

    async def _states(
        self, asked: Fetch, heard: _Told | Fault, until: float | None, every: bool
    ) -> AsyncIterator[Task]:
        """States of the task: each that a poll sees and that differs from the one before.

        Where the service holds its answers it is not asked again and again: it tells the end, or
        `every` state, where it can say which one was seen.
        """
        pauses = Pauses(self._pace, _LONGEST_PAUSE, _GROWTH)
        backoff = Pauses(self._pace, _LONGEST_BACKOFF)
        last: _Told | None = None
        while True:
            if isinstance(heard, Fault):
                await asyncio.sleep(backoff.next(_asked_for(heard)))
            else:
                if last is None or heard.task != last.task:
                    yield heard.task
                last = heard
                backoff.reset()
                if not heard.held:
                    await asyncio.sleep(pauses.next(0 if every else heard.again or 0))
            await self._turns.take()
            heard = await self._ask(
                asked, self._wait_for(last, until, every), last if every else None
            )

    def _wait_for(self, last: _Told | None, until: float | None, every: bool) -> int:
        """The seconds that the next answer is to be held."""
        if self.holds is False or (every and (last is None or last.tag is None)):
            return 0
        if until is None:
            return _HELD_SECONDS
        left = until - asyncio.get_running_loop().time()
        return max(0, min(_HELD_SECONDS, math.floor(left)))

    def _remember(self, id: str) -> None:
        """Note that this task was submitted here, just now."""
        self._own.pop(id, None)
        self._own[id] = time.monotonic()
        while (oldest := next(iter(self._own), None)) is not None:
            if self._is_own(oldest) and len(self._own) <= _MOST_OWN:
                break
            del self._own[oldest]

    def _is_own(self, id: str) -> bool:
        """Whether the task was submitted here so lately that it need not be known yet."""
        return time.monotonic() - self._own.get(id, -math.inf) <= self._grace

    # ------------------------------------------------------------------------------- download

    async def _download(self, url: str, stem: Path) -> Path:
        if url.startswith("data:"):
            return _save_data_url(url, stem)
        try:
            async with asyncio.timeout(self._download_timeout):
                return await self._download_patiently(url, stem)
        except TimeoutError:
            sentence = f"the file was not sent within {self._download_timeout:g} seconds"
            raise Unreachable(sentence) from None

    async def _download_patiently(self, url: str, stem: Path) -> Path:
        pauses = Pauses(self._pace, _LONGEST_BACKOFF)
        for tried in range(_DOWNLOAD_TRIES):
            try:
                return await self._download_once(url, stem)
            except _PASSING as fault:
                if tried == _DOWNLOAD_TRIES - 1:
                    raise
                pause = pauses.next(_asked_for(fault))
            await asyncio.sleep(pause)
        raise AssertionError  # pragma: no cover

    async def _download_once(self, url: str, stem: Path) -> Path:
        part = stem.with_name(f"{stem.name}.part")
        try:
            # Without the key: result links need none, and may lead to somebody else's storage.
            request: httpx.Request | None = self._http.build_request("GET", url)
            for _ in range(_MOST_REDIRECTS + 1):
                assert request is not None
                answer = await self._http.send(request, stream=True)
                async with aclosing(answer):
                    # The bodies of redirects are nobody's business, and may have no end.
                    if (request := answer.next_request) is None:
                        await self._save(answer, part)
                        return part.replace(stem.with_name(f"{stem.name}{_suffix(answer, url)}"))
        except (httpx.RequestError, httpx.InvalidURL) as problem:
            raise Unreachable(f"the file was not sent whole ({_said(problem)})") from None
        finally:
            part.unlink(missing_ok=True)
        raise Unreachable("the file was not sent: too many redirects")

    async def _save(self, answer: httpx.Response, path: Path) -> None:
        """Write a file as it comes. Raises `TooLarge`, and what its status says."""
        _check_download(answer)
        _check_encoding(answer, "the file was sent")
        size = 0
        with path.open("wb") as file:
            async for chunk in answer.aiter_bytes():
                size += len(chunk)
                if size > self._max_file:
                    raise TooLarge(f"the file has more than {self._max_file} bytes")
                file.write(chunk)


class Client:
    """The same client for code without a loop: it runs an `AsyncClient` on a thread of its own.

    Takes what `AsyncClient` takes; use it as a context manager, or `close` it.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        self._stack = ExitStack()
        self._portal: BlockingPortal = self._stack.enter_context(start_blocking_portal())
        try:
            self._client = self._portal.call(partial(AsyncClient, *args, **options))
        except BaseException:
            self._stack.close()
            raise
        self._stack.callback(self._portal.call, self._client.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        type: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and end the thread."""
        self._stack.close()

    def _call(self, act: Callable[..., Awaitable[_T]], *args: Any, **named: Any) -> _T:
        future = self._portal.start_task_soon(partial(act, *args, **named))
        try:
            return future.result()
        except BaseException:
            # A wait that was interrupted here would go on there, and keep `close` waiting.
            future.cancel()
            raise

    def submit(self, submit: Submit | None = None, **words: Any) -> Task:
        """See `AsyncClient.submit`."""
        return self._call(self._client.submit, submit, **words)

    def fetch(self, task: Task | str, kind: Kind | None = None, wait: int = 0) -> Task:
        """See `AsyncClient.fetch`."""
        return self._call(self._client.fetch, task, kind, wait)

    def wait(
        self,
        task: Task | str,
        timeout: float | None = 900.0,
        on_progress: OnProgress | None = None,
        kind: Kind | None = None,
    ) -> Task:
        """See `AsyncClient.wait`; `on_progress` is called on the client's thread."""
        return self._call(self._client.wait, task, timeout, on_progress, kind)

    def upload(
        self, file: Path | str | bytes, name: str | None = None, folder: str | None = None
    ) -> Uploaded:
        """See `AsyncClient.upload`."""
        return self._call(self._client.upload, file, name, folder)

    def credits(self) -> float | None:
        """See `AsyncClient.credits`."""
        return self._call(self._client.credits)

    def cancel(self, task: Task | str, kind: Kind | None = None) -> None:
        """See `AsyncClient.cancel`."""
        self._call(self._client.cancel, task, kind)

    def delete(self, *tasks: Task | str, kind: Kind | None = None) -> tuple[str, ...]:
        """See `AsyncClient.delete`."""
        return self._call(self._client.delete, *tasks, kind=kind)

    def list(self, asked: List | None = None, **words: Any) -> Page:
        """See `AsyncClient.list`."""
        return self._call(self._client.list, asked, **words)

    def fetch_many(self, *tasks: Task | str) -> Several:
        """See `AsyncClient.fetch_many`."""
        return self._call(self._client.fetch_many, *tasks)

    def changes(self, cursor: str | None = None, limit: int = 100) -> Changed:
        """See `AsyncClient.changes`."""
        return self._call(self._client.changes, cursor, limit)

    def events(self, task: Task | str, after: int = 0) -> History:
        """See `AsyncClient.events`."""
        return self._call(self._client.events, task, after)

    def retry(self, task: Task | str, same_seed: bool = False, **words: Any) -> Task:
        """See `AsyncClient.retry`."""
        return self._call(self._client.retry, task, same_seed, **words)

    def models(self, asked: Models | None = None, **words: Any) -> Catalogue:
        """See `AsyncClient.models`."""
        return self._call(self._client.models, asked, **words)

    def templates(self, asked: Templates | None = None, **words: Any) -> TemplatePage:
        """See `AsyncClient.templates`."""
        return self._call(self._client.templates, asked, **words)

    def download(self, task: Task, folder: Path | str) -> Sequence[Path]:
        """See `AsyncClient.download`."""
        return self._call(self._client.download, task, folder)


class _Turns:
    """Turns at a rate that all who take them share: first come, first served.

    A turn is taken when it is due. Whoever gives up before has taken none. Of this client alone,
    and without a store, which `turns.py` shares among processes that take theirs ahead.
    """

    def __init__(self, per_second: float) -> None:
        self._interval = 1 / per_second
        self._next = -math.inf  # when the next one is due
        self._waiting = asyncio.Lock()  # whose first owner's turn is the next one

    async def take(self, until: float | None = None) -> None:
        """Wait for the next turn, or until then."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until), self._waiting:
                await self._wait()

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        left = self._next - loop.time()
        if left > 0:
            await asyncio.sleep(left)
        self._next = max(self._next, loop.time() - _LATE_SECONDS) + self._interval


def _fetch(task: Task | str, kind: Kind | None) -> Fetch:
    if isinstance(task, Task):
        return Fetch(id=task.id, kind=kind or task.kind)
    return Fetch(id=task, kind=kind)


def _lost(command: Command, fault: Fault) -> Fault:
    """What a lost answer means: of a submission, that nobody knows whether it was accepted."""
    if isinstance(command, Submit | Retry):
        return SubmissionUnknown(f"{fault.message}; the task may have been accepted")
    return fault


def _asked_for(fault: Fault) -> float:
    """The seconds that a passing fault asks to wait at least."""
    return getattr(fault, "retry_after", None) or 0.0


def _now() -> int:
    """The time that a signature is made at: milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def _said(problem: Exception) -> str:
    return str(problem) or type(problem).__name__


def _check_download(answer: httpx.Response) -> None:
    if answer.status_code == 200:
        return
    problem = f"the file answers with status {answer.status_code}"
    if answer.status_code in (404, 410):
        raise NotFound(f"{problem}: it is not there any more")
    if answer.status_code == 429 or answer.status_code >= 500:
        raise Unavailable(problem)
    raise Upstream(problem)


def _check_encoding(answer: httpx.Response, said: str) -> None:
    """Raise `Upstream` where the body of an answer may unpack to anything."""
    encoding = answer.headers.get("content-encoding", "identity")
    if encoding.strip().lower() not in _ENCODINGS:
        raise Upstream(f"{said} in the content encoding {encoding[:100]!r}")


def read_data_url(url: str) -> tuple[bytes, str]:
    """A file that an answer carries in itself, as base64 (RFC 2397), and its media type.

    Raises `Upstream`.
    """
    head, _, text = url.removeprefix("data:").partition(",")
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise Upstream("the file in the answer is not valid base64") from None
    return data, head.partition(";")[0] or media_type_of(data[:32])


def _save_data_url(url: str, stem: Path) -> Path:
    data, media_type = read_data_url(url)
    path = stem.with_name(f"{stem.name}{suffix_of(media_type)}")
    path.write_bytes(data)
    return path


def _suffix(answer: httpx.Response, url: str) -> str:
    media_type = answer.headers.get("content-type", "").partition(";")[0].strip()
    known = suffix_of(media_type) if media_type != "application/octet-stream" else ""
    own = Path(urlsplit(url).path).suffix
    return known or (own if _SUFFIX.fullmatch(own) else "")
