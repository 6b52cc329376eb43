"""Several processes on one PostgreSQL: APIs and workers that are started, killed and replaced."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from backends import PostgresServer
from benchmarks.ground import Server, make_key
from benchmarks.report import progress
from safelight.config import Settings
from safelight.postgres import SCHEMA
from safelight.server.addresses import free_port
from safelight.wire import Key

_START_SECONDS, _STOP_SECONDS, _QUERY_SECONDS = 120.0, 40.0, 900.0
_TICKS = os.sysconf("SC_CLK_TCK")
_BLANK = 'engine = "blank"\n'
# What a process says once it is ready.
_READY = (b"Safelight listens on", b"Safelight runs tasks of")

Connection = Any  # asyncpg's own is generic for a type checker, and not when it runs


@dataclass
class Member:
    """A process of a crew: an API, which has a port, or a worker."""

    name: str
    command: list[str]
    log: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = None
    began: int = field(default=0, repr=False)

    def start(self) -> None:
        """Start it; it is ready a little later."""
        with self.log.open("ab") as log:
            self.began = log.tell()
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)

    def wait(self) -> None:
        """Wait until it is ready."""
        until = time.monotonic() + _START_SECONDS
        while not any(word in self.log.read_bytes()[self.began :] for word in _READY):
            self.check()
            if time.monotonic() > until:
                raise RuntimeError(f"{self.name} is not ready: {self.last_words()}")
            time.sleep(0.02)

    def check(self) -> None:
        """Raise where it has ended by itself."""
        if self.process is not None and self.process.poll() is not None:
            raise RuntimeError(f"{self.name} ended: {self.last_words()}")

    def kill(self) -> None:
        """SIGKILL, which nothing can prepare for."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(_STOP_SECONDS)

    def cpu_seconds(self) -> float:
        """The processor time that it and its children that ended have used."""
        assert self.process is not None
        return cpu_seconds(self.process.pid)

    def last_words(self) -> str:
        return self.log.read_bytes()[-2000:].decode(errors="replace")


class Crew:
    """The processes of one installation: a database, a folder for its files, a key."""

    def __init__(self, url: str, folder: Path, options: str = "", model: str = _BLANK) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.url = url
        self.data = folder / "data"
        self.members: list[Member] = []
        self._folder = folder
        self._config = folder / "safelight.toml"
        # No rate limits: it is the server that is measured here, and not its patience.
        self._config.write_text(
            f'log_level = "warning"\nheartbeat = 5\ndatabase = "{url}"\ndata = "{self.data}"\n'
            f'[rates]\n[[models]]\nname = "*"\n{model}{options}\n'
        )
        self.key: Key = make_key(self.data, Settings(data=self.data, database=url))

    def serve(self) -> Member:
        """One more API without workers, not ready yet."""
        port = free_port("127.0.0.1")
        return self._add("api", port, "serve", "--no-workers", "--port", str(port))

    def work(self, concurrency: int) -> Member:
        """One more worker, not ready yet."""
        return self._add("worker", 0, "work", "--concurrency", str(concurrency))

    def _add(self, kind: str, port: int, *arguments: str) -> Member:
        name = f"{kind}-{len(self.members)}"
        command = [sys.executable, "-m", "benchmarks.with_blank", *arguments]
        command += ["--config", str(self._config)]
        member = Member(name, command, self._folder / f"{name}.log", port)
        self.members.append(member)
        member.start()
        return member

    def wait(self) -> None:
        """Wait until all are ready."""
        for member in self.members:
            progress(f"waiting for {member.name}")
            member.wait()

    def server(self, api: Member) -> Server:
        """An API as a target of requests."""
        assert api.process is not None
        return Server(api.port, api.process, self.key, self.data)

    def stop(self) -> None:
        """Stop all: they drain, and those that take too long are killed."""
        running = [one for one in self.members if one.process and one.process.poll() is None]
        try:
            for member in running:
                assert member.process is not None
                member.process.terminate()
            until = time.monotonic() + _STOP_SECONDS
            for member in running:
                assert member.process is not None
                member.process.wait(max(0.1, until - time.monotonic()))
        finally:
            for member in running:
                member.kill()

    def query(self, sql: str, *values: object) -> list[Any]:
        """What the database answers."""

        async def ask() -> list[Any]:
            async with connected(self.url) as connection:
                return list(await connection.fetch(sql, *values))

        return asyncio.run(ask())


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    """A connection of our own to the database, for a while."""
    connection: Connection = await asyncpg.connect(
        url, server_settings={"search_path": SCHEMA}, command_timeout=_QUERY_SECONDS
    )
    try:
        yield connection
    finally:
        await connection.close()


@contextmanager
def crew(url: str, folder: Path, options: str = "", model: str = _BLANK) -> Iterator[Crew]:
    """A crew whose members are all stopped in the end.

    `model` (TOML) says what runs its one model, and `options` with which options.
    """
    made = Crew(url, folder, options, model)
    try:
        yield made
    finally:
        made.stop()


@contextmanager
def postgres() -> Iterator[PostgresServer]:
    """A real PostgreSQL, as it comes, for a while."""
    progress("starting PostgreSQL")
    server = PostgresServer()
    try:
        yield server
    finally:
        server.close()


def postgres_seconds(url: str) -> float:
    """The processor time that a PostgreSQL server and all its processes have used."""

    async def ask() -> int:
        async with connected(url) as connection:
            folder = Path(await connection.fetchval("show data_directory"))
            return int((folder / "postmaster.pid").read_text().split()[0])

    parent = asyncio.run(ask())
    return cpu_seconds(parent) + sum(cpu_seconds(child) for child in children(parent))


def children(parent: int) -> list[int]:
    """The processes that this one has started and that are there."""
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]
    return [pid for pid in pids if _fields(pid)[1:2] == [str(parent)]]


def cpu_seconds(pid: int) -> float:
    """The processor time that a process has used, in seconds."""
    # Of the process, and of those of its children that have ended and were waited for.
    return sum(int(value) for value in _fields(pid)[11:15]) / _TICKS


def _fields(pid: int) -> list[str]:
    """What the kernel says of a process, after its name; nothing of one that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
