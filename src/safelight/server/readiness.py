"""Whether a process can be sent requests: what `/readyz` says."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import structlog

from safelight.blobs import Blobs
from safelight.counts import Counts
from safelight.store import Store, scripts

_log = structlog.get_logger("safelight.server")

_ASKED_SECONDS, _KEPT_SECONDS = 5, 1.0


class Readiness:
    """The state of a process. `running` are what must go on all the while."""

    def __init__(self, store: Store, blobs: Blobs) -> None:
        self.draining = False
        self.running: Sequence[asyncio.Task[Any]] = ()
        self._store = store
        self._blobs = blobs
        self._answers: Counts[bool] = Counts(_KEPT_SECONDS)

    async def problem(self) -> str | None:
        """What keeps the process from taking requests; None where nothing does."""
        if self.draining:
            return "draining"
        if not self.running or any(task.done() for task in self.running):
            return "the workers do not run"
        if not await self._answers.get("ready", self._ask):
            return "the database or the files do not answer"
        return None

    async def _ask(self) -> bool:
        try:
            async with asyncio.timeout(_ASKED_SECONDS):
                await self._store.read(scripts.last_done("recover"))
                await self._blobs.check()
        except Exception:
            _log.exception("not_ready")
            return False
        return True
