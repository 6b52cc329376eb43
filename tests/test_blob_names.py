"""The names of blobs: they are on disks and in buckets, so none may change."""

from __future__ import annotations

from safelight import blob_names
from safelight.task import new_id

ID = new_id(1, b"abcdef")


def test_the_names_are_those_that_are_kept() -> None:
    assert blob_names.task_folder("1") == "tasks/1/"
    assert blob_names.source("1", 2) == "tasks/1/source-2"
    assert blob_names.result("1", 3, 4, "image/png") == "tasks/1/3-4.png"
    assert blob_names.preview("1") == "tasks/1/preview.jpg"
    assert blob_names.upload_folder("1") == "uploads/1/"
    place = blob_names.upload_place("1", bytes(8))
    assert blob_names.uploaded(place) == "uploads/1/0000000000000000/file"


def test_what_belongs_to_one_begins_alike() -> None:
    names = (
        blob_names.source(ID, 0),
        blob_names.result(ID, 1, 0, "video/mp4"),
        blob_names.preview(ID),
    )
    upload = blob_names.uploaded(blob_names.upload_place(ID, b"drawn"))

    assert all(name.startswith(blob_names.task_folder(ID)) for name in names)
    assert len(set(names)) == len(names)
    assert blob_names.task_folder(ID).startswith(blob_names.TASKS)
    assert upload.startswith(blob_names.upload_folder(ID))
    assert blob_names.upload_folder(ID).startswith(blob_names.UPLOADS)
