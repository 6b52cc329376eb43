"""AiToEarn's routes in OpenAI's shape: what their wire cases do not say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from safelight.dialects.aitoearn import dialect as aitoearn
from safelight.dialects.aitoearn import openai
from safelight.errors import (
    BadRequest,
    Conflict,
    Fault,
    InsufficientCredits,
    Internal,
    InvalidType,
    Malformed,
    MissingParameter,
    NotFound,
    RateLimited,
    StillRunning,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnknownModel,
    UnknownOperation,
    UnknownParameter,
    Unsupported,
)
from safelight.task import (
    Artifact,
    Failure,
    FailureCode,
    Role,
    Source,
    Status,
    Submit,
    Task,
)
from safelight.wire import Context, Part, Request, json_request, write_form

WIRE = aitoearn.AiToEarn()
GENERATE, EDIT = openai.GENERATE, openai.EDIT
ID = "68dd2c4e9f1b7a0012345678"
REQUEST = "invalid_request_error"
PICTURE = "https://files.example/room.png"
PNG = b"\x89PNG"


def generate(**more: Any) -> Any:
    body = {"model": "m", "prompt": "a", **more}
    return WIRE.read_request(GENERATE, {}, json_request("POST", openai.PATHS[GENERATE], body))


def edit(**more: Any) -> Any:
    body = {"prompt": "a", "images": [{"image_url": PICTURE}], **more}
    return WIRE.read_request(EDIT, {}, json_request("POST", openai.PATHS[EDIT], body))


def edit_form(*parts: Part) -> Any:
    content_type, body = write_form((Part(name="prompt", data=b"a"), *parts))
    headers = (("content-type", content_type),)
    request = Request(method="POST", path=openai.PATHS[EDIT], headers=headers, body=body)
    return WIRE.read_request(EDIT, {}, request)


def file(name: str, data: bytes = PNG) -> Part:
    return Part(name=name, data=data, filename="upload")


def text(name: str, said: str) -> Part:
    return Part(name=name, data=said.encode())


def context(path: str = openai.PATHS[GENERATE]) -> Context:
    return Context(request=Request(method="POST", path=path), request_id="a-request", now=5000)


def refused(act: Callable[[], Any]) -> str | None:
    """The name of the parameter by which something is refused."""
    try:
        act()
    except Malformed as problem:
        return problem.path
    except Unsupported as problem:
        return problem.parameter
    raise AssertionError


def told(fault: Fault, op: str | None = GENERATE) -> Any:
    response = WIRE.write_fault(op, fault, context())
    return response.status, response.json()["error"], response.header("x-should-retry")


# ------------------------------------------------------------------------------------ what is asked


def test_a_model_need_not_be_named() -> None:
    asked = WIRE.read_request(GENERATE, {}, json_request("POST", "/", {"prompt": "a"}))
    assert asked == Submit(prompt="a")


def test_what_is_the_default_asks_for_nothing() -> None:
    nothing = {
        "size": "auto",
        "quality": "auto",
        "background": "opaque",
        "output_format": "png",
        "style": "vivid",
        "stream": False,
        "partial_images": 0,
        "n": None,
        "svg": {},
    }
    assert generate(**nothing) == generate() == Submit(model="m", prompt="a")


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": "a" * 32_001}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"n": 0}, "n"),
        ({"n": 11}, "n"),
        ({"size": "vast"}, "size"),
        ({"response_format": "png"}, "response_format"),
        ({"stream": True}, "stream"),
        ({"partial_images": 1}, "partial_images"),
        ({"svg": 1}, "svg"),
        ({"input_fidelity": "high"}, "input_fidelity"),
        ({"x" * 200: 1}, "x" * 60),
    ],
)
def test_a_picture_that_is_refused_by_name(body: dict[str, Any], name: str) -> None:
    assert refused(lambda: generate(**body)) == name


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"images": []}, "images"),
        ({"images": None}, "images"),
        ({"images": [{}]}, "images.0.image_url"),
        ({"images": [{"image_url": "room.png"}]}, "images.0.image_url"),
        ({"images": [{"file_id": "file-1"}]}, "images.0.file_id"),
        ({"mask": {"file_id": "file-1"}}, "mask.file_id"),
        ({"images": [{"image_url": PICTURE}] * 18}, "images"),
        ({"style": "vivid"}, "style"),
        ({"image": PICTURE}, "image"),
    ],
)
def test_an_edit_that_is_refused_by_name(body: dict[str, Any], name: str) -> None:
    assert refused(lambda: edit(**body)) == name


def test_an_edit_comes_as_a_form_too() -> None:
    asked = edit_form(
        file("image[]"),
        file("image[]", b"RIFF"),
        file("mask"),
        text("n", "2"),
        text("size", "64x64"),
        text("stream", "false"),
        text("input_fidelity", "high"),
        text("model", "m"),
    )

    roles = [(source.role, source.data) for source in asked.sources]
    assert roles == [(Role.IMAGE, PNG), (Role.IMAGE, b"RIFF"), (Role.MASK, PNG)]
    assert (asked.count, asked.width, asked.model) == (2, 64, "m")
    assert asked.demands == {"input_fidelity": "high"}
    names = [WIRE.parameter_name(EDIT, f"sources.{index}", asked) for index in range(4)]
    assert names == ["image", "image", "mask", "image"]


def test_a_picture_of_a_form_may_be_an_address() -> None:
    assert edit_form(text("image", PICTURE), text("mask", " ")).sources == (Source(url=PICTURE),)


@pytest.mark.parametrize(
    ("part", "name"),
    [
        (file("markup"), "markup"),
        (text("images", "x"), "images"),
        (text("svg[model]", "x"), "svg[model]"),
        (text("mask", "mask.png"), "mask"),
        (text("n", "many"), "n"),
    ],
)
def test_a_form_that_is_refused_by_name(part: Part, name: str) -> None:
    with pytest.raises(Malformed) as refused:
        edit_form(file("image"), part)
    assert refused.value.path == name


def test_a_form_without_a_picture() -> None:
    with pytest.raises(Malformed, match="image: required"):
        edit_form(file("mask"))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("width", "size"),
        ("ratio", "size"),
        ("count", "n"),
        ("format", "output_format"),
        ("quality", "quality"),
        ("extra", "user"),
        ("sources", "images.0.image_url"),
    ],
)
def test_a_fault_names_what_was_sent(ours: str, theirs: str) -> None:
    assert WIRE.parameter_name(EDIT, ours, edit(user="me", moderation="")) == theirs


def test_an_edit_may_go_on_to_the_service_itself() -> None:
    asked = edit(user="me", response_format="url", mask={"image_url": PICTURE})
    assert WIRE.write_request(asked).json() == {
        "model": "",
        "prompt": "a",
        "image": PICTURE,
        "mask": PICTURE,
    }
    with pytest.raises(Unsupported, match="background"):
        WIRE.write_request(generate(background="transparent"))


# --------------------------------------------------------------------------------------- answers


def done(wanted: str | None, *artifacts: Artifact) -> Task:
    extra = {} if wanted is None else {"openai": {"response_format": wanted}}
    return Task(id=ID, status=Status.SUCCEEDED, submit=Submit(extra=extra), artifacts=artifacts)


@pytest.mark.parametrize(
    ("wanted", "names"),
    [(None, {"url", "b64_json"}), ("url", {"url"}), ("b64_json", {"b64_json"})],
)
def test_pictures_come_as_they_were_asked_for(wanted: str | None, names: set[str]) -> None:
    task = done(wanted, Artifact(url=PICTURE, data=PNG))
    assert WIRE.carries_files(GENERATE, task.submit) is (wanted != "url")
    answer = WIRE.write_reply(GENERATE, task, context()).json()
    assert answer["created"] == 5
    assert set(answer) == {"created", "data"}
    assert set(answer["data"][0]) == names


def test_only_these_routes_carry_files() -> None:
    assert not WIRE.carries_files("image.generate.sync", Submit())
    assert WIRE.carries_files(EDIT, Submit(extra={"openai": [1]}))


def test_pictures_that_are_too_large_to_be_carried() -> None:
    large = Artifact(url=PICTURE)
    assert WIRE.write_reply(EDIT, done(None, large), context()).json()["data"] == [{"url": PICTURE}]
    refused = WIRE.write_reply(EDIT, done("b64_json", large), context())
    assert refused.status == 400
    error = refused.json()["error"]
    assert (error["param"], ID in error["message"]) == ("response_format", True)


def test_a_task_without_files_has_none() -> None:
    assert WIRE.write_reply(EDIT, done(None), context()).json() == {"created": 5, "data": []}


@pytest.mark.parametrize("status", [Status.QUEUED, Status.RUNNING, Status.UPLOADING])
def test_what_is_not_at_its_end_is_told_by_its_id(status: Status) -> None:
    answer = WIRE.write_reply(GENERATE, Task(id=ID, status=status), context())
    assert (answer.status, ID in answer.json()["error"]["message"]) == (504, True)


@pytest.mark.parametrize("code", FailureCode)
def test_every_failure_is_told_and_not_to_be_repeated_by_itself(code: FailureCode) -> None:
    failed = Task(id=ID, status=Status.FAILED, failure=Failure(code=code, message="Why not"))
    answer = WIRE.write_reply(GENERATE, failed, context())
    assert 400 <= answer.status < 600
    assert answer.header("x-should-retry") == "false"
    error = answer.json()["error"]
    assert error["message"] == f"Why not (task {ID})"
    assert (error["param"], bool(error["type"]), bool(error["code"])) == (None, True, True)


def test_a_canceled_task() -> None:
    answer = WIRE.write_reply(GENERATE, Task(id=ID, status=Status.CANCELED), context())
    assert (answer.status, answer.json()["error"]["code"]) == (409, "canceled")


# ---------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("fault", "status", "kind", "code", "repeats"),
    [
        (MissingParameter(), 400, REQUEST, "missing_required_parameter", None),
        (InvalidType(parameter="n"), 400, REQUEST, "invalid_type", None),
        (UnknownParameter(), 400, REQUEST, "unknown_parameter", None),
        (BadRequest(), 400, REQUEST, None, None),
        (Unsupported(), 400, REQUEST, "unsupported_parameter", None),
        (UnknownModel(), 404, REQUEST, "model_not_found", None),
        (UnknownOperation(), 404, REQUEST, None, None),
        (NotFound(), 404, REQUEST, None, None),
        (Unauthenticated(reason="missing"), 401, REQUEST, None, None),
        (Unauthenticated(), 401, REQUEST, "invalid_api_key", None),
        (TooLarge(), 413, REQUEST, None, None),
        (Conflict(), 409, REQUEST, None, "false"),
        (InsufficientCredits(), 429, "insufficient_quota", "insufficient_quota", "false"),
        (RateLimited(), 429, "requests", "rate_limit_exceeded", None),
        (Unavailable(), 503, "server_error", None, None),
        (Internal(), 500, "server_error", None, "false"),
        (StillRunning(task_id=ID), 504, "server_error", "still_running", "false"),
    ],
)  # fmt: skip
def test_a_fault_has_the_shape_of_that_wire(
    fault: Fault, status: int, kind: str, code: str | None, repeats: str | None
) -> None:
    said, error, again = told(fault)
    assert (said, error["type"], error["code"], again) == (status, kind, code, repeats)
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == fault.parameter


def test_a_limit_says_when_to_come_back() -> None:
    answer = WIRE.write_fault(GENERATE, Unavailable(retry_after=4.2), context())
    assert answer.header("retry-after") == "5"


def test_an_unknown_route_beside_them_has_their_shape() -> None:
    assert told(UnknownOperation(), None)[0] == 404
    with pytest.raises(Unauthenticated, match="Authorization"):
        WIRE.read_key(Request(method="POST", path=openai.PATHS[EDIT]), 0)
