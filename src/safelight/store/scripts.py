"""What the store does, as scripts: generators that yield named queries and are sent their rows.

A script is one transaction and knows no database: `sqlite.py` steps through it on its writer
thread, another driver may do so over another connection. It does no I/O of its own and reads no
clock.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple, TypeVar

import msgspec

from safelight.task import (
    Artifact,
    Failure,
    FailureCode,
    Kind,
    List,
    Page,
    Status,
    Submit,
    Task,
    drop_data,
)


class Query(NamedTuple):
    """A query of `queries.sql`, by name, and its parameters."""

    name: str
    parameters: dict[str, Any]


Row = tuple[Any, ...]
_T = TypeVar("_T")
Script = Generator[Query, list[Row], _T]


class KeyRow(NamedTuple):
    """A key as the list of keys shows it: without its secret."""

    id: str
    name: str
    created: int
    revoked: int | None


class EventRow(NamedTuple):
    """Something that happened to a task: `what` is a status, or `log`."""

    at: int
    what: str
    attempt: int
    note: str


class Accepted(NamedTuple):
    """A task that was submitted; `new` is False where an earlier submission was the same."""

    task: Task
    new: bool


class DifferentBody(Exception):
    """The idempotency key was used before, for something else."""


_submit = msgspec.json.Decoder(Submit)
_artifacts = msgspec.json.Decoder(tuple[Artifact, ...])
_failure = msgspec.json.Decoder(Failure)
_text = msgspec.json.Encoder()

_STATUSES = {status.value: status for status in Status}
_FIRST, _LAST = "", "g"  # before and after every id, which are hex digits


def read_task(row: Row) -> Task:
    """The task that a row of the columns of `get_tasks` says."""
    return Task(
        id=row[0],
        owner=row[1],
        dialect=row[2],
        status=_STATUSES[row[3]],
        attempt=row[4],
        deaths=row[5],
        progress=row[6],
        seed=row[7],
        credits=row[8],
        submit=_submit.decode(row[9]),
        artifacts=_artifacts.decode(row[10]) if row[10] else (),
        failure=_failure.decode(row[11]) if row[11] else None,
        created=row[12],
        started=row[13],
        finished=row[14],
        updated=row[15],
    )


def _json(value: Any) -> str | None:
    return _text.encode(value).decode() if value else None


# ------------------------------------------------------------------------------------------ tasks


def add(task: Task, digest: str, oldest: int = 0) -> Script[Accepted]:
    """Add a new task, or find the one that the same idempotency key made.

    One that ended at `oldest` or before is forgotten, and its key with it. Raises
    `DifferentBody` where that key came with another `digest` of what was asked.
    """
    token = task.submit.idempotency_key
    if token is not None:
        earlier = yield Query(
            "get_idempotency", {"owner": task.owner, "token": token, "oldest": oldest}
        )
        if earlier:
            return (yield from _find_same(task, digest, earlier[0]))
    yield Query(
        "add_task",
        {
            "id": task.id,
            "owner": task.owner,
            "kind": task.kind.value,
            "dialect": task.dialect,
            "status": task.status.value,
            "seed": task.seed,
            "submit": _text.encode(drop_data(task.submit)).decode(),
            "created": task.created,
        },
    )
    yield _event(task.id, task.created or 0, Status.QUEUED, 0)
    if token is not None:
        yield Query(
            "add_idempotency",
            {"owner": task.owner, "token": token, "digest": digest, "task_id": task.id},
        )
    return Accepted(task, True)


def _find_same(task: Task, digest: str, earlier: Row) -> Script[Accepted]:
    if earlier[0] != digest:
        raise DifferentBody
    rows = yield Query("get_any_task", {"id": earlier[1], "oldest": 0})
    return Accepted(read_task(rows[0]), False)


def get_any(id: str, oldest: int = 0) -> Script[Task | None]:
    """The task of any owner: for its files and its worker."""
    rows = yield Query("get_any_task", {"id": id, "oldest": oldest})
    return read_task(rows[0]) if rows else None


def find(owner: str, asked: List, oldest: int) -> Script[Page]:
    """The tasks of `owner` that `asked` asks for, the newest first."""
    wanted = {
        status.value: status.value if not asked.statuses or status in asked.statuses else None
        for status in Status
    }
    where = {
        **wanted,
        "owner": owner,
        "kind": asked.kind.value if asked.kind else None,
        "since": asked.since if asked.since is not None else 0,
        "until": asked.until if asked.until is not None else 2**62,
        "oldest": oldest,
    }
    counted = yield Query("count_tasks", where)
    rows = yield Query(
        "list_tasks",
        {
            **where,
            "before": asked.before if asked.before is not None else _LAST,
            "limit": asked.limit + 1,
            "offset": asked.offset,
        },
    )
    tasks = tuple(read_task(row) for row in rows[: asked.limit])
    more = len(rows) > asked.limit and tasks
    return Page(
        tasks=tasks,
        total=counted[0][0],
        following=tasks[-1].id if more else None,
        limit=asked.limit,
        offset=asked.offset,
    )


def claim(id: str, worker: str, now: int) -> Script[Task | None]:
    """Take the task for a worker; None where it is at its end, or gone."""
    rows = yield Query("claim_task", {"id": id, "worker": worker, "now": now})
    if not rows:
        return None
    task = read_task(rows[0])
    yield _event(id, now, Status.RUNNING, task.attempt)
    return task


def release(id: str, attempt: int, now: int) -> Script[bool]:
    """Give the task back, to be run again; False where this attempt does not hold it."""
    rows = yield Query("release_task", {"id": id, "attempt": attempt, "now": now})
    return bool(rows)


def progress(id: str, attempt: int, percent: int, now: int) -> Script[bool]:
    """Write how far the task is; False where this attempt does not hold it any more."""
    rows = yield Query(
        "set_progress", {"id": id, "attempt": attempt, "progress": percent, "now": now}
    )
    return bool(rows)


def log(id: str, attempt: int, line: str, now: int) -> Script[None]:
    """Write a line of the engine's log, if this attempt still holds the task."""
    yield Query(
        "add_event_of_attempt",
        {"task_id": id, "at": now, "what": "log", "attempt": attempt, "note": line},
    )


