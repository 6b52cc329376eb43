"""Requests and responses as they come and go: bytes on a connection, text in our records."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import Scope, Send

from safelight.wire import Request, Response

_PIECE = 2**18  # bytes of an answer that are sent at once
_BODILESS = frozenset({204, 304})


def read_head(scope: Scope, path: str) -> Request:
    """The head of a request that ASGI tells, as one for `path`."""
    return Request(
        method=scope["method"],
        path=path,
        query=scope["query_string"].decode("latin-1"),
        headers=read_headers(scope["headers"]),
    )


async def send_response(response: Response, method: str, send: Send) -> None:
    """Send an answer to a request of that method; HEAD is answered without the body."""
    headers = write_headers(response)
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    body = b"" if method == "HEAD" else response.body
    # In pieces where it is large: each once the connection has taken the last.
    at = 0
    while len(body) - at > _PIECE:
        piece = body[at : at + _PIECE]
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        at += _PIECE
    await send({"type": "http.response.body", "body": body[at:]})


def read_headers(lines: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[str, str], ...]:
    """The headers of a request; their names are lower case already, in ASGI and in h11."""
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in lines)


def write_headers(response: Response) -> list[tuple[bytes, bytes]]:
    """The headers to send with an answer whose body is sent whole."""
    lines = [(name.encode(), header_line(value)) for name, value in response.headers]
    if response.status not in _BODILESS:
        lines.append((b"content-length", str(len(response.body)).encode()))
    if response.header("cache-control") is None:
        # A status is out of date the moment it is sent.
        lines.append((b"cache-control", b"no-store"))
    return lines


def header_line(value: str) -> bytes:
    """The value of a header as it is sent."""
    # A value that was echoed must not begin a header of its own.
    return value.replace("\r", "").replace("\n", "").encode("latin-1", "replace")
