"""What a list of tasks is asked with, in both directions."""

from __future__ import annotations

from typing import Any

from safelight.dialects.safelight.queries import Query
from safelight.errors import Unsupported
from safelight.task import Kind, List, Status
from safelight.wire import Request

MOST_LISTED, LISTED = 200, 20


def read_list(request: Request) -> List:
    """The list that is asked for. Raises `Malformed`, `UnknownParameter`."""
    query = Query.of(request)
    asked = List(
        kind=query.word("kind", Kind),
        statuses=query.words("status", Status),
        limit=query.number("limit", LISTED, 1, MOST_LISTED),
        before=query.text("cursor"),
    )
    query.end()
    return asked


def write_list(asked: List) -> dict[str, Any]:
    """The query that asks for a list. Raises `Unsupported` for what has no word here."""
    if asked.offset:
        raise Unsupported("Safelight has pages, and no offset", parameter="offset")
    return {
        "kind": asked.kind,
        "status": ",".join(sorted(asked.statuses)) or None,
        "limit": asked.limit,
        "cursor": asked.before,
    }
