"""Counts: made once for all who ask, kept for a while, and never kept when they failed."""

from __future__ import annotations

import asyncio

import pytest

from safelight.counts import Counts


class Counting:
    """Something to count, that takes as long as one lets it, and a clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.asked = 0
        self.going_on = asyncio.Event()
        self.problem: Exception | None = None

    async def count(self) -> int:
        self.asked += 1
        await self.going_on.wait()
        if self.problem is not None:
            raise self.problem
        return self.asked


@pytest.fixture
async def counting() -> Counting:
    return Counting()


def counts_of(counting: Counting, most: int = 10) -> Counts[int]:
    return Counts(5, most, clock=lambda: counting.now)


async def test_one_count_is_for_all_who_ask_meanwhile(counting: Counting) -> None:
    counts = counts_of(counting)
    asking = [asyncio.create_task(counts.get("a", counting.count)) for _ in range(20)]
    await asyncio.sleep(0)
    counting.now = 1000  # however long it takes
    asking.append(asyncio.create_task(counts.get("a", counting.count)))
    await asyncio.sleep(0)
    counting.going_on.set()

    assert await asyncio.gather(*asking) == [1] * 21


async def test_a_count_is_kept_for_some_seconds_and_by_what_is_counted(counting: Counting) -> None:
    counting.going_on.set()
    counts = counts_of(counting)

    assert [await counts.get(what, counting.count) for what in "aab"] == [1, 1, 2]
    counting.now = 5
    assert await counts.get("a", counting.count) == 1
    counting.now = 5.1
    assert [await counts.get(what, counting.count) for what in "aab"] == [3, 3, 4]


async def test_a_count_that_fails_is_told_to_all_and_not_kept(counting: Counting) -> None:
    counts = counts_of(counting)
    counting.problem = OSError("no disk")
    asking = [asyncio.create_task(counts.get("a", counting.count)) for _ in range(3)]
    await asyncio.sleep(0)
    counting.going_on.set()

    told = await asyncio.gather(*asking, return_exceptions=True)
    assert [str(one) for one in told] == ["no disk"] * 3
    counting.problem = None
    assert await counts.get("a", counting.count) == 2


async def test_who_goes_away_takes_no_count_along(counting: Counting) -> None:
    counts = counts_of(counting)
    first, second = (asyncio.create_task(counts.get("a", counting.count)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    counting.going_on.set()

    assert await second == 1


async def test_only_so_many_are_kept(counting: Counting) -> None:
    counting.going_on.set()
    counts = counts_of(counting, most=2)

    assert [await counts.get(what, counting.count) for what in "abcbca"] == [1, 2, 3, 2, 3, 4]
