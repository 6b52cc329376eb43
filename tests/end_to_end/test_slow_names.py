"""Names whose servers say nothing: they hold up nobody who does not ask for them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from doubles import picture
from end_to_end.running import Running, bugs_in
from safelight.task import Source, Status, Task

# The system's resolver, in every process of the server: for these names it takes 20 seconds.
RESOLVER = """
import socket, time
ask = socket.getaddrinfo
def slow(host, *more):
    if host and str(host).endswith(".slow.test"):
        if not (len(more) > 4 and more[4] & socket.AI_NUMERICHOST):
            time.sleep(20)
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
    return ask(host, *more)
socket.getaddrinfo = slow
"""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    place = tmp_path / "resolver"
    place.mkdir()
    (place / "sitecustomize.py").write_text(RESOLVER)
    monkeypatch.setenv("PYTHONPATH", str(place), prepend=os.pathsep)
    server = Running.start(tmp_path / "data")
    yield server
    if server.process.poll() is None:
        server.kill()


async def submit_slow(server: Running, number: int) -> Task:
    """A submission with sources at four names that do not resolve."""
    sources = tuple(Source(url=f"http://{number}-{n}.slow.test/a.png") for n in range(4))
    async with server.client("tensorslab") as client:
        return await client.submit(model="seedreamv4", prompt="a", sources=sources)


async def test_slow_names_hold_up_nobody_elses_upload(server: Running) -> None:
    slow = [asyncio.create_task(submit_slow(server, number)) for number in range(12)]
    await asyncio.sleep(0.5)  # by then they are waited for

    other = server.make_key("another")
    took = []
    async with server.client("tensorslab", other) as client:
        for _ in range(5):
            began = time.monotonic()
            await client.submit(
                model="seedreamv4", prompt="b", sources=(Source(data=picture(), name="a.png"),)
            )
            took.append(time.monotonic() - began)
    print("uploads took", took)
    accepted = await asyncio.wait_for(asyncio.gather(*slow), 15)

    assert max(took) < 2, took
    # They are accepted, for their names may resolve when they run.
    assert {task.status for task in accepted} == {Status.QUEUED}
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < 10
    assert not bugs_in(server.log)
