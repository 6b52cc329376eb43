"""The composition root: builds the parts from the settings, starts them, and drains them."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import os
import secrets
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

import structlog
from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels
from granian.server.embed import Server
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from safelight import dialects
from safelight.blobs import Blobs
from safelight.config import Settings, SettingsError
from safelight.fetching import Fetcher
from safelight.links import FILES, Links
from safelight.models import ModelMap
from safelight.queue import Queue
from safelight.secrets import Vault
from safelight.server.bridge import Bridge
from safelight.server.files import Files
from safelight.server.housekeeping import Housekeeping
from safelight.server.keys import Keyring, NewKey
from safelight.server.metrics import Metrics
from safelight.server.page import page
from safelight.server.rates import Rates
from safelight.service import Service, now_millis
from safelight.store import scripts
from safelight.store.sqlite import SQLiteStore
from safelight.wire import Dialect
from safelight.worker import Worker

_log = structlog.get_logger("safelight.server")

_DATABASE, _FILES, _SCRATCH, _LOCK = "safelight.db", "files", "scratch", "lock"
_DEFAULT_RATE = "tencent.DescribeImageTaskDetail"  # set, also where tencent is not served
# HTTP answers, and its last ones are sent, before the loop under it goes.
_HTTP_STOP_SECONDS = 5


class Broken(Exception):
    """The server stopped without being told to."""


class DataInUse(Exception):
    """Another server runs on this data folder."""


class AddressInUse(Exception):
    """The address to listen on is another's, or none of this machine's."""


class App:
    """One process: the API, its workers, and their keep.

    `build` it, `start` it, and in the end `drain` and `close` it.
    """

    def __init__(
        self,
        settings: Settings,
        store: SQLiteStore,
        vault: Vault,
        models: ModelMap,
        spoken: tuple[Dialect, ...],
    ) -> None:
        data = settings.data
        self.settings = settings
        self.store = store
        self.keyring = Keyring(store, vault)
        self.blobs = Blobs.local(data / _FILES)
        self.queue = Queue()
        self.metrics = Metrics()
        self.dialects = spoken
        links = Links(vault)
        fetcher = Fetcher(settings.max_source, settings.source_timeout, settings.private_sources)
        self.worker = Worker(
            f"{os.getpid()}-{secrets.token_hex(4)}",
            store,
            self.blobs,
            models,
            fetcher,
            links,
            scratch=data / _SCRATCH,
            time_limit=settings.time_limit,
            most_deaths=settings.most_deaths,
            max_pixels=settings.max_pixels,
            observe=self.metrics.engine,
        )
        self.service = Service(
            store,
            self.queue,
            self.blobs,
            models,
            fetcher,
            links,
            retention=settings.retention,
            max_source=settings.max_source,
            max_pixels=settings.max_pixels,
            stop=self.worker.stop,
        )
        self.housekeeping = Housekeeping(
            store, self.blobs, self.queue, self.worker, settings.retention
        )
        self.files = Files(store, self.blobs, links, self.oldest)
        self.asgi = Bridge(
            self.dialects,
            self.service,
            self.keyring,
            links,
            Rates(settings.rates),
            self.metrics,
            self._behind(),
            max_body=settings.max_body,
            public_url=settings.public_url,
            default_url=local_url(settings),
        )
        self.draining = False
        self._running: list[asyncio.Task[None]] = []

    @classmethod
    def build(cls, settings: Settings, models: ModelMap | None = None) -> App:
        """Everything, ready to start; `models` instead of those that the settings say.

        Raises `SettingsError`, `SchemaTooNew`, `WrongSecret`.
        """
        spoken = served_dialects(settings)
        models = models or ModelMap.build(settings.models, settings.engines)
        _make_folder(settings.data)
        vault = Vault.open(settings.data)
        store = SQLiteStore.open(settings.data / _DATABASE)
        return cls(settings, store, vault, models, spoken)

    def oldest(self) -> int:
        """Tasks that ended at this time, or before, count as gone."""
        return now_millis() - self.settings.retention

    async def first_key(self) -> NewKey | None:
        """On an empty data folder, its first key."""
        return None if await self.keyring.list() else await self.keyring.create("first")

    async def start(self) -> None:
        """Take up what an earlier process left, and start to work."""
        scratch = self.settings.data / _SCRATCH
        await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
        await self.housekeeping.recover()
        self._running = [
            asyncio.create_task(self.queue.run(self.worker.run, self.settings.concurrency)),
            asyncio.create_task(self.housekeeping.run()),
        ]

    async def drain(self) -> None:
        """Claim nothing more, give what runs its grace, and give back the rest."""
        self.draining = True
        self.queue.stop()
        if self._running:
            work, keeping = self._running
            await asyncio.wait([work], timeout=self.settings.grace)
            await self.worker.release()
            keeping.cancel()
            await asyncio.wait(self._running)
            self._running = []

    async def broke(self) -> None:
        """Return when the workers or the housekeeping have stopped, which they should not."""
        done, _ = await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if not task.cancelled() and not self.draining:
                _log.error("workers_stopped", exc_info=task.exception())

    async def close(self) -> None:
        """Write what is waiting, and close."""
        await self.store.close()

    # --------------------------------------------------------------------- what is no dialect's

    def _behind(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/", self._page),
                Route("/healthz", self._healthz),
                Route("/readyz", self._readyz),
                Route("/metrics", self._metrics),
                Route(f"{FILES}{{name}}", self.files.answer),
            ]
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
        try:
            await self.store.read(scripts.list_keys())
            await self.blobs.check()
        except Exception:
            _log.exception("not_ready")
            return PlainTextResponse("the database or the files do not answer\n", 503)
        return PlainTextResponse("ready\n")

    async def _metrics(self, request: Request) -> Response:
        counts = await self.store.read_aside(scripts.count_by_status())
        return Response(
            self.metrics.write(counts),
            media_type="text/plain; version=0.0.4",
        )


@asynccontextmanager
async def open_keyring(settings: Settings) -> AsyncIterator[Keyring]:
    """The keys of a data folder, also while a server runs on it."""
    _make_folder(settings.data)
    store = SQLiteStore.open(settings.data / _DATABASE)
    try:
        keyring = Keyring(store, Vault.open(settings.data))
        await keyring.check()
        yield keyring
    finally:
        await store.close()


def served_dialects(settings: Settings) -> tuple[Dialect, ...]:
    """The dialects that the settings name, or all that are served unless told otherwise.

    Raises `SettingsError` where two of them are at home on the same path.
    """
    try:
        chosen = tuple(dialects.named(name) for name in settings.dialects)
    except LookupError as problem:
        raise SettingsError(f"dialects: {problem}") from None
    if not chosen:
        chosen = tuple(dialect for dialect in dialects.found().values() if dialect.served)
    known = {f"{dialect.name}.{route.op}" for dialect in chosen for route in dialect.routes}
    if unknown := sorted(set(settings.rates) - known - {_DEFAULT_RATE}):
        raise SettingsError(f"rates: there is no operation {', '.join(unknown)}")
    owners: dict[str, str] = {}
    for dialect in chosen:
        for prefix in dialect.prefixes:
            if prefix in owners:
                both = f"{owners[prefix]} and {dialect.name}"
                raise SettingsError(f"dialects: {both} are both at home on {prefix}")
            owners[prefix] = dialect.name
    return chosen


def local_url(settings: Settings) -> str:
    """The address that this server has on its own machine."""
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::", "") else settings.host  # noqa: S104
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def _make_folder(data: Path) -> None:
    # Prompts, pictures and keys are nobody's business but the owner's.
    data.mkdir(mode=0o700, parents=True, exist_ok=True)


def lock(data: Path) -> IO[str]:
    """Keep other servers off this data folder while the returned file is open.

    Two of them would each take the other for dead. Raises `DataInUse`.
    """
    _make_folder(data)
    file = (data / _LOCK).open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise DataInUse(f"{data}: another server runs on this data folder") from None
    return file


async def serve(settings: Settings, told: Callable[[App, NewKey | None], None]) -> None:
    """Run the server until SIGTERM or SIGINT. `told` hears when it answers, and of a first key."""
    with lock(settings.data):
        check_address(settings.host, settings.port)
        app = App.build(settings)
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopped.set)
        await app.keyring.check()
        key = await app.first_key()
        await app.start()
        http = Server(
            target=app.asgi,
            address=settings.host,
            port=settings.port,
            interface=Interfaces.ASGINL,
            http=HTTPModes.http1,
            websockets=False,
            log_enabled=False,
            log_level=LogLevels.warning,
        )
        serving = asyncio.create_task(http.serve())
        await _listening(settings, serving)
        _spare_the_collector()
        told(app, key)
        waiting = asyncio.create_task(stopped.wait())
        broke = asyncio.create_task(app.broke())
        await asyncio.wait([waiting, serving, broke], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        broke.cancel()
        _log.info("draining", seconds=settings.grace)
        await app.drain()
        http.stop()  # type: ignore[no-untyped-call]
        await asyncio.wait([serving], timeout=_HTTP_STOP_SECONDS)
        await app.close()
        _log.info("stopped")
        if not stopped.is_set():
            raise Broken("the server stopped by itself; its log says why")


def _spare_the_collector() -> None:
    """Keep the garbage collector from walking all modules again and again.

    What is there now stays until the end; a request leaves next to no cycles behind.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


async def _listening(settings: Settings, serving: asyncio.Task[None]) -> None:
    """Wait until the port answers. Raises whatever kept the server from it."""
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "") else settings.host  # noqa: S104
    for _ in range(200):
        if serving.done():
            serving.result()
            raise OSError("the HTTP server stopped as it started")
        try:
            _, writer = await asyncio.open_connection(host, settings.port)
            writer.close()
            await writer.wait_closed()
            return
        except OSError:
            await asyncio.sleep(0.02)
    raise TimeoutError("the HTTP server does not answer")


def free_port(host: str) -> int:
    """A port that is free just now."""
    with _bound(host, 0) as probe:
        port: int = probe.getsockname()[1]
        return port


def check_address(host: str, port: int) -> None:
    """Raise `AddressInUse` where another program listens there.

    The HTTP server shares its port with whoever asks for that too, and each would get a part of
    the other's requests.
    """
    try:
        _bound(host, port).close()
    except OSError as problem:
        raise AddressInUse(f"{host}:{port}: {problem.strerror}") from None


def _bound(host: str, port: int) -> socket.socket:
    probe = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
    except BaseException:
        probe.close()
        raise
    return probe
