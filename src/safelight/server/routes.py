"""The routes that are no dialect's: the page, probes, metrics, and links to files."""

from __future__ import annotations

import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from safelight.blobs import BlobError
from safelight.links import FILES
from safelight.server.doors import Doors
from safelight.server.files import Files
from safelight.server.landing import landing_page
from safelight.server.metrics import Metrics
from safelight.server.metrics.census import Censuses
from safelight.server.readiness import Readiness
from safelight.server.receiver import Receiver
from safelight.store import StoreUnavailable

_log = structlog.get_logger("safelight.server")


class Routes:
    """Answers for the routes of the server itself."""

    def __init__(
        self,
        doors: Doors,
        readiness: Readiness,
        metrics: Metrics,
        censuses: Censuses,
        files: Files,
        receiver: Receiver,
    ) -> None:
        self._doors = doors
        self._readiness = readiness
        self._tallies = metrics
        self._censuses = censuses
        self._files = files
        self._receiver = receiver

    def asgi(self) -> Starlette:
        """The application that answers them, and 404 for everything else."""
        return Starlette(
            exception_handlers={
                StoreUnavailable: _unavailable,
                BlobError: _unavailable,
                404: _no_such_path,
            },
            routes=[
                Route("/", self._page),
                Route("/healthz", self._healthz),
                Route("/readyz", self._readyz),
                Route("/metrics", self._metrics),
                Route(f"{FILES}{{name}}", self._files.answer),
                Route(f"{FILES}{{name}}", self._receiver.answer, methods=["PUT"]),
            ],
        )

    async def _page(self, request: Request) -> Response:
        return landing_page(self._doors, str(request.base_url).rstrip("/"))

    async def _healthz(self, request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def _readyz(self, request: Request) -> Response:
        problem = await self._readiness.problem()
        if problem is not None:
            return PlainTextResponse(f"{problem}\n", 503)
        return PlainTextResponse("ready\n")

    async def _metrics(self, request: Request) -> Response:
        text = self._tallies.write(await self._censuses.get())
        return Response(text, media_type="text/plain; version=0.0.4")


async def _no_such_path(request: Request, problem: Exception) -> Response:
    # In JSON, with the words that clients of most services look for: some know nothing else.
    sentence = f"There is no {request.method} {request.url.path[:200]}"
    return JSONResponse({"code": 404, "msg": sentence, "message": sentence}, 404)


async def _unavailable(request: Request, problem: Exception) -> Response:
    _log.warning("unavailable", path=request.url.path, problem=str(problem)[:300])
    sentence = "The database or the files do not answer just now.\n"
    return PlainTextResponse(sentence, 503, {"retry-after": "2"})
