"""The query string of a request: each parameter once, and none that the operation does not know."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode

from safelight.errors import Malformed, UnknownParameter
from safelight.wire import Request
from safelight.wire.forms import MOST_PARTS

_Word = TypeVar("_Word", bound=StrEnum)
_MOST_DIGITS = 18
_FLAGS = {"true": True, "false": False}


def query_text(values: Mapping[str, Any]) -> str:
    """Values as a query string: lists are repeated, and what is None is left out."""
    return urlencode({k: v for k, v in values.items() if v is not None}, doseq=True)


def flag_text(flag: bool) -> str | None:
    """How a flag is said: by nothing where it is not set."""
    return "true" if flag else None


class Query:
    """The parameters of a query string, which are taken out of it one by one."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name, []).append(value)

    @classmethod
    def of(cls, request: Request) -> Query:
        """That of a request. Raises `Malformed`."""
        try:
            return cls(parse_qsl(request.query, keep_blank_values=True, max_num_fields=MOST_PARTS))
        except ValueError:
            problem = f"the query string has more than {MOST_PARTS} parts"
            raise Malformed("", problem, "syntax") from None

    def texts(self, name: str) -> tuple[str, ...]:
        """The values of a parameter that may be repeated."""
        return tuple(self._values.pop(name, ()))

    def text(self, name: str) -> str | None:
        """The value of a parameter that may be there once. Raises `Malformed`."""
        values = self._values.pop(name, [])
        if len(values) > 1:
            raise Malformed(name, "given more than once")
        return values[0] if values else None

    def word(self, name: str, kind: type[_Word]) -> _Word | None:
        """One of the words of `kind`. Raises `Malformed`."""
        text = self.text(name)
        return None if text is None else _word(name, text, kind)

    def words(self, name: str, kind: type[_Word]) -> frozenset[_Word]:
        """Words of `kind`: the parameter is repeated, or has several with commas between them.

        Raises `Malformed`.
        """
        texts = [text for value in self.texts(name) for text in value.split(",")]
        return frozenset(_word(name, text, kind) for text in texts)

    def flag(self, name: str) -> bool:
        """Whether a flag is set. Raises `Malformed`."""
        return self.choice(name) or False

    def choice(self, name: str) -> bool | None:
        """What a flag says, if it is there. Raises `Malformed`."""
        text = self.text(name)
        if text is None:
            return None
        if text not in _FLAGS:
            raise Malformed(name, "neither true nor false")
        return _FLAGS[text]

    def number(self, name: str, default: int, least: int, most: int) -> int:
        """A whole number within bounds. Raises `Malformed`."""
        text = self.text(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
            raise Malformed(name, "not a whole number", "type")
        if not least <= int(text) <= most:
            raise Malformed(name, f"must be {least} to {most}")
        return int(text)

    def names(self, beginning: str) -> dict[str, str]:
        """The parameters whose names begin so, without that. Raises `Malformed`."""
        found = [name for name in self._values if name.startswith(beginning)]
        values = {name.removeprefix(beginning): self.text(name) for name in found}
        return {name: value for name, value in values.items() if value is not None}

    def end(self) -> None:
        """Raise `UnknownParameter` where there is one that was not asked for."""
        for name in self._values:
            shown = name[:100]
            raise UnknownParameter(f"{shown}: there is no such parameter", parameter=shown)


def _word(name: str, text: str, kind: type[_Word]) -> _Word:
    try:
        return kind(text)
    except ValueError:
        raise Malformed(name, f"not one of {', '.join(kind)}") from None
