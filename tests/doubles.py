"""What tests put in the place of the outside world: an engine that plays a part, pictures, waiting.

Nothing here stands in for code of ours.
"""

from __future__ import annotations

import asyncio
import io
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx
from PIL import Image

from safelight.client import AsyncClient
from safelight.config import ModelRule
from safelight.engines import Engine, Event, File, Job, Progress, Traits
from safelight.models import ModelMap
from safelight.server.app import App
from safelight.server.keys import NewKey
from safelight.store import Store, scripts
from safelight.store.sqlite import connect
from safelight.task import Kind, ModelCard, Role, Source, Status, Submit, Task, new_id
from safelight.wire import Key

NOW = 1_769_774_400_000  # 2026-01-30 12:00:00 UTC
ID = new_id(NOW, b"\x00\x00\x00\x00\x00\x01")

Play = Callable[[Job], AsyncIterator[Event]]
OpenStores = Callable[[], Awaitable[Store]]  # each one a store of the same database


def picture(width: int = 8, height: int = 6, format: str = "PNG") -> bytes:
    """A small picture as a file."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), (200, 40, 20)).save(file, format)
    return file.getvalue()


def write_picture(job: Job, name: str = "out.png", width: int = 8, height: int = 6) -> File:
    """A small picture in the folder of a job."""
    path = job.folder / name
    path.write_bytes(picture(width, height))
    return File(path=path, media_type="image/png", width=width, height=height)


async def one_picture(job: Job) -> AsyncIterator[Event]:
    """The plainest run there is."""
    yield Progress(percent=50)
    yield write_picture(job)


def raising(problem: Exception) -> Play:
    """A run that says something and then breaks."""

    async def play(job: Job) -> AsyncIterator[Event]:
        yield Progress(percent=1)
        raise problem

    return play


class Player(Engine):
    """An engine that plays what the test gives it."""

    name = "player"
    models: tuple[ModelCard, ...] = (
        ModelCard(name="still", kind=Kind.IMAGE),
        ModelCard(name="edit", kind=Kind.IMAGE, max_sources=4),
        ModelCard(name="film", kind=Kind.VIDEO, max_sources=1),
    )

    def __init__(self, play: Play = one_picture) -> None:
        self.play = play
        self.jobs: list[Job] = []

    def run(self, job: Job) -> AsyncIterator[Event]:
        self.jobs.append(job)
        return self.play(job)


class Sender(Player):
    """An engine that plays having its tasks done elsewhere."""

    name = "sender"
    traits = Traits(waits=True)


def models_of(engine: Player, *rules: ModelRule) -> ModelMap:
    """A map on which every model is that engine's."""
    return ModelMap(rules, {"sketch": engine, "enhance": engine})


def task(
    id: str = ID,
    *,
    owner: str = "alice",
    now: int = NOW,
    prompt: str = "a lighthouse",
    kind: Kind = Kind.IMAGE,
    token: str | None = None,
    sources: Sequence[Source] = (),
    priority: int = 0,
) -> Task:
    """A task as the service accepts it."""
    submit = Submit(
        kind=kind,
        model="still",
        prompt=prompt,
        seed=7,
        idempotency_key=token,
        sources=tuple(sources),
        priority=priority,
    )
    return Task(
        id=id,
        status=Status.QUEUED,
        submit=submit,
        revision=1,
        dialect="tensorslab",
        owner=owner,
        seed=7,
        created=now,
        updated=now,
    )


def upload(data: bytes, role: Role = Role.IMAGE) -> Source:
    """A source that comes with the request."""
    return Source(data=data, role=role)


def names_in(folder: Path) -> list[str]:
    """The names of what is in a folder."""
    return sorted(path.name for path in folder.iterdir())


async def until(holds: Callable[[], object], seconds: float = 10) -> None:
    """Wait for a condition, but not for ever."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.002)


@dataclass
class Holdup:
    """The longest time that the loop did nothing else, in seconds."""

    seconds: float = 0.0


@asynccontextmanager
async def longest_holdup() -> AsyncIterator[Holdup]:
    """Watches the loop while its body runs.

    Only as long as this process had a processor: others on the machine are no fault of ours.
    """
    seen = Holdup()

    async def tick() -> None:
        while True:
            before, worked = time.perf_counter() + 0.005, time.process_time()
            await asyncio.sleep(0.005)
            held = min(time.perf_counter() - before, time.process_time() - worked)
            seen.seconds = max(seen.seconds, held)

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0)
    try:
        yield seen
        await asyncio.sleep(0.01)
    finally:
        ticking.cancel()


def resident() -> int:
    """The memory that this process has, in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@dataclass
class Serving:
    """An app in this process: its parts, its first key, and plain HTTP to it."""

    app: App
    engine: Player
    key: NewKey
    http: httpx.AsyncClient

    def client(
        self,
        dialect: str = "tensorslab",
        key: str | Key | None = None,
        path: str = "",
        **options: Any,
    ) -> AsyncClient:
        """A client of it, that does not wait long between two polls; `path` is its address's."""
        if key is None:
            key = Key(id=self.key.id, secret=self.key.secret)
        asked = {"pace": 0.005, "per_second": 1000.0, **options}
        transport = httpx.ASGITransport(self.app.asgi)
        secret = key.secret if isinstance(key, Key) and dialect != "tencent" else key
        return AsyncClient(
            dialect, f"http://testserver{path}", secret, transport=transport, **asked
        )

    async def post(self, path: str, secret: str | None = None, **more: Any) -> httpx.Response:
        """POST with a key as a bearer: the first key, or that secret."""
        headers = {
            "authorization": f"Bearer {secret or self.key.secret}",
            **more.pop("headers", {}),
        }
        return await self.http.post(path, headers=headers, **more)

    async def create(self, secret: str | None = None, **fields: str) -> str:
        """Create a TensorsLab picture; returns its id."""
        answer = await self.post("/v1/images/seedreamv4", secret, data={"prompt": "a", **fields})
        id: str = answer.json()["data"]["taskid"]
        return id

    async def ask(self, id: str, secret: str | None = None) -> httpx.Response:
        """Ask for a TensorsLab picture."""
        return await self.post("/v1/images/infobytaskid", secret, json={"taskid": id})

    async def task(self, id: str) -> Task:
        """The task as the store has it."""
        found = await self.app.store.read(scripts.get_any(id))
        assert found is not None
        return found

    async def ended(self, id: str) -> Task:
        """The task once it is at its end."""
        async with asyncio.timeout(10):
            while not (found := await self.task(id)).ended or self.app.worker.runs(id):  # noqa: ASYNC110
                await asyncio.sleep(0.002)
        return found

    async def age(self, id: str) -> None:
        """Make it so long ago that the task ended that it counts as gone."""

        def write() -> None:
            connection = connect(self.app.settings.data / "safelight.db")
            connection.execute("update tasks set finished = 1 where id = ?", (id,))
            connection.close()

        await asyncio.to_thread(write)


class StartApp(Protocol):
    """Starts an app in a folder of the test; it is stopped at the end of the test."""

    async def __call__(
        self,
        play: Play = ...,
        *,
        start: bool = ...,
        engine: Player | None = ...,
        **settings: Any,
    ) -> Serving: ...
