"""Files out: one link, one file, with its type, length, ranges and ETag. No key is asked for."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from safelight.blobs import Blobs, Download
from safelight.linked import Linked, find_linked, find_preview
from safelight.links import Links, Target
from safelight.media_types import suffix_of
from safelight.server.conditions import matches
from safelight.store import Store
from safelight.task import Task

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


class Found(NamedTuple):
    """A file that a link leads to: where it is kept, and what it is."""

    blob: str
    media_type: str
    size: int
    etag: str
    name: str
    cached: str = "private, max-age=3600"


class Files:
    """Answers `GET` and `HEAD` of `/files/{name}`.

    `oldest` says which tasks count as gone, `oldest_upload` which uploads.
    """

    def __init__(
        self,
        store: Store,
        blobs: Blobs,
        links: Links,
        oldest: Callable[[], int],
        oldest_upload: Callable[[], int],
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._links = links
        self._oldest = oldest
        self._oldest_upload = oldest_upload

    async def answer(self, request: Request) -> Response:
        try:
            found = await self._find(request.path_params["name"])
            if found is not None:
                return await self._answer(request, found)
        except FileNotFoundError:  # it is being removed just now
            pass
        return PlainTextResponse("There is no such file, or not any more.\n", 404)

    async def preview(self, request: Request, task: Task) -> Response | None:
        """The picture of how far a task is; None where there is none, or not any more."""
        linked = find_preview(task)
        if linked is None:
            return None
        try:
            found = await self._found(Target(task.id, "v", task.previews), linked)
            return await self._answer(request, found)
        except FileNotFoundError:
            return None

    async def _answer(self, request: Request, found: Found) -> Response:
        headers = {
            "accept-ranges": "bytes",
            "etag": f'"{found.etag}"',
            "cache-control": found.cached,
            "content-disposition": f'inline; filename="{found.name}"',
            # What a caller uploaded is shown as what it is, or not at all.
            "x-content-type-options": "nosniff",
            "content-security-policy": "default-src 'none'; sandbox",
        }
        if matches(request.headers.get("if-none-match"), headers["etag"]):
            return Response(status_code=304, headers=headers)
        part = _read_range(request, found)
        if part is None:
            wanted, status = range(found.size), 200
        elif part:
            wanted, status = part, 206
            headers["content-range"] = f"bytes {part.start}-{part.stop - 1}/{found.size}"
        else:
            headers["content-range"] = f"bytes */{found.size}"
            return Response(status_code=416, headers=headers)
        headers["content-length"] = str(len(wanted))
        if request.method == "HEAD" or not wanted:
            return Response(status_code=status, headers=headers, media_type=found.media_type)
        whole = len(wanted) == found.size
        body = await self._blobs.open(found.blob, None if whole else wanted)
        return _Sent(body, status, headers, found.media_type)

    async def _find(self, name: str) -> Found | None:
        target = self._links.read(name)
        if target is None:
            return None
        linked = await find_linked(self._store, target, self._oldest(), self._oldest_upload())
        return None if linked is None else await self._found(target, linked)

    async def _found(self, target: Target, linked: Linked) -> Found:
        media_type = linked.media_type or "application/octet-stream"
        size = linked.size if linked.size is not None else await self._blobs.size(linked.blob)
        # Neither sources nor uploads ever change, but previews do.
        etag = linked.etag or f"{target.id}-{target.what}{target.number}"
        name = f"{target.id}-{target.number}{suffix_of(media_type)}"
        found = Found(linked.blob, media_type, size, etag, name)
        return found._replace(cached="private, no-cache") if target.what == "v" else found


class _Sent(StreamingResponse):
    """A file on its way out; closed when it has gone, and when nobody takes it any more."""

    def __init__(
        self, body: Download, status: int, headers: dict[str, str], media_type: str
    ) -> None:
        super().__init__(body, status, headers, media_type=media_type)
        self._body = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._body.close()


def _read_range(request: Request, found: Found) -> range | None:
    """The bytes that are asked for, empty where there are none such; None for the whole file.

    Several ranges, and a range of another version, are answered with the whole file, as RFC 9110
    allows; it defines ranges for GET alone.
    """
    header = request.headers.get("range")
    condition = request.headers.get("if-range", f'"{found.etag}"')
    if header is None or request.method != "GET" or condition != f'"{found.etag}"':
        return None
    asked = _RANGE.fullmatch(header.strip())
    if asked is None or asked[1] == asked[2] == "":
        return None
    if asked[1] == "":  # the last so many bytes
        return range(max(0, found.size - int(asked[2])), found.size)
    start = int(asked[1])
    if asked[2] and int(asked[2]) < start:
        return None
    end = int(asked[2]) + 1 if asked[2] else found.size
    return range(start, min(end, found.size))
