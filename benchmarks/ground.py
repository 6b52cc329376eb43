"""The ground that is measured on: servers as processes, filled databases, prepared requests."""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from benchmarks import load
from safelight.config import Settings
from safelight.dialects import named
from safelight.server.addresses import free_port
from safelight.server.opening import open_keys
from safelight.store import scripts
from safelight.store.sqlite import Transactions, connect, load_queries
from safelight.task import Artifact, Command, Fetch, Kind, Status, Submit, Task, new_id
from safelight.wire import Key, Request

_START_SECONDS = 60


class Server(NamedTuple):
    """A server that runs, and the key to ask it with."""

    port: int
    process: subprocess.Popen[bytes]
    key: Key
    data: Path

    def cpu_seconds(self) -> float:
        """The processor time that the server's own process has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """Its resident memory, in MiB."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def peak_memory(self) -> float:
        """The most of it since the start or the last `forget_peak`, in MiB."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))

    def forget_peak(self) -> None:
        """Let `peak_memory` begin anew."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")  # see proc(5)


@contextmanager
def bare_server() -> Iterator[Server]:
    """The bare Starlette route."""
    port = free_port("127.0.0.1")
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.bare", str(port)])
    try:
        _wait_for(port, process)
        yield Server(port, process, Key(), Path())
    finally:
        process.kill()
        process.wait()


@contextmanager
def server(
    data: Path, settings: str = "", program: str = "safelight", database: str | None = None
) -> Iterator[Server]:
    """`safelight serve` on that data folder, with those settings (TOML) and a key.

    `program` is the module that is run, where that is not Safelight's own; `database` the address
    of a PostgreSQL database, where it is to be one.
    """
    data.mkdir(parents=True, exist_ok=True)
    config = data / "safelight.toml"
    # No rate limits: it is the server that is measured here, and not its patience.
    url = f'database = "{database}"\n' if database else ""
    config.write_text(f'log_level = "warning"\n{url}{settings}\n[rates]\n')
    key = make_key(data, Settings(data=data, database=database))
    port = free_port("127.0.0.1")
    command = [sys.executable, "-m", program, "serve", "--config", str(config)]
    process = subprocess.Popen([*command, "--port", str(port), "--data", str(data)],
                               stdout=subprocess.DEVNULL)  # fmt: skip
    try:
        _wait_for(port, process)
        yield Server(port, process, key, data)
    finally:
        _stop(process)


@contextmanager
def fake(folder: Path, dialect: str, script: str) -> Iterator[Server]:
    """`safelight fake`, a provider that speaks `dialect` and does what `script` (TOML) says."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "script.toml"
    path.write_text(script)
    port = free_port("127.0.0.1")
    command = [sys.executable, "-m", "safelight", "fake", "--dialect", dialect]
    process = subprocess.Popen([*command, "--script", str(path), "--port", str(port)],
                               stdout=subprocess.DEVNULL)  # fmt: skip
    try:
        _wait_for(port, process)
        yield Server(port, process, Key(), folder)
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("the server did not start")


def make_key(data: Path, settings: Settings | None = None) -> Key:
    """A key of that data folder, or of those settings."""

    async def make() -> Key:
        async with open_keys(settings or Settings(data=data)) as keys:
            made = await keys.callers.create("benchmark")
            return Key(id=made.id, secret=made.secret)

    return asyncio.run(make())


def fill(data: Path, owner: str, count: int) -> list[str]:
    """Put `count` finished tasks in the database, as the server itself would; returns their ids."""
    queries = load_queries()
    connection = connect(data / "safelight.db")
    transactions = Transactions(connection)
    now = int(time.time() * 1000)
    ids = []
    with connection:
        for number in range(count):
            transactions.next()
            created = now - count + number
            task = Task(
                id=new_id(created, random.randbytes(6)),
                status=Status.QUEUED,
                submit=Submit(model="seedreamv4", prompt=f"a lighthouse at dusk, view {number}"),
                dialect="tensorslab",
                owner=owner,
                seed=number,
                created=created,
                updated=created,
            )
            ids.append(task.id)
            _carry_out(connection, queries, scripts.add(task, ""))
            _carry_out(connection, queries, scripts.claim(task.id, "w", created + 1))
            artifact = Artifact(
                blob=f"tasks/{task.id}/1-0.png", media_type="image/png", size=100_000,
                width=1024, height=1024, etag="0" * 32,
            )  # fmt: skip
            _carry_out(connection, queries, scripts.upload(task.id, 1, created + 2))
            _carry_out(connection, queries, scripts.succeed(task.id, 1, (artifact,), created + 3))
    connection.close()
    return ids


def _carry_out(
    connection: apsw.Connection, queries: dict[str, str], script: scripts.AnyScript[object]
) -> None:
    def ask(query: scripts.Query) -> list[tuple[Any, ...]]:
        return connection.execute(queries[query.name], query.parameters).fetchall()

    steps = iter(script)
    try:
        step = next(steps)
        while True:
            rows: list[tuple[Any, ...]] = []
            if isinstance(step, scripts.Query):
                rows = ask(step)
            elif isinstance(step, scripts.Change) and (rows := ask(step.query)):
                ask(scripts.event_of(step, rows[0]))
            step = steps.send(rows)
    except StopIteration:
        pass


def status_requests(
    dialect: str, kind: Kind, ids: Sequence[str], target: Server, action: str = ""
) -> list[bytes]:
    """Authenticated status queries of those ids, as bytes on the wire."""
    prefix = {"DescribeAigcImageTask": "4-AigcImage-"}.get(action, "")
    asked = (Fetch(id=f"{prefix}{id}", kind=kind) for id in ids)
    return [prepare(dialect, command, target) for command in asked]


def sign(dialect: str, command: Command, target: Server) -> Request:
    """The request that asks a server for `command`, with its key."""
    wire = named(dialect)
    host = f"127.0.0.1:{target.port}"
    request = wire.write_request(command).with_headers(("host", host))
    return wire.write_key(request, target.key, int(time.time() * 1000))


def prepare(dialect: str, command: Command, target: Server) -> bytes:
    """The same as bytes on the wire."""
    return raw(sign(dialect, command, target))


def raw(request: Request) -> bytes:
    """A request as HTTP/1.1 says it."""
    lines = [f"{request.method} {request.target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in request.headers]
    if request.body:
        lines.append(f"content-length: {len(request.body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + request.body


def costed(server: Server, wire: list[bytes], requests: int) -> tuple[load.Result, float]:
    """A load, and the processor time that the server took for each request, in microseconds."""
    load.run(server.port, wire, connections=32, count=len(wire) // 10)  # warm
    before = server.cpu_seconds()
    result = load.run(server.port, wire, connections=32, count=requests)
    if result.refused:
        sys.exit(f"{result.refused} requests were refused")
    return result, (server.cpu_seconds() - before) / requests * 1e6


def machine_seconds() -> float:
    """The processor time that everything on this machine has used, others' programs too."""
    line = Path("/proc/stat").read_text().partition("\n")[0].split()
    user, nice, system, _idle, _waiting, interrupts, soft = map(int, line[1:8])
    return (user + nice + system + interrupts + soft) / os.sysconf("SC_CLK_TCK")


def machine() -> dict[str, object]:
    """The machine that this runs on, in a few words."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "unknown",
    )
    return {
        "cores": os.cpu_count(),
        "processor": model,
        "python": sys.version.split()[0],
        "load": json.dumps([round(value, 2) for value in os.getloadavg()]),
    }
