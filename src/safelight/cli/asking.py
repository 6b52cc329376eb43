"""The client's commands: tasks, of one service or of a Safelight, in any dialect."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter
from rich.table import Column, Table

from safelight import dialects
from safelight.cli.consoles import out
from safelight.cli.exits import SUCCEEDED, UsageError
from safelight.cli.showing import Json, plain, print_json, show_task, time_text
from safelight.cli.waiting import code_of_task, wait_all
from safelight.cli.words import read_demand, read_object, read_operation, read_sources
from safelight.client import AsyncClient
from safelight.task import Kind, List, Models, Status, Submit, Task
from safelight.wire import merge_frames, read_frame


@Parameter(name="*")
@dataclass(frozen=True)
class Connection:
    """How to reach a service."""

    dialect: Annotated[
        str | None,
        Parameter(
            env_var="SAFELIGHT_DIALECT",
            help="See safelight dialects [default: safelight at an address, else tensorslab].",
        ),
    ] = None
    url: Annotated[
        str | None,
        Parameter(env_var="SAFELIGHT_URL", help="Address [default: the real service's]."),
    ] = None
    key: Annotated[
        str | None,
        Parameter(
            env_var="SAFELIGHT_KEY",
            help="Secret, or ID:SECRET for tencent [default: the service's usual variables].",
        ),
    ] = None
    pace: Annotated[float, Parameter(help="Seconds before the second poll of a task.")] = 1.0
    rate: Annotated[
        float | None, Parameter(help="Most polls a second [default: what the service allows].")
    ] = None

    def open(self) -> AsyncClient:
        # Who says an address has a Safelight there, unless he says what it speaks.
        dialect = self.dialect or ("safelight" if self.url else "tensorslab")
        try:
            return AsyncClient(dialect, self.url, self.key, pace=self.pace, per_second=self.rate)
        except ValueError as problem:
            raise UsageError(f"--url: {problem}") from None


_DEFAULT = Connection()
_Kind = Annotated[Kind | None, Parameter(help="What it makes: say video for films.")]
_Timeout = Annotated[float, Parameter(help="Seconds to wait at most.")]
_Download = Annotated[Path | None, Parameter(help="Folder to save the files in.")]


def submit(
    prompt: str = "",
    *,
    connection: Connection = _DEFAULT,
    model: Annotated[str, Parameter(help="The model, in the service's words.")] = "",
    kind: Annotated[Kind, Parameter(help="What to make.")] = Kind.IMAGE,
    source: Annotated[
        tuple[str, ...],
        Parameter(negative="", help="A source picture: a file or an address. Repeatable."),
    ] = (),
    first_frame: Annotated[str | None, Parameter(help="A film's first picture.")] = None,
    last_frame: Annotated[str | None, Parameter(help="A film's last picture.")] = None,
    mask: Annotated[str | None, Parameter(help="A picture, transparent where to edit.")] = None,
    negative: Annotated[str | None, Parameter(help="What is not to be seen.")] = None,
    count: Annotated[int, Parameter(help="How many pictures to make.")] = 1,
    size: Annotated[str | None, Parameter(help="1024x1024, 16:9, 2K, 720p ...")] = None,
    ratio: Annotated[str | None, Parameter(help="Like 16:9, beside a resolution.")] = None,
    resolution: Annotated[str | None, Parameter(help="Like 2K or 720p, beside a ratio.")] = None,
    seed: Annotated[int | None, Parameter(help="The same seed, the same picture.")] = None,
    format: Annotated[str | None, Parameter(help="Of the files: png, jpeg, webp, bmp.")] = None,
    quality: Annotated[str | None, Parameter(help="In the service's words.")] = None,
    duration: Annotated[float | None, Parameter(help="Seconds of film.")] = None,
    fps: Annotated[int | None, Parameter(help="Frames a second of film.")] = None,
    audio: Annotated[bool | None, Parameter(help="A film with sound.")] = None,
    operation: Annotated[
        tuple[str, ...],
        Parameter(
            negative="",
            help='A step of image processing: NAME or NAME={"option": ...}. Repeatable.',
        ),
    ] = (),
    extra: Annotated[
        str | None, Parameter(help="JSON object for what one wire alone says.")
    ] = None,
    demand: Annotated[
        tuple[str, ...],
        Parameter(
            negative="",
            help="What one wire alone says and changes the result: NAME=JSON, or NAME=text. "
            "Repeatable.",
        ),
    ] = (),
    idempotency_key: Annotated[str | None, Parameter(help="The same key, the same task.")] = None,
    wait: Annotated[bool, Parameter(negative="", help="Wait for the end.")] = False,
    download: _Download = None,
    timeout: _Timeout = 900.0,
    json: Json = False,
) -> int:
    """Submit a task and print its id. With --wait or --download, also wait for its end."""
    frames = [read_frame(text, "size") for text in (size, ratio, resolution) if text is not None]
    asked = Submit(
        kind=kind,
        model=model,
        prompt=prompt,
        negative=negative,
        sources=read_sources(source, first_frame, last_frame, mask),
        count=count,
        seed=seed,
        format=format,
        quality=quality,
        duration=duration,
        fps=fps,
        audio=audio,
        operations=tuple(read_operation(text) for text in operation),
        extra=read_object(extra, "--extra") if extra else {},
        demands=dict(read_demand(text) for text in demand),
        idempotency_key=idempotency_key,
        **merge_frames(frames),
    )

    async def run(client: AsyncClient) -> int:
        task = await client.submit(asked)
        return await _tell_new(client, task, wait, download, timeout, json)

    return _run(connection, run)


async def _tell_new(
    client: AsyncClient,
    task: Task,
    wait: bool,
    folder: Path | None,
    timeout: float,  # noqa: ASYNC109 - handed on
    json: bool,
) -> int:
    """Print the id of a task that is new, and wait for its end where that is wanted."""
    # The id first, and at once: whatever happens from here on, the task can be found by it.
    if json:
        print_json({"id": task.id, "status": task.status.value})
    else:
        out.print(task.id)
    sys.stdout.flush()
    if not wait and folder is None:
        return SUCCEEDED
    return await wait_all(client, [task], timeout, folder, json)


def show(
    id: str, *, connection: Connection = _DEFAULT, kind: _Kind = None, json: Json = False
) -> int:
    """Show a task as it is now."""

    async def run(client: AsyncClient) -> int:
        task = await client.fetch(id, kind)
        show_task(task, json)
        return code_of_task(task) if task.ended else SUCCEEDED

    return _run(connection, run)


def wait(
    *ids: str,
    connection: Connection = _DEFAULT,
    kind: _Kind = None,
    timeout: _Timeout = 900.0,
    download: _Download = None,
    json: Json = False,
) -> int:
    """Wait for tasks, all at once, and show how each ended."""
    if not ids:
        raise UsageError("wait: name at least one task")

    async def run(client: AsyncClient) -> int:
        tasks = [
            Task(id=id, status=Status.QUEUED, submit=Submit(kind=kind)) if kind else id
            for id in ids
        ]
        return await wait_all(client, tasks, timeout, download, json)

    return _run(connection, run)


def upload(
    *files: str,
    connection: Connection = _DEFAULT,
    folder: Annotated[str | None, Parameter(help="Where it is to be, in your words.")] = None,
    json: Json = False,
) -> int:
    """Have files kept for a while and print their links, which may be sources of tasks."""
    if not files:
        raise UsageError("upload: name at least one file")

    async def run(client: AsyncClient) -> int:
        for file in files:
            try:
                kept = await client.upload(Path(file), folder=folder)
            except OSError as problem:
                raise UsageError(f"{file}: {problem.strerror}") from None
            if json:
                print_json(msgspec.to_builtins(kept))
            else:
                out.print(kept.url)
        return SUCCEEDED

    return _run(connection, run)


def cancel(id: str, *, connection: Connection = _DEFAULT, kind: _Kind = None) -> int:
    """Ask that a task end."""

    async def run(client: AsyncClient) -> int:
        await client.cancel(id, kind)
        return SUCCEEDED

    return _run(connection, run)


def delete(*ids: str, connection: Connection = _DEFAULT, kind: _Kind = None) -> int:
    """Remove tasks and their files."""
    if not ids:
        raise UsageError("delete: name at least one task")

    async def run(client: AsyncClient) -> int:
        for id in await client.delete(*ids, kind=kind):
            out.print(id)
        return SUCCEEDED

    return _run(connection, run)


def list_tasks(
    *,
    connection: Connection = _DEFAULT,
    kind: _Kind = None,
    status: Annotated[
        tuple[Status, ...], Parameter(negative="", help="Only these. Repeatable.")
    ] = (),
    limit: Annotated[int, Parameter(help="As many at most.")] = 20,
    before: Annotated[str | None, Parameter(help="Only tasks older than this one.")] = None,
    json: Json = False,
) -> int:
    """List one's own tasks, the newest first, where the wire can."""
    asked = List(kind=kind, statuses=frozenset(status), limit=limit, before=before, counted=False)

    async def run(client: AsyncClient) -> int:
        page = await client.list(asked)
        if json:
            print_json([plain(task) for task in page.tasks])
            return SUCCEEDED
        table = Table(Column("id", no_wrap=True), "kind", "status", "model", "created", box=None)
        for task in page.tasks:
            table.add_row(
                task.id,
                task.kind.value,
                task.status.value,
                task.submit.model,
                time_text(task.created),
            )
        out.print(table)
        return SUCCEEDED

    return _run(connection, run)


