"""Safelight: image and video tasks, in five published dialects, served and asked.

What is named here is loaded when it is first used: whoever imports one module of the package waits
for no other. Types are as if all were imported.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safelight.client import AsyncClient, Client
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
        StillRunning,
        SubmissionUnknown,
        TooLarge,
        Unauthenticated,
        Unavailable,
        UnknownModel,
        UnknownOperation,
        UnknownParameter,
        Unreachable,
        Unsupported,
        Upstream,
    )
    from safelight.task import (
        Artifact,
        Failure,
        FailureCode,
        Kind,
        Operation,
        Role,
        Source,
        Status,
        Submit,
        Task,
    )
    from safelight.wire import Key

    __version__: str

__all__ = [
    "Artifact",
    "AsyncClient",
    "BadRequest",
    "Client",
    "Conflict",
    "Failure",
    "FailureCode",
    "Fault",
    "InsufficientCredits",
    "Internal",
    "InvalidType",
    "InvalidValue",
    "Key",
    "Kind",
    "MissingParameter",
    "NotFound",
    "Operation",
    "RateLimited",
    "Role",
    "Source",
    "Status",
    "StillRunning",
    "SubmissionUnknown",
    "Submit",
    "Task",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
    "UnknownModel",
    "UnknownOperation",
    "UnknownParameter",
    "Unreachable",
    "Unsupported",
    "Upstream",
]

# Where the names are at home; the client's module is the last, for it needs all the others.
_HOMES = ("errors", "task", "wire", "client")

if not TYPE_CHECKING:  # a checker would take every name for one that is there

    def __getattr__(name: str) -> object:
        """Load what is asked for, once."""
        if name == "__version__":
            value = import_module("importlib.metadata").version(__name__)
        elif name in __all__:
            value = _find(name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value

    def _find(name: str) -> object:
        for home in _HOMES:
            module = import_module(f"{__name__}.{home}")
            if hasattr(module, name):
                return getattr(module, name)
        raise AttributeError(f"{name} is in none of {', '.join(_HOMES)}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__, "__version__"})
