"""The script of a fake provider: ordered rules in TOML, the first that fits decides.

What each may say is in docs/fake.md.
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from safelight.errors import (
    BadRequest,
    Conflict,
    Fault,
    InsufficientCredits,
    Internal,
    InvalidType,
    InvalidValue,
    MissingParameter,
    NotFound,
    RateLimited,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnknownModel,
    UnknownParameter,
    Unsupported,
)
from safelight.task import FailureCode, Submit

Seconds = Annotated[float, msgspec.Meta(ge=0)]
# A number, or the lowest and the highest to draw from. Without bounds of msgspec's: in 0.22 its
# reader of such a pair corrupts memory where a number beside it has any.
Span = float | tuple[float, float]
Number = Annotated[int, msgspec.Meta(ge=1)]

FAULTS: Mapping[str, type[Fault]] = {
    fault.code: fault
    for fault in (
        *(BadRequest, MissingParameter, InvalidType, InvalidValue, UnknownParameter, Unsupported),
        *(Unauthenticated, InsufficientCredits, NotFound, Conflict, TooLarge, UnknownModel),
        *(RateLimited, Internal, Unavailable),
    )
}
# What else may become of an answer. The last two of a submission alone.
LOST, REFUSED, GARBAGE, SLOW, OK = "lost", "refused", "garbage", "slow", "ok"
_WORDS = (OK, SLOW, LOST, REFUSED, GARBAGE)


class ScriptError(ValueError):
    """The script cannot be read; the message says where."""


def _check_span(name: str, span: Span) -> None:
    low, high = span if isinstance(span, tuple) else (span, span)
    if not 0 <= low <= high:
        raise ValueError(f"{name}: not 0 or more, or the lowest does not come first")


def draw(span: Span, chance: random.Random) -> float:
    """So many seconds."""
    return chance.uniform(*span) if isinstance(span, tuple) else span


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The one base of the tables of a script."""


class Match(_Table, frozen=True, kw_only=True, rename={"since": "from"}):
    """Which submissions a rule is for: by wildcards, and by their number among those (from 1)."""

    model: str = "*"
    prompt: str = "*"
    nth: Number | None = None
    every: Number | None = None
    since: Number = 1
    until: Number | None = None

    def fits(self, submit: Submit) -> bool:
        """Whether the wildcards fit."""
        return fnmatchcase(submit.model, self.model) and fnmatchcase(submit.prompt, self.prompt)

    def takes(self, number: int) -> bool:
        """Whether the rule is for the one of that number."""
        return (
            self.nth in (None, number)
            and number % (self.every or 1) == 0
            and self.since <= number
            and (self.until is None or number <= self.until)
        )


class Reason(_Table, frozen=True, kw_only=True):
    """Why a task fails."""

    code: FailureCode = FailureCode.PROVIDER_ERROR
    message: str = "The script lets it fail"
    provider_code: str | None = None


class TaskRule(_Table, frozen=True, kw_only=True):
    """How a task goes. It is not at its end before `late` seconds after its submission."""

    match: Match = Match()
    queued: Span = 0.0
    running: Span = 0.0
    late: Seconds = 0.0
    result: Literal["success", "failure", "never"] = "success"
    failure: Reason = Reason()
    progress: bool = False
    unknown_state: bool = False

    def __post_init__(self) -> None:
        _check_span("queued", self.queued)
        _check_span("running", self.running)


class AnswerRule(_Table, frozen=True, kw_only=True):
    """What becomes of an answer, after so many `seconds`.

    With `per_second` it is for those beyond that many in any second, `rate_limited` unless told
    otherwise.
    """

    match: Match = Match()
    answer: str = ""
    seconds: Seconds = 0.0
    retry_after: Seconds | None = None
    message: str | None = None
    per_second: Number | None = None

    def __post_init__(self) -> None:
        if self.answer and self.answer not in (*_WORDS, *FAULTS):
            known = ", ".join((*_WORDS, *FAULTS))
            raise ValueError(f"no answer {self.answer!r}; there are {known}")

    @property
    def deed(self) -> str:
        """What is done: `ok`, `lost`, `refused`, `garbage`, or the code of a fault."""
        if not self.answer:
            return RateLimited.code if self.per_second else OK
        return OK if self.answer == SLOW else self.answer

    def fault(self) -> Fault:
        """The fault that is to be told."""
        kind = FAULTS[self.deed]
        message = self.message or kind.default()
        if issubclass(kind, RateLimited):
            return kind(message, retry_after=self.retry_after, limit=self.per_second or 0)
        if issubclass(kind, Unavailable):
            return kind(message, retry_after=self.retry_after)
        return kind(message)


class SubmissionRule(AnswerRule, frozen=True, kw_only=True):
    """What becomes of a submission. `accepts`: whether the task is there, whatever is answered."""

    accepts: bool | None = None
    duplicate: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.deed == OK and self.accepts is False:
            raise ValueError("a submission that is not accepted cannot be answered with its id")

    @property
    def accepted(self) -> bool:
        """Whether there is a task afterwards."""
        return self.deed in (OK, LOST, GARBAGE) if self.accepts is None else self.accepts


class QueryRule(AnswerRule, frozen=True, kw_only=True):
    """What becomes of a query: `within` so many seconds after the submission, or always."""

    within: Seconds | None = None


class FileRules(_Table, frozen=True, kw_only=True):
    """How files are sent: late, and the first `failures` downloads of each not at all, or half."""

    latency: Span = 0.0
    failures: Annotated[int, msgspec.Meta(ge=0)] = 0
    failure: Literal["unavailable", "truncated", "lost", "not_found"] = "unavailable"

    def __post_init__(self) -> None:
        _check_span("latency", self.latency)


class Script(_Table, frozen=True, kw_only=True):
    """What a fake provider does. Where no rule fits, all goes well, and at once."""

    seed: int = 1
    idempotency: bool = True  # whether it knows the dialect's idempotency headers
    tasks: tuple[TaskRule, ...] = ()
    submissions: tuple[SubmissionRule, ...] = ()
    queries: tuple[QueryRule, ...] = ()
    files: FileRules = FileRules()


def read_script(source: Script | Mapping[str, Any] | Path | str) -> Script:
    """A script: as TOML text, in a file, or its tables. Raises `ScriptError`."""
    if isinstance(source, Script):
        return source
    try:
        if isinstance(source, Path):
            source = source.read_text(encoding="utf-8")
        tables = tomllib.loads(source) if isinstance(source, str) else source
        return msgspec.convert(tables, Script)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError) as problem:
        raise ScriptError(f"script: {problem}") from None
    except OSError as problem:
        raise ScriptError(f"script: {problem.filename}: {problem.strerror}") from None
