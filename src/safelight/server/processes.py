"""Several processes of one server on one machine: they share its port, and its database.

The kernel hands each connection to one of them. One that dies is started again; when the server is
told to stop they all are, and drain side by side.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from safelight.pauses import Pauses
from safelight.server.running import Broken

_log = structlog.get_logger("safelight.server")

_START_SECONDS = 60.0
_FIRST_PAUSE, _LONGEST_PAUSE, _GROWTH = 0.2, 5.0, 5.0  # before one that died is started again
_STEADY_SECONDS = 60.0  # after which a process counts as having started well
_KILL_SECONDS = 30.0  # beyond the grace, before one that does not stop is killed


async def supervise(
    command: Sequence[str], count: int, grace: float, told: Callable[[], None]
) -> None:
    """Run `count` processes of `command` until SIGTERM or SIGINT; `told` hears when all answer.

    A process says so by a line on its standard output. Raises `Broken` where one does not start.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    ready = [asyncio.Event() for _ in range(count)]
    keepers = [
        asyncio.create_task(_keep(command, event, stopped, grace + _KILL_SECONDS))
        for event in ready
    ]
    all_ready: asyncio.Future[Any] = asyncio.gather(*(event.wait() for event in ready))
    failed: asyncio.Future[Any] = asyncio.ensure_future(
        asyncio.wait(keepers, return_when=asyncio.FIRST_EXCEPTION)
    )
    await asyncio.wait([all_ready, failed], return_when=asyncio.FIRST_COMPLETED)
    if all_ready.done():
        told()
        await failed
    all_ready.cancel()
    stopped.set()
    await asyncio.wait(keepers)
    for keeper in keepers:
        keeper.result()


async def _keep(
    command: Sequence[str], ready: asyncio.Event, stopped: asyncio.Event, seconds: float
) -> None:
    """Keep one process running until it is to stop. Raises `Broken` where it never started."""
    pauses = Pauses(_FIRST_PAUSE, _LONGEST_PAUSE, _GROWTH)
    while not stopped.is_set():
        began = asyncio.get_running_loop().time()
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,  # its end tells the process that this one died
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            code = await _watch(process, ready, stopped, seconds)
        finally:
            _signal(process, signal.SIGKILL)
        if stopped.is_set():
            return
        if not ready.is_set():
            raise Broken(f"a process of the server did not start (it exited with {code})")
        if asyncio.get_running_loop().time() - began > _STEADY_SECONDS:
            pauses.reset()
        pause = pauses.next()
        _log.error("process_died", code=code, again_in_seconds=round(pause, 1))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await stopped.wait()


async def _watch(
    process: asyncio.subprocess.Process,
    ready: asyncio.Event,
    stopped: asyncio.Event,
    seconds: float,
) -> int:
    """Wait for a process's end, and bring it about once it is to stop; its exit code."""
    assert process.stdout is not None
    ending = asyncio.ensure_future(process.wait())
    stopping = asyncio.ensure_future(stopped.wait())
    said = asyncio.ensure_future(process.stdout.readline())
    try:
        async with asyncio.timeout(_START_SECONDS):
            await asyncio.wait([ending, stopping, said], return_when=asyncio.FIRST_COMPLETED)
        if said.done() and said.result():
            ready.set()
            await asyncio.wait([ending, stopping], return_when=asyncio.FIRST_COMPLETED)
        if not ending.done():
            _signal(process, signal.SIGTERM)
            await asyncio.wait([ending], timeout=seconds)
            _signal(process, signal.SIGKILL)
        return await ending
    except TimeoutError:
        _signal(process, signal.SIGKILL)
        return await ending
    finally:
        stopping.cancel()
        said.cancel()


def _signal(process: asyncio.subprocess.Process, number: int) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def own_command(*arguments: str) -> list[str]:
    """The command line that runs this program with other arguments."""
    return [sys.executable, "-m", "safelight", *arguments]
