"""Tasks that callers ask for one by one, and that a store reads together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TypeAlias

from safelight.store import own
from safelight.task import Task

Asked: TypeAlias = list[tuple[str, asyncio.Future[Task | None]]]


class Asking:
    """Gathers what is asked for in one turn of the loop; `due` is then called to read it."""

    def __init__(self, due: Callable[[], None]) -> None:
        self._due = due
        self._asked: Asked = []
        self._loop = asyncio.get_running_loop()

    async def get(self, id: str, owner: str, oldest: int) -> Task | None:
        """The task of that owner; None where there is none, or it ended at `oldest` or before."""
        future: asyncio.Future[Task | None] = self._loop.create_future()
        if not self._asked:
            self._loop.call_soon(self._due)
        self._asked.append((id, future))
        try:
            task = await future
        finally:
            del future  # a problem in it holds this frame: it would hold itself
        if task is None or task.owner != owner:
            return None
        return None if task.finished is not None and task.finished <= oldest else task

    def take(self, most: int | None = None) -> Asked:
        """What is to be read now, up to so many: whoever takes it answers or refuses it."""
        most = len(self._asked) if most is None else most
        taken, self._asked = self._asked[:most], self._asked[most:]
        return taken


def answer(asked: Asked, found: Mapping[str, Task]) -> None:
    """Give all who asked the task that they asked for, where it was found."""
    for id, future in asked:
        if not future.cancelled():
            future.set_result(found.get(id))


def refuse(asked: Asked, problem: Exception) -> None:
    """Tell all who asked that they get no answer, and forget them.

    Their list is emptied, for the frames that the problem holds hold it too.
    """
    for _, future in asked:
        if not future.cancelled():
            future.set_exception(own(problem))
    asked.clear()
