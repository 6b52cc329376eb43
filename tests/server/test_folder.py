"""The data folder: nobody but its owner reads it, whoever made it and whatever the umask says."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from doubles import StartApp
from safelight.server import folder
from safelight.server.running import lock

OURS = {
    "files",
    "lock",
    "safelight.db",
    "safelight.db-shm",
    "safelight.db-wal",
    "scratch",
    "secret",
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def open_umask() -> Iterator[None]:
    """As if nobody had said how files are to be made."""
    before = os.umask(0)
    yield
    os.umask(before)


def modes(data: Path) -> dict[str, int]:
    """The permissions of the folder and of what lies in it."""
    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in data.iterdir()}
    return {".": stat.S_IMODE(data.stat().st_mode), **found}


def opened(data: Path) -> set[str]:
    """What anybody but the owner may do anything with."""
    return {name for name, mode in modes(data).items() if mode & 0o077}


@pytest.mark.usefixtures("open_umask")
async def test_what_is_made_is_its_owners(data: Path, start_app: StartApp) -> None:
    with lock(data):
        serving = await start_app()
        id = await serving.create()
        await serving.ended(id)

        assert modes(data).keys() == {".", *OURS}
        assert opened(data) == set()
        assert opened(data / "scratch") <= {".lock"}  # which nobody reaches


@pytest.mark.usefixtures("open_umask")
async def test_a_folder_that_was_there_before_is_closed_and_so_is_what_is_in_it(
    data: Path, start_app: StartApp
) -> None:
    for name in ("files", "scratch"):
        (data / name).mkdir(parents=True)
    for name in ("safelight.db", "safelight.db-wal", "secret", "lock"):
        (data / name).touch(0o666)
    (data / "secret").write_text("of an installation from before")

    with structlog.testing.capture_logs() as logs:
        await start_app()

    assert opened(data) == set()
    told = {Path(line["path"]).name for line in logs if line["event"] == "closed_to_others"}
    assert told >= {"data", "files", "scratch", "safelight.db", "secret", "lock"}


def test_a_folder_with_other_things_in_it_stays_as_it_is(data: Path) -> None:
    data.mkdir()
    data.chmod(0o755)
    (data / "holiday.jpg").touch()
    (data / "holiday.jpg").chmod(0o644)
    (data / "secret").touch()
    (data / "secret").chmod(0o640)

    with structlog.testing.capture_logs() as logs:
        folder.prepare(data)

    assert modes(data) == {".": 0o755, "holiday.jpg": 0o644, "secret": 0o600}
    assert [line["path"] for line in logs if line["event"] == "open_to_others"] == [str(data)]


def test_what_lies_behind_a_link_stays_as_it_is(data: Path, tmp_path: Path) -> None:
    folder.prepare(data)
    elsewhere = tmp_path / "large-disk"
    elsewhere.mkdir()
    elsewhere.chmod(0o755)
    (data / "files").symlink_to(elsewhere)

    with structlog.testing.capture_logs() as logs:
        folder.prepare(data)

    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o755
    assert [line["event"] for line in logs] == ["open_to_others"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_folder_of_another_user_stays_as_it_is(data: Path) -> None:
    data.mkdir()
    data.chmod(0o750)
    os.chown(data, 54321, 54321)

    with structlog.testing.capture_logs() as logs:
        folder.prepare(data)

    assert modes(data) == {".": 0o750}
    assert [(line["event"], line["mode"]) for line in logs] == [("open_to_others", "750")]


def test_what_is_closed_is_not_told_of(data: Path) -> None:
    folder.prepare(data)
    folder.database(data)

    with structlog.testing.capture_logs() as logs:
        folder.prepare(data)

    assert logs == []
