"""Attacks on a server beside an honest caller: what they cost him, and what memory they take.

The attacks are carried out one after the other and then all together, by a process of its own. The
server is one as it comes, on SQLite; one that takes more memory than the machine can spare is
killed, and the rest of the siege goes on against a new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks import attacker, ground
from benchmarks.attacker import Attack, Outcome, Target
from benchmarks.attacks import ATTACKS, MODEL, TENSORSLAB_MODELS
from benchmarks.caller import WHAT, Caller, Stay
from benchmarks.ground import Server
from benchmarks.report import console, markdown, percentile, progress, verdict

_MOST_TIMES = 10
_MOST_MIB = 400
_GUARD_MIB = 3072
_PROGRAM = "benchmarks.with_slow_names"
_WARM_SECONDS, _LEAST_QUIET_SECONDS = 3.0, 10.0
_LOOK_SECONDS = 0.02
_SETTLED_SECONDS = 0.3  # the server answers at once again, where nobody waits for longer
_SETTLE_SECONDS = 150.0
_LAST_SHARES = 6  # of the time: for all attacks at once
# What the attacker is accepted for costs engines nothing, and one of many places for a moment: it
# is waiting for an answer that is measured here, and not for a processor to draw on.
_RULES = "".join(
    f'[[models]]\nname = "{name}"\nengine = "blank"\n' for name in (MODEL, *TENSORSLAB_MODELS)
)
_SETTINGS = f'concurrency = 16\n{_RULES}[[models]]\nname = "*"\nengine = "sketch"\n'


def measure_siege(folder: Path, seconds: float) -> bool:
    """So many seconds of attacks, and how an honest caller fares beside them."""
    left = list(ATTACKS)
    share = seconds / (len(left) - 1 + _LAST_SHARES)
    rest = max(_LEAST_QUIET_SECONDS, seconds / 5)
    phases: list[_Phase] = []
    # Not forked: the threads of a process that is do not come along.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, initializer=attacker.settle) as hands:
        with ground.server(folder / "alone", _SETTINGS, _PROGRAM) as server:
            alone = asyncio.run(_watch_quiet(server, hands, rest, 0))
        while left:
            with ground.server(folder / f"siege-{len(left)}", _SETTINGS, _PROGRAM) as server:
                target = Target(server.port, ground.make_key(server.data))
                phases += asyncio.run(_besiege(server, target, hands, left, share))
            left = list(ATTACKS)[len(phases) :]
        used = sum(one.outcome.cpu_seconds for one in phases)
        cores = used / sum(one.outcome.seconds for one in phases)
        with ground.server(folder / "beside", _SETTINGS, _PROGRAM) as server:
            beside = asyncio.run(_watch_quiet(server, hands, rest, cores))
    besieged = Stay.together(one.stay for one in phases)
    _tell_attacks(phases)
    _tell_caller(
        {
            "on his own": alone,
            f"beside {cores:.2f} of a core of harmless work": beside,
            "besieged": besieged,
        }
    )
    return _judge(phases, beside, besieged)


# -------------------------------------------------------------------------------- what is measured


class _Phase(NamedTuple):
    """An attack and what came of it; memory is the server's, in MiB."""

    attack: Attack
    outcome: Outcome
    memory: float
    peak: float
    end: str  # what became of the server, where it did not outlive the attack
    stay: Stay

    def cells(self) -> tuple[str, ...]:
        answers = Counter(self.outcome.answers)
        told = ", ".join(f"{count:,} {word}" for word, count in answers.most_common())
        after = self.end or f"{self.memory:,.0f}"
        waits = (max(some, default=0.0) for some in (self.stay.seconds(), self.stay.tasks))
        name = f"{self.attack.name}: {self.attack.sentence}"
        return (name, f"{answers.total():,}", told, after, f"{self.peak:,.0f}",
                *(f"{wait:,.2f}" for wait in waits), f"{len(self.stay.failures):,}")  # fmt: skip


class _Watch:
    """Looks at a server's memory all the while, and kills it where that endangers the machine."""

    def __init__(self, server: Server) -> None:
        self.memory = self.peak = 0.0
        self.end = ""
        self._server = server

    async def run(self) -> None:
        while not self.end:
            self._look()
            await asyncio.sleep(_LOOK_SECONDS)

    def begin(self) -> None:
        """Let the peak begin anew."""
        with contextlib.suppress(OSError):
            self._server.forget_peak()
        self._look()

    def _look(self) -> None:
        if self._server.process.poll() is not None:
            self.end = self.end or "died"
            return
        with contextlib.suppress(OSError, LookupError, StopIteration):  # as a process ends
            self.memory, self.peak = self._server.memory(), self._server.peak_memory()
        if self.memory > _GUARD_MIB:
            self._server.process.kill()
            self.end = f"killed at {self.memory:,.0f}"


