"""Why another service did not do what it was asked, in our words."""

from __future__ import annotations

import re

from safelight.errors import BadRequest, Fault, InsufficientCredits, TooLarge, UnknownModel
from safelight.task import FailureCode

# What a fault that ends a submission means for the task; the first that fits.
_FAULTS: tuple[tuple[type[Fault], FailureCode], ...] = (
    (InsufficientCredits, FailureCode.INSUFFICIENT_CREDITS),
    (UnknownModel, FailureCode.INVALID_INPUT),
    (TooLarge, FailureCode.INVALID_INPUT),
    (BadRequest, FailureCode.INVALID_INPUT),
    (Fault, FailureCode.PROVIDER_ERROR),
)
# Most wires have one code for all that is wrong with a task, and tell the reason in a sentence.
_VAGUE = frozenset({FailureCode.PROVIDER_ERROR, FailureCode.INVALID_INPUT, FailureCode.INTERNAL})
# A word between two others is of bounded length: a sentence of one long word would take for ever.
_WORDS = tuple(
    (re.compile(pattern, re.IGNORECASE), code)
    for pattern, code in (
        (
            r"(?:content|usage|safety|community)[ _-]?(?:policy|policies|guideline|filter|system)"
            r"|moderation|nsfw|(?:sensitive|prohibited|inappropriate|unsafe)[ _-]?(?:content|word)"
            r"|violat\w{1,9} .{0,40}(?:polic|guideline|terms)|违规|敏感|审核",
            FailureCode.CONTENT_POLICY,
        ),
        (
            r"(?:insufficient|not enough|out of|no)[ _](?:\w{1,30}[ _])?"
            r"(?:credits?|balance|funds?)\b"
            r"|\b(?:credits?|balance|funds) (?:\w{1,30} )?"
            r"(?:insufficient|not enough|too low|exhausted)"
            r"|余额不足|积分不足|credits不足",
            FailureCode.INSUFFICIENT_CREDITS,
        ),
    )
)


def code_of(fault: Fault) -> FailureCode:
    """What a fault that ended a submission means for the task."""
    code = next(code for kind, code in _FAULTS if isinstance(fault, kind))
    return precise(code, fault.message)


def precise(code: FailureCode, words: str) -> FailureCode:
    """`code`, or what the service's words say where that says little."""
    if code not in _VAGUE:
        return code
    return next((known for pattern, known in _WORDS if pattern.search(words)), code)
