"""The pauses between attempts."""

from __future__ import annotations

import pytest

from safelight.pauses import Pauses

EXACT = (1.0, 1.0)


def test_pauses_grow_up_to_the_longest() -> None:
    pauses = Pauses(0.2, 15.0, 5.0, EXACT)

    assert [pauses.next() for _ in range(6)] == pytest.approx([0.2, 1, 5, 15, 15, 15])


def test_they_begin_again_once_something_went_well() -> None:
    pauses = Pauses(1.0, 30.0, spread=EXACT)
    assert [pauses.next() for _ in range(3)] == [1, 2, 4]

    pauses.reset()

    assert [pauses.next() for _ in range(2)] == [1, 2]


def test_a_first_one_that_is_longer_than_the_longest_is_kept() -> None:
    pauses = Pauses(60.0, 10.0, 1.25, EXACT)

    assert {pauses.next() for _ in range(5)} == {60}


def test_they_stay_longest_for_ever() -> None:
    pauses = Pauses(1.0, 30.0, spread=EXACT)

    assert [pauses.next() for _ in range(5_000)][-1] == 30


def test_what_is_asked_for_is_the_least_and_ends_no_growth() -> None:
    pauses = Pauses(1.0, 30.0, spread=EXACT)

    assert [pauses.next(at_least) for at_least in (7, 0, 3, 0)] == [7, 2, 4, 8]


def test_many_do_not_fall_into_step() -> None:
    drawn = {Pauses(10.0, 10.0).next() for _ in range(200)}

    assert len(drawn) > 190
    assert 8 <= min(drawn) < 8.5
    assert 11.5 < max(drawn) <= 12
