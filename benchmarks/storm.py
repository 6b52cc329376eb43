"""Tasks that are sent to several APIs while the processes of the crew are killed, one by one.

A caller whose API refuses, breaks off or is silent goes to the next one, and counts nothing as
accepted but what was answered.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence

from benchmarks import ground
from benchmarks.crew import Crew, Member
from benchmarks.report import progress
from safelight.task import Submit

_CALLERS = 16
_ANSWER_SECONDS, _GIVE_UP_SECONDS, _PAUSE_SECONDS = 10.0, 120.0, 0.05


class Storm:
    """What was accepted, what went wrong on the way, and who was killed."""

    def __init__(self, crew: Crew, seed: int) -> None:
        self.accepted: list[str] = []
        self.broken: Counter[str] = Counter()
        self.kills: Counter[str] = Counter()
        self.seconds = 0.0
        self._crew = crew
        self._chance = random.Random(seed)
        self._apis = [member for member in crew.members if member.port]
        self._began = 0.0

    async def run(self, submit: Submit, tasks: int, pace: float, every: float) -> None:
        """Send `tasks` at a pace of so many a second; kill one process every so many seconds."""
        loop = asyncio.get_running_loop()
        self._began = loop.time()
        dues = (self._began + number / pace for number in range(tasks))
        wires = [ground.prepare("tensorslab", submit, self._crew.server(api)) for api in self._apis]
        async with asyncio.TaskGroup() as group:
            killing = group.create_task(self._kill(every, tasks))
            calls = (self._call(number, dues, wires) for number in range(_CALLERS))
            await asyncio.wait([group.create_task(call) for call in calls])
            killing.cancel()
        self.seconds = loop.time() - self._began

    async def _kill(self, every: float, tasks: int) -> None:
        loop = asyncio.get_running_loop()
        for number in range(1, 1_000_000):
            while (left := self._began + number * every - loop.time()) > 0:
                progress(
                    f"{len(self.accepted):,} of {tasks:,} accepted, "
                    f"{self.kills.total()} processes killed"
                )
                await asyncio.sleep(min(left, 1))
            self._replace(self._chance.choice(self._crew.members))

    def _replace(self, member: Member) -> None:
        for one in self._crew.members:
            one.check()  # who was not killed is to be alive
        member.kill()
        member.start()
        self.kills["API" if member.port else "worker"] += 1

    async def _call(self, number: int, dues: Iterator[float], wires: Sequence[bytes]) -> None:
        """One caller: the next task that is due, over and over."""
        loop = asyncio.get_running_loop()
        caller = _Caller(self._apis, wires, number)
        for due in dues:
            await asyncio.sleep(max(0.0, due - loop.time()))
            async with asyncio.timeout(_GIVE_UP_SECONDS):
                while (id := await self._try(caller)) is None:
                    caller.turn()
                    await asyncio.sleep(_PAUSE_SECONDS)
            self.accepted.append(id)
        caller.turn()

    async def _try(self, caller: _Caller) -> str | None:
        """The id of a task that was accepted; None where that is to be tried elsewhere."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                status, body = await caller.ask()
        except (OSError, EOFError) as problem:
            self.broken[_kind_of(problem)] += 1
            return None
        if status == 503:
            self.broken["told to come back (503)"] += 1
            return None
        if status != 200:
            raise RuntimeError(f"a create was answered with {status}: {body!r}")
        return str(json.loads(body)["data"]["taskid"])


def _kind_of(problem: Exception) -> str:
    if isinstance(problem, ConnectionRefusedError):
        return "refused"
    return "no answer in time" if isinstance(problem, TimeoutError) else "broken off"


class _Caller:
    """One connection, to one API after the other."""

    def __init__(self, apis: Sequence[Member], wires: Sequence[bytes], first: int) -> None:
        self._apis = apis
        self._wires = wires
        self._at = first % len(apis)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self) -> tuple[int, bytes]:
        """Send the request; the status and body of its answer."""
        if self._streams is None:
            port = self._apis[self._at].port
            self._streams = await asyncio.open_connection("127.0.0.1", port)
        reader, writer = self._streams
        writer.write(self._wires[self._at])
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        at = head.index(b"content-length:") + 15
        body = await reader.readexactly(int(head[at : head.index(b"\r\n", at)]))
        return int(head.split(b" ", 2)[1]), body

    def turn(self) -> None:
        """Leave this API and go to the next one."""
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None
        self._at = (self._at + 1) % len(self._apis)
