"""Everything that may go wrong in words that a caller may hear.

    Exception
     ├─ Malformed                  a reader met nonsense; says where, and does not know whose fault
     └─ Fault                      what a caller may be told
         ├─ BadRequest             400   the request cannot be understood
         │   ├─ MissingParameter         a required value is absent
         │   ├─ InvalidType              a value is of the wrong type
         │   ├─ InvalidValue             a value is of the right type, and wrong
         │   ├─ UnknownParameter         a value that the operation does not define
         │   └─ Unsupported              understood, and cannot be done, or cannot be said, here
         ├─ Unauthenticated        401   no key, or a wrong one (`reason` says which)
         ├─ InsufficientCredits    402
         ├─ NotFound               404   no such task, for this key
         ├─ UnknownOperation       404   no such route, action or version
         ├─ Conflict               409   the state of things forbids it
         ├─ TooLarge               413
         ├─ UnknownModel           422   no model of that name
         ├─ RateLimited            429   `retry_after` seconds from now
         ├─ Internal               500   a bug of ours; `incident` finds it in the log
         ├─ Unavailable            503   not now
         └─ (heard by clients only)
             ├─ Upstream                 the other side answered nonsense
             ├─ Unreachable              the other side did not answer
             │   └─ SubmissionUnknown    ... to a submission, which it may have accepted
             └─ StillRunning             the time to wait was up; the task goes on

A class's docstring is its default message.
"""

from __future__ import annotations

from typing import ClassVar, Literal


class Malformed(Exception):
    """The value at `path` is not what it has to be.

    Raised by readers, which do not know whose words they read. The server turns it into the
    caller's `BadRequest`, the client into the peer's `Upstream`.
    """

    def __init__(
        self,
        path: str,
        problem: str,
        kind: Literal["missing", "type", "value", "unknown", "syntax"] = "value",
    ) -> None:
        super().__init__(f"{path}: {problem}" if path else problem)
        self.path = path
        self.problem = problem
        self.kind = kind

    def as_fault(self) -> BadRequest:
        """The caller's fault that this is when the words were the caller's."""
        return _CALLERS[self.kind](str(self), parameter=self.path or None)


class Fault(Exception):
    """The request failed."""

    code: ClassVar[str] = "fault"
    status: ClassVar[int] = 500

    def __init__(self, message: str | None = None, *, parameter: str | None = None) -> None:
        self.message = message or type(self).default()
        self.parameter = parameter
        super().__init__(self.message)

    @classmethod
    def default(cls) -> str:
        """The message of a fault that brings none: the first line of its class's docstring."""
        return (cls.__doc__ or cls.__name__).strip().splitlines()[0]


class BadRequest(Fault):
    """The request cannot be understood."""

    code = "bad_request"
    status = 400


class MissingParameter(BadRequest):
    """A required parameter is missing."""

    code = "missing_parameter"


class InvalidType(BadRequest):
    """A parameter is of the wrong type."""

    code = "invalid_type"


class InvalidValue(BadRequest):
    """A parameter's value is not valid."""

    code = "invalid_value"


class UnknownParameter(BadRequest):
    """The operation does not define this parameter."""

    code = "unknown_parameter"


class Unsupported(BadRequest):
    """This cannot be done here."""

    code = "unsupported"


_CALLERS: dict[str, type[BadRequest]] = {
    "missing": MissingParameter,
    "type": InvalidType,
    "value": InvalidValue,
    "unknown": UnknownParameter,
    "syntax": BadRequest,
}


class Unauthenticated(Fault):
    """The key is missing or not valid."""

    code = "unauthenticated"
    status = 401

    def __init__(
        self,
        message: str | None = None,
        *,
        reason: Literal["missing", "malformed", "unknown", "expired", "signature"] = "unknown",
        parameter: str | None = None,
    ) -> None:
        super().__init__(message, parameter=parameter)
        self.reason = reason


class InsufficientCredits(Fault):
    """The credits do not suffice."""

    code = "insufficient_credits"
    status = 402


class NotFound(Fault):
    """There is no such task."""

    code = "not_found"
    status = 404


class UnknownOperation(Fault):
    """There is no such operation."""

    code = "unknown_operation"
    status = 404

    def __init__(
        self,
        message: str | None = None,
        *,
        what: Literal["route", "action", "version", "protocol"] = "route",
        name: str = "",
    ) -> None:
        super().__init__(message)
        self.what = what
        self.name = name


class Conflict(Fault):
    """The state of the task forbids this."""

    code = "conflict"
    status = 409


class TooLarge(Fault):
    """The request is too large."""

    code = "too_large"
    status = 413


class UnknownModel(Fault):
    """There is no such model."""

    code = "unknown_model"
    status = 422


class RateLimited(Fault):
    """Too many requests.

    `retry_after` and `window` are in seconds; `limit` is the number of requests allowed in one
    window, `used` the number that was made, this one included.
    """

    code = "rate_limited"
    status = 429

    def __init__(
        self,
        message: str | None = None,
        *,
        retry_after: float | None = None,
        limit: int = 0,
        used: int = 0,
        window: int = 1,
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.limit = limit
        self.used = used
        self.window = window


class Internal(Fault):
    """The server made a mistake."""

    code = "internal"
    status = 500

    def __init__(self, message: str | None = None, *, incident: str = "") -> None:
        super().__init__(message)
        self.incident = incident


class Unavailable(Fault):
    """The server cannot do this just now.

    `certain` says whether nothing was done: of what stands between it and us nobody knows that.
    """

    code = "unavailable"
    status = 503

    def __init__(
        self,
        message: str | None = None,
        *,
        retry_after: float | None = None,
        certain: bool = True,
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.certain = certain


class Upstream(Fault):
    """The other side answered what its published API does not say."""

    code = "upstream"
    status = 502


class Unreachable(Fault):
    """The other side did not answer."""

    code = "unreachable"
    status = 504


class SubmissionUnknown(Unreachable):
    """The answer to the submission was lost: the task may or may not have been accepted."""

    code = "submission_unknown"


class StillRunning(Fault):
    """The time to wait was up, and the task still runs.

    `task_id` is the task's id: waiting may be taken up again, and nothing was lost.
    """

    code = "still_running"
    status = 504

    def __init__(self, message: str | None = None, *, task_id: str = "") -> None:
        super().__init__(message or f"The task {task_id} still runs; wait for it again by its id.")
        self.task_id = task_id
