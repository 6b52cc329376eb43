"""The composition root: builds the parts from the settings, starts them, and drains them."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import gc
import os
import resource
import secrets
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import asyncpg
import structlog
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from safelight import dialects
from safelight.blobs import BlobError, Blobs
from safelight.clock import now_millis
from safelight.config import Settings, SettingsError
from safelight.counts import Counts
from safelight.engines import traits_of
from safelight.fetching import Fetcher
from safelight.inspection import Inspector
from safelight.links import FILES, Links
from safelight.models import ModelMap
from safelight.postgres import Database, DatabaseGone, without_password
from safelight.queue import Lane, Queue
from safelight.queue.memory import MemoryQueue
from safelight.queue.postgres import PostgresQueue
from safelight.secrets import Vault
from safelight.server import folder
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
from safelight.server.recovery import MemoryRecovery, PostgresRecovery, Recovery
from safelight.server.scratch import Scratch
from safelight.server.waiting import Waiting
from safelight.service import Service
from safelight.store import Store, StoreClosed, StoreUnavailable, scripts
from safelight.store.postgres import PostgresStore
from safelight.store.sqlite import SQLiteStore
from safelight.uploads import Uploads
from safelight.wire import Dialect
from safelight.worker import Worker

_log = structlog.get_logger("safelight.server")

_DEFAULT_RATE = "tencent.DescribeImageTaskDetail"  # set, also where tencent is not served
# After the grace: how long tasks are given back, while a database that is away may return; and how
# long all that is left may take then. HTTP answers, and its last ones are sent, before the loop
# under it goes.
_GIVING_BACK_SECONDS, _CLOSING_SECONDS = 10.0, 5.0
_HTTP_STOP_SECONDS = 3.0
_READY_SECONDS, _READY_KEPT_SECONDS = 5, 1.0
# A connection has so long for the head of its next request, which has so many bytes: each of many
# may send one that never ends. More of them than the backlog are refused by the system.
_HEAD_SECONDS, _MOST_HEAD, _BACKLOG = 20, 64 * 1024, 1024
# Of glibc's malloc.h.
_M_MMAP_THRESHOLD, _LARGE_BLOCK = -3, 2**20
_OTHER_FILES = 2048  # that are open beside connections: databases, sources, results, children
_COUNTED_SECONDS = 5.0  # that `/metrics` tells the same counts of tasks


# What pages may read of an answer beside its body; and how long a browser need not ask again.
_SHOWN_HEADERS = ("Retry-After", "ETag", "Content-Range", "Accept-Ranges", "X-Request-Id")
_PREFLIGHT_SECONDS = 86_400


class Broken(Exception):
    """The server stopped without being told to."""


class DataInUse(Exception):
    """Another server runs on this data folder."""


class AddressInUse(Exception):
    """The address to listen on is another's, or none of this machine's."""


class Parts(NamedTuple):
    """What depends on the database: the store, the queue, and how lost tasks are found again."""

    store: Store
    queue: Queue
    recovery: Callable[[Worker], Recovery]


class App:
    """One process: the API, workers, or both, and their keep.

    `build` it, `start` it, and in the end `drain` and `close` it.
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
        self.lanes = _lanes(engines, models, settings.concurrency)
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

    @classmethod
    async def build(cls, settings: Settings, models: ModelMap | None = None) -> App:
        """Everything, ready to start; `models` instead of those that the settings say.

        Raises `SettingsError`, `SchemaTooNew`, `StoreUnavailable`, `WrongSecret`.
        """
        spoken = served_dialects(settings)
        models = models or ModelMap.build(settings.models, settings.engines)
        engines = _engines_to_run(settings, models)
        definitions = Definitions(settings.definitions)
        if settings.workers:
            models.prepare(engines)
        folder.prepare(settings.data)
        vault = Vault.open(settings.data)
        blobs = _open_blobs(settings)
        parts = await _open_parts(settings, models)
        try:
            return cls(settings, parts, blobs, vault, models, spoken, engines, definitions)
        except BaseException:
            await parts.store.close()
            raise

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
        until = asyncio.get_running_loop().time() + self.settings.grace + _GIVING_BACK_SECONDS
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


