"""How tasks, times and JSON are shown."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from safelight.cli.consoles import out
from safelight.task import Task, drop_data

Json = Annotated[bool, Parameter(name="--json", negative="", help="Answer in JSON.")]


def show_task(task: Task, json: bool, files: Iterable[Path] = ()) -> None:
    """Print a task, and where its files were saved."""
    saved = [str(path) for path in files]
    if json:
        print_json({**plain(task), **({"saved": saved} if saved else {})})
        return
    lines = [("id", task.id), ("status", task.status.value)]
    if task.progress is not None:
        lines.append(("progress", f"{task.progress}%"))
    if task.failure is not None:
        lines.append(("failure", f"{task.failure.code.value}: {task.failure.message}"))
    lines += [("created", time_text(task.created)), ("finished", time_text(task.finished))]
    lines += [("file", artifact.url or "") for artifact in task.artifacts]
    lines += [("saved", path) for path in saved]
    for name, value in lines:
        if value:
            out.print(f"{name:9} {value}")


def plain(task: Task) -> Any:
    """A task as JSON values: what is not known is left out."""
    return msgspec.to_builtins(msgspec.structs.replace(task, submit=drop_data(task.submit)))


def print_json(value: Any) -> None:
    """Print a value as one line of JSON, at once."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def time_text(millis: int | None) -> str:
    """A time as people read it; nothing where there is none."""
    if millis is None:
        return ""
    return datetime.fromtimestamp(millis / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
