"""The command line: the server, its keys, and a client for all dialects.

What is asked for goes to standard output, everything told along the way to standard error. Exit
codes: 0 succeeded, 1 failed, 2 usage, 3 not found, 4 still running when the time was up.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from safelight import __version__, config, dialects
from safelight.client import AsyncClient
from safelight.errors import (
    Fault,
    Malformed,
    NotFound,
    StillRunning,
    Unauthenticated,
    UnknownModel,
    Unsupported,
)
from safelight.task import (
    Kind,
    List,
    Models,
    Operation,
    Role,
    Source,
    Status,
    Submit,
    Task,
    drop_data,
)
from safelight.wire import merge_frames, read_frame, read_json

SUCCEEDED, FAILED, USAGE, NOT_FOUND, STILL_RUNNING = range(5)
_WORST_FIRST = (USAGE, FAILED, NOT_FOUND, STILL_RUNNING)  # of several tasks' ends

app = cyclopts.App(
    name="safelight",
    help="Image and video tasks in five published dialects: a server, and a client for all five.",
    version=__version__,
)
keys = cyclopts.App(name="keys", help="The keys of a server, also while it runs.")
app.command(keys)
provider_keys = cyclopts.App(
    name="provider-keys", help="Keys of your own at other services, for models that run there."
)
app.command(provider_keys)

# Nothing that is printed is markup: names, prompts and messages come from elsewhere.
# Another program wants the words of a table whole.
_WIDTH = None if sys.stdout.isatty() else 1000
_out = Console(soft_wrap=True, highlight=False, markup=False, width=_WIDTH)
_err = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)


class UsageError(Exception):
    """The words on the command line do not go together."""


class CannotOpen(Exception):
    """The server, or its data folder, cannot be opened; the message says why."""


# ------------------------------------------------------------------------------------- the server

_Host = Annotated[str | None, Parameter(help="Address to listen on [default: 127.0.0.1].")]
_Port = Annotated[int | None, Parameter(help="Port to listen on; 0: a free one [default: 8000].")]
_Data = Annotated[
    Path | None, Parameter(help="Folder for everything [default: the platform's data folder].")
]
_Config = Annotated[
    Path | None, Parameter(name="--config", help="Settings file [default: ./safelight.toml].")
]
_Json = Annotated[bool, Parameter(name="--json", negative="", help="Answer in JSON.")]


_Database = Annotated[
    str | None, Parameter(help="postgresql:// address [default: SQLite in the data folder].")
]
_Files = Annotated[
    str | None, Parameter(help="s3://bucket/prefix and its kin [default: the data folder].")
]
_Engines = Annotated[
    str | None, Parameter(help="Run tasks of these engines only: names with commas between.")
]
_Concurrency = Annotated[int | None, Parameter(help="Tasks run at once [default: the cores].")]


@app.command
def serve(
    *,
    host: _Host = None,
    port: _Port = None,
    data: _Data = None,
    database: _Database = None,
    files: _Files = None,
    workers: Annotated[
        bool | None, Parameter(help="Run tasks too, not only the API [default: yes].")
    ] = None,
    engines: _Engines = None,
    concurrency: _Concurrency = None,
    processes: Annotated[
        int | None, Parameter(help="Processes that share the port [default: 1].")
    ] = None,
    shared: Annotated[int | None, Parameter(show=False)] = None,
    file: _Config = None,
) -> int:
    """Run the server until SIGTERM or SIGINT, which drain it."""
    # Imported here: asking about a task needs no server, and need not wait for one to load.
    from safelight.server import logs
    from safelight.server.addresses import check_address, free_port
    from safelight.server.loop import run as run_loop
    from safelight.server.opening import prepare
    from safelight.server.running import serve as run_server

    settings = config.load(
        file,
        host=host,
        port=port,
        data=data,
        database=database,
        files=files,
        workers=workers,
        run_engines=_names(engines),
        concurrency=concurrency,
        processes=processes,
    )
    logs.configure(settings.log_level, settings.log_json)
    with _opening():
        if settings.port == 0:
            settings = settings.model_copy(update={"port": free_port(settings.host)})
        if shared is not None:  # one of the processes of a server
            settings = settings.model_copy(update={"port": shared})
            run_loop(run_server(settings, _tell_start, shared=True))
        elif settings.processes == 1:
            run_loop(run_server(settings, _tell_start))
        else:
            check_address(settings.host, settings.port)
            _run_processes(settings, asyncio.run(prepare(settings)))
    return SUCCEEDED


def _run_processes(settings: config.Settings, key: Any) -> None:
    from safelight.server.processes import own_command, supervise

    # They are told what this one was told, and the port, which may be one that it has found.
    own = own_command(*sys.argv[1:], "--shared", str(settings.port))
    asyncio.run(
        supervise(own, settings.processes, settings.grace, lambda: _print_start(settings, key))
    )


@app.command
def work(
    *,
    data: _Data = None,
    database: _Database = None,
    files: _Files = None,
    engines: _Engines = None,
    concurrency: _Concurrency = None,
    host: _Host = None,
    port: Annotated[
        int | None, Parameter(help="Port for /healthz, /readyz and /metrics [default: none].")
    ] = None,
    file: _Config = None,
) -> int:
    """Run tasks of a PostgreSQL database, without an API, until SIGTERM or SIGINT drain it."""
    from safelight.server import logs
    from safelight.server.addresses import free_port
    from safelight.server.loop import run as run_loop
    from safelight.server.running import work as run_worker

    settings = config.load(
        file,
        host=host,
        port=port,
        data=data,
        database=database,
        files=files,
        workers=True,
        run_engines=_names(engines),
        concurrency=concurrency,
    )
    if settings.database is None:
        raise UsageError("a worker of its own needs a PostgreSQL database: --database")
    logs.configure(settings.log_level, settings.log_json)
    with _opening():
        if settings.port == 0:
            settings = settings.model_copy(update={"port": free_port(settings.host)})
        run_loop(run_worker(settings, _tell_work, watched=port is not None))
    return SUCCEEDED


def _names(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    return tuple(name.strip() for name in text.split(",") if name.strip())


@contextmanager
def _opening() -> Iterator[None]:
    """Turn what may keep a server or a data folder from opening into `CannotOpen`."""
    from safelight.secrets import WrongSecret
    from safelight.server.addresses import AddressInUse
    from safelight.server.running import Broken, DataInUse
    from safelight.store import SchemaTooNew, StoreUnavailable

    try:
        yield
    except (AddressInUse, Broken, DataInUse, WrongSecret, OSError) as problem:
        raise CannotOpen(str(problem)) from None
    except (SchemaTooNew, StoreUnavailable) as problem:
        raise CannotOpen(str(problem)) from None


def _tell_start(server: Any, key: Any) -> None:
    _print_start(server.settings, key)


def _tell_work(server: Any, key: Any) -> None:
    names = ", ".join(server.engines)
    _out.print(f"Safelight runs tasks of {names}: {server.settings.concurrency} at once")
    sys.stdout.flush()


def _print_start(settings: config.Settings, key: Any) -> None:
    from safelight.server.addresses import local_url

    url = settings.public_url or local_url(settings)
    _out.print(f"Safelight listens on {url}")
    if key is not None:
        _out.print("The database was empty; its first key, shown this once:")
        _out.print(f"  id      {key.id}\n  secret  {key.secret}")
        _out.print("Try it:")
        curl = dialects.named("tensorslab").curl.replace("{base}", url)
        _out.print(f"  {curl.replace('$SAFELIGHT_KEY', key.secret)}")
    sys.stdout.flush()


@Parameter(name="*")
@dataclass(frozen=True)
class Installation:
    """Where an installation keeps what it keeps."""

    data: _Data = None
    database: _Database = None
    file: _Config = None

    def load(self) -> config.Settings:
        return config.load(self.file, data=self.data, database=self.database)


_HERE = Installation()


@app.command
def migrate(*, installation: Installation = _HERE) -> int:
    """Bring the database to this version's schema; servers and workers also do so at their start.

    Any number may do it at once. A database that a newer version wrote is refused.
    """
    from safelight.server.opening import migrate as run_migration
    from safelight.store import SCHEMA_VERSION

    with _opening():
        asyncio.run(run_migration(installation.load()))
    _out.print(f"The database has schema {SCHEMA_VERSION}.")
    return SUCCEEDED


@keys.command(name="create")
def create_key(name: str, *, json: _Json = False, installation: Installation = _HERE) -> int:
    """Make a key and print its id and secret, this once."""
    made = _with_keys(lambda keys: keys.callers.create(name), installation)
    if json:
        _print_json({"id": made.id, "name": made.name, "secret": made.secret})
    else:
        _out.print(f"id      {made.id}\nsecret  {made.secret}")
    return SUCCEEDED


@keys.command(name="list")
def list_keys(*, json: _Json = False, installation: Installation = _HERE) -> int:
    """List the keys, without their secrets."""
    rows = _with_keys(lambda keys: keys.callers.list(), installation)
    if json:
        _print_json([row._asdict() for row in rows])
        return SUCCEEDED
    table = Table(Column("id", no_wrap=True), "name", "made", "revoked", box=None)
    for row in rows:
        table.add_row(row.id, row.name, _time(row.created), _time(row.revoked))
    _out.print(table)
    return SUCCEEDED


@keys.command(name="revoke")
def revoke_key(id: str, *, installation: Installation = _HERE) -> int:
    """Revoke a key, at once."""
    if _with_keys(lambda keys: keys.callers.revoke(id), installation):
        return SUCCEEDED
    _err.print(f"There is no key {id} that is not revoked.")
    return NOT_FOUND


@provider_keys.command(name="keep")
def keep_provider_key(name: str, *, installation: Installation = _HERE) -> int:
    """Keep a key under a name of your choice, encrypted; it is read from standard input.

    A model's options name it: options = { engine = "upstream", key = "NAME", … }.
    """
    secret = getpass.getpass("Key: ") if sys.stdin.isatty() else sys.stdin.readline()
    if not secret.strip():
        raise UsageError("there is no key on standard input")
    try:
        _with_keys(lambda keys: keys.providers.keep(name, secret.strip()), installation)
    except ValueError as problem:
        raise UsageError(str(problem)) from None
    return SUCCEEDED


@provider_keys.command(name="list")
def list_provider_keys(*, json: _Json = False, installation: Installation = _HERE) -> int:
    """List the names of the keys that are kept."""
    rows = _with_keys(lambda keys: keys.providers.list(), installation)
    if json:
        _print_json([{"name": name, "created": created} for name, created in rows])
        return SUCCEEDED
    table = Table("name", "kept", box=None)
    for name, created in rows:
        table.add_row(name, _time(created))
    _out.print(table)
    return SUCCEEDED


@provider_keys.command(name="remove")
def remove_provider_key(name: str, *, installation: Installation = _HERE) -> int:
    """Remove a key."""
    if _with_keys(lambda keys: keys.providers.remove(name), installation):
        return SUCCEEDED
    _err.print(f"There is no key {name}.")
    return NOT_FOUND


def _with_keys(act: Callable[[Any], Coroutine[Any, Any, Any]], installation: Installation) -> Any:
    from safelight.server.opening import open_keys

    async def run() -> Any:
        async with open_keys(installation.load()) as keys:
            return await act(keys)

    with _opening():
        return asyncio.run(run())


@app.command
def fake(
    *,
    dialect: Annotated[str, Parameter(help="What it speaks; see `safelight dialects`.")],
    script: Annotated[
        Path | None, Parameter(help="What it does, in TOML [default: all goes well, at once].")
    ] = None,
    host: Annotated[str, Parameter(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, Parameter(help="Port to listen on; 0: a free one.")] = 0,
    key: Annotated[
        str | None, Parameter(help="The one secret, or ID:SECRET, it takes [default: any].")
    ] = None,
) -> int:
    """Run a fake provider, for tests: it draws nothing, and does what its script says."""
    from safelight.server.fake import ScriptError
    from safelight.server.fake import serve as run_fake

    try:
        asyncio.run(run_fake(dialect, script or "", _tell_fake, host=host, port=port, key=key))
    except ScriptError as problem:
        raise UsageError(str(problem)) from None
    except OSError as problem:
        raise CannotOpen(f"{host}:{port}: {problem.strerror or problem}") from None
    return SUCCEEDED


def _tell_fake(url: str) -> None:
    _out.print(f"The fake provider listens on {url}")
    sys.stdout.flush()


# ------------------------------------------------------------------------------------- the client


@Parameter(name="*")
@dataclass(frozen=True)
class Connection:
    """How to reach a service."""

    dialect: Annotated[
        str, Parameter(env_var="SAFELIGHT_DIALECT", help="See `safelight dialects`.")
    ] = "tensorslab"
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
        return AsyncClient(self.dialect, self.url, self.key, pace=self.pace, per_second=self.rate)


_DEFAULT = Connection()
_Kind = Annotated[Kind | None, Parameter(help="What it makes: say video for films.")]
_Timeout = Annotated[float, Parameter(help="Seconds to wait at most.")]
_Download = Annotated[Path | None, Parameter(help="Folder to save the files in.")]


@app.command
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
    json: _Json = False,
) -> int:
    """Submit a task and print its id. With --wait or --download, also wait for its end."""
    frames = [read_frame(text, "size") for text in (size, ratio, resolution) if text is not None]
    asked = Submit(
        kind=kind,
        model=model,
        prompt=prompt,
        negative=negative,
        sources=_sources(source, first_frame, last_frame, mask),
        count=count,
        seed=seed,
        format=format,
        quality=quality,
        duration=duration,
        fps=fps,
        audio=audio,
        operations=tuple(_operation(text) for text in operation),
        extra=_object(extra, "--extra") if extra else {},
        demands=dict(_demand(text) for text in demand),
        idempotency_key=idempotency_key,
        **merge_frames(frames),
    )

    async def run(client: AsyncClient) -> int:
        task = await client.submit(asked)
        # The id first, and at once: whatever happens from here on, the task can be found by it.
        if json:
            _print_json({"id": task.id, "status": task.status.value})
        else:
            _out.print(task.id)
        sys.stdout.flush()
        if not wait and download is None:
            return SUCCEEDED
        return await _wait_all(client, [task], timeout, download, json)

    return _run(connection, run)


@app.command
def show(
    id: str, *, connection: Connection = _DEFAULT, kind: _Kind = None, json: _Json = False
) -> int:
    """Show a task as it is now."""

    async def run(client: AsyncClient) -> int:
        task = await client.fetch(id, kind)
        _show(task, json)
        return _code(task) if task.ended else SUCCEEDED

    return _run(connection, run)


@app.command
def wait(
    *ids: str,
    connection: Connection = _DEFAULT,
    kind: _Kind = None,
    timeout: _Timeout = 900.0,
    download: _Download = None,
    json: _Json = False,
) -> int:
    """Wait for tasks, all at once, and show how each ended."""
    if not ids:
        raise UsageError("wait: name at least one task")

    async def run(client: AsyncClient) -> int:
        tasks = [
            Task(id=id, status=Status.QUEUED, submit=Submit(kind=kind)) if kind else id
            for id in ids
        ]
        return await _wait_all(client, tasks, timeout, download, json)

    return _run(connection, run)


@app.command
def upload(
    *files: str,
    connection: Connection = _DEFAULT,
    folder: Annotated[str | None, Parameter(help="Where it is to be, in your words.")] = None,
    json: _Json = False,
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
                _print_json(msgspec.to_builtins(kept))
            else:
                _out.print(kept.url)
        return SUCCEEDED

    return _run(connection, run)


@app.command
def cancel(id: str, *, connection: Connection = _DEFAULT, kind: _Kind = None) -> int:
    """Ask that a task end."""

    async def run(client: AsyncClient) -> int:
        await client.cancel(id, kind)
        return SUCCEEDED

    return _run(connection, run)


@app.command
def delete(*ids: str, connection: Connection = _DEFAULT, kind: _Kind = None) -> int:
    """Remove tasks and their files."""
    if not ids:
        raise UsageError("delete: name at least one task")

    async def run(client: AsyncClient) -> int:
        for id in await client.delete(*ids, kind=kind):
            _out.print(id)
        return SUCCEEDED

    return _run(connection, run)


@app.command(name="list")
def list_tasks(
    *,
    connection: Connection = _DEFAULT,
    kind: _Kind = None,
    status: Annotated[
        tuple[Status, ...], Parameter(negative="", help="Only these. Repeatable.")
    ] = (),
    limit: Annotated[int, Parameter(help="As many at most.")] = 20,
    before: Annotated[str | None, Parameter(help="Only tasks older than this one.")] = None,
    json: _Json = False,
) -> int:
    """List one's own tasks, the newest first, where the wire can."""
    asked = List(kind=kind, statuses=frozenset(status), limit=limit, before=before)

    async def run(client: AsyncClient) -> int:
        page = await client.list(asked)
        if json:
            _print_json([_plain(task) for task in page.tasks])
            return SUCCEEDED
        table = Table(Column("id", no_wrap=True), "kind", "status", "model", "created", box=None)
        for task in page.tasks:
            table.add_row(
                task.id, task.kind.value, task.status.value, task.submit.model, _time(task.created)
            )
        _out.print(table)
        return SUCCEEDED

    return _run(connection, run)


