"""A small HTTP/1.1 server that can leave a request without an answer.

A provider's answer that is lost is a connection that closes. Under ASGI nobody can do that: an
application that ends without an answer is a 500 of the HTTP server's. So the fake provider holds
its connections itself, and h11, which the client brings along, reads and writes them.
"""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections.abc import Awaitable, Callable
from urllib.parse import unquote, urlsplit

import h11

from safelight.server.heads import read_headers, write_headers
from safelight.wire import Request, Response

_MOST_HEAD = 64 * 1024
_MOST_BODY = 128 * 1024 * 1024
_CHUNK = 256 * 1024
_BACKLOG = 1024

Handle = Callable[[Request], Awaitable[Response]]


class Cut(Exception):
    """The connection is to be closed: without an answer, or after half of one."""

    def __init__(self, half: Response | None = None) -> None:
        super().__init__()
        self.half = half


class Listener:
    """Answers requests with what `handle` returns. Where that raises `Cut`, it hangs up."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()

    async def open(self, host: str, port: int) -> int:
        """Listen; returns the port, a free one where 0 was asked for. Raises `OSError`."""
        self._server = await asyncio.start_server(self._connected, host, port, backlog=_BACKLOG)
        found: int = self._server.sockets[0].getsockname()[1]
        return found

    async def close(self) -> None:
        """Hang up on everybody."""
        if self._server is not None:
            self._server.close()
            for talk in self._talks:
                talk.cancel()
            await asyncio.gather(*self._talks, return_exceptions=True)
            await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.current_task()
        assert talk is not None
        self._talks.add(talk)
        try:
            await self._talk(_Peer(reader, writer))
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            self._talks.discard(talk)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _talk(self, peer: _Peer) -> None:
        try:
            while (request := await peer.read()) is not None:
                if not await peer.write(await self._answer(request)):
                    return
        except Cut as cut:
            if cut.half is not None:
                await peer.write_half(cut.half)
                return
            peer.hang_up()
        except h11.RemoteProtocolError as problem:
            await peer.write(_plain(problem.error_status_hint or 400, f"{problem}\n"))

    async def _answer(self, request: Request) -> Response:
        try:
            return await self._handle(request)
        except Cut:
            raise
        except Exception:
            traceback.print_exc()
            return _plain(500, "The fake provider made a mistake; its log says which.\n")


class _Peer:
    """A connection: requests in, answers out."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MOST_HEAD)
        self._head = False

    async def read(self) -> Request | None:
        """The next request; None where there is none any more. Raises `RemoteProtocolError`."""
        head: h11.Request | None = None
        body = bytearray()
        while True:
            match self._http.next_event():
                case h11.Request() as head:
                    self._head = head.method == b"HEAD"
                case h11.Data(data=data):
                    body += data
                    if len(body) > _MOST_BODY:
                        raise h11.RemoteProtocolError("too large a body", error_status_hint=413)
                case h11.EndOfMessage():
                    assert head is not None
                    return _request(head, bytes(body))
                case h11.NEED_DATA:
                    await self._receive()
                case _:  # it went away
                    return None

    async def _receive(self) -> None:
        if self._http.they_are_waiting_for_100_continue:
            go_on = h11.InformationalResponse(status_code=100, headers=[])
            self._writer.write(self._http.send(go_on) or b"")
        self._http.receive_data(await self._reader.read(_CHUNK))

    async def write(self, response: Response) -> bool:
        """Send an answer; returns whether another request may come."""
        body = b"" if self._head else response.body
        sent = self._start(response)
        if body:
            sent += self._http.send(h11.Data(data=body)) or b""
        sent += self._http.send(h11.EndOfMessage()) or b""
        self._writer.write(sent)
        await self._writer.drain()
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    async def write_half(self, response: Response) -> None:
        """Send half of what was announced."""
        self._writer.write(self._start(response) + response.body[: len(response.body) // 2])
        await self._writer.drain()

    def hang_up(self) -> None:
        """Close the connection, now."""
        self._writer.transport.abort()

    def _start(self, response: Response) -> bytes:
        start = h11.Response(status_code=response.status, headers=write_headers(response))
        return self._http.send(start) or b""


def _request(head: h11.Request, body: bytes) -> Request:
    target = head.target.decode("latin-1")
    if not target.startswith("/"):  # a proxy's form
        parts = urlsplit(target)
        target = f"{parts.path or '/'}?{parts.query}"
    path, _, query = target.partition("?")
    return Request(
        method=head.method.decode(),
        path=unquote(path),
        query=query,
        headers=read_headers(head.headers),
        body=body,
    )


def _plain(status: int, text: str) -> Response:
    headers = (("content-type", "text/plain; charset=utf-8"), ("connection", "close"))
    return Response(status=status, headers=headers, body=text.encode())
