"""What the document of our own API says of operations that are no task's: webhooks, and streams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from safelight.dialects.safelight.document import About, Parameter
from safelight.dialects.safelight.writing import PREFIX
from safelight.server import hook_records as hooks
from safelight.server.streams import MEDIA_TYPE
from safelight.wire import Route

_TEXT: Mapping[str, Any] = {"type": "string"}
_STATES: Mapping[str, Any] = {"type": "string", "enum": ["pending", "delivered", "failed"]}
_LIMIT: Mapping[str, Any] = {"type": "integer", "minimum": 1, "maximum": 200, "default": 20}
_ENDPOINT, _DELIVERY = hooks.EndpointSaid, hooks.DeliverySaid
_LAST = Parameter("last_event_id", _TEXT, "Where to go on, as the header `Last-Event-ID`.")

# Answered before the routes of tasks are looked at, and so in no table of them.
STREAMS = (
    Route("stream", "GET", f"{PREFIX}/events"),
    Route("preview", "GET", f"{PREFIX}/tasks/{{id}}/preview"),
)
DESCRIPTIONS: Mapping[str, About] = {
    "stream": About(
        "All that happens to the key's tasks, as server-sent events",
        query=(_LAST,),
        media={MEDIA_TYPE: _TEXT},
    ),
    "preview": About(
        "The last picture of how far a task is",
        media={"image/jpeg": {"type": "string", "contentMediaType": "image/jpeg"}},
    ),
    "webhooks.list": About("The endpoints that are told of the key's tasks", hooks.EndpointList),
    "webhooks.add": About(
        "Add an endpoint; its secret is told now and never again",
        _ENDPOINT,
        201,
        asks=hooks.EndpointRequest,
        leads=(
            "webhooks.get",
            "webhooks.edit",
            "webhooks.remove",
            "webhooks.rotate",
            "webhooks.test",
            "webhooks.enable",
            "webhooks.recover",
        ),
    ),
    "webhooks.get": About("Ask for an endpoint", _ENDPOINT),
    "webhooks.edit": About("Change an endpoint", _ENDPOINT, asks=hooks.EndpointChange),
    "webhooks.remove": About("Remove an endpoint, and what was told to it", None, 204),
    "webhooks.rotate": About(
        "Have a new secret sign, and the old one too for a while",
        _ENDPOINT,
        asks=hooks.RotateRequest,
        needs_body=False,
    ),
    "webhooks.test": About(
        "Tell an endpoint something, to try it",
        _DELIVERY,
        202,
        leads=("webhooks.delivery", "webhooks.redeliver"),
    ),
    "webhooks.enable": About("Turn an endpoint on again", _ENDPOINT),
    "webhooks.recover": About(
        "Tell what could not be told since a time", hooks.Recovered, 202, asks=hooks.RecoverRequest
    ),
    "webhooks.deliveries": About(
        "What was told, and is to be",
        hooks.DeliveryPage,
        query=(
            Parameter("endpoint", _TEXT),
            Parameter("state", _STATES),
            Parameter("task", _TEXT),
            Parameter("limit", _LIMIT),
            Parameter("cursor", _TEXT, "Where to go on, as the answer before has said."),
        ),
    ),
    "webhooks.delivery": About("Ask for a delivery, with its tries", _DELIVERY),
    "webhooks.redeliver": About("Tell it once more", _DELIVERY, 202),
    "webhooks.secret": About(
        "What signs for tasks with addresses of their own, and no secrets", hooks.SecretSaid
    ),
}
