"""Runs blocking work in child processes: cheap to the event loop, killable, and apart from it.

An engine owns one `Children` and writes its work as a generator function of a module; what the
generator yields in the child is what `Children.run` yields in the server, while it goes on.

    children = Children()
    async with aclosing(children.run(draw, job)) as events:
        async for event in events:
            ...

The child and the server are joined by one socket, on which both send frames: eight bytes of
length, then a pickle. The end of that socket is the end of the other side, whatever the reason.

Work that is left early is killed, unless the pool has `stop_seconds`: then the child gets
`STOP_SIGNAL` first, and so much time to end its work by itself. Work that keeps something dear in
its process, such as a loaded model, takes a handler for the signal, and raises `Failed`.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import traceback
import weakref
from asyncio import CancelledError, Future, ensure_future, get_running_loop, shield
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import suppress
from enum import Enum
from typing import Any, ParamSpec, TypeVar

import anyio

from safelight.engines import Failed
from safelight.engines.kit.surroundings import surroundings
from safelight.task import Failure, FailureCode

P = ParamSpec("P")
T = TypeVar("T")

NICENESS = 10  # the server and its database come first
IDLE_SECONDS = 300.0  # a child that has had nothing to do for so long ends by itself
STOP_SIGNAL = signal.SIGUSR1
_LENGTH = struct.Struct(">Q")
_MAIN = "from safelight.engines.kit.children import _main; _main()"


class _Word(Enum):
    """What a frame from the child says of the value in it."""

    BEGAN = "began"  # it has the work
    VALUE = "value"  # the work yielded this
    ENDED = "ended"  # the work is done
    FAILED = "failed"  # the work raised `Failed`, with this `Failure`
    RAISED = "raised"  # the work raised something else, with this traceback


class Crashed(Exception):
    """The work raised what it should not have; the message is the child's traceback.

    A bug, and so no `Failed`: the traceback is for the log and not for the caller.
    """


class Children:
    """A pool of child processes, one at most for each place, kept for the next work when idle.

    Bound to no event loop. The idle ones end with the pool, and every one ends with the server.
    """

    def __init__(
        self,
        places: int | None = None,
        idle_seconds: float = IDLE_SECONDS,
        stop_seconds: float = 0,
        niceness: int = NICENESS,
    ) -> None:
        count = places or os.cpu_count() or 1
        self._places = anyio.Semaphore(count, max_value=count)
        self._idle_seconds = idle_seconds
        self._stop_seconds = stop_seconds
        self._niceness = niceness
        self._idle: list[_Child] = []
        self._close = weakref.finalize(self, _end_all, self._idle)

    async def run(
        self, work: Callable[P, Iterator[T]], *args: P.args, **named: P.kwargs
    ) -> AsyncGenerator[T]:
        """Yield what `work(*args, **named)` yields in a child process, as it comes.

        `work` is a generator function of a module; what goes in and what it yields is pickled.
        `Failed` raised by it is raised here. A child that dies raises `Failed` too, any other
        exception `Crashed`. Leaving early (cancellation, `aclose`) ends the work, with its child
        unless it stops in time, and returns when it has ended, so that nothing writes to the
        job's folder any more.
        """
        order = pickle.dumps((work, args, named))
        async with self._places:
            child = await self._begin(order)
            try:
                word, value = await child.hear()
                while word is _Word.VALUE:
                    yield value
                    word, value = await child.hear()
            finally:
                await self._part(child)
            if word is not _Word.ENDED:
                raise _as_exception(word, value)

    def close(self) -> None:
        """End the idle children now, and not when the pool is collected."""
        _end_all(self._idle)

    async def _begin(self, order: bytes) -> _Child:
        """A child that has begun on `order`: an idle one that is still alive, or else a new one."""
        while self._idle:
            child = self._idle.pop()
            if await child.begin(order):
                return child
        child = _Child(self._idle_seconds, self._niceness)
        if await child.begin(order):
            return child
        raise Failed(FailureCode.INTERNAL, "The process that was to do the work did not start.")

    async def _part(self, child: _Child) -> None:
        with anyio.CancelScope(shield=True):
            if child.idle or (self._stop_seconds and await child.stop(self._stop_seconds)):
                self._idle.append(child)
            else:
                await child.end()


class _Child:
    """One child process, seen from the server."""

    def __init__(self, idle_seconds: float, niceness: int) -> None:
        self.idle = True
        self._lost = False  # it died, or is about to: nothing more comes from it
        self._hearing: Future[tuple[_Word, Any]] | None = None
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        try:
            with theirs:
                self._process = _start(theirs, idle_seconds, niceness)
        except BaseException:
            self._socket.close()
            raise

    async def begin(self, order: bytes) -> bool:
        """Hand over the work. False, and the child is gone, where it had ended before."""
        self.idle = False
        loop = get_running_loop()
        try:
            await loop.sock_sendall(self._socket, _LENGTH.pack(len(order)) + order)
            return (await self._receive())[0] is _Word.BEGAN
        except (EOFError, ConnectionError):
            await self.end()
            return False
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self.end()
            raise

    async def hear(self) -> tuple[_Word, Any]:
        """The next frame. Raises `Failed` where the child died instead."""
        if self._hearing is None:
            self._hearing = ensure_future(self._receive())
        try:
            # Whoever gives up waiting must not take half a frame along.
            word, value = await shield(self._hearing)
        except (EOFError, ConnectionError):
            self._lost = True
            code = await anyio.to_thread.run_sync(self._process.wait)
            raise _death(code) from None
        self._hearing = None
        self.idle = word in (_Word.ENDED, _Word.FAILED)
        self._lost = word is _Word.RAISED
        return word, value

    async def stop(self, seconds: float) -> bool:
        """Ask it to end its work; whether it has, in time, and is there for more."""
        if self._lost:
            return False
        self._process.send_signal(STOP_SIGNAL)
        with anyio.move_on_after(seconds), suppress(Failed):
            while (await self.hear())[0] is _Word.VALUE:
                pass
        return self.idle

    async def end(self) -> None:
        """Kill it, and return when it is dead."""
        self._process.kill()
        if self._hearing is not None:
            self._hearing.cancel()
            with suppress(CancelledError, EOFError, ConnectionError):
                await self._hearing
        self._socket.close()
        # Not on the loop: the kernel takes its time over the memory of a large process.
        await anyio.to_thread.run_sync(self._process.wait)

    def end_idle(self) -> None:
        """The same outside an event loop, for a child that does nothing."""
        self._process.kill()
        self._socket.close()
        self._process.wait()

    async def _receive(self) -> tuple[_Word, Any]:
        (length,) = _LENGTH.unpack(await self._exactly(_LENGTH.size))
        word, value = pickle.loads(await self._exactly(length))  # noqa: S301 - our own process
        return word, value

    async def _exactly(self, length: int) -> bytes:
        loop, parts = get_running_loop(), bytearray()
        while len(parts) < length:
            part = await loop.sock_recv(self._socket, length - len(parts))
            if not part:
                raise EOFError
            parts += part
        return bytes(parts)


def _start(theirs: socket.socket, idle_seconds: float, niceness: int) -> subprocess.Popen[bytes]:
    environment = {
        **surroundings(os.environ),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),  # so that it finds the same modules
        "OPENBLAS_NUM_THREADS": "1",  # the children are the parallelism
    }
    command = [sys.executable, "-P", "-c", _MAIN, str(idle_seconds), str(niceness)]
    return subprocess.Popen(command, stdin=theirs.fileno(), env=environment)  # noqa: S603


def _end_all(children: list[_Child]) -> None:
    while children:
        children.pop().end_idle()


def _as_exception(word: _Word, value: Any) -> Exception:
    if word is _Word.FAILED and isinstance(value, Failure):
        return Failed(value.code, value.message, value.provider_code)
    return Crashed(f"The work raised in its process:\n{value}")


def _death(code: int) -> Failed:
    """Why the child died, from its exit code (negative: the signal)."""
    if -code == signal.SIGKILL:  # who kills here without us is the kernel, short of memory
        text = "The process doing the work was killed; most likely the memory did not suffice."
        return Failed(FailureCode.OUT_OF_MEMORY, text)
    reason = f"signal {-code}" if code < 0 else f"exit code {code}"
    return Failed(FailureCode.INTERNAL, f"The process doing the work died ({reason}).")


def _main() -> None:
    """The life of a child: work, until the server is gone or there has been none for long."""
    server = _own_socket()
    # Whoever stops the server stops us through the socket; a signal to the whole group (Ctrl-C,
    # a service manager) must not break work that the server still means to finish.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(STOP_SIGNAL, signal.SIG_IGN)
    os.nice(int(sys.argv[2]))
    threading.Thread(target=_die_with, args=(server,), daemon=True).start()
    idle_milliseconds = int(float(sys.argv[1]) * 1000)
    while _readable(server, idle_milliseconds):
        order = _read(server)
        _send(server, _Word.BEGAN)
        _carry_out(server, order)


def _own_socket() -> socket.socket:
    """The socket to the server, taken from where work that reads or prints would disturb it."""
    server = socket.socket(fileno=os.dup(0))
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    return server


def _die_with(server: socket.socket) -> None:
    """End this process, in the middle of its work, when the server is gone."""
    watch = select.poll()
    watch.register(server, 0)  # nothing but the end of the other side
    watch.poll()
    os._exit(0)


def _readable(server: socket.socket, milliseconds: int) -> bool:
    watch = select.poll()
    watch.register(server, select.POLLIN)
    return bool(watch.poll(milliseconds))


def _read(server: socket.socket) -> bytes:
    """One frame from the server; ends the process where the server is gone."""
    try:
        return _read_frame(server)
    except ConnectionError:  # gone with words of ours unread: reset, and not merely ended
        os._exit(0)


def _read_frame(server: socket.socket) -> bytes:
    with server.makefile("rb", buffering=0) as stream:
        header = stream.read(_LENGTH.size) or b""
        if len(header) < _LENGTH.size:
            os._exit(0)
        (length,) = _LENGTH.unpack(header)
        order = bytearray()
        while len(order) < length:
            part = stream.read(length - len(order))
            if not part:
                os._exit(0)
            order += part
    return bytes(order)


def _send(server: socket.socket, word: _Word, value: object = None) -> None:
    frame = pickle.dumps((word, value))
    with suppress(ConnectionError):  # `_die_with` sees to it
        server.sendall(_LENGTH.pack(len(frame)) + frame)


def _carry_out(server: socket.socket, order: bytes) -> None:
    try:
        work, args, named = pickle.loads(order)  # noqa: S301 - from our own server
        for value in work(*args, **named):
            _send(server, _Word.VALUE, value)
    except Failed as error:
        _send(server, _Word.FAILED, error.failure)
    except MemoryError:
        text = "The memory did not suffice for the work."
        _send(server, _Word.FAILED, Failure(code=FailureCode.OUT_OF_MEMORY, message=text))
    except BaseException:
        _send(server, _Word.RAISED, traceback.format_exc())
    else:
        _send(server, _Word.ENDED)
