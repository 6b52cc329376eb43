"""An honest caller: he creates small tasks in every served dialect and polls them to their ends.

He asks at a steady pace, and a request counts from the moment it was due. Who is kept waiting by a
server that stands still cannot ask meanwhile; so what he would have asked counts too, as answered
when he was.
"""

from __future__ import annotations

import asyncio
import io
import random
from collections.abc import Callable, Iterable
from itertools import count
from typing import NamedTuple, TypeVar
from urllib.parse import urlsplit

from PIL import Image

from benchmarks import ground
from benchmarks.ground import Server
from safelight.dialects import named
from safelight.errors import Fault, Malformed, Unavailable
from safelight.task import Command, Fetch, Kind, Reply, Source, Status, Submit, Task
from safelight.wire import Request, Response

WHAT = ("poll", "create", "upload", "fetch")
DIALECTS = ("tensorslab", "aigptimage", "aitoearn", "tencent")
_PER_SECOND = 10.0  # requests in each dialect
_UPLOADS_PER_SECOND = 1.0  # requests about uploads: few enough to leave the p99 to the others
_POLLS = 6  # of each task at least
_MODELS = {"tensorslab": "seedreamv4", "tencent": "GEM-2.5"}
_MODEL = "gpt-image-2"
_SIDE, _PICTURE_SIDE = 64, 640  # pixels
_LATE_SECONDS = 10.0  # after which no client of his waits
_GIVE_UP_SECONDS = 150.0  # he waits on, to learn how long it would have been
_TASK_SECONDS = 60.0
_MOST_RETURNS = 5
_SEED = 20261124

T = TypeVar("T")


class Sample(NamedTuple):
    """A request: what it was for, and the seconds from when it was due to its answer."""

    what: str
    seconds: float


class Stay(NamedTuple):
    """How he fared for a while: his requests, why what failed, and what was told otherwise."""

    samples: tuple[Sample, ...] = ()
    failures: tuple[str, ...] = ()
    tasks: tuple[float, ...] = ()  # that succeeded: the seconds from each create to its end
    returns: int = 0  # how often he was told to come back, and did

    @classmethod
    def together(cls, stays: Iterable[Stay]) -> Stay:
        """Several whiles as one."""
        found = list(stays)
        return cls(
            tuple(one for stay in found for one in stay.samples),
            tuple(one for stay in found for one in stay.failures),
            tuple(one for stay in found for one in stay.tasks),
            sum(stay.returns for stay in found),
        )

    def seconds(self, *what: str) -> list[float]:
        """The latencies of what he did, or of all that he did."""
        return [one.seconds for one in self.samples if not what or one.what in what]


class Caller:
    """Asks until it is cancelled: in each dialect, over a connection that each task makes anew."""

    def __init__(self, server: Server) -> None:
        self._notes: list[Stay] = []
        self._lanes = [_Lane(self, name, server, _PER_SECOND) for name in DIALECTS]
        self._lanes += [
            _Lane(self, name, server, _UPLOADS_PER_SECOND, _picture())
            for name in DIALECTS
            if named(name).uploads
        ]

    async def run(self) -> None:
        """Create, poll and fetch, over and over."""
        async with asyncio.TaskGroup() as group:
            for lane in self._lanes:
                group.create_task(lane.run())

    def behind(self) -> float:
        """By how many seconds the most overdue of his requests is late."""
        now = asyncio.get_running_loop().time()
        return max(now - lane.due for lane in self._lanes)

    def note(self, what: Stay) -> None:
        """Keep what became of something that he did."""
        self._notes.append(what)

    def take(self) -> Stay:
        """How he fared since this was last asked."""
        notes, self._notes = self._notes, []
        return Stay.together(notes)


