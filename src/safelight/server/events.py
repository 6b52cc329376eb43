"""What is no answer to one question: streams of events, and pictures of how far a task is.

They lie beside the tasks of the dialect `safelight`, and are answered before it is asked: under
`/tasks/{id}/events` for whoever accepts server-sent events, and under `/events` all that happens to
a caller's tasks. Pages cannot send a key with an `EventSource`: the address that a task tells as
its stream has a signature in it, which is good for an hour.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.requests import Request as Asked
from starlette.types import ASGIApp, Receive, Scope, Send

from safelight.clock import now_millis
from safelight.dialects.safelight.cursors import read_cursor_of_any, write_cursor
from safelight.dialects.safelight.problems import write_problem
from safelight.dialects.safelight.writing import PREFIX, task_object
from safelight.errors import (
    InvalidValue,
    Malformed,
    NotFound,
    RateLimited,
    Unavailable,
)
from safelight.links import Links
from safelight.server.bridge import called_url, fault_of, new_request_id
from safelight.server.files import Files
from safelight.server.heads import read_head, send_response
from safelight.server.keys import Keyring
from safelight.server.metrics import Metrics
from safelight.server.streams import DONE, MEDIA_TYPE, Streams
from safelight.service import Service
from safelight.store import Store, scripts
from safelight.task import Changes, Task, bare_id
from safelight.wire import Context, Request, Response

_PATH = re.compile(rf"(/safelight)?{PREFIX}/(?:tasks/([^/]+)/)?(events|preview)")
_AGAIN_SECONDS = 5.0


class Events:
    """Answers for these paths, and leaves everything else to `rest`."""

    def __init__(
        self,
        rest: ASGIApp,
        streams: Streams,
        keyring: Keyring,
        store: Store,
        service: Service,
        links: Links,
        files: Files,
        metrics: Metrics,
        *,
        oldest: Callable[[], int],
        retention: int,
        public_url: str | None,
        default_url: str,
        clock: Callable[[], int] = now_millis,
    ) -> None:
        self._rest = rest
        self._streams = streams
        self._keyring = keyring
        self._store = store
        self._service = service
        self._links = links
        self._files = files
        self._metrics = metrics
        self._oldest = oldest
        self._retention = retention
        self._public_url = public_url
        self._default_url = default_url
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].endswith(("/events", "/preview")):
            found = _PATH.fullmatch(scope["path"])
            if found is not None and scope["method"] in ("GET", "HEAD"):
                request = read_head(scope, scope["path"])
                if found[3] == "preview" or found[2] is None or _accepts(request):
                    await self._answer(_Call(request, scope, receive, send, *found.groups()))
                    return
        await self._rest(scope, receive, send)

    async def _answer(self, call: _Call) -> None:
        op = f"stream_{'task' if call.id else 'all'}" if call.what == "events" else "preview"
        try:
            if call.what == "preview":
                await self._preview(call)
            elif call.id is None:
                await self._all(call)
            else:
                await self._task(call, call.id)
            status = 200
        except Exception as problem:
            if call.begun:
                raise
            fault = fault_of(problem, call.request.path)
            response = write_problem(
                fault, Context(request=call.request, request_id=new_request_id())
            )
            status = response.status
            await call.send_whole(response)
        self._metrics.request("safelight", op, status, 0.0)

    # ------------------------------------------------------------------------------------ streams

    async def _task(self, call: _Call, id: str) -> None:
        """A stream of one task's events. Raises `Fault`."""
        task = await self._find(call, id)
        said = call.last_event_id()
        last = _number(said)
        if task.ended and said is not None and said.endswith(DONE):
            await call.send_whole(Response(status=204))  # which stops a browser's EventSource
            return
        tell = partial(self._tell, self._base(call))
        await self._send(call, task.owner, partial(self._streams.of_task, task, last, tell))

    async def _all(self, call: _Call) -> None:
        """A stream of all that happens to a caller's tasks. Raises `Fault`."""
        who = await self._identify(call)
        after = await self._place(who, call.last_event_id())
        tell = partial(self._tell, self._base(call))
        stream = partial(self._streams.of_owner, who, after, self._write_cursor, tell)
        await self._send(call, who, stream)

    async def _place(self, who: str, text: str | None) -> tuple[int, str] | None:
        """The place that an id names: a cursor of `/changes`. Raises `InvalidValue`."""
        if text is None:
            return None
        try:
            since, feed = read_cursor_of_any(text)
        except Malformed as problem:
            raise InvalidValue(str(problem), parameter="Last-Event-ID") from None
        await self._service.changes(who, Changes(since=since, feed=feed, limit=1))
        return since

    def _write_cursor(self, change: int, id: str) -> str:
        return write_cursor((change, id), self._store.feed)

    async def _send(self, call: _Call, who: str, stream: Any) -> None:
        places = self._streams.places
        if self._streams.stopping or places.full:
            sentence = "So many streams as there can be are open already, or the server is stopping"
            raise Unavailable(sentence, retry_after=_AGAIN_SECONDS)
        if places.full_for(who):
            raise RateLimited(
                f"{places.share} streams of this key are open already",
                retry_after=_AGAIN_SECONDS,
                limit=places.share,
                used=places.share + 1,
            )
        if call.request.method == "HEAD":
            await call.send_whole(Response(headers=(("content-type", MEDIA_TYPE),)))
            return
        await self._streams.send(who, stream, call.receive, call.send_piece)

    def _tell(self, base: str, task: Task) -> Any:
        dressed = self._links.with_stream(self._links.dress(task, base), self._clock())
        return task_object(dressed, base, self._retention)

    # ------------------------------------------------------------------------------------ preview

    async def _preview(self, call: _Call) -> None:
        """The last picture of how far a task is. Raises `Fault`."""
        task = await self._find(call, call.id or "")
        answer = await self._files.preview(Asked(call.scope), task)
        if answer is None:
            raise NotFound("There is no picture of how far this task is, or not any more")
        await answer(call.scope, call.receive, call.send_piece)

    # -------------------------------------------------------------------------------------- who

    async def _find(self, call: _Call, text: str) -> Task:
        """The task that is asked for, by its caller or with a signature. Raises `Fault`."""
        id = bare_id(text)
        signed = id is not None and self._links.opens(id, call.argument("signature"), self._clock())
        who = None if signed else await self._identify(call)
        task = None
        if id is not None:
            task = await self._store.read(scripts.get_any(id, self._oldest()))
        if task is None or who not in (None, task.owner):
            raise NotFound
        return task

    async def _identify(self, call: _Call) -> str:
        return (await self._keyring.identify_bearer(call.request)).id

    def _base(self, call: _Call) -> str:
        if self._public_url is not None:
            return self._public_url
        return called_url(call.request, call.door) or self._default_url


