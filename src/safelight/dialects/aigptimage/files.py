"""What the jobs wire says beside tasks: uploads, addresses to download from, and credits.

kie documents all of it, on two hosts [K]; it is served for all relatives, for their clients take
sources by address alone. The marks of where facts come from are those of
`safelight.dialects.aigptimage.dialect`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from safelight.errors import (
    Fault,
    Malformed,
    MissingParameter,
    Unauthenticated,
    UnknownOperation,
    Unsupported,
)
from safelight.task import Balance, Command, Credits, Locate, Located, Upload, Uploaded
from safelight.wire import (
    ANYTHING,
    INTEGER,
    TEXT,
    Part,
    Reading,
    Request,
    Response,
    Route,
    fault_of_status,
    json_request,
    json_response,
    read_base64,
    retry_after_header,
    write_form,
)

STREAM, BASE64, URL = "upload.stream", "upload.base64", "upload.url"
CREDIT, CREDITS, LOCATE = "credit", "credits", "download-url"
ROUTES = (
    Route(CREDIT, "GET", "/api/v1/chat/credit"),
    Route(CREDITS, "GET", "/api/v1/user/credits"),  # an older name, which one client tries [client]
    Route(LOCATE, "POST", "/api/v1/common/download-url"),
    Route(STREAM, "POST", "/api/file-stream-upload", files=True),
    Route(BASE64, "POST", "/api/file-base64-upload", files=True),
    Route(URL, "POST", "/api/file-url-upload"),
)
PREFIXES = tuple(route.path for route in ROUTES if route.op.startswith("upload."))
OPS = frozenset(route.op for route in ROUTES)
PATHS = {route.op: route.path for route in ROUTES}

# The wire has a number for the credits that are left, and clients submit nothing where it is small.
UNCOUNTED = 1_000_000
_FOLDER = "safelight"  # where what we upload is to be: the wire wants a name

# ----------------------------------------------------------------------------------------- request


def read_command(op: str, request: Request) -> Command:
    """What one of these operations asks for. Raises `Malformed`, or a `Fault`."""
    if op in (CREDIT, CREDITS):
        return Balance()
    if op == LOCATE:
        return Locate(url=_required(Reading(request.json()), "url"))
    if op == STREAM:
        return _read_form(request)
    asked = Reading(request.json())
    if op == URL:
        url = _required(asked, "fileUrl")
        if not url.lower().startswith(("http://", "https://")):
            raise Malformed("fileUrl", "not an http(s) address")
        return Upload(url=url, **_read_words(asked))
    return Upload(data=_read_base64(_required(asked, "base64Data")), **_read_words(asked))


def _read_form(request: Request) -> Upload:
    parts = {part.name: part for part in request.form()}
    words = {name: part.text for name, part in parts.items() if name != "file"}
    if "file" not in parts or not parts["file"].data:
        raise _missing("file")
    said = _read_words(Reading(words))
    said["name"] = said["name"] or parts["file"].filename or None
    return Upload(data=parts["file"].data, **said)


def _read_words(asked: Reading) -> dict[str, Any]:
    return {
        "folder": _required(asked, "uploadPath"),
        "name": asked.text("fileName", "").strip() or None,
    }


def _read_base64(text: str) -> bytes:
    """The bytes in plain base64, or in a data URL of it [K]."""
    head, comma, _ = text[:256].partition(",")
    data: bytes = read_base64(text, "base64Data", len(head) + 1 if comma else 0)
    if not data:
        raise Malformed("base64Data", "an empty file")
    return data


def _required(asked: Reading, name: str) -> str:
    text: str = asked.text(name, "").strip()
    if not text:
        raise _missing(name)
    return text


def _missing(name: str) -> MissingParameter:
    return MissingParameter(f"Missing required parameter: {name}", parameter=name)


def write_command(command: Upload | Locate | Balance) -> Request:
    """The request that asks for `command`. Raises `Unsupported`."""
    match command:
        case Upload(data=None, url=None):
            raise Unsupported("This wire takes a file with its upload, or from an address")
        case Upload(data=None):
            body = {"fileUrl": command.url, **_write_words(command)}
            return json_request("POST", PATHS[URL], body)
        case Upload():
            words = _write_words(command)
            parts = [Part(name=name, data=word.encode()) for name, word in words.items()]
            file = Part(name="file", data=command.data or b"", filename=command.name or "file")
            content_type, form = write_form([*parts, file])
            headers = (("content-type", content_type),)
            return Request(method="POST", path=PATHS[STREAM], headers=headers, body=form)
        case Locate():
            return json_request("POST", PATHS[LOCATE], {"url": command.url})
        case _:
            return Request(method="GET", path=PATHS[CREDIT])


def _write_words(upload: Upload) -> dict[str, str]:
    words = {"uploadPath": upload.folder or _FOLDER}
    return words | ({"fileName": upload.name} if upload.name else {})


# ------------------------------------------------------------------------------------------- reply


def write_reply(reply: Uploaded | Located | Credits) -> Response:
    """The answer that says `reply`."""
    body: dict[str, Any] = {"code": 200, "msg": "success"}
    match reply:
        case Uploaded():
            body = {"success": True, **body, "data": _file_data(reply)}
        case Located():
            body["data"] = reply.url
        case _:
            body["data"] = UNCOUNTED if reply.left is None else reply.left
    return json_response(body, headers=(("cache-control", "no-store"),))


def _file_data(kept: Uploaded) -> dict[str, Any]:
    name = kept.name or kept.id
    data = {
        "fileName": name,
        "filePath": f"{kept.folder.strip('/')}/{name}" if kept.folder else name,
        "downloadUrl": kept.url,
        "fileUrl": kept.url,  # which some clients read instead [client]
        "fileSize": kept.size,
        "mimeType": kept.media_type,
        "uploadedAt": None if kept.created is None else _write_time(kept.created),
        "expiresAt": None if kept.expires is None else _write_time(kept.expires),  # ours
    }
    return {name: value for name, value in data.items() if value is not None}


def _write_time(millis: int) -> str:
    return f"{datetime.fromtimestamp(millis // 1000, UTC).isoformat()[:-6]}.{millis % 1000:03}Z"


def read_data(command: Locate | Balance, envelope: Reading) -> Located | Credits:
    """What the answer to `command` has for data. Raises `Malformed`."""
    if isinstance(command, Balance):
        return Credits(left=envelope.number("data"))
    data = envelope.value("data", ANYTHING)
    if isinstance(data, dict):  # some relatives have an object here [client]
        return Located(url=Reading(data, "data").text("url"))
    return Located(url=TEXT.read(data, "data"))


def read_upload(command: Upload, response: Response) -> Uploaded:
    """The file that was uploaded. Raises `Malformed`, or the `Fault` that the answer tells."""
    return _read_file(_open(response), command)


def _read_file(data: Reading, command: Upload) -> Uploaded:
    name = "downloadUrl" if data.has("downloadUrl") else "fileUrl"
    url: str = data.text(name)
    return Uploaded(
        id=url.rpartition("/")[2],
        name=data.echo("fileName", TEXT, command.name),
        folder=command.folder,
        url=url,
        media_type=data.echo("mimeType", TEXT),
        size=data.echo("fileSize", INTEGER),
    )


def _open(response: Response) -> Reading:
    """The data of a good answer. Raises the `Fault` that a bad one tells."""
    try:
        envelope = Reading(response.json(), text=True)
        code = envelope.integer("code", response.status)
        message = envelope.echo("msg", TEXT) or envelope.echo("message", TEXT, "")
    except Malformed:
        if response.status >= 400:
            raise fault_of_status(response.status, "", response) from None
        raise
    if response.status >= 400 or code != 200 or envelope.echo("success", ANYTHING, True) is False:
        worse = code if code != 200 else response.status
        raise fault_of_status(worse if worse >= 400 else 400, message, response)
    return envelope.object("data")


# ------------------------------------------------------------------------------------------- fault


def write_fault(op: str | None, fault: Fault) -> Response | None:
    """The answer that tells `fault` of an upload; None where it is told as all the others are.

    Uploads tell it by HTTP as well [K].
    """
    if op is None or not op.startswith("upload.") or isinstance(fault, UnknownOperation):
        return None
    message = fault.message
    if isinstance(fault, Unauthenticated):
        message = "Authentication failed: Invalid API Key"
    return json_response(
        {"success": False, "code": fault.status, "msg": message},
        fault.status,
        headers=retry_after_header(fault),
    )
