"""What a process holds at the moment it is asked: places, streams, and those who wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from prometheus_client.registry import Collector

from safelight.durations import Durations
from safelight.server.metrics.families import counter, gauge, histogram


class Holding(NamedTuple):
    """What is held, told by whoever holds it.

    `places` are those of each engine, taken and free; engines that share places have the same free
    ones. `requests` are those to other services until now, by service and outcome.
    """

    places: Callable[[], Mapping[str, tuple[int, int]]]
    streams: Callable[[], int]
    long_polls: Callable[[], int]
    waiting: Callable[[], int]
    requests: Callable[[], Mapping[tuple[str, str], int]]
    store: Durations[str]
    blobs: Durations[str]


class Holdings(Collector):
    """Tells what is held."""

    def __init__(self, held: Holding) -> None:
        self._held = held

    def collect(self) -> Iterator[Any]:
        held = self._held
        yield gauge(
            "safelight_places", "Places of an engine in this process, taken and free",
            ("engine", "state"), _states(held.places()),
        )  # fmt: skip
        yield gauge(
            "safelight_streams", "Streams of events that are open", (), [((), held.streams())]
        )
        yield gauge(
            "safelight_long_polls", "Answers that are held until there is something to tell",
            (), [((), held.long_polls())],
        )  # fmt: skip
        yield gauge(
            "safelight_waiting_requests", "Requests that are answered at the end of their task",
            (), [((), held.waiting())],
        )  # fmt: skip
        yield counter(
            "safelight_provider_requests", "Requests to other services, where tasks are run",
            ("service", "outcome"), held.requests(),
        )  # fmt: skip
        yield histogram(
            "safelight_store_seconds", "Time that the database took, with the wait for it",
            "operation", held.store,
        )  # fmt: skip
        yield histogram(
            "safelight_blob_seconds", "Time that a file took to be kept, or to be had",
            "operation", held.blobs,
        )  # fmt: skip


def _states(places: Mapping[str, tuple[int, int]]) -> Iterator[tuple[tuple[str, ...], float]]:
    for engine, (taken, free) in sorted(places.items()):
        yield (engine, "taken"), taken
        yield (engine, "free"), free
