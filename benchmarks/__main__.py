"""Measure everything in one run and print it as tables: `python -m benchmarks [--quick]`.

Figures of different runs do not compare on a machine that others use too; ratios within one run
do. So everything is measured against something of the same run.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from rich.table import Table

from benchmarks import cluster, ground, hearing, load, siege, turnaround, upstream
from benchmarks.ground import Server
from benchmarks.peers import race
from benchmarks.report import ROUNDS, console, median_of, verdict
from safelight.task import Kind, Submit

_SLOW = '[[models]]\nname = "*"\nengine = "sketch"\noptions = { seconds = 3600 }\n'
_GROUPS = {  # by one word
    "cluster": ("storm", "postgres", "drain", "growth", "wake"),
    "upstream": ("pace", "crowd"),
}


def measure_status(folder: Path, tasks: int, requests: int) -> bool:
    """Status queries of random ids, in every dialect, against a bare route for the same ones.

    The two take turns, so that a change of the machine's pace meets both.
    """
    table = Table("status query", "bare /s", "ours /s", "ratio", "bare CPU µs", "ours CPU µs",
                  "p50 ms", "p99 ms",
                  title=f"random ids among {tasks:,} tasks, 32 connections")  # fmt: skip
    data = folder / "status"
    good = True
    with ground.bare_server() as bare, ground.server(data) as server:
        nothing = f"GET /nothing HTTP/1.1\r\nhost: 127.0.0.1:{bare.port}\r\n\r\n".encode()
        least = load.run(bare.port, [nothing], connections=32, count=requests)
        ids = random.sample(ground.fill(data, server.key.id, tasks), min(tasks, 20_000))
        for dialect in ("tensorslab", "aigptimage", "aitoearn", "tencent"):
            row = _compare(dialect, ids, bare, server, requests)
            good = good and row.ratio >= 0.5
            table.add_row(dialect, *row.cells())
    console.print(table)
    console.print(f"for comparison, a bare route that does nothing at all: {least.rate:,.0f}/s")
    return verdict("each dialect at least half the rate of a bare route", good)


class _Row(NamedTuple):
    """What was measured of one dialect: medians over the rounds."""

    bare_rate: float
    rate: float
    ratio: float
    bare_cost: float
    cost: float
    p50: float
    p99: float

    def cells(self) -> tuple[str, ...]:
        return (
            f"{self.bare_rate:,.0f}",
            f"{self.rate:,.0f}",
            f"{self.ratio:.2f}",
            f"{self.bare_cost:.0f}",
            f"{self.cost:.0f}",
            f"{self.p50:.2f}",
            f"{self.p99:.2f}",
        )


def _compare(dialect: str, ids: list[str], bare: Server, server: Server, requests: int) -> _Row:
    seen: list[tuple[float, ...]] = []
    for _ in range(ROUNDS):
        wire = ground.status_requests(dialect, Kind.IMAGE, ids, server)
        base, base_cost = ground.costed(bare, wire, requests)
        ours, cost = ground.costed(server, wire, requests)
        ratio = ours.rate / base.rate
        both = (base.rate, ours.rate, ratio, base_cost, cost)
        seen.append((*both, ours.percentile(50), ours.percentile(99)))
    return _Row(*(statistics.median(column) for column in zip(*seen, strict=True)))


def measure_accepts(folder: Path, one_by_one: int, at_once: int) -> bool:
    """Creates, each on disk when it is answered: one after the other, and 32 at once."""
    table = Table("creates", "accepted/s", "p50 ms", "p99 ms", title="accepting tasks")
    submit = Submit(model="seedreamv4", prompt="a lighthouse at dusk", width=64, height=64)
    with ground.server(folder / "accepts", _SLOW) as server:
        wire = [ground.prepare("tensorslab", submit, server)]
        load.run(server.port, wire, connections=4, count=200)  # warm
        single, many = [], []
        for _ in range(ROUNDS):
            single.append(load.run(server.port, wire, connections=1, count=one_by_one))
            many.append(load.run(server.port, wire, connections=32, count=at_once))
    for name, results in (("one after the other", single), ("32 connections", many)):
        table.add_row(
            name,
            f"{statistics.median(one.rate for one in results):,.0f}",
            f"{statistics.median(one.percentile(50) for one in results):.2f}",
            f"{statistics.median(one.percentile(99) for one in results):.2f}",
        )
    console.print(table)
    ratio = statistics.median(m.rate / s.rate for s, m in zip(single, many, strict=True))
    p50 = statistics.median(one.percentile(50) for one in single)
    sync = statistics.median(_time_sync(folder) for _ in range(5))
    console.print(f"one fdatasync of an appended page: {sync:.2f} ms; ratio {ratio:.2f}")
    first = verdict(f"p50 one after the other under 8 ms ({p50:.2f})", p50 < 8)
    second = verdict(f"32 at once at least five times as many ({ratio:.2f})", ratio >= 5)
    return first and second


def _time_sync(folder: Path) -> float:
    """How long this disk takes to make a page durable, in milliseconds: the floor of a commit."""
    import os

    path = folder / "sync"
    with path.open("ab") as file:
        began = time.perf_counter()
        for _ in range(50):
            file.write(b"x" * 4096)
            file.flush()
            os.fdatasync(file.fileno())
        return (time.perf_counter() - began) * 20


def measure_memory(folder: Path, tasks: int) -> bool:
    """The server's memory after it accepted, ran and ended that many tasks."""
    submit = Submit(model="seedreamv4", prompt="a lighthouse at dusk", width=16, height=16)
    with ground.server(folder / "memory", "concurrency = 4\n") as server:
        at_start = server.memory()
        wire = [ground.prepare("tensorslab", submit, server)]
        began = time.monotonic()
        accepted = load.run(server.port, wire, connections=32, count=tasks, keep=True)
        when_accepted = server.memory()
        _wait_for_ends(server, accepted.bodies)
        seconds = time.monotonic() - began
        at_end = server.memory()
    table = Table("memory of the server", "MiB", title=f"{tasks:,} tasks, from create to end")
    for name, value in (
        ("at its start", at_start),
        ("all accepted", when_accepted),
        (f"all ended, after {seconds:,.0f} s ({tasks / seconds:,.0f} tasks/s)", at_end),
    ):
        table.add_row(name, f"{value:.0f}")
    console.print(table)
    most = max(when_accepted, at_end)
    return verdict(f"memory under 200 MiB ({most:.0f})", most < 200)


