"""HTTP to a dialect and back: one ASGI callable in front of all of them.

Whatever goes wrong where a dialect's door is (no such route, bad JSON, too large a body, a bug of
ours) is told in that dialect's own words. What no dialect answers for goes on to the
application of the server's own routes.

The rule that binds whoever edits it is cost before trust: the route, the key and the rate are
judged from the head alone wherever it tells them, and only then is a body received; and no
exception outlives its answer.
"""

from __future__ import annotations

import asyncio
import random
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, TypeVar

import msgspec
import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from safelight.blobs import BlobError
from safelight.clock import now_millis
from safelight.errors import BadRequest, Fault, Internal, Malformed, TooLarge, Unavailable
from safelight.links import Links
from safelight.server.bodies import Bodies, Room, inflate
from safelight.server.conditions import matches, not_modified, read_conditions, with_tag
from safelight.server.doors import Doors, Entry
from safelight.server.foresight import Foresight
from safelight.server.heads import read_head, send_response
from safelight.server.keys import Keyring
from safelight.server.metrics import Metrics
from safelight.server.rates import Rates
from safelight.server.waiting import Waiting
from safelight.service import Service
from safelight.store import StoreClosed, StoreUnavailable
from safelight.task import (
    Changed,
    Changes,
    Command,
    Fetch,
    FetchMany,
    Page,
    Reply,
    Retry,
    Several,
    Submit,
    Task,
    Uploaded,
)
from safelight.wire import Context, Credential, Dialect, Match, Request, Response

_log = structlog.get_logger("safelight.server")
_HOST = re.compile(r"[A-Za-z0-9.\-]{1,253}(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](?::[0-9]{1,5})?")
_MOST_TOKEN = 255
_STOPPING_SECONDS = 5
_AWAY = "The server's database or files do not answer just now; please try again"
_AWAY_SECONDS = 2
# The bytes that a request may have which carries no files, and a form which says in itself who
# sends it: nobody is known until it is here.
_MOST_BODY, _MOST_FORM = 2**20, 2**18
_MOST_QUERY = 32 * 1024  # what Tencent's own API takes, and more than any other needs
_MOST_CARRIED = 32 * 2**20  # bytes of the files that an answer carries
_CARRYING_SECONDS = 120.0  # in which such an answer is received, or broken off
_LARGE = 64 * 1024  # bytes that are read apart from the loop, by so many threads
_READERS = 2
_T = TypeVar("_T")
_Adding = TypeVar("_Adding", Submit, Retry)  # what makes a task, of which one is enough


