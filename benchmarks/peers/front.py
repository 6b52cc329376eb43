"""What peers without HTTP of their own are asked through, and the job that all of them run.

Run by a peer's own Python: nothing of Safelight's is imported here. The front is Starlette on
Granian, as Safelight's own is, so that what differs is behind it.
"""

from __future__ import annotations

import base64
import os
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

# The same picture as Safelight's engine `blank` leaves.
_PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)


class Calls(NamedTuple):
    """What a front does: `submit` a job (with its folder, or "") for its id; the `state` of one."""

    submit: Callable[[str], Awaitable[str]]
    state: Callable[[str], Awaitable[str]]


def leave(folder: str) -> str:
    """The job: nothing, or a picture that is on the disk. Returns its path.

    Too small for a thread of its own, as with Safelight.
    """
    if not folder:
        return ""
    path = Path(folder) / f"{uuid.uuid4().hex}.png"
    with path.open("wb", buffering=0) as file:
        file.write(_PIXEL)
        os.fsync(file.fileno())
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return str(path)


def application(calls: Calls, folder: str) -> Starlette:
    """POST /jobs (`?file`: its job leaves a file in `folder`) and GET /jobs/{id}."""

    async def submit(request: Request) -> Response:
        return JSONResponse({"id": await calls.submit(folder if request.url.query else "")})

    async def state(request: Request) -> Response:
        return JSONResponse({"state": await calls.state(request.path_params["id"])})

    return Starlette(routes=[Route("/jobs", submit, methods=["POST"]), Route("/jobs/{id}", state)])


async def serve(app: Starlette, port: int) -> None:
    """Serve on that port until killed."""
    server = Server(
        target=app,
        address="127.0.0.1",
        port=port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        websockets=False,
        log_enabled=False,
    )
    await server.serve()
