"""Tasks in flight at another service: how late their ends are seen, and what that costs.

The other service is the fake provider, a process on this machine: it says when each task ended.
Beside what we measure stands what other rules would have done with the very same tasks, worked
out: asking for each every two seconds, and the rounds of the best-known gateway.
"""

from __future__ import annotations

import json
import math
import os
import random
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from benchmarks import ground, load
from benchmarks.crew import children, cpu_seconds, crew, postgres
from benchmarks.ground import Server
from benchmarks.report import markdown, percentile, progress, verdict
from safelight.task import ENDS, Kind, Submit

_DIALECT = (
    "aigptimage"  # what our callers speak; the service speaks its relative, which is asked once
)
_SERVICE = "kie"
_KEY = "BENCHMARK_SERVICE_KEY"
_PER_SECOND = 500
_CALLERS = 16
_ENDED = tuple(status.value for status in ENDS)
_SEED = 20261122
_FIXED_SECONDS = 2.0
_ROUND_SECONDS, _OLDEST = 15.0, 1000  # the gateway's
_WARM = 20  # tasks of a model before those that count
_LIMIT_MIB = 300
_PATIENCE_SECONDS = 120.0  # without anything new


# --------------------------------------------------------------------------------- how late it is


def measure_pace(folder: Path, tasks: int, longest: float) -> bool:
    """From an end there to our status: where no time can be foretold, and where it can."""
    one = {"drawn": _Times((0.0, 0.0), (5.0, longest))}
    with _place(folder / "blind", one) as place:
        blind = _fly(place, tasks, list(one))
    first = _tell(f"{tasks:,} tasks of one model that take 5 to {longest:g} s", blind)
    several = {f"model-{number:02}": times for number, times in enumerate(_spread(11, longest))}
    with _place(folder / "learned", several) as place:
        _fly(place, _WARM * len(several), list(several), "warm")
        learned = _fly(place, tasks, list(several))
    what = f"11 models that take 5 to {longest:g} s, each task its model's time +- 10 %"
    second = _tell(f"{tasks:,} tasks of {what}, after {_WARM} of each", learned)
    good = [
        verdict(f"one model: p95 from the end to our status under 2 s ({first.late:.2f})",
                first.late < 2),
        verdict(f"11 models: p95 from the end to our status under 2 s ({second.late:.2f})",
                second.late < 2),
        verdict(f"11 models: at most a third of the questions of asking every "
                f"{_FIXED_SECONDS:g} s ({second.share:.2f})", second.share <= 1 / 3),
    ]  # fmt: skip
    return all(good)


class _Times(NamedTuple):
    """From which seconds a model's time in the queue and its time of making are drawn, evenly."""

    queued: tuple[float, float]
    running: tuple[float, float]


def _spread(models: int, longest: float) -> Iterator[_Times]:
    """Models whose typical times lie evenly from 5 seconds to the longest.

    The sum of two even draws this wide has a standard deviation of a tenth of the typical time.
    """
    for number in range(models):
        typical = 5 + (longest - 5) * (number + 0.5) / models
        least, most = -0.1225 * typical, 0.1225 * typical
        queued, running = 0.15 * typical, 0.85 * typical
        yield _Times((queued + least, queued + most), (running + least, running + most))


class _Flight(NamedTuple):
    """A task as it went: at the service, and in our store. Times are seconds since 1970."""

    submitted: float
    ended: float
    seen: float
    asked: int

    @property
    def seconds(self) -> float:
        return self.ended - self.submitted


class _Seen(NamedTuple):
    """How late ends are seen by some rule, sorted, and how many questions that took for a task."""

    delays: list[float]
    asked: float

    def cells(self, name: str, base: float) -> tuple[str, ...]:
        late = (f"{percentile(self.delays, part):,.2f}" for part in (50, 95, 100))
        # Beside the questions each task takes a submission and a file, whatever the rule.
        return (name, *late, f"{self.asked:.2f}", f"{self.asked + 2:.2f}",
                f"{self.asked / base:.2f}")  # fmt: skip


class _Found(NamedTuple):
    late: float  # p95, in seconds
    share: float  # of the questions that fixed polling asks


def _tell(title: str, flights: Sequence[_Flight]) -> _Found:
    """Print a table of our tasks and of the other rules with the same ones."""
    base = sum(one.seconds for one in flights) / len(flights) / _FIXED_SECONDS
    ours = _Seen(
        sorted(one.seen - one.ended for one in flights),
        sum(one.asked for one in flights) / len(flights),
    )
    others = {
        f"each task every {_FIXED_SECONDS:g} s (worked out)": _ask_fixed(flights),
        "serial rounds, a task a second (worked out)": _ask_in_rounds(flights, 1.0),
        "serial rounds without the pause (worked out)": _ask_in_rounds(flights, 0.0),
    }
    markdown(
        f"{title}; {_most_at_once(flights):,} in flight at once",
        ("who asks", "end to status p50 s", "p95 s", "most s", "questions a task",
         "requests a task", "questions to every 2 s"),
        [ours.cells("Safelight", base), *(s.cells(name, base) for name, s in others.items())],
    )  # fmt: skip
    return _Found(percentile(ours.delays, 95), ours.asked / base)


