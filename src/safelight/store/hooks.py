"""What the store does about webhooks, as scripts: endpoints, what is to be told to them, and tries.

A delivery is made by the change that it tells of, in the transaction of that: see
`scripts.Change`. Here they are read, sent on their way and ended. As in `scripts`, nothing here
reads a clock; times are milliseconds since 1970, and secrets are encrypted before they come here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from safelight.store.scripts import DELIVERY, Query, Row, Script, Tell, read_task
from safelight.task import Task

MOST_ENDPOINTS = 20  # that a caller may make
MOST_ORIGINS = 100  # hosts at which one caller's tasks may be told at the same time
_HOUR = 3_600_000
_LATEST = 2**62  # after all times


class TooMany(Exception):
    """A caller has as many endpoints, or hosts for its tasks' own addresses, as it may have."""


class EndpointRow(NamedTuple):
    """Where a caller is told of all his tasks. `state` is `on` or `off`, for a `reason`."""

    id: str
    url: str
    events: str  # with blanks between
    description: str
    secret: str
    old_secret: str | None
    old_until: int | None
    state: str
    reason: str | None
    failures: int  # one after the other
    failing_since: int | None
    held: int  # before this time nothing is sent there
    created: int


class CallbackRow(NamedTuple):
    """The address that a task is given for itself; `origin` is its scheme, host and port."""

    origin: str
    url: str
    events: str
    secret: str | None
    format: str


class DeliveryRow(NamedTuple):
    """What is told, or was: `state` is `pending`, `delivered` or `failed`."""

    id: str
    endpoint: str
    type: str
    task_id: str | None
    revision: int
    status: str | None
    state: str
    tries: int
    next: int
    created: int
    ended: int | None


class TryRow(NamedTuple):
    """One try: how it was answered, or what the problem was."""

    number: int
    at: int
    millis: int
    status: int | None
    problem: str | None
    answer: str | None


class Waiting(NamedTuple):
    """An endpoint to which something is to be sent at that time."""

    id: str
    owner: str
    due: int


class Taken(NamedTuple):
    """An endpoint to which this process alone sends for a while."""

    id: str
    owner: str
    origin: str | None
    url: str
    secret: str | None
    old_secret: str | None
    old_until: int | None
    failures: int
    failing_since: int | None


class Due(NamedTuple):
    """A delivery that is due: of a task as it was then, or a body."""

    id: str
    type: str
    tries: int
    step: int  # on the schedule
    body: str | None
    created: int
    url: str | None  # what follows is of a task's own address
    secret: str | None
    format: str | None
    task: Task | None
    over: bool  # whether the task is at its end by now


class Try(NamedTuple):
    """What became of one try, and what follows from it for the delivery."""

    delivery: str
    number: int
    step: int
    at: int
    millis: int
    status: int | None
    problem: str | None
    answer: str | None
    state: str
    next: int


# -------------------------------------------------------------------------------------- endpoints


def add_endpoint(
    id: str, owner: str, url: str, events: str, description: str, secret: str, now: int
) -> Script[EndpointRow]:
    """Add an endpoint. Raises `TooMany`."""
    yield Query("lock_key", {"id": owner})  # nobody else adds any until this is written
    if (yield Query("count_endpoints", {"owner": owner}))[0][0] >= MOST_ENDPOINTS:
        raise TooMany
    said = {"url": url, "events": events, "description": description, "secret": secret}
    yield Query("add_endpoint", {"id": id, "owner": owner, **said, "now": now})
    rows = yield Query("get_endpoint", {"id": id, "owner": owner})
    return EndpointRow(*rows[0])


def list_endpoints(owner: str) -> Script[tuple[EndpointRow, ...]]:
    """The endpoints that a caller made."""
    return tuple(EndpointRow(*row) for row in (yield Query("list_endpoints", {"owner": owner})))


def get_endpoint(id: str, owner: str) -> Script[EndpointRow | None]:
    """An endpoint that a caller made."""
    return _endpoint((yield Query("get_endpoint", {"id": id, "owner": owner})))


def change_endpoint(
    id: str, owner: str, url: str | None, events: str | None, description: str | None
) -> Script[EndpointRow | None]:
    """Change what is not None; None where there is no such endpoint."""
    said = {"url": url, "events": events, "description": description}
    return _endpoint((yield Query("change_endpoint", {"id": id, "owner": owner, **said})))


def rotate_endpoint(id: str, owner: str, secret: str, until: int) -> Script[EndpointRow | None]:
    """Have a new secret sign, and the old one too until that time."""
    said = {"id": id, "owner": owner, "secret": secret, "until": until}
    return _endpoint((yield Query("rotate_endpoint", said)))


