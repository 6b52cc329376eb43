"""The queue in memory: what it hands out, how many at a time, and how it is told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from doubles import until
from safelight.queue import Lane, Leave
from safelight.queue.memory import MemoryQueue


def sketch(places: int) -> Lane:
    return Lane(("sketch",), places)


ONE = [sketch(1)]


class Work:
    """Records what was handed out, and for which engine; `gate` lets it end."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.engines: dict[str, str] = {}
        self.at_once = 0
        self.most_at_once = 0
        self.gate = asyncio.Event()

    async def __call__(self, task_id: str, engine: str, leave: Leave) -> bool:
        self.began.append(task_id)
        self.engines[task_id] = engine
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await self.gate.wait()
        self.at_once -= 1
        return True


@pytest.fixture
async def work() -> Work:
    return Work()


@asynccontextmanager
async def running(
    queue: MemoryQueue, work: Work, *lanes: Lane
) -> AsyncIterator[asyncio.Task[None]]:
    run = asyncio.create_task(queue.run(work, lanes))
    try:
        yield run
    finally:
        queue.stop()
        work.gate.set()
        await asyncio.wait_for(run, 5)


async def test_what_was_put_before_and_after_is_handed_out(work: Work) -> None:
    queue = MemoryQueue()
    await queue.put("a", "sketch")
    work.gate.set()
    async with running(queue, work, sketch(2)):
        await until(lambda: work.began == ["a"])
        await queue.put("b", "sketch")
        await until(lambda: work.began == ["a", "b"])


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_no_more_at_once_than_are_told(work: Work, concurrency: int) -> None:
    queue = MemoryQueue()
    for n in range(8):
        await queue.put(str(n), "sketch")
    async with running(queue, work, sketch(concurrency)):
        await until(lambda: len(work.began) == concurrency)
        await asyncio.sleep(0.02)  # were there more, they would have begun
        assert len(work.began) == concurrency
        assert not queue.holds("0")
        assert queue.holds("7")
        work.gate.set()
        await until(lambda: len(work.began) == 8)
    assert work.most_at_once == concurrency


async def test_the_first_in_is_the_first_out_and_a_higher_priority_before_it(work: Work) -> None:
    queue = MemoryQueue()
    for name in "abc":
        await queue.put(name, "sketch")
    await queue.put("urgent", "sketch", priority=5)
    work.gate.set()
    async with running(queue, work, *ONE):
        await until(lambda: len(work.began) == 4)
    assert work.began == ["urgent", "a", "b", "c"]


async def test_what_waits_already_is_not_put_twice(work: Work) -> None:
    queue = MemoryQueue()
    assert await queue.put("a", "sketch")
    assert await queue.put("a", "sketch")
    work.gate.set()
    async with running(queue, work, sketch(2)):
        await until(lambda: work.began)
        await queue.put("b", "sketch")
        await until(lambda: "b" in work.began)
    assert work.began == ["a", "b"]


async def test_what_was_handed_out_may_be_put_again(work: Work) -> None:
    queue = MemoryQueue()
    await queue.put("a", "sketch")
    work.gate.set()
    async with running(queue, work, *ONE):
        await until(lambda: work.began == ["a"])
        await queue.put("a", "sketch")
        await until(lambda: work.began == ["a", "a"])


async def test_a_full_queue_leaves_out_and_wants_again_when_there_is_room(work: Work) -> None:
    queue = MemoryQueue(capacity=4)
    taken = [await queue.put(str(n), "sketch") for n in range(6)]
    assert taken == [True] * 4 + [False] * 2

    async with running(queue, work, *ONE):
        await until(lambda: work.began)
        # There is room for one, and those left out come first.
        assert not await queue.put("late", "sketch")
        assert not queue.wanting.is_set()
        work.gate.set()
        await asyncio.wait_for(queue.wanting.wait(), 5)
        queue.refill()
        assert not queue.wanting.is_set()
        assert await queue.put("4", "sketch")
        await until(lambda: "4" in work.began)


# --------------------------------------------------------------------------------------- lanes


async def test_an_engine_with_places_of_its_own_is_not_held_up(work: Work) -> None:
    queue = MemoryQueue()
    for n in range(4):
        await queue.put(f"long {n}", "slow")
    for n in range(3):
        await queue.put(f"short {n}", "sketch")
    async with running(queue, work, Lane(("slow",), 2), sketch(3)):
        await until(lambda: len(work.began) == 5)
        await queue.put("late", "slow")
        await asyncio.sleep(0.02)  # were there more, they would have begun
        assert sorted(work.began) == ["long 0", "long 1", "short 0", "short 1", "short 2"]
        assert work.engines["long 0"] == "slow"
        assert work.engines["short 0"] == "sketch"
        work.gate.set()
        await until(lambda: len(work.began) == 8)
    assert work.most_at_once == 5


