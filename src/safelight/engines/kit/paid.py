"""Waiting for an answer that is paid for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

_T = TypeVar("_T")


class Answer(Generic[_T]):
    """What a call came to, and whether its caller was cancelled while it waited."""

    def __init__(self, call: asyncio.Future[_T], cancelled: bool) -> None:
        self._calls = [call]
        self.cancelled = cancelled

    @property
    def value(self) -> _T:
        """What the call gave. Raises what it raised. To be asked for once.

        Then it is forgotten: an exception leads to the frames that it went through, and these to
        this answer.
        """
        return self._calls.pop().result()


async def see_through(
    call: Coroutine[Any, Any, _T], give_up: Callable[[], bool] = lambda: False
) -> Answer[_T]:
    """Wait for the end of `call`, also when cancelled, unless `give_up()` says not to.

    A process that is told to stop waits for what was asked for already: its answer comes once. So
    a `call` has a total time of its own.
    Raises `CancelledError` where it is given up, and `call` has ended then too. Who goes on after
    a call that failed looks at `cancelled` first: nobody cancels a second time.
    """
    current = asyncio.current_task()
    assert current is not None
    answer = asyncio.ensure_future(call)
    cancelled = False
    while not answer.done():
        try:
            await asyncio.wait([answer])
        except asyncio.CancelledError:
            if give_up():
                await _end(answer)
                raise
            cancelled = True
            current.uncancel()
    return Answer(answer, cancelled)


async def _end(call: asyncio.Future[Any]) -> None:
    call.cancel()
    await asyncio.wait([call])
    if not call.cancelled():
        call.exception()  # looked at: nobody else will
