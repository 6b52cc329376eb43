"""Headers as they come and go: bytes on a connection, text in our requests and responses."""

from __future__ import annotations

from collections.abc import Iterable

from safelight.wire import Response

_BODILESS = frozenset({204, 304})


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
