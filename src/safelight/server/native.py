"""What of Safelight's own API is no task's: who the key is, and what others of the server add.

It lies under the same prefix as the dialect `safelight`, which claims the paths of tasks before it.
An operation is a row of a table, and answers as a dialect does: in its own records, and faults as
problems. Whoever edits it keeps the order: the key first, and then the body, which has an end.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from safelight.clock import now_millis
from safelight.dialects.safelight.problems import write_problem
from safelight.dialects.safelight.reading import read_asked
from safelight.dialects.safelight.records import KeySaid
from safelight.dialects.safelight.writing import PREFIX
from safelight.server.bodies import Bodies, Room
from safelight.server.bridge import fault_of, new_request_id
from safelight.server.heads import read_head, send_response
from safelight.server.keys import Keyring
from safelight.server.metrics import Metrics
from safelight.wire import Context, Key, Request, Response, Route, Router

ME = Route("me", "GET", f"{PREFIX}/me")
_MOST_BODY = 64 * 1024
_BODY_SECONDS = 20.0
_Record = TypeVar("_Record", bound=msgspec.Struct)


class Call(NamedTuple):
    """A request to one of the operations: whose key it has, and what stands in its path.

    The key of an operation that is open to all is empty.
    """

    key: Key
    request: Request
    params: dict[str, str]
    context: Context

    def read(self, kind: type[_Record]) -> _Record:
        """The body as a record. Raises `Malformed`."""
        return read_asked(kind, self.request.json())

    def answer(self, said: Any, status: int = 200, *headers: tuple[str, str]) -> Response:
        """The answer that says a record; None says that there is nothing to say."""
        head = [("x-request-id", self.context.request_id), *headers]
        if said is None:
            return Response(status=status, headers=tuple(head))
        head.append(("content-type", "application/json"))
        return Response(status=status, headers=tuple(head), body=msgspec.json.encode(said))


Act = Callable[[Call], Awaitable[Response]]


class Operation(NamedTuple):
    """A route, as a dialect has them, and what carries it out. Raises `Fault`."""

    route: Route
    act: Act


class Native:
    """The operations, as an ASGI application for the paths under the prefix."""

    def __init__(
        self,
        keyring: Keyring,
        metrics: Metrics,
        bodies: Bodies,
        operations: Sequence[Operation],
        clock: Callable[[], int] = now_millis,
    ) -> None:
        self._keyring = keyring
        self._metrics = metrics
        self._bodies = bodies
        self._clock = clock
        own = (Operation(ME, self._me), *operations)
        self._acts = {operation.route.op: operation.act for operation in own}
        self._router = Router([operation.route for operation in own])

    def before(self, rest: ASGIApp) -> ASGIApp:
        """These operations under the prefix, and `rest` everywhere else."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            own = scope["type"] == "http" and f"{scope['path']}/".startswith(f"{PREFIX}/")
            await (self if own else rest)(scope, receive, send)

        return answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        op, response = await self._answer(scope, receive)
        await send_response(response, scope["method"], send)
        self._metrics.request("safelight", op, response.status, time.perf_counter() - began)

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[str, Response]:
        """The name of the operation, and its answer, whatever happens."""
        request = read_head(scope, scope["path"])
        context = Context(request=request, request_id=new_request_id(), now=self._clock())
        op, room = "unknown", Room(self._bodies, "", request, _BODY_SECONDS)
        try:
            match = self._router.match(request)
            op = match.op
            key = Key() if match.open else await self._keyring.identify_bearer(request)
            room.who = key.id
            body = await room.receive(receive, _MOST_BODY)
            request = msgspec.structs.replace(request, body=body)
            call = Call(key, request, dict(match.params), context)
            response = await self._acts[op](call)
        except Exception as problem:
            fault = fault_of(problem, request.path)
            response = write_problem(fault, context, of_body=request.method in ("POST", "PATCH"))
        finally:
            room.leave()
        return op, await room.close(receive, response)

    async def _me(self, call: Call) -> Response:
        return call.answer(KeySaid(key_id=call.key.id, name=await self._keyring.name(call.key.id)))
