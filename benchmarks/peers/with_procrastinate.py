"""Procrastinate: `python -m` this, `prepare`, `serve` or `work`, database, folder, port."""

from __future__ import annotations

import sys

import procrastinate
import uvloop

from benchmarks.peers.front import Calls, application, leave, serve

_AT_ONCE = 10


def _app(url: str) -> procrastinate.App:
    return procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url, max_size=20))


async def prepare(url: str) -> None:
    """Make the tables."""
    async with _app(url).open_async() as app:
        await app.schema_manager.apply_schema_async()


async def ask(url: str, folder: str, port: int) -> None:
    """Take jobs in, and tell their states."""
    async with _app(url).open_async() as app:

        async def submit(kept: str) -> str:
            return str(await app.configure_task("job").defer_async(folder=kept))

        async def state(id: str) -> str:
            return str((await app.job_manager.get_job_status_async(int(id))).value)

        await serve(application(Calls(submit, state), folder), port)


async def work(url: str) -> None:
    """Run jobs."""
    made = _app(url)

    async def run(folder: str) -> None:
        leave(folder)

    made.task(name="job")(run)
    async with made.open_async() as app:
        await app.run_worker_async(concurrency=_AT_ONCE, fetch_job_polling_interval=1)


if __name__ == "__main__":
    _, role, url, folder, port = sys.argv
    roles = {"prepare": lambda: prepare(url), "work": lambda: work(url)}
    uvloop.run(roles.get(role, lambda: ask(url, folder, int(port)))())
