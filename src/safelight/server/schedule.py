"""What follows from one try to tell something: when the next one is, or that there is none.

Pure: the time and the chance come from outside. The schedule is that of Standard Webhooks, over
three days. A try that fails says something of the endpoint too: after it nothing else is sent there
for as long, and then one delivery alone, so that a place that is dead costs one try a pause.
"""

from __future__ import annotations

from typing import NamedTuple

from safelight.store.hooks import Due

SECOND = 1000
# After the first try, the second ...
_PAUSES = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
MOST_TRIES = len(_PAUSES) + 1
_MOST_THROTTLED = 100  # tries of a delivery that an endpoint puts off again and again
_SHORTEST, _LONGEST = 1, 86_400  # of what an endpoint asks for
_GONE, _THROTTLED = 410, frozenset({429, 503})
FAILING = 5 * 86_400 * SECOND  # after so long without a success an endpoint is turned off


class Answer(NamedTuple):
    """How a try was answered, or what kept it from being: `problem`, for a person."""

    status: int | None
    problem: str | None
    text: str | None
    retry_after: float | None
    millis: int

    @property
    def good(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


class Verdict(NamedTuple):
    """What becomes of a delivery and its endpoint: nothing is sent there before `held`."""

    state: str
    step: int
    next: int
    held: int = 0
    gone: bool = False


def judge(due: Due, answer: Answer, failures: int, now: int, spread: float) -> Verdict:
    """What follows from an answer, where the endpoint had so many `failures` before.

    `spread` makes pauses longer or shorter, so that many fall out of step.
    """
    if answer.good:
        return Verdict("delivered", due.step, 0)
    if answer.status == _GONE:
        return Verdict("failed", due.step, 0, gone=True)
    if answer.status in _THROTTLED and answer.retry_after is not None:
        seconds = min(max(answer.retry_after, _SHORTEST), _LONGEST)
        until = now + int(seconds * SECOND)
        more = due.tries + 1 < _MOST_THROTTLED
        return Verdict("pending" if more else "failed", due.step, until, until)
    pause = _pause(failures, spread)
    if due.step >= len(_PAUSES):
        return Verdict("failed", due.step, 0, now + pause)
    return Verdict("pending", due.step + 1, now + _pause(due.step, spread), now + pause)


def _pause(step: int, spread: float) -> int:
    return int(_PAUSES[min(step, len(_PAUSES) - 1)] * SECOND * spread)