class Bridge:
    """Answers where there are `doors` to dialects; anything else is for `fallback`."""

    def __init__(
        self,
        doors: Doors,
        service: Service,
        keyring: Keyring,
        links: Links,
        rates: Rates,
        metrics: Metrics,
        bodies: Bodies,
        waiting: Waiting,
        foresight: Foresight,
        fallback: ASGIApp,
        *,
        max_body: int,
        public_url: str | None,
        default_url: str,
        retention: int = 0,
        clock: Callable[[], int] = now_millis,
    ) -> None:
        self._service = service
        self._keyring = keyring
        self._links = links
        self._rates = rates
        self._metrics = metrics
        self._bodies = bodies
        self._waiting = waiting
        self._foresight = foresight
        self._fallback = fallback
        self._readers = ThreadPoolExecutor(_READERS, "safelight-read")
        self._max_body = max_body
        self._public_url = public_url
        self._default_url = default_url
        self._retention = retention
        self._clock = clock
        self._doors = doors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._fallback(scope, receive, send)
            return
        entry = self._doors.find(scope["path"]) or self._doors.nearest(scope["path"])
        if entry is None:
            await self._fallback(scope, receive, send)
            return
        head = read_head(scope, entry.path)
        # Under its own name all is a dialect's.
        meant = entry.by_name or len(head.query) > _MOST_QUERY or entry.dialect.claims(head)
        if not meant:
            await self._fallback(scope, receive, send)
            return
        room = self._bodies.room("", head)
        response = await self._answer(entry, head, room, receive)
        if not room.size:
            await send_response(response, scope["method"], send)
            return
        # It carries files, which are in memory until they are sent.
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(_CARRYING_SECONDS):
                    await send_response(response, scope["method"], send)
        finally:
            room.leave()

    async def _answer(self, entry: Entry, head: Request, room: Room, receive: Receive) -> Response:
        """The answer to a request, whatever happens."""
        began = time.perf_counter()
        context = Context(
            request=head,
            request_id=new_request_id(),
            now=self._clock(),
            # Only such a wire tells addresses beside those of files.
            base=self._base(entry, head) if entry.dialect.foretells else "",
            retention=self._retention,
        )
        call = _Call(entry, context, room)
        try:
            response = await self._carry_out(call, receive)
        except Exception as problem:
            room.leave()
            # Handed on, and never kept: whoever keeps it keeps this frame, and all that was sent.
            response = _refuse(call, problem)
        if call.dialect.foretells and call.match is not None and call.who is not None:
            rate = self._rates.headers(call.dialect.name, call.match.op, call.who)
            response = response.with_headers(*rate)
        response = await call.room.close(receive, response)
        op = call.match.op if call.match else "unknown"
        took = time.perf_counter() - began - call.waited
        self._metrics.request(entry.dialect.name, op, response.status, took)
        return response

    async def _carry_out(self, call: _Call, receive: Receive) -> Response:
        """Judge the head, receive the body, and do what is asked. Raises `Fault`, `Malformed`."""
        head = call.context.request
        if len(head.query) > _MOST_QUERY:
            raise TooLarge(f"The query string is longer than {_MOST_QUERY} characters")
        caller = None if call.dialect.told_in_body(head) else await self._judge(call)
        try:
            most = self._most(call)
            call.take(await call.room.receive(receive, most))
            if caller is None:
                await self._unpack(call, most)
                caller = await self._judge_whole(call)
            else:
                await self._check(call, caller)
                await self._unpack(call, most)  # what was signed is what was sent
            assert call.match is not None
            self._rates.spend(call.dialect.name, call.match.op, caller.id)
            call.command = await self._aside(
                call, _read_command, call.dialect, call.match, call.context
            )
            call.drop_body()
            if call.match.waits:
                return await self._answer_at_end(call, caller.id, receive)
            reply = await self._service.carry_out(caller.id, call.dialect.name, call.command)
            if isinstance(reply, Task) and isinstance(call.command, Fetch | Submit | Retry):
                return await self._answer_with_task(call, caller.id, reply, receive)
            match call.command, reply:
                case Changes() as changes, Changed(tasks=()):
                    changed = partial(self._waiting.changes, caller.id, changes, reply)
                    return await self._answer_later(call, caller.id, reply, changed, receive)
                case FetchMany() as many, Several() if reply.tasks and not reply.any_over:
                    ended = partial(self._waiting.several, caller.id, many, reply)
                    return await self._answer_later(call, caller.id, reply, ended, receive)
            return self._write(call, reply)
        finally:
            if not call.carries:
                call.room.leave()

    async def _answer_at_end(self, call: _Call, who: str, receive: Receive) -> Response:
        """Submit a task, and answer once it is at its end. Raises `Fault`."""
        assert call.match is not None and isinstance(call.command, Submit)
        op, carried = call.match.op, call.dialect.carries_files(call.match.op, call.command)
        with self._waiting.place(who):
            task = await self._service.submit(who, call.dialect.name, call.command)
            call.release()
            task = await self._waiting.wait(who, task, receive)
            if carried and task.artifacts:
                task = await self._load(call, task)
            dressed = self._dress(task, call)
            write = call.dialect.write_reply
            if not carried:
                return write(op, dressed, call.context)
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._readers, write, op, dressed, call.context)

    async def _answer_with_task(
        self, call: _Call, who: str, task: Task, receive: Receive
    ) -> Response:
        """Tell a task: later, or not at all, where that is what the caller prefers."""
        replayed = task.replayed and call.dialect.foretells
        wait, seen = read_conditions(call.context.request)
        reads = isinstance(call.command, Fetch) and call.context.request.method != "POST"
        known = reads and matches(seen, self._tag(task))
        applied: tuple[tuple[str, str], ...] = ()
        if wait and (known or not task.ended) and self._waiting.may_wait(who):
            wait = min(wait, int(self._waiting.longest))
            applied = (("preference-applied", f"wait={wait}"),)
            call.release()
            began = time.perf_counter()
            task = await self._waiting.prefer(who, task, wait, receive, seen=known)
            call.waited = time.perf_counter() - began
            known = known and matches(seen, self._tag(task))
        if call.dialect.foretells and not known:
            task = await self._foresight.look(task)
        if known:
            response = not_modified(self._tag(task))
        elif reads:
            response = with_tag(self._write(call, task), self._tag(task))
        else:
            response = self._write(call, task)
        if not task.ended and (again := self._foresight.again(task)) is not None:
            applied += (("retry-after", str(again)),)
        if replayed:
            applied += (("idempotent-replayed", "true"),)
        return response.with_headers(*applied) if applied else response

    async def _answer_later(
        self,
        call: _Call,
        who: str,
        reply: Reply,
        follow: Callable[[int, Receive], Awaitable[Reply]],
        receive: Receive,
    ) -> Response:
        """Tell what `follow` finds in so many seconds, where the caller prefers that to `reply`."""
        wait, _ = read_conditions(call.context.request)
        if not wait or not self._waiting.may_wait(who):
            return self._write(call, reply)
        wait, began = min(wait, int(self._waiting.longest)), time.perf_counter()
        call.release()
        reply = await follow(wait, receive)
        call.waited = time.perf_counter() - began
        return self._write(call, reply).with_headers(("preference-applied", f"wait={wait}"))

    def _tag(self, task: Task) -> str:
        """What tells one state of a task from another; weak, for ids of requests differ."""
        return f'W/"{task.revision}-{self._links.epoch(self._clock())}"'

    def _write(self, call: _Call, reply: Reply) -> Response:
        assert call.match is not None
        return call.dialect.write_reply(call.match.op, self._dress(reply, call), call.context)

    async def _load(self, call: _Call, task: Task) -> Task:
        """`task` with its files, where there is room for them in its answer."""
        size = sum(artifact.size or 0 for artifact in task.artifacts)
        if size > _MOST_CARRIED:
            return task
        try:
            await call.room.take(2 * size)  # as they are, and as the text that they become
        except Unavailable:
            return task
        call.carries = True
        return await self._service.load(task)

    def _most(self, call: _Call) -> int:
        """The bytes that the body may have."""
        if call.match is None:
            return min(self._max_body, _MOST_FORM)
        return self._max_body if call.match.files else min(self._max_body, _MOST_BODY)

    async def _judge(self, call: _Call) -> _Caller:
        """See from the head what is asked, by whom, and whether it is his turn."""
        call.match = call.dialect.match(call.context.request)
        caller = await self._identify(call)
        call.who = caller.id
        self._rates.look(call.dialect.name, call.match.op, caller.id)
        if call.match.waits:
            self._waiting.look(caller.id)
        call.room.who = caller.id
        return caller

    async def _judge_whole(self, call: _Call) -> _Caller:
        """The same of a request whose body tells it, which is not read for whoever has no key."""
        caller = await self._identify(call)
        await self._check(call, caller)
        call.match = call.dialect.match(call.context.request)
        return caller

    async def _identify(self, call: _Call) -> _Caller:
        try:
            credential = call.dialect.read_key(call.context.request, call.context.now)
        except Fault:
            if call.match is not None and call.match.open:
                return _Caller("")
            raise
        key = await self._keyring.identify(credential)
        return _Caller(key.id, key.secret, credential)

    async def _check(self, call: _Call, caller: _Caller) -> None:
        """Check the signature, where there is one. Raises `Unauthenticated`."""
        if caller.credential is not None and caller.credential.check is not None:
            request = call.context.request
            await self._aside(call, caller.credential.check, caller.secret, request)

    async def _unpack(self, call: _Call, most: int) -> None:
        """Unpack a body that was sent compressed, within the same limit. Raises `BadRequest`."""
        encoding = (call.context.request.header("content-encoding") or "identity").strip().lower()
        if encoding == "identity" or not call.context.request.body:
            return
        if encoding not in ("gzip", "x-gzip"):
            raise BadRequest(f"Content-Encoding: {encoding[:40]} is not read here, but gzip is")
        await call.room.take(most)
        call.take(await self._aside(call, inflate, call.context.request.body, most))

    async def _aside(self, call: _Call, act: Callable[..., _T], *arguments: Any) -> _T:
        """Read what was sent: on the loop where it is small, which nearly all is."""
        if len(call.context.request.body) <= _LARGE:
            return act(*arguments)
        return await asyncio.get_running_loop().run_in_executor(self._readers, act, *arguments)

    def _dress(self, reply: Reply, call: _Call) -> Reply:
        match reply:
            case Task():
                if call.dialect.foretells:
                    reply = self._links.with_stream(reply, call.context.now)
                if reply.artifacts or reply.submit.sources or reply.previews:
                    return self._links.dress(reply, self._base(call.entry, call.context.request))
                return reply
            case Page() | Several() | Changed():
                base = self._base(call.entry, call.context.request)
                tasks = tuple(self._links.dress(task, base) for task in reply.tasks)
                return msgspec.structs.replace(reply, tasks=tasks)
            case Uploaded():
                base = self._base(call.entry, call.context.request)
                return self._links.dress_upload(reply, base)
            case _:
                return reply

    def _base(self, entry: Entry, head: Request) -> str:
        """What links begin with: the public address, or what the caller calls this server."""
        if self._public_url is not None:
            return self._public_url
        own = f"/{entry.dialect.name}" if entry.by_name else ""
        return called_url(head, own) or self._default_url


