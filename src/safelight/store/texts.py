"""The named queries as PostgreSQL takes them; a change and what is told of it are one text."""

from __future__ import annotations

import re
from typing import Any

import aiosql

from safelight.store.queries import TASK, query_text, telling
from safelight.store.scripts import CHANGED, DELIVERY, Change, Query

CHANNEL = "safelight"  # of notices: a topic, a space, and what it is about
# A task's addition says which transaction it is part of, which costs no round trip of its own: if
# the answer to its commit is lost, the database is asked by that what became of it.
ADDING = "add_task"
# A change and what is told of it are one statement here, and so one round trip.
_CHANGING = """
with changed as ({change}), told as (
    insert into events (task_id, number, at, what, attempt, note)
    select id, revision, ${at}::bigint, coalesce(${what}::text, status),
           coalesce(${attempt}::int, attempt), ${note}::text
    from changed
){hearing}
select {columns} from changed
"""
# A JSON list as rows, as SQLite says it and as PostgreSQL does.
_LISTED = re.compile(r"select value from json_each\((\$\d+)\)")
_LIST = r"select json_array_elements_text(\1::text::json)"
# And those who want to hear of it get a delivery each, by which the one who sends them is woken.
_HEARING = f""", hearing as (
{telling("changed", "${at}::bigint")}
)"""
_FEW = "id, revision, owner"
_TRANSACTION = "pg_current_xact_id()::text"
_TELLING = f"pg_notify('{CHANNEL}', '{CHANGED} ' || id || ' ' || owner)"
_WAKING = f"(select count(pg_notify('{CHANNEL}', '{DELIVERY} ' || endpoint)) from hearing)"  # noqa: S608


class Texts:
    """The named queries with PostgreSQL's numbered parameters, and the order of their names."""

    def __init__(self) -> None:
        loaded: Any = aiosql.from_str(query_text(), "asyncpg")
        self._order: dict[str, list[str]] = loaded.driver_adapter.var_sorted
        names = (name for name in loaded.available_queries if not name.endswith("_cursor"))
        self._sql = {name: _LISTED.sub(_LIST, getattr(loaded, name).sql) for name in names}
        self._changes: dict[tuple[str, bool, bool], str] = {}

    def of(self, query: Query) -> tuple[str, list[Any]]:
        """A query's text, and its parameters in order."""
        values = query.parameters
        return self._sql[query.name], [values[name] for name in self._order.get(query.name, ())]

    def of_change(self, change: Change) -> tuple[str, list[Any]]:
        """The text of a change and of what is told of it, and its parameters in order."""
        sql, values = self.of(change.query)
        names = change.query.name, change.whole, change.tells
        if names not in self._changes:
            numbers = range(len(values) + 1, len(values) + 5)
            at, what, attempt, note = numbers
            self._changes[names] = _CHANGING.format(
                change=sql.rstrip(" ;"),
                at=at,
                what=what,
                attempt=attempt,
                note=note,
                columns=", ".join(_columns(change)),
                hearing=_HEARING.format(at=at) if change.tells else "",
            )
        return self._changes[names], [*values, *change.event]


def _columns(change: Change) -> list[str]:
    """What is sent of a change's row: no more than is read."""
    return [
        TASK if change.whole else _FEW,
        *([_TRANSACTION] if change.query.name == ADDING else []),
        *([_TELLING, _WAKING] if change.tells else []),
    ]


TEXTS = Texts()
