"""Resolving names, in a place of its own.

The system's resolver blocks the thread that asks it, for as long as the servers of a name like, and
cannot be called back. So names share no threads with files, and how many are asked for at once, and
waited for, is bounded. The rule for whoever edits it: nobody waits for a thread that hangs, neither
a caller whose time is up nor the process at its end; and one caller's names leave places for those
of others.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

Addresses = list[tuple[Any, Any, int, str, Any]]  # as `socket.getaddrinfo` gives them

_SECONDS = 30.0


class Names:
    """Resolves at most `at_once` names at once, for at most `callers`, in at most `seconds`.

    A quarter of them may be asked for on behalf of one caller, where it is said who that is.
    """

    def __init__(self, at_once: int = 32, callers: int = 1000, seconds: float = _SECONDS) -> None:
        self._places = asyncio.Semaphore(at_once)
        self._share = max(1, at_once // 4)
        self._shares: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._most_callers = callers
        self._seconds = seconds
        self._callers = 0

    async def look_up(
        self,
        host: bytes | str | None,
        port: bytes | str | int | None,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
        who: str = "",
    ) -> Addresses:
        """What `socket.getaddrinfo` says, on behalf of `who`.

        Raises `OSError` where it says nothing in time, too, and `ValueError` for what is no name.
        """
        ask = partial(socket.getaddrinfo, host, port, family, type, proto)
        with contextlib.suppress(socket.gaierror):
            return ask(flags | socket.AI_NUMERICHOST)  # a number: nobody needs to be asked
        if self._callers >= self._most_callers:
            raise socket.gaierror(socket.EAI_AGAIN, "too many names are waited for")
        self._callers += 1
        try:
            async with asyncio.timeout(self._seconds):
                return await self._ask(partial(ask, flags), self._share_of(who))
        except TimeoutError:
            sentence = f"not resolved within {self._seconds:g} seconds"
            raise socket.gaierror(socket.EAI_AGAIN, sentence) from None
        finally:
            self._callers -= 1

    def _share_of(self, who: str) -> asyncio.Semaphore | None:
        if not who:
            return None
        return self._shares.setdefault(who, asyncio.Semaphore(self._share))

    async def _ask(
        self, ask: Callable[[], Addresses], share: asyncio.Semaphore | None
    ) -> Addresses:
        places = [self._places] if share is None else [share, self._places]
        taken: list[asyncio.Semaphore] = []
        try:
            for place in places:
                await place.acquire()
                taken.append(place)
            return await self._hear_of(ask, taken)
        except BaseException:
            for place in taken:  # none, once there is a thread that gives them back
                place.release()
            raise

    async def _hear_of(
        self, ask: Callable[[], Addresses], taken: list[asyncio.Semaphore]
    ) -> Addresses:
        answer: asyncio.Future[Addresses] = asyncio.get_running_loop().create_future()
        # One for each question, and none that the interpreter waits for when it ends.
        hear = partial(self._hear, ask, answer, tuple(taken))
        try:
            threading.Thread(target=hear, daemon=True, name="name").start()
        except RuntimeError as problem:  # there can be no more threads
            raise OSError(str(problem)) from None
        taken.clear()
        try:
            return await answer
        finally:
            del answer, hear  # they have the exception, whose traceback leads here

    def _hear(
        self,
        ask: Callable[[], Addresses],
        answer: asyncio.Future[Addresses],
        places: tuple[asyncio.Semaphore, ...],
    ) -> None:
        """Ask, and hand the answer to the loop: in the thread."""
        said: Addresses | Exception
        try:
            said = ask()
        except Exception as problem:
            said = problem.with_traceback(None)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            answer.get_loop().call_soon_threadsafe(self._tell, answer, said, places)

    def _tell(
        self,
        answer: asyncio.Future[Addresses],
        said: Addresses | Exception,
        places: tuple[asyncio.Semaphore, ...],
    ) -> None:
        # The places are free only now, also where their caller left long ago.
        for place in places:
            place.release()
        if answer.done():
            return
        if isinstance(said, Exception):
            answer.set_exception(said)
        else:
            answer.set_result(said)