class _Caller(NamedTuple):
    """Who asks: the key of that id, and how it was told."""

    id: str
    secret: str = ""
    credential: Credential | None = None


class _Call:
    """A request on its way: what is known of it so far, for whoever has to answer it."""

    __slots__ = (
        "carries",
        "command",
        "context",
        "dialect",
        "entry",
        "match",
        "room",
        "waited",
        "who",
    )

    def __init__(self, entry: Entry, context: Context, room: Room) -> None:
        self.dialect = entry.dialect
        self.entry = entry
        self.context = context
        self.room = room
        self.match: Match | None = None
        self.command: Command | None = None
        self.carries = False  # whether the answer carries files, for which there is room
        self.who: str | None = None  # the id of the key, once he is known from the head
        self.waited = 0.0  # seconds that were spent because the caller would rather wait

    def take(self, body: bytes) -> None:
        """The body has arrived."""
        if body:
            self._replace(body)

    def drop_body(self) -> None:
        """A large body was read, and is not needed any more."""
        if len(self.context.request.body) > _LARGE:
            self._replace(b"")

    def release(self) -> None:
        """What was sent is kept with the task: whoever waits holds nothing."""
        self.command = None
        self.drop_body()
        self.room.leave()

    def _replace(self, body: bytes) -> None:
        request = msgspec.structs.replace(self.context.request, body=body)
        self.context = msgspec.structs.replace(self.context, request=request)


