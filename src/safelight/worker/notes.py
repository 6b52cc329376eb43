"""What an engine tells while it works, written down at a bearable pace.

Every write names the attempt that the claim gave: of a run that lost its task nothing is written,
and `Lost` is raised.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safelight.engines import Event, Log, Preview, Progress, Remember, Started
from safelight.engines.kit.paid import see_through
from safelight.store import scripts
from safelight.task import Task
from safelight.worker.keeping import Keeper
from safelight.worker.patience import Patience

# Progress is for people: more than two writes a second is nobody's gain.
_PROGRESS_SECONDS = 0.5
_PREVIEW_SECONDS = 1.0
_MOST_LOG_LINE = 2000  # characters of a line that are kept
_MOST_LOG_LINES = 1000  # lines of a run that are kept: an engine's chatter must not fill the disk


class Lost(Exception):
    """The task is not ours any more: it was ended, or another worker has it."""


def check_ours(held: bool) -> None:
    """Raise `Lost` where a write has found that the task is not ours any more."""
    if not held:
        raise Lost


class Notes:
    """The notes of one run."""

    def __init__(
        self, task: Task, patience: Patience, keeper: Keeper, clock: Callable[[], int]
    ) -> None:
        self._task = task
        self._patience = patience
        self._keeper = keeper
        self._clock = clock
        self._percent = -1
        self._written = 0.0
        self._previewed = 0.0
        self._lines = 0

    async def take(self, event: Event) -> None:
        """Write down what `event` tells, if it is to be written. Raises `Lost`."""
        match event:
            case Log(text=text):
                await self._take_line(text)
            case Progress(percent=percent):
                await self._take_percent(min(99, max(0, percent)))
            case Started():
                await self.start()
            case Remember():
                await self._remember(event)
            case Preview(path=path):
                await self._take_preview(path)

    async def start(self) -> None:
        """Write that a task which waited is being made."""
        id, attempt = self._task.id, self._task.attempt
        await self._patience.write(lambda: scripts.start(id, attempt, self._clock()))

    async def _take_line(self, text: str) -> None:
        self._lines += 1
        if self._lines <= _MOST_LOG_LINES:
            id, attempt = self._task.id, self._task.attempt
            line = scripts.log(id, attempt, text[:_MOST_LOG_LINE], self._clock())
            await self._patience.note(line)

    async def _take_percent(self, percent: int) -> None:
        now = time.monotonic()
        if percent > self._percent and now - self._written >= _PROGRESS_SECONDS:
            self._percent, self._written = percent, now
            note = scripts.progress(self._task.id, self._task.attempt, percent, self._clock())
            check_ours(await self._patience.note(note) is not False)

    async def _take_preview(self, path: Path) -> None:
        now = time.monotonic()
        if now - self._previewed >= _PREVIEW_SECONDS:
            self._previewed = now
            if await self._keeper.keep_preview(self._task, path):
                note = scripts.preview(self._task.id, self._task.attempt)
                check_ours(await self._patience.note(note) is not False)

    async def _remember(self, note: Remember) -> None:
        """Write what the engine must know if the task is run again.

        Told to stop meanwhile, it writes all the same: it may be about what is paid for.
        """
        written = await see_through(self._write_memory(note.memory))
        check_ours(written.value)
        if written.cancelled:
            if note.stopped is not None:
                check_ours((await see_through(self._write_memory(note.stopped))).value)
            raise asyncio.CancelledError

    async def _write_memory(self, memory: dict[str, Any]) -> bool:
        id, attempt = self._task.id, self._task.attempt
        return await self._patience.write(lambda: scripts.remember(id, attempt, memory))
