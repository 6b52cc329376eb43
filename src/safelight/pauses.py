"""Pauses between attempts: they grow, and have some chance in them, so that many fall out of step.

Only the numbers are here, and no loop: each place says what it tries again, for how long, and after
which problems. So no library of retries is used: half of the places try nothing again (they poll,
start a dead process, listen anew), and engines tell what is to be remembered between two attempts.
"""

from __future__ import annotations

import random


class Pauses:
    """Growing pauses, in seconds: `first`, and then each `growth` times the one before.

    None is longer than `longest`, or than `first` where that is longer. Each is made longer or
    shorter by a factor drawn from `spread`.
    """

    def __init__(
        self,
        first: float,
        longest: float,
        growth: float = 2.0,
        spread: tuple[float, float] = (0.8, 1.2),
    ) -> None:
        self._first = first
        self._longest = max(first, longest)
        self._growth = growth
        self._spread = spread
        self._pause = first

    def next(self, at_least: float = 0.0) -> float:
        """The next pause; not shorter than what another side asks for, if it does."""
        pause = self._pause * random.uniform(*self._spread)  # noqa: S311 - no secret
        self._pause = min(self._longest, self._pause * self._growth)
        return max(at_least, pause)

    def reset(self) -> None:
        """Begin again with the first one: what was tried has gone well."""
        self._pause = self._first
