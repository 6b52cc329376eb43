"""What lists of tasks and of changes are asked with, in both directions."""

from __future__ import annotations

from enum import StrEnum
from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec

from safelight.dialects.safelight.cursors import (
    digest_of,
    read_cursor,
    read_cursor_of_any,
    write_cursor,
)
from safelight.dialects.safelight.queries import Query, flag_text
from safelight.dialects.safelight.reading import read_time, write_time
from safelight.dialects.safelight.records import (
    MOST_LABELS,
    MOST_METADATA,
    MOST_NAME,
    MOST_VALUE,
)
from safelight.errors import Malformed, Unsupported
from safelight.task import Changes, Kind, List, Page, Status, bare_id
from safelight.wire import Request

MOST_LISTED, LISTED = 200, 20
MOST_CHANGES, CHANGES = 500, 100
_METADATA = "metadata."
_MOST_TEXT = 255


class Order(StrEnum):
    """What a list is ordered by: the newest first, or those that changed last."""

    CREATED = "created"
    CHANGED = "changed"


def read_list(request: Request) -> List:
    """The list that is asked for. Raises `Malformed`, `UnknownParameter`."""
    query = Query.of(request)
    asked = _read_filters(query)
    cursor, before = query.text("cursor"), query.text("before")
    limit, counted = query.number("limit", LISTED, 1, MOST_LISTED), query.flag("count")
    query.end()
    asked = _begin(asked, cursor, before)
    return msgspec.structs.replace(asked, limit=limit, counted=counted)


def _read_filters(query: Query) -> List:
    labels = tuple(dict.fromkeys(query.texts("label")))
    metadata = query.names(_METADATA)
    _check_names("label", labels, MOST_LABELS)
    for name, value in metadata.items():
        _check_names(f"{_METADATA}{name}"[:_MOST_TEXT], (name,), MOST_METADATA)
        if len(value) > MOST_VALUE:
            raise Malformed(f"{_METADATA}{name}", f"longer than {MOST_VALUE} characters")
    if len(metadata) > MOST_METADATA:
        raise Malformed("metadata", f"more than {MOST_METADATA}")
    parent = query.text("parent")
    return List(
        kind=query.word("kind", Kind),
        statuses=query.words("status", Status),
        model=_short("model", query.text("model")),
        dialect=_short("dialect", query.text("dialect")),
        parent=None if parent is None else _id("parent", parent),
        labels=labels,
        metadata=dict(sorted(metadata.items())),
        since=_time("created_after", query),
        until=_time("created_before", query),
        ended_since=_time("finished_after", query),
        by_change=query.word("order", Order) is Order.CHANGED,
    )


def _check_names(parameter: str, names: tuple[str, ...], most: int) -> None:
    if len(names) > most:
        raise Malformed(parameter, f"more than {most}")
    if any(not 1 <= len(name) <= MOST_NAME for name in names):
        raise Malformed(parameter, f"not 1 to {MOST_NAME} characters")


def _short(name: str, text: str | None) -> str | None:
    if text is not None and len(text) > _MOST_TEXT:
        raise Malformed(name, f"longer than {_MOST_TEXT} characters")
    return text


def _id(name: str, text: str) -> str:
    id = bare_id(text)
    if id is None:
        raise Malformed(name, "not the id of a task")
    return id


def _time(name: str, query: Query) -> int | None:
    text = query.text(name)
    return None if text is None else read_time(text, name)


def _begin(asked: List, cursor: str | None, before: str | None) -> List:
    """The list from a place on. Raises `Malformed`."""
    if cursor is not None and before is not None:
        raise Malformed("before", "either a cursor, or the id of a task")
    if before is not None and asked.by_change:
        raise Malformed("before", "in order of creation alone")
    if before is not None:
        return msgspec.structs.replace(asked, before=_id("before", before))
    if cursor is None:
        return asked
    change, id = read_cursor(cursor, digest_of(asked))
    place = {"before_change": change} if asked.by_change else {}
    return msgspec.structs.replace(asked, before=id, **place)


def next_cursor(page: Page, request: Request) -> str | None:
    """Where to go on after a page of the list that `request` asks for."""
    if page.following is None:
        return None
    asked = _read_filters(Query.of(request))
    return write_cursor((page.following_change or 0, page.following), digest_of(asked))


def query_going_on(request: Request, cursor: str) -> str:
    """The query string that asks for the next page of the list that `request` asks for."""
    kept = [pair for pair in parse_qsl(request.query) if pair[0] not in ("cursor", "before")]
    return urlencode([*kept, ("cursor", cursor)])


def write_list(asked: List) -> dict[str, Any]:
    """The query that asks for a list. Raises `Unsupported` for what has no word here."""
    if asked.offset:
        raise Unsupported("Safelight has pages, and no offset", parameter="offset")
    return {
        "kind": asked.kind,
        "status": ",".join(sorted(asked.statuses)) or None,
        "model": asked.model,
        "dialect": asked.dialect,
        "parent": asked.parent,
        "label": list(asked.labels) or None,
        **{f"{_METADATA}{name}": value for name, value in asked.metadata.items()},
        "created_after": _write_moment(asked.since),
        "created_before": _write_moment(asked.until),
        "finished_after": _write_moment(asked.ended_since),
        "order": Order.CHANGED if asked.by_change else None,
        "limit": asked.limit,
        "before": asked.before if asked.cursor is None else None,
        "cursor": asked.cursor,
        "count": flag_text(asked.counted),
    }


def _write_moment(millis: int | None) -> str | None:
    return None if millis is None else write_time(millis)


def read_changes(request: Request) -> Changes:
    """The changes that are asked for. Raises `Malformed`, `UnknownParameter`."""
    query = Query.of(request)
    cursor, limit = query.text("cursor"), query.number("limit", CHANGES, 1, MOST_CHANGES)
    query.end()
    if cursor is None:
        return Changes(limit=limit)
    since, feed = read_cursor_of_any(cursor)
    return Changes(since=since, feed=feed, limit=limit)


def write_changes(asked: Changes) -> dict[str, Any]:
    """The query that asks for changes."""
    cursor = asked.cursor
    if cursor is None and asked.since is not None:
        cursor = write_cursor(asked.since, asked.feed)
    return {"cursor": cursor, "limit": asked.limit}
