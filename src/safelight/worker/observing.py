"""Who looks on while tasks are run: how long they waited and took, and how they ended."""

from __future__ import annotations

from safelight.task import Failure, Status


class Observer:
    """Hears of runs, by the name of their engine, and does nothing about it."""

    def begun(self, engine: str, waited: float | None, died: bool) -> None:
        """A task is begun. It has `waited` so many seconds, where it is begun for the first time;
        `died` says that a worker has died of it before."""

    def engine(self, name: str, seconds: float) -> None:
        """An engine was at work for so long."""

    def ran(self, engine: str, seconds: float) -> None:
        """A run that ended its task took so long, with all that is beside the engine's work."""

    def ended(self, engine: str, status: Status, failure: Failure | None) -> None:
        """A task is at its end."""
