"""A PostgreSQL database: a pool of connections for queries, and one connection that listens.

The rule for whoever edits it: the database may go away at any moment and come back. A query that
was certainly not carried out may be tried again here; one whose fate is unknown is its caller's.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import structlog

from safelight.pauses import Pauses

_log = structlog.get_logger("safelight.postgres")

# Everything of ours, and the queue's tables, live in one schema of their own.
SCHEMA = "safelight"

_CONNECT_SECONDS = 5.0
_QUERY_SECONDS = 30.0
# How often the listening connection is asked whether it is alive: a cable that was pulled tells
# nobody.
_LOOK_SECONDS = 5.0
_PAUSES = (0.05, 2.0)  # seconds between two attempts to connect: the first, the longest
_SPREAD = (0.5, 1.5)  # of them: all processes lose a database at the same moment

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Record = asyncpg.Record
    Pool = asyncpg.Pool[Record]
    Connection = asyncpg.Connection[Record] | PoolConnectionProxy[Record]

# What a database that goes away, is not there, or cannot just now makes a query raise.
GONE: tuple[type[Exception], ...] = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # it shuts down, starts, or was told to stop a query
    asyncpg.InsufficientResourcesError,  # too many connections, a full disk
    asyncpg.TransactionRollbackError,  # a deadlock: this one gave way
    asyncpg.ReadOnlySQLTransactionError,  # a primary that has become a standby
    asyncpg.InterfaceError,  # the connection is closed, or closing
    asyncpg.InternalClientError,  # its end was just being read when something was asked
)


class DatabaseGone(Exception):
    """The database does not answer just now."""


class Database:
    """One PostgreSQL database, as one process sees it. Build it with `open`."""

    def __init__(self, url: str, pool: Pool) -> None:
        self._url = url
        self.pool = pool
        self._heard: dict[str, list[Callable[[str], None]]] = {}
        self._returned: list[Callable[[], None]] = []
        self._listener: Connection | None = None
        self._lost = asyncio.Event()
        self._listening: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, url: str, *, connections: int = 10, patience: float = 30) -> Database:
        """Connect, waiting up to `patience` seconds for a database that is just starting.

        Raises `DatabaseGone`, `ValueError` where `url` is no address.
        """
        async with _waiting(patience):
            pauses = _pauses()
            while True:
                try:
                    pool = await asyncpg.create_pool(
                        url,
                        min_size=1,
                        max_size=connections,
                        timeout=_CONNECT_SECONDS,
                        command_timeout=_QUERY_SECONDS,
                        server_settings=_settings(),
                        reset=_leave_as_it_is,
                    )
                    return cls(url, pool)
                except ValueError:  # nothing is away: the address is none
                    raise
                except GONE as problem:
                    _log.warning("database_does_not_answer", problem=_sentence(problem))
                    await asyncio.sleep(pauses.next())

    async def close(self) -> None:
        """Close all connections; queries that run are given up after a moment."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait([self._listening])
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await self.pool.close()
        except TimeoutError:
            self.pool.terminate()

    # --------------------------------------------------------------------------- queries

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Connection]:
        """A connection for a while. Raises `DatabaseGone`, also where it goes in the middle."""
        try:
            async with self.pool.acquire(timeout=_CONNECT_SECONDS) as connection:
                yield connection
        except GONE as problem:
            raise DatabaseGone(_sentence(problem)) from problem

    async def fetch(self, sql: str, *values: Any) -> list[Record]:
        """The rows of a query that only reads, tried again where its connection was lost.

        Raises `DatabaseGone`.
        """
        pauses = _pauses()
        for last in (False, False, True):
            try:
                async with self.acquire() as connection:
                    return await connection.fetch(sql, *values)
            except DatabaseGone:
                if last:
                    raise
                await asyncio.sleep(pauses.next())
        raise AssertionError

    # ------------------------------------------------------------------------- listening

    def listen(self, channel: str, heard: Callable[[str], None]) -> None:
        """Have `heard` called with what is notified on `channel`, from now on until `close`.

        What is notified while the database is away is lost: `on_return` says when it was.
        """
        first = channel not in self._heard
        self._heard.setdefault(channel, []).append(heard)
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen_on())
        elif first and self._listener is not None:
            self._lost.set()  # begin again, with this channel too

    def on_return(self, returned: Callable[[], None]) -> None:
        """Have `returned` called each time that listening has begun, or begun again."""
        self._returned.append(returned)

    @property
    def hears(self) -> bool:
        """Whether notices arrive just now."""
        return self._listener is not None and not self._lost.is_set()

    async def _listen_on(self) -> None:
        pauses = _pauses()
        while True:
            self._lost.clear()
            try:
                await self._listen_once()
            except GONE as problem:
                _log.warning("listening_failed", problem=_sentence(problem))
            except Exception:
                _log.exception("listening_broke")
            if self._listener is not None:  # it had begun: this is another failure
                self._listener = None
                pauses.reset()
            await asyncio.sleep(pauses.next())

    async def _listen_once(self) -> None:
        connection: Connection = await asyncpg.connect(
            self._url,
            timeout=_CONNECT_SECONDS,
            command_timeout=_LOOK_SECONDS,
            server_settings=_settings(),
        )
        try:
            connection.add_termination_listener(lambda _: self._lost.set())
            begun: set[str] = set()
            while missing := self._heard.keys() - begun:  # one may be added meanwhile
                for channel in missing:
                    await connection.add_listener(channel, self._dispatch)
                begun |= missing
            self._listener = connection
            self._tell_return()
            while not self._lost.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_SECONDS):
                        await self._lost.wait()
                if not self._lost.is_set():
                    await connection.execute("select 1")
        finally:
            self._lost.set()
            connection.terminate()

    def _tell_return(self) -> None:
        for returned in self._returned:
            try:
                returned()
            except Exception:
                _log.exception("return_broke")

    def _dispatch(self, connection: object, pid: int, channel: str, payload: object) -> None:
        for heard in self._heard.get(channel, ()):
            try:
                heard(str(payload))
            except Exception:
                _log.exception("notice_broke", channel=channel)


def without_password(url: str) -> str:
    """An address that may be told: who reads a log does not need the password."""
    parts = urlsplit(url)
    if "@" in url and "@" not in parts.netloc:  # a password with a slash in it, perhaps
        return f"{parts.scheme}://..."
    host = parts.netloc.rpartition("@")[2] or "".join(parse_qs(parts.query).get("host", []))
    return f"{parts.scheme}://{host}{parts.path}"


def _settings() -> dict[str, str]:
    return {"search_path": SCHEMA, "application_name": "safelight"}


async def _leave_as_it_is(connection: object) -> None:
    """Nothing here changes a connection, so none needs a round trip to be as it was."""


def _sentence(problem: Exception) -> str:
    return str(problem) or type(problem).__name__


@asynccontextmanager
async def _waiting(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise DatabaseGone(f"the database did not answer within {seconds:g} seconds") from None


def _pauses() -> Pauses:
    return Pauses(*_PAUSES, spread=_SPREAD)
