"""HTTP to a dialect and back: one ASGI callable in front of all of them.

Whatever goes wrong under a dialect's prefix (no such route, bad JSON, too large a body, a bug of
ours) is told in that dialect's own words. What no dialect answers for goes on to the application
behind.
"""

from __future__ import annotations

import random
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from safelight.blobs import BlobError
from safelight.errors import BadRequest, Fault, Internal, Malformed, TooLarge, Unavailable
from safelight.links import Links
from safelight.server.keys import Keyring
from safelight.server.metrics import Metrics
from safelight.server.rates import Rates
from safelight.service import Service, now_millis
from safelight.store import StoreClosed, StoreUnavailable
from safelight.task import Page, Reply, Submit, Task
from safelight.wire import Context, Dialect, Match, Request, Response

_log = structlog.get_logger("safelight.server")
_HOST = re.compile(r"[A-Za-z0-9.\-]{1,253}(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](?::[0-9]{1,5})?")
_MOST_TOKEN = 255
_STOPPING_SECONDS = 5
_AWAY = "The server's database or files do not answer just now; please try again"
_AWAY_SECONDS = 2
_MOST_DIGITS = 20


class Bridge:
    """Answers for the prefixes of `dialects`; anything else is for `behind`."""

    def __init__(
        self,
        dialects: Sequence[Dialect],
        service: Service,
        keyring: Keyring,
        links: Links,
        rates: Rates,
        metrics: Metrics,
        behind: ASGIApp,
        *,
        max_body: int,
        public_url: str | None,
        default_url: str,
        clock: Callable[[], int] = now_millis,
    ) -> None:
        self._service = service
        self._keyring = keyring
        self._links = links
        self._rates = rates
        self._metrics = metrics
        self._behind = behind
        self._max_body = max_body
        self._public_url = public_url
        self._default_url = default_url
        self._clock = clock
        self._prefixes = sorted(
            ((prefix, dialect) for dialect in dialects for prefix in dialect.prefixes),
            key=lambda pair: len(pair[0]),
            reverse=True,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._behind(scope, receive, send)
            return
        dialect = self._dialect_of(scope["path"])
        if dialect is None:
            await self._behind(scope, receive, send)
            return
        head = _read_head(scope)
        if not dialect.claims(head):
            await self._behind(scope, receive, send)
            return
        response = await self._answer(dialect, head, receive)
        await _send(response, scope["method"], send)

    def _dialect_of(self, path: str) -> Dialect | None:
        for prefix, dialect in self._prefixes:
            if path == prefix or (prefix != "/" and path.startswith(f"{prefix}/")):
                return dialect
        return None

    async def _answer(self, dialect: Dialect, head: Request, receive: Receive) -> Response:
        """The answer to a request, whatever happens."""
        began = time.perf_counter()
        context = Context(request=head, request_id=new_request_id(), now=self._clock())
        match: Match | None = None
        try:
            body = await _read_body(head, receive, self._max_body)
            if body:
                request = msgspec.structs.replace(head, body=body)
                context = msgspec.structs.replace(context, request=request)
            match = dialect.match(context.request)
            response = await self._carry_out(dialect, match, context)
        except (Fault, Malformed) as problem:
            fault = problem.as_fault() if isinstance(problem, Malformed) else problem
            response = _write_fault(dialect, match, fault, context)
            if isinstance(fault, TooLarge):
                # The rest of the body is not read, so nothing more can come on this connection.
                closing = (*response.headers, ("connection", "close"))
                response = msgspec.structs.replace(response, headers=closing)
        except StoreClosed:
            fault = Unavailable("The server is stopping", retry_after=_STOPPING_SECONDS)
            response = _write_fault(dialect, match, fault, context)
        except (StoreUnavailable, BlobError) as problem:
            _log.warning("unavailable", path=head.path, problem=str(problem)[:300])
            fault = Unavailable(_AWAY, retry_after=_AWAY_SECONDS)
            response = _write_fault(dialect, match, fault, context)
        except Exception:
            incident = secrets.token_hex(4)
            _log.exception("request_broke", incident=incident, path=head.path)
            fault = Internal(f"The server made a mistake ({incident})", incident=incident)
            response = _write_fault(dialect, match, fault, context)
        op = match.op if match else "unknown"
        self._metrics.request(dialect.name, op, response.status, time.perf_counter() - began)
        return response

    async def _carry_out(self, dialect: Dialect, match: Match, context: Context) -> Response:
        request = context.request
        who = await self._identify(dialect, match, context)
        self._rates.spend(dialect.name, match.op, who)
        command = dialect.read_request(match.op, match.params, request)
        if isinstance(command, Submit):
            command = with_token(dialect, command, request)
        reply = await self._service.carry_out(who, dialect.name, command)
        return dialect.write_reply(match.op, self._dress(reply, request), context)

    async def _identify(self, dialect: Dialect, match: Match, context: Context) -> str:
        try:
            credential = dialect.read_key(context.request, context.now)
        except Fault:
            if match.open:
                return ""
            raise
        return (await self._keyring.identify(credential)).id

    def _dress(self, reply: Reply, request: Request) -> Reply:
        match reply:
            case Task():
                if reply.artifacts or reply.submit.sources:
                    return self._links.dress(reply, self._base(request))
                return reply
            case Page():
                base = self._base(request)
                tasks = tuple(self._links.dress(task, base) for task in reply.tasks)
                return msgspec.structs.replace(reply, tasks=tasks)
            case _:
                return reply

    def _base(self, request: Request) -> str:
        """What links begin with: the public address, or what the caller calls this server."""
        if self._public_url is not None:
            return self._public_url
        return called_url(request) or self._default_url


def _write_fault(dialect: Dialect, match: Match | None, fault: Fault, context: Context) -> Response:
    return dialect.write_fault(match.op if match else None, fault, context)


def called_url(request: Request) -> str | None:
    """What the caller calls this server; None where it says no such thing."""
    # Tencent's Python SDK may send a Host header with the scheme before it.
    host = (request.header("host") or "").removeprefix("http://")
    return f"http://{host}" if _HOST.fullmatch(host) else None


def with_token(dialect: Dialect, submit: Submit, request: Request) -> Submit:
    """`submit` with the idempotency key that the headers carry. Raises `Malformed`."""
    for name in dialect.idempotency_headers:
        token = request.header(name)
        if token:
            if len(token) > _MOST_TOKEN:
                raise Malformed(name, f"longer than {_MOST_TOKEN} characters", "value")
            return msgspec.structs.replace(submit, idempotency_key=token)
    return submit


# ---------------------------------------------------------------------------------------- ASGI


def _read_head(scope: Scope, body: bytes = b"") -> Request:
    # ASGI's header names are lower case.
    headers = [
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]
    ]
    return Request(
        method=scope["method"],
        path=scope["path"],
        query=scope["query_string"].decode("latin-1"),
        headers=tuple(headers),
    )


