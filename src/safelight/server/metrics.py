"""What is measured, for Prometheus: `GET /metrics`."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from safelight.task import Status

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_SLOW = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 900)


class Metrics:
    """The metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "safelight_requests",
            "Requests answered",
            ("dialect", "operation", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "safelight_request_seconds",
            "Time to answer a request",
            ("dialect",),
            buckets=_FAST,
            registry=self._registry,
        )
        self._tasks = Gauge(
            "safelight_tasks", "Tasks there are", ("status",), registry=self._registry
        )
        self._depth = Gauge(
            "safelight_queue_depth", "Tasks that wait for a worker", registry=self._registry
        )
        self._engine = Histogram(
            "safelight_engine_seconds",
            "Time that an engine took for a task",
            ("engine",),
            buckets=_SLOW,
            registry=self._registry,
        )
        self._count = lru_cache(maxsize=1024)(self._requests.labels)
        self._time = lru_cache(maxsize=64)(self._seconds.labels)

    def request(self, dialect: str, operation: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self._count(dialect, operation, str(status)).inc()
        self._time(dialect).observe(seconds)

    def engine(self, name: str, seconds: float) -> None:
        """Count a run of an engine."""
        self._engine.labels(name).observe(seconds)

    def write(self, tasks: dict[str, int], depth: int) -> bytes:
        """All metrics in Prometheus' text format."""
        for status in Status:
            self._tasks.labels(status.value).set(tasks.get(status.value, 0))
        self._depth.set(depth)
        text: Any = generate_latest(self._registry)
        return bytes(text)
