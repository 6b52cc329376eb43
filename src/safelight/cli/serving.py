"""The server's commands: to serve, to work, to migrate."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated, Any

from cyclopts import Parameter

from safelight import dialects
from safelight.cli.consoles import out
from safelight.cli.exits import SUCCEEDED, UsageError
from safelight.cli.installation import (
    HERE,
    ConfigFile,
    Data,
    DatabaseUrl,
    Installation,
    load,
    opening,
)
from safelight.config import Settings
from safelight.server import logs
from safelight.server.addresses import check_address, free_port, local_url
from safelight.server.loop import run as run_loop
from safelight.server.opening import migrate as run_migration
from safelight.server.opening import prepare
from safelight.server.processes import own_command, supervise
from safelight.server.running import serve as run_server
from safelight.server.running import work as run_worker
from safelight.store import SCHEMA_VERSION

_Host = Annotated[str | None, Parameter(help="Address to listen on [default: 127.0.0.1].")]
_Port = Annotated[int | None, Parameter(help="Port to listen on; 0: a free one [default: 8000].")]
_Files = Annotated[
    str | None, Parameter(help="s3://bucket/prefix and its kin [default: the data folder].")
]
_Engines = Annotated[
    str | None, Parameter(help="Run tasks of these engines only: names with commas between.")
]
_Concurrency = Annotated[int | None, Parameter(help="Tasks run at once [default: the cores].")]


def serve(
    *,
    host: _Host = None,
    port: _Port = None,
    data: Data = None,
    database: DatabaseUrl = None,
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
    file: ConfigFile = None,
) -> int:
    """Run the server until SIGTERM or SIGINT, which drain it."""
    settings = load(
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
    with opening():
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


def _run_processes(settings: Settings, key: Any) -> None:
    # They are told what this one was told, and the port, which may be one that it has found.
    own = own_command(*sys.argv[1:], "--shared", str(settings.port))
    asyncio.run(
        supervise(own, settings.processes, settings.grace, lambda: _print_start(settings, key))
    )


def work(
    *,
    data: Data = None,
    database: DatabaseUrl = None,
    files: _Files = None,
    engines: _Engines = None,
    concurrency: _Concurrency = None,
    host: _Host = None,
    port: Annotated[
        int | None, Parameter(help="Port for /healthz, /readyz and /metrics [default: none].")
    ] = None,
    file: ConfigFile = None,
) -> int:
    """Run tasks of a PostgreSQL database, without an API, until SIGTERM or SIGINT drain it."""
    settings = load(
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
    with opening():
        if settings.port == 0:
            settings = settings.model_copy(update={"port": free_port(settings.host)})
        run_loop(run_worker(settings, _tell_work, watched=port is not None))
    return SUCCEEDED


def _names(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    return tuple(name.strip() for name in text.split(",") if name.strip())


def migrate(*, installation: Installation = HERE) -> int:
    """Bring the database to this version's schema; servers and workers also do so at their start.

    Any number may do it at once. A database that a newer version wrote is refused.
    """
    with opening():
        asyncio.run(run_migration(installation.load()))
    out.print(f"The database has schema {SCHEMA_VERSION}.")
    return SUCCEEDED


def _tell_start(server: Any, key: Any) -> None:
    _print_start(server.settings, key)


def _tell_work(server: Any, key: Any) -> None:
    names = ", ".join(server.engines)
    out.print(f"Safelight runs tasks of {names}: {server.settings.concurrency} at once")
    sys.stdout.flush()


def _print_start(settings: Settings, key: Any) -> None:
    url = settings.public_url or local_url(settings)
    out.print(f"Safelight listens on {url}")
    if key is not None:
        out.print("The database was empty; its first key, shown this once:")
        out.print(f"  id      {key.id}\n  secret  {key.secret}")
        out.print("Try it:")
        curl = dialects.named("tensorslab").curl.replace("{base}", url)
        out.print(f"  {curl.replace('$SAFELIGHT_KEY', key.secret)}")
    sys.stdout.flush()
