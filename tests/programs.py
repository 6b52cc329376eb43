"""Processes of our program, each forked from one that has imported it and done nothing else.

To import it takes longer than most of what the processes of these tests do. They differ from those
of `python -m safelight` in nothing else: a process id, an environment, a folder, files and an exit
code of their own. That the program starts from nothing is tested with the demonstration, the
composition and the documented examples.

This file is the tests' side, and, run as a program, the one that forks.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import IO

_MOST = 256 * 1024  # bytes of an order
_one_at_a_time = threading.Lock()


# ------------------------------------------------------------------------------ the tests' side


class Process:
    """A process of `safelight WORDS`, with what tests use of `subprocess.Popen`.

    What it writes goes to the files given. Its end is told by a pipe: there stands its process
    id, and then its exit code.
    """

    def __init__(
        self,
        *words: str,
        stdout: IO[bytes] | int,
        stderr: IO[bytes] | int,
        env: Mapping[str, str],
        cwd: Path | None = None,
    ) -> None:
        told, tells = os.pipe()
        order = {"words": words, "env": dict(env), "cwd": str(cwd or Path.cwd())}
        files = [one if isinstance(one, int) else one.fileno() for one in (stdout, stderr)]
        try:
            with _one_at_a_time:
                _forker().send(order, [*files, tells])
        finally:
            os.close(tells)
        self._told = os.fdopen(told, "rb", buffering=0)
        self.args = words
        self.pid = int(self._read())
        self.returncode: int | None = None

    def _read(self) -> bytes:
        line = self._told.readline()
        if not line:
            self._told.close()
            raise RuntimeError("the process that forks has ended")
        return line

    def poll(self) -> int | None:
        """The exit code, as `subprocess` counts, or None where it still runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once there is one. Raises `TimeoutExpired`."""
        if self.returncode is None:
            if not select.select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(list(self.args), timeout or 0)
            self.returncode = int(self._read())
            self._told.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.wait()


def carry_out(
    *words: str, env: Mapping[str, str], cwd: Path | None = None, timeout: float
) -> subprocess.CompletedProcess[str]:
    """`safelight WORDS` to its end, and what it wrote. Raises `TimeoutExpired`."""
    with ExitStack() as stack:
        output, errors = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(2))
        process = Process(*words, stdout=output, stderr=errors, env=env, cwd=cwd)
        try:
            code = process.wait(timeout)
        except BaseException:
            process.kill()
            process.wait()
            raise
        said = []
        for file in (output, errors):
            file.seek(0)
            said.append(file.read().decode())
    return subprocess.CompletedProcess(list(words), code, *said)


class _Forker:
    """The process that forks, as the tests see it."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MOST)
        # NumPy would start threads, and what has threads should not fork.
        quiet = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={**os.environ, **quiet},
            )

    def send(self, order: object, files: list[int]) -> None:
        """Have a process forked, with these files as its output, its errors, and for its end."""
        socket.send_fds(self._socket, [json.dumps(order).encode()], files)

    def close(self) -> None:
        """End it; what it forked goes on."""
        self._socket.close()
        self._process.wait()


@cache
def _forker() -> _Forker:
    return _Forker()


def close() -> None:
    """End the process that forks, if there is one."""
    if _forker.cache_info().currsize:
        _forker().close()
        _forker.cache_clear()


# ----------------------------------------------------------------------- the process that forks


def fork_on(orders: socket.socket) -> bool:
    """Fork for every order that comes; True in a process that was forked, False at the end."""
    tells: dict[int, int] = {}
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        ready, _, _ = select.select([orders.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            _bury(tells)
        if orders.fileno() not in ready:
            continue
        text, files, _, _ = socket.recv_fds(orders, _MOST, 3)
        if not text:
            return False
        output, errors, tell = files
        if not (pid := os.fork()):
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for number in (*tells.values(), tell, woken, wakes):
                os.close(number)
            orders.close()
            _become(json.loads(text), output, errors)
            return True
        tells[pid] = tell
        os.write(tell, b"%d\n" % pid)
        os.close(output)
        os.close(errors)


def _bury(tells: dict[int, int]) -> None:
    """Tell of those that have ended."""
    for pid in list(tells):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            with suppress(BrokenPipeError):
                os.write(tells[pid], b"%d\n" % os.waitstatus_to_exitcode(status))
            os.close(tells.pop(pid))


def _become(order: dict[str, object], output: int, errors: int) -> None:
    """Take on the words, the environment, the folder and the files of an order."""
    assert isinstance(order["env"], dict)
    assert isinstance(order["words"], list)
    os.dup2(output, 1)
    os.dup2(errors, 2)
    os.close(output)
    os.close(errors)
    os.chdir(str(order["cwd"]))
    os.environ.clear()
    os.environ.update(order["env"])
    # As an interpreter does at its start.
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [path for path in paths if path and path not in sys.path]
    sys.argv = ["safelight", *order["words"]]


def _main() -> None:
    from safelight.cli import main

    for commands in ("asking", "faking", "keys", "serving"):
        import_module(f"safelight.cli.{commands}")  # or each would load them when it is asked
    del sys.path[0]  # the tests' folder
    assert threading.active_count() == 1
    gc.freeze()  # what is never collected stays shared
    with socket.socket(fileno=int(sys.argv[1])) as orders:
        forked = fork_on(orders)
    if forked:
        main()


if __name__ == "__main__":
    _main()
