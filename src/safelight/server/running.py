"""How a process runs: signals, HTTP, and draining, until it is told to stop."""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import gc
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import structlog
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server
from starlette.types import ASGIApp

from safelight.config import Settings
from safelight.server import folder
from safelight.server.addresses import check_address
from safelight.server.app import GIVING_BACK_SECONDS, App
from safelight.server.keys import NewKey
from safelight.server.opening import open_app

_log = structlog.get_logger("safelight.server")

# How long all that is left may take then. HTTP answers, and its last ones are sent, before the loop
# under it goes.
_CLOSING_SECONDS, _HTTP_STOP_SECONDS = 5.0, 3.0
# A connection has so long for the head of its next request, which has so many bytes: each of many
# may send one that never ends. More of them than the backlog are refused by the system.
_HEAD_SECONDS, _MOST_HEAD, _BACKLOG = 20, 64 * 1024, 1024
# Of glibc's malloc.h.
_M_MMAP_THRESHOLD, _LARGE_BLOCK = -3, 2**20
_OTHER_FILES = 2048  # that are open beside connections: databases, sources, results, children


class Broken(Exception):
    """The server stopped without being told to."""


class DataInUse(Exception):
    """Another server runs on this data folder."""


def lock(data: Path) -> IO[str]:
    """Keep other servers off this data folder while the returned file is open.

    Two of them would each take the other for dead. Raises `DataInUse`.
    """
    file = folder.open_lock(data)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise DataInUse(f"{data}: another server runs on this data folder") from None
    return file


async def serve(
    settings: Settings, told: Callable[[App, NewKey | None], None], *, shared: bool = False
) -> None:
    """Run the server until SIGTERM or SIGINT. `told` hears when it answers, and of a first key.

    `shared` says that other processes of this server listen on the same port, and that the one
    which started them holds the other end of standard input.
    """
    give_memory_back()
    with _alone(settings):
        if not shared:
            check_address(settings.host, settings.port)
        app = await open_app(settings)
        await _run(app, app.asgi, told, orphan=shared)


async def work(
    settings: Settings, told: Callable[[App, NewKey | None], None], *, watched: bool
) -> None:
    """Run tasks, and no API, until SIGTERM or SIGINT.

    Where it is `watched`, the port of the settings answers `/healthz`, `/readyz` and `/metrics`.
    """
    give_memory_back()
    if watched:
        check_address(settings.host, settings.port)
    app = await open_app(settings)
    await _run(app, app.own if watched else None, told)


async def _run(
    app: App,
    asgi: ASGIApp | None,
    told: Callable[[App, NewKey | None], None],
    orphan: bool = False,
) -> None:
    settings = app.settings
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    if orphan:
        loop.add_reader(sys.stdin.fileno(), stopped.set)  # nothing is written there: it ends
    await app.keyring.check()
    key = await app.first_key() if asgi is app.asgi else None
    await app.start()
    waiting = [asyncio.create_task(stopped.wait()), asyncio.create_task(app.broke())]
    http = _http(asgi, settings) if asgi is not None else None
    if http is not None:
        serving: asyncio.Task[None] = asyncio.create_task(http.serve())
        await _listening(settings, serving)
        waiting.append(serving)
    _spare_the_collector()
    told(app, key)
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    if orphan:
        loop.remove_reader(sys.stdin.fileno())
    for task in waiting[:2]:
        task.cancel()
    _log.info("draining", seconds=settings.grace)
    _leave_in(settings.grace + GIVING_BACK_SECONDS + _CLOSING_SECONDS)
    await app.drain()
    if http is not None:
        http.stop()  # type: ignore[no-untyped-call]
        await asyncio.wait([serving], timeout=_HTTP_STOP_SECONDS)
    await app.close()
    _log.info("stopped")
    if not stopped.is_set():
        raise Broken("the server stopped by itself; its log says why")


def _leave_in(seconds: float) -> None:
    """End this process by then, whatever still holds it up.

    It ends as by a kill, which loses nothing: neither a disk nor a service that does not answer
    may keep a process that was told to stop.
    """

    def leave() -> None:
        _log.error("left_unfinished", seconds=seconds)
        sys.stderr.flush()
        os._exit(1)

    timer = threading.Timer(seconds, leave)
    timer.daemon = True
    timer.start()


def _http(asgi: ASGIApp, settings: Settings) -> Server:
    _allow_files(settings.max_connections + _OTHER_FILES)
    return Server(
        target=asgi,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(
            header_read_timeout=_HEAD_SECONDS * 1000, max_buffer_size=_MOST_HEAD
        ),
        backlog=min(settings.max_connections, _BACKLOG),
        backpressure=settings.max_connections,
        websockets=False,
        log_enabled=False,
        log_level=LogLevels.warning,
    )


def _allow_files(count: int) -> None:
    """Have this process open as many files as it may need, where the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Keep other servers off a data folder that has a database in it."""
    if settings.database is not None:
        yield
        return
    with lock(settings.data):
        yield


def _spare_the_collector() -> None:
    """Keep the garbage collector from walking all modules again and again.

    What is there now stays until the end; a request leaves next to no cycles behind.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def give_memory_back() -> None:
    """Have the C library return large blocks to the system when they are freed.

    It keeps them else, and an upload of the morning is memory all day.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library than glibc
        return
    mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK)


async def _listening(settings: Settings, serving: asyncio.Task[None]) -> None:
    """Wait until the port answers. Raises whatever kept the server from it."""
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "") else settings.host  # noqa: S104
    for _ in range(200):
        if serving.done():
            serving.result()
            raise OSError("the HTTP server stopped as it started")
        try:
            _, writer = await asyncio.open_connection(host, settings.port)
            writer.close()
            await writer.wait_closed()
            return
        except OSError:
            await asyncio.sleep(0.02)
    raise TimeoutError("the HTTP server does not answer")
