"""Asking another service for what may cost: once.

The rule for whoever edits it: that a service is about to be asked is on disk before it is, and it
is asked again only where it has certainly refused, or where a repeat is certainly the same task. An
answer that may have come after the service had the request is a lost one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from typing import Any, Generic, NamedTuple, TypeVar

from safelight.engines import Event, Failed, Log, Remember
from safelight.engines.kit.paid import see_through
from safelight.pauses import Pauses
from safelight.task import FailureCode

_T = TypeVar("_T")

_PAUSES = 1.0, 60.0  # seconds, before it is asked again: the first, and the longest
Ask = Callable[[], Coroutine[Any, Any, _T]]
ASKING = "asking"  # what is remembered: since when it may have been asked


class Refused(Exception):
    """It has certainly not taken it, and may later: in `seconds` at the earliest, if it says so."""

    def __init__(self, message: str, seconds: float | None = None) -> None:
        super().__init__(message)
        self.seconds = seconds or 0.0


class Unsure(Exception):
    """Nobody knows whether it has taken it."""


class Taken(NamedTuple, Generic[_T]):
    """What it answered, and whether the run was told to stop meanwhile."""

    value: _T
    cancelled: bool


class Question(NamedTuple, Generic[_T]):
    """What is asked for, of whom, and what its answers mean.

    `place` bounds how many are asked at once; who has one calls `ready`, for what sends the
    question when it is its `turn`. That raises `Refused`, `Unsure`, or `Failed` where there is no
    asking again, and has a total time of its own. `unknown` says what is known of one whose answer
    was lost, and `give_up` whether the task was ended by its owner.

    For `deadline` seconds it is asked again after refusals, and for `repeats` after an answer that
    was lost. `since` is when an earlier run was about to ask and has not told what came of it.
    """

    service: str
    place: asyncio.Semaphore
    ready: Callable[[], Awaitable[Ask[_T]]]
    turn: Callable[[], Awaitable[None]]
    unknown: Callable[[str], Failed]
    deadline: float
    repeats: float = 0.0
    since: float | None = None
    give_up: Callable[[], bool] = lambda: False


async def ask_once(question: Question[_T]) -> AsyncGenerator[Event | Taken[_T]]:
    """Ask; yields what is to be remembered and logged, and last what was taken. Raises `Failed`.

    Told to stop, it hears the answer first, unless it is to be given up: what was taken is told all
    the same.
    """
    if question.since is not None:
        _check_repeat(question, question.since, "the worker ended before it had the answer")
    async with question.place, aclosing(_ask(question, await question.ready())) as events:
        async for event in events:
            yield event


async def _ask(question: Question[_T], ask: Ask[_T]) -> AsyncGenerator[Event | Taken[_T]]:
    began, pauses, lost = time.time(), Pauses(*_PAUSES), question.since
    while True:
        await question.turn()
        asked = time.time()
        since = asked if lost is None else lost
        yield Remember(memory={ASKING: since}, stopped={} if lost is None else None)
        answer = await see_through(ask(), question.give_up)
        try:
            taken = Taken(answer.value, answer.cancelled)
        except (Refused, Unsure, Failed) as problem:
            why, wait = str(problem), getattr(problem, "seconds", 0.0) or pauses.next()
            lost = since if isinstance(problem, Unsure) else lost
            _check_again(question, problem, began, lost, wait)
        else:
            yield taken
            return
        if lost is None:
            yield Remember(memory={})  # it was certainly not taken
        if answer.cancelled:
            raise asyncio.CancelledError
        yield Log(text=f"{question.service}: {why}; again in {wait:.0f} s")
        await asyncio.sleep(wait)


def _check_again(
    question: Question[_T], problem: Exception, began: float, lost: float | None, wait: float
) -> None:
    """Raise `Failed` where there is no asking again after `wait` seconds."""
    if lost is not None:
        if isinstance(problem, Failed):  # of a repeat: it does not settle what became of the first
            raise question.unknown(str(problem)) from None
        _check_repeat(question, lost, str(problem), wait)
    elif isinstance(problem, Failed):
        raise problem from None
    elif time.time() + wait > began + question.deadline:
        sentence = f"{question.service} did not take it for {time.time() - began:.0f} s: {problem}"
        raise Failed(FailureCode.TIMEOUT, sentence) from None


def _check_repeat(question: Question[_T], lost: float, why: str, wait: float = 0.0) -> None:
    """Raise what is known, unless a repeat after an answer that was lost is safe for so long."""
    if question.repeats <= 0 or time.time() + wait > lost + question.repeats:
        raise question.unknown(why) from None