def upload(id: str, attempt: int, now: int) -> Script[bool]:
    """Say that the task is made and its files are being stored; False where it is not ours."""
    rows = yield Query("set_uploading", {"id": id, "attempt": attempt, "now": now})
    if rows:
        yield _event(id, now, Status.UPLOADING, attempt)
    return bool(rows)


def succeed(id: str, attempt: int, artifacts: tuple[Artifact, ...], now: int) -> Script[bool]:
    """End the task with its files, which are stored; False where it is not this attempt's."""
    return (yield from _finish(id, attempt, Status.SUCCEEDED, now, artifacts=artifacts))


def fail(id: str, attempt: int, failure: Failure, now: int) -> Script[bool]:
    """End the task without files; False where it is not this attempt's."""
    return (yield from _finish(id, attempt, Status.FAILED, now, failure=failure))


def _finish(
    id: str,
    attempt: int,
    status: Status,
    now: int,
    artifacts: tuple[Artifact, ...] = (),
    failure: Failure | None = None,
) -> Script[bool]:
    rows = yield Query(
        "finish_task",
        {
            "id": id,
            "attempt": attempt,
            "status": status.value,
            "progress": 100 if status is Status.SUCCEEDED else None,
            "artifacts": _json(artifacts),
            "failure": _json(failure),
            "now": now,
        },
    )
    if rows:
        yield _event(id, now, status, attempt, failure.code.value if failure else "")
    return bool(rows)


def cancel(id: str, owner: str, now: int, kind: Kind | None = None) -> Script[Task | None]:
    """End the task because its owner asks for it; None where it is at an end, or not there."""
    failure = Failure(code=FailureCode.CANCELED, message="The task was canceled")
    rows = yield Query(
        "cancel_task",
        {
            "id": id,
            "owner": owner,
            "kind": kind.value if kind else None,
            "failure": _json(failure),
            "now": now,
        },
    )
    if not rows:
        return None
    task = read_task(rows[0])
    yield _event(id, now, Status.CANCELED, task.attempt)
    return task


def delete(ids: tuple[str, ...], owner: str, kind: Kind | None) -> Script[tuple[str, ...]]:
    """Remove those of the tasks that are the owner's, and of that kind; returns their ids."""
    removed = []
    for id in ids:
        rows = yield Query(
            "delete_task", {"id": id, "owner": owner, "kind": kind.value if kind else None}
        )
        removed += [row[0] for row in rows]
    return tuple(removed)


def events(id: str) -> Script[tuple[EventRow, ...]]:
    """What happened to the task, in order."""
    rows = yield Query("get_events", {"task_id": id})
    return tuple(EventRow(*row) for row in rows)


def unfinished(after: str, limit: int) -> Script[tuple[str, ...]]:
    """Ids of tasks that are not at an end, in the order of acceptance, after that one."""
    rows = yield Query("unfinished_tasks", {"after": after or _FIRST, "limit": limit})
    return tuple(row[0] for row in rows)


def expired(oldest: int, limit: int) -> Script[tuple[str, ...]]:
    """Ids of tasks that ended at `oldest` or before."""
    rows = yield Query("expired_tasks", {"oldest": oldest, "limit": limit})
    return tuple(row[0] for row in rows)


def remove(ids: tuple[str, ...]) -> Script[None]:
    """Remove tasks, whoever owns them."""
    for id in ids:
        yield Query("remove_task", {"id": id})


def count_by_status() -> Script[dict[str, int]]:
    """How many tasks there are in each status."""
    rows = yield Query("count_by_status", {})
    return {row[0]: row[1] for row in rows}


def _event(id: str, now: int, status: Status, attempt: int, note: str = "") -> Query:
    return Query(
        "add_event",
        {"task_id": id, "at": now, "what": status.value, "attempt": attempt, "note": note},
    )


# ------------------------------------------------------------------------------------------- keys


def add_key(id: str, name: str, lookup: str, secret: str, now: int) -> Script[None]:
    """Add a key; `secret` is encrypted, `lookup` its keyed hash."""
    yield Query(
        "add_key", {"id": id, "name": name, "lookup": lookup, "secret": secret, "created": now}
    )


def find_key(lookup: str) -> Script[tuple[str, str] | None]:
    """The id and encrypted secret of the key with that keyed hash."""
    rows = yield Query("find_key", {"lookup": lookup})
    return (rows[0][0], rows[0][1]) if rows else None


def get_key(id: str) -> Script[tuple[str, str] | None]:
    """The id and encrypted secret of the key with that id."""
    rows = yield Query("get_key", {"id": id})
    return (rows[0][0], rows[0][1]) if rows else None


def list_keys() -> Script[tuple[KeyRow, ...]]:
    """All keys, also those that were revoked, without their secrets."""
    rows = yield Query("list_keys", {})
    return tuple(KeyRow(*row) for row in rows)


def revoke_key(id: str, now: int) -> Script[bool]:
    """Revoke a key; False where there is none of that id that is not revoked yet."""
    rows = yield Query("revoke_key", {"id": id, "now": now})
    return bool(rows)
