"""What came from outside, asked for values by name and sort."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from safelight.errors import InvalidValue, Malformed
from safelight.wire.sorts import FLAG, INTEGER, NUMBER, TEXT, TEXTS, Sort


class Reading:
    """Values from outside, asked for by name and kind.

    `path` is where this object lies in what was read, and stands in front of every name in a
    `Malformed`. With `text` values arrive as text (forms, query strings) and numbers and flags
    are parsed out of it. A name that is absent, or null, is missing: with a default it reads as
    the default, without one it is `Malformed`.
    """

    __slots__ = ("_lenient", "path", "values")

    def __init__(self, value: Any, path: str = "", *, text: bool = False) -> None:
        if not isinstance(value, Mapping):
            raise Malformed(path, "not an object", "type")
        self.values = value
        self.path = path
        self._lenient = text

    def at(self, name: str) -> str:
        """The full path to a name here."""
        return f"{self.path}.{name}" if self.path else name

    def has(self, name: str) -> bool:
        """Whether there is a value (that is not null) of that name."""
        return self.values.get(name) is not None

    def value(self, name: str, kind: Sort, default: Any = ...) -> Any:
        """The value of that name, read as `kind` reads it."""
        raw = self.values.get(name)
        if raw is None:
            if default is ...:
                raise Malformed(self.at(name), "required", "missing")
            return default
        return kind.read(self._untext(name, raw, kind), self.at(name))

    def echo(self, name: str, kind: Sort, default: Any = None) -> Any:
        """The value of that name, or the default where there is none, or nonsense.

        For what an answer tells beside the state and the result: no task is lost to it.
        """
        try:
            return self.value(name, kind, default)
        except Malformed:
            return default

    def text(self, name: str, default: Any = ...) -> Any:
        return self.value(name, TEXT, default)

    def integer(self, name: str, default: Any = ...) -> Any:
        return self.value(name, INTEGER, default)

    def number(self, name: str, default: Any = ...) -> Any:
        return self.value(name, NUMBER, default)

    def flag(self, name: str, default: Any = ...) -> Any:
        return self.value(name, FLAG, default)

    def texts(self, name: str, default: Any = ...) -> Any:
        """A list of texts, as a tuple."""
        return self.value(name, TEXTS, default)

    def object(self, name: str) -> Reading:
        """The object of that name; an absent one reads as empty."""
        raw = self.values.get(name)
        return Reading({} if raw is None else raw, self.at(name))

    def objects(self, name: str) -> list[Reading]:
        """The list of objects of that name; an absent one reads as empty."""
        raw = self.values.get(name)
        if raw is None:
            return []
        if not isinstance(raw, list | tuple):
            raise Malformed(self.at(name), "not a list", "type")
        return [Reading(item, f"{self.at(name)}.{index}") for index, item in enumerate(raw)]

    def _untext(self, name: str, raw: Any, kind: Sort) -> Any:
        if self._lenient and kind.parse is not None and isinstance(raw, str):
            return kind.parse(raw.strip(), self.at(name))
        return raw


_MOST_IDS = 1000  # that one request may name


def read_ids(reading: Reading, name: str) -> tuple[str, ...]:
    """The list of ids of that name, which has an end. Raises `Malformed`."""
    ids: tuple[str, ...] = reading.texts(name)
    if len(ids) > _MOST_IDS:
        raise Malformed(reading.at(name), f"more than {_MOST_IDS} ids")
    return ids


def require(name: str, value: Any, at_least: float, at_most: float) -> None:
    """Raise `InvalidValue` unless `value` is None or lies within both bounds."""
    if value is not None and not at_least <= value <= at_most:
        raise InvalidValue(f"{name}: must be {at_least} to {at_most}", parameter=name)
