"""What a server measures, told to Prometheus."""

from __future__ import annotations

import asyncio
from pathlib import Path

import promtool
from backends import PostgresServer
from busy import everything, samples, scrape, submit
from doubles import Serving, StartApp, raising
from safelight.clock import now_millis
from safelight.server.metrics import Metrics
from safelight.server.metrics.census import Censuses
from safelight.store import SCHEMA_VERSION, scripts
from safelight.store.sqlite import SQLiteStore


async def test_prometheus_finds_nothing_wrong(start_app: StartApp) -> None:
    serving, _ = await everything(start_app)

    text = await scrape(serving)

    assert await asyncio.to_thread(promtool.check, "check", "metrics", given=text) == ""


async def test_what_became_of_tasks_is_told(start_app: StartApp) -> None:
    serving, _ = await everything(start_app)

    told = samples(await scrape(serving))

    ended = {name: value for name, value in told.items() if "tasks_ended_total" in name}
    assert ended == {
        'safelight_tasks_ended_total{code="",engine="player",status="succeeded"}': 1,
        'safelight_tasks_ended_total{code="content_policy",engine="player",status="failed"}': 1,
        'safelight_tasks_ended_total{code="timeout",engine="player",status="failed"}': 1,
        'safelight_tasks_ended_total{code="canceled",engine="player",status="canceled"}': 1,
    }
    assert told['safelight_task_wait_seconds_count{engine="player"}'] == 3
    assert told['safelight_task_run_seconds_count{engine="player"}'] == 2
    assert told['safelight_engine_seconds_count{engine="player"}'] == 2
    assert told["safelight_task_deaths_total"] == 0
    assert told['safelight_provider_requests_total{outcome="answered",service="elsewhere"}'] == 3


async def test_what_waits_is_told(start_app: StartApp) -> None:
    serving, _ = await everything(start_app)

    told = samples(await scrape(serving))

    assert told['safelight_queue_depth{engine="player"}'] == 1
    assert 0 < told['safelight_queue_oldest_seconds{engine="player"}'] < 60
    assert told['safelight_tasks{status="running"}'] == 1
    assert told['safelight_places{engine="player",state="taken"}'] == 1
    assert told['safelight_places{engine="player",state="free"}'] == 0


async def test_what_was_told_to_endpoints_is_told(start_app: StartApp) -> None:
    serving, _ = await everything(start_app)
    assert serving.app.sender is not None
    async with asyncio.timeout(10):
        while serving.app.sender.busy:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    told = samples(await scrape(serving))

    assert told['safelight_webhook_tries_total{result="delivered"}'] >= 2
    assert told["safelight_webhook_endpoints_off_total"] == 1
    assert told["safelight_endpoints_disabled"] == 1


async def test_what_the_process_is_and_holds_is_told(serving: Serving) -> None:
    await serving.ended(await serving.create())

    told = samples(await scrape(serving))

    (build,) = (name for name in told if name.startswith("safelight_build_info"))
    assert f'database="sqlite",schema="{SCHEMA_VERSION}",version="' in build
    assert told["safelight_streams"] == told["safelight_long_polls"] == 0
    assert told["safelight_waiting_requests"] == 0
    assert told['safelight_store_seconds_count{operation="write"}'] > 2
    assert told['safelight_blob_seconds_count{operation="take"}'] == 1
    assert 0 < told["safelight_disk_free_bytes"] < told["safelight_disk_bytes"]
    assert told["process_resident_memory_bytes"] > 0


async def test_an_answer_that_is_held_is_told(start_app: StartApp) -> None:
    serving, gate = await everything(start_app)
    id = await submit(serving, "wait")
    headers = {"authorization": f"Bearer {serving.key.secret}", "prefer": "wait=30"}
    path = f"/api/safelight/v1/tasks/{id}"
    held = asyncio.create_task(serving.http.get(path, headers=headers))
    async with asyncio.timeout(10):
        while not serving.app.watch.waits:  # noqa: ASYNC110
            await asyncio.sleep(0.002)

    assert samples(await scrape(serving))["safelight_long_polls"] == 1

    gate.open.set()
    assert (await held).json()["status"] == "succeeded"
    assert samples(await scrape(serving))["safelight_long_polls"] == 0


async def test_mistakes_of_engines_are_counted_by_their_code(start_app: StartApp) -> None:
    serving = await start_app(raising(OSError("no")))
    await serving.ended(await serving.create())

    told = samples(await scrape(serving))

    assert told['safelight_tasks_ended_total{code="internal",engine="player",status="failed"}'] == 1


async def test_tasks_of_a_worker_that_died_are_counted(start_app: StartApp) -> None:
    first = await start_app(start=False)
    id = await first.create()
    # Another worker took it, and was never heard of again.
    await first.app.store.write(scripts.claim(id, "another", now_millis()))
    await first.app.start()
    await first.ended(id)

    assert samples(await scrape(first))["safelight_task_deaths_total"] == 1


async def test_the_database_is_counted_once_for_all_who_ask(tmp_path: Path) -> None:
    store = SQLiteStore.open(tmp_path / "db")
    censuses = Censuses(store, tmp_path, ("sketch",))
    first = await asyncio.gather(*(censuses.get() for _ in range(20)))

    assert {id(census) for census in first} == {id(await censuses.get())}
    assert [spread.below[-1] for spread in store.durations] == [("+Inf", 1)]
    await store.close()


async def test_a_disk_that_does_not_tell_is_left_out(tmp_path: Path) -> None:
    store = SQLiteStore.open(tmp_path / "db")
    census = await Censuses(store, tmp_path / "gone", ("sketch",)).get()
    await store.close()

    assert census.disk is None
    text = Metrics().write(census).decode()
    assert "safelight_disk" not in text
    assert 'safelight_queue_depth{engine="sketch"} 0.0' in text


async def test_the_same_is_told_on_postgresql(
    start_app: StartApp, postgres: PostgresServer, tmp_path: Path
) -> None:
    async with postgres.lent() as url:
        serving = await start_app(database=url, data=tmp_path / "pg")
        await serving.ended(await serving.create())

        told = samples(await scrape(serving))

        await serving.app.drain()
        await serving.app.close()
    assert told['safelight_queue_depth{engine="player"}'] == 0
    assert told['safelight_tasks{status="succeeded"}'] == 1
    assert told['safelight_places{engine="player",state="free"}'] == 2
    assert any('database="postgresql"' in name for name in told)
