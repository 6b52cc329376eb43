"""What is said about webhooks on Safelight's own wire, as records: read strictly, written whole."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from safelight.dialects.safelight.reading import write_time
from safelight.dialects.safelight.records import Asked, Said
from safelight.store.hooks import DeliveryRow, EndpointRow, TryRow

_Events = Annotated[tuple[Annotated[str, Meta(max_length=64)], ...], Meta(max_length=16)]
_Url = Annotated[str, Meta(min_length=1, max_length=2048)]
_Text = Annotated[str, Meta(max_length=256)]
_Secret = Annotated[
    str,
    Meta(max_length=255, description="whsec_ and 24 to 64 bytes in base64; drawn, where absent."),
]


class EndpointRequest(Asked, frozen=True, kw_only=True):
    """An endpoint that is to be made: where to tell of tasks, and which events (none: ends)."""

    url: _Url
    events: _Events = ()
    description: _Text = ""
    secret: _Secret | UnsetType = UNSET


class EndpointChange(Asked, frozen=True, kw_only=True):
    """What is to be other of an endpoint; what is absent stays."""

    url: _Url | UnsetType = UNSET
    events: _Events | UnsetType = UNSET
    description: _Text | UnsetType = UNSET


class RotateRequest(Asked, frozen=True, kw_only=True):
    """A new secret for an endpoint; the old one signs too, for so many hours."""

    overlap_hours: Annotated[float, Meta(ge=0, le=168)] = 24
    secret: _Secret | UnsetType = UNSET


class RecoverRequest(Asked, frozen=True, kw_only=True):
    """Have told what could not be told since a time."""

    since: Annotated[str, Meta(max_length=64, description="RFC 3339.")]


class EndpointSaid(Said, frozen=True, kw_only=True):
    """An endpoint. Its secret is told when it is new, and by nothing else."""

    id: str
    url: str
    events: tuple[str, ...]
    description: str
    state: Annotated[str, Meta(extra_json_schema={"enum": ["on", "off"]})]
    reason: str | UnsetType = UNSET
    failures: Annotated[int, Meta(description="One after the other.")]
    failing_since: str | UnsetType = UNSET
    next_try_at: str | UnsetType = UNSET
    created_at: str
    secret: str | UnsetType = UNSET


class EndpointList(Said, frozen=True, kw_only=True):
    """The endpoints of a key."""

    endpoints: tuple[EndpointSaid, ...]


class TrySaid(Said, frozen=True, kw_only=True):
    """One try to deliver: the status and the beginning of the answer, or the problem."""

    number: int
    at: str
    milliseconds: int
    status: int | UnsetType = UNSET
    problem: str | UnsetType = UNSET
    answer: str | UnsetType = UNSET


class DeliverySaid(Said, frozen=True, kw_only=True):
    """What is told, or was: its id is the `webhook-id`."""

    id: str
    endpoint: str
    type: str
    task: str | UnsetType = UNSET
    revision: int | UnsetType = UNSET
    state: Annotated[str, Meta(extra_json_schema={"enum": ["pending", "delivered", "failed"]})]
    tries: int
    next_try_at: str | UnsetType = UNSET
    created_at: str
    ended_at: str | UnsetType = UNSET
    history: tuple[TrySaid, ...] | UnsetType = UNSET


class DeliveryPage(Said, frozen=True, kw_only=True):
    """Part of a list of deliveries, the newest first."""

    deliveries: tuple[DeliverySaid, ...]
    next_cursor: str | UnsetType = UNSET


class Recovered(Said, frozen=True, kw_only=True):
    """How many deliveries are sent again."""

    recovered: int


class SecretSaid(Said, frozen=True, kw_only=True):
    """What signs for tasks that have addresses of their own, and no secrets."""

    secret: str


def endpoint_said(row: EndpointRow, secret: str | UnsetType = UNSET) -> EndpointSaid:
    """An endpoint as it is told."""
    return EndpointSaid(
        id=row.id,
        url=row.url,
        events=tuple(row.events.split()),
        description=row.description,
        state=row.state,
        reason=row.reason or UNSET,
        failures=row.failures,
        failing_since=_time(row.failing_since),
        next_try_at=_time(row.held or None),
        created_at=write_time(row.created),
        secret=secret,
    )


def delivery_said(row: DeliveryRow, tries: tuple[TryRow, ...] | UnsetType = UNSET) -> DeliverySaid:
    """A delivery as it is told, with its tries where they are given."""
    return DeliverySaid(
        id=row.id,
        endpoint=row.endpoint,
        type=row.type,
        task=row.task_id or UNSET,
        revision=row.revision or UNSET,
        state=row.state,
        tries=row.tries,
        next_try_at=_time(row.next or None) if row.ended is None else UNSET,
        created_at=write_time(row.created),
        ended_at=_time(row.ended),
        history=tries if isinstance(tries, UnsetType) else tuple(map(_try_said, tries)),
    )


def _try_said(row: TryRow) -> TrySaid:
    return TrySaid(
        number=row.number,
        at=write_time(row.at),
        milliseconds=row.millis,
        status=UNSET if row.status is None else row.status,
        problem=row.problem or UNSET,
        answer=row.answer or UNSET,
    )


def _time(millis: int | None) -> str | UnsetType:
    return UNSET if millis is None else write_time(millis)
