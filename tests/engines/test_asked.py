"""How other services answered, counted."""

from __future__ import annotations

import asyncio

import pytest

from safelight.engines.kit.asked import Asked, outcome_of
from safelight.errors import BadRequest, Fault, RateLimited, Unavailable, Unreachable


class StatusError(Exception):
    """As a library for another service tells an answer that is none."""

    def __init__(self, status: int) -> None:
        super().__init__(str(status))
        self.status_code = status


@pytest.mark.parametrize(
    ("problem", "outcome"),
    [
        (BadRequest("no"), "refused"),
        (Fault("no"), "refused"),
        (RateLimited("slower"), "limited"),
        (Unavailable("later"), "away"),
        (Unreachable("nobody"), "away"),
        (StatusError(400), "refused"),
        (StatusError(429), "limited"),
        (StatusError(500), "away"),
        (TimeoutError(), "away"),
    ],
    ids=repr,
)
def test_what_is_no_answer_has_one_of_three_names(problem: Exception, outcome: str) -> None:
    assert outcome_of(problem) == outcome


async def test_an_answer_is_counted_and_what_was_not_heard_is_not() -> None:
    asked = Asked()

    async def answer(problem: BaseException | None) -> int:
        if problem is not None:
            raise problem
        return 7

    assert await asked.count("kie", answer(None)) == 7
    with pytest.raises(Unavailable):
        await asked.count("kie", answer(Unavailable("later")))
    with pytest.raises(asyncio.CancelledError):
        await asked.count("kie", answer(asyncio.CancelledError()))

    assert dict(asked.counts) == {("kie", "answered"): 1, ("kie", "away"): 1}