class _Lane:
    """What he does in one dialect, one request after the other; with a picture he uploads it."""

    def __init__(
        self,
        caller: Caller,
        dialect: str,
        server: Server,
        per_second: float,
        picture: bytes | None = None,
    ) -> None:
        self.due = 0.0
        self._caller = caller
        self._dialect = named(dialect)
        self._server = server
        self._per_second = per_second
        self._submit = Submit(
            model=_MODELS.get(dialect, _MODEL),
            prompt="a lighthouse at dusk",
            width=_SIDE,
            height=_SIDE,
            sources=() if picture is None else (Source(data=picture, name="picture.png"),),
        )
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def run(self) -> None:
        self.due = asyncio.get_running_loop().time()
        try:
            while True:
                await self._see_through()
        finally:
            self._leave()

    async def _see_through(self) -> None:
        """A task, from its create to its file."""
        self._leave()
        created = await self._ask("upload" if self._submit.sources else "create", self._submit)
        if not isinstance(created, Task):
            return
        loop = asyncio.get_running_loop()
        began, ended = loop.time(), None
        for number in count(1):
            task = await self._ask("poll", Fetch(id=created.id, kind=Kind.IMAGE))
            if isinstance(task, Task) and task.ended and ended is None:
                ended = loop.time()
            if (ended or loop.time()) - began > _TASK_SECONDS:
                self._fail(f"a task did not end within {_TASK_SECONDS:g} s")
                return
            if isinstance(task, Task) and ended and number >= _POLLS:
                await self._fetch(task, ended - began)
                return

    async def _fetch(self, task: Task, seconds: float) -> None:
        if task.status is not Status.SUCCEEDED or not task.artifacts:
            self._fail(f"a task ended as {task.status}: {task.failure}")
            return
        self._caller.note(Stay(tasks=(seconds,)))
        path = urlsplit(task.artifacts[0].url or "").path
        headers = (("host", f"127.0.0.1:{self._server.port}"),)
        request = ground.raw(Request(method="GET", path=path, headers=headers))
        await self._timed("fetch", lambda: request, _check_file)

    async def _ask(self, what: str, command: Command) -> Reply | None:
        """What is answered; None where that was nothing good."""
        return await self._timed(
            what,
            lambda: ground.prepare(self._dialect.name, command, self._server),  # signed when sent
            lambda response: self._dialect.read_reply(command, response),
        )

    async def _timed(
        self, what: str, write: Callable[[], bytes], read: Callable[[Response], T]
    ) -> T | None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self.due - loop.time()))
        reply = await self._try(write, read)
        now = loop.time()
        self._caller.note(Stay(samples=(Sample(what, now - self.due),)))
        if reply is not None and now - self.due > _LATE_SECONDS:
            self._fail(f"{what}: answered too late")
        self._go_on(now)
        return reply

    def _go_on(self, now: float) -> None:
        """To the next request; those that were due meanwhile count as having waited until now."""
        self.due += 1 / self._per_second
        while self.due < now:
            self._caller.note(Stay(samples=(Sample("poll", now - self.due),)))
            self.due += 1 / self._per_second

    async def _try(self, write: Callable[[], bytes], read: Callable[[Response], T]) -> T | None:
        """As often as he is told to come back, and comes."""
        for _ in range(_MOST_RETURNS):
            try:
                async with asyncio.timeout(_GIVE_UP_SECONDS):
                    return read(await self._exchange(write()))
            except Unavailable as told:
                self._caller.note(Stay(returns=1))
                await asyncio.sleep(told.retry_after or 1.0)
            except (Fault, Malformed) as problem:
                self._fail(f"{self._dialect.name} answered: {problem}")
                return None
            except (OSError, EOFError) as problem:
                self._leave()
                self._fail(_kind_of(problem))
                return None
        self._fail(f"told to come back {_MOST_RETURNS} times")
        return None

    async def _exchange(self, request: bytes) -> Response:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._server.port)
        reader, writer = self._streams
        writer.write(request)
        await writer.drain()
        head, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.partition(": ") for line in lines if line)
        headers = tuple((name.lower(), value) for name, _, value in pairs)
        response = Response(status=int(head.split(" ", 2)[1]), headers=headers)
        body = await reader.readexactly(int(response.header("content-length") or 0))
        if response.header("connection") == "close":
            self._leave()
        return Response(status=response.status, headers=headers, body=body)

    def _leave(self) -> None:
        """Close the connection, if there is one; the next request makes a new one."""
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None

    def _fail(self, why: str) -> None:
        self._caller.note(Stay(failures=(why,)))


def _kind_of(problem: Exception) -> str:
    if isinstance(problem, ConnectionRefusedError):
        return "no connection"
    return "no answer" if isinstance(problem, TimeoutError) else "broken off"


def _check_file(response: Response) -> Response:
    """The answer to a fetch of a file. Raises `Malformed` where it is not that."""
    if response.status != 200 or not response.body:
        raise Malformed("", f"a file was answered with {response.status}")
    return response


def _picture() -> bytes:
    """A PNG of 400 kB that no compression makes smaller."""
    noise = random.Random(_SEED).randbytes(_PICTURE_SIDE**2)
    file = io.BytesIO()
    Image.frombytes("L", (_PICTURE_SIDE, _PICTURE_SIDE), noise).save(file, "PNG")
    return file.getvalue()
