"""The measure of all things: the same queries, answered by bare Starlette on the same Granian.

The routes do what any status query has to: take the id out of the request, as its wire says it,
and answer a JSON document of the usual size. No key is checked, no task is looked up.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


def answer(id: str) -> dict[str, Any]:
    """A document like those of the wires."""
    return {
        "code": 1000,
        "msg": "OK",
        "data": {
            "taskid": id,
            "starttime": "2026-11-22 04:15:18",
            "prompt": "a lighthouse at dusk, view 4711",
            "origseed": 4711,
            "category": "seedreamv4",
            "url": [f"http://127.0.0.1:8000/files/{id}-a0-{'0' * 32}.png"],
            "image_status": 3,
            "width": 1024,
            "height": 1024,
        },
    }


async def nothing(request: Request) -> JSONResponse:
    """The least that a route can do."""
    return JSONResponse({})


async def tensorslab(request: Request) -> JSONResponse:
    """The id is in a JSON body."""
    return JSONResponse(answer((await request.json())["taskid"]))


async def aigptimage(request: Request) -> JSONResponse:
    """The id is in the query string."""
    return JSONResponse(answer(request.query_params["taskId"]))


async def aitoearn(request: Request) -> JSONResponse:
    """The id is in the path."""
    return JSONResponse(answer(request.path_params["id"]))


async def tencent(request: Request) -> JSONResponse:
    """The id is in a JSON body, and the operation in a header."""
    assert request.headers["x-tc-action"] == "DescribeImageTaskDetail"
    return JSONResponse(answer((await request.json())["TaskId"]))


ROUTES = [
    Route("/nothing", nothing),
    Route("/v1/images/infobytaskid", tensorslab, methods=["POST"]),
    Route("/api/v1/jobs/recordInfo", aigptimage),
    Route("/api/ai/image/task/{id}", aitoearn),
    Route("/", tencent, methods=["POST"]),
]


def main(port: int) -> None:
    """Serve on that port until killed."""
    server = Server(
        target=Starlette(routes=ROUTES),
        address="127.0.0.1",
        port=port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        websockets=False,
        log_enabled=False,
    )
    asyncio.run(server.serve())


if __name__ == "__main__":
    main(int(sys.argv[1]))
