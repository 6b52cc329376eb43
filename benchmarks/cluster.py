"""What several processes on PostgreSQL do: nothing lost when they are killed, and how fast.

Each part starts a PostgreSQL of its own, as it comes, on this machine, and prints a table. With
the processes, the database and the callers on the same cores, the sum of what they use is the
limit; so tables say how much processor each took.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from benchmarks import filling, ground, load
from benchmarks.crew import Crew, Member, crew, postgres, postgres_seconds
from benchmarks.ground import Server
from benchmarks.report import ROUNDS, markdown, median_of, percentile, progress, verdict
from benchmarks.storm import Storm
from safelight.task import ENDS, Kind, Submit

_SUBMIT = Submit(model="seedreamv4", prompt="a lighthouse at dusk", width=16, height=16)
_WAITING = '[[models]]\nname = "*"\nengine = "sketch"\noptions = { seconds = 3600 }\n'
_DIALECTS = ("tensorslab", "aigptimage", "aitoearn", "tencent")
_END_SECONDS = 180.0  # without any task that ends, before the rest count as stuck
_ENDED = tuple(status.value for status in ENDS)
_COUNT_LEFT = "select count(*) from tasks where status <> all($1::text[])"
_COUNT_JOBS = "select count(*) from pgqueuer where status in ('queued', 'picked')"
_JOB_SECONDS = 30.0
_SEED = 20261122


def _submit_wire(server: Server) -> list[bytes]:
    return [ground.prepare("tensorslab", _SUBMIT, server)]


def _median(values: list[float]) -> float:
    return statistics.median(values)


# -------------------------------------------------------------------------------------- the storm


def measure_storm(folder: Path, tasks: int, pace: float, every: float) -> bool:
    """Tasks over two APIs and three workers, one of which is killed every few seconds."""
    # A moment of waiting, so that those who are killed have something in hand.
    moment = "options = { seconds = 0.05 }"
    with postgres() as server, crew(server.create(), folder / "storm", moment) as group:
        for _ in range(2):
            group.serve()
        for _ in range(3):
            group.work(4)
        group.wait()
        storm = Storm(group, _SEED)
        before, began = ground.machine_seconds(), time.monotonic()
        asyncio.run(storm.run(_SUBMIT, tasks, pace, every))
        _wait_for_ends(group)
        cores = (ground.machine_seconds() - before) / (time.monotonic() - began)
        ends = _Ends.read(group, storm.accepted)
        waits, waiting = _waits(group), _most_waiting(group)
        again = _waits_again(group)
        deaths = group.query("select deaths, count(*) from tasks group by 1 order by 1")
    kills = storm.kills
    rows = [
        ("accepted", f"{len(storm.accepted):,} in {storm.seconds:,.0f} s"),
        ("processes killed", f"{kills['API']} APIs, {kills['worker']} workers"),
        ("requests that got no answer and went to the other API", _count_up(storm.broken)),
        ("made by a request that got no answer, and ended too", f"{ends.unasked}"),
        *((what, f"{number}") for what, number in ends.told()),
        ("workers that died of a task: tasks", _histogram(deaths)),
        ("from accept to a worker's start", _spread(waits)),
        ("accepted and not begun, at most", f"{waiting:,}"),
        ("from a run to the next one, where its worker died", _spread(again)),
        ("cores used, by everything on this machine", f"{cores:.2f} of {os.cpu_count()}"),
    ]
    title = f"two APIs, three workers, one of the five killed every {every:g} s"
    markdown(title, ("what", "measured"), rows)
    return verdict(
        f"of {len(storm.accepted):,} accepted tasks none lost, ended twice, failed or stuck",
        not any(number for _, number in ends.told()) and len(storm.accepted) == tasks,
    )


class _Ends(NamedTuple):
    """How those tasks ended that were accepted, and those of whom nobody was told."""

    lost: int
    twice: int
    unended: int
    stuck: int
    failed: int
    unfiled: int
    jobs: int
    unasked: int

    @classmethod
    def read(cls, group: Crew, accepted: list[str]) -> _Ends:
        rows = group.query(
            "select id, status, (select count(*) from events "
            "where task_id = id and what = any($1::text[])) as ends from tasks",
            _ENDED,
        )
        found = {row["id"]: row for row in rows}
        ended = [row for row in rows if row["status"] in _ENDED]
        files = {path.parent.name for path in (group.data / "files" / "tasks").glob("*/*")}
        return cls(
            lost=sum(id not in found for id in accepted) + len(accepted) - len(set(accepted)),
            twice=sum(row["ends"] > 1 for row in rows),
            unended=sum(row["ends"] < 1 for row in ended),
            stuck=len(rows) - len(ended),
            failed=sum(row["status"] == "failed" for row in rows),
            unfiled=sum(row["status"] == "succeeded" and row["id"] not in files for row in rows),
            jobs=_wait_for_jobs(group),
            unasked=len(found.keys() - set(accepted)),
        )

    def told(self) -> list[tuple[str, int]]:
        """What is to be nothing but zeros."""
        return [
            ("lost", self.lost),
            ("ended twice", self.twice),
            ("ended without an event that says so", self.unended),
            ("stuck", self.stuck),
            ("failed", self.failed),
            ("succeeded without a file", self.unfiled),
            ("jobs left in the queue", self.jobs),
        ]


def _wait_for_ends(group: Crew) -> None:
    """Wait until all tasks are at an end, or none came to one for long: then they are stuck."""
    left, until = -1, time.monotonic() + _END_SECONDS
    while left and time.monotonic() < until:
        now = group.query("select count(*) from tasks where status <> all($1::text[])", _ENDED)[0][
            0
        ]
        if now != left:
            left, until = now, time.monotonic() + _END_SECONDS
        progress(f"{left:,} tasks to end")
        time.sleep(0.5 if left else 0)


def _wait_for_jobs(group: Crew) -> int:
    """How many jobs are left; that of a worker which died at its end is dropped by another."""
    until = time.monotonic() + _JOB_SECONDS
    while True:
        left: int = group.query(_COUNT_JOBS)[0][0]
        if not left or time.monotonic() > until:
            return left
        progress(f"{left:,} jobs to be dropped")
        time.sleep(0.5)


def _waits(group: Crew) -> list[float]:
    """Of each task the milliseconds from its accept to its first run."""
    rows = group.query(
        "select (select min(at) from events where task_id = id and what = 'running') - created "
        "from tasks"
    )
    return [float(row[0]) for row in rows if row[0] is not None]


def _most_waiting(group: Crew) -> int:
    """How many tasks were accepted and not begun at the worst moment: a crowd, or a standstill."""
    rows = group.query(
        "select created as at, 1 as step from tasks union all "
        "select min(at), -1 from events where what = 'running' group by task_id order by at, step"
    )
    return max(accumulate(int(row["step"]) for row in rows))


def _waits_again(group: Crew) -> list[float]:
    rows = group.query(
        "select at - lag(at) over (partition by task_id order by number) "
        "from events where what = 'running'"
    )
    return [float(row[0]) for row in rows if row[0] is not None]


def _spread(values: list[float]) -> str:
    """Milliseconds in a few words."""
    middle, late = percentile(values, 50), percentile(values, 99)
    return (
        f"p50 {middle:,.0f} ms, p99 {late:,.0f} ms, most {max(values):,.0f} ms (of {len(values):,})"
        if values
        else "none"
    )


def _count_up(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {word}" for word, count in sorted(counts.items())) or "none"


def _histogram(rows: list[Any]) -> str:
    return ", ".join(f"{number}: {count:,}" for number, count in rows)


# -------------------------------------------------------------------------- PostgreSQL and SQLite


def measure_postgres(folder: Path, tasks: int, requests: int, accepts: int) -> bool:
    """One API process on PostgreSQL against a server on SQLite, in turns: status and accepts."""
    data = folder / "beside"
    with (
        postgres() as server,
        crew(server.create(), folder / "postgres") as group,
        ground.server(data, _WAITING) as lite,
    ):
        api = group.serve()
        group.wait()
        progress(f"filling both databases with {tasks:,} tasks")
        asyncio.run(filling.finish(group.url, group.key.id, tasks))
        ours = asyncio.run(filling.sample(group.url, 20_000))
        theirs = random.sample(ground.fill(data, lite.key.id, tasks), min(tasks, 20_000))
        heavy = group.server(api)
        rows = []
        for dialect in _DIALECTS:
            progress(f"status queries: {dialect}")
            rows.append(_compare_status(dialect, lite, theirs, heavy, ours, group.url, requests))
        pairs = _compare_accepts(lite, heavy, accepts)
    markdown(
        f"status queries of random ids among {tasks:,} ended tasks, 32 connections",
        ("query", "SQLite /s", "PostgreSQL /s", "ratio", "CPU µs on SQLite", "CPU µs of the API",
         "CPU µs of PostgreSQL", "p50 ms", "p99 ms"),
        [row.cells() for row in rows],
    )  # fmt: skip
    markdown(
        "accepting tasks",
        ("creates", "SQLite /s", "PostgreSQL /s", "ratio", "p50 ms SQLite", "p50 ms PostgreSQL",
         "p99 ms PostgreSQL"),
        [_accept_cells(name, *sides) for name, sides in pairs.items()],
    )  # fmt: skip
    least = min(row.ratio for row in rows)
    return verdict(f"status at least a third of the rate on SQLite ({least:.2f})", least >= 1 / 3)


class _Status(NamedTuple):
    """What was measured of one dialect on both databases: medians over the rounds."""

    name: str
    lite_rate: float
    rate: float
    ratio: float
    lite_cost: float
    cost: float
    database_cost: float
    p50: float
    p99: float

    def cells(self) -> tuple[str, ...]:
        costs = (f"{cost:.0f}" for cost in (self.lite_cost, self.cost, self.database_cost))
        return (self.name, f"{self.lite_rate:,.0f}", f"{self.rate:,.0f}", f"{self.ratio:.2f}",
                *costs, f"{self.p50:.2f}", f"{self.p99:.2f}")  # fmt: skip


def _compare_status(
    dialect: str,
    lite: Server,
    theirs: list[str],
    heavy: Server,
    ours: list[str],
    url: str,
    requests: int,
) -> _Status:
    seen: list[tuple[float, ...]] = []
    for _ in range(ROUNDS):
        wire = ground.status_requests(dialect, Kind.IMAGE, theirs, lite)
        base, base_cost = ground.costed(lite, wire, requests)
        wire = ground.status_requests(dialect, Kind.IMAGE, ours, heavy)
        before = postgres_seconds(url)
        result, cost = ground.costed(heavy, wire, requests)
        # The tenth that warmed it is among what the database did.
        database = (postgres_seconds(url) - before) / (requests + len(wire) // 10) * 1e6
        both = (base.rate, result.rate, result.rate / base.rate, base_cost, cost, database)
        seen.append((*both, result.percentile(50), result.percentile(99)))
    return _Status(dialect, *map(_median, map(list, zip(*seen, strict=True))))


_Pair = tuple[list[load.Result], list[load.Result]]


def _compare_accepts(lite: Server, heavy: Server, count: int) -> dict[str, _Pair]:
    found: dict[str, _Pair] = {"one after the other": ([], []), "32 connections": ([], [])}
    for side in (lite, heavy):
        load.run(side.port, _submit_wire(side), connections=4, count=200)  # warm
    for number in range(ROUNDS):
        for (name, sides), connections in zip(found.items(), (1, 32), strict=True):
            progress(f"accepts: {name}, round {number + 1}")
            for results, side in zip(sides, (lite, heavy), strict=True):
                results.append(_accept(side, connections, count))
    return found


def _accept(server: Server, connections: int, count: int) -> load.Result:
    # One after the other takes its time.
    number = count // 5 if connections == 1 else count
    result = load.run(server.port, _submit_wire(server), connections=connections, count=number)
    if result.refused:
        raise RuntimeError(f"{result.refused} creates were refused")
    return result


def _accept_cells(name: str, lite: list[load.Result], heavy: list[load.Result]) -> tuple[str, ...]:
    ratio = _median([h.rate / s.rate for s, h in zip(lite, heavy, strict=True)])
    rates = (f"{_median([one.rate for one in side]):,.0f}" for side in (lite, heavy))
    times = (median_of(lite, 50), median_of(heavy, 50), median_of(heavy, 99))
    return (name, *rates, f"{ratio:.2f}", *(f"{value:.2f}" for value in times))


# ----------------------------------------------------------------------------------- the draining


def measure_drain(folder: Path, tasks: int) -> bool:
    """How fast 1, 2 and 4 workers end the tasks that are there, all put there at one moment."""
    sizes = (1, 2, 4)
    seen: dict[int, list[_Drain]] = {size: [] for size in sizes}
    with postgres() as server:
        for number in range(ROUNDS):
            for size in sizes:
                here = folder / f"drain-{size}-{number}"
                with crew(server.create(), here) as group:
                    seen[size].append(_drain(group, size, tasks))
    one = _median([run.rate for run in seen[1]])
    rows = []
    for size in sizes:
        parts = list(map(_median, map(list, zip(*seen[size], strict=True))))
        rate, *cores, milliseconds = parts
        rows.append((f"{size}", f"{rate:,.0f}", f"{rate / size:,.0f}", f"{rate / one:.2f}",
                     *(f"{number:.2f}" for number in cores), f"{milliseconds:.1f}"))  # fmt: skip
    markdown(
        f"{tasks:,} tasks ended by workers, four at a time each, on {os.cpu_count()} cores",
        ("workers", "tasks/s", "for each", "ratio to one", "cores used by workers",
         "by PostgreSQL", "by everything here", "CPU ms a task, workers and PostgreSQL"),
        rows,
    )  # fmt: skip
    # Not the rates: on few cores more workers are no faster, and others use this machine too.
    ratio = _median(
        [
            four.milliseconds / one.milliseconds
            for one, four in zip(seen[1], seen[sizes[-1]], strict=True)
        ]
    )
    sentence = f"a task takes {sizes[-1]} workers at most half as much processor again as one"
    return verdict(f"{sentence} ({ratio:.2f})", ratio <= 1.5)


class _Drain(NamedTuple):
    rate: float
    worker_cores: float
    postgres_cores: float
    machine_cores: float
    milliseconds: float


def _drain(group: Crew, size: int, tasks: int) -> _Drain:
    for _ in range(size):
        group.work(4)
    group.wait()
    time.sleep(1)  # they have started, and look into an empty queue once
    before = _used(group)
    began = asyncio.run(filling.enqueue(group.url, group.key.id, _SUBMIT, "blank", tasks))
    _wait_for_ends(group)
    after = _used(group)
    ended, succeeded = group.query(
        "select max(finished), count(*) filter (where status = 'succeeded') from tasks"
    )[0]
    if succeeded != tasks:
        raise RuntimeError(f"{tasks - succeeded} tasks did not succeed")
    seconds = (ended - began) / 1000
    used = [after[side] - before[side] for side in range(3)]
    members, database, machine = (side / seconds for side in used)
    return _Drain(tasks / seconds, members, database, machine, (used[0] + used[1]) / tasks * 1000)


def _used(group: Crew) -> tuple[float, float, float]:
    """The processor time that the members, the database and the whole machine have used."""
    members = sum(one.cpu_seconds() for one in group.members)
    return members, postgres_seconds(group.url), ground.machine_seconds()


# ------------------------------------------------------------------------------------- the growth


def measure_growth(folder: Path, sizes: tuple[int, ...], requests: int, accepts: int) -> bool:
    """Status and accept where more and more finished tasks are in the table, in turns."""
    with postgres() as server, ExitStack() as stack:
        places = []
        for size in sizes:
            here = folder / f"growth-{size}"
            group = stack.enter_context(crew(server.create(), here))
            progress(f"filling a database with {size:,} tasks")
            asyncio.run(filling.finish(group.url, group.key.id, size))
            api = group.serve()
            group.wait()
            places.append((group, api, asyncio.run(filling.sample(group.url, 20_000))))
        seen = [_Grown.empty() for _ in sizes]
        for number in range(ROUNDS):
            for (group, api, ids), grown in zip(places, seen, strict=True):
                progress(f"status and accept, round {number + 1}, {group.data.parent.name}")
                _measure_one(group, api, ids, grown, requests, accepts)
    markdown(
        "status queries (TensorsLab) and creates with that many finished tasks",
        ("tasks", "status /s", "ratio", "p50 ms", "p99 ms", "accepts /s, 32", "ratio",
         "p50 ms, one by one", "ratio"),
        [grown.cells(size, seen[0]) for size, grown in zip(sizes, seen, strict=True)],
    )  # fmt: skip
    status, accept = seen[-1].ratios(seen[0])[:2]
    text = f"{sizes[-1]:,} tasks: status and accept at least 0.7 of {sizes[0]:,}'s rate"
    return verdict(f"{text} ({status:.2f}, {accept:.2f})", min(status, accept) >= 0.7)


class _Grown(NamedTuple):
    """The rounds with one number of tasks."""

    status: list[load.Result]
    many: list[load.Result]
    single: list[load.Result]

    @classmethod
    def empty(cls) -> _Grown:
        return cls([], [], [])

    def ratios(self, least: _Grown) -> tuple[float, float, float]:
        """To the smallest: of the rates, and of the time that a single create takes."""

        def ratio(ours: list[load.Result], base: list[load.Result], of: _Figure) -> float:
            return _median([of(one) / of(other) for one, other in zip(ours, base, strict=True)])

        return (
            ratio(self.status, least.status, _rate),
            ratio(self.many, least.many, _rate),
            ratio(self.single, least.single, _middle),
        )

    def cells(self, size: int, least: _Grown) -> tuple[str, ...]:
        status, many, single = (f"{ratio:.2f}" for ratio in self.ratios(least))
        return (
            f"{size:,}",
            *(f"{_median([_rate(one) for one in self.status]):,.0f}", status),
            *(f"{median_of(self.status, 50):.2f}", f"{median_of(self.status, 99):.2f}"),
            *(f"{_median([_rate(one) for one in self.many]):,.0f}", many),
            *(f"{median_of(self.single, 50):.2f}", single),
        )


_Figure = Callable[[load.Result], float]


def _rate(result: load.Result) -> float:
    return result.rate


def _middle(result: load.Result) -> float:
    return result.percentile(50)


def _measure_one(
    group: Crew, api: Member, ids: list[str], grown: _Grown, requests: int, accepts: int
) -> None:
    server = group.server(api)
    wire = ground.status_requests("tensorslab", Kind.IMAGE, ids, server)
    grown.status.append(ground.costed(server, wire, requests)[0])
    load.run(server.port, _submit_wire(server), connections=4, count=100)  # warm
    grown.many.append(_accept(server, 32, accepts))
    grown.single.append(_accept(server, 1, accepts))


# ------------------------------------------------------------------------------------ the wake-up


def measure_wake(folder: Path, tasks: int) -> bool:
    """From accept to start where nothing else goes on: a notice wakes a worker."""
    found: dict[str, list[float]] = {}
    with postgres() as server:
        for workers in (1, 3):
            with crew(server.create(), folder / f"wake-{workers}") as group:
                api = group.serve()
                for _ in range(workers):
                    group.work(4)
                group.wait()
                name = f"PostgreSQL, one API, workers: {workers}"
                found[name] = _wake(group.server(api), tasks, lambda group=group: _waits(group))  # type: ignore[misc]
    data = folder / "wake-lite"
    with ground.server(data) as lite:
        found["SQLite, one process"] = _wake(lite, tasks, lambda: _lite_waits(data))
    rows = [
        (name, f"{percentile(waits, 50):.0f}", f"{percentile(waits, 99):.0f}", f"{max(waits):.0f}")
        for name, waits in found.items()
    ]
    title = f"from accept to a worker's start, {tasks} tasks one at a time"
    markdown(title, ("idle system", "p50 ms", "p99 ms", "most ms"), rows)
    worst = max(percentile(waits, 50) for waits in found.values())
    return verdict(f"p50 under 50 ms ({worst:.0f})", worst < 50)


def _wake(server: Server, tasks: int, waits: Callable[[], list[float]]) -> list[float]:
    wire = _submit_wire(server)
    chance = random.Random(_SEED)
    load.run(server.port, wire, connections=1, count=1)  # warm
    time.sleep(3)
    for number in range(1, tasks + 1):
        # Long enough for the one before to end, and never in step with anything.
        time.sleep(chance.uniform(0.1, 0.3))
        load.run(server.port, wire, connections=1, count=1)
        progress(f"{number} of {tasks} tasks, one at a time")
    time.sleep(1)
    found = waits()
    if len(found) != tasks + 1:
        raise RuntimeError(f"{tasks + 1 - len(found)} tasks were not begun")
    return found[1:]  # the first one warms


def _lite_waits(data: Path) -> list[float]:
    connection = apsw.Connection(str(data / "safelight.db"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        rows = connection.execute("select started - created from tasks order by id").fetchall()
    finally:
        connection.close()
    return [float(row[0]) for row in rows if row[0] is not None]