def _most_at_once(flights: Sequence[_Flight]) -> int:
    """How many were at the service at the fullest moment."""
    steps = [(one.submitted, 1) for one in flights] + [(one.ended, -1) for one in flights]
    now = most = 0
    for _, step in sorted(steps):
        now += step
        most = max(most, now)
    return most


def _ask_fixed(flights: Sequence[_Flight]) -> _Seen:
    asked = [max(1, math.ceil(one.seconds / _FIXED_SECONDS)) for one in flights]
    delays = (
        number * _FIXED_SECONDS - one.seconds for number, one in zip(asked, flights, strict=True)
    )
    return _Seen(sorted(delays), sum(asked) / len(asked))


def _ask_in_rounds(flights: Sequence[_Flight], pause: float) -> _Seen:
    """The gateway: every 15 s the oldest 1000 that are not at an end, one after the other.

    A question takes no time here; the next round begins 15 s after the last question.
    """
    left = sorted(flights)
    now = left[0].submitted + random.Random(_SEED).uniform(0, _ROUND_SECONDS)
    delays: list[float] = []
    asked = 0
    while left:
        ended: set[int] = set()
        for number, one in enumerate(left[:_OLDEST]):
            if one.submitted > now - pause * number:  # not there when the round began
                break
            asked += 1
            if one.ended <= now:
                delays.append(now - one.ended)
                ended.add(number)
            now += pause
        left = [one for number, one in enumerate(left) if number not in ended]
        now += _ROUND_SECONDS
    return _Seen(sorted(delays), asked / len(flights))


# -------------------------------------------------------------------------------------- the ground


class _Place(NamedTuple):
    """A server, and the service that it has its tasks done at."""

    server: Server
    service: Server


@contextmanager
def _place(folder: Path, models: Mapping[str, _Times]) -> Iterator[_Place]:
    with (
        ground.fake(folder / "service", _SERVICE, _script(models)) as service,
        ground.server(folder / "data", f'[[models]]\nname = "*"\n{_model(service)}') as server,
    ):
        yield _Place(server, service)


def _script(models: Mapping[str, _Times]) -> str:
    """What the fake provider is to do."""
    rules = (
        f'[[tasks]]\nmatch = {{ model = "{name}" }}\n'
        f"queued = {list(times.queued)}\nrunning = {list(times.running)}\n"
        for name, times in models.items()
    )
    return f"seed = {_SEED}\n{''.join(rules)}"


def _model(service: Server, more: str = "") -> str:
    """The engine and options (TOML) of models that run at that service."""
    os.environ.setdefault(_KEY, "anything")  # the servers inherit it
    return (
        f'engine = "upstream"\noptions = {{ dialect = "{_SERVICE}", key = "env:{_KEY}", '
        f'url = "http://127.0.0.1:{service.port}", per_second = {_PER_SECOND}{more} }}\n'
    )


def _fly(place: _Place, tasks: int, models: Sequence[str], word: str = "task") -> list[_Flight]:
    """Submit so many tasks at once, of each model in turn, and see how they went."""
    prompts = [f"{word} {number}" for number in range(tasks)]
    _submit(place.server, prompts, models)
    rows = _wait_for_ends(place.server.data, frozenset(prompts))
    notes = {note["prompt"]: note for note in _ask(place.service, "tasks")}
    return [
        _Flight(note["submitted"], note["ended"], rows[prompt], note["queries"])
        for prompt, note in notes.items()
        if prompt in rows
    ]


def _submit(server: Server, prompts: Sequence[str], models: Sequence[str]) -> None:
    wire = [
        ground.prepare(
            _DIALECT,
            Submit(kind=Kind.IMAGE, model=models[number % len(models)], prompt=prompt),
            server,
        )
        for number, prompt in enumerate(prompts)
    ]
    result = load.run(server.port, wire, connections=_CALLERS, count=len(wire))
    if result.refused:
        raise RuntimeError(f"{result.refused} creates were refused")


def _wait_for_ends(data: Path, prompts: frozenset[str]) -> dict[str, float]:
    """When our store has each of those tasks at its end: by prompt, in seconds since 1970."""

    def look() -> list[Any]:
        rows = _look(data, "select submit, status, finished from tasks")
        return [(json.loads(submit)["prompt"], status, at) for submit, status, at in rows]

    def ended() -> int:
        return sum(prompt in prompts and status in _ENDED for prompt, status, _ in look())

    _wait_for(ended, len(prompts), "tasks ended")
    rows = [row for row in look() if row[0] in prompts]
    if unhappy := sum(status != "succeeded" for _, status, _ in rows):
        raise RuntimeError(f"{unhappy} tasks did not succeed")
    return {prompt: at / 1000 for prompt, _, at in rows}