class _Siege:
    """A server that is attacked, and the caller beside it."""

    def __init__(self, server: Server, target: Target, caller: Caller, hands: Executor) -> None:
        self.watch = _Watch(server)
        self._target = target
        self._caller = caller
        self._hands = hands

    async def suffer(self, attack: Attack, seconds: float) -> _Phase:
        """One attack, until the server answers as before or is no more."""
        progress(f"{attack.name}: {attack.sentence}")
        loop = asyncio.get_running_loop()
        self.watch.begin()
        order = (attack, self._target, seconds)
        outcome = await loop.run_in_executor(self._hands, attacker.carry_out, *order)
        await self._settle()
        stay = self._caller.take()
        return _Phase(attack, outcome, self.watch.memory, self.watch.peak, self.watch.end, stay)

    async def _settle(self) -> None:
        """Wait until the caller waits for nothing that was due a while ago."""
        until = asyncio.get_running_loop().time() + _SETTLE_SECONDS
        while self._caller.behind() > _SETTLED_SECONDS and not self.watch.end:
            if asyncio.get_running_loop().time() > until:
                return
            await asyncio.sleep(_LOOK_SECONDS)
        await asyncio.sleep(_SETTLED_SECONDS)  # for what is under way


async def _besiege(
    server: Server, target: Target, hands: Executor, left: Sequence[Attack], share: float
) -> list[_Phase]:
    """The attacks in their order, as far as the server lives; of the time each has a share."""
    phases: list[_Phase] = []
    async with _visit(server) as caller:
        siege = _Siege(server, target, caller, hands)
        watching = asyncio.create_task(siege.watch.run())
        for attack in left:
            shares = _LAST_SHARES if attack is left[-1] else 1
            phases.append(await siege.suffer(attack, share * shares))
            if siege.watch.end:
                break
        siege.watch.end = siege.watch.end or "done"
        await watching
    return phases


async def _watch_quiet(server: Server, hands: Executor, seconds: float, cores: float) -> Stay:
    """The caller on a server that nobody attacks, while the attacker keeps `cores` busy."""
    loop = asyncio.get_running_loop()
    async with _visit(server) as caller:
        progress(f"{seconds:g} s of quiet")
        await loop.run_in_executor(hands, attacker.stay_busy, cores, seconds)
        return caller.take()


@asynccontextmanager
async def _visit(server: Server) -> AsyncIterator[Caller]:
    """An honest caller who has begun."""
    caller = Caller(server)
    visit = asyncio.create_task(caller.run())
    await asyncio.sleep(_WARM_SECONDS)
    caller.take()
    try:
        yield caller
    finally:
        visit.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await visit


# ------------------------------------------------------------------------------------ what is told


def _tell_attacks(phases: Sequence[_Phase]) -> None:
    markdown(
        "attacks, one after the other on one server",
        ("attack", "requests", "answered", "MiB after it", "MiB at most", "his longest wait s",
         "his slowest task s", "his failures"),
        [one.cells() for one in phases],
    )  # fmt: skip


def _tell_caller(stays: Mapping[str, Stay]) -> None:
    rows = []
    for name, stay in stays.items():
        rows.append((name, "all requests", *_spread(stay.seconds())))
        rows += [(name, what, *_spread(stay.seconds(what))) for what in WHAT]
        rows.append((name, "a task, from create to end", *_spread(stay.tasks)))
    title = "the honest caller, each request from the moment it was due"
    markdown(title, ("when", "what", "number", "p50 ms", "p99 ms", "most ms"), rows)
    for name, stay in stays.items():
        failures = Counter(stay.failures).most_common()
        why = ", ".join(f"{count:,} {text}" for text, count in failures) or "none"
        come = f"; told to come back {stay.returns:,} times" if stay.returns else ""
        console.print(f"{name}: {len(stay.tasks):,} tasks succeeded{come}; failures: {why}")


def _spread(seconds: Sequence[float]) -> tuple[str, ...]:
    parts = (f"{percentile(seconds, part) * 1000:,.1f}" for part in (50, 99, 100))
    return (f"{len(seconds):,}", *parts)


def _judge(phases: Sequence[_Phase], quiet: Stay, besieged: Stay) -> bool:
    usual, late = (percentile(one.seconds(), 99) * 1000 for one in (quiet, besieged))
    most = max(one.peak for one in phases)
    lost = [one.attack.name for one in phases if one.end]
    failures = len(besieged.failures)
    good = [
        verdict(
            f"the caller's p99 under {_MOST_TIMES} times its quiet value "
            f"({late:,.1f} ms to {usual:,.1f} ms: {late / usual:,.1f})",
            late < _MOST_TIMES * usual,
        ),
        verdict(f"memory under {_MOST_MIB} MiB ({most:,.0f})", most < _MOST_MIB),
        verdict(f"nothing of his failed ({failures:,})", not failures),
        verdict(f"the server outlived every attack ({', '.join(lost) or 'it did'})", not lost),
    ]
    return all(good)