def new_request_id() -> str:
    """A UUID (version 4), as Tencent's are: it names a request, and is no secret."""
    digits = f"{random.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


async def _read_body(request: Request, receive: Receive, most: int) -> bytes:
    """The body of a request. Raises `TooLarge`, as soon as that is known, or `BadRequest`.

    Each `receive` is a journey to the HTTP server's thread and back, so none is made for a body
    that is not there, or is all here; in HTTP/1.1 the headers say so (RFC 9112, section 6.3).
    """
    announced = request.header("content-length")
    if announced is None and request.header("transfer-encoding") is None:
        return b""
    length = None
    if announced and announced.isdecimal():
        length = int(announced[:_MOST_DIGITS])  # Python reads no thousands of them
        if length > most:
            raise TooLarge(f"The body is larger than {most} bytes")
    parts: list[bytes] = []
    size = 0
    while size != length:
        message = await receive()
        if message["type"] == "http.disconnect":
            # Its caller went away, or sent what is no chunk, and waits to hear so.
            raise BadRequest("The body broke off")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            raise TooLarge(f"The body is larger than {most} bytes")
        if not message.get("more_body"):
            break
    return b"".join(parts)


async def _send(response: Response, method: str, send: Callable[[Any], Awaitable[None]]) -> None:
    headers = [(name.encode(), header_line(value)) for name, value in response.headers]
    headers.append((b"content-length", str(len(response.body)).encode()))
    if response.header("cache-control") is None:
        # A status is out of date the moment it is sent.
        headers.append((b"cache-control", b"no-store"))
    start: Mapping[str, Any] = {
        "type": "http.response.start",
        "status": response.status,
        "headers": headers,
    }
    await send(start)
    body = b"" if method == "HEAD" else response.body
    await send({"type": "http.response.body", "body": body})


def header_line(value: str) -> bytes:
    """The value of a header as it is sent."""
    # A value that was echoed must not begin a header of its own.
    return value.replace("\r", "").replace("\n", "").encode("latin-1", "replace")
