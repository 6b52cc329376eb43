"""Keeping what an engine has made, and removing what nobody needs.

The rule for whoever edits it: nothing is written any more once a run has ended, for its task may be
gone by then.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import Coroutine
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from safelight import blob_names
from safelight.blobs import BlobError, Blobs
from safelight.engines import File
from safelight.store import Store, StoreClosed, StoreUnavailable, scripts
from safelight.task import Artifact, Task
from safelight.worker.patience import Patience

_SMALL = 64 * 1024  # bytes of files that are read on the loop: to hand them over would cost more


class Keeper:
    """Keeps the files of tasks, with as much patience as their worker has."""

    def __init__(self, store: Store, blobs: Blobs, patience: Patience) -> None:
        self._store = store
        self._blobs = blobs
        self._patience = patience

    async def keep(self, task: Task, files: list[File]) -> tuple[Artifact, ...]:
        """Keep files of `task`, in their order. Raises `BlobError`, `OSError`."""
        return tuple([await self._keep(task, number, file) for number, file in enumerate(files)])

    async def _keep(self, task: Task, number: int, file: File) -> Artifact:
        blob = blob_names.result(task.id, task.attempt, number, file.media_type)
        if file.path.stat().st_size <= _SMALL:
            size, digest = _measure(file.path)
        else:
            size, digest = await asyncio.to_thread(_measure, file.path)
        take = partial(self._blobs.take, blob, file.path, file.media_type)
        await self._patience.insist(lambda: _whole(take()), (BlobError, OSError))
        return Artifact(
            blob=blob,
            media_type=file.media_type,
            size=size,
            etag=digest,
            width=file.width,
            height=file.height,
            duration=file.duration,
        )

    async def keep_preview(self, task: Task, path: Path) -> bool:
        """Keep a picture of how far the task is; it is no artifact, and may be lost: then False."""
        with suppress(BlobError, OSError):
            await _whole(self._blobs.put(blob_names.preview(task.id), path, "image/jpeg"))
            return True
        return False

    async def forget(self, task: Task) -> None:
        """Remove the files that a run has kept of a task that was deleted meanwhile."""
        with suppress(StoreUnavailable, StoreClosed, BlobError):  # housekeeping sees to it
            if await self._store.read(scripts.get_any(task.id)) is None:
                await self._blobs.remove(blob_names.task_folder(task.id))


async def _whole(writing: Coroutine[Any, Any, None]) -> None:
    """See something written, also where who waits is cancelled, and then cancelled."""
    written = asyncio.ensure_future(writing)
    try:
        await asyncio.shield(written)
    except asyncio.CancelledError:
        await asyncio.wait([written])
        raise


async def remove_folder(folder: Path) -> None:
    """Remove the folder of a run, with all that is in it."""
    # In a thread though it is empty as a rule: a disk that writes what others have kept makes
    # whoever removes a folder wait for that.
    await asyncio.to_thread(_remove, folder)


def _remove(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:  # there is something in it, or it was never made
        shutil.rmtree(folder, ignore_errors=True)


def _measure(path: Path) -> tuple[int, str]:
    """The size of a file in bytes, and a digest of its content for its ETag."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:32]
    return path.stat().st_size, digest