def _wait_for_ends(server: Server, bodies: list[bytes]) -> None:
    """Wait until the server has ended all, as its own metrics tell."""
    import urllib.request

    until = time.monotonic() + 3600
    total = len(bodies)
    while time.monotonic() < until:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics") as answer:
            text = answer.read().decode()
        counts = {
            line.split('"')[1]: float(line.rpartition(" ")[2])
            for line in text.splitlines()
            if line.startswith("safelight_tasks{")
        }
        ended = counts["succeeded"]
        if ended + counts["failed"] >= total:
            if counts["failed"]:
                sys.exit(f"{counts['failed']:.0f} tasks failed")
            return
        console.print(f"  {ended:,.0f} of {total:,} ended", end="\r")
        time.sleep(1)
    sys.exit("the tasks did not end")


def measure_films(folder: Path, seconds: float) -> bool:
    """The latency of a status query while two films are rendered, against an idle server."""
    data = folder / "films"
    film = Submit(kind=Kind.VIDEO, model="seedancev2", prompt="waves under the moon",
                  duration=15, fps=24, ratio="16:9", resolution="1440p")  # fmt: skip
    idle, busy = [], []
    with ground.server(data, "concurrency = 2\n") as server:
        ids = ground.fill(data, server.key.id, 1000)
        wire = ground.status_requests("tensorslab", Kind.IMAGE, ids, server)
        load.run_paced(server.port, wire, 200, 1)  # warm
        for _ in range(ROUNDS):
            idle.append(load.run_paced(server.port, wire, 200, seconds))
            films = load.run(server.port, [ground.prepare("tensorslab", film, server)],
                             connections=1, count=2, keep=True)  # fmt: skip
            time.sleep(1.5)  # both are being rendered by now; checked below
            busy.append(load.run_paced(server.port, wire, 200, seconds))
            _check_and_delete(server, [json.loads(body)["data"]["taskid"] for body in films.bodies])
    table = Table("status query, 200 a second", "p50 ms", "p99 ms", title="two films at once")
    for name, results in (("idle", idle), ("two films being rendered", busy)):
        table.add_row(name, *(f"{median_of(results, percent):.2f}" for percent in (50, 99)))
    console.print(table)
    ratio = statistics.median(
        b.percentile(99) / i.percentile(99) for i, b in zip(idle, busy, strict=True)
    )
    return verdict(f"p99 at most five times its idle value ({ratio:.2f})", ratio <= 5)


