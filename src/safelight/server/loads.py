"""What waits and what runs: `GET /queue` of Safelight's own API."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import UNSET

from safelight.dialects.safelight.records import EngineLoad, QueueList
from safelight.dialects.safelight.writing import PREFIX
from safelight.queue import Lane
from safelight.server.foresight import Foresight
from safelight.server.native import Call, Operation
from safelight.store.scripts import Load
from safelight.wire import Response, Route


class Loads:
    """Tells what the engines have to do. `lanes` are the places of those that run here."""

    def __init__(self, foresight: Foresight, engines: Sequence[str], lanes: Sequence[Lane]) -> None:
        self._foresight = foresight
        self._engines = engines
        self._places = {name: lane.places for lane in lanes for name in lane.engines}

    def operations(self) -> tuple[Operation, ...]:
        """The operation that tells it."""
        return (Operation(Route("queue", "GET", f"{PREFIX}/queue"), self._answer),)

    async def _answer(self, call: Call) -> Response:
        loads = await self._foresight.loads()
        return call.answer(QueueList(engines=tuple(self._tell(loads, call.context.now))))

    def _tell(self, loads: dict[str, Load], now: int) -> Iterator[EngineLoad]:
        for name in sorted({*self._engines, *loads} - {""}):
            load = loads.get(name, Load())
            oldest = UNSET if load.oldest is None else max(0, now - load.oldest) / 1000
            yield EngineLoad(
                engine=name,
                waiting=load.waiting,
                running=load.running,
                oldest_wait=oldest,
                places=self._places.get(name, UNSET),
            )
