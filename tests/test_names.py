"""Names: resolved in a place of their own, with a bound on everything that waits there."""

from __future__ import annotations

import asyncio
import gc
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from doubles import until
from safelight.fetching import Fetcher
from safelight.names import Names
from safelight.server import loop


class Resolver:
    """The system's resolver, which says nothing of names in `.slow` until it is let go."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.go = threading.Event()
        self._numbers = socket.getaddrinfo

    def __call__(self, host: str, port: int, *more: Any) -> list[Any]:
        if more[-1] & socket.AI_NUMERICHOST:
            return self._numbers(host, port, *more)
        self.asked.append(host)
        if host.endswith(".slow"):
            self.go.wait(30)
        if host.startswith("none"):
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", port))]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    made = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", made)
    yield made
    made.go.set()


def stuck(names: Names, count: int) -> list[asyncio.Task[Any]]:
    """So many questions that nobody answers."""
    return [asyncio.create_task(names.look_up(f"{n}.slow", 80)) for n in range(count)]


async def test_one_callers_names_leave_places_for_those_of_others(resolver: Resolver) -> None:
    names = Names(at_once=8, seconds=0.3)
    his = [asyncio.create_task(names.look_up(f"{n}.slow", 80, who="his")) for n in range(20)]
    await until(lambda: len(resolver.asked) == 2)

    assert await names.look_up("a.example", 80, who="another")
    assert await names.look_up("b.example", 80)
    with pytest.raises(socket.gaierror, match="not resolved within"):
        await names.look_up("c.example", 80, who="his")

    assert resolver.asked == ["0.slow", "1.slow", "a.example", "b.example"]
    await let_go(resolver, his)
    await until(lambda: not threads())
    assert await names.look_up("d.example", 80, who="his")


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "name"]


async def let_go(resolver: Resolver, tasks: list[asyncio.Task[Any]]) -> None:
    resolver.go.set()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_name_is_resolved(resolver: Resolver) -> None:
    assert (await Names().look_up("a.test", 80))[0][4] == ("8.8.8.8", 80)
    with pytest.raises(socket.gaierror):
        await Names().look_up("none.test", 80)
    with pytest.raises(ValueError, match="label"):
        await Names().look_up("a..b", 80)


async def test_only_so_many_are_asked_for_at_once(resolver: Resolver) -> None:
    names = Names(at_once=3)
    tasks = stuck(names, 10)
    await until(lambda: len(resolver.asked) == 3)
    await asyncio.sleep(0.05)

    assert len(resolver.asked) == 3
    await let_go(resolver, tasks)
    assert len(resolver.asked) == 10


async def test_where_all_places_hang_everybody_is_told_in_time(resolver: Resolver) -> None:
    names = Names(at_once=2, seconds=0.2)
    tasks = stuck(names, 2)
    await until(lambda: len(resolver.asked) == 2)

    with pytest.raises(OSError, match=r"within 0\.2 seconds"):
        await names.look_up("a.test", 80)
    # A place is free when its thread is, and not when its caller has left.
    await asyncio.wait(tasks)
    with pytest.raises(OSError, match="within"):
        await names.look_up("b.test", 80)

    assert resolver.asked == ["0.slow", "1.slow"]
    await let_go(resolver, tasks)
    assert await names.look_up("c.test", 80)


async def test_who_does_not_wait_any_more_is_not_asked_for(resolver: Resolver) -> None:
    names = Names(at_once=1)
    tasks = stuck(names, 3)
    await until(lambda: resolver.asked)
    tasks[1].cancel()
    await let_go(resolver, tasks)

    assert resolver.asked == ["0.slow", "2.slow"]


async def test_more_than_so_many_do_not_wait(resolver: Resolver) -> None:
    names = Names(at_once=1, callers=2)
    tasks = stuck(names, 2)
    await until(lambda: resolver.asked)

    with pytest.raises(socket.gaierror, match="too many"):
        await names.look_up("a.test", 80)
    assert await names.look_up("127.0.0.1", 80)  # nobody needs to be asked for a number
    await let_go(resolver, tasks)
    assert await names.look_up("a.test", 80)


async def test_files_do_not_wait_for_names(resolver: Resolver) -> None:
    names = Names(at_once=100)
    tasks = stuck(names, 100)
    await until(lambda: len(resolver.asked) == 100)

    await asyncio.wait_for(asyncio.to_thread(gc.isenabled), 5)
    await let_go(resolver, tasks)


class Held:
    """What an exception holds on to."""


async def test_a_problem_does_not_outlive_its_answer(resolver: Resolver) -> None:
    gc.collect()
    gc.disable()
    try:
        try:
            await Names().look_up("none.test", 80)
        except OSError as problem:
            problem.strerror = held = Held()  # type: ignore[assignment]
        kept = weakref.ref(held)
        del held
        await until(lambda: kept() is None)  # the thread may still be on its way out
    finally:
        gc.enable()


async def test_one_deadline_holds_for_all_sources(resolver: Resolver) -> None:
    fetcher = Fetcher(1000, 5, check_seconds=0.4)
    began = time.monotonic()

    await fetcher.check([(f"http://{n}.slow/", f"source {n}") for n in range(16)])

    assert len(resolver.asked) == 16
    assert 0.3 < time.monotonic() - began < 4


HANGING = """
import asyncio, socket, time
ask = socket.getaddrinfo
def slow(host, *more):
    if not more[-1] & socket.AI_NUMERICHOST:
        time.sleep(30)
    return ask(host, *more)
socket.getaddrinfo = slow
from safelight.server.loop import run

async def main():
    try:
        async with asyncio.timeout(0.2):
            await asyncio.open_connection("slow.test", 80)
    except TimeoutError:
        print("told", flush=True)

run(main())
"""


def test_the_end_of_a_process_does_not_wait_for_a_name() -> None:
    began = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", HANGING], capture_output=True, timeout=60)

    assert (ended.returncode, ended.stdout) == (0, b"told\n"), ended.stderr
    assert time.monotonic() - began < 15


def test_the_loop_of_a_server_resolves_names_apart(resolver: Resolver) -> None:
    async def main() -> str:
        hanging = [
            asyncio.ensure_future(asyncio.get_running_loop().getaddrinfo(f"{n}.slow", 80))
            for n in range(20)
        ]
        await until(lambda: len(resolver.asked) == 20)
        done = await asyncio.wait_for(asyncio.to_thread(lambda: "done"), 5)
        resolver.go.set()
        await asyncio.gather(*hanging)
        return done

    assert loop.run(main()) == "done"
