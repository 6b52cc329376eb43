"""Celery on Redis behind FastAPI: `python -m` this, `serve` or `work`, store, folder, port."""

from __future__ import annotations

import sys

import celery
import fastapi
import uvloop

from benchmarks.peers.front import leave, serve


def _queue(url: str) -> celery.Celery:
    queue = celery.Celery("jobs", broker=url, backend=url)
    queue.conf.update(
        # A job whose worker dies is another's: so it is with the other queues here.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=64,  # for short jobs, as its guide to optimizing says
    )
    queue.task(name="job")(job)
    return queue


def job(folder: str) -> dict[str, str]:
    """The job; what it returns is kept."""
    return {"file": leave(folder)}


def application(url: str, folder: str) -> fastapi.FastAPI:
    """The same paths as the other fronts have. Celery waits, so that they are no coroutines."""
    queue = _queue(url)
    app = fastapi.FastAPI()

    def submit(file: str | None = None) -> dict[str, str]:
        kept = folder if file is not None else ""
        return {"id": queue.tasks["job"].delay(folder=kept).id}

    def state(id: str) -> dict[str, str]:
        return {"state": queue.AsyncResult(id).state.lower()}

    app.post("/jobs")(submit)
    app.get("/jobs/{id}")(state)
    return app


def work(url: str) -> None:
    """Run jobs: a process on each core, as it does by default."""
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=warning")
    _queue(url).worker_main(["worker", *quiet])


if __name__ == "__main__":
    _, role, url, folder, port = sys.argv
    if role == "work":
        work(url)
    else:
        uvloop.run(serve(application(url, folder), int(port)))
