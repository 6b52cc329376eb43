"""The rules of a script at work: which is for this one, and how many each has seen."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Generic, TypeVar

from safelight.server.fake.script import AnswerRule, QueryRule, TaskRule
from safelight.task import Submit

_Rule = TypeVar("_Rule", bound=TaskRule | AnswerRule)


class Rules(Generic[_Rule]):
    """Rules in their order; the first that fits decides."""

    def __init__(self, rules: Sequence[_Rule]) -> None:
        self._standing = [_Standing(rule) for rule in rules]

    def find(
        self, submit: Submit, now: float, number: int | None = None, age: float = 0.0
    ) -> _Rule | None:
        """The rule for that submission, or for query `number` of it, `age` seconds after it.

        Without a number each rule counts those that its wildcards fit, whoever decides them.
        """
        fitting = [one for one in self._standing if one.rule.match.fits(submit)]
        for one in fitting:
            one.seen += 1
        for one in fitting:
            if one.takes(number or one.seen, now, age):
                return one.rule
        return None


class _Standing(Generic[_Rule]):
    """A rule, and how often it was asked."""

    def __init__(self, rule: _Rule) -> None:
        self.rule = rule
        self.seen = 0
        self._passed: deque[float] = deque()

    def takes(self, number: int, now: float, age: float) -> bool:
        rule = self.rule
        if not rule.match.takes(number):
            return False
        if isinstance(rule, QueryRule) and rule.within is not None and age >= rule.within:
            return False
        most = rule.per_second if isinstance(rule, AnswerRule) else None
        return most is None or self._crowded(most, now)

    def _crowded(self, most: int, now: float) -> bool:
        """Whether this is one more than may pass in a second; else it passes, and is counted."""
        while self._passed and self._passed[0] <= now - 1:
            self._passed.popleft()
        if len(self._passed) >= most:
            return True
        self._passed.append(now)
        return False