class Keys(NamedTuple):
    """The keys of an installation: its callers', and its own at other services."""

    callers: Keyring
    providers: ProviderKeys


@asynccontextmanager
async def open_keys(settings: Settings) -> AsyncIterator[Keys]:
    """The keys of an installation, also while servers run on it."""
    folder.prepare(settings.data)
    if settings.database is None:
        store: Store = SQLiteStore.open(folder.database(settings.data))
    else:
        store = await _open_postgres(settings.database, connections=2)
    try:
        vault = Vault.open(settings.data)
        keys = Keys(Keyring(store, vault), ProviderKeys(store, vault))
        await keys.callers.check()
        yield keys
    finally:
        await store.close()


async def prepare(settings: Settings) -> NewKey | None:
    """Make the database ready for several processes at once; its first key, if it was empty.

    Raises what `App.build` raises.
    """
    served_dialects(settings)
    async with open_keys(settings) as keys:
        return await keys.callers.create_first()


async def migrate(settings: Settings) -> None:
    """Bring the database to this code's schema. Raises `SchemaTooNew`, `StoreUnavailable`."""
    async with open_keys(settings):
        pass


async def _open_parts(settings: Settings, models: ModelMap) -> Parts:
    if settings.database is None:
        waiting = MemoryQueue()
        sqlite = SQLiteStore.open(folder.database(settings.data), waiting.put)
        return Parts(
            sqlite, waiting, lambda worker: MemoryRecovery(sqlite, waiting, worker, models)
        )
    store = await _open_postgres(settings.database, settings.connections)
    database = store.database
    return Parts(
        store,
        PostgresQueue(database, settings.heartbeat),
        lambda worker: PostgresRecovery(store, database, models, settings.heartbeat),
    )


async def _open_postgres(url: str, connections: int) -> PostgresStore:
    try:
        database = await Database.open(url, connections=connections)
    except DatabaseGone as problem:
        raise StoreUnavailable(f"{without_password(url)}: {problem}") from None
    except (asyncpg.PostgresError, ValueError) as problem:  # no such user, no such database ...
        raise SettingsError(f"database: {without_password(url)}: {problem}") from None
    try:
        return await PostgresStore.open(database)
    except BaseException:
        await database.close()
        raise


def _open_blobs(settings: Settings) -> Blobs:
    if settings.files is None:
        return Blobs.local(settings.data / folder.FILES)
    try:
        return Blobs.remote(
            settings.files,
            settings.files_options,
            link_seconds=settings.link_hours * 3600 if settings.files_links == "signed" else None,
            public_endpoint=settings.files_public_endpoint,
        )
    except ValueError as problem:
        raise SettingsError(f"files: {problem}") from None


def _lanes(engines: tuple[str, ...], models: ModelMap, places: int) -> tuple[Lane, ...]:
    """Engines that say how many of their tasks may run have places of their own."""
    own = {name: traits_of(models.engine(name)).concurrency for name in engines}
    shared = tuple(name for name in engines if own[name] is None)
    lanes = [Lane((name,), count) for name, count in own.items() if count is not None]
    return (*([Lane(shared, places)] if shared else []), *lanes)


def _engines_to_run(settings: Settings, models: ModelMap) -> tuple[str, ...]:
    if unknown := sorted(set(settings.run_engines) - set(models.engines)):
        known = ", ".join(models.engines)
        raise SettingsError(f"run_engines: no model runs on {', '.join(unknown)}, but on {known}")
    return settings.run_engines or models.engines


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


def lock(data: Path) -> IO[str]:
    """Keep other servers off this data folder while the returned file is open.

    Two of them would each take the other for dead. Raises `DataInUse`.
    """
    file = folder.open_lock(data)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise DataInUse(f"{data}: another server runs on this data folder") from None
    return file


