"""A receiver of webhooks: a real server here, whose answers are scripted by path."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h11
import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Act = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Letter:
    """A request that came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def said(self) -> Any:
        return msgspec.json.decode(self.body)


@dataclass
class Receiver:
    """What came, and what each path answers: one after the other, and the last for ever."""

    port: int = 0
    scheme: str = "http"
    answers: dict[str, list[Act]] = field(default_factory=dict)
    letters: list[Letter] = field(default_factory=list)
    under_way: int = 0
    most_at_once: int = 0
    came: asyncio.Condition = field(default_factory=asyncio.Condition)

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"

    def at(self, path: str) -> list[Letter]:
        return [letter for letter in self.letters if letter.path == path]

    async def until(self, count: int, path: str | None = None) -> list[Letter]:
        """Wait until so many have come."""

        def enough() -> bool:
            return len(self.letters if path is None else self.at(path)) >= count

        async with asyncio.timeout(20), self.came:
            await self.came.wait_for(enough)
        return self.letters if path is None else self.at(path)

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        try:
            if (letter := await _read(reader)) is None:
                return
            self.letters.append(letter)
            async with self.came:
                self.came.notify_all()
            acts = self.answers.get(letter.path, [status(200)])
            await (acts.pop(0) if len(acts) > 1 else acts[0])(writer)
            await writer.drain()
        except (ConnectionError, ssl.SSLError):
            pass
        finally:
            self.under_way -= 1
            with suppress(ConnectionError, ssl.SSLError):
                writer.close()


async def _read(reader: asyncio.StreamReader) -> Letter | None:
    connection = h11.Connection(h11.SERVER)
    head, body = None, b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(65536))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            break
        else:
            return None
    assert head is not None
    headers = {name.decode(): value.decode() for name, value in head.headers}
    return Letter(head.target.decode(), headers, body)


def status(code: int, *headers: str, body: bytes = b"ok") -> Act:
    """Answer with a status."""

    async def act(writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {code} -", f"Content-Length: {len(body)}", *headers, "", ""]
        writer.write("\r\n".join(lines).encode() + body)

    return act


async def hang(writer: asyncio.StreamWriter) -> None:
    """Answer nothing, and keep the connection."""
    await asyncio.sleep(3600)


async def reset(writer: asyncio.StreamWriter) -> None:
    """Hang up without a word."""
    writer.transport.abort()


async def drip(writer: asyncio.StreamWriter) -> None:
    """Answer byte by byte, for ever."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\nX: ")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


@asynccontextmanager
async def receiving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """A receiver, until the end of the block."""
    receiver = Receiver(scheme="https" if tls else "http")
    running: set[asyncio.Task[None]] = set()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        with suppress(asyncio.CancelledError):
            await receiver.take(reader, writer)
        running.discard(task)

    server = await asyncio.start_server(take, "127.0.0.1", 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(set(running))


def bad_certificate(folder: Path) -> ssl.SSLContext:
    """What a server has whose certificate nobody has signed but itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
        .sign(key, hashes.SHA256())
    )
    form = serialization.Encoding.PEM
    kind, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    file = folder / "bad.pem"
    file.write_bytes(made.public_bytes(form) + key.private_bytes(form, kind, plain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context
