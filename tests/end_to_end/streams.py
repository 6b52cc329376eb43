"""Streams of server-sent events, as a caller reads them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import httpx


class Sent(NamedTuple):
    """An event of a stream."""

    name: str
    id: str
    said: Any


async def events_of(answer: httpx.Response) -> AsyncIterator[Sent]:
    """The events of an answer that is a stream, as they come."""
    name = id = ""
    async for line in answer.aiter_lines():
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "id":
            id = value
        elif field == "data":
            yield Sent(name, id, json.loads(value))
