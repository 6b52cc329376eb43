"""PgQueuer alone: `python -m` this, `prepare`, `serve` or `work`, database, folder, port."""

from __future__ import annotations

import sys

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries
from pgqueuer.types import JobId

from benchmarks.peers.front import Calls, application, leave, serve

_BATCH = 32


async def prepare(url: str) -> None:
    """Make the tables."""
    connection = await asyncpg.connect(url)
    await Queries(AsyncpgDriver(connection)).install()
    await connection.close()


async def ask(url: str, folder: str, port: int) -> None:
    """Take jobs in, and tell their states out of its log: a job that ended is only there."""
    async with asyncpg.create_pool(url) as pool:
        queries = Queries(AsyncpgPoolDriver(pool))

        async def submit(kept: str) -> str:
            return str((await queries.enqueue("job", kept.encode()))[0])

        async def state(id: str) -> str:
            return (await queries.job_status([JobId(int(id))]))[0][1]

        await serve(application(Calls(submit, state), folder), port)


async def work(url: str) -> None:
    """Run jobs."""
    queue = PgQueuer.from_asyncpg_connection(await asyncpg.connect(url))

    @queue.entrypoint("job")
    async def run(job: Job) -> None:
        leave((job.payload or b"").decode())

    await queue.run(batch_size=_BATCH)


if __name__ == "__main__":
    _, role, url, folder, port = sys.argv
    roles = {"prepare": lambda: prepare(url), "work": lambda: work(url)}
    uvloop.run(roles.get(role, lambda: ask(url, folder, int(port)))())
