"""One process: the API, workers, or both. What it is made of, and how it starts and drains."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import Callable
from typing import NamedTuple

import structlog
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from safelight.blobs import BlobError, Blobs
from safelight.clock import now_millis
from safelight.config import Settings
from safelight.counts import Counts
from safelight.engines import traits_of
from safelight.fetching import Fetcher
from safelight.inspection import Inspector
from safelight.links import FILES, Links
from safelight.models import ModelMap
from safelight.queue import Lane, Queue
from safelight.secrets import Vault
from safelight.server import folder
from safelight.server.addresses import local_url
from safelight.server.bodies import Bodies
from safelight.server.bridge import Bridge
from safelight.server.definitions import Definitions
from safelight.server.files import Files
from safelight.server.housekeeping import Housekeeping
from safelight.server.keys import Keyring, NewKey
from safelight.server.metrics import Metrics
from safelight.server.page import page
from safelight.server.provider_keys import ProviderKeys
from safelight.server.rates import Rates
from safelight.server.receiver import Receiver
from safelight.server.recovery import Recovery
from safelight.server.scratch import Scratch
from safelight.server.waiting import Waiting
from safelight.service import Service
from safelight.store import Store, StoreClosed, StoreUnavailable, scripts
from safelight.uploads import Uploads
from safelight.wire import Dialect
from safelight.worker import Worker

_log = structlog.get_logger("safelight.server")

# After the grace: how long tasks are given back, while a database that is away may return.
GIVING_BACK_SECONDS = 10.0
_READY_SECONDS, _READY_KEPT_SECONDS = 5, 1.0
_COUNTED_SECONDS = 5.0  # that `/metrics` tells the same counts of tasks


# What pages may read of an answer beside its body; and how long a browser need not ask again.
_SHOWN_HEADERS = ("Retry-After", "ETag", "Content-Range", "Accept-Ranges", "X-Request-Id")
_PREFLIGHT_SECONDS = 86_400


class Parts(NamedTuple):
    """What depends on the database: the store, the queue, and how lost tasks are found again."""

    store: Store
    queue: Queue
    recovery: Callable[[Worker], Recovery]


class App:
    """One process: the API, workers, or both, and their keep.

    Opened by `opening.open_app`: `start` it, and in the end `drain` and `close` it.
    """

    def __init__(
        self,
        settings: Settings,
        parts: Parts,
        blobs: Blobs,
        vault: Vault,
        models: ModelMap,
        spoken: tuple[Dialect, ...],
        engines: tuple[str, ...],
        definitions: Definitions,
    ) -> None:
        self.settings = settings
        self._models = models
        self.engines = engines  # those whose tasks are run here
        self.lanes = lanes_of(engines, models, settings.concurrency)
        self.store = store = parts.store
        self.provider_keys = ProviderKeys(store, vault)
        self.queue = parts.queue
        self.keyring = Keyring(store, vault)
        self.blobs = blobs
        self.metrics = Metrics()
        self._counts: Counts[dict[str, int]] = Counts(_COUNTED_SECONDS)
        self._ready: Counts[bool] = Counts(_READY_KEPT_SECONDS)
        self.dialects = spoken
        links = Links(vault, blobs.link if blobs.signs else None)
        fetcher = Fetcher(
            settings.max_source,
            settings.source_timeout,
            settings.private_sources,
            trusted=blobs.origins,
        )
        name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self.scratch = Scratch(settings.data / folder.SCRATCH, name)
        self.worker = Worker(
            name,
            store,
            blobs,
            models,
            fetcher,
            links,
            scratch=self.scratch.folder,
            time_limit=settings.time_limit,
            most_deaths=settings.most_deaths,
            max_pixels=settings.max_pixels,
            patience=settings.patience,
            results=Fetcher(settings.max_result, settings.result_timeout),
            secret=self.provider_keys.get,
            public_url=settings.public_url,
            observe=self.metrics.engine,
        )
        store.listen(scripts.ENDED, self.worker.stop)
        store.on_return(self._look)
        self._inspector = Inspector(settings.max_pixels)
        uploads = Uploads(
            store,
            blobs,
            links,
            fetcher,
            self._inspector,
            kept=settings.uploads_kept,
            quota=settings.upload_quota,
            most=settings.max_source,
            scratch=self.scratch.folder,
        )
        self.service = Service(
            store,
            blobs,
            models,
            fetcher,
            self._inspector,
            links,
            uploads,
            retention=settings.retention,
            max_source=settings.max_source,
            max_text=settings.max_text,
            definitions=definitions,
        )
        self.waiting = Waiting(self.service, settings.wait_timeout, settings.max_waiting)
        self.housekeeping = Housekeeping(
            store,
            blobs,
            parts.recovery(self.worker),
            settings.retention,
            settings.uploads_kept,
            failed=self.metrics.stuck,
        )
        self.files = Files(store, blobs, links, self.oldest, uploads.oldest)
        bodies = Bodies(settings.room_for_bodies, settings.body_timeout)
        self.receiver = Receiver(links, uploads, bodies, most=settings.max_source)
        bridge = Bridge(
            self.dialects,
            self.service,
            self.keyring,
            links,
            Rates(settings.rates),
            self.metrics,
            bodies,
            self.waiting,
            self.behind(),
            max_body=settings.max_body,
            public_url=settings.public_url,
            default_url=local_url(settings),
        )
        self.asgi = _for_browsers(bridge, settings.cors_origins)
        self.draining = False
        self._working: asyncio.Task[None] | None = None
        self._running: list[asyncio.Task[None]] = []
        self._looks: set[asyncio.Task[None]] = set()

    def oldest(self) -> int:
        """Tasks that ended at this time, or before, count as gone."""
        return now_millis() - self.settings.retention

    async def first_key(self) -> NewKey | None:
        """On an empty database, its first key."""
        return await self.keyring.create_first()

    async def start(self) -> None:
        """Take up what an earlier process left, and start to work."""
        await asyncio.to_thread(self.scratch.open)
        await self.housekeeping.recover()
        self._running = [asyncio.create_task(self.housekeeping.run())]
        if self.settings.workers:
            self._working = asyncio.create_task(self.queue.run(self.worker.run, self.lanes))
            self._running.append(self._working)

    async def drain(self) -> None:
        """Claim nothing more, give what runs its grace, and give back the rest.

        What cannot be given back within ten seconds after the grace is left as it is, as by a
        process that died: others notice its silence, or the next start does.
        """
        self.draining = True
        self.waiting.refuse()
        self.queue.stop()
        until = asyncio.get_running_loop().time() + self.settings.grace + GIVING_BACK_SECONDS
        if self._working is not None:
            elsewhere = asyncio.create_task(self.worker.release(elsewhere=True))
            await asyncio.wait([self._working], timeout=self.settings.grace)
            self.waiting.end()
            rest = asyncio.create_task(self.worker.release())
            await _wait_until(until, self._working, elsewhere, rest)
        self.waiting.end()
        if self.worker.running:
            _log.warning("not_given_back", tasks=self.worker.running)
        for task in self._running:
            task.cancel()
        await _wait_until(until + 1, *self._running)
        self._running, self._working = [], None

    def _look(self) -> None:
        """See to runs whose end was told while nobody here could hear it."""
        look = asyncio.ensure_future(self._look_once())
        self._looks.add(look)
        look.add_done_callback(self._looks.discard)

    async def _look_once(self) -> None:
        with contextlib.suppress(StoreUnavailable, StoreClosed):
            await self.worker.look()

    async def broke(self) -> None:
        """Return when the workers or the housekeeping have stopped, which they should not."""
        done, _ = await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if not task.cancelled() and not self.draining:
                _log.error("workers_stopped", exc_info=task.exception())

    async def close(self) -> None:
        """Write what is waiting, and close."""
        try:
            self._inspector.close()
            await self._models.close()
        finally:
            await self.store.close()
            await asyncio.to_thread(self.scratch.close)

    # --------------------------------------------------------------------- what is no dialect's

    def behind(self) -> Starlette:
        """The application of what is no dialect's."""
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
                Route(f"{FILES}{{name}}", self.files.answer),
                Route(f"{FILES}{{name}}", self.receiver.answer, methods=["PUT"]),
            ],
        )

    async def _page(self, request: Request) -> Response:
        return page(self.dialects, str(request.base_url).rstrip("/"))

    async def _healthz(self, request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def _readyz(self, request: Request) -> Response:
        if self.draining:
            return PlainTextResponse("draining\n", 503)
        if not self._running or any(task.done() for task in self._running):
            return PlainTextResponse("the workers do not run\n", 503)
        if not await self._ready.get("ready", self._look_whether_ready):
            return PlainTextResponse("the database or the files do not answer\n", 503)
        return PlainTextResponse("ready\n")

    async def _look_whether_ready(self) -> bool:
        try:
            async with asyncio.timeout(_READY_SECONDS):
                await self.store.read(scripts.last_done("recover"))
                await self.blobs.check()
        except Exception:
            _log.exception("not_ready")
            return False
        return True

    async def _metrics(self, request: Request) -> Response:
        counts = await self._counts.get(
            "tasks", lambda: self.store.read_aside(scripts.count_by_status())
        )
        return Response(
            self.metrics.write(counts),
            media_type="text/plain; version=0.0.4",
        )


def _for_browsers(asgi: ASGIApp, origins: tuple[str, ...]) -> ASGIApp:
    """`asgi`, which pages of these origins may ask; never with what a browser keeps, like cookies.

    Keys are sent in headers, by pages that were given them: to be asked by any page gives nobody
    anything that he does not have.
    """
    if not origins:
        return asgi
    return CORSMiddleware(
        asgi,
        allow_origins=origins,
        allow_methods=("GET", "HEAD", "POST", "PUT", "DELETE"),
        allow_headers=("*",),
        expose_headers=_SHOWN_HEADERS,
        max_age=_PREFLIGHT_SECONDS,
    )


async def _wait_until(until: float, *tasks: asyncio.Task[None]) -> None:
    """Wait for tasks to end, up to a time of the loop."""
    if tasks:
        await asyncio.wait(tasks, timeout=until - asyncio.get_running_loop().time())


async def _no_such_path(request: Request, problem: Exception) -> Response:
    # In JSON, with the words that clients of most services look for: some know nothing else.
    sentence = f"There is no {request.method} {request.url.path[:200]}"
    return JSONResponse({"code": 404, "msg": sentence, "message": sentence}, 404)


async def _unavailable(request: Request, problem: Exception) -> Response:
    _log.warning("unavailable", path=request.url.path, problem=str(problem)[:300])
    sentence = "The database or the files do not answer just now.\n"
    return PlainTextResponse(sentence, 503, {"retry-after": "2"})


def lanes_of(engines: tuple[str, ...], models: ModelMap, places: int) -> tuple[Lane, ...]:
    """Engines that say how many of their tasks may run have places of their own."""
    own = {name: traits_of(models.engine(name)).concurrency for name in engines}
    shared = tuple(name for name in engines if own[name] is None)
    lanes = [Lane((name,), count) for name, count in own.items() if count is not None]
    return (*([Lane(shared, places)] if shared else []), *lanes)
