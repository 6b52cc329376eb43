"""From a task that is asked for to its result: how long one takes, and how many end a second.

One process does all of it, with the engine `blank`, on SQLite and on PostgreSQL. What a durable
write costs on the same disk at the same time is the measure beside it.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks import ground
from benchmarks.crew import postgres
from benchmarks.report import ROUNDS, markdown, progress, verdict
from benchmarks.subject import Subject
from safelight.task import Fetch, Kind, Submit

_BLANK = '[[models]]\nname = "*"\nengine = "blank"\n'
_SUBMIT = Submit(model="seedreamv4", prompt="a lighthouse at dusk", width=16, height=16)
_SYNCS = 200


class _Run(NamedTuple):
    alone: float  # milliseconds from asking to the result, the median
    rate: float  # tasks a second from the first that was accepted to the last that ended
    sync: float  # milliseconds of one durable write


def measure_turnaround(folder: Path, alone: int, together: int) -> bool:
    """One task after the other, and many at once, on either database."""
    runs: dict[str, list[_Run]] = {"SQLite": [], "PostgreSQL": []}
    with postgres() as databases:
        for number in range(ROUNDS):
            for name, seen in runs.items():
                here = folder / f"turnaround-{name}-{number}"
                url = databases.create() if name == "PostgreSQL" else None
                with running(here, url) as subject:
                    progress(f"{name}: {alone} tasks one after the other")
                    one = subject.alone(alone)
                    progress(f"{name}: {together} tasks together")
                    rate, _ = subject.together(together)
                    seen.append(_Run(one, rate, _sync(here)))
    rows = []
    for name, seen in runs.items():
        one, rate, sync = (statistics.median(values) for values in zip(*seen, strict=True))
        writes = statistics.median(run.alone / run.sync for run in seen)
        rows.append((name, f"{one:.1f}", f"{rate:,.0f}", f"{sync:.2f}", f"{writes:.1f}"))
    markdown(
        f"tasks of no work at all, in one process on {os.cpu_count()} cores",
        ("database", "create to result, p50 ms", "tasks/s", "one durable write, ms",
         "durable writes that one task takes as long as"),
        rows,
    )  # fmt: skip
    return verdict("all tasks ended with their file", True)  # or it had not come so far


@contextmanager
def running(folder: Path, url: str | None) -> Iterator[Subject]:
    """Safelight with the engine `blank`, in one process: on that database, or on SQLite."""
    with ground.server(folder, _BLANK, "benchmarks.with_blank", database=url) as server:
        yield Subject(
            server.port,
            ground.sign("tensorslab", _SUBMIT, server),
            lambda id: ground.sign("tensorslab", Fetch(id=id, kind=Kind.IMAGE), server),
            lambda body: str(json.loads(body)["data"]["taskid"]),
            _ended,
        )


def _ended(body: bytes) -> bool:
    data = json.loads(body)["data"]
    if data["image_status"] == 4:
        raise RuntimeError(f"a task did not succeed: {data}")
    return bool(data["image_status"] == 3)


def _sync(folder: Path) -> float:
    """The median milliseconds of one write of 4 KiB that is on the disk."""
    seconds = []
    with (folder / "sync").open("wb", buffering=0) as file:
        for _ in range(_SYNCS):
            began = time.perf_counter()
            file.write(bytes(4096))
            os.fsync(file.fileno())
            seconds.append(time.perf_counter() - began)
    return statistics.median(seconds) * 1000
