"""How often other services were asked, and how they answered: counted for whoever looks on."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable
from typing import TypeVar

from safelight.errors import Fault, RateLimited, Unavailable, Unreachable

_T = TypeVar("_T")

_AWAY, _LIMITED = (Unavailable, Unreachable), 429


class Asked:
    """Counts by the name of the service and the outcome, of which there are four.

    `answered`, `refused`, `limited` (asked too often), and `away`: no answer, or that it cannot.
    """

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()

    async def count(self, service: str, question: Awaitable[_T]) -> _T:
        """The answer to a question, or what it raises, once that is counted."""
        try:
            answer = await question
        except asyncio.CancelledError:  # nobody heard how it was answered
            raise
        except Exception as problem:
            self.counts[service, outcome_of(problem)] += 1
            raise
        self.counts[service, "answered"] += 1
        return answer


def outcome_of(problem: Exception) -> str:
    """How a service answered that did not do what it was asked: a fault of ours, or a library's."""
    status = getattr(problem, "status_code", None)
    if isinstance(problem, RateLimited) or status == _LIMITED:
        return "limited"
    if isinstance(problem, _AWAY) or (isinstance(status, int) and status >= 500):
        return "away"
    return "refused" if isinstance(problem, Fault) or status is not None else "away"
