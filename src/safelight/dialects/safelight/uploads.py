"""Files that are sent to be named as sources, in both directions."""

from __future__ import annotations

from safelight.dialects.safelight.queries import Query
from safelight.errors import Malformed
from safelight.task import Upload
from safelight.wire import Part, Request, write_form


def read_upload_request(request: Request) -> Upload:
    """A file that is sent: as the body, or as the part `file` of a form. Raises `Malformed`."""
    media_type = (request.header("content-type") or "").partition(";")[0].strip().lower()
    if media_type != "multipart/form-data":
        query = Query.of(request)
        name, folder = query.text("name"), query.text("folder")
        query.end()
        return Upload(name=name, folder=folder, data=_not_empty(request.body, ""))
    parts = {part.name: part for part in request.form()}
    file, folder_part = parts.pop("file", None), parts.pop("folder", None)
    if file is None:
        raise Malformed("file", "required", "missing")
    if parts:
        raise Malformed(next(iter(parts)), "there is no such parameter", "unknown")
    return Upload(
        name=file.filename or None,
        folder=folder_part.text if folder_part is not None else None,
        data=_not_empty(file.data, "file"),
    )


def _not_empty(data: bytes, path: str) -> bytes:
    if not data:
        raise Malformed(path, "an empty file", "missing")
    return data


def write_upload(upload: Upload, path: str) -> Request:
    """The request that sends a file."""
    parts = [Part(name="file", data=upload.data or b"", filename=upload.name or "")]
    if upload.folder is not None:
        parts.append(Part(name="folder", data=upload.folder.encode()))
    content_type, body = write_form(parts)
    headers = (("content-type", content_type),)
    return Request(method="POST", path=path, headers=headers, body=body)
