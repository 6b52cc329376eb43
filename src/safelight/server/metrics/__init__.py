"""What is measured, for Prometheus: `GET /metrics`.

Names are `safelight_`, a noun and the unit; labels have few values, and never a task's, a key's or
an address. The rule for whoever edits it: what counts a request is a dictionary of the process, and
what is counted in the database is counted once in a while, whoever asks.
"""

from __future__ import annotations

from importlib.metadata import version

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.registry import Collector

from safelight.server.metrics.census import Census, Population
from safelight.server.metrics.families import gauge
from safelight.server.metrics.holdings import Holding, Holdings
from safelight.server.metrics.tallies import Requests, Runs, Told
from safelight.store import SCHEMA_VERSION
from safelight.task import Failure, Status
from safelight.worker.observing import Observer


class Metrics(Observer):
    """The metrics of one process, in a registry of their own. `database` is the kind of it."""

    def __init__(self, database: str = "sqlite") -> None:
        self.requests = Requests()
        self._runs = Runs()
        self._told = Told()
        self._population = Population()
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        for collector in (
            _Build(database),
            self.requests,
            self._runs,
            self._told,
            self._population,
        ):
            self._registry.register(collector)

    def hold(self, held: Holding) -> None:
        """Tell what the process holds, too."""
        self._registry.register(Holdings(held))

    def request(self, dialect: str, operation: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self.requests.count(dialect, operation, status, seconds)

    def begun(self, engine: str, waited: float | None, died: bool) -> None:
        if waited is not None:
            self._runs.waited.add(engine, waited)
        self._runs.deaths += died

    def engine(self, name: str, seconds: float) -> None:
        self._runs.engines.add(name, seconds)

    def ran(self, engine: str, seconds: float) -> None:
        self._runs.ran.add(engine, seconds)

    def ended(self, engine: str, status: Status, failure: Failure | None) -> None:
        code = failure.code.value if failure is not None else ""
        self._runs.ended[engine, status.value, code] += 1

    def webhook(self, result: str, seconds: float) -> None:
        """Count a try to tell something: `delivered`, to be tried `again`, or `failed`."""
        self._told.tries[result,] += 1
        self._told.seconds.add(result, seconds)

    def endpoint_off(self) -> None:
        """Count an endpoint that was turned off."""
        self._told.off += 1

    def stuck(self, tasks: int) -> None:
        """Count tasks whose files could not be removed."""
        self._runs.stuck += tasks

    def write(self, census: Census | None = None) -> bytes:
        """All metrics in Prometheus' text format, with the census of the database."""
        self._population.census = census
        return generate_latest(self._registry)


class _Build(Collector):
    """What this is that is measured."""

    def __init__(self, database: str) -> None:
        values = version("safelight"), str(SCHEMA_VERSION), database
        self._told = gauge(
            "safelight_build_info", "Which Safelight this is, and on which kind of database",
            ("version", "schema", "database"), [(values, 1)],
        )  # fmt: skip

    def collect(self) -> list[object]:  # type: ignore[override]
        return [self._told]
