"""Metrics as Prometheus has them, made of what was counted in plain dictionaries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from safelight.durations import Durations

_Values = TypeVar("_Values", bound=tuple[str, ...])


def counter(
    name: str, help: str, labels: tuple[str, ...], counted: Mapping[_Values, int]
) -> CounterMetricFamily:
    """A counter with what was counted for each of the values of its labels."""
    family = CounterMetricFamily(name, help, labels=labels)
    for values, count in counted.items():
        family.add_metric(values, count)
    return family


def gauge(
    name: str, help: str, labels: tuple[str, ...], found: Iterable[tuple[tuple[str, ...], float]]
) -> GaugeMetricFamily:
    """A gauge with what it is for each of the values of its labels."""
    family = GaugeMetricFamily(name, help, labels=labels)
    for values, value in found:
        family.add_metric(values, value)
    return family


def histogram(name: str, help: str, label: str, durations: Durations[str]) -> Any:
    """A histogram of how long things took, by their kind."""
    family = HistogramMetricFamily(name, help, labels=(label,))
    for spread in durations:
        family.add_metric((spread.kind,), spread.below, spread.seconds)
    return family
