"""The queue on PostgreSQL: PgQueuer, for any number of workers on any number of machines.

An engine is one of PgQueuer's entrypoints, so that a worker is given what its engines run and
nothing else. A task's id is the job's payload and its deduplication key: a task that is not at an
end has one job. A worker that dies is known by its jobs' heartbeat, which another then finds old.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import structlog
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.core.tm import TaskManager
from pgqueuer.domain.settings import db_settings
from pgqueuer.errors import RetryRequested
from pgqueuer.models import Job
from pgqueuer.ports.driver import NotifyCallback
from pgqueuer.ports.repository import EntrypointExecutionParameter
from pgqueuer.qm import QueueManager
from pgqueuer.types import JobId, QueueEntrypoint, QueueManagerId

from safelight.postgres import Database, DatabaseGone
from safelight.queue import Lane, Places, Work
from safelight.store.queries import UNFINISHED

if TYPE_CHECKING:
    from safelight.postgres import Connection

_log = structlog.get_logger("safelight.queue")
_T = TypeVar("_T")

# PgQueuer's settings name its tables; they take no names that would be dangerous in a query.
_TABLE = db_settings().qualified.queue_table
_KEEP = (
    f"update {_TABLE} set heartbeat = now() "  # noqa: S608
    "where id = any($1::bigint[]) and queue_manager_id = $2 returning id"
)
_UNQUEUED = (
    f"select id from tasks where {UNFINISHED} "  # noqa: S608
    f"and not exists (select from {_TABLE} where dedupe_key = tasks.id "
    "and status in ('queued', 'picked')) and id > $1 order by id limit $2"
)
_MISPLACED = (
    f"select dedupe_key from {_TABLE} where dedupe_key is not null "  # noqa: S608
    "and entrypoint <> all($1::text[]) and status in ('queued', 'picked') "
    "and heartbeat < now() - $2::interval limit $3"
)
_MOVE = (
    f"update {_TABLE} set entrypoint = $2 "  # noqa: S608
    "where dedupe_key = $1 and status in ('queued', 'picked')"
)
_SWEEP = (
    f"delete from {db_settings().qualified.queue_table_log} "  # noqa: S608
    "where created < now() - $1::interval"
)

_BATCH = 10  # jobs taken by one look at most, where there are places; heartbeats written together
_PAUSE_SECONDS = 0.5
_STOPPING_SECONDS = 10.0  # how long an end waits for a database that is away


class PostgresQueue:
    """Hands jobs to this process. `heartbeat`: seconds after which a silent worker is dead."""

    def __init__(self, database: Database, heartbeat: float) -> None:
        self.places = Places(())
        self._heartbeat = timedelta(seconds=heartbeat)
        self._driver = _Driver(database)
        self._jobs = _Jobs(self._driver)
        self._manager = QueueManager(self._jobs)
        self._jobs.worker = self._manager.queue_manager_id

    async def run(self, work: Work, lanes: Sequence[Lane]) -> None:
        self.places = self._jobs.places = Places(lanes)

        async def run_one(job: Job) -> None:
            try:
                task_id, leave = (job.payload or b"").decode(), partial(self._jobs.leave, job)
                if not await work(task_id, job.entrypoint, leave):
                    raise RetryRequested(timedelta(0), "given back")
            finally:
                self._jobs.leave(job)

        for engine in self._jobs.places.engines():
            self._manager.entrypoint(engine, accepts_context=False)(run_one)
        try:
            await self._manager.run(
                batch_size=_BATCH,
                # Nobody tells of a worker that died: its jobs are looked for now and then.
                dequeue_timeout=self._heartbeat / 3,
                heartbeat_timeout=self._heartbeat,
                log_aggregation_interval=timedelta(0),  # those statistics are not read here
            )
        except DatabaseGone as problem:  # it was told to stop: others find what it has left
            _log.warning("queue_stopped_without_database", problem=str(problem))

    def stop(self) -> None:
        self._driver.stop()
        self._manager.shutdown.set()


class _Driver:
    """PgQueuer's way to the database: waits while that is away, and wakes PgQueuer gently."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._shutdown = asyncio.Event()
        self._tasks = TaskManager()
        self._wake: list[NotifyCallback] = []
        self._awake = False
        self._stopped: float | None = None
        self._away: float | None = None  # since when

    def stop(self) -> None:
        """Wait no more than a while for a database that is away."""
        self._stopped = time.monotonic()

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        async def act() -> list[dict[str, object]]:
            async with self._database.acquire() as connection:
                return [dict(row) for row in await connection.fetch(query, *args)]

        return await self._patiently(act)

    async def execute(self, query: str, *args: object) -> str:
        async def act() -> str:
            async with self._database.acquire() as connection:
                return await connection.execute(query, *args)

        return await self._patiently(act)

    async def transact(self, act: Callable[[Connection], Awaitable[None]]) -> None:
        """Do several things, or none of them."""

        async def once() -> None:
            async with self._database.acquire() as connection, connection.transaction():
                await act(connection)

        await self._patiently(once)

    async def notify(self, channel: str, payload: str) -> None:
        await self.execute("select pg_notify($1, $2)", channel, payload)

    async def add_listener(self, channel: str, callback: NotifyCallback) -> None:
        self._wake.append(callback)

        def hear(payload: str) -> None:
            # Every accept and every end on every machine is told. Between two looks into the
            # queue one of them is enough.
            if json.loads(payload)["type"] != "table_changed_event":
                callback(payload)
            elif not self._awake:
                self._awake = True
                callback(payload)

        self._database.listen(channel, hear)
        self._database.on_return(self.wake)

    def wake(self) -> None:
        """Have PgQueuer look into the queue now, as if it had been told of a change."""
        if self._awake:
            return
        self._awake = True
        for callback in self._wake:
            callback(change_notice())

    def looks(self) -> None:
        """PgQueuer looks into the queue: what happens from now on it is to be told of."""
        self._awake = False

    @property
    def shutdown(self) -> asyncio.Event:
        return self._shutdown

    @property
    def tm(self) -> TaskManager:
        return self._tasks

    async def __aenter__(self) -> _Driver:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def _patiently(self, act: Callable[[], Awaitable[_T]]) -> _T:
        """Wait for a database that is away: everything that PgQueuer asks may be asked twice."""
        while True:
            try:
                answer = await act()
            except DatabaseGone as problem:
                if self._away is None:
                    self._away = time.monotonic()
                    _log.warning("queue_waits_for_database", problem=str(problem))
                if self._waited_enough(self._away):
                    raise
                await asyncio.sleep(_PAUSE_SECONDS)
            else:
                self._away = None
                return answer

    def _waited_enough(self, since: float) -> bool:
        if self._stopped is None:
            return False
        return time.monotonic() - max(since, self._stopped) >= _STOPPING_SECONDS


