"""The ring: server A runs its tasks on server B, which it asks in any of the five dialects.

Whatever A is asked in, and whatever it asks B in, what A gives out is what B made, to the byte.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import msgspec
import pytest

from end_to_end.running import SERVED, TASK_SECONDS, Running
from end_to_end.words import IMAGES, VIDEOS, film, picture, png
from safelight import AsyncClient, BadRequest, FailureCode, Key, Kind, Source, Status, Submit
from safelight.config import ModelRule, Settings
from safelight.dialects import named
from safelight.server.app import App
from safelight.server.opening import open_app
from safelight.store import scripts
from safelight.task import bare_id

ASKED = {Kind.IMAGE: IMAGES, Kind.VIDEO: VIDEOS}
UPLOADS = tuple(name for name in SERVED if named(name).uploads)

# A film in TensorsLab's words always has a number of frames, for which these have no words.
UNSAID = {
    "aitoearn": [("tensorslab", Kind.VIDEO)],
    "tencent": [("tensorslab", Kind.VIDEO)],
}


def asked(dialect: str, kind: Kind) -> Submit:
    """A task that can be said in every dialect: of seeds not all have heard."""
    return msgspec.structs.replace(ASKED[kind][dialect], seed=None)


class Ring:
    """Server A: an app in this process, whose only engine asks B."""

    def __init__(self, app: App, key: Key) -> None:
        self.app = app
        self._key = key

    def client(self, dialect: str) -> AsyncClient:
        """A client of A, without a socket between them."""
        transport = httpx.ASGITransport(app=self.app.asgi)
        url = "http://ring.example"
        return AsyncClient(dialect, url, self._key, pace=0.03, per_second=30, transport=transport)

    async def there(self, id: str) -> str:
        """The id that B gave a task of A's."""
        memory = await self.app.store.read(scripts.recall(bare_id(id) or ""))
        return str(memory["id"])


def rules(url: str, theirs: str) -> tuple[ModelRule, ...]:
    """Every model that A is asked for runs at B, as the model that B is asked for there."""
    options = {"dialect": theirs, "url": url, "key": "env:RING", "per_second": 50, "fresh": 0.2}
    return tuple(
        ModelRule(
            name=ASKED[kind][ours].model,
            engine="upstream",
            options={**options, "model": ASKED[kind][theirs].model},
        )
        for kind in Kind
        for ours in SERVED
    )


@pytest.fixture
async def ring(
    server: Running, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Ring]:
    """A, which asks B in the dialect that is the parameter."""
    theirs = request.param
    key = server.key
    monkeypatch.setenv("RING", f"{key.id}:{key.secret}" if theirs == "tencent" else key.secret)
    models = rules(server.url, theirs)
    app = await open_app(Settings(data=tmp_path / "ring", models=models, grace=1))
    own = await app.keyring.create("ring")
    await app.start()
    yield Ring(app, Key(id=own.id, secret=own.secret))
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
    refused: list[tuple[str, Kind]] = []

    async def go_round(ours: str, kind: Kind, count: int) -> None:
        submit = msgspec.structs.replace(
            asked(ours, kind), prompt=f"from {ours} to {theirs}", count=count
        )
        async with ring.client(ours) as client:
            try:
                task = await client.submit(submit)
            except BadRequest as fault:
                assert "fps" in fault.message
                refused.append((ours, kind))
                return
            given = await bytes_of(client, task.id, kind, tmp_path / ours / kind)
        async with server.client(theirs) as client:
            there = await ring.there(task.id)
            made = await bytes_of(client, there, kind, tmp_path / "made" / ours / kind)
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
    assert refused == UNSAID.get(theirs, [])


@pytest.mark.parametrize("ours", UPLOADS)
@pytest.mark.parametrize("ring", UPLOADS, indirect=True)
async def test_what_was_uploaded_here_goes_there(
    server: Running, ring: Ring, ours: str, request: pytest.FixtureRequest
) -> None:
    theirs = request.node.callspec.params["ring"]
    source = Source(data=png(), media_type="image/png", name="source.png")
    submit = msgspec.structs.replace(asked(ours, Kind.IMAGE), sources=(source,))

    async with ring.client(ours) as client:
        task = await client.submit(submit)
        ended = await client.wait(task, TASK_SECONDS)
    assert ended.status is Status.SUCCEEDED, ended.failure

    there = bare_id(await ring.there(task.id)) or ""
    assert theirs == server.rows("select dialect from tasks where id = ?", there)[0][0]
    folder = server.data / "files" / "tasks" / there
    assert png() in [path.read_bytes() for path in folder.iterdir()]


@pytest.mark.parametrize("ring", SERVED, indirect=True)
async def test_what_is_refused_there_fails_here(
    ring: Ring, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = request.node.callspec.params["ring"]
    monkeypatch.setenv("RING", "nobody:nothing")

    async with ring.client(theirs) as client:
        task = await client.submit(asked(theirs, Kind.IMAGE))
        ended = await client.wait(task, TASK_SECONDS)
    kept = await ring.app.store.read(scripts.get_any(bare_id(task.id) or ""))

    assert ended.status is Status.FAILED
    assert kept is not None and kept.failure is not None
    assert kept.failure.code is FailureCode.PROVIDER_ERROR
    assert "does not take the key" in kept.failure.message
