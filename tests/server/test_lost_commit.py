"""The answer to a commit is lost: whether it happened is found out, or said to be unknown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from backends import PostgresServer
from doubles import Player, models_of
from safelight.config import Settings
from safelight.server.app import App
from safelight.server.opening import open_app
from safelight.store.scripts import Single


class Cable:
    """Stands between a client and PostgreSQL, and is cut when a commit goes by."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket = f"{parse_qs(parts.query)['host'][0]}/.s.PGSQL.5432"
        self._database = parts.path
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        # "before" the commit reaches the database, or "after"; or before, but it "arrives" all the
        # same, and the database has not noticed that nobody is there any more.
        self.cuts = ""
        self.arrives = asyncio.Event()
        self.mended = True  # whether it carries anything once it was cut

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        return f"postgresql://postgres@127.0.0.1:{port}{self._database}"

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._open:
            writer.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        if not self.mended:
            writer.close()
            return
        inside, outside = await asyncio.open_unix_connection(self._socket)
        self._open.add(outside)
        back = asyncio.create_task(self._answer(inside, writer))
        while data := await reader.read(65536):
            cut = self.cuts if b"COMMIT" in data else ""
            if cut:
                self.cuts = ""
                back.cancel()
            if cut == "arrives":
                writer.close()
                await self.arrives.wait()
            if cut != "before":
                outside.write(data)
                await outside.drain()
            if cut in ("after", "arrives"):
                await inside.read(1)  # it is done by then
            if cut:
                break
        for end in (writer, outside):
            end.close()
        await asyncio.wait([back])

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()  # or whoever says goodbye waits for the other's in vain


@pytest.fixture
async def cable(postgres: PostgresServer) -> AsyncIterator[Cable]:
    cable = Cable(await postgres.create_soon())
    yield cable
    await cable.close()


@pytest.fixture
async def app(cable: Cable, tmp_path: Path) -> AsyncIterator[App]:
    settings = Settings(data=tmp_path, database=await cable.start(), workers=False)
    app = await open_app(settings, models_of(Player()))
    yield app
    await app.close()


async def submit(app: App) -> httpx.Response:
    key = await app.first_key()
    assert key is not None
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app.asgi), base_url="http://testserver"
    ) as http:
        headers = {"authorization": f"Bearer {key.secret}"}
        return await http.post("/v1/images/seedreamv4", data={"prompt": "a"}, headers=headers)


async def tasks(app: App) -> int:
    rows = await app.store.database.fetch("select count(*) from tasks")  # type: ignore[attr-defined]
    return int(rows[0][0])


async def test_a_task_that_was_committed_is_answered(app: App, cable: Cable) -> None:
    cable_cuts_later(app, cable, "after")

    answer = await submit(app)

    assert answer.json()["code"] == 1000
    assert await tasks(app) == 1


async def test_a_task_that_was_not_committed_may_be_submitted_again(app: App, cable: Cable) -> None:
    cable_cuts_later(app, cable, "before")

    answer = await submit(app)

    assert answer.status_code == 503
    assert await tasks(app) == 0


async def test_a_commit_that_is_still_to_come_is_waited_for(app: App, cable: Cable) -> None:
    cable_cuts_later(app, cable, "arrives")
    submitting = asyncio.create_task(submit(app))
    done, _ = await asyncio.wait([submitting], timeout=1)
    assert not done  # it was looked at, and is not there: that says nothing
    assert await tasks(app) == 0

    cable.arrives.set()
    answer = await submitting

    assert answer.json()["code"] == 1000
    assert await tasks(app) == 1


async def test_a_commit_of_which_nobody_knows_whether_it_comes_is_told_as_such(
    app: App, cable: Cable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safelight.service._SETTLING", (0.05, 0.05))
    cable_cuts_later(app, cable, "arrives")

    answer = await submit(app)

    assert answer.status_code == 500
    cable.arrives.set()
    async with asyncio.timeout(10):
        while not await tasks(app):  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)


async def test_a_task_of_which_nothing_is_known_is_told_as_such(
    app: App, cable: Cable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safelight.service._SETTLING", (0.05, 0.05))
    cable_cuts_later(app, cable, "after", mended=False)

    answer = await submit(app)

    assert answer.status_code == 500  # which a client of ours takes for an unknown submission
    cable.mended = True
    assert await tasks(app) == 1


def cable_cuts_later(app: App, cable: Cable, when: str, mended: bool = True) -> None:
    """Cut the cable at the commit of a task, and at no other."""
    add = app.store.write

    async def write(script):  # type: ignore[no-untyped-def]
        if isinstance(script, Single) and script.change.query.name == "add_task":
            cable.cuts, cable.mended = when, mended
        return await add(script)

    app.store.write = write  # type: ignore[method-assign]