def _read_command(dialect: Dialect, match: Match, context: Context) -> Command:
    command = dialect.read_request(match.op, match.params, context.request)
    match command:
        case Submit():
            return with_token(dialect, command, context.request)
        case Retry():
            return with_token(dialect, command, context.request)
    return command


def _refuse(call: _Call, problem: Exception) -> Response:
    """The answer that tells a problem, in the dialect's words."""
    op = call.match.op if call.match else None
    fault = fault_of(problem, call.context.request.path)
    if op is not None and isinstance(call.command, Submit):
        _name_parameter(fault, call.dialect, op, call.command)
    return call.dialect.write_fault(op, fault, call.context)


def _name_parameter(fault: Fault, dialect: Dialect, op: str, submit: Submit) -> None:
    """Have `fault` name its parameter as the caller does, and say it in its sentence too."""
    ours = fault.parameter
    if ours is None:
        return
    theirs = dialect.parameter_name(op, ours, submit)
    fault.parameter = theirs
    if isinstance(fault, BadRequest):
        sentence = fault.message.removeprefix(f"{ours}: ")
        named = sentence == fault.message and theirs in sentence
        fault.message = sentence if named else f"{theirs}: {sentence}"


def fault_of(problem: Exception, path: str) -> Fault:
    """What a caller may be told of a problem."""
    match problem:
        case Malformed():
            return problem.as_fault()
        case Fault():
            return problem
        case StoreClosed():
            return Unavailable("The server is stopping", retry_after=_STOPPING_SECONDS)
        case StoreUnavailable() | BlobError():
            _log.warning("unavailable", path=path, problem=str(problem)[:300])
            return Unavailable(_AWAY, retry_after=_AWAY_SECONDS)
        case _:
            incident = secrets.token_hex(4)
            _log.error("request_broke", incident=incident, path=path, exc_info=problem)
            return Internal(f"The server made a mistake ({incident})", incident=incident)


def called_url(request: Request, path: str = "") -> str | None:
    """What the caller calls this server; None where it says no such thing.

    `path` is that of the address that he may have.
    """
    # Tencent's Python SDK may send a Host header with the scheme before it, and the path after it.
    host = (request.header("host") or "").removeprefix("http://").removesuffix(path)
    return f"http://{host}" if _HOST.fullmatch(host) else None


def with_token(dialect: Dialect, command: _Adding, request: Request) -> _Adding:
    """`command` with the idempotency key that the headers carry. Raises `Malformed`."""
    for name in dialect.idempotency_headers:
        token = request.header(name)
        if token:
            # A quoted string by the draft of the header, and bare from most: both mean the same.
            if len(token) > 2 and token[0] == token[-1] == '"':
                token = token[1:-1]
            if len(token) > _MOST_TOKEN:
                raise Malformed(name, f"longer than {_MOST_TOKEN} characters", "value")
            return msgspec.structs.replace(command, idempotency_key=token)
    return command


# ---------------------------------------------------------------------------------------- ASGI


def new_request_id() -> str:
    """A UUID (version 4), as Tencent's are: it names a request, and is no secret."""
    digits = f"{random.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"
