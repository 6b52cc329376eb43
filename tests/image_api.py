"""An image API of OpenAI's kind, on a real socket: what it is asked is kept, its answers are set.

It runs in a thread with a loop of its own, for the tests' loop as well as for other processes.
"""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections import deque
from dataclasses import dataclass
from io import BytesIO
from typing import Any, NamedTuple

import h11
from multipart import MultipartParser, parse_options_header

from doubles import picture


class Reply(NamedTuple):
    """An answer; one without a status is none: the connection ends."""

    status: int = 0
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    type: str = "application/json"


HANG_UP = Reply()


def pictures(*data: bytes) -> Reply:
    """An answer with these pictures in it."""
    items = [{"b64_json": base64.b64encode(each).decode()} for each in data]
    return Reply(200, json.dumps({"created": 1, "data": items}).encode())


def linked(*urls: str) -> Reply:
    """An answer that says where the pictures are."""
    items = [{"url": url} for url in urls]
    return Reply(200, json.dumps({"created": 1, "data": items}).encode())


def error(
    status: int,
    message: str = "it went wrong",
    code: str | None = None,
    type: str = "invalid_request_error",
    **headers: str,
) -> Reply:
    """An answer that is an error, with headers such as `retry_after`."""
    body = {"error": {"message": message, "type": type, "code": code, "param": None}}
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Reply(status, json.dumps(body).encode(), named)


class Part(NamedTuple):
    """A part of a form."""

    name: str
    filename: str | None
    type: str
    data: bytes


@dataclass
class Asked:
    """A request, as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def form(self) -> list[Part]:
        _, options = parse_options_header(self.headers["content-type"])
        parts = MultipartParser(BytesIO(self.body), options["boundary"])
        return [Part(one.name, one.filename, one.content_type, one.raw) for one in parts]


class ImageApi:
    """The API. `answers` are given in turn, then a small picture; while `held`, none is."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.fetched: list[Asked] = []
        self.answers: deque[Reply] = deque()
        self.files: deque[Reply] = deque()  # for GET, in turn; then a small picture
        self.given_up = 0  # connections that the other side has left while it waited
        self.held = False
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._server: asyncio.Server | None = None
        self.listen()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def listen(self) -> None:
        """Take connections, on the same port as before."""
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    def refuse(self) -> None:
        """Take no more connections."""
        asyncio.run_coroutine_threadsafe(self._refuse(), self._loop).result(10)

    def close(self) -> None:
        """End, and leave nothing behind."""
        self.held = False
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _end(self) -> None:
        await self._refuse()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        if rest:
            await asyncio.wait(rest, timeout=5)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if (asked := await _read(reader)) is not None:
                await self._answer(asked, reader, writer)
        except ConnectionError:
            self.given_up += 1
        finally:
            writer.close()

    async def _answer(
        self, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        making = asked.method == "POST"
        kept, answers = (self.asked, self.answers) if making else (self.fetched, self.files)
        usual = pictures(picture()) if making else Reply(200, picture(), type="image/png")
        reply = answers.popleft() if answers else usual
        kept.append(asked)
        if await self._wait(reader) and reply.status:
            writer.write(_write(reply))
            await writer.drain()

    async def _wait(self, reader: asyncio.StreamReader) -> bool:
        """Wait while `held`; False where the other side leaves meanwhile."""
        left = asyncio.ensure_future(reader.read(1))
        try:
            while self.held and not left.done():  # noqa: ASYNC110 - another thread lets it go
                await asyncio.sleep(0.005)
            if self.held:
                self.given_up += 1
            return not self.held
        finally:
            left.cancel()


async def _read(reader: asyncio.StreamReader) -> Asked | None:
    connection = h11.Connection(h11.SERVER)
    request: h11.Request | None = None
    body = b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(65536))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage) and request is not None:
            headers = {name.decode(): value.decode() for name, value in request.headers}
            return Asked(request.method.decode(), request.target.decode(), headers, body)
        else:
            return None


def _write(reply: Reply) -> bytes:
    headers = [
        *reply.headers,
        ("content-type", reply.type),
        ("content-length", str(len(reply.body))),
        ("connection", "close"),
    ]
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"HTTP/1.1 {reply.status} -\r\n{lines}\r\n".encode() + reply.body