class _Call:
    """A request for one of these, and its connection."""

    def __init__(
        self,
        request: Request,
        scope: Scope,
        receive: Receive,
        send: Send,
        door: str | None,
        id: str | None,
        what: str,
    ) -> None:
        self.request = request
        self.scope = scope
        self.receive = receive
        self.door = door or ""
        self.id = id
        self.what = what
        self.begun = False
        self._send = send

    def argument(self, name: str) -> str | None:
        """An argument of the query string. Raises `Malformed`."""
        return self.request.arguments().get(name)

    def last_event_id(self) -> str | None:
        """The id of the last event that the caller has."""
        return self.request.header("last-event-id") or self.argument("last_event_id")

    async def send_piece(self, message: Any) -> None:
        """Send a message of an answer that was begun."""
        self.begun = True
        await self._send(message)

    async def send_whole(self, response: Response) -> None:
        """Send an answer."""
        self.begun = True
        await send_response(response, self.request.method, self._send)


def _accepts(request: Request) -> bool:
    """Whether the request is for a stream, and not for the list of events."""
    return MEDIA_TYPE in (request.header("accept") or "").lower() or "signature=" in request.query


def _number(text: str | None) -> int | None:
    """The revision that an id names; None where there is none. Raises `InvalidValue`."""
    if text is None:
        return None
    number = text.removesuffix(DONE)
    if not re.fullmatch(r"[0-9]{1,10}", number):
        raise InvalidValue("not an id of an event of a task", parameter="Last-Event-ID")
    return int(number)
