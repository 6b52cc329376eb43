"""What a caller says of when he wants to be answered, and what he has seen already.

`Prefer: wait=N` (RFC 7240) asks that an answer be held until the task is at its end; with
`If-None-Match` (RFC 9110) until it is another than the one that was seen. Each wire has both.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from safelight.wire import Request, Response

_WAIT = re.compile(r'(?:^|[,;])\s*wait\s*=\s*"?(\d{1,6})"?\s*(?=$|[,;])', re.IGNORECASE)
_READS = frozenset({"GET", "HEAD"})


class Conditions(NamedTuple):
    """Seconds to wait, 0 for none; and the tags that were seen, where the request only reads."""

    wait: int = 0
    seen: str | None = None


_NONE = Conditions()


def read_conditions(request: Request) -> Conditions:
    """What the headers of a request say. What cannot be understood is a preference of nobody."""
    wait, seen = 0, None
    for name, value in request.headers:
        if name == "prefer" and (found := _WAIT.search(value)):
            wait = wait or int(found[1])
        elif name == "if-none-match" and request.method in _READS:
            seen = value if seen is None else f"{seen}, {value}"
    return Conditions(wait, seen) if wait or seen is not None else _NONE


def matches(seen: str | None, tag: str) -> bool:
    """Whether a tag, as it is sent, is one of those in a header `If-None-Match`."""
    if seen is None:
        return False
    offered = {each.strip().removeprefix("W/") for each in seen.split(",")}
    return "*" in offered or tag.removeprefix("W/") in offered


def not_modified(tag: str) -> Response:
    """The answer to whoever has seen what there is."""
    return Response(status=304, headers=(("etag", tag), _CACHED))


def with_tag(response: Response, tag: str) -> Response:
    """An answer with its tag: to be kept by its caller, and asked for again each time."""
    kept = tuple(pair for pair in response.headers if pair[0] != "cache-control")
    return Response(
        status=response.status, headers=(*kept, ("etag", tag), _CACHED), body=response.body
    )


_CACHED = ("cache-control", "private, no-cache")
