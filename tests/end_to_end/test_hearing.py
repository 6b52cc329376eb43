"""Waiting and streams against a real server: what a signal ends, and what a kill does not lose."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx

from end_to_end.conftest import Start
from end_to_end.running import Running, until
from end_to_end.streams import Sent, events_of
from end_to_end.words import IMAGES

SLOW = """
grace = 1
concurrency = 2
max_long_polls = 1000
[[models]]
name = "*"
engine = "sketch"
options = { seconds = 60 }
"""
SOON = """
grace = 1
concurrency = 2
[[models]]
name = "*"
engine = "sketch"
options = { seconds = 3 }
"""
V1 = "/api/safelight/v1"
ASKED = {"model": "still", "input": {"prompt": "a lighthouse", "width": 64, "height": 64}}


def http(server: Running, **options: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=server.url,
        headers={"authorization": f"Bearer {server.key.secret}"},
        timeout=60,
        limits=httpx.Limits(max_connections=300),
        **options,
    )


async def submit(server: Running) -> str:
    async with server.client("tensorslab") as client:
        return (await client.submit(IMAGES["tensorslab"], width=64, height=64)).id


async def test_two_hundred_who_wait_are_answered_when_the_server_is_told_to_stop(
    start: Start,
) -> None:
    server = start(config=SLOW)
    id = await submit(server)
    async with http(server) as client:
        path, prefer = f"{V1}/tasks/{id}", {"prefer": "wait=60"}
        waiting = [asyncio.create_task(client.get(path, headers=prefer)) for _ in range(200)]
        streams = [asyncio.create_task(read(client, f"{path}/events")) for _ in range(20)]
        await asyncio.to_thread(until, lambda: connections(server) >= 220)
        await asyncio.sleep(0.5)  # the last of them is connected, and about to be heard

        server.ask_to_stop()
        began = time.monotonic()
        answers = await asyncio.gather(*waiting)
        told = await asyncio.gather(*streams)
        answered = time.monotonic() - began
    ended = server.process.wait(30)

    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["status"] for answer in answers} <= {"queued", "running"}
    assert all(": the server is stopping" in text for text in told)
    assert answered < 5  # on a machine that has much to do
    assert ended == 0


async def read(client: httpx.AsyncClient, path: str) -> str:
    answer = await client.get(path, headers={"accept": "text/event-stream"})
    return answer.text


def connections(server: Running) -> int:
    """Connections that the server's own process has open."""
    port = int(server.url.rpartition(":")[2])
    with open("/proc/net/tcp") as table:
        lines = [line.split() for line in table][1:]
    local = f":{port:04X}"
    return sum(1 for line in lines if line[1].endswith(local) and line[3] == "01")


async def test_a_stream_that_a_kill_cut_off_goes_on_at_the_next_server(start: Start) -> None:
    server = start(config=SOON)
    id = await submit(server)
    path = f"{V1}/tasks/{id}/events"
    events: list[tuple[str, str, Any]] = []
    killed = False
    async with http(server) as client:
        try:
            async for event in stream(client, path, "0"):
                events.append(event)
                if event[0] == "snapshot":
                    await asyncio.to_thread(server.kill)
                    killed = True
        except httpx.HTTPError:
            pass
    assert killed

    again = start(config=SOON, key=server.key)
    async with http(again) as client:
        async for event in stream(client, path, events[-1][1]):
            events.append(event)
        rows = (await client.get(path)).json()["events"]

    assert events[-1][0] == "done"
    assert events[-1][2]["status"] == "succeeded"
    told = [(int(id), name) for name, id, _ in events if name in ("status", "log")]
    assert [number for number, _ in told] == [row["revision"] for row in rows]
    assert sum(1 for name, *_ in events if name == "done") == 1


async def stream(client: httpx.AsyncClient, path: str, last: str) -> AsyncIterator[Sent]:
    """The events of a stream, after the last one that is known."""
    headers = {"accept": "text/event-stream", "last-event-id": last}
    async with client.stream("GET", path, headers=headers) as answer:
        async for event in events_of(answer):
            yield event