def _wait_for(count: Callable[[], int], wanted: int, what: str) -> None:
    """Wait until there are so many. Raises where for long there are no more."""
    seen, until = -1, time.monotonic() + _PATIENCE_SECONDS
    while (now := count()) < wanted:
        if now != seen:
            seen, until = now, time.monotonic() + _PATIENCE_SECONDS
        if time.monotonic() > until:
            raise RuntimeError(f"only {now:,} of {wanted:,} {what}")
        progress(f"{now:,} of {wanted:,} {what}")
        time.sleep(1)


def _look(data: Path, sql: str) -> list[Any]:
    connection = apsw.Connection(str(data / "safelight.db"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        connection.set_busy_timeout(5000)
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def _ask(service: Server, what: str) -> Any:
    """What the fake provider tells of itself: its counts, or its tasks."""
    with urllib.request.urlopen(f"http://127.0.0.1:{service.port}/fake/{what}") as answer:
        return json.load(answer)


# --------------------------------------------------------------------------------- how many at once


def measure_crowd(folder: Path, tasks: int, seconds: float) -> bool:
    """The memory of one process with that many tasks in flight, on either database."""
    rows = [_crowd_on_sqlite(folder / "crowd", tasks, seconds)]
    with postgres() as server:
        rows.append(_crowd_on_postgres(folder / "crowd-pg", server.create(), tasks, seconds))
    markdown(
        f"memory of one process and its children with {tasks:,} tasks in flight",
        ("process", "at its start MiB", "all in flight MiB", f"{seconds:g} s later MiB",
         "most MiB", "s until all were in flight", "questions a second", "cores used"),
        [row.cells() for row in rows],
    )  # fmt: skip
    most = max(row.most for row in rows)
    return verdict(f"{tasks:,} in flight within {_LIMIT_MIB} MiB ({most:.0f})", most <= _LIMIT_MIB)


class _Crowd(NamedTuple):
    name: str
    at_start: float
    in_flight: float
    later: float
    most: float
    seconds: float
    questions: float
    cores: float

    def cells(self) -> tuple[str, ...]:
        sizes = (self.at_start, self.in_flight, self.later, self.most, self.seconds)
        return (self.name, *(f"{size:.0f}" for size in sizes), f"{self.questions:.0f}",
                f"{self.cores:.2f}")  # fmt: skip


_ENDLESS = '[[tasks]]\nresult = "never"\n'
# Asked for once a minute, as what takes long: it is the memory that is measured here.
_RARELY = ", fresh = 60"


def _crowd_on_sqlite(folder: Path, tasks: int, seconds: float) -> _Crowd:
    with (
        ground.fake(folder / "service", _SERVICE, _ENDLESS) as service,
        ground.server(
            folder / "data", f'[[models]]\nname = "*"\n{_model(service, _RARELY)}'
        ) as server,
    ):
        name = "serve, SQLite, callers included"
        return _crowd(name, server.process.pid, server, service, tasks, seconds)


def _crowd_on_postgres(folder: Path, url: str, tasks: int, seconds: float) -> _Crowd:
    with (
        ground.fake(folder / "service", _SERVICE, _ENDLESS) as service,
        crew(url, folder, model=_model(service, _RARELY)) as group,
    ):
        api, worker = group.serve(), group.work(4)
        group.wait()
        assert worker.process is not None
        target = group.server(api)
        found = _crowd("work, PostgreSQL", worker.process.pid, target, service, tasks, seconds)
        worker.kill()  # it would give back one task after the other, and nobody waits for them
        return found


def _crowd(
    name: str, pid: int, target: Server, service: Server, tasks: int, seconds: float
) -> _Crowd:
    at_start, began = _memory(pid, "VmRSS"), time.monotonic()
    _submit(target, [f"task {number}" for number in range(tasks)], ["endless"])
    _wait_for(lambda: int(_ask(service, "counts")["accepted"]), tasks, "tasks in flight")
    took, in_flight = time.monotonic() - began, _memory(pid, "VmRSS")
    asked, used, since = _questions(service), cpu_seconds(pid), time.monotonic()
    _pass(seconds)
    lasted = time.monotonic() - since
    return _Crowd(
        name,
        at_start,
        in_flight,
        _memory(pid, "VmRSS"),
        _memory(pid, "VmHWM"),
        took,
        (_questions(service) - asked) / lasted,
        (cpu_seconds(pid) - used) / lasted,
    )


def _pass(seconds: float) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        progress(f"{left:,.0f} s with all in flight")
        time.sleep(min(1, left))


def _questions(service: Server) -> int:
    return sum(_ask(service, "counts")["queries"].values())


def _family(pid: int) -> list[int]:
    """A process, its children and theirs."""
    return [pid, *(one for child in children(pid) for one in _family(child))]


def _memory(pid: int, field: str) -> float:
    """The memory of a process and of all below it, in MiB: VmRSS now, or VmHWM at the most."""
    return sum(_status(one, field) for one in _family(pid)) / 1024


def _status(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    return 0
