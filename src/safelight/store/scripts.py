"""What the store does, as scripts: generators that yield named queries and are sent their rows.

A script is one transaction and knows no database: `sqlite.py` steps through it on its writer
thread, another driver may do so over another connection. It does no I/O of its own and reads no
clock.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

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


class Event(NamedTuple):
    """What is told of a task whose row a query returned: `what` and `attempt` as the row says them
    where they are None."""

    at: int
    what: str | None = None
    attempt: int | None = None
    note: str = ""


LINE = "log"  # what an event tells that is a line of the engine's log, and no change of status


class Enqueue(NamedTuple):
    """Have a task run by an engine: queued in the same transaction, where that is possible."""

    task_id: str
    engine: str
    priority: int = 0


class Change(NamedTuple):
    """A query that changes a task and returns its row, and the event that tells of it.

    The event has the number of the row's revision. Unless it is a line of a log every process is
    told `CHANGED`, and a delivery is made for each endpoint that wants to hear of it. Where no row
    is returned nothing was changed, nothing is told, and nothing queued `then`. Only where `whole`
    the script is sent all columns of the row; else those up to the owner at least.
    """

    query: Query
    event: Event
    then: Enqueue | None = None
    whole: bool = False

    @property
    def tells(self) -> bool:
        """Whether those who watch the task are to hear of it at once."""
        return self.event.what != LINE


class Tell(NamedTuple):
    """Tell every process, once the transaction is written, that something happened to `what`."""

    topic: str
    what: str


# Topics: a task that is not to be run any more, a key revoked; a task whose status has changed or
# that is gone, with a space and its owner behind its id; an endpoint to which something is to be
# sent, or of which something has changed.
ENDED, KEYS, CHANGED, DELIVERY = "ended", "keys", "changed", "delivery"

Row = Sequence[Any]
Step = Query | Change | Enqueue | Tell
_T = TypeVar("_T")
_Out = TypeVar("_Out", covariant=True)
Script = Generator[Step, Sequence[Row], _T]


class Single(Generic[_Out]):
    """A script that is one change, and comes to what `result` makes of its rows.

    It may be written together with others of its kind. As part of another script it is as any.
    """

    def __init__(self, change: Change, result: Callable[[Sequence[Row]], _Out]) -> None:
        self.change = change
        self.result = result

    def __iter__(self) -> Script[_Out]:
        rows = yield self.change
        return self.result(rows)


AnyScript = Script[_T] | Single[_T]


class KeyRow(NamedTuple):
    """A key as the list of keys shows it: without its secret."""

    id: str
    name: str
    created: int
    revoked: int | None


class EventRow(NamedTuple):
    """Something that happened to a task: `what` is a status, or `log`.

    `number` is the task's revision by it.
    """

    number: int
    at: int
    what: str
    attempt: int
    note: str


class Ended(NamedTuple):
    """When a task ended, and which."""

    finished: int
    id: str


FIRST_ENDED = Ended(0, "")  # before all of them


class Accepted(NamedTuple):
    """A task that was submitted; `new` is False where an earlier submission was the same."""

    task: Task
    new: bool


class DifferentBody(Exception):
    """The idempotency key was used before, for something else."""


class TooLong(Exception):
    """So many tasks with such long texts are not told together."""


_submit = msgspec.json.Decoder(Submit)
_artifacts = msgspec.json.Decoder(tuple[Artifact, ...])
_failure = msgspec.json.Decoder(Failure)
_memory = msgspec.json.Decoder(dict[str, Any])
_text = msgspec.json.Encoder()

MOST_LISTED = 16 * 2**20  # characters of the rows of a page
_LISTED_TOGETHER = 50

LABEL = ""  # the name under which labels stand among what callers call their tasks: no other's

_STATUSES = {status.value: status for status in Status}
_FIRST, _LAST = "", "g"  # before and after every id, which are hex digits
_MOST_TRIES = 10  # to be the first with an idempotency key
_LONG = 2**62  # longer than any time, and after all of them


def read_task(row: Row) -> Task:
    """The task that a row of the columns of `get_tasks` says."""
    return Task(
        id=row[0],
        revision=row[1],
        owner=row[2],
        dialect=row[3],
        status=_STATUSES[row[4]],
        attempt=row[5],
        deaths=row[6],
        progress=row[7],
        seed=row[8],
        credits=row[9],
        submit=_submit.decode(row[10]),
        artifacts=_artifacts.decode(row[11]) if row[11] else (),
        failure=_failure.decode(row[12]) if row[12] else None,
        created=row[13],
        started=row[14],
        finished=row[15],
        updated=row[16],
        previews=row[17],
    )


def _json(value: Any) -> str | None:
    return _text.encode(value).decode() if value else None


# ------------------------------------------------------------------------------------------ tasks


def add(
    task: Task,
    digest: str,
    oldest: int = 0,
    engine: str | None = None,
    also: Script[None] | None = None,
) -> AnyScript[Accepted]:
    """Add a new task, or find the one that the same idempotency key made.

    A new one is queued for `engine`, where one is given, and with it is done what is to be `also`.
    A task that ended at `oldest` or before is forgotten, and its idempotency key with it. Raises
    `DifferentBody` where that key came with another `digest` of what was asked.
    """
    job = Enqueue(task.id, engine, task.submit.priority) if engine is not None else None
    adding = _adding(task, engine or "")
    if task.submit.idempotency_key is not None:
        key = task.submit.idempotency_key
        return _add_once(task, adding, key, digest, oldest, job, also)
    if task.submit.labels or task.submit.metadata or also is not None:
        return _add_more(task, adding, job, also)
    return Single(adding._replace(then=job), lambda rows: Accepted(task, True))


def _add_more(
    task: Task, adding: Change, job: Enqueue | None, also: Script[None] | None
) -> Script[Accepted]:
    """Add a task with what its caller calls it, and do what is to be done `also`."""
    yield adding._replace(then=job)
    yield from _add_labels(task)
    if also is not None:
        yield from also
    return Accepted(task, True)


def _add_labels(task: Task) -> Script[None]:
    names = [(LABEL, label) for label in task.submit.labels]
    for name, value in [*names, *task.submit.metadata.items()]:
        said = {"name": _clean(name), "value": _clean(value)}
        row = {"owner": task.owner, **said, "task_id": task.id}
        yield Query("add_label", row)


def _adding(task: Task, engine: str) -> Change:
    created, submit = task.created or 0, task.submit
    row = {
        "id": task.id,
        "owner": task.owner,
        "kind": task.kind.value,
        "dialect": task.dialect,
        "status": task.status.value,
        "seed": task.seed,
        "submit": _text.encode(drop_data(submit)).decode(),
        "model": _clean(submit.model),
        "engine": engine,
        "parent": submit.parent,
        "priority": submit.priority,
        "start_by": _later(created, submit.start_within),
        "end_by": _later(created, submit.cancel_after),
        "created": created,
    }
    return Change(Query("add_task", row), Event(created, Status.QUEUED.value, 0))


def _later(created: int, seconds: float | None) -> int | None:
    return None if seconds is None else created + int(seconds * 1000)


def _add_once(
    task: Task,
    adding: Change,
    token: str,
    digest: str,
    oldest: int,
    job: Enqueue | None,
    also: Script[None] | None,
) -> Script[Accepted]:
    earlier = yield from _find_same(task, token, digest, oldest)
    if earlier is not None:
        return Accepted(earlier, False)
    yield adding
    yield from _add_labels(task)
    earlier = yield from _take_token(task, token, digest, oldest)
    if earlier is not None:
        yield Query("remove_task", {"id": task.id})
        return Accepted(earlier, False)
    if also is not None:
        yield from also
    if job is not None:
        yield job
    return Accepted(task, True)


def _take_token(task: Task, token: str, digest: str, oldest: int) -> Script[Task | None]:
    """Have the idempotency key name this task; the other, where it names that by now."""
    key = {"owner": task.owner, "token": token, "digest": digest, "task_id": task.id}
    for _ in range(_MOST_TRIES):
        if (yield Query("add_idempotency", key)):
            return None
        # Another process added the same at this moment, and is through with it by now.
        earlier = yield from _find_same(task, token, digest, oldest)
        if earlier is not None:
            return earlier
        # And that task is gone at this moment, or as old as to be forgotten.
    raise RuntimeError("an idempotency key is there, and is not, again and again")


def _find_same(task: Task, token: str, digest: str, oldest: int) -> Script[Task | None]:
    """The task that this idempotency key made; it is forgotten where that one is."""
    named = yield from _named(task.owner, token, digest, oldest)
    if named is not None and named.forgotten:
        yield Query(
            "drop_idempotency", {"owner": task.owner, "token": token, "task_id": named.task_id}
        )
        return None
    return (yield from get_any(named.task_id)) if named is not None else None


def find_repeat(owner: str, token: str, digest: str, oldest: int) -> Script[Task | None]:
    """The task that an idempotency key made, as `add` would find it; it only reads.

    Raises `DifferentBody` where that key came with another `digest`.
    """
    named = yield from _named(owner, token, digest, oldest)
    if named is None or named.forgotten:
        return None
    return (yield from get_any(named.task_id))


class _Named(NamedTuple):
    """The task that an idempotency key made, and whether it is too old to count."""

    task_id: str
    forgotten: bool


def _named(owner: str, token: str, digest: str, oldest: int) -> Script[_Named | None]:
    rows = yield Query("get_idempotency", {"owner": owner, "token": token})
    if not rows:
        return None
    said, task_id, finished = rows[0]
    forgotten = finished is not None and finished <= oldest
    if said != digest and not forgotten:
        raise DifferentBody
    return _Named(task_id, forgotten)


def enqueue(id: str, engine: str, priority: int = 0) -> Script[None]:
    """Queue a task that is there and is not queued."""
    yield Enqueue(id, engine, priority)


def get_any(id: str, oldest: int = 0) -> Script[Task | None]:
    """The task of any owner: for its files and its worker."""
    rows = yield Query("get_any_task", {"id": id, "oldest": oldest})
    return read_task(rows[0]) if rows else None


def revisions(ids: list[str]) -> Script[dict[str, int]]:
    """The revisions of tasks, of those of the ids that there are."""
    rows = yield Query("get_revisions", {"ids": _text.encode(ids).decode()})
    return dict((row[0], row[1]) for row in rows)


def list_tasks(owner: str, asked: List, oldest: int, most_bytes: int = MOST_LISTED) -> Script[Page]:
    """The tasks of `owner` that `asked` asks for, the newest first, or those that changed last.

    Its total is how many there are at least: all of them where the page, counted by an offset, is
    the last one with any in it. `count` says how many there are, and may take long. Raises
    `TooLong` where the rows of the page have more than `most_bytes`.
    """
    query = _listing(owner, asked, oldest)
    before, offset = asked.before if asked.before is not None else _LAST, asked.offset
    change = asked.before_change if asked.before_change is not None else _LONG
    rows: list[Row] = []
    size = 0
    while len(rows) <= asked.limit:
        # A few at a time: what they were asked with may be long, and of all of them too much.
        limit = min(_LISTED_TOGETHER, asked.limit + 1 - len(rows))
        place = {"before": before, "change": change, "limit": limit, "offset": offset}
        more = yield query._replace(parameters={**query.parameters, **place})
        rows += more
        size += sum(_length(row) for row in more)
        if size > most_bytes:
            raise TooLong
        if len(more) < limit:
            break
        before, change, offset = more[-1][0], more[-1][-1], 0
    tasks = tuple(read_task(row) for row in rows[: asked.limit])
    follows = len(rows) > asked.limit and bool(tasks)
    return Page(
        tasks=tasks,
        total=asked.offset + len(rows) if rows else 0,
        following=tasks[-1].id if follows else None,
        following_change=rows[asked.limit - 1][-1] if follows and asked.by_change else None,
        limit=asked.limit,
        offset=asked.offset,
    )


def _listing(owner: str, asked: List, oldest: int) -> Query:
    """The query that lists what is asked for by the index that leaves fewest to look at."""
    where = _where(owner, asked, oldest)
    if asked.by_change:
        return Query("list_changed_tasks", where)
    if names := _names(asked):
        name, value = names[0]
        return Query("list_named_tasks", {**where, "name": name, "value": value})
    return Query("list_tasks" if asked.model is None else "list_tasks_of_model", where)


def _length(row: Row) -> int:
    """What a task was asked with and came to, in characters."""
    return sum(len(text) for text in row[10:13] if text)


def count(owner: str, asked: List, oldest: int) -> Script[int]:
    """How many tasks of `owner` there are that `asked` asks for, on all pages."""
    rows = yield Query("count_tasks", _where(owner, asked, oldest))
    return int(rows[0][0])


def _where(owner: str, asked: List, oldest: int) -> dict[str, Any]:
    wanted = {
        status.value: status.value if not asked.statuses or status in asked.statuses else None
        for status in Status
    }
    names = [f"{len(name)}:{name}{value}" for name, value in _names(asked)]
    return {
        **wanted,
        "owner": owner,
        "kind": asked.kind.value if asked.kind else None,
        "since": asked.since if asked.since is not None else 0,
        "until": asked.until if asked.until is not None else _LONG,
        "oldest": oldest,
        "model": None if asked.model is None else _clean(asked.model),
        "dialect": None if asked.dialect is None else _clean(asked.dialect),
        "parent": asked.parent,
        "ended_since": asked.ended_since if asked.ended_since is not None else 0,
        "named": _text.encode(names).decode(),
        "names": len(names),
    }


def _names(asked: List) -> list[tuple[str, str]]:
    """What the tasks are called that are asked for, each name and its value once."""
    labels = [(LABEL, label) for label in asked.labels]
    called = [*labels, *asked.metadata.items()]
    return list(dict.fromkeys((_clean(name), _clean(value)) for name, value in called))


def claim(
    id: str, worker: str, now: int, again: bool = False, waits: bool = False
) -> Single[Task | None]:
    """Take the task for a worker; None where it is at its end, or gone.

    `again` says that this worker asks once more, because it got no answer the first time; `waits`
    that the task is to wait elsewhere, and is no further than before until `start`.
    """
    named = {"id": id, "worker": worker, "again": worker if again else "", "now": now}
    told = Event(now, None if waits else Status.RUNNING.value)
    change = Change(Query("claim_task", {**named, "waits": int(waits)}), told, whole=True)
    return Single(change, lambda rows: read_task(rows[0]) if rows else None)


def start(id: str, attempt: int, now: int) -> Single[bool]:
    """Say that a task which waited elsewhere is being made; False where it was so already."""
    started = Query("start_task", {"id": id, "attempt": attempt, "now": now})
    return Single(Change(started, Event(now, Status.RUNNING.value, attempt)), bool)


def remember(id: str, attempt: int, memory: dict[str, Any]) -> Script[bool]:
    """Write what the engine must know if the task is run again; False where it is not ours."""
    text = _text.encode(memory).decode()
    rows = yield Query("remember", {"id": id, "attempt": attempt, "memory": text})
    return bool(rows)


def recall(id: str) -> Script[dict[str, Any]]:
    """What was remembered of the task; empty where that is nothing."""
    rows = yield Query("recall", {"id": id})
    return _memory.decode(rows[0][0]) if rows and rows[0][0] else {}


def take_turns(name: str, now: int, span: int, most: int = _LONG) -> Script[int]:
    """Take turns that last `span` together; when the first of them is. Microseconds.

    Turns that others took further ahead than `most` count as none: their clock was wrong.
    """
    late = {"late": now + most}
    rows = yield Query("take_turns", {"name": name, "now": now, **late, "span": span})
    return int(rows[0][0]) - span


def release(id: str, attempt: int, now: int) -> Script[bool]:
    """Give the task back, to be run again; False where this attempt does not hold it."""
    rows = yield Query("release_task", {"id": id, "attempt": attempt, "now": now})
    return bool(rows)


def progress(id: str, attempt: int, percent: int, now: int) -> Script[bool]:
    """Write how far the task is; False where this attempt does not hold it any more."""
    rows = yield Query(
        "set_progress", {"id": id, "attempt": attempt, "progress": percent, "now": now}
    )
    if rows and rows[0][1]:
        yield Query("drop_progress", {"id": id})
        for (endpoint,) in (yield Query("add_progress", {"id": id, "now": now})):
            yield Tell(DELIVERY, endpoint)
    return bool(rows)


def preview(id: str, attempt: int) -> Script[bool]:
    """Say that a picture of how far the task is was kept; False where this attempt lost it."""
    return bool((yield Query("note_preview", {"id": id, "attempt": attempt})))


def log(id: str, attempt: int, line: str, now: int) -> Single[bool]:
    """Write a line of the engine's log; False where this attempt does not hold the task."""
    noted = Query("note_line", {"id": id, "attempt": attempt})
    return Single(Change(noted, Event(now, LINE, attempt, _clean(line))), bool)


