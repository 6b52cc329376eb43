"""A real server, as a process, and the ways to look at it from outside."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from programs import Process, carry_out
from safelight import AsyncClient, Key
from safelight.dialects import named
from safelight.task import Command
from safelight.wire import Dialect, Request

START_SECONDS, STOP_SECONDS, TASK_SECONDS = 30.0, 30.0, 60.0
SERVED = ("tensorslab", "aigptimage", "aitoearn", "safelight", "tencent")

# The slow models wait long before they draw, the late ones are given up while they wait. The names
# of TensorsLab's models are part of its paths, so one of each kind is slow.
CONFIG = """
concurrency = 16
grace = 0.5
log_level = "debug"

[[models]]
name = "process-image"
engine = "enhance"

[[models]]
name = "*slow*"
engine = "sketch"
options = { seconds = 60 }

[[models]]
name = "zimage"
engine = "sketch"
options = { seconds = 60 }

[[models]]
name = "seedancev1"
engine = "sketch"
options = { seconds = 60 }

[[models]]
name = "*late*"
engine = "sketch"
options = { seconds = 60 }
time_limit = 0.2

[[models]]
name = "seedreamv45"
engine = "sketch"
options = { seconds = 60 }
time_limit = 0.2

[[models]]
name = "seedancev1profast"
engine = "sketch"
options = { seconds = 60 }
time_limit = 0.2

[[models]]
name = "sketch"
engine = "sketch"

[[models]]
name = "*"
engine = "sketch"

