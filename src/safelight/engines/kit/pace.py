"""When to ask a provider for a task next: learned from how long that model took lately.

Few questions while hardly any task would be at its end, a dense row of them where most are, and
ever fewer beyond the longest that was seen.
"""

from __future__ import annotations

import random
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Callable

_KEPT = 200  # runs of a model that are remembered
_ENOUGH = 8  # runs before they are believed
_SPARED = 0.04  # of the tasks that may be at their end before the next question
_GROWTH, _LONGEST = 1.25, 15.0  # seconds, while nothing is known
_LATE_GROWTH, _LATE_LONGEST = 1.15, 30.0  # beyond what was seen
_BETWEEN = 0.1  # of a task's age, where ends lie far apart; less while few are known
_UNSEEN = 0.2  # of an end's time, at most, that it may have been there unseen
_JITTER = 0.1
_ALMOST = 95  # percent that an estimate never exceeds


class Pace:
    """The pace of one model's tasks at one provider. Times are seconds since the submission.

    `fresh` is how late an end may be seen at most, where ends are likely; `draw` draws a number
    between two, so that tasks do not fall into step.
    """

    def __init__(
        self, fresh: float = 1.7, draw: Callable[[float, float], float] = random.uniform
    ) -> None:
        self._fresh = fresh
        self._draw = draw
        self._recent: deque[float] = deque()
        self._sorted: list[float] = []

    def learn(self, seconds: float, since: float | None = None) -> None:
        """A task of that model was seen at its end so long after its submission.

        `since` is when it was last seen to be under way. The end was between the two: who takes
        it to have been at the later one never asks sooner, and never sees that it was.
        """
        if since is not None:
            seconds -= min((seconds - since) / 2, seconds * _UNSEEN)
        self._recent.append(seconds)
        insort(self._sorted, seconds)
        if len(self._recent) > _KEPT:
            oldest = self._recent.popleft()
            del self._sorted[bisect_right(self._sorted, oldest) - 1]

    def next(self, age: float, asked: int) -> float:
        """Seconds until a task of that age is to be asked for, after `asked` questions."""
        return self._plain(age, asked) * self._draw(1 - _JITTER, 1.0)

    def _plain(self, age: float, asked: int) -> float:
        if len(self._sorted) < _ENOUGH:
            grown = self._fresh * _GROWTH ** min(asked, 50)
            return max(self._fresh, min(_LONGEST, grown))
        longer = self._sorted[bisect_right(self._sorted, age) :]
        if not longer:
            over = max(0.0, age - self._sorted[-1])
            return min(_LATE_LONGEST, self._fresh + over * (_LATE_GROWTH - 1))
        soonest = longer[int(len(longer) * _SPARED)]
        gap = soonest - age
        if age > self._sorted[0]:  # between two that were seen there may be others
            gap = min(gap, age * _BETWEEN * len(self._sorted) / _KEPT)
        return self._fresh if gap < self._fresh else gap + self._fresh / 2

    def progress(self, age: float) -> int | None:
        """About how many percent a task of that age has done; None while nothing is known."""
        if len(self._sorted) < _ENOUGH:
            return None
        typical = self._sorted[len(self._sorted) // 2]
        return min(_ALMOST, int(100 * age / typical)) if typical > 0 else None
