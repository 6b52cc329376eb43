"""Which task is run next, and where: in memory, or by PgQueuer in PostgreSQL.

A queue carries task ids and nothing else, each once. The store is the truth: an id whose task was
ended meanwhile does no harm, because a worker claims its task in the store first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol

# Runs the task of that id, which was queued for that engine; False where it is given back. It may
# call `leave` before it returns: another task has its place then.
Leave = Callable[[], None]
Work = Callable[[str, str, Leave], Awaitable[bool]]


class Lane(NamedTuple):
    """Engines that share places: so many of their tasks are run at once in this process."""

    engines: tuple[str, ...]
    places: int


class Places:
    """Which of the places are taken, and by which jobs."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self._lanes = {engine: lane for lane in lanes for engine in lane.engines}
        self._taken: dict[Lane, dict[int, str]] = {lane: {} for lane in lanes}  # by job

    def engines(self) -> tuple[str, ...]:
        """All engines that have a place."""
        return tuple(self._lanes)

    def free(self) -> dict[str, int]:
        """The engines that have a free place, and how many."""
        left = {lane: lane.places - len(taken) for lane, taken in self._taken.items()}
        return {engine: left[lane] for engine, lane in self._lanes.items() if left[lane] > 0}

    def take(self, engine: str, job: int) -> None:
        """A job has a place now."""
        self._taken[self._lanes[engine]][job] = engine

    def leave(self, engine: str, job: int) -> bool:
        """Its place is free again, if it is not by now; whether there was none in its lane."""
        lane = self._lanes[engine]
        taken = self._taken[lane]
        was_full = job in taken and len(taken) >= lane.places
        taken.pop(job, None)
        return was_full

    def counts(self) -> dict[str, tuple[int, int]]:
        """By engine, the places that it has taken, and those that it could take now."""
        found = {}
        for engine, lane in self._lanes.items():
            taken = self._taken[lane]
            own = sum(1 for other in taken.values() if other == engine)
            found[engine] = own, max(0, lane.places - len(taken))
        return found


class Queue(Protocol):
    """Hands tasks to workers. `places` are those of the lanes that it runs, none before."""

    places: Places

    async def run(self, work: Work, lanes: Sequence[Lane]) -> None:
        """Hand tasks to `work`, in each lane so many at a time as it has places, until `stop`.

        A place is taken until the task's work is done, or leaves it.

        Then wait for the last ones.
        """

    def stop(self) -> None:
        """Hand out no more tasks."""