def upload(id: str, attempt: int, now: int) -> Single[bool]:
    """Say that the task is made and its files are being stored; False where it is not ours."""
    uploading = Query("set_uploading", {"id": id, "attempt": attempt, "now": now})
    return Single(Change(uploading, Event(now, Status.UPLOADING.value, attempt)), bool)


def succeed(id: str, attempt: int, artifacts: tuple[Artifact, ...], now: int) -> Single[bool]:
    """End the task with its files, which are stored; False where it is not this attempt's."""
    return _finish(id, attempt, Status.SUCCEEDED, now, artifacts=artifacts)


def fail(id: str, attempt: int, failure: Failure, now: int) -> Single[bool]:
    """End the task without files; False where it is not this attempt's."""
    return _finish(id, attempt, Status.FAILED, now, failure=failure)


def _finish(
    id: str,
    attempt: int,
    status: Status,
    now: int,
    artifacts: tuple[Artifact, ...] = (),
    failure: Failure | None = None,
) -> Single[bool]:
    finished = Query(
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
    note = failure.code.value if failure else ""
    return Single(Change(finished, Event(now, status.value, attempt, note)), bool)


def cancel(id: str, owner: str, now: int, kind: Kind | None = None) -> Script[Task | None]:
    """End the task because its owner asks for it; None where it is at an end, or not there."""
    failure = Failure(code=FailureCode.CANCELED, message="The task was canceled")
    canceled = Query(
        "cancel_task",
        {
            "id": id,
            "owner": owner,
            "kind": kind.value if kind else None,
            "failure": _json(failure),
            "now": now,
        },
    )
    rows = yield Change(canceled, Event(now), whole=True)
    if not rows:
        return None
    yield Tell(ENDED, id)
    return read_task(rows[0])


class Late(NamedTuple):
    """A task that is late: to be begun where it is `starting`, else to be at its end.

    `seconds` is the time that it was given for that.
    """

    id: str
    starting: bool
    seconds: float


def late(now: int, limit: int) -> Script[tuple[Late, ...]]:
    """Tasks that are late, up to so many."""
    rows = yield Query("late_tasks", {"now": now, "limit": limit})
    return tuple(Late(row[0], bool(row[1]), float(row[2])) for row in rows)


def end_late(task: Late, now: int) -> Script[Task | None]:
    """End a task that is late: not begun it has failed, and else it is canceled.

    None where it is not late any more. Whoever runs it hears of it as of a cancel.
    """
    if task.starting:
        status, code = Status.FAILED, FailureCode.TIMEOUT
        sentence = f"The task was not begun within {task.seconds:g} seconds"
    else:
        status, code = Status.CANCELED, FailureCode.CANCELED
        sentence = f"The task was not at its end within {task.seconds:g} seconds"
    said = {
        "id": task.id,
        "status": status.value,
        "failure": _json(Failure(code=code, message=sentence)),
        "starting": int(task.starting),
        "now": now,
    }
    note = code.value if task.starting else ""
    rows = yield Change(Query("end_late_task", said), Event(now, note=note), whole=True)
    if not rows:
        return None
    yield Tell(ENDED, task.id)
    return read_task(rows[0])


def delete(
    ids: tuple[str, ...], owner: str, kind: Kind | None, force: bool = True
) -> Script[tuple[str, ...]]:
    """Remove those of the tasks that are the owner's, and of that kind; returns their ids.

    Without `force` only those that are at an end.
    """
    which = {"owner": owner, "kind": kind.value if kind else None, "force": int(force)}
    removed = []
    for id in sorted(set(ids)):  # in one order: two who remove the same must not wait in a ring
        rows = yield Query("delete_task", {"id": id, **which})
        if rows:
            removed.append(id)
            yield Tell(ENDED, id)
            yield Tell(CHANGED, f"{id} {owner}")
    return tuple(removed)


def events(id: str, after: int = 0) -> Script[tuple[EventRow, ...]]:
    """What happened to the task after its revision `after`, in order."""
    rows = yield Query("get_events", {"task_id": id, "after": after})
    return tuple(EventRow(*row) for row in rows)


class Changed(NamedTuple):
    """A task whose status changed in the transaction of that number; later ones are higher."""

    change: int
    task: Task


def changes(
    owner: str, change: int, id: str, limit: int, oldest: int
) -> Script[tuple[Changed, ...]]:
    """The tasks of `owner` as they are, in the order of their last changes of status.

    Those that changed after `change`, or in it and have ids after `id`. A task that changes again
    comes again, later: who goes on after the last one misses no task's latest state.
    """
    said = {"owner": owner, "change": change, "id": id, "limit": limit, "oldest": oldest}
    rows = yield Query("changed_tasks", said)
    return tuple(Changed(row[-1], read_task(row)) for row in rows)


def last_change(owner: str) -> Script[tuple[int, str]]:
    """The change, and the id, after which there are only changes that are still to come."""
    rows = yield Query("last_change", {"owner": owner})
    return rows[0][0], _LAST


def is_to_come(change: int) -> Script[bool]:
    """Whether no change has had that number yet: it was told by another database, or made up."""
    return bool((yield Query("is_to_come", {"change": change}))[0][0])


def unfinished(after: str, limit: int) -> Script[tuple[str, ...]]:
    """Ids of tasks that are not at an end, in the order of acceptance, after that one."""
    rows = yield Query("unfinished_tasks", {"after": after or _FIRST, "limit": limit})
    return tuple(row[0] for row in rows)


def expired(oldest: int, limit: int, after: Ended = FIRST_ENDED) -> Script[tuple[Ended, ...]]:
    """Tasks that ended at `oldest` or before, those after `after` in the order of their ends."""
    rows = yield Query("expired_tasks", {**after._asdict(), "oldest": oldest, "limit": limit})
    return tuple(Ended(*row) for row in rows)


def remove(ids: tuple[str, ...]) -> Script[None]:
    """Remove tasks, whoever owns them."""
    for id in sorted(ids):  # as in `delete`
        yield Query("remove_task", {"id": id})


def count_by_status() -> Script[dict[str, int]]:
    """How many tasks there are in each status."""
    rows = yield Query("count_by_status", {})
    return {row[0]: row[1] for row in rows}


def learn(runs: list[tuple[str, str, float]]) -> Script[None]:
    """Write how many milliseconds runs took: each by the rule of its model, and its engine."""
    for model, engine, millis in sorted(runs):
        yield Query("learn_pace", {"model": model, "engine": engine, "millis": float(millis)})


def paces() -> Script[dict[tuple[str, str], float]]:
    """The mean of what runs took, in milliseconds, by the rule of their model and their engine."""
    rows = yield Query("get_paces", {})
    return {(row[0], row[1]): row[2] for row in rows}


class Load(NamedTuple):
    """What an engine has to do: tasks that wait and that run, and when the oldest came that waits.

    Milliseconds since 1970; None where none waits.
    """

    waiting: int = 0
    running: int = 0
    oldest: int | None = None


def loads() -> Script[dict[str, Load]]:
    """What the engines have to do."""
    rows = yield Query("get_loads", {})
    found: dict[str, Load] = {}
    for engine, status, tasks, oldest in rows:
        load = found.get(engine, Load())
        if status == Status.QUEUED:
            found[engine] = load._replace(waiting=tasks, oldest=oldest)
        else:
            found[engine] = load._replace(running=load.running + tasks)
    return found


def ahead(task: Task, engine: str, most: int = 1000) -> Script[int]:
    """How many tasks wait that are run before this one, which waits too; `most` at most."""
    said = {"engine": engine, "priority": task.submit.priority, "id": task.id, "limit": most}
    rows = yield Query("count_ahead", said)
    return int(rows[0][0])


def claim_chore(name: str, now: int, every: int) -> Script[bool]:
    """Take a chore; False where any process took it less than `every` milliseconds ago.

    Taken more than that ahead of `now` it was by a clock that was wrong, and is due.
    """
    when = {"due": now - every, "late": now + every}
    rows = yield Query("claim_chore", {"name": name, "now": now, **when})
    return bool(rows)


def write_anything(now: int) -> Script[None]:
    """Write something that is another at each time, and is nobody's."""
    yield Query("claim_chore", {"name": "nothing", "now": now, "due": _LONG, "late": _LONG})


def last_done(name: str) -> Script[int]:
    """When a chore was taken last; 0 where it never was."""
    rows = yield Query("get_chore", {"name": name})
    return rows[0][0] if rows else 0


def _clean(text: str) -> str:
    # PostgreSQL keeps no NUL in a text, and neither database half a surrogate pair.
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()


def event_of(change: Change, row: Row) -> Query:
    """The query that tells of a change, whose row was returned."""
    at, what, attempt, note = change.event
    said = {"what": row[4] if what is None else what, "note": note}
    held = row[5] if attempt is None else attempt
    return Query(
        "add_event", {"task_id": row[0], "number": row[1], "at": at, "attempt": held, **said}
    )


def telling(change: Change, row: Row) -> Script[None]:
    """Have a change, whose row was returned, told to whoever wants to hear of it."""
    yield changed(row)
    if (yield Query("is_heard", {"id": row[0], "owner": row[2]}))[0][0]:
        for (endpoint,) in (yield Query("add_deliveries", {"id": row[0], "at": change.event.at})):
            yield Tell(DELIVERY, endpoint)


def changed(row: Row) -> Tell:
    """What is told of a change whose row was returned."""
    return Tell(CHANGED, f"{row[0]} {row[2]}")


# ---------------------------------------------------------------------------------------- uploads

_UPLOAD_LEAST = 64 * 1024  # bytes that every file counts: it costs a row and a folder as well


class UploadRow(NamedTuple):
    """A file that a caller gave; `received` is None while it is to come. Times in ms since 1970."""

    id: str
    owner: str
    name: str
    folder: str
    size: int
    media_type: str | None
    created: int
    received: int | None = None
    blob: str | None = None  # where it is kept, once it is here


def add_upload(row: UploadRow, oldest: int, quota: int) -> Script[bool]:
    """Note a file that is to come; False where its owner then kept more than `quota` bytes.

    What was made at `oldest` or before counts no more.
    """
    if not (yield from _fits(row.owner, _weight(row.size), oldest, quota)):
        return False
    words = {"name": _clean(row.name), "folder": _clean(row.folder)}
    values = {
        name: value for name, value in row._asdict().items() if name not in ("received", "blob")
    }
    yield Query("add_upload", {**values, **words})
    return True


def resize_upload(row: UploadRow, size: int, oldest: int, quota: int) -> Script[bool]:
    """Have a file that is coming count as many bytes as it has; False where that is too much."""
    if not (yield from _fits(row.owner, _weight(size) - _weight(row.size), oldest, quota)):
        return False
    return bool((yield Query("resize_upload", {"id": row.id, "size": size})))


def _weight(size: int) -> int:
    return max(size, _UPLOAD_LEAST)


def _fits(owner: str, more: int, oldest: int, quota: int) -> Script[bool]:
    """Whether a caller may keep so many bytes more; nobody else adds any until this is written."""
    yield Query("lock_key", {"id": owner})
    said = {"owner": owner, "oldest": oldest, "least": _UPLOAD_LEAST}
    rows = yield Query("weigh_uploads", said)
    return bool(rows[0][0] + more <= quota)


def receive_upload(id: str, blob: str, size: int, media_type: str, now: int) -> Script[bool]:
    """The file is here, under that name; False where it was before, or is not wanted any more."""
    said = {"id": id, "blob": blob, "size": size, "media_type": media_type, "now": now}
    return bool((yield Query("receive_upload", said)))


def get_upload(id: str) -> Script[UploadRow | None]:
    """The file of that id, whoever owns it."""
    rows = yield Query("get_upload", {"id": id})
    return UploadRow(*rows[0]) if rows else None


def old_uploads(oldest: int, limit: int, after: Ended = FIRST_ENDED) -> Script[tuple[Ended, ...]]:
    """Files made at `oldest` or before, those after `after` in the order of their making."""
    said = {"oldest": oldest, "created": after.finished, "id": after.id, "limit": limit}
    rows = yield Query("old_uploads", said)
    return tuple(Ended(*row) for row in rows)


def remove_upload(id: str) -> Script[None]:
    """Forget a file."""
    yield Query("remove_upload", {"id": id})


# ------------------------------------------------------------------------------------------- keys


def add_key(id: str, name: str, lookup: str, secret: str, now: int) -> Script[None]:
    """Add a key; `secret` is encrypted, `lookup` its keyed hash."""
    yield Query(
        "add_key", {"id": id, "name": name, "lookup": lookup, "secret": secret, "created": now}
    )


def add_first_key(id: str, name: str, lookup: str, secret: str, now: int) -> Script[bool]:
    """Add a key where there are none; False where there are, revoked or not.

    Of several processes that do so at once one succeeds: the chore is done once, for ever.
    """
    if (yield Query("list_keys", {})):
        return False
    once = {"name": "first key", "now": now, "due": -1, "late": _LONG}
    if not (yield Query("claim_chore", once)):
        return False
    yield from add_key(id, name, lookup, secret, now)
    return True


def find_key(lookup: str) -> Script[tuple[str, str] | None]:
    """The id and encrypted secret of the key with that keyed hash."""
    rows = yield Query("find_key", {"lookup": lookup})
    return (rows[0][0], rows[0][1]) if rows else None


def get_key(id: str) -> Script[tuple[str, str] | None]:
    """The id and encrypted secret of the key with that id."""
    rows = yield Query("get_key", {"id": _clean(id)})
    return (rows[0][0], rows[0][1]) if rows else None


def key_name(id: str) -> Script[str]:
    """What the key of that id is called; nothing where there is none."""
    rows = yield Query("get_key_name", {"id": id})
    return rows[0][0] if rows else ""


def list_keys() -> Script[tuple[KeyRow, ...]]:
    """All keys, also those that were revoked, without their secrets."""
    rows = yield Query("list_keys", {})
    return tuple(KeyRow(*row) for row in rows)


def revoke_key(id: str, now: int) -> Script[bool]:
    """Revoke a key; False where there is none of that id that is not revoked yet."""
    rows = yield Query("revoke_key", {"id": id, "now": now})
    if rows:
        yield Tell(KEYS, id)
    return bool(rows)


# ----------------------------------------------------------------------- keys at other services


def keep_provider_key(name: str, secret: str, now: int) -> Script[None]:
    """Keep a key of ours at another service, encrypted, in the place of one of the same name."""
    yield Query("keep_provider_key", {"name": name, "secret": secret, "created": now})


def get_provider_key(name: str) -> Script[str | None]:
    """A kept key, encrypted."""
    rows = yield Query("get_provider_key", {"name": name})
    return rows[0][0] if rows else None


def list_provider_keys() -> Script[tuple[tuple[str, int], ...]]:
    """The names of the kept keys, and when each was kept."""
    rows = yield Query("list_provider_keys", {})
    return tuple((row[0], row[1]) for row in rows)


def remove_provider_key(name: str) -> Script[bool]:
    """Remove a kept key; False where there is none of that name."""
    rows = yield Query("remove_provider_key", {"name": name})
    return bool(rows)
