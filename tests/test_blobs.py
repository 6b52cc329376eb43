"""Files by name, in a local folder."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from safelight.blobs import Blobs

NAME = "tasks/abc/1-0.png"


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs.local(tmp_path / "files")


async def read(blobs: Blobs, name: str, start: int, end: int) -> bytes:
    return b"".join([chunk async for chunk in await blobs.open(name, start, end)])


async def test_bytes_are_read_back(blobs: Blobs) -> None:
    await blobs.put(NAME, b"0123456789")

    assert await blobs.get(NAME) == b"0123456789"
    assert await blobs.size(NAME) == 10
    assert await read(blobs, NAME, 0, 10) == b"0123456789"
    assert await read(blobs, NAME, 3, 5) == b"34"


async def test_a_file_is_kept_and_copied_out(blobs: Blobs, tmp_path: Path) -> None:
    large = os.urandom(3_000_000)
    (tmp_path / "in").write_bytes(large)

    await blobs.put(NAME, tmp_path / "in")
    await blobs.save(NAME, tmp_path / "out")

    assert (tmp_path / "out").read_bytes() == large
    assert await read(blobs, NAME, 1_000_000, 2_500_000) == large[1_000_000:2_500_000]


async def test_a_blob_that_is_not_there_is_told_at_once(blobs: Blobs, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await blobs.get(NAME)
    with pytest.raises(FileNotFoundError):
        await blobs.size(NAME)
    with pytest.raises(FileNotFoundError):
        await blobs.save(NAME, tmp_path / "out")
    with pytest.raises(FileNotFoundError):
        await blobs.open(NAME, 0, 1)
    assert not (tmp_path / "out").exists()


async def test_remove_takes_what_begins_with_the_prefix(blobs: Blobs, tmp_path: Path) -> None:
    names = [f"tasks/abc/{n}" for n in range(120)]
    await asyncio.gather(*(blobs.put(name, b"x") for name in (*names, "tasks/abcd/0")))

    await blobs.remove("tasks/abc/")
    await blobs.remove("tasks/abc/")  # nothing is left: nothing happens

    assert await blobs.size("tasks/abcd/0") == 1
    assert not (tmp_path / "files" / "tasks" / "abc").exists()


async def test_two_may_remove_the_same_at_once(blobs: Blobs) -> None:
    for n in range(30):
        await blobs.put(f"tasks/abc/{n}", b"x")

    await asyncio.gather(*(blobs.remove("tasks/abc/") for _ in range(4)))

    with pytest.raises(FileNotFoundError):
        await blobs.size("tasks/abc/0")


async def test_files_are_owned_by_the_folder(blobs: Blobs, tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"\.\."):
        await blobs.put("../outside", b"x")

    assert not (tmp_path / "outside").exists()


async def test_nothing_half_written_is_seen(blobs: Blobs, tmp_path: Path) -> None:
    await blobs.put(NAME, b"x")

    assert [path.name for path in (tmp_path / "files").rglob("*") if path.is_file()] == ["1-0.png"]


async def test_a_store_that_answers_passes_the_check(blobs: Blobs) -> None:
    await blobs.check()


async def test_any_store_of_obstores_will_do() -> None:
    blobs = Blobs(MemoryStore())
    await blobs.put(NAME, b"0123456789")

    assert await read(blobs, NAME, 2, 4) == b"23"
    await blobs.remove("tasks/abc/")
    with pytest.raises(FileNotFoundError):
        await blobs.open(NAME, 0, 1)
