"""How late callers know that their tasks are at their ends, and what that costs: by each way.

As many callers as tasks wait at the same time, all with the same tasks: what differs is how they
ask. A delay is from the end, by the server's clock, to when its caller has it, on one machine.
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from benchmarks import ground
from benchmarks.ground import Server
from benchmarks.report import markdown, percentile, progress, verdict

_V1 = "/api/safelight/v1"
_SETTINGS = """
concurrency = 2000
max_connections = 20000
max_long_polls = 20000
private_callbacks = true
[[models]]
name = "*"
engine = "blank"
options = { seconds = "prompt" }
"""
_POLL_SECONDS = 2.0
_SEED = 20261125
_LATE = 0.1  # seconds, of the 95th percentile where nobody asks again and again
_REQUESTS = 3  # of a task, its submission included
_MOST_MEMORY = 250  # MiB that those who wait may take together


class _Run(NamedTuple):
    """What was measured of one way."""

    delays: list[float]
    requests: float
    cpu: float  # milliseconds of the server's processor a task

    def cells(self) -> tuple[str, ...]:
        p50, p95 = (percentile(self.delays, percent) * 1000 for percent in (50, 95))
        return f"{p50:,.0f}", f"{p95:,.0f}", f"{self.requests:.1f}", f"{self.cpu:.1f}"


class _Caller:
    """Counts what is asked, with the key of a server."""

    def __init__(self, server: Server, client: httpx.AsyncClient) -> None:
        self.server = server
        self.client = client
        self.requests = 0

    async def get(self, path: str, **headers: str) -> httpx.Response:
        self.requests += 1
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.get(path, headers=named)

    async def submit(self, seconds: float) -> str:
        self.requests += 1
        asked = {"model": "blank", "input": {"prompt": f"{seconds:.2f}"}}
        answer = await self.client.post(f"{_V1}/tasks", json=asked)
        answer.raise_for_status()
        id: str = answer.json()["id"]
        return id


Way = Callable[[_Caller, str], Awaitable[dict[str, Any]]]


async def _polling(caller: _Caller, id: str) -> dict[str, Any]:
    while True:
        await asyncio.sleep(_POLL_SECONDS)
        task: dict[str, Any] = (await caller.get(f"{_V1}/tasks/{id}")).json()
        if "finished_at" in task:
            return task


async def _paced(caller: _Caller, id: str) -> dict[str, Any]:
    while True:
        answer = await caller.get(f"{_V1}/tasks/{id}")
        task: dict[str, Any] = answer.json()
        if "finished_at" in task:
            return task
        await asyncio.sleep(float(answer.headers.get("retry-after", _POLL_SECONDS)))


async def _tagged(caller: _Caller, id: str) -> dict[str, Any]:
    tag = '"none"'
    while True:
        answer = await caller.get(f"{_V1}/tasks/{id}", if_none_match=tag)
        tag = answer.headers["etag"]
        if answer.status_code == 200 and "finished_at" in (task := answer.json()):
            found: dict[str, Any] = task
            return found
        await asyncio.sleep(_POLL_SECONDS)


async def _held(caller: _Caller, id: str) -> dict[str, Any]:
    while True:
        task: dict[str, Any] = (await caller.get(f"{_V1}/tasks/{id}", prefer="wait=60")).json()
        if "finished_at" in task:
            return task


async def _streamed(caller: _Caller, id: str) -> dict[str, Any]:
    caller.requests += 1
    headers = {"accept": "text/event-stream"}
    async with caller.client.stream("GET", f"{_V1}/tasks/{id}/events", headers=headers) as answer:
        done = False
        async for line in answer.aiter_lines():
            done = done or line == "event: done"
            if done and line.startswith("data: "):
                task: dict[str, Any] = json.loads(line[6:])
                return task
    raise RuntimeError("the stream ended before the task")


class _Receiver:
    """Takes webhooks, and hands each end to whoever waits for it."""

    def __init__(self) -> None:
        self.ends: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self.port = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = next(
            int(line.partition(":")[2])
            for line in head.splitlines()
            if line.startswith("content-length")
        )
        task = json.loads(await reader.readexactly(length))["data"]
        self.end(task["id"]).set_result(task)
        writer.write(b"HTTP/1.1 204 \r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    def end(self, id: str) -> asyncio.Future[dict[str, Any]]:
        """The end of a task, which may have come already."""
        return self.ends.setdefault(id, asyncio.get_running_loop().create_future())

    async def wait(self, caller: _Caller, id: str) -> dict[str, Any]:
        """Wait to be told, as one of the ways."""
        caller.requests += 1  # the one that is sent to us
        return await self.end(id)


async def _follow(caller: _Caller, way: Way, seconds: float) -> float:
    """Submit a task, and how late its end was known."""
    task = await way(caller, await caller.submit(seconds))
    known = time.time()
    if task["status"] != "succeeded":
        raise RuntimeError(f"a task did not succeed: {task}")
    return known - datetime.fromisoformat(task["finished_at"]).timestamp()


async def _measure(server: Server, callers: int, longest: float) -> dict[str, _Run]:
    receiver = _Receiver()
    ways: dict[str, Way] = {
        "polling every 2 s": _polling,
        "polling as `Retry-After` says": _paced,
        "polling every 2 s with `If-None-Match`": _tagged,
        "`Prefer: wait`": _held,
        "a stream": _streamed,
        "a webhook": receiver.wait,
    }
    drawn = random.Random(_SEED)
    times = [drawn.uniform(longest / 12, longest) for _ in range(callers)]
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=callers)
    address = f"http://127.0.0.1:{server.port}"
    found = {}
    async with (
        receiver.running(),
        httpx.AsyncClient(
            base_url=address,
            timeout=120,
            limits=limits,
            headers={"authorization": f"Bearer {server.key.secret}"},
        ) as client,
    ):
        for name, way in ways.items():
            progress(f"{callers} callers, by {name}")
            if way == receiver.wait:
                endpoint = {
                    "url": f"http://127.0.0.1:{receiver.port}/ends",
                    "events": ["task.ended"],
                }
                answer = await client.post(f"{_V1}/webhooks/endpoints", json=endpoint)
                answer.raise_for_status()
            caller = _Caller(server, client)
            spent = server.cpu_seconds()
            delays = await asyncio.gather(*(_follow(caller, way, each) for each in times))
            spent = server.cpu_seconds() - spent
            found[name] = _Run(delays, caller.requests / callers, spent * 1000 / callers)
    return found


async def _memory(server: Server, callers: int) -> float:
    """What so many who wait take together, in MiB."""
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{server.port}",
        headers={"authorization": f"Bearer {server.key.secret}"},
    ) as client:
        id = await _Caller(server, client).submit(600)
    before = server.memory()
    asked = (
        f"GET {_V1}/tasks/{id} HTTP/1.1\r\nhost: 127.0.0.1:{server.port}\r\nprefer: wait=60\r\n"
        f"authorization: Bearer {server.key.secret}\r\n\r\n"
    ).encode()
    writers = []
    for number in range(callers):
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(asked)
        writers.append(writer)
        if number % 500 == 0:
            progress(f"{number} callers wait")
    await asyncio.sleep(5)
    taken = server.memory() - before
    for writer in writers:
        writer.close()
    return taken


def measure_hearing(folder: Path, callers: int, longest: float, waiting: int) -> bool:
    """Each way of hearing, and the memory of those who wait."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with ground.server(folder / "hearing", _SETTINGS, "benchmarks.with_blank") as server:
        runs = asyncio.run(_measure(server, callers, longest))
        taken = asyncio.run(_memory(server, waiting))
    markdown(
        f"{callers} callers, each of a task of {longest / 12:.0f} to {longest:.0f} s, one process",
        ("how they hear", "p50 ms", "p95 ms", "requests a task", "processor a task, ms"),
        [(name, *run.cells()) for name, run in runs.items()],
    )
    told = [runs[name] for name in ("`Prefer: wait`", "a stream", "a webhook")]
    soon = verdict(
        "whoever is told knows within 100 ms (p95)",
        all(percentile(run.delays, 95) < _LATE for run in told),
    )
    few = verdict("with 3 requests at most", all(run.requests <= _REQUESTS for run in told))
    small = verdict(
        f"{waiting} who wait take {taken:.0f} MiB, of {_MOST_MEMORY}", taken <= _MOST_MEMORY
    )
    return soon and few and small
