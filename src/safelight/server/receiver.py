"""Files in: what was announced is put to the address that was told for it, once.

No key is asked for, as where the services have theirs put: the address is signed. It is judged from
the head alone, and only then is there room for the file, which counts as its owner's.
"""

from __future__ import annotations

from starlette.requests import Request as HTTPRequest
from starlette.responses import PlainTextResponse, Response

from safelight.errors import Fault, NotFound
from safelight.links import Links
from safelight.server.bodies import Bodies
from safelight.uploads import Uploads
from safelight.wire import Request, retry_after_header


class Receiver:
    """Answers `PUT` of `/files/{name}`; a file has at most `most` bytes."""

    def __init__(self, links: Links, uploads: Uploads, bodies: Bodies, *, most: int) -> None:
        self._links = links
        self._uploads = uploads
        self._bodies = bodies
        self._most = most

    async def answer(self, request: HTTPRequest) -> Response:
        try:
            await self._receive(request)
        except Fault as fault:
            # What was not received stands in the way of the next request.
            return PlainTextResponse(
                f"{fault.message}\n",
                fault.status,
                dict((*retry_after_header(fault), ("connection", "close"))),
            )
        return Response(status_code=200)

    async def _receive(self, request: HTTPRequest) -> None:
        target = self._links.read(request.path_params["name"])
        if target is None or target.what != "p":
            raise NotFound("There is no such upload, or not any more")
        row = await self._uploads.find_coming(target.id)
        headers = tuple((name.lower(), value) for name, value in request.headers.items())
        head = Request(method="PUT", path=request.url.path, headers=headers)
        room = self._bodies.room(row.owner, head)
        try:
            data = await room.receive(request.receive, self._most)
            await self._uploads.receive(row, data)
        finally:
            room.leave()
