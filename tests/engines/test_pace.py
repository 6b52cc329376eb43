"""The pace: few questions while nothing would be at its end, many where most are.

The simulations learn what the engine learns: when an end was seen, and the question before it,
and not when it was.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.engines.kit.pace import Pace

LEAST = 0.9  # what jitter leaves of a pause
ENOUGH = 8  # ends before they are believed

seconds = st.floats(0.01, 7200)
ends = st.lists(seconds, max_size=60)
learned = st.lists(seconds, min_size=ENOUGH, max_size=60)
ages = st.floats(0, 20_000)
fresh = st.floats(0.1, 30)


def pace_of(ends: list[float], fresh: float = 1.9) -> Pace:
    pace = Pace(fresh, random.Random(7).uniform)
    for end in ends:
        pace.learn(end)
    return pace


def questions(pace: Pace, until: float) -> list[float]:
    """The ages at which a task is asked for that ends at that age; the last one sees it."""
    asked: list[float] = []
    age = 0.0
    while not asked or age < until:
        age += pace.next(age, len(asked))
        asked.append(age)
    return asked


# ---------------------------------------------------------------------------------- properties


@given(ends, ages, st.integers(0, 100_000), fresh)
def test_a_pause_is_never_negative_nor_without_bounds(
    ends: list[float], age: float, asked: int, fresh: float
) -> None:
    pause = pace_of(ends, fresh).next(age, asked)

    assert 0 < pause <= max(30.0, fresh, *ends, 0) + fresh


@given(learned, ages, fresh)
def test_once_learned_it_never_asks_more_densely_than_freshness_wants(
    ends: list[float], age: float, fresh: float
) -> None:
    assert pace_of(ends, fresh).next(age, 3) >= min(fresh, 30) * LEAST


@given(learned)
def test_hardly_anything_is_asked_before_the_first_end_that_was_seen(ends: list[float]) -> None:
    pace, first = pace_of(ends), min(ends)

    assert sum(age < first for age in questions(pace, first)) <= 4


@given(learned)
def test_beyond_the_longest_that_was_seen_pauses_grow_to_half_a_minute(ends: list[float]) -> None:
    pace, longest = pace_of(ends), max(ends)

    pauses = [pace.next(longest + over, 9) for over in (0, 50, 50_000)]

    assert pauses[0] <= 1.9
    assert pauses == sorted(pauses)
    assert 30 * LEAST <= pauses[-1] <= 30


@given(st.lists(seconds, max_size=ENOUGH - 1), st.integers(0, 5000))
def test_while_little_is_known_pauses_grow_to_fifteen_seconds(
    ends: list[float], asked: int
) -> None:
    pause = pace_of(ends).next(100, asked)

    assert 1.9 * LEAST <= pause <= 15
    assert asked or pause <= 1.9
    assert asked < 10 or pause >= 15 * LEAST


@given(learned, ages)
def test_an_estimate_is_never_the_end(ends: list[float], age: float) -> None:
    percent = pace_of(ends).progress(age)

    assert percent is not None
    assert 0 <= percent <= 95


def test_nothing_is_estimated_of_what_is_not_known() -> None:
    assert pace_of([5.0] * (ENOUGH - 1)).progress(3) is None
    assert pace_of([5.0] * ENOUGH).progress(2.5) == 50


def test_only_what_happened_lately_counts() -> None:
    pace = pace_of([5.0] * 300 + [400.0] * 200)

    assert pace.next(0, 0) >= 400 * LEAST
    assert pace.progress(200) == 50


def test_tasks_that_were_submitted_together_are_not_asked_for_together() -> None:
    pace = pace_of([30.0] * 50)

    pauses = [pace.next(0, 0) for _ in range(200)]

    assert max(pauses) - min(pauses) > 2
    assert statistics.pstdev(pauses) > 0.5


# --------------------------------------------------------------------------------- simulations


class Simulated(NamedTuple):
    """How many questions a task took, against one every two seconds; and delays, in order."""

    share: float
    delays: list[float]

    @property
    def p95(self) -> float:
        return self.delays[len(self.delays) * 95 // 100]


def simulate(draw: Callable[[random.Random], float]) -> Simulated:
    """1,000 tasks, of which the first 50 are for learning."""
    pace, chance = pace_of([]), random.Random(8)
    asked, fixed = 0, 0
    delays: list[float] = []
    for number in range(1000):
        end = max(0.0, draw(chance))
        ages = questions(pace, end)
        pace.learn(ages[-1], [0.0, *ages][-2])
        if number >= 50:
            asked += len(ages)
            fixed += int(end / 2) + 1
            delays.append(ages[-1] - end)
    return Simulated(asked / fixed, sorted(delays))


@pytest.mark.parametrize(
    "draw",
    [
        pytest.param(lambda chance: 30.0, id="always 30 s"),
        pytest.param(lambda chance: chance.gauss(30, 3), id="30 s, give or take 3"),
        pytest.param(lambda chance: chance.gauss(100, 5), id="100 s, give or take 5"),
        pytest.param(lambda chance: chance.lognormvariate(3.4, 0.1), id="30 s, and some late"),
    ],
)
def test_where_ends_lie_close_it_costs_a_third_and_is_hardly_late(
    draw: Callable[[random.Random], float],
) -> None:
    found = simulate(draw)

    assert found.share <= 1 / 3
    assert found.p95 < 2
    assert found.delays[-1] < 20


def test_where_a_model_has_two_speeds_both_are_seen_soon() -> None:
    found = simulate(
        lambda chance: chance.gauss(20, 1) if chance.random() < 0.5 else chance.gauss(90, 4)
    )

    assert found.share < 0.5
    assert found.p95 < 2


def test_where_ends_lie_anywhere_it_is_no_worse_than_asking_all_the_time() -> None:
    found = simulate(lambda chance: chance.uniform(5, 60))

    assert found.share < 1
    assert found.p95 < 8


def test_a_model_that_has_become_slower_or_faster_is_followed() -> None:
    pace, chance = pace_of([]), random.Random(8)
    for typical in (20, 80, 20):
        delays = []
        for _ in range(400):
            end = chance.gauss(typical, 1)
            ages = questions(pace, end)
            pace.learn(ages[-1], [0.0, *ages][-2])
            delays.append(ages[-1] - end)
        assert statistics.median(delays[200:]) < 2
