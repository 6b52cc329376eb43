"""How a command ends: the exit codes, and what goes with them."""

from __future__ import annotations

from safelight.errors import (
    Fault,
    NotFound,
    StillRunning,
    Unauthenticated,
    UnknownModel,
    Unsupported,
)

SUCCEEDED, FAILED, USAGE, NOT_FOUND, STILL_RUNNING = range(5)


class UsageError(Exception):
    """The words on the command line do not go together."""


class CannotOpen(Exception):
    """The server, or its data folder, cannot be opened; the message says why."""


def code_of_fault(fault: Fault) -> int:
    """The exit code of a command that a fault ended."""
    match fault:
        case NotFound():
            return NOT_FOUND
        case StillRunning():
            return STILL_RUNNING
        case Unsupported() | UnknownModel():
            return USAGE
        case Unauthenticated(reason="missing"):
            return USAGE
        case _:
            return FAILED
