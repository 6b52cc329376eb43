"""The operations for webhooks on Safelight's own wire: endpoints, and what is told to them."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from typing import TypeVar

from msgspec import UNSET

from safelight.callbacks import TEST, Callbacks, check_events, check_secret, write_events
from safelight.clock import now_millis
from safelight.dialects.safelight.cursors import digest_of, read_cursor, write_cursor
from safelight.dialects.safelight.queries import Query
from safelight.dialects.safelight.reading import read_time
from safelight.dialects.safelight.writing import PREFIX
from safelight.errors import Conflict, NotFound
from safelight.secrets import Vault
from safelight.server.hook_records import (
    DeliveryPage,
    EndpointChange,
    EndpointList,
    EndpointRequest,
    Recovered,
    RecoverRequest,
    RotateRequest,
    SecretSaid,
    delivery_said,
    endpoint_said,
)
from safelight.server.native import Act, Call, Operation
from safelight.server.telling import write_event
from safelight.store import Store, hooks
from safelight.store.hooks import MOST_ENDPOINTS, DeliveryRow, EndpointRow, TooMany
from safelight.task import bare_id
from safelight.wire import Response, Route

_ENDPOINTS, _DELIVERIES = f"{PREFIX}/webhooks/endpoints", f"{PREFIX}/webhooks/deliveries"
_ENDPOINT, _DELIVERY = f"{_ENDPOINTS}/{{id}}", f"{_DELIVERIES}/{{id}}"
_ID = re.compile(r"[0-9A-Za-z_-]{1,255}")
_HOUR = 3_600_000
_Row = TypeVar("_Row", EndpointRow, DeliveryRow)
_USUAL, _MOST = 20, 200  # deliveries on a page


class State(StrEnum):
    """Where a delivery is on its way."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class Webhooks:
    """Carries them out. What is a key's, others cannot tell from what is not there."""

    def __init__(
        self,
        store: Store,
        callbacks: Callbacks,
        vault: Vault,
        clock: Callable[[], int] = now_millis,
    ) -> None:
        self._store = store
        self._callbacks = callbacks
        self._vault = vault
        self._clock = clock

    def operations(self) -> tuple[Operation, ...]:
        """The routes, each with what carries it out."""
        table: tuple[tuple[str, str, str, Act], ...] = (
            ("webhooks.list", "GET", _ENDPOINTS, self._list),
            ("webhooks.add", "POST", _ENDPOINTS, self._add),
            ("webhooks.get", "GET", _ENDPOINT, self._get),
            ("webhooks.edit", "PATCH", _ENDPOINT, self._edit),
            ("webhooks.remove", "DELETE", _ENDPOINT, self._remove),
            ("webhooks.rotate", "POST", f"{_ENDPOINT}/rotate", self._rotate),
            ("webhooks.test", "POST", f"{_ENDPOINT}/test", self._test),
            ("webhooks.enable", "POST", f"{_ENDPOINT}/enable", self._enable),
            ("webhooks.recover", "POST", f"{_ENDPOINT}/recover", self._recover),
            ("webhooks.deliveries", "GET", _DELIVERIES, self._deliveries),
            ("webhooks.delivery", "GET", _DELIVERY, self._delivery),
            ("webhooks.redeliver", "POST", f"{_DELIVERY}/redeliver", self._redeliver),
            ("webhooks.secret", "GET", f"{PREFIX}/webhooks/secret", self._secret),
        )
        return tuple(Operation(Route(op, method, path), act) for op, method, path, act in table)

    # --------------------------------------------------------------------------------- endpoints

    async def _list(self, call: Call) -> Response:
        rows = await self._store.read(hooks.list_endpoints(call.key.id))
        return call.answer(EndpointList(endpoints=tuple(map(endpoint_said, rows))))

    async def _add(self, call: Call) -> Response:
        asked = call.read(EndpointRequest)
        check_events(asked.events, "events")
        secret = asked.secret or self._callbacks.new_secret()
        check_secret(secret, "secret")
        await self._callbacks.check_url(call.key.id, asked.url, "url")
        adding = hooks.add_endpoint(
            self._callbacks.new_id(),
            call.key.id,
            asked.url,
            write_events(asked.events),
            asked.description.replace("\0", ""),
            self._callbacks.seal(secret),
            self._clock(),
        )
        try:
            row = await self._store.write(adding)
        except TooMany:
            raise Conflict(f"a key has {MOST_ENDPOINTS} endpoints at most") from None
        location = f"{_ENDPOINTS}/{row.id}"
        return call.answer(endpoint_said(row, secret), 201, ("location", location))

    async def _get(self, call: Call) -> Response:
        found = await self._store.read(hooks.get_endpoint(_id(call), call.key.id))
        return call.answer(endpoint_said(_there(found)))

    async def _edit(self, call: Call) -> Response:
        asked = call.read(EndpointChange)
        events = None
        if asked.events is not UNSET:
            check_events(asked.events, "events")
            events = write_events(asked.events)
        if asked.url is not UNSET:
            await self._callbacks.check_url(call.key.id, asked.url, "url")
        url = None if asked.url is UNSET else asked.url
        said = None if asked.description is UNSET else asked.description.replace("\0", "")
        changing = hooks.change_endpoint(_id(call), call.key.id, url, events, said)
        return call.answer(endpoint_said(_there(await self._store.write(changing))))

    async def _remove(self, call: Call) -> Response:
        if not await self._store.write(hooks.remove_endpoint(_id(call), call.key.id)):
            raise NotFound
        return call.answer(None, 204)

    async def _rotate(self, call: Call) -> Response:
        asked = call.read(RotateRequest) if call.request.body else RotateRequest()
        secret = asked.secret or self._callbacks.new_secret()
        check_secret(secret, "secret")
        until = self._clock() + int(asked.overlap_hours * _HOUR)
        sealed = self._callbacks.seal(secret)
        rotating = hooks.rotate_endpoint(_id(call), call.key.id, sealed, until)
        return call.answer(endpoint_said(_there(await self._store.write(rotating)), secret))

    async def _test(self, call: Call) -> Response:
        id, now = _id(call), self._clock()
        body = write_event(TEST, now, {"endpoint": id}).decode()
        stamp = self._callbacks.new_id().removeprefix("ep_")
        adding = hooks.add_message(f"msg_{stamp}_{id}"[:200], id, call.key.id, TEST, body, now)
        return call.answer(delivery_said(_there(await self._store.write(adding))), 202)

    async def _enable(self, call: Call) -> Response:
        row = await self._store.write(hooks.enable_endpoint(_id(call), call.key.id))
        return call.answer(endpoint_said(_there(row)))

    async def _recover(self, call: Call) -> Response:
        since = read_time(call.read(RecoverRequest).since, "since")
        id = _id(call)
        _there(await self._store.read(hooks.get_endpoint(id, call.key.id)))
        count = await self._store.write(hooks.recover(id, call.key.id, since))
        return call.answer(Recovered(recovered=count), 202)

    # -------------------------------------------------------------------------------- deliveries

    async def _deliveries(self, call: Call) -> Response:
        query = Query.of(call.request)
        endpoint, state = _plain(query.text("endpoint")), query.word("state", State)
        named, cursor = _plain(query.text("task")), query.text("cursor")
        limit = query.number("limit", _USUAL, 1, _MOST)
        query.end()
        task = named if named is None else bare_id(named) or named
        asked = digest_of((endpoint, state, task))
        before = None if cursor is None else read_cursor(cursor, asked, _ID)
        rows = await self._store.read(
            hooks.list_deliveries(call.key.id, endpoint, state, task, before, limit + 1)
        )
        shown = rows[:limit]
        last = (shown[-1].created, shown[-1].id) if len(rows) > limit else None
        following = UNSET if last is None else write_cursor(last, asked)
        said = tuple(map(delivery_said, shown))
        return call.answer(DeliveryPage(deliveries=said, next_cursor=following))

    async def _delivery(self, call: Call) -> Response:
        found = _there(await self._store.read(hooks.get_delivery(_id(call), call.key.id)))
        return call.answer(delivery_said(found, await self._store.read(hooks.tries(found.id))))

    async def _redeliver(self, call: Call) -> Response:
        row = await self._store.write(hooks.redeliver(_id(call), call.key.id))
        return call.answer(delivery_said(_there(row)), 202)

    async def _secret(self, call: Call) -> Response:
        return call.answer(SecretSaid(secret=self._vault.webhook_secret(call.key.id)))


def _id(call: Call) -> str:
    """The id in the path. Raises `NotFound` for what cannot be one."""
    id = call.params["id"]
    if not _ID.fullmatch(id):
        raise NotFound
    return id


def _there(row: _Row | None) -> _Row:
    if row is None:
        raise NotFound
    return row


def _plain(text: str | None) -> str | None:
    """A word of a query, as both databases compare it."""
    return text if text is None or _ID.fullmatch(text) else "-"
