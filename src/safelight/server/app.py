"""One process: the API, workers, or both. What it is made of, and how it starts and drains."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import structlog
from starlette.types import ASGIApp

from safelight import dialects
from safelight.blobs import Blobs
from safelight.callbacks import Callbacks
from safelight.clock import now_millis
from safelight.config import Settings
from safelight.dialects.safelight import task_object
from safelight.fetching import Fetcher
from safelight.inspection import Inspector
from safelight.links import Links
from safelight.models import ModelMap
from safelight.outgoing import Outgoing
from safelight.queue import Lane, Queue
from safelight.secrets import Vault
from safelight.server.addresses import local_url
from safelight.server.bodies import Bodies
from safelight.server.bridge import Bridge
from safelight.server.browsers import for_browsers
from safelight.server.deadlines import Deadlines
from safelight.server.definitions import Definitions
from safelight.server.documents import Documents
from safelight.server.doors import Doors
from safelight.server.events import Events
from safelight.server.files import Files
from safelight.server.foresight import Foresight
from safelight.server.housekeeping import Housekeeping
from safelight.server.keys import Keyring, NewKey
from safelight.server.loads import Loads
from safelight.server.metrics import Metrics
from safelight.server.metrics.census import Censuses
from safelight.server.metrics.holdings import Holding
from safelight.server.native import Native
from safelight.server.paces import Paces
from safelight.server.posting import Post
from safelight.server.provider_keys import ProviderKeys
from safelight.server.rates import Rates
from safelight.server.readiness import Readiness
from safelight.server.receiver import Receiver
from safelight.server.recovery import Recovery
from safelight.server.routes import Routes
from safelight.server.scratch import Scratch
from safelight.server.sender import Sender
from safelight.server.streams import Streams
from safelight.server.telling import Telling
from safelight.server.waiting import Waiting
from safelight.server.watch import Watch
from safelight.server.webhooks import Webhooks
from safelight.service import Service
from safelight.store import Store, StoreClosed, StoreUnavailable, scripts
from safelight.task import Task
from safelight.uploads import Uploads
from safelight.worker import Worker

_log = structlog.get_logger("safelight.server")

# After the grace: how long tasks are given back, while a database that is away may return.
GIVING_BACK_SECONDS = 10.0


class Backend(NamedTuple):
    """What depends on the database: the store, the queue, and how lost tasks are found again."""

    store: Store
    queue: Queue
    recovery: Callable[[Worker], Recovery]


class Served(NamedTuple):
    """What the settings say is served, and run: dialects, models, engines, templates of tasks."""

    doors: Doors  # to dialects
    models: ModelMap
    engines: tuple[str, ...]  # those whose tasks are run here
    definitions: Definitions


class App:
    """One process: the API, workers, or both, and their keep.

    Opened by `opening.open_app`: `start` it, and in the end `drain` and `close` it.
    """

    def __init__(
        self, settings: Settings, backend: Backend, blobs: Blobs, vault: Vault, served: Served
    ) -> None:
        self.settings = settings
        self._vault = vault
        self.store = store = backend.store
        self.queue = backend.queue
        self.blobs = blobs
        self.doors, self._models, self.engines, definitions = served
        self.dialects = self.doors.published
        self.lanes = lanes_of(self.engines, self._models, settings.concurrency)
        self.keyring = Keyring(store, vault)
        self.provider_keys = ProviderKeys(store, vault)
        self.metrics = Metrics("postgresql" if settings.database else "sqlite")
        self.readiness = Readiness(store, blobs)
        self.scratch = Scratch.build(settings)
        self.links = links = Links.build(vault, blobs)
        fetcher = Fetcher.of_sources(settings, blobs.origins)
        self.paces = Paces(store, self._models)
        self.foresight = Foresight(store, self._models, self.paces)
        self.worker = Worker.build(
            settings,
            self.scratch.name,
            store,
            blobs,
            self._models,
            fetcher,
            links,
            scratch=self.scratch.folder,
            secret=self.provider_keys.get,
            observe=self.metrics,
            learn=self.paces.learn,
        )
        store.listen(scripts.ENDED, self.worker.stop)
        store.on_return(self._look)
        self._inspector = Inspector(settings.max_pixels)
        uploads = Uploads.build(
            settings, store, blobs, links, fetcher, self._inspector, self.scratch.folder
        )
        self.callbacks = Callbacks.build(settings, vault)
        self.service = Service.build(
            settings,
            store,
            blobs,
            self._models,
            fetcher,
            self._inspector,
            links,
            uploads,
            definitions,
            self.callbacks,
            self._ended,
        )
        self.sender = self._sender(links)
        self.watch = Watch(store)
        self.waiting = Waiting(
            self.service,
            self.watch,
            settings.wait_timeout,
            settings.max_waiting,
            settings.max_wait,
            settings.max_long_polls,
        )
        recovery = backend.recovery(self.worker)
        self.housekeeping = Housekeeping.build(settings, store, blobs, recovery, self.metrics)
        self.asgi, self.own = self._front(links, uploads)
        self._working: asyncio.Task[None] | None = None
        self._running: list[asyncio.Task[None]] = []
        self._looks: set[asyncio.Task[None]] = set()

    def _sender(self, links: Links) -> Sender | None:
        """What sends webhooks, where this process does."""
        settings = self.settings
        if not (settings.workers if settings.sender is None else settings.sender):
            return None
        base = settings.public_url or local_url(settings)
        dialects = {dialect.name: dialect for dialect in self.doors.named}
        describe = partial(task_object, base=base, retention=settings.retention)
        telling = Telling(self._vault, links, dialects, base, describe)
        post = Post(Outgoing(settings.private_callbacks))
        return Sender(self.store, telling, post, self.metrics)

    def _front(self, links: Links, uploads: Uploads) -> tuple[ASGIApp, ASGIApp]:
        """All that is answered over HTTP, and that of it which is no dialect's."""
        settings = self.settings
        bodies = Bodies(settings.room_for_bodies, settings.body_timeout)
        files = Files(self.store, self.blobs, links, self.oldest, uploads.oldest)
        routes = Routes(
            self.doors,
            self.readiness,
            self.metrics,
            Censuses(self.store, settings.data, self._models.engines),
            files,
            Receiver(links, uploads, bodies, most=settings.max_source),
        ).asgi()
        webhooks = Webhooks(self.store, self.callbacks, self._vault)
        loads = Loads(self.foresight, self._models.engines, self.lanes if settings.workers else ())
        operations = (*loads.operations(), *webhooks.operations())
        documents = Documents(
            (*dialects.named("safelight").routes, *(own.route for own in operations))
        )
        native = Native(self.keyring, self.metrics, bodies, (*operations, *documents.operations()))
        bridge = Bridge(
            self.doors,
            self.service,
            self.keyring,
            links,
            Rates(settings.rates),
            self.metrics,
            bodies,
            self.waiting,
            self.foresight,
            native.before(routes),
            max_body=settings.max_body,
            public_url=settings.public_url,
            default_url=local_url(settings),
            retention=settings.retention,
        )
        streams = Streams(self.store, self.watch, self.waiting.polls, self.oldest)
        self._tell_held(streams)
        events = Events(
            bridge,
            streams,
            self.keyring,
            self.store,
            self.service,
            links,
            files,
            self.metrics,
            oldest=self.oldest,
            retention=settings.retention,
            public_url=settings.public_url,
            default_url=local_url(settings),
        )
        return for_browsers(events, settings.cors_origins), routes

    def _tell_held(self, streams: Streams) -> None:
        waiting = self.waiting
        self.metrics.hold(
            Holding(
                places=lambda: self.queue.places.counts(),
                streams=lambda: streams.open,
                # They share their places.
                long_polls=lambda: max(0, waiting.polls.taken - streams.open),
                waiting=lambda: waiting.at_end,
                requests=self._models.requests,
                store=self.store.durations,
                blobs=self.blobs.durations,
            )
        )

    def _ended(self, task: Task) -> None:
        """A task was ended by its caller, or for it was late, and by no run."""
        engine = self._models.rule_of(task.submit)[1]
        self.metrics.ended(engine, task.status, task.failure)

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
        self._running = [
            asyncio.create_task(self.housekeeping.run()),
            asyncio.create_task(Deadlines(self.store, ended=self._ended).run()),
            asyncio.create_task(self.paces.run()),
        ]
        if self.sender is not None:
            self._running.append(asyncio.create_task(self.sender.run()))
        self.readiness.running = self._running
        if self.settings.workers:
            self._working = asyncio.create_task(self.queue.run(self.worker.run, self.lanes))
            self._running.append(self._working)

    async def drain(self) -> None:
        """Claim nothing more, give what runs its grace, and give back the rest.

        What cannot be given back within ten seconds after the grace is left as it is, as by a
        process that died: others notice its silence, or the next start does.
        """
        self.readiness.draining = True
        self.watch.close()
        self.waiting.refuse()
        self.queue.stop()
        until = asyncio.get_running_loop().time() + self.settings.grace + GIVING_BACK_SECONDS
        if self._working is not None:
            remote = asyncio.create_task(self.worker.release(remote_only=True))
            await asyncio.wait([self._working], timeout=self.settings.grace)
            self.waiting.end()
            rest = asyncio.create_task(self.worker.release())
            await _wait_until(until, self._working, remote, rest)
        self.waiting.end()
        if self.worker.running:
            _log.warning("not_given_back", tasks=self.worker.running)
        if self.sender is not None:
            left = until - asyncio.get_running_loop().time()
            await self.sender.stop(max(0.0, min(self.settings.grace, left)))
        for task in self._running:
            task.cancel()
        await _wait_until(until + 1, *self._running)
        self._running, self._working = [], None
        self.readiness.running = ()

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
            if not task.cancelled() and not self.readiness.draining:
                _log.error("workers_stopped", exc_info=task.exception())

    async def close(self) -> None:
        """Write what is waiting, and close."""
        try:
            self._inspector.close()
            await self._models.close()
        finally:
            await self.store.close()
            await asyncio.to_thread(self.scratch.close)


async def _wait_until(until: float, *tasks: asyncio.Task[None]) -> None:
    """Wait for tasks to end, up to a time of the loop."""
    if tasks:
        await asyncio.wait(tasks, timeout=until - asyncio.get_running_loop().time())


def lanes_of(engines: tuple[str, ...], models: ModelMap, places: int) -> tuple[Lane, ...]:
    """Engines that say how many of their tasks may run have places of their own."""
    own = {name: models.engine(name).traits.concurrency for name in engines}
    shared = tuple(name for name in engines if own[name] is None)
    lanes = [Lane((name,), count) for name, count in own.items() if count is not None]
    return (*([Lane(shared, places)] if shared else []), *lanes)
