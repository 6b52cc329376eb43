"""What every test has: the same examples each time, and none of this machine's keys or proxies."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import certifi
import httpx
import pytest
import structlog
from hypothesis import HealthCheck, settings

import programs
from backends import AUTHORITY, PostgresServer, S3Server
from doubles import OpenStores, Play, Player, Serving, StartApp, models_of, one_picture
from safelight.config import Settings
from safelight.postgres import Database
from safelight.server.opening import open_app
from safelight.store import Store
from safelight.store.postgres import PostgresStore
from safelight.store.sqlite import SQLiteStore

# The examples are drawn from the test's own text, so that a run that passes passes again.
settings.register_profile(
    "safelight",
    max_examples=60,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("safelight")

# Plain tracebacks: structlog's own take half a second each.
structlog.configure(
    processors=[structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
)

# Every client that is made reads the certificates of all the authorities there are, which takes it
# longer than most tests. Nothing here speaks TLS, and one that signed nothing is read in no time.
setattr(certifi, "where", lambda: str(AUTHORITY))  # noqa: B010
os.environ["SSL_CERT_FILE"] = str(AUTHORITY)

# Our settings, the keys of the five services, and proxies.
SETTINGS = ("SAFELIGHT_", "TENSORSLAB_", "AIGPTIMAGE_", "KIE_", "AITOEARN_", "TENCENTCLOUD_")
PROXIES = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"})


# Where tests start processes, servers and models, and mostly wait for them.
SLOW = ("end_to_end", "engines", "store", "test_deploy", "test_inspection", "test_jobs")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each process a part of what is slow, and that first: the run ends for all at once.

    Each has so many tests of this list at first, and takes of the others' when it has none left.
    """
    hands = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    slow = [file for file in files if set(SLOW) & {*file.parts, file.stem}]
    dealt = [[item for file in slow[hand::hands] for item in files[file]] for hand in range(hands)]
    rest = [item for file in files if file not in slow for item in files[file]]
    size = -(-len(items) // hands)
    for hand in dealt:
        missing = max(0, size - len(hand))
        hand += rest[:missing]
        del rest[:missing]
    items[:] = [item for hand in dealt for item in hand] + rest


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Remove from the environment what would change the outcome; gives the removed prefixes."""
    for name in list(os.environ):
        if name.startswith(SETTINGS) or name.upper() in PROXIES:
            monkeypatch.delenv(name)
    return SETTINGS


@pytest.fixture(scope="session", autouse=True)
def forker() -> Iterator[None]:
    """What forks our processes ends with the tests."""
    yield
    programs.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One PostgreSQL server for all tests that leave it running."""
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One S3 server for all tests that leave it running."""
    root = tmp_path_factory.mktemp("s3") / "buckets"
    root.mkdir()
    server = S3Server(root)
    server.start()
    yield server
    server.close()


@pytest.fixture(params=["sqlite", "postgres"])
async def open_stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenStores]:
    """Opens stores of one database, as several processes do: on each kind of database."""
    async with AsyncExitStack() as stack:
        url = ""
        if request.param == "postgres":
            server: PostgresServer = request.getfixturevalue("postgres")
            url = await stack.enter_async_context(server.lent())

        async def open_one() -> Store:
            store: Store
            if url:
                store = await PostgresStore.open(await Database.open(url, connections=3))
            else:
                store = SQLiteStore.open(tmp_path / "stores.db")
            stack.push_async_callback(store.close)
            return store

        yield open_one


@pytest.fixture
async def start_app(tmp_path: Path) -> AsyncIterator[StartApp]:
    """Starts apps, each on the same data folder unless told otherwise."""
    async with AsyncExitStack() as stack:

        async def start_one(
            play: Play = one_picture,
            *,
            start: bool = True,
            engine: Player | None = None,
            **settings: Any,
        ) -> Serving:
            engine = engine or Player(play)
            chosen = {"data": tmp_path / "data", "concurrency": 2, "grace": 0, **settings}
            app = await open_app(Settings(**chosen), models_of(engine))
            stack.push_async_callback(app.close)
            key = await app.first_key() or await app.keyring.create("another")
            if start:
                await app.start()
            stack.push_async_callback(app.drain)
            http = httpx.AsyncClient(
                transport=httpx.ASGITransport(app.asgi), base_url="http://testserver"
            )
            await stack.enter_async_context(http)
            return Serving(app, engine, key, http)

        yield start_one


@pytest.fixture
async def serving(start_app: StartApp) -> Serving:
    """An app that makes small pictures."""
    return await start_app()
