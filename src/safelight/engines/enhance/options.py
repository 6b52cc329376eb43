"""What an option of an operation may be: a word, a number, a ratio, a list of areas. No I/O."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from safelight.errors import (
    InvalidType,
    InvalidValue,
    MissingParameter,
    UnknownParameter,
    Unsupported,
)
from safelight.task import Record


class Choice(Record, frozen=True, kw_only=True):
    """One of some words."""

    values: tuple[str, ...]
    default: str | None = None
    any_case: bool = False  # "PNG" is "png", and "" is the default

    def read(self, name: str, value: object) -> str | None:
        if not isinstance(value, str):
            raise InvalidType(f"{name}: a word is expected", parameter=name)
        if self.any_case:
            value = value.lower()
            if not value:
                return self.default
        if value not in self.values:
            known = ", ".join(self.values)
            raise InvalidValue(f"{name}: {value!r} is none of {known}", parameter=name)
        return value


class Number(Record, frozen=True, kw_only=True):
    """A number, both bounds allowed."""

    low: float
    high: float
    default: float | None = None
    whole: bool = False

    def read(self, name: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise InvalidType(f"{name}: a number is expected", parameter=name)
        if not self.low <= value <= self.high or (self.whole and value != math.floor(value)):
            kind = "a whole number" if self.whole else "a number"
            text = f"{name}: {value} is not {kind} from {self.low:g} to {self.high:g}"
            raise InvalidValue(text, parameter=name)
        return int(value) if self.whole else float(value)


_RATIO = re.compile(r"0*([1-9][0-9]{0,4}):0*([1-9][0-9]{0,4})")


class Ratio(Record, frozen=True, kw_only=True):
    """Two whole numbers with a colon between them; read as one number, width by height."""

    default: None = None

    def read(self, name: str, value: object) -> float | None:
        if not isinstance(value, str):
            raise InvalidType(f"{name}: a word is expected", parameter=name)
        if not value:
            return self.default
        found = _RATIO.fullmatch(value)
        if not found:
            raise InvalidValue(f"{name}: {value[:40]!r} is no ratio as 16:9", parameter=name)
        return int(found[1]) / int(found[2])


class Area(Record, frozen=True, kw_only=True):
    """A part of a picture: left, top, right, bottom, in pixels or in shares of the sides."""

    text: bool  # letters are in it, not a logo
    corners: tuple[float, float, float, float]
    shares: bool


_PIXELS, _SHARES = 2, 1  # the values of `bounding_box_unit_type`; 0 leaves it to the numbers
_UNIT = Number(low=0, high=2, default=0, whole=True)
_KIND = Choice(values=("logo", "text"), default="logo")
_CORNERS = ("area_coord_set", "bounding_box")  # the first wins


class Areas(Record, frozen=True, kw_only=True):
    """A list of areas, each an object with `type` and one of the two ways to say where it is."""

    most: int
    farthest: int  # pixels
    default: None = None

    def read(self, name: str, value: object) -> tuple[Area, ...]:
        if not isinstance(value, (list, tuple)):
            raise InvalidType(f"{name}: a list is expected", parameter=name)
        if not 1 <= len(value) <= self.most:
            text = f"{name}: from 1 to {self.most} areas are expected"
            raise InvalidValue(text, parameter=name)
        return tuple(self._area(f"{name}.{at}", one) for at, one in enumerate(value))

    def _area(self, name: str, value: object) -> Area:
        if not isinstance(value, Mapping):
            raise InvalidType(f"{name}: an object is expected", parameter=name)
        for unknown in value.keys() - {"type", "bounding_box_unit_type", *_CORNERS}:
            at = f"{name}.{unknown}"
            raise UnknownParameter(f"{at}: there is no such option", parameter=at)
        kind = _optional(_KIND, f"{name}.type", value.get("type"))
        unit = _optional(
            _UNIT, f"{name}.bounding_box_unit_type", value.get("bounding_box_unit_type")
        )
        given = next((one for one in _CORNERS if value.get(one)), None)
        if given is None:
            at = f"{name}.{_CORNERS[0]}"
            raise MissingParameter(f"{at}: four numbers are needed", parameter=at)
        corners = self._corners(f"{name}.{given}", value[given])
        if given == _CORNERS[0]:
            unit = _PIXELS
        # As the service does where the unit is left open: what is below one is a share.
        shares = unit == _SHARES or (unit == 0 and max(corners) <= 1)
        if shares and max(corners) > 1:
            raise InvalidValue(f"{name}.{given}: a share is at most 1", parameter=f"{name}.{given}")
        return Area(text=kind == "text", corners=corners, shares=shares)

    def _corners(self, name: str, value: object) -> tuple[float, float, float, float]:
        if not isinstance(value, (list, tuple)):
            raise InvalidType(f"{name}: a list is expected", parameter=name)
        if len(value) != 4:
            raise InvalidValue(f"{name}: four numbers are expected", parameter=name)
        number = Number(low=0, high=self.farthest)
        left, top, right, bottom = (
            number.read(f"{name}.{at}", one) for at, one in enumerate(value)
        )
        if left >= right or top >= bottom:
            text = f"{name}: left, top, right and bottom are expected, in this order"
            raise InvalidValue(text, parameter=name)
        return left, top, right, bottom


def _optional(domain: Choice | Number, name: str, value: Any) -> Any:
    return domain.default if value is None else domain.read(name, value)


class Never(Record, frozen=True, kw_only=True):
    """What some wire has a word for and this engine cannot do; only nothing is let pass."""

    default: None = None

    def read(self, name: str, value: object) -> None:
        if value not in ("", [], {}):
            raise Unsupported(f"{name}: this engine cannot do that", parameter=name)


Domain = Choice | Number | Ratio | Areas | Never
