"""What the wires say of files that are given beforehand, where no case of tests/wires says it."""

from __future__ import annotations

from typing import Any

import pytest

from safelight.dialects import named
from safelight.errors import BadRequest, Malformed, MissingParameter, Unsupported
from safelight.task import Confirm, Locate, Upload, Uploaded
from safelight.wire import Context, Part, Request, Response, json_request, json_response, write_form

KIE, EARN = named("kie"), named("aitoearn")


def read(path: str, body: Any) -> Any:
    request = json_request("POST", path, body)
    match = KIE.match(request)
    return KIE.read_request(match.op, match.params, request)


def read_form(*parts: Part) -> Any:
    content_type, body = write_form(parts)
    headers = (("content-type", content_type),)
    request = Request(method="POST", path="/api/file-stream-upload", headers=headers, body=body)
    return KIE.read_request("upload.stream", {}, request)


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        ("/api/file-url-upload", {"uploadPath": "a"}, "fileUrl"),
        ("/api/file-url-upload", {"uploadPath": " ", "fileUrl": "http://a/"}, "uploadPath"),
        ("/api/file-base64-upload", {"uploadPath": "a", "base64Data": ""}, "base64Data"),
        ("/api/v1/common/download-url", {}, "url"),
    ],
)
def test_what_is_missing_is_named(path: str, body: Any, name: str) -> None:
    with pytest.raises(MissingParameter) as told:
        read(path, body)

    assert told.value.parameter == name


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        ("/api/file-url-upload", {"uploadPath": "a", "fileUrl": "ftp://a/"}, "fileUrl"),
        ("/api/file-base64-upload", {"uploadPath": "a", "base64Data": "data:,"}, "base64Data"),
        ("/api/file-base64-upload", {"uploadPath": "a", "base64Data": "Zm9"}, "base64Data"),
        ("/api/file-base64-upload", {"uploadPath": "a", "base64Data": "é"}, "base64Data"),
    ],
)
def test_what_is_wrong_is_named(path: str, body: Any, name: str) -> None:
    with pytest.raises(Malformed) as told:
        read(path, body)

    assert told.value.path == name


def test_a_file_in_a_form_has_its_own_name_where_no_other_is_said() -> None:
    folder = Part(name="uploadPath", data=b"a")

    assert read_form(folder, Part(name="file", data=b"x", filename="b.png")) == Upload(
        name="b.png", folder="a", data=b"x"
    )
    with pytest.raises(MissingParameter):
        read_form(folder, Part(name="file", data=b"", filename="b.png"))


def test_base64_of_many_pieces_is_read_whole() -> None:
    text = "QUJD" * 400_000 + "\n"
    asked = read("/api/file-base64-upload", {"uploadPath": "a", "base64Data": text})
    assert asked.data == b"ABC" * 400_000
    with pytest.raises(Malformed):  # padded in the middle
        bad = "QUI=" + "QUJD" * 300_000
        read("/api/file-base64-upload", {"uploadPath": "a", "base64Data": bad})


def test_a_wire_says_the_uploads_that_it_has() -> None:
    with pytest.raises(Unsupported):
        KIE.write_request(Upload(name="a", size=4))
    with pytest.raises(Unsupported):
        KIE.write_request(Confirm(id="1"))
    with pytest.raises(Unsupported):
        EARN.write_request(Upload(data=b"x"))
    with pytest.raises(Unsupported):
        EARN.write_request(Locate(url="https://a/"))
    assert KIE.write_request(Upload(data=b"x")).form()[-1].filename == "file"
    assert EARN.write_request(Upload(folder="x")).json() == {"filename": "file", "type": "x"}


def test_a_file_that_little_is_known_of_is_told() -> None:
    kept = Uploaded(id="a" * 24, url="https://a/b")
    request = Request(method="POST", path="/api/file-url-upload")
    data = KIE.write_reply("upload.url", kept, Context(request=request)).json()["data"]

    assert data == {
        "fileName": "a" * 24,
        "filePath": "a" * 24,
        "downloadUrl": "https://a/b",
        "fileUrl": "https://a/b",
    }


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"code": "x"}'])
def test_an_answer_that_is_none_is_told_by_its_status(body: bytes) -> None:
    asked = Upload(data=b"x")
    with pytest.raises(BadRequest):
        KIE.read_reply(asked, Response(status=400, body=body))
    with pytest.raises(Malformed):
        KIE.read_reply(asked, Response(status=200, body=body))
    with pytest.raises(Malformed):
        KIE.read_reply(asked, json_response({"code": 200, "data": {}}))


@pytest.mark.parametrize("body", [{}, {"filename": ""}, {"filename": "a", "size": 0}])
def test_an_announcement_says_a_name_and_a_size(body: Any) -> None:
    request = json_request("POST", "/api/assets/uploadSign", body)
    with pytest.raises(Malformed):
        EARN.read_request("assets.sign", {}, request)
