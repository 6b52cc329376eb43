"""SAQ: `python -m` this, `prepare`, `serve` or `work`, Redis or PostgreSQL, folder, port."""

from __future__ import annotations

import sys
from typing import Any

import saq
import uvloop
from saq.queue.postgres import PostgresQueue
from saq.queue.redis import RedisQueue

from benchmarks.peers.front import Calls, application, leave, serve

_KEPT_SECONDS = 86_400


def _queue(url: str) -> Any:
    # Its own `Queue.from_url` knows no address of a socket file.
    return (PostgresQueue if url.startswith("postgresql:") else RedisQueue).from_url(url)


async def job(context: dict[str, Any], *, folder: str) -> dict[str, str]:
    """The job; what it returns is kept with it."""
    return {"file": leave(folder)}


async def prepare(url: str) -> None:
    """Make the tables."""
    queue = _queue(url)
    await queue.connect()
    await queue.disconnect()


async def ask(url: str, folder: str, port: int) -> None:
    """Take jobs in, and tell their states."""
    queue = _queue(url)
    await queue.connect()

    async def submit(kept: str) -> str:
        added = await queue.enqueue("job", folder=kept, ttl=_KEPT_SECONDS)
        return str(added.key)

    async def state(id: str) -> str:
        found = await queue.job(id)
        return str(found.status.value)

    await serve(application(Calls(submit, state), folder), port)


async def work(url: str) -> None:
    """Run jobs, as many at once as it does by default."""
    queue = _queue(url)
    await queue.connect()
    await saq.Worker(queue, functions=[job]).start()


if __name__ == "__main__":
    _, role, url, folder, port = sys.argv
    roles = {"prepare": lambda: prepare(url), "work": lambda: work(url)}
    uvloop.run(roles.get(role, lambda: ask(url, folder, int(port)))())
