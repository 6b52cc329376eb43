"""A provider that draws nothing and does what a script says, for tests and for a user's CI.

It speaks any dialect as the server does, over real HTTP; its tasks live in memory alone. See
docs/fake.md.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from safelight import dialects
from safelight.server.fake.counts import Counts
from safelight.server.fake.listener import Listener
from safelight.server.fake.provider import STRANGE_NUMBER, STRANGE_WORD, Provider
from safelight.server.fake.samples import sample
from safelight.server.fake.script import Script, ScriptError, read_script
from safelight.server.fake.tasks import Note
from safelight.task import Kind
from safelight.wire import Dialect, Key

__all__ = ("STRANGE_NUMBER", "STRANGE_WORD", "Counts", "Fake", "Note", "Script", "ScriptError")


class Fake:
    """A fake provider that answers at `url`. `run` one."""

    def __init__(self, url: str, provider: Provider) -> None:
        self.url = url
        self._provider = provider

    @classmethod
    @asynccontextmanager
    async def run(
        cls,
        dialect: str | Dialect,
        script: Script | Mapping[str, Any] | Path | str = "",
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        key: str | None = None,
    ) -> AsyncIterator[Fake]:
        """One that answers until the block ends: of `script` (TOML text, a file, or its tables).

        It takes any key, or `key` alone, which may be `ID:SECRET` for Tencent. Raises
        `LookupError`, `ScriptError`, and `OSError` where it cannot listen there.
        """
        spoken = dialects.named(dialect) if isinstance(dialect, str) else dialect
        provider = Provider(spoken, read_script(script), _read_key(spoken, key))
        for kind in Kind:
            sample(kind)  # now, so that no answer waits for it
        listener = Listener(provider.answer)
        shown = f"[{host}]" if ":" in host else host
        provider.url = f"http://{shown}:{await listener.open(host, port)}"
        try:
            yield cls(provider.url, provider)
        finally:
            await listener.close()

    def counts(self) -> Counts:
        """What it was asked, and what it did."""
        return self._provider.counts()

    def tasks(self) -> list[Note]:
        """Its tasks, the oldest first."""
        return self._provider.notes()


async def serve(
    dialect: str,
    script: Path | str,
    told: Callable[[str], None],
    *,
    host: str,
    port: int,
    key: str | None,
) -> None:
    """Run a fake provider until SIGTERM or SIGINT. `told` hears its address when it answers."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with Fake.run(dialect, script, host=host, port=port, key=key) as fake:
        told(fake.url)
        await stopped.wait()


def _read_key(dialect: Dialect, text: str | None) -> Key | None:
    if not text:
        return None
    id, colon, secret = text.partition(":")
    if colon and len(dialect.key_variables) > 1:
        return Key(id=id, secret=secret)
    return Key(secret=text)
