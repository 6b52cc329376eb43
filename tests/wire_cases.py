"""Requests as the wire cases say them; tests/wires/README.md says how."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from safelight.wire import Part, Request, json_request, query_string, write_form


def request_of(said: Mapping[str, Any]) -> Request:
    headers = tuple((name.lower(), value) for name, value in said.get("headers", {}).items())
    request = Request(method=said["method"], path=said["path"])
    if "json" in said:
        request = json_request(said["method"], said["path"], said["json"])
    if "form" in said:
        content_type, body = write_form(map(part_of, said["form"]))
        request = Request(
            method=said["method"],
            path=said["path"],
            headers=(("content-type", content_type),),
            body=body,
        )
    query = query_string(said.get("query", {}))
    return msgspec.structs.replace(request, query=query).with_headers(*headers)


def part_of(said: Sequence[Any]) -> Part:
    name, value = said
    if isinstance(value, str):
        return Part(name=name, data=value.encode())
    return Part(name=name, data=base64.b64decode(value["data"]), filename=value["filename"])
