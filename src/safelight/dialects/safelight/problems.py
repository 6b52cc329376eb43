"""Faults as problems (RFC 9457), written and read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from safelight.dialects.safelight.records import Problem, WrongValue
from safelight.errors import (
    BadRequest,
    Conflict,
    Fault,
    InsufficientCredits,
    Internal,
    InvalidType,
    InvalidValue,
    Malformed,
    MissingParameter,
    NotFound,
    RateLimited,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnknownModel,
    UnknownOperation,
    UnknownParameter,
    Unsupported,
)
from safelight.wire import (
    TEXT,
    Context,
    Reading,
    Response,
    fault_of_status,
    read_retry_after,
    retry_after_header,
)

MEDIA_TYPE = "application/problem+json"
_TYPE = "urn:safelight:problem:"
IDEMPOTENCY_KEY = "Idempotency-Key"
_REUSED = 422  # a key that came with another request, by the draft of the header

# What a server says; the rest is heard by clients alone.
_SAID: tuple[type[Fault], ...] = (
    *(BadRequest, MissingParameter, InvalidType, InvalidValue, UnknownParameter, Unsupported),
    *(Unauthenticated, InsufficientCredits, NotFound, UnknownOperation, Conflict, TooLarge),
    *(UnknownModel, RateLimited, Internal, Unavailable),
)
_FAULTS: Mapping[str, type[Fault]] = {fault.code: fault for fault in _SAID}


def write_problem(fault: Fault, context: Context, of_body: bool = False) -> Response:
    """The answer that tells `fault`; `of_body` says that its parameter lies in the JSON body."""
    retry = retry_after_header(fault)
    status = fault.status
    if isinstance(fault, Conflict) and fault.parameter == IDEMPOTENCY_KEY:
        status = _REUSED
    problem = Problem(
        type=_TYPE + fault.code,
        title=type(fault).default(),
        status=status,
        detail=fault.message,
        instance=context.request_id,
        code=fault.code,
        parameter=fault.parameter or UNSET,
        retry_after=int(retry[0][1]) if retry else UNSET,
        incident=getattr(fault, "incident", "") or UNSET,
        errors=_errors(fault) if of_body else UNSET,
    )
    headers = [("content-type", MEDIA_TYPE), ("x-request-id", context.request_id), *retry]
    if isinstance(fault, Unauthenticated):
        headers.append(("www-authenticate", "Bearer"))
    return Response(status=status, headers=tuple(headers), body=msgspec.json.encode(problem))


def _errors(fault: Fault) -> Any:
    """Where in the body the wrong value is, as a JSON pointer (RFC 6901)."""
    if not isinstance(fault, BadRequest) or not fault.parameter:
        return UNSET
    steps = fault.parameter.replace("~", "~0").replace("/", "~1").split(".")
    return (WrongValue(pointer=f"#/{'/'.join(steps)}", detail=fault.message),)


def read_problem(response: Response) -> Fault:
    """The fault that an answer tells: by its code, or where it has none of ours by its status."""
    try:
        said = Reading(response.json())
    except Malformed:
        return fault_of_status(response.status, "", response)
    message = said.echo("detail", TEXT) or said.echo("title", TEXT) or ""
    kind = _FAULTS.get(said.echo("code", TEXT, ""))
    if kind is None:
        return fault_of_status(response.status, message, response)
    if issubclass(kind, RateLimited | Unavailable):
        return kind(message, retry_after=read_retry_after(response))
    if issubclass(kind, Internal):
        return Internal(message, incident=said.echo("incident", TEXT, ""))
    if issubclass(kind, UnknownOperation):
        return UnknownOperation(message)
    return kind(message, parameter=said.echo("parameter", TEXT))
