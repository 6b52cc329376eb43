"""The ring: server A runs its tasks on server B, which it asks in any of the five dialects.

Whatever A is asked in, and whatever it asks B in, what A gives out is what B made, to the byte.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from end_to_end.running import SERVED, TASK_SECONDS, Running
from end_to_end.words import IMAGES, VIDEOS, film, picture
from safelight import AsyncClient, FailureCode, Key, Kind, Status, Submit
from safelight.config import Settings
from safelight.engines import Event, Failed, File, Job, Progress
from safelight.media_types import media_type_of
from safelight.models import ModelMap
from safelight.server.app import App
from safelight.task import ModelCard

# What B is asked for, by the dialect that asks: A's own callers say less, or it in other words.
ASKED: Mapping[str, Mapping[Kind, Submit]] = {
    name: {Kind.IMAGE: IMAGES[name], Kind.VIDEO: VIDEOS[name]} for name in SERVED
}


class Upstream:
    """An engine that makes nothing itself: it asks another server, and keeps the ids it is told."""

    name = "upstream"

    def __init__(self, server: Running, dialect: str) -> None:
        self._server = server
        self._dialect = dialect
        self.models = tuple(ModelCard(name="ring", kind=kind) for kind in Kind)
        self.asked: dict[str, str] = {}

    def check(self, submit: Submit, options: Mapping[str, Any]) -> None:
        """Whatever B takes is taken."""

    async def run(self, job: Job) -> AsyncIterator[Event]:
        """Submit there, wait there, and hand on the files from there."""
        async with self._server.client(self._dialect) as client:
            known = ASKED[self._dialect][job.submit.kind]
            submit = msgspec.structs.replace(
                known, prompt=job.submit.prompt, count=job.submit.count
            )
            task = await client.submit(submit)
            self.asked[job.task.id] = task.id
            yield Progress(percent=10)
            ended = await client.wait(task, TASK_SECONDS)
            if ended.failure is not None or ended.status is not Status.SUCCEEDED:
                raise Failed(FailureCode.PROVIDER_ERROR, "the other server could not do it")
            for path in await client.download(ended, job.folder):
                with path.open("rb") as file:
                    yield File(path=path, media_type=media_type_of(file.read(32)))


class Ring:
    """Server A: an app in this process, whose only engine asks B."""

    def __init__(self, app: App, upstream: Upstream, key: Key) -> None:
        self.upstream = upstream
        self._app = app
        self._key = key

    def client(self, dialect: str) -> AsyncClient:
        """A client of A, without a socket between them."""
        transport = httpx.ASGITransport(app=self._app.asgi)
        url = "http://ring.example"
        return AsyncClient(dialect, url, self._key, pace=0.03, per_second=30, transport=transport)


@pytest.fixture
async def ring(
    server: Running, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Ring]:
    """A, which asks B in the dialect that is the parameter."""
    upstream = Upstream(server, request.param)
    models = ModelMap((), {"sketch": upstream, "enhance": upstream})
    app = await App.build(Settings(data=tmp_path / "ring", concurrency=4, grace=1), models)
    key = await app.keyring.create("ring")
    await app.start()
    yield Ring(app, upstream, Key(id=key.id, secret=key.secret))
    await app.drain()
    await app.close()


async def bytes_of(client: AsyncClient, id: str, kind: Kind, folder: Path) -> list[Path]:
    """The files of a task that has succeeded."""
    ended = await client.wait(id, TASK_SECONDS, kind=kind)
    assert ended.status is Status.SUCCEEDED, ended.failure
    return list(await client.download(ended, folder))


@pytest.mark.parametrize("ring", SERVED, indirect=True)
async def test_what_is_given_out_is_what_the_other_server_made(
    server: Running, ring: Ring, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    theirs = request.node.callspec.params["ring"]

    async def go_round(ours: str, kind: Kind, count: int) -> None:
        submit = msgspec.structs.replace(
            ASKED[ours][kind], prompt=f"from {ours} to {theirs}", count=count
        )
        async with ring.client(ours) as client:
            task = await client.submit(submit)
            given = await bytes_of(client, task.id, kind, tmp_path / ours / kind)
        bare = task.id[-24:]
        async with server.client(theirs) as client:
            made = await bytes_of(
                client, ring.upstream.asked[bare], kind, tmp_path / "made" / ours / kind
            )
        assert len(given) == count
        assert [path.read_bytes() for path in given] == [path.read_bytes() for path in made]
        if kind is Kind.IMAGE:
            assert {picture(path) for path in given} == {("PNG", (96, 64))}
        else:
            assert film(given[0])[1] == pytest.approx(1, abs=0.05)

    await asyncio.gather(
        *(go_round(ours, Kind.IMAGE, 2) for ours in SERVED),
        *(go_round(ours, Kind.VIDEO, 1) for ours in SERVED),
    )


@pytest.mark.parametrize("ring", SERVED, indirect=True)
async def test_what_fails_there_fails_here(
    server: Running, ring: Ring, request: pytest.FixtureRequest
) -> None:
    theirs = request.node.callspec.params["ring"]
    other = await asyncio.to_thread(server.make_key, "ring")
    server.change("update keys set revoked = 1 where id = ?", other.id)
    ring.upstream._server = Running(server.data, server.log, server.process, server.url, other)

    async with ring.client(theirs) as client:
        ended = await client.wait(await client.submit(IMAGES[theirs]), TASK_SECONDS)

    assert ended.status is Status.FAILED
    assert ended.failure is not None
