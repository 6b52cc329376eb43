"""Turns to ask another service: how many a second, whose is first, and who waits how long."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections import Counter
from itertools import pairwise

import pytest

from doubles import OpenStores
from safelight.store import Store, StoreUnavailable, scripts
from safelight.turns import Turns

SOON = 1.5  # seconds: time for a few writes on a busy machine


async def ask(turns: Turns, times: list[float], per_second: float, service: str = "kie") -> None:
    await turns.take(service, per_second)
    times.append(time.time())


async def taken(store: Store, service: str = "kie") -> int:
    """From when on turns are free, in microseconds."""
    return await store.write(scripts.take_turns(service, 0, 0))


async def test_all_processes_together_keep_the_rate(open_stores: OpenStores) -> None:
    several = [Turns(await open_stores()) for _ in range(2)]
    times: list[float] = []
    began = time.time()

    await asyncio.gather(*(ask(several[n % 2], times, 50) for n in range(60)))

    # No turn is taken early, so that after the n-th at least n - 1 intervals have passed.
    assert all(at >= began + n / 50 - 0.002 for n, at in enumerate(sorted(times)))
    assert time.time() - began < 59 / 50 + SOON  # and hardly any is left unused


async def test_a_process_that_waits_for_many_turns_does_not_write_for_each(
    open_stores: OpenStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await open_stores()
    write, writes = type(store).write, Counter[str]()

    async def counted(self: object, script: object) -> object:
        writes[getattr(script, "__name__", "")] += 1
        return await write(self, script)  # type: ignore[arg-type]

    monkeypatch.setattr(type(store), "write", counted)
    turns, times = Turns(store), list[float]()

    await asyncio.gather(*(ask(turns, times, 200) for _ in range(100)))

    assert writes["take_turns"] <= 3


async def test_no_more_turns_are_taken_than_are_waited_for(open_stores: OpenStores) -> None:
    store = await open_stores()
    turns, times = Turns(store), list[float]()

    await asyncio.gather(*(ask(turns, times, 10) for _ in range(3)))

    assert await taken(store) / 1e6 <= max(times) + 0.1 + 0.001


async def test_the_first_to_come_is_the_first_served(open_stores: OpenStores) -> None:
    turns, order = Turns(await open_stores()), list[int]()

    async def one(n: int) -> None:
        await turns.take("kie", 100)
        order.append(n)

    async with asyncio.TaskGroup() as group:
        for n in range(20):
            group.create_task(one(n))
            await asyncio.sleep(0)

    assert order == list(range(20))


async def test_a_turn_of_an_idle_service_is_now(open_stores: OpenStores) -> None:
    turns = Turns(await open_stores())
    for service in ("kie", "azure"):  # once in an hour each
        began = time.monotonic()
        await turns.take(service, 1 / 3600)
        assert time.monotonic() - began < SOON


async def test_nobody_sleeps_longer_than_to_the_turn(open_stores: OpenStores) -> None:
    store = await open_stores()
    turns, times = Turns(store), list[float]()
    began = time.time()
    # Another process has taken what is left of this half second.
    await store.write(scripts.take_turns("kie", int(began * 1e6), 500_000))

    await ask(turns, times, 0.01)

    assert began + 0.5 - 0.002 <= times[0] < began + 0.5 + SOON


async def test_who_goes_away_holds_nobody_up(open_stores: OpenStores) -> None:
    turns, times = Turns(await open_stores()), list[float]()
    await turns.take("kie", 5)
    began = time.time()
    waiting = [asyncio.create_task(ask(turns, times, 5)) for _ in range(4)]
    await asyncio.sleep(0.02)
    for one in waiting[:3]:
        one.cancel()
    await asyncio.wait(waiting)

    assert len(times) == 1
    assert times[0] < began + 4 / 5 + SOON


async def test_a_database_that_is_away_is_told_and_holds_up_nobody_after(
    open_stores: OpenStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await open_stores()
    turns = Turns(store)

    async def away(self: object, script: object) -> object:
        raise StoreUnavailable("away")

    with monkeypatch.context() as broken:
        broken.setattr(type(store), "write", away)
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await turns.take("kie", 10)

    async with asyncio.timeout(5):
        await turns.take("kie", 10)


async def test_a_clock_that_was_ahead_for_a_moment_holds_nobody_up(
    open_stores: OpenStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead, right = Turns(await open_stores()), Turns(await open_stores())
    now, now_ns = time.time, time.time_ns
    with monkeypatch.context() as wrong:
        wrong.setattr("time.time", lambda: now() + 3600)
        wrong.setattr("time.time_ns", lambda: now_ns() + 3600 * 10**9)
        async with asyncio.timeout(SOON):
            await ahead.take("kie", 10)

    async with asyncio.timeout(SOON):
        await right.take("kie", 10)
        await ahead.take("kie", 10)


async def test_each_caller_keeps_its_own_rate(open_stores: OpenStores) -> None:
    """Models of one service may have rates of their own: the first to ask is not all of them."""
    turns, times = Turns(await open_stores()), list[tuple[float, float]]()

    async def take(per_second: float) -> None:
        await turns.take("kie", per_second)
        times.append((time.monotonic(), per_second))

    await asyncio.gather(*(take(rate) for rate in (1000, 4, 4, 1000, 4, 1000)))

    assert [rate for _, rate in times] == [1000, 4, 4, 1000, 4, 1000]
    for (at, rate), (following, _) in pairwise(times):
        assert following - at > 1 / rate - 0.05
    assert times[-1][0] - times[0][0] < 3 / 4 + SOON


async def test_what_is_urgent_keeps_its_own_rate(open_stores: OpenStores) -> None:
    turns, times = Turns(await open_stores()), list[float]()
    waiting = [asyncio.create_task(ask(turns, [], 20)) for _ in range(20)]
    await asyncio.sleep(0.1)

    await turns.take("kie", 2, urgent=True)
    times.append(time.monotonic())
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    done = sum(one.done() for one in waiting)
    while sum(one.done() for one in waiting) == done:  # noqa: ASYNC110
        await asyncio.sleep(0.002)
    times.append(time.monotonic())
    for one in waiting:
        one.cancel()
    await asyncio.wait(waiting)

    assert times[1] - times[0] > 1 / 2 - 0.05


async def test_a_refusal_holds_nothing_of_who_asked(
    open_stores: OpenStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await open_stores()
    turns = Turns(store)

    async def away(self: object, script: object) -> object:
        raise StoreUnavailable("away")

    class Held:
        pass

    async def refused() -> weakref.ref[Held]:
        held = Held()
        with pytest.raises(StoreUnavailable):
            await turns.take("kie", 10)
        return weakref.ref(held)

    monkeypatch.setattr(type(store), "write", away)
    gc.collect()
    gc.disable()
    try:
        held = await asyncio.create_task(refused())
        await asyncio.sleep(0)
        assert held() is None
    finally:
        gc.enable()


async def test_what_is_urgent_comes_first(open_stores: OpenStores) -> None:
    turns, order = Turns(await open_stores()), list[str]()

    async def take(name: str, urgent: bool) -> None:
        await turns.take("kie", 50, urgent)
        order.append(name)

    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(take(f"question {number}", False))
        await asyncio.sleep(0.1)
        group.create_task(take("submission", True))

    assert 0 < order.index("submission") < 15
    order.remove("submission")
    assert order == [f"question {number}" for number in range(20)]


async def test_who_goes_away_takes_no_turn(open_stores: OpenStores) -> None:
    turns, times = Turns(await open_stores()), list[float]()
    several = [asyncio.create_task(ask(turns, times, 20)) for _ in range(6)]
    await asyncio.sleep(0)
    for task in several[1:5]:
        task.cancel()

    await asyncio.wait(several)

    assert len(times) == 2
    assert times[1] - times[0] < 3 / 20 + SOON


@pytest.mark.parametrize("moments", range(8))
async def test_who_goes_away_while_turns_are_taken_stops_nobody(
    open_stores: OpenStores, moments: int
) -> None:
    turns = Turns(await open_stores())
    first, second = (asyncio.create_task(turns.take("kie", 1000)) for _ in range(2))
    for _ in range(moments):
        await asyncio.sleep(0)

    first.cancel()

    async with asyncio.timeout(5):
        await second
