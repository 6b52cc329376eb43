"""The whole app in this process: start, restart, drain, and what is no dialect's."""

from __future__ import annotations

import asyncio
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from doubles import Player, Sender, Serving, StartApp, until, write_picture
from safelight.config import ModelRule, Settings, SettingsError
from safelight.dialects import found
from safelight.engines import Event, Job, Progress, Traits
from safelight.models import ModelMap
from safelight.queue import Lane
from safelight.server import logs
from safelight.server.addresses import AddressInUse, check_address, free_port, local_url
from safelight.server.doors import Doors
from safelight.server.opening import open_app, open_keys
from safelight.server.running import DataInUse, lock
from safelight.store import SchemaTooNew, scripts
from safelight.store.sqlite import connect
from safelight.task import Kind, Status


class Slow:
    """A run that waits for its gate, unless it is open."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.began = asyncio.Event()
        self.runs = 0

    async def __call__(self, job: Job) -> AsyncIterator[Event]:
        self.runs += 1
        self.began.set()
        yield Progress(percent=10)
        await self.gate.wait()
        yield write_picture(job)


@pytest.fixture
async def slow() -> Slow:
    return Slow()


async def ready(serving: Serving) -> tuple[int, str]:
    answer = await serving.http.get("/readyz")
    return answer.status_code, answer.text


# ----------------------------------------------------------------------------- start and restart


async def test_a_task_goes_the_whole_way(serving: Serving, tmp_path: Path) -> None:
    async with serving.client() as client:
        task = await client.wait(await client.submit(model="seedreamv4", prompt="a"), 10)
        (path,) = await client.download(task, tmp_path / "out")

    assert task.status is Status.SUCCEEDED
    assert path.read_bytes().startswith(b"\x89PNG")


async def test_every_dialect_answers_for_the_same_task(serving: Serving) -> None:
    id = await serving.create()
    await serving.ended(id)

    for dialect in serving.app.dialects:
        async with serving.client(dialect.name) as client:
            task = await client.fetch(id, Kind.IMAGE)
            assert task.status is Status.SUCCEEDED, dialect


async def test_what_an_earlier_process_left_is_run(start_app: StartApp, slow: Slow) -> None:
    first = await start_app(slow)
    waiting = [await first.create() for _ in range(4)]
    await until(lambda: slow.runs == 2)
    await first.app.drain()
    await first.app.close()

    slow.gate.set()
    second = await start_app(slow)

    for id in waiting:
        ended = await second.ended(id)
        assert (ended.status, ended.deaths) == (Status.SUCCEEDED, 0)
    assert second.key.name == "another"  # the first one is still the first


async def test_what_a_killed_process_left_is_run_and_counted(
    start_app: StartApp, slow: Slow
) -> None:
    first = await start_app(slow, start=False)
    id = await first.create()
    await first.app.store.write(scripts.claim(id, "killed", 1))
    scratch = first.app.settings.data / "scratch" / f"{id}-1"
    scratch.mkdir(parents=True)
    await first.app.close()

    slow.gate.set()
    second = await start_app(slow)

    ended = await second.ended(id)
    assert (ended.status, ended.attempt, ended.deaths) == (Status.SUCCEEDED, 2, 1)
    assert not scratch.exists()


# --------------------------------------------------------------------------------------- drain


async def test_a_draining_server_says_so_and_still_answers(start_app: StartApp, slow: Slow) -> None:
    serving = await start_app(slow, grace=30)
    id = await serving.create()
    await slow.began.wait()
    assert await ready(serving) == (200, "ready\n")

    draining = asyncio.create_task(serving.app.drain())
    await until(lambda: serving.app.readiness.draining)

    assert await ready(serving) == (503, "draining\n")
    assert (await serving.http.get("/healthz")).text == "ok\n"
    assert (await serving.ask(id)).status_code == 200
    late = await serving.create()  # kept for the next process
    assert not draining.done()

    slow.gate.set()
    await draining
    assert (await serving.task(id)).status is Status.SUCCEEDED
    assert (await serving.task(late)).status is Status.QUEUED


async def test_what_takes_longer_than_the_grace_is_given_back(
    start_app: StartApp, slow: Slow
) -> None:
    serving = await start_app(slow, grace=0.05)
    id = await serving.create()
    await slow.began.wait()

    await asyncio.wait_for(serving.app.drain(), 5)

    task = await serving.task(id)
    assert (task.status, task.deaths) == (Status.RUNNING, 0)
    claimed = await serving.app.store.write(scripts.claim(id, "next", 1))
    assert claimed is not None
    assert claimed.deaths == 0


async def test_a_server_that_never_started_can_be_drained(start_app: StartApp) -> None:
    serving = await start_app(start=False)

    await serving.app.drain()

    assert (await ready(serving))[0] == 503


async def test_a_server_without_workers_is_not_ready(start_app: StartApp) -> None:
    serving = await start_app(start=False)

    assert await ready(serving) == (503, "the workers do not run\n")


async def test_workers_that_stop_are_noticed(
    start_app: StartApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = await start_app(start=False)

    async def run(*_: Any) -> None:
        raise RuntimeError("the queue broke")

    monkeypatch.setattr(serving.app.queue, "run", run)
    await serving.app.start()

    await asyncio.wait_for(serving.app.broke(), 5)

    assert await ready(serving) == (503, "the workers do not run\n")


async def test_a_server_that_cannot_read_is_not_ready(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def check() -> None:
        raise OSError("no disk")

    monkeypatch.setattr(serving.app.blobs, "check", check)

    assert await ready(serving) == (503, "the database or the files do not answer\n")


async def test_a_database_that_another_process_holds_is_told_as_one_that_is_away(
    start_app: StartApp, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safelight.store.sqlite._BUSY_SECONDS", 0.05)
    serving = await start_app(slow)
    id = await serving.create()
    await slow.began.wait()
    other = connect(serving.app.settings.data / "safelight.db")
    other.execute("begin immediate")
    try:
        answer = await serving.post("/v1/images/seedreamv4", data={"prompt": "a"})
        seen = await serving.ask(id)
        slow.gate.set()  # what runs ends when it can be written
        await asyncio.sleep(0.3)
    finally:
        other.close()

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert seen.status_code == 200
    assert (await serving.ended(id)).status is Status.SUCCEEDED


# --------------------------------------------------------------------------------- the data folder


def test_a_data_folder_has_one_server(tmp_path: Path) -> None:
    with lock(tmp_path / "data"), pytest.raises(DataInUse, match="another server"):
        lock(tmp_path / "data")
    lock(tmp_path / "data").close()


async def test_a_data_folder_is_its_owners(serving: Serving) -> None:
    data = serving.app.settings.data

    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert stat.S_IMODE((data / "secret").stat().st_mode) == 0o600


async def test_the_first_key_is_made_once(start_app: StartApp) -> None:
    serving = await start_app()

    assert serving.key.name == "first"
    assert await serving.app.first_key() is None


async def test_keys_are_made_and_revoked_while_a_server_runs(serving: Serving) -> None:
    async with open_keys(serving.app.settings) as keys:
        made = await keys.callers.create("from the command line")

    id = await serving.create(made.secret)
    assert (await serving.ask(id, made.secret)).status_code == 200

    async with open_keys(serving.app.settings) as keys:
        assert await keys.callers.revoke(made.id)
    await asyncio.sleep(0.06)  # looked at twenty times a second

    assert (await serving.ask(id, made.secret)).status_code == 401


async def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    connection = connect(tmp_path / "safelight.db")
    connection.execute("pragma user_version = 99")
    connection.close()

    with pytest.raises(SchemaTooNew):
        await open_app(Settings(data=tmp_path))


@pytest.mark.parametrize(
    "wrong",
    [
        {"dialects": ("esperanto",)},
        {"dialects": ("kie", "aigptimage")},
        {"models": (ModelRule(name="a", engine="painter"),)},
        {"engines": {"painter": {}}},
    ],
)
async def test_settings_that_cannot_be_are_refused_before_anything_is_made(
    tmp_path: Path, wrong: dict[str, Any]
) -> None:
    with pytest.raises(SettingsError):
        await open_app(Settings(data=tmp_path / "data", **wrong))

    assert not (tmp_path / "data").exists()


async def test_an_app_is_built_from_its_settings(tmp_path: Path) -> None:
    app = await open_app(Settings(data=tmp_path))

    assert {dialect.name for dialect in app.dialects} >= {"tensorslab", "tencent"}
    await app.close()


# ---------------------------------------------------------------------------- what is no dialect's


async def test_the_page_says_what_is_spoken(serving: Serving) -> None:
    answer = await serving.http.get("/")

    assert answer.headers["content-type"].startswith("text/html")
    for dialect in serving.app.dialects:
        assert dialect.docs in answer.text
    assert "http://testserver/v1/images/seedreamv4" in answer.text
    assert "http://testserver/kie/api/v1/jobs/createTask" in answer.text
    for name in found():
        assert f"http://testserver/{name}<" in answer.text
    assert serving.key.secret not in answer.text


@pytest.mark.parametrize("host", ['"><script>alert(1)</script>', "[", "a b", "", "é", "x:y:z"])
async def test_the_page_repeats_no_host_as_it_is(serving: Serving, host: str) -> None:
    answer = await serving.http.get("/", headers=[(b"host", host.encode("latin-1"))])

    assert answer.status_code == 200
    assert "<script>" not in answer.text


async def test_the_metrics_have_the_names_that_are_documented(serving: Serving) -> None:
    id = await serving.create()
    await serving.ended(id)

    answer = await serving.http.get("/metrics")

    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    for name in (
        "safelight_requests_total{",
        "safelight_request_seconds_bucket{",
        'safelight_tasks{status="succeeded"} 1.0',
        'safelight_tasks{status="queued"} 0.0',
        'safelight_queue_depth{engine="player"} 0.0',
        'safelight_engine_seconds_count{engine="player"} 1.0',
    ):
        assert name in answer.text
    assert serving.key.secret not in answer.text
    assert id not in answer.text


# ---------------------------------------------------------------------------------- small parts


def test_kie_and_its_relative_are_not_both_at_their_paths_by_default() -> None:
    names = {dialect.name for dialect in Doors.build(Settings()).published}

    assert len(names & {"kie", "aigptimage"}) == 1
    assert [d.name for d in Doors.build(Settings(dialects=("kie",))).published] == ["kie"]


@pytest.mark.parametrize(
    ("host", "wanted"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://127.0.0.1:8000"),
        ("::1", "http://[::1]:8000"),
        ("pictures.example", "http://pictures.example:8000"),
    ],
)
def test_a_server_knows_its_own_address(host: str, wanted: str) -> None:
    assert local_url(Settings(host=host)) == wanted


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1"])
def test_a_free_port_is_free(host: str) -> None:
    assert 1024 <= free_port(host) <= 65535


def test_an_address_where_somebody_listens_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AddressInUse, match=f"127.0.0.1:{port}"):
            check_address("127.0.0.1", port)
    check_address("127.0.0.1", port)


@pytest.mark.parametrize("as_json", [True, False])
def test_a_log_says_what_broke_and_no_values(
    as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    before = structlog.get_config()
    logs.configure("info", as_json)
    log = structlog.get_logger("test")
    secret = "very-secret"
    try:
        log.debug("too small")
        if secret:
            raise RuntimeError("it broke")
    except RuntimeError:
        log.exception("told", task="abc")
    finally:
        structlog.configure(**before)
    told = capsys.readouterr()

    assert told.out == ""
    assert "told" in told.err
    assert "RuntimeError: it broke" in told.err
    assert "too small" not in told.err
    assert "very-secret" not in told.err
    assert (len(told.err.splitlines()) == 1) is as_json


def test_a_level_that_is_none_is_refused() -> None:
    with pytest.raises(KeyError):
        logs.configure("loud", False)


# --------------------------------------------------------------------------------------- lanes


async def test_an_engine_that_says_how_many_has_places_of_its_own(tmp_path: Path) -> None:
    class Many(Sender):
        traits = Traits(waits=True, concurrency=200)

    settings = Settings(data=tmp_path, concurrency=3)
    app = await open_app(settings, ModelMap([], {"sketch": Player(), "enhance": Many()}))
    try:
        assert set(app.lanes) == {Lane(("player",), 3), Lane(("sender",), 200)}
    finally:
        await app.close()


async def test_an_engine_that_waits_shares_the_places_unless_it_says_how_many(
    tmp_path: Path,
) -> None:
    settings = Settings(data=tmp_path, concurrency=3)
    app = await open_app(settings, ModelMap([], {"sketch": Player(), "enhance": Sender()}))
    try:
        assert app.lanes == (Lane(("player", "sender"), 3),)
    finally:
        await app.close()
