"""What links of ours lead to: the file of a task, or one that was uploaded."""

from __future__ import annotations

from typing import NamedTuple

from safelight import blob_names
from safelight.links import Target
from safelight.store import Store, scripts
from safelight.task import Artifact, Source, Task


class Linked(NamedTuple):
    """A file that a link leads to. `owner` is the id of a key; `size`, in bytes, may be unknown."""

    blob: str
    media_type: str | None
    owner: str
    size: int | None = None
    etag: str | None = None


async def find_linked(
    store: Store, target: Target, oldest: int = 0, oldest_upload: int = 0
) -> Linked | None:
    """What `target` leads to; None where it is not there, or not any more.

    That is so of tasks that ended at `oldest` or before, and of uploads made at `oldest_upload` or
    before.
    """
    if target.what == "u":
        return await _find_upload(store, target.id, oldest_upload)
    task = await store.read(scripts.get_any(target.id, oldest))
    if task is None or target.what not in ("a", "s", "v"):
        return None
    if target.what == "v":
        return find_preview(task)
    files: tuple[Artifact | Source, ...] = (
        task.artifacts if target.what == "a" else task.submit.sources
    )
    if target.number >= len(files) or files[target.number].blob is None:
        return None
    file = files[target.number]
    own = file if isinstance(file, Artifact) else Artifact()
    return Linked(str(file.blob), file.media_type, task.owner, own.size, own.etag)


def find_preview(task: Task) -> Linked | None:
    """The last picture of how far a task is; None where it is at its end, or there was none."""
    if task.ended or not task.previews:
        return None
    tag = f"{task.id}-{task.previews}"
    return Linked(blob_names.preview(task.id), "image/jpeg", task.owner, etag=tag)


async def _find_upload(store: Store, id: str, oldest: int) -> Linked | None:
    row = await store.read(scripts.get_upload(id))
    if row is None or row.blob is None or row.created <= oldest:
        return None
    return Linked(row.blob, row.media_type, row.owner, row.size)
