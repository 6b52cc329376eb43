"""Fixtures: one server for most tests, fresh ones for those that hurt theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from end_to_end.running import CONFIG, Running, bugs_in, running
from safelight import Key

Start = Callable[..., Running]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One server for all tests that leave it whole. Nothing they do may break it."""
    with running(tmp_path_factory.mktemp("server") / "data") as shared:
        yield shared
    assert not bugs_in(shared.log), shared.log.read_text(errors="replace")[-8000:]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts servers, each on a data folder in `tmp_path`; all are gone in the end."""
    started: list[Running] = []

    def begin(name: str = "data", config: str = CONFIG, key: Key | None = None) -> Running:
        server = Running.start(tmp_path / name, config, key)
        started.append(server)
        return server

    yield begin
    for server in started:
        if server.process.poll() is None:
            server.kill()


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    """Plain HTTP, without this machine's proxies."""
    with httpx.Client(trust_env=False, timeout=30) as client:
        yield client
