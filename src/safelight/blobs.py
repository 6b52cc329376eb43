"""Files, through obstore: a local folder here, S3 and its kin elsewhere.

A blob is written once, under a name that no other attempt uses, and is complete when `put`
returns: on disk, for a folder.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore


class Blobs:
    """A store of files by name. `folder` is the local folder, None where it is not one."""

    def __init__(self, store: ObjectStore, folder: Path | None = None) -> None:
        self._store = store
        self._folder = folder

    @classmethod
    def local(cls, folder: Path) -> Blobs:
        """Files in a folder, which is made if need be."""
        folder.mkdir(parents=True, exist_ok=True)
        return cls(LocalStore(folder, automatic_cleanup=True), folder)

    async def put(self, name: str, data: bytes | Path) -> None:
        """Keep `data` (bytes, or the file at a path) under `name`."""
        await obstore.put_async(self._store, name, data)
        if self._folder is not None:
            # obstore's folder writes and renames, but leaves the data to the page cache.
            await asyncio.to_thread(_sync, self._folder / name, self._folder)

    async def get(self, name: str) -> bytes:
        """The whole of a blob. Raises `FileNotFoundError`."""
        result = await obstore.get_async(self._store, name)
        return bytes(await result.bytes_async())

    async def save(self, name: str, path: Path) -> None:
        """Copy a blob to a file. Raises `FileNotFoundError`."""
        result = await obstore.get_async(self._store, name)
        with path.open("wb") as file:
            async for chunk in result.stream(min_chunk_size=2**20):
                file.write(chunk)

    async def open(self, name: str, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes of a blob from `start` up to, not including, `end`, in chunks.

        Raises `FileNotFoundError`, at once and not when the first chunk is asked for.
        """
        result = await obstore.get_async(self._store, name, options={"range": (start, end)})
        return _chunks(result)

    async def size(self, name: str) -> int:
        """The size of a blob in bytes. Raises `FileNotFoundError`."""
        return (await obstore.head_async(self._store, name))["size"]

    async def remove(self, prefix: str) -> None:
        """Remove every blob whose name begins with `prefix`, which ends in a slash."""
        while True:
            try:
                async for found in obstore.list(self._store, prefix=prefix):
                    await obstore.delete_async(self._store, [item["path"] for item in found])
                return
            except FileNotFoundError:  # somebody else removes them too: see what is left
                await asyncio.sleep(0)

    async def folders(self, prefix: str) -> list[str]:
        """The names of the folders in the one that `prefix` names, which ends in a slash."""
        found = await obstore.list_with_delimiter_async(self._store, prefix=prefix)
        return [name.rstrip("/").rpartition("/")[2] for name in found["common_prefixes"]]

    async def check(self) -> None:
        """Raise where the store does not answer."""
        async for _ in obstore.list(self._store, prefix="no/such/task"):
            pass


BlobError = BaseError


async def _chunks(result: obstore.GetResult) -> AsyncIterator[bytes]:
    async for chunk in result.stream(min_chunk_size=2**18):
        yield bytes(chunk)


def _sync(path: Path, root: Path) -> None:
    """Bring a file to the disk, and every folder from `root` to it, which may be new."""
    above = path.relative_to(root).parents
    for place in (path, *(root / folder for folder in above)):
        try:
            descriptor = os.open(place, os.O_RDONLY)
        except FileNotFoundError:  # removed already, with its task
            continue
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
