"""AiToEarn's assets: files that are announced, put to an address, and confirmed.

The service answers where a file is to be put, which needs no key, and its link; the marks of where
facts come from are those of `safelight.dialects.aitoearn.dialect`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from safelight.errors import Malformed, Unsupported
from safelight.task import Confirm, Upload, Uploaded
from safelight.wire import INTEGER, TEXT, Reading, Request, Route, json_request

SIGN, CONFIRM = "assets.sign", "assets.confirm"
PREFIX = "/api/assets"
ROUTES = (
    Route(SIGN, "POST", "/api/assets/uploadSign"),
    Route(CONFIRM, "POST", "/api/assets/{id}/confirm"),
)
OPS = frozenset(route.op for route in ROUTES)
_TYPE = "temp"  # what it is for, in the service's words: `publishMedia` and others [client]


def read_command(op: str, params: Mapping[str, str], request: Request) -> Upload | Confirm:
    """What one of these operations asks for. Raises `Malformed`."""
    if op == CONFIRM:
        return Confirm(id=params["id"])
    asked = Reading(request.json())
    name = asked.text("filename").strip()
    if not name:
        raise Malformed("filename", "required", "missing")
    size = asked.value("size", INTEGER, None)
    if size is not None and size < 1:
        raise Malformed("size", "must be 1 or more")
    return Upload(name=name, folder=asked.text("type", None), size=size)


def write_command(command: Upload | Confirm) -> Request:
    """The request that asks for `command`. Raises `Unsupported`."""
    if isinstance(command, Confirm):
        return json_request("POST", f"{PREFIX}/{command.id}/confirm", {})
    if command.data is not None or command.url is not None:
        raise Unsupported("AiToEarn is told of a file before it is sent")
    size = {} if command.size is None else {"size": command.size}
    body = {"filename": command.name or "file", "type": command.folder or _TYPE, **size}
    return json_request("POST", ROUTES[0].path, body)


def write_data(op: str, kept: Uploaded) -> dict[str, Any]:
    """What is answered of a file: before it was sent, or after it was confirmed."""
    data: dict[str, Any] = {"id": kept.id, "url": kept.url}
    if op == SIGN:
        return data | {"uploadUrl": kept.upload_url}
    more = {"filename": kept.name, "type": kept.folder, "mimeType": kept.media_type}
    data |= {"status": "confirmed", "size": kept.size, **more}
    return {name: value for name, value in data.items() if value is not None}


def read_data(data: Reading, command: Upload | Confirm) -> Uploaded:
    """The file that an answer tells of. Raises `Malformed`."""
    asked = command if isinstance(command, Upload) else Upload()
    return Uploaded(
        id=data.text("id"),
        name=data.echo("filename", TEXT, asked.name),
        folder=data.echo("type", TEXT, asked.folder),
        url=data.text("url"),
        upload_url=data.text("uploadUrl") if isinstance(command, Upload) else None,
        media_type=data.echo("mimeType", TEXT),
        size=data.echo("size", INTEGER, asked.size),
    )
