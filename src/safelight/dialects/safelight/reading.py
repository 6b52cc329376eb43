"""Records read from what came: strictly what is asked, and of what is answered whatever can be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeVar

import msgspec

from safelight.errors import Malformed

_Record = TypeVar("_Record", bound=msgspec.Struct)
_Kind = Literal["missing", "type", "value", "unknown", "syntax"]

_WHERE = re.compile(r"(?P<problem>.*) - at (?P<key>`key` in )?`\$(?P<place>.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MOST_SHOWN = 100  # characters of a name that nobody knows
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def read_asked(kind: type[_Record], value: Any, path: str = "") -> _Record:
    """The record that `value`, which lies at `path`, says. Raises `Malformed`."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as problem:
        raise _malformed(str(problem), path) from None


def _malformed(sentence: str, path: str) -> Malformed:
    """What msgspec says of a value, in our words: `... - at `$.input.sources[0].url``."""
    found = _WHERE.fullmatch(sentence)
    problem = found["problem"] if found else sentence
    place = _dotted(found["place"]) if found else ""
    where = ".".join(filter(None, (path, place)))
    if missing := _MISSING.fullmatch(problem):
        return Malformed(".".join(filter(None, (where, missing[1]))), "required", "missing")
    if unknown := _UNKNOWN.fullmatch(problem):
        name = ".".join(filter(None, (where, unknown[1][:_MOST_SHOWN])))
        return Malformed(name, "there is no such parameter", "unknown")
    kind: _Kind = "type" if ", got `" in problem else "value"
    said = problem[:1].lower() + problem[1:].replace("`", "")
    return Malformed(where, f"a name: {said}" if found and found["key"] else said, kind)


def _dotted(place: str) -> str:
    """`.input.sources[0].url` as `input.sources.0.url`; a name among others is not told."""
    return place.replace("[...]", "").replace("[", ".").replace("]", "").strip(".")


def read_said(kind: type[msgspec.Struct], value: Any) -> dict[str, Any]:
    """What can be read of an answer, by the names of the record: no task is lost to an echo."""
    if not isinstance(value, Mapping):
        return {}
    values = {}
    for field in msgspec.structs.fields(kind):
        raw = value.get(field.encode_name)
        if raw is None:
            continue
        try:
            values[field.name] = msgspec.convert(raw, field.type)
        except msgspec.ValidationError:
            continue
    return values


def read_time(text: str, path: str) -> int:
    """Milliseconds since 1970 of a time by RFC 3339. Raises `Malformed`."""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return (moment - _EPOCH) // _MILLISECOND
    except (ValueError, OverflowError):
        raise Malformed(path, "not a time by RFC 3339, such as 2026-01-30T12:00:00Z") from None


def write_time(millis: int) -> str:
    """A time by RFC 3339, in UTC and with milliseconds."""
    moment = _EPOCH + millis * _MILLISECOND
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{millis % 1000:03d}Z"
