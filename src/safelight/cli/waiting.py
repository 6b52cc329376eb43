"""Waiting for tasks on the command line: all at once, each shown as it ends."""

from __future__ import annotations

import asyncio
from pathlib import Path

from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from safelight.cli.consoles import err
from safelight.cli.exits import (
    FAILED,
    NOT_FOUND,
    STILL_RUNNING,
    SUCCEEDED,
    USAGE,
    code_of_fault,
)
from safelight.cli.showing import show_task
from safelight.client import AsyncClient
from safelight.errors import Fault
from safelight.task import Status, Task

_WORST_FIRST = (USAGE, FAILED, NOT_FOUND, STILL_RUNNING)  # of several tasks' ends


async def wait_all(
    client: AsyncClient,
    tasks: list[Task] | list[str] | list[Task | str],
    timeout: float,  # noqa: ASYNC109 - handed on
    folder: Path | None,
    json: bool,
) -> int:
    """Wait for all, show each as it ends, and save its files; returns the exit code."""
    board = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[status]}"),
        TimeElapsedColumn(),
        console=err,
        disable=not err.is_terminal,
    )
    with board:
        codes = await asyncio.gather(
            *(_wait_one(client, task, timeout, folder, json, board) for task in tasks)
        )
    return next((code for code in _WORST_FIRST if code in codes), SUCCEEDED)


async def _wait_one(
    client: AsyncClient,
    task: Task | str,
    timeout: float,  # noqa: ASYNC109 - handed on
    folder: Path | None,
    json: bool,
    board: Progress,
) -> int:
    id = task if isinstance(task, str) else task.id
    row = board.add_task(id, total=100, status="...")
    try:
        ended = await client.wait(task, timeout, lambda state: _note(board, row, state))
        files = await client.download(ended, folder) if folder and succeeded(ended) else ()
    except Fault as fault:
        err.print(f"{id}: {fault.message}", style="red")
        return code_of_fault(fault)
    show_task(ended, json, files)
    return code_of_task(ended)


def _note(board: Progress, row: TaskID, state: Task) -> None:
    done = 100 if succeeded(state) else state.progress
    board.update(row, completed=done, status=state.status.value)
    if not err.is_terminal:
        percent = f" {state.progress}%" if state.progress is not None else ""
        err.print(f"{state.id} {state.status.value}{percent}")


def succeeded(task: Task) -> bool:
    """Whether all went well."""
    return task.status is Status.SUCCEEDED


def code_of_task(task: Task) -> int:
    """The exit code that says how a task ended."""
    return SUCCEEDED if succeeded(task) else FAILED