def log(
    id: str,
    *,
    connection: Connection = _DEFAULT,
    after: Annotated[int, Parameter(help="Only what came after the event of this number.")] = 0,
    json: Json = False,
) -> int:
    """Show what happened to a task: its statuses, and its engine's log."""

    async def run(client: AsyncClient) -> int:
        history = await client.events(id, after)
        if json:
            print_json(msgspec.to_builtins(history))
            return SUCCEEDED
        for event in history.events:
            out.print(
                f"{event.number:>5} {time_text(event.at)} {event.what:9} {event.note}".rstrip()
            )
        return SUCCEEDED

    return _run(connection, run)


def retry(
    id: str,
    *,
    connection: Connection = _DEFAULT,
    same_seed: Annotated[bool, Parameter(negative="", help="With the seed that it had.")] = False,
    seed: Annotated[int | None, Parameter(help="With this one [default: a new one].")] = None,
    model: Annotated[str | None, Parameter(help="With another model.")] = None,
    prompt: Annotated[str | None, Parameter(help="With other words.")] = None,
    wait: Annotated[bool, Parameter(negative="", help="Wait for the end.")] = False,
    download: _Download = None,
    timeout: _Timeout = 900.0,
    json: Json = False,
) -> int:
    """Ask for a task that ended once more, as a new one, and print its id."""
    given = {"seed": seed, "model": model, "prompt": prompt}
    words = {name: value for name, value in given.items() if value is not None}

    async def run(client: AsyncClient) -> int:
        task = await client.retry(id, same_seed, **words)
        return await _tell_new(client, task, wait, download, timeout, json)

    return _run(connection, run)


