"""Writing what must be written, for as long as a database that is away may take to return."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

import structlog

from safelight.blobs import BlobError
from safelight.pauses import Pauses
from safelight.store import Store, StoreClosed, StoreUnavailable
from safelight.store.scripts import AnyScript

_log = structlog.get_logger("safelight.worker")
_T = TypeVar("_T")

# How long an engine is held up for a note, and how long nothing is noted after one that was not
# written by then: no engine waits for a database that is away because of what nobody needs.
_NOTE_SECONDS, _QUIET_SECONDS = 3.0, 10.0
# The pauses before a write is tried again that the database refused.
_PAUSES = partial(Pauses, first=0.2, longest=15.0, growth=5.0)
# No longer than this where the process is about to end: what is given back must be so before.
_HURRIED_SECONDS = 0.5
# What is away comes back; what is broken is not mended by waiting longer than this.
_BROKEN_SECONDS = 20.0


class Patience:
    """The writes of a worker: `seconds` are how long one waits for what is away."""

    def __init__(self, store: Store, seconds: float) -> None:
        self._store = store
        self._seconds = seconds
        self._quiet_until = 0.0
        self._hurried = asyncio.Event()

    def hurry(self) -> None:
        """Try again sooner from now on: there is not much time left."""
        self._hurried.set()

    async def write(self, script: Callable[[], AnyScript[_T]]) -> _T:
        """Write, and when the database refuses (a full disk), try again for a while."""
        return await self.insist(lambda: self._store.write(script()), (Exception,))

    async def insist(
        self, act: Callable[[], Awaitable[_T]], problems: tuple[type[Exception], ...]
    ) -> _T:
        """Do something again and again while it raises one of `problems`; raises the last."""
        began, pauses = time.monotonic(), _PAUSES()
        while True:
            try:
                return await act()
            except StoreClosed:
                raise
            except problems as problem:
                away = isinstance(problem, (StoreUnavailable, BlobError))
                limit, pause = self._seconds if away else _BROKEN_SECONDS, pauses.next()
                if time.monotonic() - began + pause > limit:
                    raise
                _log.warning("will_try_again", seconds=pause, exc_info=problem)
                await self._pause(pause)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds - _HURRIED_SECONDS):
                await self._hurried.wait()
        await asyncio.sleep(min(seconds, _HURRIED_SECONDS))

    async def note(self, script: AnyScript[_T]) -> _T | None:
        """Write what need not be written; None where it was not, or not soon."""
        if time.monotonic() < self._quiet_until:
            return None
        try:
            async with asyncio.timeout(_NOTE_SECONDS):
                return await self._store.write(script)
        except StoreClosed:
            raise
        except Exception as problem:
            self._quiet_until = time.monotonic() + _QUIET_SECONDS
            _log.warning("not_noted", seconds=_QUIET_SECONDS, problem=repr(problem)[:300])
            return None
