"""What is counted in the database, for all processes together, and the disk under the data.

Counted at most once in ten seconds, whoever asks: each process tells the same of the database, and
whoever adds up several processes takes one of them (`max by`).
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from prometheus_client.registry import Collector

from safelight.clock import now_millis
from safelight.counts import Counts
from safelight.server.metrics.families import gauge
from safelight.store import Store, hooks, scripts
from safelight.store.hooks import Backlog
from safelight.store.scripts import Load
from safelight.task import Status

_KEPT_SECONDS = 10.0  # that the same counts are told
_DISK_SECONDS = 2.0  # that a disk is waited for, which may be another machine's


class Disk(NamedTuple):
    """The disk that a folder is on, in bytes."""

    size: int
    free: int


class Census(NamedTuple):
    """What there was at a time (milliseconds since 1970): tasks by status, loads by engine."""

    at: int
    tasks: dict[str, int]
    loads: dict[str, Load]
    backlog: Backlog
    disk: Disk | None = None  # None where it does not tell


class Censuses:
    """Takes the census of a database, and of the disk that has the folder `data`."""

    def __init__(
        self,
        store: Store,
        data: Path,
        engines: Sequence[str],
        clock: Callable[[], int] = now_millis,
    ) -> None:
        self._store = store
        self._data = data
        self._engines = engines
        self._clock = clock
        self._taken: Counts[Census] = Counts(_KEPT_SECONDS)
        self._disks: Counts[Disk] = Counts(_KEPT_SECONDS)

    async def get(self) -> Census:
        """The census, taken now or some seconds ago. Raises `StoreUnavailable`."""
        return await self._taken.get("", self._take)

    async def _take(self) -> Census:
        tasks, loads, backlog = await self._store.read_aside(_count())
        # An engine that has nothing to do has an empty queue, and not none.
        loads = {engine: loads.get(engine, Load()) for engine in {*self._engines, *loads}}
        return Census(self._clock(), tasks, loads, backlog, await self._disk())

    async def _disk(self) -> Disk | None:
        try:
            async with asyncio.timeout(_DISK_SECONDS):
                # One that hangs is asked once, by one thread, however often this is.
                return await self._disks.get("", self._look)
        except (OSError, TimeoutError):
            return None

    async def _look(self) -> Disk:
        usage = await asyncio.to_thread(shutil.disk_usage, self._data)
        return Disk(usage.total, usage.free)


def _count() -> scripts.Script[tuple[dict[str, int], dict[str, Load], Backlog]]:
    tasks = yield from scripts.count_by_status()
    loads = yield from scripts.loads()
    return tasks, loads, (yield from hooks.counts())


class Population(Collector):
    """Tells the census that was taken last."""

    def __init__(self) -> None:
        self.census: Census | None = None

    def collect(self) -> Iterator[Any]:
        if (census := self.census) is None:
            return
        tasks = (((status.value,), census.tasks.get(status.value, 0)) for status in Status)
        yield gauge("safelight_tasks", "Tasks there are", ("status",), tasks)
        loads = sorted(census.loads.items())
        yield gauge(
            "safelight_queue_depth", "Tasks that wait for an engine", ("engine",),
            (((engine,), load.waiting) for engine, load in loads),
        )  # fmt: skip
        yield gauge(
            "safelight_queue_oldest_seconds", "How long the oldest of these waits", ("engine",),
            (((engine,), _age(census.at, load.oldest)) for engine, load in loads),
        )  # fmt: skip
        yield from self._webhooks(census.at, census.backlog)
        if census.disk is not None:
            yield gauge(
                "safelight_disk_bytes", "Size of the disk with the data folder",
                (), [((), census.disk.size)],
            )  # fmt: skip
            yield gauge(
                "safelight_disk_free_bytes", "What is free of it", (), [((), census.disk.free)]
            )

    def _webhooks(self, at: int, backlog: Backlog) -> Iterator[Any]:
        yield gauge(
            "safelight_webhook_backlog", "What is to be told and was not yet",
            (), [((), backlog.pending)],
        )  # fmt: skip
        yield gauge(
            "safelight_webhook_oldest_seconds", "How long the oldest of these is to be told",
            (), [((), _age(at, backlog.oldest))],
        )  # fmt: skip
        yield gauge(
            "safelight_endpoints_disabled", "Endpoints that are turned off",
            (), [((), backlog.off)],
        )  # fmt: skip


def _age(now: int, since: int | None) -> float:
    return 0.0 if since is None else max(0, now - since) / 1000
