"""Safelight and its peers in turns: the same job, the same looks, one table.

What is claimed is worked out from what each keeps (`Kept`). Whoever keeps what was asked, the state
and each change with its time keeps as much as Safelight, once its job leaves the same file: the
result of a Safelight task is that file. The others are in the table too, and said to keep less.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from backends import PostgresServer
from benchmarks.crew import postgres
from benchmarks.peers.installing import NotInstalled
from benchmarks.peers.installing import version as version_in
from benchmarks.peers.standing import PEERS, Kept, Peer, ready, standing
from benchmarks.report import ROUNDS, console, markdown, progress, verdict
from benchmarks.turnaround import running

_ALL = frozenset({"asked", "state", "result", "changes", "file"})
AS_MUCH = _ALL - {"result"}  # for an image task that is its file
_ALONE_SECONDS = 5.0  # some take a tenth of a second a job
_OURS = Kept("task, change, job", _ALL, "as long as is set")


class _Figures(NamedTuple):
    """What one round saw; nothing of jobs without a file where there are none."""

    alone: float | None  # milliseconds
    alone_filed: float
    rate: float | None  # a second
    rate_filed: float
    looks: float


class Counts(NamedTuple):
    """How many jobs one after the other, how many together, and how many looks."""

    alone: int
    together: int
    looks: int


class Runner(NamedTuple):
    """One of those compared."""

    name: str
    front: str
    kept: Kept
    ours: bool
    measure: Callable[[Path], _Figures]


def measure_peers(folder: Path, alone: int, together: int, looks: int) -> bool:
    """All in turns, several rounds; what holds is told of the medians."""
    counts = Counts(alone, together, looks)
    with postgres() as databases:
        runners = [*_own(databases, counts), *_peers(databases, counts)]
        seen: dict[str, list[_Figures]] = {runner.name: [] for runner in runners}
        for number in range(ROUNDS):
            for place, runner in enumerate(runners):
                progress(f"round {number + 1} of {ROUNDS}: {runner.name}")
                here = folder / f"peers-{number}-{place}"
                here.mkdir(mode=0o700)
                seen[runner.name].append(runner.measure(here))
    medians = {name: _medians(figures) for name, figures in seen.items()}
    _show(runners, medians)
    return _judge(runners, medians)


def _own(databases: PostgresServer, counts: Counts) -> list[Runner]:
    def on(url: Callable[[], str | None]) -> Callable[[Path], _Figures]:
        def measure(folder: Path) -> _Figures:
            with running(folder, url()) as subject:
                one = subject.alone(counts.alone, _ALONE_SECONDS)
                rate, ids = subject.together(counts.together)
                return _Figures(None, one, None, rate, subject.looks(ids, counts.looks))

        return measure

    name = f"Safelight {version('safelight')}"
    return [
        Runner(f"{name} on SQLite", "its own", _OURS, True, on(lambda: None)),
        Runner(f"{name} on PostgreSQL", "its own", _OURS, True, on(databases.create)),
    ]


def _peers(databases: PostgresServer, counts: Counts) -> list[Runner]:
    """Those that can be installed here; the others are left out by name."""
    found = []
    for peer in PEERS:
        progress(f"installing {peer.name} for {peer.store}")
        try:
            python = ready(peer)
        except NotInstalled as problem:
            console.print(f"left out: {peer.name} on {peer.store}: {problem}", markup=False)
            continue
        name = f"{peer.name} {version_in(python, peer.package)} on {peer.store}"
        measure = _measure(peer, databases, counts)
        found.append(Runner(name, peer.front, peer.kept, False, measure))
    return found


def _measure(peer: Peer, databases: PostgresServer, counts: Counts) -> Callable[[Path], _Figures]:
    def measure(folder: Path) -> _Figures:
        with standing(peer, folder, databases) as there:
            bare = there.bare.alone(counts.alone, _ALONE_SECONDS)
            filed = there.filed.alone(counts.alone, _ALONE_SECONDS)
            rate, ids = there.bare.together(counts.together)
            rate_filed, more = there.filed.together(counts.together)
            _check_files(there.files, len(more))
            return _Figures(bare, filed, rate, rate_filed, there.bare.looks(ids, counts.looks))

    return measure


def _check_files(folder: Path, at_least: int) -> None:
    if (there := len(list(folder.iterdir()))) < at_least:
        raise RuntimeError(f"{at_least} jobs ended, and left {there} files")


def _medians(seen: list[_Figures]) -> _Figures:
    return _Figures(*(_median(values) for values in zip(*seen, strict=True)))  # type: ignore[arg-type]


def _median(values: tuple[float | None, ...]) -> float | None:
    there = [value for value in values if value is not None]
    return statistics.median(there) if there else None


def _show(runners: list[Runner], medians: dict[str, _Figures]) -> None:
    rows = []
    for runner in sorted(runners, key=lambda one: -medians[one.name].rate_filed):
        seen = medians[runner.name]
        kept = f"{runner.kept.words()}; {runner.kept.how_long}"
        cells = (_cell(seen.alone, ".1f"), _cell(seen.alone_filed, ".1f"), _cell(seen.rate, ",.0f"),
                 _cell(seen.rate_filed, ",.0f"), _cell(seen.looks, ",.0f"))  # fmt: skip
        rows.append((runner.name, runner.front, runner.kept.accepted, kept, *cells))
    markdown(
        f"jobs of no work at all, on {os.cpu_count()} cores; Safelight's each leave a file",
        ("who", "HTTP", "on disk when it says yes", "there when it has ended",
         "create to result, p50 ms", "with a file", "jobs/s", "each with a file", "looks/s"),
        rows,
    )  # fmt: skip


def _cell(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _judge(runners: list[Runner], medians: dict[str, _Figures]) -> bool:
    """Whether each of ours leads among those that keep as much; the rest is only told."""
    peers = [one for one in runners if not one.ours]
    equals = [one for one in peers if one.kept.ended | {"file"} >= AS_MUCH]
    best = max((medians[one.name].rate_filed for one in runners if one.ours), default=0)
    for one in peers:
        if one not in equals and (rate := medians[one.name].rate or 0) > best:
            lacks = ", ".join(sorted(_ALL - one.kept.ended))
            console.print(f"faster, and keeps less: {one.name}, {rate:,.0f}/s; lacks {lacks}")
    if not equals:
        return verdict("there is somebody to compare with", False)
    return all([_lead(one, equals, medians) for one in runners if one.ours])


def _lead(own: Runner, equals: list[Runner], medians: dict[str, _Figures]) -> bool:
    rate = medians[own.name].rate_filed
    others = {one.name: medians[one.name].rate_filed for one in equals}
    told = ", ".join(f"{name} {other:,.0f}" for name, other in others.items())
    return verdict(
        f"{own.name} leads in jobs/s among those that keep as much ({rate:,.0f}; {told})",
        rate > max(others.values()),
    )