async def test_engines_of_one_lane_share_its_places_in_their_order(work: Work) -> None:
    queue = MemoryQueue()
    for n in range(6):
        await queue.put(str(n), "sketch" if n % 2 else "enhance")
    async with running(queue, work, Lane(("enhance", "sketch"), 2)):
        await until(lambda: len(work.began) == 2)
        await asyncio.sleep(0.02)  # were there more, they would have begun
        assert work.began == ["0", "1"]
        work.gate.set()
        await until(lambda: len(work.began) == 6)
    assert work.most_at_once == 2
    assert work.began == [str(n) for n in range(6)]


async def test_a_place_that_is_left_early_is_anothers(work: Work) -> None:
    queue, left = MemoryQueue(), 0

    async def leaves(task_id: str, engine: str, leave: Leave) -> bool:
        nonlocal left
        if task_id < "2":
            leave()
            left += 1
        return await work(task_id, engine, leave)

    for n in range(4):
        await queue.put(str(n), "sketch")
    run = asyncio.create_task(queue.run(leaves, ONE))
    await until(lambda: len(work.began) == 3)  # two that have left, and one that has not
    await asyncio.sleep(0.02)  # were there more, they would have begun
    assert (work.began, left) == (["0", "1", "2"], 2)
    work.gate.set()  # who has left and then ends gives no second place
    await until(lambda: len(work.began) == 4)
    queue.stop()
    await asyncio.wait_for(run, 5)


async def test_an_engine_without_a_lane_is_not_run(work: Work) -> None:
    queue = MemoryQueue()
    await queue.put("a", "another's")
    await queue.put("b", "sketch")
    work.gate.set()
    async with running(queue, work, *ONE):
        await until(lambda: work.began == ["b"])
        assert queue.holds("a")


async def test_what_one_engine_leaves_out_leaves_out_no_other(work: Work) -> None:
    queue = MemoryQueue(capacity=2)
    slow = [await queue.put(f"long {n}", "slow") for n in range(3)]
    others = [await queue.put(str(n), "sketch") for n in range(2)]
    assert slow == [True, True, False]
    assert others == [True, True]

    async with running(queue, work, Lane(("slow",), 0), sketch(2)):
        await until(lambda: len(work.began) == 2)
        assert await queue.put("2", "sketch")
        assert not queue.wanting.is_set()  # none of its tasks was left out
        assert not await queue.put("late", "slow")


async def test_stop_waits_for_the_last_and_leaves_the_others(work: Work) -> None:
    queue = MemoryQueue()
    for n in range(5):
        await queue.put(str(n), "sketch")
    run = asyncio.create_task(queue.run(work, ONE))
    await until(lambda: work.began)
    queue.stop()
    done, _ = await asyncio.wait([run], timeout=0.05)
    assert not done

    work.gate.set()
    await asyncio.wait_for(run, 5)

    assert work.began == ["0"]
    assert work.at_once == 0


async def test_a_queue_that_was_stopped_before_it_ran_hands_out_nothing(work: Work) -> None:
    queue = MemoryQueue()
    await queue.put("a", "sketch")
    queue.stop()

    await asyncio.wait_for(queue.run(work, ONE), 5)

    assert work.began == []


async def test_work_that_raises_does_not_stop_the_queue() -> None:
    seen: list[str] = []

    async def work(task_id: str, engine: str, leave: Leave) -> bool:
        seen.append(task_id)
        if task_id == "bad":
            raise RuntimeError("this one")
        return True

    queue = MemoryQueue()
    await queue.put("bad", "sketch")
    await queue.put("good", "sketch")
    run = asyncio.create_task(queue.run(work, ONE))
    await until(lambda: seen == ["bad", "good"])
    queue.stop()
    await asyncio.wait_for(run, 5)


async def test_thousands_pass_without_leaving_anything_behind(work: Work) -> None:
    queue = MemoryQueue()
    work.gate.set()
    async with running(queue, work, sketch(4)):
        for n in range(1000):
            assert await queue.put(str(n), "sketch")
        await until(lambda: len(work.began) == 1000)
    assert not any(queue.holds(str(n)) for n in range(1000))
    assert not any(queue._waiting.values())
    assert not any(queue._held.values())
