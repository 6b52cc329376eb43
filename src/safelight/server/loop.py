"""The event loop of a server: asyncio's own, but for the names.

Whatever connects by a name here, through whichever library, has it resolved in a place apart, and
not on the threads that files are read and written on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from safelight.names import Addresses, Names

_T = TypeVar("_T")


class Loop(asyncio.SelectorEventLoop):
    """A loop that resolves names in a place of their own.

    They are those that the settings name: what callers name is resolved elsewhere
    (`safelight.fetching`), so that it cannot keep a provider or a database from being reached.
    """

    def __init__(self) -> None:
        super().__init__()
        self._own_names = Names()

    async def getaddrinfo(
        self,
        host: bytes | str | None,
        port: bytes | str | int | None,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> Addresses:
        return await self._own_names.look_up(
            host, port, family=family, type=type, proto=proto, flags=flags
        )


def run(main: Coroutine[Any, Any, _T]) -> _T:
    """Run a server, as `asyncio.run` would."""
    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(main)
