"""Processes that end tasks and tell of it are killed at random: every end is told, as it was."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections import defaultdict
from pathlib import Path

from backends import PostgresServer
from doubles import NOW, task
from receiver import receiving
from safelight.postgres import Database
from safelight.secrets import Vault
from safelight.store import hooks, scripts
from safelight.store.postgres import PostgresStore
from safelight.task import new_id
from safelight.webhooks import verify

TASKS, OWNERS, PROCESSES, KILLS = 1000, 8, 2, 8
SECRET = "whsec_" + "c2VjcmV0" * 5
# What ends tasks and tells of it, until it is killed. A lease is short, for the test to be.
PROGRAM = """
import asyncio, sys
from safelight.dialects.safelight import task_object
from safelight.links import Links
from safelight.outgoing import Outgoing
from safelight.postgres import Database
from safelight.secrets import Vault
from safelight.server.metrics import Metrics
from safelight.server.posting import Post
from safelight.server.sender import Sender
from safelight.server.telling import Telling
from safelight.store import scripts
from safelight.store.postgres import PostgresStore
from safelight.task import Artifact

async def end(store, ids):
    for id in ids:
        claimed = await store.write(scripts.claim(id, sys.argv[2], 1))
        if claimed is not None:
            files = (Artifact(blob=f"tasks/{id}/0.png", media_type="image/png", size=9),)
            await store.write(scripts.succeed(id, claimed.attempt, files, claimed.attempt))

async def main():
    store = await PostgresStore.open(await Database.open(sys.argv[1], connections=4))
    vault = Vault(b"secret")
    telling = Telling(vault, Links(vault), {}, "http://us", task_object)
    post, metrics = Post(Outgoing(private=True)), Metrics()
    sender = Sender(store, telling, post, metrics, spread=lambda: 0.05, lease=1000)
    sending = asyncio.create_task(sender.run())
    while True:
        for id in await store.read(scripts.unfinished("", 20)):
            await end(store, [id])
        await asyncio.sleep(0.02)

asyncio.run(main())
"""


async def test_every_end_is_told_whatever_is_killed_when(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    program = tmp_path / "ending.py"
    program.write_text(PROGRAM)
    chance = random.Random(11)
    children: list[asyncio.subprocess.Process] = []

    async def start(url: str, name: str) -> asyncio.subprocess.Process:
        log = (tmp_path / f"{name}.log").open("ab")
        with log:
            return await asyncio.create_subprocess_exec(
                sys.executable, str(program), url, name, stdout=log, stderr=log
            )

    async with postgres.lent() as url, receiving() as receiver:
        store = await PostgresStore.open(await Database.open(url))
        vault = Vault(b"secret")
        sealed = vault.encrypt(SECRET)
        for number in range(OWNERS):
            where = receiver.url(f"/{number}")
            adding = hooks.add_endpoint(
                f"ep_{number}", f"o{number}", where, "task.ended", "", sealed, NOW
            )
            await store.write(adding)
        ids = [new_id(NOW, number.to_bytes(6, "big")) for number in range(TASKS)]
        for number, id in enumerate(ids):
            await store.write(scripts.add(task(id, owner=f"o{number % OWNERS}"), ""))
        try:
            children = [await start(url, f"w{number}") for number in range(PROCESSES)]
            seen = 0
            for number in range(KILLS):
                seen += TASKS // (KILLS + 2)
                await receiver.until(seen)
                await asyncio.sleep(chance.uniform(0, 0.2))
                victim = number % PROCESSES
                os.kill(children[victim].pid, signal.SIGKILL)
                await children[victim].wait()
                children[victim] = await start(url, f"w{victim}")
            async with asyncio.timeout(60):
                while len(await store.read(scripts.unfinished("", 1))):
                    await asyncio.sleep(0.05)
                while (await store.read(hooks.counts()))[0]:
                    await asyncio.sleep(0.05)
        finally:
            for child in children:
                child.kill()
                await child.wait()
        found = await store.read(scripts.count_by_status())
        await store.close()

    assert found == {"succeeded": TASKS}
    bodies: dict[str, set[bytes]] = defaultdict(set)
    for letter in receiver.letters:
        bodies[letter.id].add(letter.body)
        assert verify(letter.body, letter.headers, SECRET).type == "task.succeeded"
    assert {id.split("_")[1] for id in bodies} == set(ids)
    assert len(bodies) == TASKS <= len(receiver.letters)
    assert {len(each) for each in bodies.values()} == {1}
    logs = "".join(file.read_text() for file in tmp_path.glob("*.log"))
    assert "Traceback" not in logs, logs