class _Jobs(Queries):
    """PgQueuer's queries, of a worker that takes no more than it has places for.

    And that touches no job which is another's by now: this process may have been held up so long
    that it was taken for dead.
    """

    worker: QueueManagerId
    places: Places

    def __init__(self, driver: _Driver) -> None:
        super().__init__(driver)
        self._own = driver

    def leave(self, job: Job) -> None:
        """Its place is free again."""
        # Where there were others, all that is queued was looked for already.
        if self.places.leave(job.entrypoint, job.id):
            self._own.wake()

    async def dequeue(
        self,
        batch_size: int,
        entrypoints: dict[QueueEntrypoint, EntrypointExecutionParameter],
        queue_manager_id: QueueManagerId,
        global_concurrency_limit: int | None,
        heartbeat_timeout: timedelta,
    ) -> list[Job]:
        self._own.looks()
        free = self.places.free()
        if not free:
            return []
        jobs = await super().dequeue(
            min(batch_size, *free.values()),
            {name: entrypoints[name] for name in entrypoints if name in free},
            queue_manager_id,
            global_concurrency_limit,
            heartbeat_timeout,
        )
        for job in jobs:
            self.places.take(job.entrypoint, job.id)
        return jobs

    # PgQueuer asks these after it found nothing, in case it was not told of something. It is:
    # `looks` makes sure of that.

    async def eligible_queued_work(self, entrypoints: list[QueueEntrypoint]) -> int:
        return 0

    async def queued_work(self, entrypoints: list[QueueEntrypoint]) -> int:
        return 0

    async def next_deferred_eta(self, entrypoints: list[QueueEntrypoint]) -> timedelta | None:
        return None

    async def log_jobs(self, job_status: list[Any]) -> None:
        async def act(connection: Connection) -> None:
            mine = await self._mine(connection, [job.id for job, _, _ in job_status])
            if kept := [entry for entry in job_status if entry[0].id in mine]:
                await Queries(AsyncpgDriver(cast(Any, connection))).log_jobs(kept)

        await self._own.transact(act)

    async def retry_job(self, job: Job, delay: timedelta, traceback_record: Any) -> None:
        async def act(connection: Connection) -> None:
            if job.id in await self._mine(connection, [job.id]):
                queries = Queries(AsyncpgDriver(cast(Any, connection)))
                await queries.retry_job(job, delay, traceback_record)
                # The trigger tells of new jobs and of those that are gone, not of changed ones.
                await queries.driver.notify(self.qbe.settings.channel, change_notice())

        await self._own.transact(act)

    async def update_heartbeat(self, job_ids: list[JobId]) -> None:
        async def act(connection: Connection) -> None:
            await self._mine(connection, sorted(set(job_ids)))

        await self._own.transact(act)

    async def _mine(self, connection: Connection, ids: list[JobId]) -> set[JobId]:
        """Those of the jobs that are still this worker's, and are so until the transaction ends."""
        rows = await connection.fetch(_KEEP, ids, self.worker)
        return {cast(JobId, row["id"]) for row in rows}


