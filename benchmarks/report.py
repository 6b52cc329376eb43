"""How figures are told: tables, progress, and whether what is claimed holds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from rich.console import Console

from benchmarks import load

ROUNDS = 3

console = Console(highlight=False, width=110)
_progress = Console(highlight=False, stderr=True)


def verdict(sentence: str, good: bool) -> bool:
    """Say whether it holds, and return that."""
    console.print(f"{'[green]holds[/]' if good else '[red]DOES NOT HOLD[/]'}: {sentence}\n")
    return good


def progress(sentence: str) -> None:
    """Say how far it is, in a line that the next one replaces; not among the results."""
    _progress.print(f"  {sentence:<100}", end="\r")


def markdown(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table as it goes into docs/benchmarks.md."""
    progress("")
    lines = [title, "", _line(header), "|---" * len(header) + "|", *map(_line, rows), ""]
    print("\n".join(lines), flush=True)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def median_of(results: list[load.Result], percent: float) -> float:
    """The median over the rounds of that percentile, in milliseconds."""
    return statistics.median(one.percentile(percent) for one in results)


def percentile(values: Sequence[float], percent: float) -> float:
    """That percentile of values in any order; 0 where there are none."""
    ordered = sorted(values)
    index = min(len(ordered) - 1, int(len(ordered) * percent / 100))
    return ordered[index] if ordered else 0.0
