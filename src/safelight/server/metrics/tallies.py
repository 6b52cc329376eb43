"""What a process has counted since its start: requests, runs, and what it told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from prometheus_client.registry import Collector

from safelight.durations import ANSWERS, BRIEF, HOURS, LONG, Durations
from safelight.server.metrics.families import counter, histogram

TRIES = ("delivered", "again", "failed")


class Requests(Collector):
    """Requests, counted in plain dictionaries: the library's own counters cost a lock each."""

    def __init__(self) -> None:
        self.answered: Counter[tuple[str, str, int]] = Counter()
        self.seconds: Durations[str] = Durations(BRIEF)

    def count(self, dialect: str, operation: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self.answered[dialect, operation, status] += 1
        self.seconds.add(dialect, seconds)

    def collect(self) -> Iterator[Any]:
        yield counter(
            "safelight_requests", "Requests answered", ("dialect", "operation", "status"),
            {(*asked, str(status)): count for (*asked, status), count in self.answered.items()},
        )  # fmt: skip
        yield histogram(
            "safelight_request_seconds", "Time to answer a request", "dialect", self.seconds
        )


class Runs(Collector):
    """What became of tasks: how long they waited and ran, and how they ended."""

    def __init__(self) -> None:
        self.ended: Counter[tuple[str, str, str]] = Counter()
        self.waited: Durations[str] = Durations(HOURS)
        self.ran: Durations[str] = Durations(HOURS)
        self.engines: Durations[str] = Durations(LONG)
        self.deaths = 0
        self.stuck = 0

    def collect(self) -> Iterator[Any]:
        yield counter(
            "safelight_tasks_ended", "Tasks that came to their end here",
            ("engine", "status", "code"), self.ended,
        )  # fmt: skip
        yield histogram(
            "safelight_task_wait_seconds", "Time that a task waited for a worker",
            "engine", self.waited,
        )  # fmt: skip
        yield histogram(
            "safelight_task_run_seconds", "Time that the run of a task took which ended it",
            "engine", self.ran,
        )  # fmt: skip
        yield histogram(
            "safelight_engine_seconds", "Time that an engine took for a task",
            "engine", self.engines,
        )  # fmt: skip
        yield counter(
            "safelight_task_deaths", "Times that a task was begun again whose worker had died",
            (), {(): self.deaths},
        )  # fmt: skip
        yield counter(
            "safelight_files_not_removed", "Times that a sweep could not remove a task's files",
            (), {(): self.stuck},
        )  # fmt: skip


class Told(Collector):
    """What became of tries to tell something, and endpoints that were turned off."""

    def __init__(self) -> None:
        self.tries: Counter[tuple[str]] = Counter()
        self.seconds: Durations[str] = Durations(ANSWERS)
        self.off = 0

    def collect(self) -> Iterator[Any]:
        yield counter(
            "safelight_webhook_tries",
            "Tries to tell something: delivered, to be tried again, or failed for good",
            ("result",), {(result,): self.tries[result,] for result in TRIES},
        )  # fmt: skip
        yield histogram(
            "safelight_webhook_seconds", "Time that a try to tell something took",
            "result", self.seconds,
        )  # fmt: skip
        yield counter(
            "safelight_webhook_endpoints_off", "Endpoints that were turned off",
            (), {(): self.off},
        )  # fmt: skip
