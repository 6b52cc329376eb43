"""The measure of all things: a bare Starlette route on the same Granian, answering a small JSON."""

from __future__ import annotations

import asyncio
import sys

from granian.constants import Interfaces
from granian.server.embed import Server
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

ANSWER = {
    "code": 1000,
    "msg": "OK",
    "data": {"taskid": "01a2017773384fd50cc92aff", "url": [], "image_status": 2},
}


async def answer(request: Request) -> JSONResponse:
    """A route that does nothing, as an application would write it."""
    return JSONResponse(ANSWER)


def main(port: int) -> None:
    """Serve on that port until killed."""
    app = Starlette(routes=[Route("/status", answer, methods=["GET", "POST"])])
    server = Server(
        target=app,
        address="127.0.0.1",
        port=port,
        interface=Interfaces.ASGINL,
        websockets=False,
        log_enabled=False,
    )
    asyncio.run(server.serve())


if __name__ == "__main__":
    main(int(sys.argv[1]))