[[definitions]]
number = 30001
name = "large"
image_task.EncodeConfig.Format = "JPEG"
image_task.EnhanceConfig.SuperResolution.Size = 2
"""
RULES = CONFIG[CONFIG.index("[[models]]") :]  # of the models, for settings of another sort


def environment() -> dict[str, str]:
    """This environment without settings, keys and proxies, for a process of our own."""
    wanted = (
        "PATH",
        "HOME",
        "LANG",
        "TMPDIR",
        "PYTHONPATH",
        "VIRTUAL_ENV",
        "COVERAGE_PROCESS_START",
        "SSL_CERT_FILE",
    )
    return {name: os.environ[name] for name in wanted if name in os.environ}


def program(*arguments: str) -> list[str]:
    """The command line that runs `safelight` with the interpreter that runs the tests."""
    return [sys.executable, "-m", "safelight", *arguments]


def until(condition: Callable[[], Any], seconds: float = TASK_SECONDS, every: float = 0.02) -> Any:
    """The first true value that `condition` has. Fails when it has none within the time."""
    deadline = time.monotonic() + seconds
    while True:
        if value := condition():
            return value
        assert time.monotonic() < deadline, f"not so within {seconds:g} seconds"
        time.sleep(every)


@dataclass
class Running:
    """A server that runs, or ran, on a data folder."""

    data: Path
    log: Path
    process: Process | subprocess.Popen[bytes]
    url: str = ""
    key: Key = field(default_factory=Key)

    # ------------------------------------------------------------------------------- lifetime

    @classmethod
    def start(cls, data: Path, config: str = CONFIG, key: Key | None = None) -> Running:
        """Start a server on `data` and wait until it is ready; makes a key unless given one."""
        data.parent.mkdir(parents=True, exist_ok=True)
        settings = data.with_suffix(".toml")
        settings.write_text(config)
        log = data.with_suffix(".log")
        with log.open("ab") as output:
            began = output.tell()
            process = Process(
                *("serve", "--port", "0", "--data", str(data), "--config", str(settings)),
                stdout=output,
                stderr=output,
                cwd=data.parent,
                env=environment(),
            )
        running = cls(data, log, process)
        try:
            running.wait_until_ready(began)
            running.key = key or running.make_key("test")
        except BaseException:
            running.kill()
            raise
        return running

    def wait_until_ready(self, began: int = 0) -> None:
        """Wait until it says where it listens, in its log after `began`, and answers there."""

        def address() -> str | None:
            assert self.process.poll() is None, f"the server ended: {self.log.read_text()}"
            text = self.log.read_bytes()[began:].decode(errors="replace")
            _, found, rest = text.partition("Safelight listens on ")
            return rest.partition("\n")[0].strip() if found and "\n" in rest else None

        self.url = until(address, START_SECONDS)
        with httpx.Client(trust_env=False) as http:
            until(lambda: http.get(f"{self.url}/readyz").status_code == 200, START_SECONDS)

    def make_key(self, name: str) -> Key:
        """A new key, made by the command line while the server runs."""
        made = carry_out(
            *("keys", "create", name, "--json", "--data", str(self.data)),
            timeout=START_SECONDS,
            env=environment(),
            cwd=self.data.parent,
        )
        made.check_returncode()
        values = json.loads(made.stdout)
        return Key(id=values["id"], secret=values["secret"])

    def ask_to_stop(self) -> None:
        """Send SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        """Send SIGTERM and wait for the end; returns the exit code."""
        if self.process.poll() is None:
            self.ask_to_stop()
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the server did not stop: {self.log.read_text()}") from None

    def kill(self) -> None:
        """Send SIGKILL, which nothing can prepare for."""
        self.process.kill()
        self.process.wait(STOP_SECONDS)

    # ------------------------------------------------------------------------------- looking

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """What is in the database."""
        with closing(self._connect()) as connection:
            return connection.execute(query, parameters).fetchall()

    def change(self, query: str, *parameters: Any) -> None:
        """Change the database behind the server's back."""
        with closing(self._connect()) as connection, connection:
            connection.execute(query, parameters)

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.data / "safelight.db", timeout=10)

    def kept(self) -> tuple[int, int]:
        """How many tasks and files are kept."""
        return int(self.rows("select count(*) from tasks")[0][0]), len(
            files_in(self.data / "files")
        )

    def scratch(self) -> list[Path]:
        """What runs have on disk while they run."""
        return [path for path in files_in(self.data / "scratch") if path.name != ".lock"]

    # ------------------------------------------------------------------------------- asking

    def client(self, dialect: str, key: Key | None = None) -> AsyncClient:
        """A client that asks often: these tasks are small."""
        return AsyncClient(dialect, self.url, key or self.key, pace=0.03, per_second=30)

    def ask(
        self, http: httpx.Client, dialect: str, asked: Command | Request, key: Key | None = None
    ) -> httpx.Response:
        """The plain answer to a command, or to a request that is still to be signed."""
        spoken = named(dialect)
        request = asked if isinstance(asked, Request) else spoken.write_request(asked)
        return self.send(http, self.sign(spoken, request, key))

    def sign(self, dialect: Dialect, request: Request, key: Key | None = None) -> Request:
        """`request` as that key's owner sends it now."""
        request = request.with_headers(("host", self.url.removeprefix("http://")))
        return dialect.write_key(request, key or self.key, time.time_ns() // 1_000_000)

    def send(self, http: httpx.Client, request: Request) -> httpx.Response:
        """The plain answer to a request, sent just as it is."""
        return http.request(
            request.method,
            f"{self.url}{request.target}",
            headers=[(name.encode(), value.encode("latin-1")) for name, value in request.headers],
            content=request.body,
        )


def files_in(folder: Path) -> list[Path]:
    """The files in a folder, however deep; none where there is no folder."""
    # Not by `rglob`: folders of tasks go while it looks into them.
    return sorted(Path(inside, name) for inside, _, names in os.walk(folder) for name in names)


@contextmanager
def running(data: Path, config: str = CONFIG) -> Iterator[Running]:
    """A server that is stopped at the end, and that must not have broken on the way."""
    server = Running.start(data, config)
    try:
        yield server
    finally:
        server.stop()


def bugs_in(log: Path) -> list[str]:
    """The lines of a server's log that tell of a mistake in the server."""
    signs = ("Traceback", "request_broke", "engine_broke", "run_failed", "housekeeping_failed",
             "will_try_again", "never retrieved", "was never awaited")  # fmt: skip
    return [
        line
        for line in log.read_text(errors="replace").splitlines()
        if any(sign in line for sign in signs)
    ]