@app.command(name="dialects")
def show_dialects(*, json: _Json = False) -> int:
    """List the dialects: their addresses and where they find their keys."""
    found = dialects.found().values()
    if json:
        _print_json(
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
    _out.print(table)
    return SUCCEEDED


@app.command
def models(
    *,
    connection: Connection = _DEFAULT,
    kind: _Kind = None,
    editing: Annotated[bool, Parameter(negative="", help="Those that take pictures.")] = False,
    json: _Json = False,
) -> int:
    """List the models of a service, where the wire tells them."""

    async def run(client: AsyncClient) -> int:
        found = await client.models(Models(kind=kind, editing=editing))
        if json:
            _print_json([msgspec.to_builtins(card) for card in found.models])
            return SUCCEEDED
        table = Table("model", "makes", "sources", "about", box=None)
        for card in found.models:
            table.add_row(card.name, card.kind.value, str(card.max_sources), card.description)
        _out.print(table)
        return SUCCEEDED

    return _run(connection, run)


# ------------------------------------------------------------------------------------- the words


def _sources(
    pictures: Iterable[str], first: str | None, last: str | None, mask: str | None
) -> tuple[Source, ...]:
    named = [(Role.IMAGE, text) for text in pictures]
    frames = ((Role.FIRST_FRAME, first), (Role.LAST_FRAME, last), (Role.MASK, mask))
    named += [(role, text) for role, text in frames if text is not None]
    return tuple(_source(role, text) for role, text in named)


def _source(role: Role, text: str) -> Source:
    if text.startswith(("http://", "https://")):
        return Source(role=role, url=text)
    path = Path(text)
    if not path.is_file():
        raise UsageError(f"{text}: neither a file nor an address")
    return Source(role=role, data=path.read_bytes(), name=path.name)


def _operation(text: str) -> Operation:
    name, _, options = text.partition("=")
    return Operation(name=name, options=_object(options, "--operation") if options else {})


def _demand(text: str) -> tuple[str, Any]:
    name, given, value = text.partition("=")
    if not name or not given:
        raise UsageError("--demand: not NAME=VALUE")
    try:
        return name, read_json(value.encode())
    except Malformed:
        return name, value


def _object(text: str, what: str) -> dict[str, Any]:
    value = read_json(text.encode())
    if not isinstance(value, dict):
        raise UsageError(f"{what}: not a JSON object")
    return value


# ------------------------------------------------------------------------------------- waiting


async def _wait_all(
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
        console=_err,
        disable=not _err.is_terminal,
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
        files = await client.download(ended, folder) if folder and _succeeded(ended) else ()
    except Fault as fault:
        _err.print(f"{id}: {fault.message}", style="red")
        return _fault_code(fault)
    _show(ended, json, files)
    return _code(ended)


def _note(board: Progress, row: TaskID, state: Task) -> None:
    done = 100 if _succeeded(state) else state.progress
    board.update(row, completed=done, status=state.status.value)
    if not _err.is_terminal:
        percent = f" {state.progress}%" if state.progress is not None else ""
        _err.print(f"{state.id} {state.status.value}{percent}")


def _run(connection: Connection, act: Callable[[AsyncClient], Coroutine[Any, Any, int]]) -> int:
    async def run() -> int:
        async with connection.open() as client:
            return await act(client)

    return asyncio.run(run())


# ------------------------------------------------------------------------------------- showing


def _show(task: Task, json: bool, files: Iterable[Path] = ()) -> None:
    saved = [str(path) for path in files]
    if json:
        _print_json({**_plain(task), **({"saved": saved} if saved else {})})
        return
    lines = [("id", task.id), ("status", task.status.value)]
    if task.progress is not None:
        lines.append(("progress", f"{task.progress}%"))
    if task.failure is not None:
        lines.append(("failure", f"{task.failure.code.value}: {task.failure.message}"))
    lines += [("created", _time(task.created)), ("finished", _time(task.finished))]
    lines += [("file", artifact.url or "") for artifact in task.artifacts]
    lines += [("saved", path) for path in saved]
    for name, value in lines:
        if value:
            _out.print(f"{name:9} {value}")


def _plain(task: Task) -> Any:
    """A task as JSON values: what is not known is left out."""
    return msgspec.to_builtins(msgspec.structs.replace(task, submit=drop_data(task.submit)))


def _print_json(value: Any) -> None:
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def _time(millis: int | None) -> str:
    if millis is None:
        return ""
    return datetime.fromtimestamp(millis / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _succeeded(task: Task) -> bool:
    return task.status is Status.SUCCEEDED


def _code(task: Task) -> int:
    return SUCCEEDED if _succeeded(task) else FAILED


def _fault_code(fault: Fault) -> int:
    match fault:
        case NotFound():
            return NOT_FOUND
        case StillRunning():
            return STILL_RUNNING
        case Unsupported() | UnknownModel():
            return USAGE
        case Unauthenticated(reason="missing"):
            return USAGE
        case _:
            return FAILED


# ------------------------------------------------------------------------------------- main


def run(arguments: list[str] | None = None) -> int:
    """Carry out a command line; returns the exit code."""
    try:
        code = app(arguments, exit_on_error=False, print_error=True)
    except cyclopts.CycloptsError:
        return USAGE
    except (UsageError, Malformed, LookupError, config.SettingsError) as problem:
        _err.print(str(problem), style="red")
        return USAGE
    except CannotOpen as problem:
        _err.print(str(problem), style="red")
        return FAILED
    except Fault as fault:
        _err.print(fault.message, style="red")
        return _fault_code(fault)
    except KeyboardInterrupt:
        return FAILED
    return code if isinstance(code, int) else SUCCEEDED


def main() -> None:
    """The program `safelight`."""
    code = run()
    if "granian" not in sys.modules:
        sys.exit(code)
    # A thread of the HTTP server that still holds a connection, and finds the interpreter going,
    # aborts the process. All that matters is on disk by now.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
