"""What is measured, for Prometheus: `GET /metrics`."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from safelight.task import Status

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_SLOW_ANSWERS = (5.0, 10.0, 15.0)
_SLOW = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 900)


class _Requests(Collector):
    """Requests, counted in plain dictionaries: the library's own counters cost a lock each."""

    def __init__(self) -> None:
        self.answered: Counter[tuple[str, str, int]] = Counter()
        self.buckets: dict[str, list[int]] = {}
        self.seconds: Counter[str] = Counter()

    def count(self, dialect: str, operation: str, status: int, seconds: float) -> None:
        self.answered[dialect, operation, status] += 1
        buckets = self.buckets.get(dialect)
        if buckets is None:
            buckets = self.buckets[dialect] = [0] * (len(_FAST) + 1)
        buckets[bisect_left(_FAST, seconds)] += 1
        self.seconds[dialect] += seconds  # type: ignore[assignment]

    def collect(self) -> Iterator[Any]:
        labels = ("dialect", "operation", "status")
        answered = CounterMetricFamily("safelight_requests", "Requests answered", labels=labels)
        for (dialect, operation, status), count in self.answered.items():
            answered.add_metric((dialect, operation, str(status)), count)
        yield answered
        times = HistogramMetricFamily(
            "safelight_request_seconds", "Time to answer a request", labels=("dialect",)
        )
        bounds = [*map(str, _FAST), "+Inf"]
        for dialect, buckets in self.buckets.items():
            below = list(zip(bounds, accumulate(buckets), strict=True))
            times.add_metric((dialect,), below, self.seconds[dialect])
        yield times


class _Tasks(Collector):
    """Tasks by status, as the store counted them last, and those whose files could not go."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.stuck = 0

    def collect(self) -> Iterator[Any]:
        tasks = GaugeMetricFamily("safelight_tasks", "Tasks there are", labels=("status",))
        for status in Status:
            tasks.add_metric((status.value,), self.counts.get(status.value, 0))
        yield tasks
        yield GaugeMetricFamily(
            "safelight_queue_depth",
            "Tasks that wait for a worker",
            value=self.counts.get(Status.QUEUED.value, 0),
        )
        yield CounterMetricFamily(
            "safelight_files_not_removed",
            "Times that a sweep could not remove the files of a task",
            value=self.stuck,
        )


class _Webhooks(Collector):
    """What became of tries to tell something, and endpoints that were turned off."""

    def __init__(self) -> None:
        self.tries: Counter[str] = Counter()
        self.off = 0

    def collect(self) -> Iterator[Any]:
        tries = CounterMetricFamily(
            "safelight_webhook_tries",
            "Tries to tell something: delivered, to be tried again, or failed for good",
            labels=("result",),
        )
        for result in ("delivered", "again", "failed"):
            tries.add_metric((result,), self.tries[result])
        yield tries
        yield CounterMetricFamily(
            "safelight_webhook_endpoints_off", "Endpoints that were turned off", value=self.off
        )


class Metrics:
    """The metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = _Requests()
        self._tasks = _Tasks()
        self._registry.register(self._requests)
        self._registry.register(self._tasks)
        self._webhooks = _Webhooks()
        self._registry.register(self._webhooks)
        self._webhook_seconds = Histogram(
            "safelight_webhook_seconds",
            "Time that a try to tell something took",
            buckets=_FAST + _SLOW_ANSWERS,
            registry=self._registry,
        )
        self._engine = Histogram(
            "safelight_engine_seconds",
            "Time that an engine took for a task",
            ("engine",),
            buckets=_SLOW,
            registry=self._registry,
        )

    def request(self, dialect: str, operation: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self._requests.count(dialect, operation, status, seconds)

    def engine(self, name: str, seconds: float) -> None:
        """Count a run of an engine."""
        self._engine.labels(name).observe(seconds)

    def webhook(self, result: str, seconds: float) -> None:
        """Count a try to tell something: `delivered`, to be tried `again`, or `failed`."""
        self._webhooks.tries[result] += 1
        self._webhook_seconds.observe(seconds)

    def endpoint_off(self) -> None:
        """Count an endpoint that was turned off."""
        self._webhooks.off += 1

    def stuck(self, tasks: int) -> None:
        """Count tasks whose files could not be removed."""
        self._tasks.stuck += tasks

    def write(self, tasks: dict[str, int]) -> bytes:
        """All metrics in Prometheus' text format; `tasks` is how many there are by status."""
        self._tasks.counts = tasks
        return generate_latest(self._registry)
