"""The peers: what each keeps, and its processes while it is asked."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from backends import PostgresServer
from benchmarks.peers import installing
from benchmarks.subject import Subject
from safelight.server.addresses import free_port
from safelight.wire import Request

_START_SECONDS, _STOP_SECONDS = 60.0, 15.0


class Kept(NamedTuple):
    """What is on the disk of a job: when it was accepted, and when it has ended."""

    accepted: str  # when its caller is told yes
    ended: frozenset[str]  # of `asked`, `state`, `result`, `changes`, `file`
    how_long: str

    def words(self) -> str:
        """What is there of an ended job, as a table says it."""
        return ", ".join(_WORDS[name] for name in _WORDS if name in self.ended)


_WORDS = {
    "asked": "what was asked",
    "state": "state",
    "result": "result",
    "changes": "each change with its time",
    "file": "file",
}


class Peer(NamedTuple):
    """A peer: a module of this package, run by a Python that has its packages."""

    name: str
    package: str
    packages: tuple[str, ...]
    module: str
    store: str  # PostgreSQL or Redis
    front: str
    kept: Kept


_THIN = "Starlette"
_SAQ = ("saq[postgres,redis]>=0.26", "psycopg[binary,pool]")
PEERS = (
    Peer("PgQueuer", "pgqueuer", ("pgqueuer[asyncpg]>=1.6,<2",), "with_pgqueuer", "PostgreSQL",
         _THIN, Kept("job, change", frozenset({"state", "changes"}), "until removed")),
    Peer("Procrastinate", "procrastinate", ("procrastinate>=3", "psycopg[binary,pool]"),
         "with_procrastinate", "PostgreSQL", _THIN,
         Kept("job, change", frozenset({"asked", "state", "changes"}), "until removed")),
    Peer("SAQ", "saq", _SAQ, "with_saq", "PostgreSQL",
         _THIN, Kept("job", frozenset({"asked", "state", "result"}), "a day")),
    Peer("SAQ", "saq", _SAQ, "with_saq", "Redis",
         _THIN, Kept("job", frozenset({"asked", "state", "result"}), "a day")),
    Peer("Celery", "celery", ("celery[redis]>=5.5", "fastapi>=0.115"), "with_celery", "Redis",
         "FastAPI", Kept("job", frozenset({"state", "result"}), "a day")),
)  # fmt: skip


class Standing(NamedTuple):
    """A peer that answers: jobs of no work at all, and the same whose job leaves a file."""

    bare: Subject
    filed: Subject
    files: Path


def ready(peer: Peer) -> Path:
    """The Python of a peer, installed where it is not yet; raises `NotInstalled`."""
    if peer.store == "Redis":
        installing.redis()
    return installing.python(peer.package, *peer.packages)


@contextmanager
def standing(peer: Peer, folder: Path, databases: PostgresServer) -> Iterator[Standing]:
    """A peer on an empty store, with one front and one worker, all stopped in the end."""
    python, port, files = ready(peer), free_port("127.0.0.1"), folder / "files"
    files.mkdir(parents=True)
    with ExitStack() as stack:
        url = stack.enter_context(_redis(folder)) if peer.store == "Redis" else ""
        url = _address(peer, url or databases.create(migrated=False))
        command = [str(python), "-m", f"benchmarks.peers.{peer.module}"]
        rest = [url, str(files), str(port)]
        if peer.store == "PostgreSQL":
            _prepare([*command, "prepare", *rest], folder / "prepare.log")
        processes = [
            stack.enter_context(_process([*command, role, *rest], folder / f"{role}.log"))
            for role in ("work", "serve")
        ]
        _wait_for(lambda: _listens(port), processes)
        yield Standing(_subject(port, ""), _subject(port, "file"), files)


def _prepare(command: list[str], log: Path) -> None:
    with _process(command, log) as made:
        if made.process.wait(_START_SECONDS):
            raise RuntimeError(f"no tables: {_last_words(made)}")


def _address(peer: Peer, url: str) -> str:
    """Where its store is, as this peer writes it: Celery writes the socket file of Redis so."""
    return url.replace("unix://", "redis+socket://") if peer.module == "with_celery" else url


def _subject(port: int, query: str) -> Subject:
    host = (("host", f"127.0.0.1:{port}"),)
    return Subject(
        port,
        Request(method="POST", path="/jobs", query=query, headers=host),
        lambda id: Request(method="GET", path=f"/jobs/{id}", headers=host),
        lambda body: str(json.loads(body)["id"]),
        _ended,
    )


def _ended(body: bytes) -> bool:
    state = json.loads(body)["state"]
    if state in ("failed", "failure", "exception", "aborted", "canceled", "unknown"):
        raise RuntimeError(f"a job did not succeed: {state}")
    return state in ("succeeded", "successful", "success", "complete")


@contextmanager
def _redis(folder: Path) -> Iterator[str]:
    """A Redis whose every write is on the disk before it is answered."""
    program, environment = installing.redis()
    path = folder / "redis"  # a socket file, as PostgreSQL has one here
    command = [program, "--port", "0", "--unixsocket", str(path), "--dir", str(folder)]
    command += ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
    with _process(command, folder / "redis.log", environment) as process:
        _wait_for(lambda: _answers(path), [process])
        yield f"unix://{path}"


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as asked:
        asked.settimeout(1)
        try:
            asked.connect(str(path))
            asked.sendall(b"PING\r\n")
            return asked.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def _wait_for(there: Callable[[], bool], processes: list[_Running]) -> None:
    until = time.monotonic() + _START_SECONDS
    while not there():
        for one in processes:
            if one.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"not there: {_last_words(one)}")
        time.sleep(0.05)


def _last_words(one: _Running) -> str:
    return one.log.read_text(errors="replace")[-2000:]


class _Running(NamedTuple):
    process: subprocess.Popen[bytes]
    log: Path


@contextmanager
def _process(
    command: list[str], log: Path, environment: dict[str, str] | None = None
) -> Iterator[_Running]:
    """A process, stopped in the end with all that it has started."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, env=environment, start_new_session=True
        )
    try:
        yield _Running(process, log)
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
