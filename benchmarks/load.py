"""A load on loopback: prepared requests over kept connections, each answered before the next.

Plain sockets, because a client library would be the bottleneck of what is measured here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from typing import NamedTuple

_SECONDS = 900.0  # far longer than any load here takes: a server that hangs ends the run


class Result(NamedTuple):
    """What a load saw: requests, those that were not 200, and each one's seconds, sorted."""

    answered: int
    refused: int
    seconds: float
    latencies: list[float]
    bodies: list[bytes]

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.answered / self.seconds

    def percentile(self, percent: float) -> float:
        """That percentile of the latencies, in milliseconds."""
        index = min(len(self.latencies) - 1, int(len(self.latencies) * percent / 100))
        return self.latencies[index] * 1000


class _Connection(asyncio.Protocol):
    """One connection that sends its next request when the last one was answered."""

    def __init__(self, requests: Iterator[bytes], keep: bool, done: asyncio.Future[None]) -> None:
        self._requests = requests
        self._keep = keep
        self._done = done
        self._buffer = b""
        self._began = 0.0
        self._transport: asyncio.Transport | None = None
        self.latencies: list[float] = []
        self.bodies: list[bytes] = []
        self.refused = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._next()

    def _next(self) -> None:
        assert self._transport is not None
        request = next(self._requests, None)
        if request is None:
            self._transport.close()
            if not self._done.done():
                self._done.set_result(None)
            return
        self._began = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        at = head.index(b"content-length:") + 15
        stop = head.find(b"\r\n", at)
        length = int(head[at : stop if stop > 0 else None])
        if len(self._buffer) < end + 4 + length:
            return
        self.latencies.append(time.perf_counter() - self._began)
        if not head.startswith(b"http/1.1 200"):
            self.refused += 1
        if self._keep:
            self.bodies.append(self._buffer[end + 4 : end + 4 + length])
        self._buffer = b""
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(exc or ConnectionError("the server closed the connection"))


async def _run(
    port: int, requests: Sequence[bytes], connections: int, count: int, keep: bool
) -> Result:
    loop = asyncio.get_running_loop()
    shared = islice(cycle(requests), count)
    made: list[_Connection] = []
    ends: list[asyncio.Future[None]] = []
    began = time.perf_counter()
    for _ in range(connections):
        end: asyncio.Future[None] = loop.create_future()
        _, protocol = await loop.create_connection(
            lambda end=end: _Connection(shared, keep, end),  # type: ignore[misc]
            "127.0.0.1",
            port,
        )
        made.append(protocol)
        ends.append(end)
    async with asyncio.timeout(_SECONDS):
        await asyncio.gather(*ends)
    seconds = time.perf_counter() - began
    latencies = sorted(latency for one in made for latency in one.latencies)
    bodies = [body for one in made for body in one.bodies]
    return Result(len(latencies), sum(one.refused for one in made), seconds, latencies, bodies)


def run(
    port: int, requests: Sequence[bytes], *, connections: int, count: int, keep: bool = False
) -> Result:
    """Send `count` requests, round and round through `requests`, over that many connections."""
    return asyncio.run(_run(port, requests, connections, count, keep))


async def _run_paced(
    port: int, requests: Sequence[bytes], per_second: float, seconds: float
) -> Result:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    latencies, refused = [], 0
    began = time.perf_counter()
    for number, request in enumerate(cycle(requests)):
        due = began + number / per_second
        now = time.perf_counter()
        if due - began > seconds:
            break
        if due > now:
            await asyncio.sleep(due - now)
        sent = time.perf_counter()
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        at = head.index(b"content-length:") + 15
        await reader.readexactly(int(head[at : head.index(b"\r\n", at)]))
        latencies.append(time.perf_counter() - sent)
        refused += not head.startswith(b"http/1.1 200")
    writer.close()
    await writer.wait_closed()
    return Result(len(latencies), refused, time.perf_counter() - began, sorted(latencies), [])


def run_paced(port: int, requests: Sequence[bytes], per_second: float, seconds: float) -> Result:
    """Send requests at a steady pace over one connection."""
    return asyncio.run(_run_paced(port, requests, per_second, seconds))
