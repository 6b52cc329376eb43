"""How a process is opened: its database, its files, its keys, and all that the settings say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import asyncpg
import structlog

from safelight import dialects, engines
from safelight.blobs import Blobs
from safelight.config import Settings, SettingsError
from safelight.models import ModelMap
from safelight.postgres import Database, DatabaseGone, without_password
from safelight.queue.memory import MemoryQueue
from safelight.queue.postgres import PostgresQueue
from safelight.secrets import Vault
from safelight.server import folder
from safelight.server.app import App, Backend, Served
from safelight.server.definitions import Definitions
from safelight.server.doors import Doors
from safelight.server.keys import Keyring, NewKey
from safelight.server.provider_keys import ProviderKeys
from safelight.server.recovery import MemoryRecovery, PostgresRecovery
from safelight.store import Store, StoreUnavailable
from safelight.store.postgres import PostgresStore
from safelight.store.sqlite import SQLiteStore

_log = structlog.get_logger("safelight.server")


async def open_app(settings: Settings, models: ModelMap | None = None) -> App:
    """Everything, ready to start; `models` instead of those that the settings say.

    Raises `SettingsError`, `SchemaTooNew`, `StoreUnavailable`, `WrongSecret`.
    """
    doors = open_doors(settings)
    _tell_problems(doors)
    models = models or ModelMap.build(settings.models, settings.engines)
    run = _engines_to_run(settings, models)
    definitions = Definitions(settings.definitions)
    if settings.workers:
        models.prepare(run)
    folder.prepare(settings.data)
    vault = Vault.open(settings.data)
    blobs = _open_blobs(settings)
    backend = await _open_backend(settings, models)
    try:
        return App(settings, backend, blobs, vault, Served(doors, models, run, definitions))
    except BaseException:
        await backend.store.close()
        raise


def _tell_problems(doors: Doors) -> None:
    """Name what other packages bring and is broken: all else starts, unless a rule needs it."""
    for problem in (*dialects.problems(), *doors.problems, *engines.problems()):
        _log.warning("plugin_left_out", problem=problem)


class Keys(NamedTuple):
    """The keys of an installation: its callers', and its own at other services."""

    callers: Keyring
    providers: ProviderKeys


@asynccontextmanager
async def open_keys(settings: Settings) -> AsyncIterator[Keys]:
    """The keys of an installation, also while servers run on it."""
    folder.prepare(settings.data)
    if settings.database is None:
        store: Store = SQLiteStore.open(folder.database(settings.data))
    else:
        store = await _open_postgres(settings.database, connections=2)
    try:
        vault = Vault.open(settings.data)
        keys = Keys(Keyring(store, vault), ProviderKeys(store, vault))
        await keys.callers.check()
        yield keys
    finally:
        await store.close()


async def prepare(settings: Settings) -> NewKey | None:
    """Make the database ready for several processes at once; its first key, if it was empty.

    Raises what `open_app` raises.
    """
    open_doors(settings)
    async with open_keys(settings) as keys:
        return await keys.callers.create_first()


async def migrate(settings: Settings) -> None:
    """Bring the database to this code's schema. Raises `SchemaTooNew`, `StoreUnavailable`."""
    async with open_keys(settings):
        pass


async def _open_backend(settings: Settings, models: ModelMap) -> Backend:
    if settings.database is None:
        waiting = MemoryQueue()
        sqlite = SQLiteStore.open(folder.database(settings.data), waiting.put)
        return Backend(
            sqlite, waiting, lambda worker: MemoryRecovery(sqlite, waiting, worker, models)
        )
    store = await _open_postgres(settings.database, settings.connections)
    database = store.database
    return Backend(
        store,
        PostgresQueue(database, settings.heartbeat),
        lambda worker: PostgresRecovery(store, database, models, settings.heartbeat),
    )


async def _open_postgres(url: str, connections: int) -> PostgresStore:
    try:
        database = await Database.open(url, connections=connections)
    except DatabaseGone as problem:
        raise StoreUnavailable(f"{without_password(url)}: {problem}") from None
    except (asyncpg.PostgresError, ValueError) as problem:  # no such user, no such database ...
        raise SettingsError(f"database: {without_password(url)}: {problem}") from None
    try:
        return await PostgresStore.open(database)
    except BaseException:
        await database.close()
        raise


def _open_blobs(settings: Settings) -> Blobs:
    if settings.files is None:
        return Blobs.local(settings.data / folder.FILES)
    try:
        return Blobs.remote(
            settings.files,
            settings.files_options,
            link_seconds=settings.link_hours * 3600 if settings.files_links == "signed" else None,
            public_endpoint=settings.files_public_endpoint,
        )
    except ValueError as problem:
        raise SettingsError(f"files: {problem}") from None


def _engines_to_run(settings: Settings, models: ModelMap) -> tuple[str, ...]:
    if unknown := sorted(set(settings.run_engines) - set(models.engines)):
        known = ", ".join(models.engines)
        raise SettingsError(f"run_engines: no model runs on {', '.join(unknown)}, but on {known}")
    return settings.run_engines or models.engines


def open_doors(settings: Settings) -> Doors:
    """The doors to dialects that the settings say. Raises `SettingsError`."""
    doors = Doors.build(settings)
    known = {f"{dialect.name}.{route.op}" for dialect in doors.named for route in dialect.routes}
    if unknown := sorted(set(settings.rates) - known):
        raise SettingsError(f"rates: there is no operation {', '.join(unknown)}")
    return doors
