"""HTTP requests and responses as plain data, and what their heads say."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode

import msgspec

from safelight.errors import (
    BadRequest,
    Conflict,
    Fault,
    InsufficientCredits,
    Internal,
    Malformed,
    NotFound,
    RateLimited,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnknownModel,
    Upstream,
)
from safelight.task import Record
from safelight.wire.forms import MOST_PARTS, Part, read_form
from safelight.wire.json import MOST_ANSWERED, MOST_ASKED, read_json


class _Body(NamedTuple):
    """What a body was read as, or what is wrong with it."""

    value: Any = None
    problem: str | None = None

    def open(self) -> Any:
        if self.problem is not None:
            raise Malformed("", self.problem, "syntax")
        return self.value


def _read_once(read: Callable[..., Any], *arguments: Any) -> _Body:
    try:
        return _Body(read(*arguments))
    except Malformed as problem:
        return _Body(problem=problem.problem)


class Request(Record, frozen=True, kw_only=True, dict=True):
    """An HTTP request as plain data. Header names are lower case, header values as sent.

    `query` is the raw text after `?`; `target` joins it to the path again. A body is parsed once,
    however often it is asked for.
    """

    method: str
    path: str
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """The first header of that (lower-case) name."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    @property
    def target(self) -> str:
        return f"{self.path}?{self.query}" if self.query else self.path

    def with_headers(self, *headers: tuple[str, str]) -> Request:
        """This request with these headers added, or set where they were there before."""
        names = {name for name, _ in headers}
        kept = tuple(pair for pair in self.headers if pair[0] not in names)
        return msgspec.structs.replace(self, headers=kept + headers)

    def arguments(self) -> dict[str, str]:
        """The values of the query string; of a repeated name the last one. Raises `Malformed`."""
        try:
            return dict(parse_qsl(self.query, keep_blank_values=True, max_num_fields=MOST_PARTS))
        except ValueError:
            problem = f"the query string has more than {MOST_PARTS} parts"
            raise Malformed("", problem, "syntax") from None

    def json(self) -> Any:
        """The body as JSON. Raises `Malformed` where it is none."""
        return self._json.open()

    def form(self) -> tuple[Part, ...]:
        """The body's form parts, in their order, multipart or urlencoded. Raises `Malformed`."""
        parts: tuple[Part, ...] = self._form.open()
        return parts

    @cached_property
    def _json(self) -> _Body:
        return _read_once(read_json, self.body, MOST_ASKED)

    @cached_property
    def _form(self) -> _Body:
        return _read_once(read_form, self.header("content-type") or "", self.body)


class Response(Record, frozen=True, kw_only=True):
    """An HTTP response as plain data. Header names are lower case."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """The first header of that (lower-case) name."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    def with_headers(self, *headers: tuple[str, str]) -> Response:
        """This response with these headers added."""
        return msgspec.structs.replace(self, headers=self.headers + headers)

    def json(self) -> Any:
        """The body as JSON. Raises `Malformed` where it is none."""
        return read_json(self.body, MOST_ANSWERED)


def json_response(
    value: Any,
    status: int = 200,
    content_type: str = "application/json",
    headers: Iterable[tuple[str, str]] = (),
) -> Response:
    """An answer whose body is `value` as JSON."""
    return Response(
        status=status,
        headers=(("content-type", content_type), *headers),
        body=msgspec.json.encode(value),
    )


def json_request(method: str, path: str, value: Any) -> Request:
    """A request whose body is `value` as JSON."""
    return Request(
        method=method,
        path=path,
        headers=(("content-type", "application/json"),),
        body=msgspec.json.encode(value),
    )


def query_string(values: Mapping[str, Any]) -> str:
    """`values` as a query string; those that are None are left out."""
    return urlencode({name: value for name, value in values.items() if value is not None})


def read_bearer(request: Request) -> str | None:
    """The secret in `Authorization`, with or without the word Bearer; None where there is none."""
    value = (request.header("authorization") or "").strip()
    scheme, blank, rest = value.partition(" ")
    if blank and scheme.lower() == "bearer":
        value = rest.strip()
    elif scheme.lower() == "bearer":
        value = ""
    return value or None


# Codes by which a service refuses for now, where it says so itself. A proxy has the same ones for a
# connection that broke when the service had the request already (Envoy: 503, "reset reason:
# connection termination").
_REFUSALS = frozenset({408, 425, 501, 503})


def fault_of_status(status: int, message: str, response: Response) -> Fault:
    """The fault that an HTTP status, or a code that means the same, tells in an answer.

    `message` is what the service says in its own form; empty where the answer is in no such form,
    and so may be that of a proxy before it.
    """
    seconds = read_retry_after(response)
    simple: dict[int, type[Fault]] = {
        401: Unauthenticated,
        402: InsufficientCredits,
        403: Unauthenticated,
        404: NotFound,
        409: Conflict,
        413: TooLarge,
    }
    if status in simple:
        return simple[status](message)
    if status == 422:
        return UnknownModel(message) if "model" in message.lower() else BadRequest(message)
    if status == 429:
        return RateLimited(message, retry_after=seconds)
    if status == 500:
        return Internal(message)
    if status in (408, 425) or status > 500:
        # Who says when to come back has refused as well.
        certain = seconds is not None or (bool(message) and status in _REFUSALS)
        return Unavailable(message, retry_after=seconds, certain=certain)
    if status >= 400:
        return BadRequest(message)
    return Upstream(message)


def read_retry_after(response: Response) -> float | None:
    """The seconds that `Retry-After` asks to wait; None where it says none, or a date."""
    try:
        seconds = float(response.header("retry-after") or "")
    except ValueError:
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def retry_after_header(fault: Fault) -> tuple[tuple[str, str], ...]:
    """`Retry-After` in whole seconds (RFC 9110), where the fault knows when to come back."""
    if isinstance(fault, RateLimited | Unavailable) and fault.retry_after is not None:
        return (("retry-after", str(max(1, math.ceil(fault.retry_after)))),)
    return ()