async def serve(
    settings: Settings, told: Callable[[App, NewKey | None], None], *, shared: bool = False
) -> None:
    """Run the server until SIGTERM or SIGINT. `told` hears when it answers, and of a first key.

    `shared` says that other processes of this server listen on the same port, and that the one
    which started them holds the other end of standard input.
    """
    give_memory_back()
    with _alone(settings):
        if not shared:
            check_address(settings.host, settings.port)
        app = await App.build(settings)
        await _run(app, app.asgi, told, orphan=shared)


async def work(
    settings: Settings, told: Callable[[App, NewKey | None], None], *, watched: bool
) -> None:
    """Run tasks, and no API, until SIGTERM or SIGINT.

    Where it is `watched`, the port of the settings answers `/healthz`, `/readyz` and `/metrics`.
    """
    give_memory_back()
    if watched:
        check_address(settings.host, settings.port)
    app = await App.build(settings)
    await _run(app, app.behind() if watched else None, told)


async def _run(
    app: App,
    asgi: ASGIApp | None,
    told: Callable[[App, NewKey | None], None],
    orphan: bool = False,
) -> None:
    settings = app.settings
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    if orphan:
        loop.add_reader(sys.stdin.fileno(), stopped.set)  # nothing is written there: it ends
    await app.keyring.check()
    key = await app.first_key() if asgi is app.asgi else None
    await app.start()
    waiting = [asyncio.create_task(stopped.wait()), asyncio.create_task(app.broke())]
    http = _http(asgi, settings) if asgi is not None else None
    if http is not None:
        serving: asyncio.Task[None] = asyncio.create_task(http.serve())
        await _listening(settings, serving)
        waiting.append(serving)
    _spare_the_collector()
    told(app, key)
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    if orphan:
        loop.remove_reader(sys.stdin.fileno())
    for task in waiting[:2]:
        task.cancel()
    _log.info("draining", seconds=settings.grace)
    _leave_in(settings.grace + _GIVING_BACK_SECONDS + _CLOSING_SECONDS)
    await app.drain()
    if http is not None:
        http.stop()  # type: ignore[no-untyped-call]
        await asyncio.wait([serving], timeout=_HTTP_STOP_SECONDS)
    await app.close()
    _log.info("stopped")
    if not stopped.is_set():
        raise Broken("the server stopped by itself; its log says why")


def _leave_in(seconds: float) -> None:
    """End this process by then, whatever still holds it up.

    It ends as by a kill, which loses nothing: neither a disk nor a service that does not answer
    may keep a process that was told to stop.
    """

    def leave() -> None:
        _log.error("left_unfinished", seconds=seconds)
        sys.stderr.flush()
        os._exit(1)

    timer = threading.Timer(seconds, leave)
    timer.daemon = True
    timer.start()


def _http(asgi: ASGIApp, settings: Settings) -> Server:
    _allow_files(settings.max_connections + _OTHER_FILES)
    return Server(
        target=asgi,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(
            header_read_timeout=_HEAD_SECONDS * 1000, max_buffer_size=_MOST_HEAD
        ),
        backlog=min(settings.max_connections, _BACKLOG),
        backpressure=settings.max_connections,
        websockets=False,
        log_enabled=False,
        log_level=LogLevels.warning,
    )


def _allow_files(count: int) -> None:
    """Have this process open as many files as it may need, where the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Keep other servers off a data folder that has a database in it."""
    if settings.database is not None:
        yield
        return
    with lock(settings.data):
        yield


def _spare_the_collector() -> None:
    """Keep the garbage collector from walking all modules again and again.

    What is there now stays until the end; a request leaves next to no cycles behind.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def give_memory_back() -> None:
    """Have the C library return large blocks to the system when they are freed.

    It keeps them else, and an upload of the morning is memory all day.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library than glibc
        return
    mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK)


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
