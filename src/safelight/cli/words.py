"""The words of a command line, read into those of a task."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safelight.cli.exits import UsageError
from safelight.errors import Malformed
from safelight.task import Operation, Role, Source
from safelight.wire import read_json


def read_sources(
    pictures: Iterable[str], first: str | None, last: str | None, mask: str | None
) -> tuple[Source, ...]:
    """The sources of a task: files, which are read, and addresses."""
    named = [(Role.IMAGE, text) for text in pictures]
    frames = ((Role.FIRST_FRAME, first), (Role.LAST_FRAME, last), (Role.MASK, mask))
    named += [(role, text) for role, text in frames if text is not None]
    return tuple(_source(role, text) for role, text in named)


def _source(role: Role, text: str) -> Source:
    if text.startswith(("http://", "https://")):
        return Source(role=role, url=text)
    path = Path(text)
    if not path.is_file():
        raise UsageError(f"{text}: neither a file nor an address")
    return Source(role=role, data=path.read_bytes(), name=path.name)


def read_operation(text: str) -> Operation:
    """A step of image processing: `NAME` or `NAME={...}`."""
    name, _, options = text.partition("=")
    return Operation(name=name, options=read_object(options, "--operation") if options else {})


def read_demand(text: str) -> tuple[str, Any]:
    """A demand, `NAME=VALUE`; what is not JSON is text."""
    name, given, value = text.partition("=")
    if not name or not given:
        raise UsageError("--demand: not NAME=VALUE")
    try:
        return name, read_json(value.encode())
    except Malformed:
        return name, value


def read_object(text: str, what: str) -> dict[str, Any]:
    """A JSON object, which is the value of `what`."""
    value = read_json(text.encode())
    if not isinstance(value, dict):
        raise UsageError(f"{what}: not a JSON object")
    return value
