"""AiToEarn: what its wire cases do not say; the cases themselves run in `test_wires`."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterable, Mapping
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.dialects.aitoearn import bodies
from safelight.dialects.aitoearn import dialect as aitoearn
from safelight.errors import (
    BadRequest,
    Conflict,
    Fault,
    Internal,
    InvalidValue,
    Malformed,
    NotFound,
    RateLimited,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnknownModel,
    UnknownOperation,
    Unsupported,
)
from safelight.task import (
    Artifact,
    Cancel,
    Catalogue,
    Command,
    Delete,
    Deleted,
    Failure,
    FailureCode,
    Fetch,
    Kind,
    List,
    ModelCard,
    Models,
    Operation,
    Page,
    Role,
    Source,
    Status,
    Submit,
    Task,
)
from safelight.wire import Context, Key, Reading, Request, Response, json_request, json_response

WIRE = aitoearn.AiToEarn()
ID = "68dd2c4e9f1b7a0012345678"
CREATED = 1782993600000  # 2026-07-02 12:00:00 UTC
DONE = CREATED + 42_500
PICTURE = Source(url="https://files.example/room.png")

DATE = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"}
# The schema TaskStatusResponseVo of the published page.
TASK_STATUS = {
    "type": "object",
    "properties": {
        "logId": {"type": "string"},
        "status": {"enum": ["generating", "success", "failed"]},
        "startedAt": DATE,
        "duration": {"type": "number"},
        "points": {"type": "number"},
        "request": {"type": "object"},
        "response": {"type": "object"},
        "images": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {n: {"type": "string"} for n in ("url", "b64_json")},
                "additionalProperties": False,
            },
        },
        "errorMessage": {"type": "string"},
        "createdAt": DATE,
        "updatedAt": DATE,
    },
    "required": ["logId", "status", "startedAt", "points", "request", "createdAt", "updatedAt"],
    "additionalProperties": False,
}
ENVELOPE = ["data", "code", "message", "requestId"]
FAULT_ENVELOPE = ["data", "code", "message", "timestamp", "requestId"]


def context(path: str = "/", **headers: str) -> Context:
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    request = Request(method="GET", path=path, headers=named)
    return Context(request=request, request_id="a-request", now=DONE)


def read(op: str, body: Mapping[str, Any]) -> Any:
    return WIRE.read_request(op, {}, json_request("POST", "/", body))


def generate(**more: Any) -> Any:
    return read("image.generate", {"model": "m", "prompt": "A lamp", **more})


def edit(**more: Any) -> Any:
    return read("image.edit", {"model": "m", "prompt": "A lamp", **more})


def film(**more: Any) -> Any:
    return read("video.create", {"model": "m", "prompt": "A lamp", **more})


def data_of(op: str, task: Task) -> Any:
    return WIRE.write_reply(op, task, context()).json()["data"]


def body_of(submit: Submit) -> Any:
    return WIRE.write_request(submit).json()


def answer(data: Any) -> Response:
    return json_response({"data": data, "code": 0, "message": "请求成功"})


def fetched(kind: Kind = Kind.IMAGE, **data: Any) -> Any:
    return WIRE.read_reply(Fetch(id=ID, kind=kind), answer(data))


def heard(code: Any, message: str = "why", status: int = 200, **headers: str) -> Fault:
    body = {"data": {}, "code": code, "message": message}
    named = [(name.replace("_", "-"), value) for name, value in headers.items()]
    with pytest.raises(Fault) as told:
        WIRE.read_reply(Fetch(id=ID), json_response(body, status, headers=named))
    return told.value


def told(fault: Fault, op: str | None = None, **headers: str) -> Any:
    return WIRE.write_fault(op, fault, context("/api/ai/x", **headers)).json()


# ---------------------------------------------------------------------------------------- routes


@pytest.mark.parametrize(
    ("method", "path", "op", "open"),
    [
        ("GET", f"/api/ai/image/task/{ID}", "image.task", False),
        ("GET", f"/api/ai/video/generations/{ID}", "video.task", False),
        ("GET", "/api/ai/video/generations", "video.list", False),
        ("POST", "/api/ai/video/generations", "video.create", False),
        ("GET", "/api/ai/models/video/generation", "models.video.generation", True),
    ],
)
def test_routes(method: str, path: str, op: str, open: bool) -> None:
    match = WIRE.match(Request(method=method, path=path))

    assert (match.op, match.open) == (op, open)


@pytest.mark.parametrize("id", [ID, ID.upper(), f"2600-WorkflowTask-{ID}", f"task_{ID}"])
def test_an_id_is_read_in_every_decoration(id: str) -> None:
    read = WIRE.read_request("image.task", {"logId": id}, Request(method="GET", path="/"))

    assert read == Fetch(id=ID, kind=Kind.IMAGE)


@pytest.mark.parametrize("id", ["", "twelve-bytes", ID[1:], ID + "0", f" {ID}", "g" * 24])
def test_a_malformed_id_is_not_an_unknown_one(id: str) -> None:
    with pytest.raises(Malformed, match="taskId"):
        WIRE.read_request("video.task", {"taskId": id}, Request(method="GET", path="/"))


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("", List(kind=Kind.VIDEO, limit=10)),
        ("page=3&pageSize=1000", List(kind=Kind.VIDEO, limit=1000, offset=2000)),
    ],
)
def test_a_list_goes_by_pages(query: str, asked: List) -> None:
    request = Request(method="GET", path="/", query=query)

    assert WIRE.read_request("video.list", {}, request) == asked


@pytest.mark.parametrize("query", ["page=0", "page=x", "pageSize=0", "pageSize=1001", "page=1e3"])
def test_a_page_that_there_cannot_be(query: str) -> None:
    with pytest.raises(Malformed, match="page"):
        WIRE.read_request("logs", {}, Request(method="GET", path="/", query=query))


# --------------------------------------------------------------------------------- what is asked


@pytest.mark.parametrize(
    "body",
    [
        {"model": None},
        {"model": 1},
        {"prompt": None},
        {"prompt": ""},
        {"prompt": "💡" * 2001},
        {"n": "2"},
        {"n": 0},
        {"n": 11},
        {"n": 1.5},
        {"n": True},
        {"quality": 1},
        {"size": "vast"},
        {"size": 1024},
        {"style": []},
        {"user": {}},
        {"response_format": "png"},
    ],
)
def test_a_picture_that_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(Malformed, match=next(iter(body))):
        generate(**body)


def test_length_is_counted_as_javascript_counts() -> None:
    assert generate(prompt="💡" * 2000).prompt == "💡" * 2000


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b"null"])
def test_a_body_that_is_no_object(body: bytes) -> None:
    with pytest.raises(Malformed):
        WIRE.read_request("image.generate", {}, Request(method="POST", path="/", body=body))


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"image": None},
        {"image": []},
        {"image": "   "},
        {"image": 1},
        {"image": ["https://files.example/a.png", 1]},
        {"image": "files/a.png"},
        {"image": "data:image/png,plain"},
        {"image": "data:image/png;base64"},
        {"image": "data:image/png;base64,@@@"},
        {"image": "data:image/png;base64,é"},
        {"image": "data:image/png;base64,AAA"},
        {"image": "data:image/png;base64,"},
    ],
)
def test_an_edit_without_a_picture_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(Malformed, match="image"):
        edit(**body)


def test_an_edit_makes_one_picture() -> None:
    with pytest.raises(Malformed, match="n: must be"):
        edit(image=PICTURE.url, n=2)


def test_an_edit_has_no_style_or_quality() -> None:
    assert edit(image=PICTURE.url, style="vivid", quality="high").extra == {}
    assert edit(image=PICTURE.url, quality="high").quality is None


def test_a_data_uri_is_a_source_with_its_bytes() -> None:
    asked = edit(image="DATA:image/jpeg;name=a.jpg;base64,/9j/\n 4AAQ")

    assert asked.sources == (Source(data=b"\xff\xd8\xff\xe0\x00\x10", media_type="image/jpeg"),)
    assert edit(image="data:;base64,AAAA").sources == (Source(data=b"\0\0\0"),)


@pytest.mark.parametrize(
    "body",
    [
        {"model": ""},
        {"duration": "5"},
        {"duration": 0},
        {"duration": -1},
        {"seed": 1.5},
        {"watermark": "yes"},
        {"metadata": []},
        {"tools": {}},
        {"tools": [{"type": "calculator"}]},
        {"tools": ["web_search"]},
        {"images": "https://files.example/a.png"},
        {"image_tail": ["https://files.example/a.png"]},
        {"video_url": 1},
        {"ratio": "wide"},
        {"resolution": "sharp"},
        {"metadata": {"aspectRatio": "wide"}},
    ],
)
def test_a_film_that_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(Malformed, match=next(iter(body))):
        film(**body)


def test_resolution_wins_over_size_and_ratio_over_metadata() -> None:
    asked = film(
        resolution="1080P", size="720p", ratio="adaptive", metadata={"aspectRatio": "1:1", "x": 1}
    )

    assert (asked.resolution, asked.ratio) == ("1080p", "auto")
    assert film(resolution=" ", size="1280x720", ratio="", metadata={"aspectRatio": 1}) == Submit(
        kind=Kind.VIDEO,
        model="m",
        prompt="A lamp",
        width=1280,
        height=720,
        extra={"aitoearn": {"resolution": " ", "ratio": "", "metadata": {"aspectRatio": 1}}},
    )


def test_one_image_is_the_first_frame_and_several_are_references() -> None:
    one, two = "https://files.example/1.png", "https://files.example/2.png"

    assert [s.role for s in film(image=one).sources] == [Role.FIRST_FRAME]
    assert [s.role for s in film(image=[one]).sources] == [Role.FIRST_FRAME]
    assert [s.role for s in film(image=[one, two]).sources] == [Role.IMAGE, Role.IMAGE]
    assert film(image_tail="").sources == ()


# ------------------------------------------------------------------------------- what we cannot ask


@pytest.mark.parametrize(
    ("command", "match"),
    [
        (Cancel(id=ID), "cancel"),
        (Delete(ids=(ID,)), "delete"),
        (Models(), "one kind"),
        (List(kind=Kind.IMAGE), "narrower"),
        (List(kind=Kind.VIDEO, since=1), "narrower"),
        (List(statuses=frozenset({Status.FAILED})), "narrower"),
        (List(limit=10, offset=5), "whole pages"),
        (Submit(seed=7), "seed"),
        (Submit(negative="fog"), "negative"),
        (Submit(format="png"), "format"),
        (Submit(duration=5), "duration"),
        (Submit(operations=(Operation(name="denoise"),)), "operations"),
        (Submit(extra={"aitoearn": {"mode": "text2video"}}), "mode"),
        (Submit(sources=(PICTURE,), quality="high"), "quality"),
        (Submit(sources=(PICTURE,), count=2), "count"),
        (Submit(sources=(Source(role=Role.VIDEO, url="https://files.example/a"),)), "video"),
        (Submit(sources=(PICTURE, *[Source(role=Role.MASK, data=b"1")] * 2)), "mask"),
        (Submit(sources=(Source(blob="ab"),)), "addresses"),
        (Submit(kind=Kind.VIDEO, count=2), "count"),
        (Submit(kind=Kind.VIDEO, fps=24), "fps"),
        (Submit(kind=Kind.VIDEO, audio=False), "audio"),
        (Submit(kind=Kind.VIDEO, sources=(Source(role=Role.MASK, data=b"1"),)), "mask"),
    ],
)
def test_what_the_wire_has_no_words_for(command: Command, match: str) -> None:
    with pytest.raises(Unsupported, match=match):
        WIRE.write_request(command)


def test_a_command_without_words_has_no_answer_either() -> None:
    with pytest.raises(Unsupported):
        WIRE.read_reply(Cancel(id=ID), answer({}))


@pytest.mark.parametrize(
    ("submit", "size"),
    [
        (Submit(ratio="auto"), "auto"),
        (Submit(resolution="2K"), "2048x2048"),
        (Submit(ratio="1:1", resolution="1K"), "1024x1024"),
        (Submit(width=640, height=480, ratio="4:3"), None),
    ],
)
def test_a_size_is_asked_for_in_pixels(submit: Submit, size: str | None) -> None:
    written = body_of(submit)["size"]

    assert size is None or written == size
    assert generate(size=written)


def test_data_is_sent_as_a_data_uri_of_the_likely_type() -> None:
    png, jpeg, webp = b"\x89PNG\r\n", b"\xff\xd8\xff\xe0", b"RIFF1234WEBP"
    pictures = tuple(Source(data=data) for data in (png, jpeg, webp, b"?"))
    film = Submit(kind=Kind.VIDEO, sources=(Source(role=Role.VIDEO, data=b"\0\0\0 ftyp"),))

    kinds = [uri.partition(";")[0] for uri in body_of(Submit(sources=pictures))["image"]]
    assert kinds == ["data:image/png", "data:image/jpeg", "data:image/webp", "data:image/png"]
    assert body_of(film)["videos"][0].startswith("data:video/mp4;base64,")


@pytest.mark.parametrize("kept", [{"sources": ["nowhere"]}, {"sources": ["mask", "mask"]}, [1]])
def test_places_that_do_not_fit_are_not_used(kept: Any) -> None:
    submit = Submit(model="m", prompt="p", sources=(PICTURE,), extra={"aitoearn": kept})

    assert body_of(submit) == {"model": "m", "prompt": "p", "image": PICTURE.url}


SIZES: Any = st.sampled_from(
    [{}, {"width": 640, "height": 480}, {"ratio": "auto"}, {"width": 1, "height": 99999}]
)
FILM_SIZES: Any = st.sampled_from(
    [{}, {"ratio": "16:9", "resolution": "720p"}, {"width": 640, "height": 480}, {"ratio": "auto"}]
)
FILES: Any = st.sampled_from(
    [{"url": "https://files.example/a"}, {"data": b"\xff", "media_type": "image/png"}]
)
FILM_ROLES = (Role.FIRST_FRAME, Role.LAST_FRAME, Role.IMAGE, Role.VIDEO, Role.AUDIO)
PROMPTS = st.text(min_size=1, max_size=40)


@st.composite
def sources(draw: st.DrawFn, roles: Iterable[Role]) -> tuple[Source, ...]:
    """At most one of each role, in that order."""
    return tuple(Source(role=role, **draw(FILES)) for role in roles if draw(st.booleans()))


@given(PROMPTS, SIZES, st.integers(1, 10), sources([Role.MASK]), st.none() | st.just("high"))
def test_a_picture_comes_back_as_it_was_asked_for(
    prompt: str,
    size: dict[str, Any],
    count: int,
    masks: tuple[Source, ...],
    quality: str | None,
) -> None:
    asked = Submit(model="m", prompt=prompt, count=count, quality=quality, **size)
    edited = Submit(model="m", prompt=prompt, sources=(PICTURE, *masks), **size)

    for submit, form in ((asked, "image.generate"), (edited, "image.edit")):
        request = WIRE.write_request(submit)
        assert WIRE.match(request).op == form
        assert WIRE.read_request(form, {}, request) == submit


@given(PROMPTS, FILM_SIZES, sources(FILM_ROLES))
def test_a_film_comes_back_as_it_was_asked_for(
    prompt: str, size: dict[str, Any], files: tuple[Source, ...]
) -> None:
    submit = Submit(
        kind=Kind.VIDEO, model="m", prompt=prompt, sources=files, duration=5, seed=7, **size
    )

    assert WIRE.read_request("video.create", {}, WIRE.write_request(submit)) == submit


ANY: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
NAMES = sorted({*bodies.VIDEO.others, *bodies.VIDEO.places, "n", "duration"})


@given(st.sampled_from(sorted(bodies.FORMS)), st.dictionaries(st.sampled_from(NAMES), ANY))
def test_a_strange_body_is_malformed_at_worst(op: str, body: dict[str, Any]) -> None:
    try:
        asked = read(op, {"model": "m", "prompt": "p", **body})
    except Malformed:
        return
    assert isinstance(asked, Submit)


# ------------------------------------------------------------------------------ what we answer


def test_the_envelope_says_who_asked_and_when() -> None:
    written = WIRE.write_reply("image.generate", Task(id=ID, status=Status.QUEUED), context())

    assert (written.status, list(written.json())) == (200, ENVELOPE)
    assert written.json()["requestId"] == "a-request"
    assert written.header("x-request-id") == "a-request"
    assert written.header("content-type") == "application/json; charset=utf-8"


def test_the_request_id_is_the_callers_own() -> None:
    written = WIRE.write_fault(None, NotFound(), context(x_request_id="mine"))

    assert (written.status, list(written.json())) == (200, FAULT_ENVELOPE)
    assert written.json()["requestId"] == written.header("x-request-id") == "mine"
    assert (written.json()["data"], written.json()["timestamp"]) == ({}, DONE)


BODY = {
    "model": "m",
    "prompt": "A lamp",
    "n": 1,
    "size": "1024*1024",
    "user": "someone",
    "image": ["https://files.example/room.png"],
    "mask": "https://files.example/mask.png",
}


def test_the_echo_of_a_request_is_the_body_that_was_accepted() -> None:
    asked = edit(**BODY, source="ai_image", unknown=True)

    stored = msgspec.json.decode(msgspec.json.encode(asked), type=Submit)
    assert (
        data_of("image.task", Task(id=ID, status=Status.QUEUED, submit=stored))["request"] == BODY
    )


def test_an_echo_never_carries_a_file() -> None:
    uri = "data:image/png;base64,iVBORw0KGgo="
    asked = edit(image=uri, mask=uri)

    image, mask = (msgspec.structs.replace(s, data=None, blob="ab") for s in asked.sources)
    linked = msgspec.structs.replace(image, url="https://files.example/ab.png")
    submit = msgspec.structs.replace(asked, sources=(linked, mask))

    data = data_of("image.task", Task(id=ID, status=Status.QUEUED, submit=submit))
    assert data["request"] == {"model": "m", "prompt": "A lamp", "image": linked.url}
    assert b"iVBOR" not in msgspec.json.encode(submit)


def test_a_task_of_another_dialect_is_echoed_in_our_words() -> None:
    submit = Submit(
        model="zimage",
        prompt="A lamp",
        count=3,
        ratio="16:9",
        negative="fog",
        extra={"category": "zimage", "style": "theirs"},
    )

    task = Task(id=ID, status=Status.QUEUED, submit=submit, dialect="tensorslab")
    echo = {"model": "zimage", "prompt": "A lamp", "n": 3, "size": "16:9"}
    assert data_of("image.task", task)["request"] == echo
    item = msgspec.structs.replace(
        submit, kind=Kind.VIDEO, sources=(Source(role=Role.MASK, url="https://files.example/m"),)
    )
    film = msgspec.structs.replace(task, submit=item)
    assert data_of("image.task", film)["request"] == {
        "model": "zimage",
        "prompt": "A lamp",
        "n": 3,
        "ratio": "16:9",
        "image": "https://files.example/m",
    }


@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("finished", [None, DONE])
def test_every_answer_keeps_the_published_schema(status: Status, finished: int | None) -> None:
    full = Task(
        id=ID,
        status=status,
        submit=Submit(prompt="A lamp"),
        artifacts=(Artifact(url="https://files.example/a.png"), Artifact(blob="ab")),
        credits=2.0,
        created=CREATED,
        started=DONE - 5,
        finished=finished,
        updated=DONE,
    )
    for task in (full, Task(id=ID, status=status)):
        data = data_of("image.task", task)
        jsonschema.validate(data, TASK_STATUS)
        assert ("errorMessage" in data) == (status in (Status.FAILED, Status.CANCELED))
        assert ("response" in data) == (status is Status.SUCCEEDED)
        assert data["startedAt"] == data["createdAt"]


def test_points_are_whole_where_they_are_whole() -> None:
    def encoded(credits: float) -> bytes:
        task = Task(id=ID, status=Status.QUEUED, credits=credits)
        return WIRE.write_reply("image.task", task, context()).body

    assert b'"points":2,' in encoded(2.0)
    assert b'"points":27.5,' in encoded(27.5)


def test_the_duration_is_of_the_work_and_not_of_the_wait() -> None:
    waited = Task(id=ID, status=Status.CANCELED, created=CREATED, finished=DONE)

    assert data_of("image.task", waited)["duration"] == 0
    assert data_of("image.task", waited)["errorMessage"] == "The task was canceled"


def test_a_result_without_files_has_no_images() -> None:
    data = data_of("image.task", Task(id=ID, status=Status.SUCCEEDED))

    assert "images" not in data
    assert data["response"] == {"created": DONE // 1000, "list": []}


def test_a_picture_beside_a_film_is_its_cover() -> None:
    files = (
        Artifact(url="https://files.example/c.jpg", media_type="image/jpeg"),
        Artifact(url="https://files.example/a.mp4", media_type="video/mp4"),
        Artifact(url="https://files.example/b.mp4", media_type="video/mp4"),
    )

    data = data_of("video.task", Task(id=ID, status=Status.SUCCEEDED, artifacts=files))
    assert data["coverUrl"] == "https://files.example/c.jpg"
    assert data["videoUrl"] == "https://files.example/a.mp4"
    assert data["startedAt"] == data["submittedAt"] == "2026-07-02T12:00:42.500Z"
    jpeg = msgspec.structs.replace(files[0], url=None)
    lone = data_of("video.task", Task(id=ID, status=Status.SUCCEEDED, artifacts=(jpeg,)))
    assert not {"coverUrl", "videoUrl"} & set(lone)


@pytest.mark.parametrize(
    ("body", "echo"),
    [
        ({"image": "https://a", "image_tail": "https://b"}, {"image": ["https://a", "https://b"]}),
        (
            {"image": ["https://a"], "image_tail": "https://b"},
            {"image": ["https://a", "https://b"]},
        ),
        ({"image_tail": "https://b"}, {"image": ["https://b"]}),
        ({"image": ["https://a", "https://b"]}, {"image": ["https://a", "https://b"]}),
        (
            {"videos": ["https://a"], "video_url": "https://b"},
            {"videos": ["https://a"], "videoUrl": "https://b"},
        ),
        ({"size": "1280x720", "groupId": "g"}, {"resolution": "1280x720", "groupId": "g"}),
        ({"ratio": "16:9", "seed": 7, "mode": "text2video"}, {"aspectRatio": "16:9"}),
    ],
)
def test_the_input_of_a_film_is_in_the_words_of_the_answer(
    body: dict[str, Any], echo: dict[str, Any]
) -> None:
    data = data_of("video.task", Task(id=ID, status=Status.QUEUED, submit=film(**body)))

    assert data["input"] == {"prompt": "A lamp", **echo}
    assert data.get("groupId") == echo.get("groupId")


@pytest.mark.parametrize("status", [Status.FAILED, Status.CANCELED])
def test_a_film_that_is_not_says_why(status: Status) -> None:
    why = Failure(code=FailureCode.TIMEOUT, message="It took too long")

    data = data_of("video.task", Task(id=ID, status=status, failure=why))
    assert data["status"] == "FAILURE"
    assert data["error"]["message"] in ("It took too long", "The task was canceled")
    assert data_of("image.task", Task(id=ID, status=Status.FAILED))["errorMessage"]


def test_a_list_of_everything_names_the_kind_of_each() -> None:
    tasks = (
        Task(id=ID, status=Status.QUEUED, owner="me", created=CREATED),
        Task(id=ID, status=Status.FAILED, owner="me", submit=Submit(kind=Kind.VIDEO)),
    )

    page = Page(tasks=tasks, total=12, limit=5, offset=5)
    data = WIRE.write_reply("logs", page, context()).json()["data"]
    assert (data["page"], data["pageSize"], data["totalPages"], data["total"]) == (2, 5, 3, 12)
    said = [(item["type"], item["status"], item["userId"]) for item in data["list"]]
    assert said == [("image", "generating", "me"), ("video", "failed", "me")]


def test_a_catalogue_holds_what_was_asked_for() -> None:
    cards = (
        ModelCard(name="words", kind=Kind.IMAGE),
        ModelCard(name="pictures", kind=Kind.IMAGE, max_sources=2),
        ModelCard(name="films", kind=Kind.VIDEO),
    )

    def names(op: str) -> list[str]:
        written = WIRE.write_reply(op, Catalogue(models=cards), context())
        return [item["name"] for item in written.json()["data"]]

    assert names("models.image.generation") == ["words", "pictures"]
    assert names("models.image.edit") == ["pictures"]
    assert names("models.video.generation") == ["films"]


def test_a_reply_that_no_operation_gives() -> None:
    with pytest.raises(TypeError, match="logs"):
        WIRE.write_reply("logs", Deleted(ids=()), context())


# ------------------------------------------------------------------------------- what we are told


@pytest.mark.parametrize("word", ["SUCCESS", "success", "Success"])
def test_a_state_is_read_in_any_case(word: str) -> None:
    assert fetched(status=word).status is Status.SUCCEEDED
    assert fetched(Kind.VIDEO, status=word).status is Status.SUCCEEDED


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("NOT_START", Status.QUEUED),
        ("submitted", Status.QUEUED),
        ("QUEUED", Status.QUEUED),
        ("INPROGRESS", Status.RUNNING),
        ("failure", Status.FAILED),
    ],
)
def test_the_states_of_films(word: str, status: Status) -> None:
    assert fetched(Kind.VIDEO, status=word).status is status


def test_a_state_that_we_do_not_know_is_still_running() -> None:
    unknown = fetched(Kind.VIDEO, status="UNKNOWN")

    assert (unknown.status, unknown.status_word) == (Status.RUNNING, "UNKNOWN")
    assert fetched(status="failure").status is Status.RUNNING  # a word of the other family
    assert fetched().status_word is None


def test_a_picture_in_the_answer_itself_has_its_data_for_an_address() -> None:
    images = [{"url": None}, {"b64_json": "iVBORw0KGgo="}, {"url": "https://a", "b64_json": "x"}]

    task = fetched(status="success", images=images)
    assert [file.url for file in task.artifacts] == [
        "data:image/png;base64,iVBORw0KGgo=",
        "https://a",
    ]


def test_only_success_has_files_and_only_failure_a_reason() -> None:
    running = fetched(status="generating", images=[{"url": "https://a"}], errorMessage="odd")

    assert (running.artifacts, running.failure) == ((), None)
    assert fetched(status="failed").failure.message == "The task failed"
    film = fetched(Kind.VIDEO, status="SUCCESS", videoUrl="https://a", coverUrl="https://b")
    assert [file.url for file in film.artifacts] == ["https://a", "https://b"]


def test_an_echo_is_read_as_far_as_it_can_be() -> None:
    files = ["https://a", "data:image/png;base64,AAAA", 3, "https://b"]
    asked = {"model": 1, "prompt": "p", "n": 2, "size": "odd", "image": files, "mask": {}}

    assert fetched(request=asked).submit == Submit(
        prompt="p", count=2, sources=(Source(url="https://a"), Source(url="https://b"))
    )
    said = {"prompt": "p", "resolution": "1080P", "aspectRatio": "16:9", "videoUrl": "https://a"}
    assert fetched(Kind.VIDEO, model="m", input=said).submit == Submit(
        kind=Kind.VIDEO,
        model="m",
        prompt="p",
        resolution="1080p",
        ratio="16:9",
        sources=(Source(role=Role.VIDEO, url="https://a"),),
    )


@pytest.mark.parametrize(
    ("text", "millis"),
    [
        ("2026-07-02T12:00:00.000Z", CREATED),
        ("2026-07-02T12:00:00", CREATED),
        ("2026-07-02T14:00:00.042+02:00", CREATED + 42),
    ],
)
def test_times(text: str, millis: int) -> None:
    assert fetched(createdAt=text).created == millis


@pytest.mark.parametrize(
    "data",
    [
        {"status": 1},
        {"status": "success", "images": {}},
        {"status": "success", "images": ["https://a"]},
    ],
)
def test_an_answer_that_the_pages_do_not_allow(data: dict[str, Any]) -> None:
    with pytest.raises(Malformed, match="data"):
        fetched(**data)


@pytest.mark.parametrize(
    "echo", [{"createdAt": "noon"}, {"createdAt": 1}, {"points": "1"}, {"request": []}]
)
def test_no_picture_is_lost_to_an_echo_that_is_nonsense(echo: dict[str, Any]) -> None:
    task = fetched(status="success", images=[{"url": "https://a.example/1.png"}], **echo)
    assert task.status is Status.SUCCEEDED
    assert [artifact.url for artifact in task.artifacts] == ["https://a.example/1.png"]


def test_a_submission_without_an_id() -> None:
    with pytest.raises(Malformed, match="logId"):
        WIRE.read_reply(Submit(), answer({"id": ID}))


def test_logs_of_other_things_are_no_tasks() -> None:
    items = [
        {"id": "a", "type": "chat", "status": "success"},
        {"id": "b", "type": "video", "status": "generating"},
    ]

    page = WIRE.read_reply(List(), answer({"list": items}))
    assert isinstance(page, Page)
    assert [(task.id, task.kind) for task in page.tasks] == [("b", Kind.VIDEO)]


def test_a_catalogue_may_leave_everything_but_the_name_out() -> None:
    assert WIRE.read_reply(Models(kind=Kind.VIDEO), answer([{"name": "m"}])) == Catalogue(
        models=(ModelCard(name="m", kind=Kind.VIDEO),)
    )
    with pytest.raises(Malformed, match=r"durations: not a list"):
        WIRE.read_reply(Models(), answer([{"name": "m", "durations": "5"}]))


def test_all_models_take_two_requests() -> None:
    exchange = WIRE.call(Models(editing=True))

    first = next(exchange)
    second = exchange.send(answer([{"name": "p"}]))
    with pytest.raises(StopIteration) as end:
        exchange.send(answer([{"name": "f"}]))
    assert (first.path, second.path) == (
        "/api/ai/models/image/edit",
        "/api/ai/models/video/generation",
    )
    assert [card.kind for card in end.value.value.models] == [Kind.IMAGE, Kind.VIDEO]


def test_everything_else_takes_one() -> None:
    exchange = WIRE.call(Fetch(id=ID))

    assert next(exchange).path == f"/api/ai/image/task/{ID}"
    with pytest.raises(StopIteration) as end:
        exchange.send(answer({"status": "generating"}))
    assert end.value.value.id == ID


# ------------------------------------------------------------------------------------------ faults


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, BadRequest),
        (10002, BadRequest),
        (12301, BadRequest),
        (99999, BadRequest),
        (-1, BadRequest),
        (401, Unauthenticated),
        (404, NotFound),
        (12302, NotFound),
        (12303, NotFound),
        (12300, UnknownModel),
        (12310, Unsupported),
        (10003, RateLimited),
        (413, TooLarge),
        (500, Internal),
        (502, Unavailable),
        (19001, Unavailable),
        ("401", Unauthenticated),
    ],
)
def test_a_code_is_read_as_what_it_means(code: Any, kind: type[Fault]) -> None:
    assert type(heard(code)) is kind
    assert heard(code).message == "why"


def test_a_limit_says_when_to_come_back() -> None:
    limited = heard(10003, retry_after="3")

    assert isinstance(limited, RateLimited)
    assert limited.retry_after == 3


def test_a_route_that_is_not_there_is_not_a_task_that_is_not_there() -> None:
    assert type(heard(404, "Cannot GET /api/ai/x")) is UnknownOperation


def test_a_proxy_before_the_service_may_use_http_statuses() -> None:
    page = Response(status=502, body=b"<html>")

    with pytest.raises(Unavailable):
        WIRE.read_reply(Fetch(id=ID), page)
    assert type(heard(401, status=401)) is Unauthenticated
    assert type(heard(0, status=403)) is Unauthenticated
    assert heard(77777, "").message == "code 77777"


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"code": "none"}'])
def test_an_answer_without_an_envelope(body: bytes) -> None:
    with pytest.raises(Malformed):
        WIRE.read_reply(Fetch(id=ID), Response(body=body))


@pytest.mark.parametrize(
    ("languages", "message"),
    [
        ("", "Validation failed: n: too many"),
        ("fr, de;q=0.9", "Validation failed: n: too many"),
        ("en-US,zh;q=0.5", "Validation failed: n: too many"),
        ("fr, zh-CN;q=0.9, en;q=0.8", "参数验证失败：n: too many"),
    ],
)
def test_the_language_is_the_callers(languages: str, message: str) -> None:
    assert told(InvalidValue("n: too many"), accept_language=languages)["message"] == message


@pytest.mark.parametrize(
    ("fault", "code", "message"),
    [
        (InvalidValue(), 10002, "Validation failed"),
        (BadRequest("参数验证失败：n"), 10002, "Validation failed: n"),
        (BadRequest("Validation failed"), 10002, "Validation failed"),
        (Conflict("Another body had this key"), 10002, None),
        (TooLarge(), 10002, "Validation failed"),
        (UnknownModel("'x' is not configured"), 12300, "Invalid AI model: 'x' is not configured"),
        (Unauthenticated("No key"), 401, "Unauthorized"),
        (NotFound("Nothing there"), 404, "任务不存在"),
        (UnknownOperation(), 404, "Cannot GET /api/ai/x"),
        (Internal("Incident ab12"), 500, "Internal server error: Incident ab12"),
        (Fault(), 500, "Internal server error"),
    ],
)
def test_a_fault_is_told_in_the_wires_words(fault: Fault, code: int, message: str | None) -> None:
    body = told(fault)

    assert body["code"] == code
    assert message is None or body["message"] == message


def test_an_unknown_film_has_a_code_of_its_own() -> None:
    assert told(NotFound(), "video.task", accept_language="zh")["message"] == "无效的 AI 任务 ID"
    assert told(NotFound(), "video.task")["code"] == 12302
    assert told(UnknownOperation(), "video.task")["code"] == 404


# --------------------------------------------------------------------------------------------- key


def test_the_key_is_in_a_header_of_its_own() -> None:
    request = WIRE.write_key(Request(method="GET", path="/"), Key(secret="ai_secret"), 0)

    assert WIRE.read_key(request, 0).secret == "ai_secret"


@pytest.mark.parametrize("size", [1, 2, 3, 786_431, 786_432, 786_433, 3 * 2**20 + 1])
def test_a_data_uri_of_any_size_is_read(size: int) -> None:
    data = random.Random(size).randbytes(size)
    encoded = base64.encodebytes(data).decode()  # in lines, as mail has it

    assert read_image(f"data:image/png;base64,{encoded}") == data


@pytest.mark.parametrize(
    "encoded",
    [
        "A",
        "AAAA=",
        "AA==AAAA",
        "A" * (2**20 - 2) + "==" + "AAAA",
        "A" * 2**20 + "é",
        "A" * (2**20 + 1),
    ],
    ids=len,
)
def test_a_data_uri_that_is_none_is_malformed(encoded: str) -> None:
    with pytest.raises(Malformed, match="image: not base64"):
        read_image(f"data:image/png;base64,{encoded}")


def test_pictures_are_found_where_the_provider_left_them() -> None:
    link = {"url": "https://files.example/1.png"}
    for told in (
        {"images": [link], "response": {"list": [{"url": "https://else.example/"}]}},
        {"response": {"list": [link]}},
        {"images": None, "response": {"list": [link], "data": []}},
    ):
        data = {"logId": ID, "status": "success", **told}
        heard = WIRE.read_reply(Fetch(id=ID), json_response({"code": 0, "data": data}))
        assert isinstance(heard, Task)
        assert [artifact.url for artifact in heard.artifacts] == [link["url"]]


def read_image(uri: str) -> bytes | None:
    body = Reading({"model": "m", "prompt": "p", "image": uri})
    (source,) = bodies.read_submit(bodies.EDIT, body).sources
    return source.data


def test_the_key_may_be_a_bearer_too() -> None:
    bearer = ("authorization", "Bearer k")
    for headers, secret in (((bearer,), "k"), ((bearer, ("x-api-key", "own")), "own")):
        assert WIRE.read_key(Request(method="GET", path="/", headers=headers), 0).secret == secret


@pytest.mark.parametrize("headers", [(), (("x-api-key", " "),), (("authorization", "Bearer"),)])
def test_no_key_is_none(headers: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(Unauthenticated) as told:
        WIRE.read_key(Request(method="GET", path="/", headers=headers), 0)
    assert told.value.reason == "missing"


def test_a_strange_value_of_an_echo_is_left_alone() -> None:
    asked = bodies.read_request_echo(Reading({"prompt": [], "image": None}))

    assert asked == Submit()


# ---------------------------------------------------------------------- modes, what is demanded

ONE, TWO = "https://files.example/1.png", "https://files.example/2.png"
FILM, SOUND = "https://files.example/3.mp4", "https://files.example/4.mp3"
FIRST, LAST, REFERENCE = Role.FIRST_FRAME, Role.LAST_FRAME, Role.IMAGE


@pytest.mark.parametrize(
    ("mode", "body", "roles"),
    [
        ("text2video", {}, []),
        ("image2video", {"image": ONE}, [FIRST]),
        ("image2video", {"images": [ONE]}, [FIRST]),
        ("flf2video", {"image": ONE, "image_tail": TWO}, [FIRST, LAST]),
        ("flf2video", {"image": [ONE, TWO]}, [FIRST, LAST]),
        ("flf2video", {"images": [ONE, TWO]}, [FIRST, LAST]),
        ("flf2video", {"images": [ONE], "image_tail": TWO}, [LAST, FIRST]),
        ("lf2video", {"image_tail": ONE}, [LAST]),
        ("lf2video", {"images": [ONE]}, [LAST]),
        ("multi-image2video", {"images": [ONE, TWO]}, [REFERENCE, REFERENCE]),
        ("multi-image2video", {"image": ONE, "images": [TWO]}, [REFERENCE, REFERENCE]),
        ("multi-ref", {"images": [ONE], "videos": [FILM]}, [REFERENCE, Role.VIDEO]),
        ("multi-ref", {"audios": [SOUND]}, [Role.AUDIO]),
        ("video2video", {"video_url": FILM}, [Role.VIDEO]),
        ("video2video", {"videos": [FILM]}, [Role.VIDEO]),
    ],
)
def test_a_mode_says_what_its_sources_are(
    mode: str, body: dict[str, Any], roles: list[Role]
) -> None:
    asked = film(mode=mode, **body)
    assert [source.role for source in asked.sources] == roles
    assert asked.demands == {}
    assert body_of(asked)["mode"] == mode
    assert WIRE.read_request("video.create", {}, WIRE.write_request(asked)) == asked


@pytest.mark.parametrize(
    ("mode", "body"),
    [
        ("multi-ref", {"images": [ONE]}),
        ("multi-ref", {"images": [ONE, TWO]}),
        ("multi-ref", {"videos": [FILM]}),
        ("video2video", {"videos": [FILM], "images": [ONE]}),
    ],
)
def test_a_mode_that_its_sources_do_not_say_is_demanded(mode: str, body: dict[str, Any]) -> None:
    asked = film(mode=mode, **body)
    assert asked.demands == {"mode": mode}
    assert body_of(asked)["mode"] == mode


def test_a_last_frame_beside_references_is_no_mode() -> None:
    assert bodies._mode_of(film(images=[ONE], image_tail=TWO).sources) is None


@pytest.mark.parametrize("mode", ["", " "])
def test_a_mode_need_not_be_said(mode: str) -> None:
    assert film(mode=mode, images=[ONE]).sources[0].role is REFERENCE


@pytest.mark.parametrize("mode", [*bodies.MODES, "interpolate", "Text2Video"])
def test_a_mode_without_what_it_needs_is_refused(mode: str) -> None:
    """With pictures, a sound and a last frame together no mode is left."""
    with pytest.raises(Unsupported) as refused:
        film(mode=mode, images=[ONE, TWO], image_tail=ONE, audios=[SOUND])
    assert refused.value.parameter == "mode"
    assert told(refused.value, "video.create")["code"] == 12310
    chinese = told(refused.value, "video.create", accept_language="zh")["message"]
    assert chinese.startswith("不支持的视频生成模式：mode：")


@pytest.mark.parametrize(
    ("parameter", "code"),
    [("mode", 12310), ("videos.0", 12310), ("groupId", 12801), ("watermark", 10002), (None, 10002)],
)
def test_what_is_not_done_has_the_code_of_what_it_is(parameter: str | None, code: int) -> None:
    fault = Unsupported(f"{parameter}: no", parameter=parameter)
    assert told(fault, "video.create")["code"] == code
    assert told(fault, "image.generate")["code"] == 10002


def test_what_only_a_provider_can_do_is_demanded_and_written_back() -> None:
    asked = film(watermark=True, tools=[{"type": "web_search"}], groupId="g", source="plugin")
    assert asked.demands == {"watermark": True, "tools": [{"type": "web_search"}], "groupId": "g"}
    assert body_of(asked)["watermark"] is True
    assert film(watermark=False, tools=[], groupId=" ").demands == {}
    styled = generate(style="natural", source="ai_image")
    assert styled.demands == {"style": "natural"}
    assert generate(style="vivid").demands == {}
    with pytest.raises(Unsupported, match="style"):
        WIRE.write_request(msgspec.structs.replace(styled, kind=Kind.VIDEO))
    task = Task(id=ID, status=Status.QUEUED, submit=styled)
    assert data_of("image.task", task)["request"] == {
        "model": "m",
        "prompt": "A lamp",
        "style": "natural",
    }


@pytest.mark.parametrize(
    ("submit", "ours", "theirs"),
    [
        (generate(size="4:3"), "ratio", "size"),
        (generate(n=2), "count", "n"),
        (edit(image=[ONE, TWO], mask=ONE), "sources.1", "image.1"),
        (edit(image=[ONE, TWO], mask=ONE), "sources.2", "mask"),
        (edit(image=[ONE, TWO], mask=ONE), "sources", "image"),
        (edit(image=ONE), "sources.0", "image"),
        (film(images=[ONE, TWO], videos=[FILM]), "sources.1", "images.1"),
        (film(images=[ONE, TWO], videos=[FILM]), "sources.2", "videos.0"),
        (film(image_tail=ONE), "sources.0", "image_tail"),
        (film(video_url=FILM), "sources.0", "video_url"),
        (film(), "sources", "image"),
        (film(resolution="1280x720"), "width", "resolution"),
        (film(size="1280x720"), "height", "size"),
        (film(size="480p"), "resolution", "size"),
        (film(resolution="480p"), "resolution", "resolution"),
        (film(resolution="480p", size="vast"), "resolution", "resolution"),
        (film(ratio="16:9"), "ratio", "ratio"),
        (film(ratio="16:9"), "resolution", "ratio"),
        (film(size="480p"), "ratio", "size"),
        (film(ratio="16:9", metadata={"aspectRatio": "9:16"}), "ratio", "ratio"),
        (film(metadata={"aspectRatio": "9:16"}), "ratio", "metadata.aspectRatio"),
        (film(duration=5), "duration", "duration"),
        (film(metadata={"a": "b"}, source="c"), "extra", "metadata"),
        (film(), "extra", "extra"),
    ],
)
def test_a_fault_names_what_was_sent(submit: Submit, ours: str, theirs: str) -> None:
    film_asked = submit.kind is Kind.VIDEO
    op = "video.create" if film_asked else "image.edit" if submit.sources else "image.generate"
    assert WIRE.parameter_name(op, ours, submit) == theirs


def test_a_film_says_no_more_of_itself_than_is_true() -> None:
    def modes(**card: Any) -> Any:
        catalogue = Catalogue(models=(ModelCard(name="m", kind=Kind.VIDEO, **card),))
        written = WIRE.write_reply("models.video.generation", catalogue, context())
        heard = WIRE.read_reply(Models(kind=Kind.VIDEO), written)
        assert isinstance(heard, Catalogue)
        return written.json()["data"][0]["modes"]

    assert modes() == modes(max_sources=4) == ["text2video"]
    assert modes(max_sources=1, roles=(FIRST, LAST)) == ["text2video", "image2video"]
    assert modes(max_sources=2, roles=(FIRST, LAST))[-1] == "flf2video"
    assert modes(max_sources=1, roles=(REFERENCE,)) == ["text2video"]
    assert modes(max_sources=2, roles=(REFERENCE,), needs_source=True) == ["multi-image2video"]
    assert modes(max_sources=2, roles=(Role.AUDIO,)) == ["text2video", "multi-ref"]


# ------------------------------------------------------------------------------ synchronous routes


def test_whoever_waited_is_told_the_end_in_the_wires_words() -> None:
    def answered(status: Status, failure: Failure | None = None) -> Any:
        task = Task(id=ID, status=status, failure=failure)
        return WIRE.write_reply("image.generate.sync", task, context()).json()

    assert answered(Status.SUCCEEDED)["data"] == {"created": DONE // 1000, "list": []}
    canceled = answered(Status.CANCELED)
    assert (canceled["code"], canceled["data"]) == (12301, {"logId": ID, "status": "failed"})
    running = answered(Status.RUNNING)
    assert (running["code"], running["data"]) == (12301, {"logId": ID, "status": "generating"})
    assert ID in running["message"]


def test_details_are_chinese_for_whoever_reads_chinese() -> None:
    fault = InvalidValue("n: must be 1 to 10", parameter="n")
    assert (
        told(fault, accept_language="zh-CN,en;q=0.5")["message"]
        == "参数验证失败：n：必须为 1 到 10"
    )
    assert told(fault)["message"] == "Validation failed: n: must be 1 to 10"