def enable_endpoint(id: str, owner: str) -> Script[EndpointRow | None]:
    """Turn an endpoint on, or have it tried again at once."""
    found = _endpoint((yield Query("enable_endpoint", {"id": id, "owner": owner})))
    if found is not None:
        yield Tell(DELIVERY, id)
    return found


def remove_endpoint(id: str, owner: str) -> Script[bool]:
    """Remove an endpoint and all that was told to it; False where there is none."""
    if not (yield Query("remove_endpoint", {"id": id, "owner": owner})):
        return False
    yield Query("remove_deliveries_to", {"endpoint": id})
    return True


def _endpoint(rows: Sequence[Row]) -> EndpointRow | None:
    return EndpointRow(*rows[0]) if rows else None


def add_callback(
    task_id: str, owner: str, row: CallbackRow, endpoint: str, now: int
) -> Script[None]:
    """Note a task's own address, as part of its addition; `endpoint` is a new id.

    All of one caller's that have the same origin are one endpoint. Raises `TooMany`.
    """
    said = {"owner": owner, "origin": row.origin}
    yield Query("use_origin", {**said, "now": now, "before": now - _HOUR})
    found = yield Query("get_origin", said)
    if not found:
        if (yield Query("count_origins", {"owner": owner}))[0][0] >= MOST_ORIGINS:
            raise TooMany
        # Another process may make it just now: then that one counts.
        yield Query("add_origin", {**said, "id": endpoint, "now": now})
        found = yield Query("get_origin", said)
    kept = row._asdict()
    del kept["origin"]
    yield Query("add_callback", {"task_id": task_id, "endpoint": found[0][0], **kept})
    for (id,) in (yield Query("add_deliveries", {"id": task_id, "at": now})):
        yield Tell(DELIVERY, id)


def callback_secret(task_id: str) -> Script[str | None]:
    """The secret that signs for a task's own address; None where it has none of its own."""
    rows = yield Query("callback_secret", {"task_id": task_id})
    return rows[0][0] if rows else None


# ---------------------------------------------------------------------------------------- sending


def waiting(limit: int) -> Script[tuple[Waiting, ...]]:
    """The endpoints to which something is to be sent, the longest due first."""
    return tuple(Waiting(*row) for row in (yield Query("waiting_endpoints", {"limit": limit})))


def take(id: str, holder: str, now: int, until: int) -> Script[Taken | None]:
    """Take an endpoint, to send there alone; None where another does, or nothing is to be sent."""
    said = {"id": id, "holder": holder, "now": now, "until": until}
    rows = yield Query("take_endpoint", said)
    return Taken(*rows[0]) if rows else None


def keep(id: str, holder: str, until: int) -> Script[bool]:
    """Keep an endpoint that was taken; False where another has taken it."""
    return bool((yield Query("keep_endpoint", {"id": id, "holder": holder, "until": until})))


def leave(id: str, holder: str) -> Script[None]:
    """Let others take an endpoint."""
    yield Query("leave_endpoint", {"id": id, "holder": holder})


def due(endpoint: str, now: int, limit: int) -> Script[tuple[Due, ...]]:
    """What is due at an endpoint, in the order in which it is to be sent."""
    said = {"endpoint": endpoint, "now": now, "limit": limit}
    return tuple(map(_read_due, (yield Query("due_deliveries", said))))


_OWN = 9  # columns of a delivery, before those of its task


def _read_due(row: Row) -> Due:
    told = read_task(row[_OWN:-1]) if row[_OWN] is not None else None
    return Due._make((*row[:_OWN], told, row[-1] is not None))


def note(tried: Try) -> Script[bool]:
    """Write down a try; False where its delivery is gone, or that try was noted before."""
    ended = tried.at + tried.millis if tried.state != "pending" else None
    said = {"id": tried.delivery, "tries": tried.number, "step": tried.step}
    kept = {"state": tried.state, "next": tried.next, "ended": ended}
    if not (yield Query("note_try", {**said, **kept})):
        return False
    told = ("delivery", "number", "at", "millis", "status", "problem", "answer")
    yield Query("add_try", {name: getattr(tried, name) for name in told})
    return True


def note_success(tried: Try, endpoint: str, failures: int) -> Script[None]:
    """Write down a try that went well; of the endpoint only where it had `failures` before."""
    yield from note(tried)
    if failures:
        yield Query("note_success", {"id": endpoint})


def note_failure(
    tried: Try, endpoint: str, failures: int, held: int, now: int
) -> Script[int | None]:
    """Write down a try that failed, which is the endpoint's failure of that number.

    Nothing is sent there before `held`. Returns since when it fails, where this is news.
    """
    yield from note(tried)
    said = {"id": endpoint, "failures": failures, "held": held, "now": now}
    rows = yield Query("note_failure", said)
    return rows[0][0] if rows else None


