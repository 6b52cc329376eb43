"""The names of blobs: which files of tasks and uploads lie where.

The rule for whoever edits it: what was kept under an older name has its name in the database, but a
folder is made of the id alone, and is how everything of a task is removed.
"""

from __future__ import annotations

from safelight.media_types import suffix_of

TASKS = "tasks/"  # where the folders of all tasks are
UPLOADS = "uploads/"  # where those of all uploads are


def task_folder(id: str) -> str:
    """Where the blobs of a task are: the beginning of all their names."""
    return f"{TASKS}{id}/"


def source(task_id: str, number: int) -> str:
    """A source that came with its request."""
    return f"{task_folder(task_id)}source-{number}"


def result(task_id: str, attempt: int, number: int, media_type: str | None) -> str:
    """A file that a run has made: one that lost its task overwrites nothing of the next one's."""
    return f"{task_folder(task_id)}{attempt}-{number}{suffix_of(media_type)}"


def preview(task_id: str) -> str:
    """A picture of how far a task is."""
    return f"{task_folder(task_id)}preview.jpg"


def upload_folder(id: str) -> str:
    """Where the blobs of an upload are: the beginning of their names."""
    return f"{UPLOADS}{id}/"


def upload_place(id: str, drawn: bytes) -> str:
    """A folder in that of an upload: of several files that are put at once each has its own."""
    return f"{upload_folder(id)}{drawn.hex()}/"


def uploaded(place: str) -> str:
    """The file of an upload, in its place."""
    return f"{place}file"
