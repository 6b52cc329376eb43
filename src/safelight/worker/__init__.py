"""Runs tasks, each to its end or until it is given back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import structlog

from safelight.blobs import Blobs
from safelight.clock import now_millis
from safelight.config import Settings
from safelight.fetching import Fetcher
from safelight.links import Links
from safelight.models import ModelMap
from safelight.store import Store, StoreClosed, scripts
from safelight.task import Submit
from safelight.turns import Turns
from safelight.worker.keeping import Keeper
from safelight.worker.observing import Observer
from safelight.worker.patience import Patience
from safelight.worker.run import Keeping, Limits, Means, Run
from safelight.worker.sources import Sources

_log = structlog.get_logger("safelight.worker")


class _Running(NamedTuple):
    """A run, and what carries it out."""

    run: Run
    work: asyncio.Task[None]


class Worker:
    """Runs tasks. `name` tells it from others, and from itself before a restart."""

    def __init__(
        self,
        name: str,
        store: Store,
        blobs: Blobs,
        models: ModelMap,
        fetcher: Fetcher,
        links: Links,
        *,
        results: Fetcher,
        scratch: Path,
        time_limit: float,
        most_deaths: int,
        max_pixels: int,
        patience: float = 600,
        secret: Callable[[str], Awaitable[str | None]] | None = None,
        public_url: str | None = None,
        observe: Observer | None = None,
        learn: Callable[[Submit, float], None] = lambda submit, seconds: None,
        clock: Callable[[], int] = now_millis,
    ) -> None:
        self.name = name
        self._store = store
        patient = Patience(store, patience)
        self._means = Means(
            name=name,
            store=store,
            models=models,
            limits=Limits(seconds=time_limit, deaths=most_deaths, pixels=max_pixels),
            patience=patient,
            sources=Sources(store, blobs, fetcher, links, public_url),
            keeper=Keeper(store, blobs, patient),
            keeping=Keeping(),
            turns=Turns(store),
            results=results,
            scratch=scratch,
            secret=secret,
            observe=observe or Observer(),
            learn=learn,
            clock=clock,
            leaving=lambda: self._releasing,
        )
        self._running: dict[str, _Running] = {}
        self._releasing = False
        self._released: set[str] = set()  # those whose runs were told to give them back

    @classmethod
    def build(
        cls,
        settings: Settings,
        name: str,
        store: Store,
        blobs: Blobs,
        models: ModelMap,
        fetcher: Fetcher,
        links: Links,
        *,
        scratch: Path,
        secret: Callable[[str], Awaitable[str | None]],
        observe: Observer,
        learn: Callable[[Submit, float], None],
    ) -> Worker:
        """A worker as the settings say."""
        return cls(
            name,
            store,
            blobs,
            models,
            fetcher,
            links,
            results=Fetcher.of_results(settings),
            scratch=scratch,
            time_limit=settings.time_limit,
            most_deaths=settings.most_deaths,
            max_pixels=settings.max_pixels,
            patience=settings.patience,
            secret=secret,
            public_url=settings.public_url,
            observe=observe,
            learn=learn,
        )

    async def run(
        self, task_id: str, engine: str = "", leave: Callable[[], None] = lambda: None
    ) -> bool:
        """Run the task to its end, unless it is at one. Never raises but when cancelled.

        `engine` is the one that it was queued for, and `leave` is called when that has done its
        work, while there is still some to be kept. False where the task is given back, to be run
        again.
        """
        if task_id in self._running:
            return True
        run = Run(self._means, task_id, engine, leave)
        work = asyncio.ensure_future(run.carry_out())
        self._running[task_id] = _Running(run, work)
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError:
            work.cancel()
            await asyncio.wait([work])
            raise
        finally:
            del self._running[task_id]
            self._released.discard(task_id)
            problem = None if work.cancelled() else work.exception()
            if isinstance(problem, StoreClosed):
                _log.warning("store_closed", task=task_id)
            elif problem is not None:
                _log.error("run_failed", task=task_id, exc_info=problem)
        return not (self._releasing and (work.cancelled() or problem is not None))

    def runs(self, task_id: str) -> bool:
        """Whether the task is being run here."""
        return task_id in self._running

    @property
    def running(self) -> int:
        """How many tasks are being run here."""
        return len(self._running)

    def stop(self, task_id: str) -> None:
        """Stop the run of a task that has been ended, or is gone."""
        if (running := self._running.get(task_id)) is not None:
            running.run.ended = True
            running.work.cancel()

    async def look(self) -> None:
        """Stop the runs of tasks that have been ended, or are gone, without our hearing of it."""
        for task_id in list(self._running):
            task = await self._store.read(scripts.get_any(task_id))
            if task is None or task.ended:
                self.stop(task_id)

    async def release(self, remote_only: bool = False) -> None:
        """Stop all runs and give their tasks back, to be run again.

        With `remote_only` those alone whose tasks are done elsewhere: they lose nothing by it, and
        need no grace. A run is told once, however often this is called: it would leave off giving
        its task back.
        """
        self._releasing = True
        self._means.patience.hurry()
        chosen = {
            id: running.work
            for id, running in self._running.items()
            if running.run.waits or not remote_only
        }
        for id, work in chosen.items():
            if id not in self._released:
                self._released.add(id)
                work.cancel()
        if chosen:
            await asyncio.wait(chosen.values())
