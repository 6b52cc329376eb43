"""From a task that is asked for to its result: how long one takes, and how many end a second.

One process does all of it, with the engine `blank`, on SQLite and on PostgreSQL. What a durable
write costs on the same disk at the same time is the measure beside it.
"""

from __future__ import annotations

import http.client
import json
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks import ground, load
from benchmarks.crew import postgres
from benchmarks.ground import Server
from benchmarks.report import ROUNDS, markdown, progress, verdict
from safelight.task import Fetch, Kind, Submit

_BLANK = '[[models]]\nname = "*"\nengine = "blank"\n'
_SUBMIT = Submit(model="seedreamv4", prompt="a lighthouse at dusk", width=16, height=16)
_END_SECONDS = 120.0
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
                with _server(here, url) as server:
                    progress(f"{name}: {alone} tasks one after the other")
                    one = _alone(server, alone)
                    progress(f"{name}: {together} tasks together")
                    seen.append(_Run(one, _together(server, together), _sync(here)))
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
def _server(folder: Path, url: str | None) -> Iterator[Server]:
    with ground.server(folder, _BLANK, "benchmarks.with_blank", database=url) as server:
        yield server


def _alone(server: Server, count: int) -> float:
    """The median milliseconds from asking for a task until its result is told."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    seconds = []
    for number in range(count + 10):
        began = time.perf_counter()
        id = str(_ask(connection, server, _SUBMIT)["taskid"])
        until = began + _END_SECONDS
        while (data := _ask(connection, server, Fetch(id=id, kind=Kind.IMAGE)))[
            "image_status"
        ] != 3:
            if data["image_status"] == 4 or time.perf_counter() > until:
                raise RuntimeError(f"the task {id} did not succeed: {data}")
        if number >= 10:  # the first few are slower
            seconds.append(time.perf_counter() - began)
    connection.close()
    return statistics.median(seconds) * 1000


def _ask(
    connection: http.client.HTTPConnection, server: Server, command: Submit | Fetch
) -> dict[str, object]:
    request = ground.sign("tensorslab", command, server)
    connection.request(request.method, request.target, request.body, dict(request.headers))
    answer: dict[str, object] = json.loads(connection.getresponse().read())["data"]
    return answer


def _together(server: Server, count: int) -> float:
    """Tasks a second, all asked for over 32 connections."""
    wire = [ground.prepare("tensorslab", _SUBMIT, server)]
    began = time.perf_counter()
    accepted = load.run(server.port, wire, connections=32, count=count, keep=True)
    if accepted.refused:
        raise RuntimeError(f"{accepted.refused} tasks were not accepted")
    # Ids are in the order of acceptance, and so are the tasks run: the newest is the last to end.
    left = sorted(json.loads(body)["data"]["taskid"] for body in accepted.bodies)
    seconds = 0.0
    until = time.monotonic() + _END_SECONDS
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    while left:
        data = _ask(connection, server, Fetch(id=left[-1], kind=Kind.IMAGE))
        if data["image_status"] == 3:
            seconds = seconds or time.perf_counter() - began
            left.pop()
        elif data["image_status"] == 4 or time.monotonic() > until:
            raise RuntimeError(f"a task did not succeed: {data}")
        else:
            time.sleep(0.02)
    connection.close()
    return count / seconds


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