def drop(id: str) -> Script[None]:
    """Forget a delivery that is of no use any more."""
    yield Query("drop_delivery", {"id": id})


def give_up(endpoint: str, now: int) -> Script[int]:
    """Send no more of what is to be sent to an endpoint; how many deliveries that are."""
    yield Query("note_success", {"id": endpoint})
    return len((yield Query("give_up_deliveries", {"endpoint": endpoint, "now": now})))


def disable(
    id: str, reason: str, now: int, told: tuple[str, str], stamp: str
) -> Script[int | None]:
    """Turn an endpoint off, and tell its owner's others; None where it is off, or gone.

    `told` are the type and the body of what they are told, and `stamp` makes its id. Returns how
    many deliveries are not sent any more.
    """
    rows = yield Query("disable_endpoint", {"id": id, "reason": reason})
    if not rows:
        return None
    given_up = yield Query("give_up_deliveries", {"endpoint": id, "now": now})
    owner, type_, body = rows[0][0], *told
    for (other,) in (yield Query("other_endpoints", {"owner": owner, "id": id})):
        said = {"id": f"msg_{stamp}_{other}", "endpoint": other, "owner": owner}
        yield Query("add_message", {**said, "type": type_, "body": body, "now": now})
        yield Tell(DELIVERY, other)
    return len(given_up)


def add_message(
    id: str, endpoint: str, owner: str, type: str, body: str, now: int
) -> Script[DeliveryRow | None]:
    """Have something told to an endpoint that is of no task; None where there is no such one."""
    if not (yield Query("get_endpoint", {"id": endpoint, "owner": owner})):
        return None
    said = {"id": id, "endpoint": endpoint, "owner": owner, "type": type, "body": body}
    yield Query("add_message", {**said, "now": now})
    yield Tell(DELIVERY, endpoint)
    return (yield from get_delivery(id, owner))


def redeliver(id: str, owner: str) -> Script[DeliveryRow | None]:
    """Have something told once more; None where there is no such delivery."""
    rows = yield Query("redeliver", {"id": id, "owner": owner})
    if not rows:
        return None
    yield Tell(DELIVERY, rows[0][0])
    return (yield from get_delivery(id, owner))


def recover(endpoint: str, owner: str, since: int) -> Script[int]:
    """Have told what could not be since that time; how many deliveries that are."""
    said = {"endpoint": endpoint, "owner": owner, "since": since}
    rows = yield Query("recover_deliveries", said)
    if rows:
        yield Tell(DELIVERY, endpoint)
    return len(rows)


# ---------------------------------------------------------------------------------------- reading


def list_deliveries(
    owner: str,
    endpoint: str | None,
    state: str | None,
    task: str | None,
    before: tuple[int, str] | None,
    limit: int,
) -> Script[tuple[DeliveryRow, ...]]:
    """A caller's deliveries before the one that was made then and has that id, newest first."""
    created, id = before or (_LATEST, "")
    asked = {"owner": owner, "endpoint": endpoint, "state": state, "task": task}
    rows = yield Query("list_deliveries", {**asked, "created": created, "id": id, "limit": limit})
    return tuple(DeliveryRow(*row) for row in rows)


def get_delivery(id: str, owner: str) -> Script[DeliveryRow | None]:
    """A delivery of that caller's."""
    rows = yield Query("get_delivery", {"id": id, "owner": owner})
    return DeliveryRow(*rows[0]) if rows else None


def tries(delivery: str) -> Script[tuple[TryRow, ...]]:
    """The tries of a delivery, in order."""
    return tuple(TryRow(*row) for row in (yield Query("get_tries", {"delivery": delivery})))


# --------------------------------------------------------------------------------------- sweeping


def sweep(deliveries_before: int, origins_before: int) -> Script[int]:
    """Remove some old deliveries, and what belongs to nothing; how many deliveries were old."""
    removed = yield Query("remove_old_deliveries", {"before": deliveries_before})
    yield Query("remove_stray_deliveries", {})
    yield Query("remove_origins", {"before": origins_before})
    return len(removed)


class Backlog(NamedTuple):
    """How many deliveries are to be sent, how many endpoints are off, and when the oldest of these
    deliveries was made."""

    pending: int
    off: int
    oldest: int | None


def counts() -> Script[Backlog]:
    """What is to be sent yet, and where nothing is sent any more."""
    rows = yield Query("count_deliveries", {})
    return Backlog(*rows[0])