def watch(
    *,
    connection: Connection = _DEFAULT,
    every: Annotated[float, Parameter(help="Seconds between two looks.")] = 1.0,
    json: Json = False,
) -> int:
    """Show each of one's own tasks as it changes, from now on, until interrupted."""

    async def run(client: AsyncClient) -> int:
        cursor = (await client.changes()).cursor
        while True:
            changed = await client.changes(cursor)
            cursor = changed.cursor
            for task in changed.tasks:
                if json:
                    print_json(plain(task))
                else:
                    out.print(f"{time_text(task.updated)} {task.id} {task.status.value}")
            if not changed.more:
                await asyncio.sleep(every)

    return _run(connection, run)


def show_dialects(*, json: Json = False) -> int:
    """List the dialects: their addresses and where they find their keys."""
    found = dialects.found().values()
    if json:
        print_json(
            [
                {"name": d.name, "title": d.title, "url": d.url, "docs": d.docs,
                 "key_variables": d.key_variables}
                for d in found
            ]
        )  # fmt: skip
        return SUCCEEDED
    table = Table("name", "what", "address", "key from", box=None)
    for dialect in found:
        table.add_row(dialect.name, dialect.title, dialect.url, ", ".join(dialect.key_variables))
    out.print(table)
    return SUCCEEDED


def models(
    *,
    connection: Connection = _DEFAULT,
    kind: _Kind = None,
    editing: Annotated[bool, Parameter(negative="", help="Those that take pictures.")] = False,
    json: Json = False,
) -> int:
    """List the models of a service, where the wire tells them."""

    async def run(client: AsyncClient) -> int:
        own = client.dialect.name == "safelight"  # which tells all of them alike
        found = await client.models(Models(kind=kind, editing=editing or (None if own else False)))
        if json:
            print_json([msgspec.to_builtins(card) for card in found.models])
            return SUCCEEDED
        table = Table("model", "makes", "sources", "about", box=None)
        for card in found.models:
            table.add_row(card.name, card.kind.value, str(card.max_sources), card.description)
        out.print(table)
        return SUCCEEDED

    return _run(connection, run)


def _run(connection: Connection, act: Callable[[AsyncClient], Coroutine[Any, Any, int]]) -> int:
    async def run() -> int:
        async with connection.open() as client:
            return await act(client)

    return asyncio.run(run())
