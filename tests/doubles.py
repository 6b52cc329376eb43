"""What tests put in the place of the outside world: an engine that plays a part, pictures, waiting.

Nothing here stands in for code of ours.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from PIL import Image

from safelight.config import ModelRule
from safelight.engines import Event, File, Job, Progress
from safelight.models import ModelMap
from safelight.task import Kind, ModelCard, Role, Source, Status, Submit, Task, new_id

NOW = 1_769_774_400_000  # 2026-01-30 12:00:00 UTC
ID = new_id(NOW, b"\x00\x00\x00\x00\x00\x01")

Play = Callable[[Job], AsyncIterator[Event]]


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


class Player:
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

    def check(self, submit: Submit, options: Mapping[str, Any]) -> None:
        pass

    def run(self, job: Job) -> AsyncIterator[Event]:
        self.jobs.append(job)
        return self.play(job)


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
) -> Task:
    """A task as the service accepts it."""
    submit = Submit(
        kind=kind,
        model="still",
        prompt=prompt,
        seed=7,
        idempotency_key=token,
        sources=tuple(sources),
    )
    return Task(
        id=id,
        status=Status.QUEUED,
        submit=submit,
        dialect="tensorslab",
        owner=owner,
        seed=7,
        created=now,
        updated=now,
    )


def upload(data: bytes, role: Role = Role.IMAGE) -> Source:
    """A source that comes with the request."""
    return Source(data=data, role=role)


async def until(holds: Callable[[], object], seconds: float = 10) -> None:
    """Wait for a condition, but not for ever."""
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.002)