def _check_and_delete(server: Server, ids: list[str]) -> None:
    from safelight.task import Delete, Fetch

    asked = [ground.prepare("tensorslab", Fetch(id=id, kind=Kind.VIDEO), server) for id in ids]
    states = load.run(server.port, asked, connections=1, count=len(asked), keep=True).bodies
    if any(json.loads(body)["data"]["task_status"] != 2 for body in states):
        sys.exit("the films were not being rendered all the while: choose a longer film")
    gone = ground.prepare("tensorslab", Delete(ids=tuple(ids), kind=Kind.VIDEO), server)
    load.run(server.port, [gone], connections=1, count=1)


def main() -> int:
    """Run what is asked for; 1 where something does not hold."""
    parts: dict[str, Callable[[Path, bool], bool]] = {
        "status": lambda folder, quick: measure_status(
            folder, 10_000 if quick else 100_000, 5_000 if quick else 30_000
        ),
        "accepts": lambda folder, quick: measure_accepts(
            folder, 200 if quick else 1000, 2_000 if quick else 10_000
        ),
        "films": lambda folder, quick: measure_films(folder, 3 if quick else 10),
        "memory": lambda folder, quick: measure_memory(folder, 2_000 if quick else 100_000),
        "storm": lambda folder, quick: cluster.measure_storm(
            folder, 500 if quick else 10_000, pace=40, every=3 if quick else 5
        ),
        "postgres": lambda folder, quick: cluster.measure_postgres(
            folder, *((5_000, 2_000, 500) if quick else (100_000, 20_000, 5_000))
        ),
        "drain": lambda folder, quick: cluster.measure_drain(folder, 300 if quick else 3_000),
        "growth": lambda folder, quick: cluster.measure_growth(
            folder,
            (1_000, 10_000) if quick else (10_000, 100_000, 1_000_000),
            *((2_000, 500) if quick else (20_000, 5_000)),
        ),
        "wake": lambda folder, quick: cluster.measure_wake(folder, 20 if quick else 200),
        "pace": lambda folder, quick: upstream.measure_pace(
            folder, *((110, 20) if quick else (500, 60))
        ),
        "crowd": lambda folder, quick: upstream.measure_crowd(
            folder, *((500, 10) if quick else (5_000, 90))
        ),
        "turnaround": lambda folder, quick: turnaround.measure_turnaround(
            folder, *((100, 500) if quick else (500, 5_000))
        ),
        "peers": lambda folder, quick: race.measure_peers(
            folder, *((50, 300, 1_000) if quick else (300, 3_000, 20_000))
        ),
        "hearing": lambda folder, quick: hearing.measure_hearing(
            folder, *((100, 12, 1_000) if quick else (500, 60, 5_000))
        ),
        "siege": lambda folder, quick: siege.measure_siege(folder, 20 if quick else 120),
    }
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    groups = (f"{name}: {' '.join(group)}" for name, group in _GROUPS.items())
    named = f"of {', '.join(parts)} (or {'; '.join(groups)}); none: all"
    parser.add_argument("parts", nargs="*", help=named)
    parser.add_argument("--quick", action="store_true", help="fewer tasks: minutes become seconds")
    arguments = parser.parse_args()
    chosen = [part for word in arguments.parts for part in _GROUPS.get(word, (word,))]
    if unknown := set(chosen) - set(parts):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    console.print(f"machine: {ground.machine()}\n")
    # As Ctrl-C does: whatever was started is stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    good = True
    with tempfile.TemporaryDirectory(prefix="safelight-bench-") as folder:
        for name in chosen or parts:
            good = parts[name](Path(folder), arguments.quick) and good
    return 0 if good else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
