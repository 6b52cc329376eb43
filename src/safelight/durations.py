"""How long things took, by what they were: counted in buckets, in plain dictionaries.

A library's own histogram costs a lock for each. Read and written on one thread.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Coroutine, Iterator
from functools import wraps
from itertools import accumulate
from typing import Any, Concatenate, Generic, NamedTuple, ParamSpec, Protocol, TypeVar, cast

_P = ParamSpec("_P")
_T = TypeVar("_T")
_K = TypeVar("_K")

# Upper bounds of the buckets, in seconds.
BRIEF = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
ANSWERS = (*BRIEF, 5.0, 10.0, 15.0)
LONG = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0)
HOURS = (*LONG, 1800.0, 3600.0, 7200.0)


class Spread(NamedTuple, Generic[_K]):
    """How long things of one kind took: how many at most so many seconds, and all together."""

    kind: _K
    below: list[tuple[str, int]]  # by the upper bound, as text; the last one is `+Inf`
    seconds: float


class Durations(Generic[_K]):
    """How long things took, by their kind, which has few values."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._buckets: dict[_K, list[int]] = {}
        self._seconds: dict[_K, float] = {}

    def add(self, kind: _K, seconds: float) -> None:
        """Something of that kind took so long."""
        buckets = self._buckets.get(kind)
        if buckets is None:
            buckets = self._buckets[kind] = [0] * (len(self._bounds) + 1)
            self._seconds[kind] = 0.0
        buckets[bisect_left(self._bounds, seconds)] += 1
        self._seconds[kind] += seconds

    def __iter__(self) -> Iterator[Spread[_K]]:
        bounds = [*map(str, self._bounds), "+Inf"]
        for kind, buckets in self._buckets.items():
            below = list(zip(bounds, accumulate(buckets), strict=True))
            yield Spread(kind, below, self._seconds[kind])


class Timed(Protocol):
    """What says how long its own operations take."""

    durations: Durations[str]


_S = TypeVar("_S", bound=Timed)
_Method = Callable[Concatenate[_S, _P], Coroutine[Any, Any, _T]]


def timed(operation: str) -> Callable[[_Method[_S, _P, _T]], _Method[_S, _P, _T]]:
    """Have a method count how long it takes, also where it raises."""

    def decorate(method: _Method[_S, _P, _T]) -> _Method[_S, _P, _T]:
        @wraps(method)
        async def measured(self: _S, *args: _P.args, **kwargs: _P.kwargs) -> _T:
            began = time.perf_counter()
            try:
                return await method(self, *args, **kwargs)
            finally:
                self.durations.add(operation, time.perf_counter() - began)

        return cast(_Method[_S, _P, _T], measured)

    return decorate
