"""Sorts of values: how the wire's are read, with the path to them, and how ours are written."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from safelight.errors import Malformed


class Sort(NamedTuple):
    """A sort of value: how the wire's is read (with its path), how ours is written.

    `parse` makes the JSON value out of text, for wires whose values all arrive as text.
    """

    name: str
    read: Callable[[Any, str], Any]
    write: Callable[[Any], Any]
    parse: Callable[[str, str], Any] | None = None


def _same(value: Any) -> Any:
    return value


def _wrong(path: str, sort: str) -> NoReturn:
    raise Malformed(path, f"not {sort}", "type")


def _read_text(value: Any, path: str) -> str:
    if not isinstance(value, str):
        _wrong(path, "a string")
    return value


def _read_integer(value: Any, path: str) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        _wrong(path, "an integer")
    if not -(2**63) <= value < 2**63:
        raise Malformed(path, "out of range", "value")
    return value


def _read_number(value: Any, path: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        _wrong(path, "a number")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise Malformed(path, "out of range", "value")
    if isinstance(value, float) and not math.isfinite(value):
        raise Malformed(path, "out of range", "value")
    return value


def _read_flag(value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        _wrong(path, "a boolean")
    return value


def _read_texts(value: Any, path: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        _wrong(path, "a list of strings")
    return tuple(_read_text(item, f"{path}.{index}") for index, item in enumerate(value))


def _read_anything(value: Any, path: str) -> Any:
    return value


_INTEGER_TEXT = re.compile(r"[+-]?[0-9]{1,19}")
_NUMBER_TEXT = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_MOST_NUMBER = 64  # characters of a number: more say nothing that a float could hold
_TRUE, _FALSE = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off", ""})


def _parse_integer(text: str, path: str) -> int:
    if not _INTEGER_TEXT.fullmatch(text):
        _wrong(path, "an integer")
    return int(text)


def _parse_number(text: str, path: str) -> float:
    if len(text) > _MOST_NUMBER:
        raise Malformed(path, f"longer than {_MOST_NUMBER} characters", "value")
    if not _NUMBER_TEXT.fullmatch(text):
        _wrong(path, "a number")
    return float(text)


def _parse_flag(text: str, path: str) -> bool:
    lowered = text.lower()
    if lowered not in _TRUE | _FALSE:
        _wrong(path, "a boolean")
    return lowered in _TRUE


TEXT = Sort("string", _read_text, _same)
INTEGER = Sort("integer", _read_integer, _same, _parse_integer)
NUMBER = Sort("number", _read_number, _same, _parse_number)
FLAG = Sort("boolean", _read_flag, _same, _parse_flag)
TEXTS = Sort("list of strings", _read_texts, list)
ANYTHING = Sort("any value", _read_anything, _same)


def _read_seed(value: Any, path: str) -> int | None:
    seed = _read_integer(value, path)
    return None if seed == _ANY_SEED else seed


_ANY_SEED = -1  # on every wire, whether its pages say so or its clients only send it
SEED = INTEGER._replace(read=_read_seed)


def pairs(sort: Sort, *both: tuple[Any, Any]) -> Sort:
    """A sort whose values are ours on the left and the wire's on the right, one for one."""
    to_wire = dict(both)
    from_wire = {theirs: ours for ours, theirs in both}

    def read(value: Any, path: str) -> Any:
        theirs = sort.read(value, path)
        if theirs not in from_wire:
            raise Malformed(path, f"not one of {', '.join(map(str, from_wire))}")
        return from_wire[theirs]

    return Sort(sort.name, read, to_wire.__getitem__, sort.parse)
