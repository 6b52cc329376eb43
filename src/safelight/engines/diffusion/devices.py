"""Whose turn it is: one computation at a time on each device; warm models first, within a bound.

A task whose model is loaded on a free device goes before older ones whose models are not, so that
two models do not take turns in the memory. Each task can be overtaken so only `patience` times.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(eq=False)
class Device:
    """A device: what is loaded there, the most recently used last, and whether it computes."""

    name: str
    warm: tuple[str, ...] = ()
    busy: bool = False


@dataclass(eq=False)
class _Turn:
    """One who waits."""

    model: str
    given: asyncio.Future[Device] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    overtaken: int = 0


class Devices:
    """The devices of this process."""

    def __init__(self, names: Iterable[str], patience: int) -> None:
        self.all = tuple(Device(name) for name in names)
        self._patience = patience
        self._waiting: list[_Turn] = []  # the oldest first

    @asynccontextmanager
    async def turn(self, model: str) -> AsyncIterator[Device]:
        """Wait for a device to compute on with that model, and have it to oneself."""
        device = await self._wait(_Turn(model))
        try:
            yield device
        finally:
            self._free(device)

    async def _wait(self, turn: _Turn) -> Device:
        self._waiting.append(turn)
        self._hand_out()
        try:
            return await turn.given
        except asyncio.CancelledError:
            if turn in self._waiting:
                self._waiting.remove(turn)
            if turn.given.done() and not turn.given.cancelled():
                self._free(turn.given.result())
            raise

    def _free(self, device: Device) -> None:
        device.busy = False
        self._hand_out()

    def _hand_out(self) -> None:
        while self._waiting and (free := [one for one in self.all if not one.busy]):
            turn, device = self._choose(free)
            for older in self._waiting[: self._waiting.index(turn)]:
                older.overtaken += 1
            self._waiting.remove(turn)
            device.busy = True
            turn.given.set_result(device)

    def _choose(self, free: list[Device]) -> tuple[_Turn, Device]:
        """Who is next, and where: the oldest with a warm model, unless that is unfair to one."""
        for turn in self._waiting:
            for device in free:
                if turn.model in device.warm:
                    return turn, device
            if turn.overtaken >= self._patience:
                break
        # Cold: where the least is lost.
        return self._waiting[0], min(free, key=lambda device: len(device.warm))