def change_notice() -> str:
    """What PgQueuer takes for a notice of a changed queue, and looks into it."""
    settings = db_settings()
    return json.dumps(
        {
            "channel": settings.channel,
            "operation": "insert",
            "sent_at": "1970-01-01T00:00:00+00:00",
            "table": settings.queue_table,
            "type": "table_changed_event",
        }
    )


# -------------------------------------------------------------------------------- what is missing


async def unqueued(database: Database, after: str, limit: int) -> list[str]:
    """Ids after that one of tasks that are not at an end and that no job is for.

    There should be none. Raises `DatabaseGone`.
    """
    return [row["id"] for row in await database.fetch(_UNQUEUED, after, limit)]


async def misplaced(
    database: Database, engines: Sequence[str], silence: float, limit: int
) -> list[str]:
    """Ids of tasks that wait for an engine which is none of `engines`: it was renamed, or is gone.

    Also of those whose worker was not heard of: nobody else would take them. For both it takes
    `silence` seconds, in which processes with other settings may come or go. Raises `DatabaseGone`.
    """
    rows = await database.fetch(_MISPLACED, list(engines), timedelta(seconds=silence), limit)
    return [row["dedupe_key"] for row in rows]


async def move(database: Database, task_id: str, engine: str) -> None:
    """Have a task that waits for one engine wait for another. Raises `DatabaseGone`."""
    async with database.acquire() as connection:
        await connection.execute(_MOVE, task_id, engine)
        await connection.execute("select pg_notify($1, $2)", db_settings().channel, change_notice())


async def sweep_log(database: Database, days: float) -> None:
    """Remove what PgQueuer noted of its jobs longer ago than that. Raises `DatabaseGone`."""
    async with database.acquire() as connection:
        await connection.execute(_SWEEP, timedelta(days=days))
