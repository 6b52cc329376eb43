"""Servers on real sockets that answer without an end: a byte now and then, or more than fits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000000000\r\n\r\n"
Choose = Callable[[str], bytes | None]  # a whole answer to the head of a request; None: no end


class Endless:
    """Answers with `head`, and then with `piece` every `pause` seconds, until it is left."""

    def __init__(self, head: bytes = HEAD, piece: bytes = b" ", pause: float = 0.02) -> None:
        self.url = ""
        self.head, self.piece, self.pause = head, piece, pause
        self.choose: Choose = lambda head: None
        self.asked: list[str] = []  # the heads of what was asked
        self.talks: list[list[str]] = []  # the same, by connection
        self.sent = 0
        self.left = 0  # answers that the other side did not wait for
        self.delay = 0.0  # seconds before each answer
        self._talks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[Endless]:
        """Answer on a port of its own."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            for talk in self._talks:
                talk.cancel()
            await asyncio.gather(*self._talks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.create_task(self._serve(reader, writer))
        self._talks.add(talk)
        talk.add_done_callback(self._talks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk: list[str] = []
        self.talks.append(talk)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                for line in head.lower().split("\r\n"):
                    if line.startswith("content-length: "):
                        await reader.readexactly(int(line.removeprefix("content-length: ")))
                self.asked.append(head)
                talk.append(head)
                await asyncio.sleep(self.delay)
                if (whole := self.choose(head)) is not None:
                    writer.write(whole)
                    await writer.drain()
                else:
                    await self._drip(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    async def _drip(self, writer: asyncio.StreamWriter) -> None:
        writer.write(self.head)
        try:
            while True:
                writer.write(self.piece)
                self.sent += len(self.piece)
                await writer.drain()
                await asyncio.sleep(self.pause)
        except ConnectionError:
            self.left += 1
            raise


def whole(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """An answer with an end."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body
