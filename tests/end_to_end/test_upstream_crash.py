"""The crash, with tasks that run elsewhere: kill -9 at any moment against providers that count.

What is promised: never two submissions for one task where the service could not tell, and never a
result thrown away whose id was known here.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from backends import PostgresServer, S3Server
from end_to_end.cluster import installed
from end_to_end.conftest import Start
from end_to_end.running import (
    START_SECONDS,
    Running,
    bugs_in,
    environment,
    until,
)
from programs import Process
from safelight import Status, Submit
from safelight.server.fake.samples import sample
from safelight.task import Kind, bare_id

SEED = int(os.environ.get("CRASH_SEED") or random.SystemRandom().randrange(10**6))
KILLS, ROUND = 6, 12  # tasks of a round: half of them where a repeat is not safe
_LISTENS = "The fake provider listens on "
ENDS = ("succeeded", "failed", "canceled")
# Every other task is heard of late, some are slow, and files are not always there at once.
SCRIPT = """
[[tasks]]
running = [0.1, 1.5]

[[submissions]]
match = { every = 2 }
answer = "slow"
seconds = 0.05

[files]
latency = [0.0, 0.1]
"""


class There(NamedTuple):
    """A fake provider in a process of its own."""

    process: Process
    url: str

    def tell(self, what: str) -> Any:
        return httpx.get(f"{self.url}/fake/{what}", trust_env=False).json()


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Callable[[str], There]]:
    """Starts fake providers; all are gone in the end."""
    started: list[There] = []
    script = tmp_path / "script.toml"
    script.write_text(SCRIPT)

    def begin(dialect: str) -> There:
        log = tmp_path / f"{dialect}.log"
        words = ("fake", "--dialect", dialect, "--script", str(script))
        with log.open("wb") as output:
            process = Process(*words, stdout=output, stderr=output, env=environment(), cwd=tmp_path)

        def address() -> str | None:
            text = log.read_text()
            assert process.poll() is None, text
            _, found, rest = text.partition(_LISTENS)
            return rest.partition("\n")[0].strip() if found and "\n" in rest else None

        started.append(There(process, until(address, START_SECONDS)))
        return started[-1]

    yield begin
    for one in started:
        one.process.send_signal(signal.SIGTERM)
        one.process.wait(START_SECONDS)


def rules(once: There, safe: There) -> str:
    """Models that run there. Any key is taken: what stands in a variable that every process has."""
    common = 'key = "env:HOME", per_second = 200, fresh = 0.2'
    return (
        f'[[models]]\nname = "once"\nengine = "upstream"\n'
        f'options = {{ dialect = "kie", url = "{once.url}", {common} }}\n'
        f'[[models]]\nname = "safe"\nengine = "upstream"\n'
        f'options = {{ dialect = "aigptimage", url = "{safe.url}", {common} }}\n'
    )


async def submit(server: Running, number: int) -> dict[str, str]:
    """A round of tasks: their ids by their prompts, which are also known there."""
    async with server.client("aigptimage") as client:

        async def one(name: str) -> tuple[str, str]:
            task = await client.submit(Submit(model=name.split()[0], prompt=name))
            return name, bare_id(task.id) or ""

        names = [f"{('once', 'safe')[one % 2]} {number}-{one}" for one in range(ROUND)]
        return dict(await asyncio.gather(*map(one, names)))


Rows = list[tuple[Any, ...]]
QUERY = "select id, status, failure, memory from tasks"


def check(ids: dict[str, str], rows: Rows, once: There, safe: There) -> list[str]:
    """What is promised; returns the ids of the tasks that succeeded."""
    names = {id: name for name, id in ids.items()}
    assert set(names) == {row[0] for row in rows}
    for there in (once, safe):
        made = [task["prompt"] for task in there.tell("tasks")]
        assert len(made) == len(set(made)), "one of them was submitted twice"
    counts = once.tell("counts")
    assert counts["received"] == counts["accepted"] == len(once.tell("tasks"))
    assert set(safe.tell("counts")["keys"]) <= set(names)

    unknown = 0
    for id, status, failure, memory in rows:
        if status == "succeeded":
            continue
        assert (status, json.loads(failure)["code"]) == ("failed", "submission_unknown"), names[id]
        assert names[id].startswith("once")
        assert "id" not in json.loads(memory or "{}"), names[id]
        unknown += 1
    print(f"{unknown} of {len(ids)} are unknown")
    assert unknown <= len(ids) // 4
    return [row[0] for row in rows if row[1] == "succeeded"]


async def check_files(server: Running, ids: list[str]) -> None:
    """Their files are here, whole, and once."""
    async with (
        server.client("aigptimage") as client,
        httpx.AsyncClient(trust_env=False, timeout=30) as http,
    ):
        for id in ids:
            task = await client.fetch(id, Kind.IMAGE)
            assert task.status is Status.SUCCEEDED
            (artifact,) = task.artifacts
            assert (await http.get(artifact.url or "")).content == sample(Kind.IMAGE).data


def test_killed_at_any_moment_it_asks_once_and_loses_no_result(
    start: Start, fake: Callable[[str], There]
) -> None:
    print(f"CRASH_SEED={SEED}")
    chance = random.Random(SEED)
    once, safe = fake("kie"), fake("aigptimage")
    settings = f"grace = 0\nmost_deaths = 1000\n{rules(once, safe)}"
    server = start(config=settings)
    ids: dict[str, str] = {}

    for number in range(KILLS):
        ids |= asyncio.run(submit(server, number))
        with pytest.raises(subprocess.TimeoutExpired):
            server.process.wait(chance.uniform(0.01, 0.8))
        server.kill()
        server = start(config=settings, key=server.key)
    marks = ", ".join(f"'{status}'" for status in ENDS)
    query = f"select count(*) from tasks where status not in ({marks})"
    until(lambda: server.rows(query)[0][0] == 0, 40)

    succeeded = check(ids, server.rows(QUERY), once, safe)
    asyncio.run(check_files(server, succeeded))
    assert server.rows("select sum(deaths) from tasks")[0][0] > 0
    assert server.stop() == 0
    assert not bugs_in(server.log)


async def test_workers_that_are_killed_are_followed_by_others_that_do_not_ask_again(
    tmp_path: Path, postgres: PostgresServer, s3: S3Server, fake: Callable[[str], There]
) -> None:
    print(f"CRASH_SEED={SEED}")
    chance = random.Random(SEED)
    once, safe = fake("kie"), fake("aigptimage")
    models = rules(once, safe)
    database = await postgres.create_soon()
    with installed(
        tmp_path / "pg", database, s3.bucket(), models, heartbeat=1, most_deaths=1000
    ) as cluster:
        api, *workers = await asyncio.to_thread(cluster.start, "serve --no-workers", "work", "work")
        ids: dict[str, str] = {}
        for number in range(KILLS):
            ids |= await submit(api, number)
            await asyncio.sleep(chance.uniform(0.01, 0.6))
            killed = chance.randrange(2)
            workers[killed].kill()
            (workers[killed],) = await asyncio.to_thread(cluster.start, "work")
        await cluster.all_end(60)

        succeeded = check(ids, await cluster.rows(QUERY), once, safe)
        await check_files(api, succeeded)
        await cluster.check_ends()
