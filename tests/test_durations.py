"""How long things took, by their kind."""

from __future__ import annotations

import asyncio

import pytest

from safelight.durations import Durations, Spread, timed


class Clockwork:
    """Something whose operations are timed."""

    def __init__(self) -> None:
        self.durations: Durations[str] = Durations((0.01, 10.0))

    @timed("turn")
    async def turn(self, number: int, *, back: bool = False) -> int:
        """Turn it."""
        await asyncio.sleep(0.02)
        return -number if back else number

    @timed("break")
    async def break_it(self) -> None:
        raise OSError("it broke")


def test_each_is_counted_below_all_bounds_above_it() -> None:
    durations: Durations[str] = Durations((0.1, 1.0))
    for seconds in (0.05, 0.1, 0.5, 3.0):
        durations.add("read", seconds)
    durations.add("write", 0.2)

    read, write = durations

    assert (read.kind, read.below) == ("read", [("0.1", 2), ("1.0", 3), ("+Inf", 4)])
    assert read.seconds == pytest.approx(3.65)
    assert write == Spread("write", [("0.1", 0), ("1.0", 1), ("+Inf", 1)], 0.2)


async def test_an_operation_is_timed_and_answers_as_ever() -> None:
    clockwork = Clockwork()

    assert await clockwork.turn(3) == 3
    assert await clockwork.turn(3, back=True) == -3
    with pytest.raises(OSError, match="it broke"):
        await clockwork.break_it()

    turned, broken = clockwork.durations
    assert (turned.kind, turned.below) == ("turn", [("0.01", 0), ("10.0", 2), ("+Inf", 2)])
    assert (broken.kind, broken.below[-1]) == ("break", ("+Inf", 1))
    assert turned.seconds > 0.03
