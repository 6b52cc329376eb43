"""What the wire cases of aigptimage and kie do not say: tolerance, refusal, and the names of input.

Every case in `tests/wires/` runs in `test_wires.py`; here are the rules behind them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.dialects.aigptimage.dialect import AIGPTIMAGE, DIALECTS, FAIL_CODES, KIE, Jobs
from safelight.dialects.aigptimage.input import KNOWN
from safelight.dialects.aigptimage.models import ROWS, SOURCES
from safelight.errors import (
    BadRequest,
    Conflict,
    Fault,
    InsufficientCredits,
    Internal,
    InvalidValue,
    Malformed,
    MissingParameter,
    NotFound,
    RateLimited,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnknownModel,
    UnknownOperation,
    Unsupported,
    Upstream,
)
from safelight.task import (
    Artifact,
    Callback,
    Cancel,
    Delete,
    Failure,
    FailureCode,
    Fetch,
    Kind,
    List,
    Models,
    Operation,
    Page,
    Role,
    Source,
    Status,
    Submit,
    Task,
)
from safelight.webhooks import verify_kie
from safelight.wire import Context, Key, Request, Response, json_request, json_response

AI, KIE_JOBS = DIALECTS
TEXT_TO_IMAGE = "gpt-image-2-text-to-image"
URL = "https://example.com/a.png"
URL_2 = "https://example.com/b.png"
CREATE = "/api/v1/jobs/createTask"
CONTEXT = Context(request=Request(method="GET", path="/api/v1/jobs/recordInfo"))
ID = "019aa8f2d3c0a1b2c3d4e5f6"

both = pytest.mark.parametrize("jobs", DIALECTS, ids=lambda jobs: jobs.name)


def read(body: Any, jobs: Jobs = AI) -> Submit:
    command = jobs.read_request("createTask", {}, json_request("POST", CREATE, body))
    assert isinstance(command, Submit)
    return command


def asked(model: str = TEXT_TO_IMAGE, /, jobs: Jobs = AI, **input: Any) -> Submit:
    """What the server reads out of this input, without the body that it keeps."""
    body = {"model": model, "input": {"prompt": "A cat", **input}}
    return msgspec.structs.replace(read(body, jobs), extra={})


def written(submit: Submit, jobs: Jobs = AI) -> dict[str, Any]:
    """The input that the client sends for `submit`, without its prompt."""
    input: dict[str, Any] = json.loads(jobs.write_request(submit).body)["input"]
    input.pop("prompt", None)
    return input


def answered(task: Task, jobs: Jobs = AI) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(jobs.write_reply("recordInfo", task, CONTEXT).body)["data"]
    return data


def heard(data: Any, jobs: Jobs = AI, command: Fetch | None = None) -> Task:
    response = json_response({"code": 200, "msg": "success", "data": data})
    task = jobs.read_reply(command or Fetch(id=ID), response)
    assert isinstance(task, Task)
    return task


def told(
    fault: Fault, op: str | None = "createTask", jobs: Jobs = AI
) -> tuple[int, dict[str, Any], Response]:
    response = jobs.write_fault(op, fault, CONTEXT)
    return response.status, json.loads(response.body), response


def raised(response: Response, jobs: Jobs = AI) -> Fault:
    with pytest.raises(Fault) as caught:
        jobs.read_reply(Fetch(id=ID), response)
    return caught.value


# --------------------------------------------------------------------------------------- relatives


def test_one_of_the_relatives_is_served() -> None:
    assert [(jobs.name, jobs.served) for jobs in DIALECTS] == [("aigptimage", True), ("kie", False)]
    assert AI.idempotency_headers == ("x-request-id", "idempotency-key")
    assert "x-request-id" not in KIE_JOBS.idempotency_headers
    assert AI.key_variables == ("AIGPTIMAGE_API_KEY",)
    assert KIE_JOBS.key_variables == ("KIE_API_KEY",)


@both
def test_key_goes_out_as_it_comes_in(jobs: Jobs) -> None:
    request = jobs.write_key(Request(method="GET", path="/"), Key(secret="sk-made-up"), 0)
    assert request.header("authorization") == "Bearer sk-made-up"
    assert jobs.read_key(request, 0).secret == "sk-made-up"
    with pytest.raises(Unauthenticated) as caught:
        jobs.read_key(Request(method="GET", path="/"), 0)
    assert caught.value.reason == "missing"


# ---------------------------------------------------------------------------------- reading a query


def test_query_needs_its_task_id() -> None:
    for query in ("", "taskId=", "taskId=%20", "taskid=1"):
        request = Request(method="GET", path="/api/v1/jobs/recordInfo", query=query)
        with pytest.raises(Malformed, match="taskId: required"):
            AI.read_request("recordInfo", {}, request)


@both
def test_query_goes_out_as_it_comes_in(jobs: Jobs) -> None:
    request = jobs.write_request(Fetch(id="task&1"))
    assert request.target == "/api/v1/jobs/recordInfo?taskId=task%261"
    assert jobs.read_request("recordInfo", {}, request) == Fetch(id="task&1")


def test_body_of_a_query_is_not_looked_at() -> None:
    request = Request(
        method="GET",
        path="/api/v1/jobs/recordInfo",
        query="taskId=task_1",
        headers=(("content-type", "application/json"),),
        body=b"{nothing",
    )
    assert AI.read_request("recordInfo", {}, request) == Fetch(id="task_1")


# --------------------------------------------------------------------------------- reading a create


def test_create_body_is_kept_whole() -> None:
    body = {
        "model": TEXT_TO_IMAGE,
        "callBackUrl": "",
        "input": {"prompt": "A cat", "nsfw_checker": False, "image_input": []},
        "user": "me",
    }
    assert read(body).extra == {"body": body}


@both
def test_progress_is_not_called_back(jobs: Jobs) -> None:
    body = {"model": TEXT_TO_IMAGE, "input": {"prompt": "A cat"}}
    for none in (None, "", " "):
        assert read({**body, "progressCallBackUrl": none}, jobs).prompt == "A cat"
    for callback in ("https://example.com/done", "not even a url"):
        with pytest.raises(Unsupported) as told:
            read({**body, "progressCallBackUrl": callback}, jobs)
        assert told.value.parameter == "progressCallBackUrl"


@both
def test_an_end_is_called_back(jobs: Jobs) -> None:
    body = {"model": TEXT_TO_IMAGE, "input": {"prompt": "A cat"}}
    for none in (None, "", " "):
        assert read({**body, "callBackUrl": none}, jobs).callback is None
    submit = read({**body, "callBackUrl": " https://example.com/done"}, jobs)
    assert submit.callback == Callback(url="https://example.com/done", format=jobs.name)

    written = jobs.write_request(submit).json()
    assert written["callBackUrl"] == "https://example.com/done"
    assert jobs.parameter_name("createTask", "callback.url", submit) == "callBackUrl"
    for other in (
        Callback(url="https://example.com/done"),
        Callback(url="https://example.com/done", format=jobs.name, events=("task.running",)),
        Callback(url="https://example.com/done", format=jobs.name, secret="whsec_x"),
    ):
        with pytest.raises(Unsupported) as told:
            jobs.write_request(msgspec.structs.replace(submit, callback=other))
        assert told.value.parameter == "callback"


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (Status.SUCCEEDED, 200, "Playground task completed successfully."),
        (Status.FAILED, 501, "Playground task failed."),
        (Status.CANCELED, 501, "Playground task failed."),
    ],
)
@both
def test_a_callback_is_what_a_query_says_and_signed(
    jobs: Jobs, status: Status, code: int, words: str
) -> None:
    failure = (
        None if status is Status.SUCCEEDED else Failure(code=FailureCode.INTERNAL, message="no")
    )
    artifacts = (Artifact(url="https://a.example/1.png"),) if failure is None else ()
    asked = Submit(model=TEXT_TO_IMAGE, prompt="A cat")
    task = Task(
        id="a" * 24, status=status, submit=asked, created=1, finished=2, updated=2,
        failure=failure, artifacts=artifacts,
    )  # fmt: skip
    context = Context(request=Request(method="GET", path="/"), now=1_769_774_400_500)
    told = jobs.write_callback(task, "whsec_key", context)
    answered = jobs.write_reply("recordInfo", task, context).json()

    assert told.json() == {"code": code, "msg": words, "data": answered["data"]}
    stamp = told.header("x-webhook-timestamp")
    assert stamp == "1769774400"
    # As kie's page says in Node: createHmac("sha256", key).update(`${taskId}.${timestamp}`).
    mac = hmac.new(b"whsec_key", f"{task.id}.{stamp}".encode(), hashlib.sha256).digest()
    assert told.header("x-webhook-signature") == base64.b64encode(mac).decode()
    verify_kie(told.body, told.headers, "whsec_key", now=1_769_774_400)


@pytest.mark.parametrize(
    ("body", "path", "kind"),
    [
        ({"input": {"prompt": "A cat"}}, "model", "missing"),
        ({"model": " ", "input": {"prompt": "A cat"}}, "model", "missing"),
        ({"model": 7, "input": {"prompt": "A cat"}}, "model", "type"),
        ({"model": "m" * 201, "input": {"prompt": "A cat"}}, "model", "value"),
        ({"model": "m"}, "input.prompt", "missing"),
        ({"model": "m", "input": {"prompt": " \n"}}, "input.prompt", "missing"),
        ({"model": "m", "input": {"prompt": "x" * 20_001}}, "input.prompt", "value"),
        ({"model": "m", "input": {"prompt": 1}}, "input.prompt", "type"),
        ({"model": "m", "input": ["A cat"]}, "input", "type"),
        ({"model": "m", "input": "{nothing"}, "input", "syntax"),
        ({"model": "m", "callBackUrl": 1, "input": {"prompt": "x"}}, "callBackUrl", "type"),
        (["m"], "", "syntax"),
    ],
)
def test_create_body_that_lacks_something(body: Any, path: str, kind: str) -> None:
    with pytest.raises(Malformed) as caught:
        read(body)
    assert (caught.value.path, caught.value.kind) == (path, kind)


def test_body_is_not_nested_without_end() -> None:
    deep: Any = {}
    for _ in range(62):
        deep = {"a": [deep]}
    with pytest.raises(Malformed, match="nested deeper than 64 levels"):
        read({"model": "m", "input": {"prompt": "x", "deep": deep}})


def test_longest_prompt_is_taken() -> None:
    assert len(asked(prompt="x" * 20_000).prompt) == 20_000


def test_input_may_be_json_in_a_string() -> None:
    assert read({"model": "m", "input": '{"prompt":"A cat"}'}).prompt == "A cat"


@pytest.mark.parametrize(
    ("input", "expected"),
    [
        ({"n": 2}, {"count": 2}),
        ({"num_images": "4"}, {"count": 4}),
        ({"max_images": 6}, {"count": 6}),
        ({"n": 3, "num_images": 2, "max_images": 1}, {"count": 3}),
        ({"seed": 7}, {"seed": 7}),
        ({"seed": "7"}, {"seed": 7}),
        ({"seed": -1}, {}),
        ({"seed": "-1"}, {}),
        ({"seed": ""}, {}),
        ({"seed": None}, {}),
        ({"output_format": "jpg"}, {"format": "jpeg"}),
        ({"output_format": "JPEG"}, {"format": "jpeg"}),
        ({"output_format": "webp"}, {"format": "webp"}),
        ({"output_format": "mp4"}, {}),
        ({"quality": "high"}, {"quality": "high"}),
        ({"negative_prompt": "dogs"}, {"negative": "dogs"}),
        ({"fps": "24"}, {"fps": 24}),
        ({"sound": True}, {"audio": True}),
        ({"audio": "false"}, {"audio": False}),
        ({"generate_audio": False, "sound": True}, {"audio": False}),
        ({"duration": "5"}, {"duration": 5.0, "kind": Kind.VIDEO}),
        ({"duration": 2.5}, {"duration": 2.5, "kind": Kind.VIDEO}),
        ({"n_frames": "15"}, {"duration": 15.0, "kind": Kind.VIDEO}),
        ({"aspect_ratio": "4:5"}, {"ratio": "4:5"}),
        ({"ratio": "9:16", "aspect_ratio": "4:5"}, {"ratio": "9:16"}),
        ({"aspect_ratio": "auto"}, {"ratio": "auto"}),
        ({"aspect_ratio": "landscape"}, {"ratio": "16:9"}),
        ({"aspect_ratio": "portrait"}, {"ratio": "9:16"}),
        ({"image_size": "16:9"}, {"ratio": "16:9"}),
        ({"image_size": "square_hd"}, {"width": 1024, "height": 1024}),
        ({"image_size": "square_hd", "image_resolution": "4K"}, {"ratio": "1:1"}),
        ({"image_size": "portrait_4_3", "image_resolution": "4K"}, {"ratio": "3:4"}),
        ({"image_size": "landscape_21_9", "image_resolution": "4K"}, {"ratio": "21:9"}),
        ({"size": "640x480", "aspect_ratio": "1:1"}, {"width": 640, "height": 480}),
        ({"size": "high"}, {"quality": "high"}),
        ({"size": "high", "quality": "basic"}, {"quality": "basic"}),
        ({"quality": "720p"}, {"resolution": "720p"}),
        ({"output_resolution": "720"}, {"resolution": "720p"}),
        ({"frames_per_second": "12"}, {"fps": 12}),
        ({"generate_audio_switch": True}, {"audio": True}),
        ({"output_format": "mov"}, {"demands": {"input.output_format": "mov"}}),
        ({"size": "1.5K"}, {"demands": {"input.size": "1.5K"}}),
        ({"resolution": "1080P"}, {"resolution": "1080p"}),
        ({"resolution": "2k"}, {"resolution": "2K"}),
        ({"image_input": [], "image_url": "", "mask_url": None}, {}),
        ({"image_urls": [""], "elements": {}}, {}),
    ],
)
def test_input_says(input: dict[str, Any], expected: dict[str, Any]) -> None:
    if "image_resolution" in input:
        expected = {**expected, "resolution": "4K"}
    assert asked("m", **input) == Submit(model="m", prompt="A cat", **expected)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 0),
        ("n", "many"),
        ("num_images", 1.5),
        ("seed", -2),
        ("seed", True),
        ("seed", 2**70),
        ("duration", 0),
        ("duration", "5s"),
        ("fps", 0),
        ("output_format", "tiff"),
        ("output_format", 1),
        ("quality", 1),
        ("sound", "loud"),
        ("aspect_ratio", "wide"),
        ("aspect_ratio", 1),
        ("resolution", "huge"),
        ("image_size", "0x10"),
        ("input_urls", ["data:image/png;base64,AAAA"]),
        ("image_urls", ["iVBORw0KGgo="]),
        ("image_input", [URL, ""]),
        ("image_url", "ftp://example.com/a.png"),
        ("image", [7]),
        ("video_url", {"url": URL}),
    ],
)
def test_input_that_is_refused(name: str, value: Any) -> None:
    with pytest.raises(Malformed) as caught:
        asked(**{name: value})
    assert caught.value.path.startswith(f"input.{name}")


def test_portrait_of_no_size_is_refused() -> None:
    with pytest.raises(Malformed, match=r"input\.image_size"):
        asked(image_size="portrait_0_0", resolution="2K")


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("input_urls", Role.IMAGE),
        ("image_urls", Role.IMAGE),
        ("image_input", Role.IMAGE),
        ("image", Role.IMAGE),
        ("image_url", Role.IMAGE),
        ("last_frame_url", Role.LAST_FRAME),
        ("end_image_url", Role.LAST_FRAME),
        ("tail_image_url", Role.LAST_FRAME),
        ("mask_url", Role.MASK),
        ("video_url", Role.VIDEO),
        ("video_urls", Role.VIDEO),
        ("audio_url", Role.AUDIO),
    ],
)
@pytest.mark.parametrize("value", [URL, [URL]])
def test_sources_have_many_names(name: str, role: Role, value: Any) -> None:
    submit = asked("m", **{name: value})
    assert submit.kind is Kind.IMAGE
    assert submit.sources == (Source(role=role, url=URL),)


def test_sources_said_twice_are_one() -> None:
    submit = asked(input_urls=[URL, URL_2], image_urls=[URL, URL_2], image_url=URL)
    assert submit.sources == (Source(url=URL), Source(url=URL_2))


def test_first_picture_of_a_video_is_its_first_frame() -> None:
    plain = asked("seedance-2.0-image-to-video", image_urls=[URL, URL_2])
    assert [source.role for source in plain.sources] == [Role.FIRST_FRAME, Role.IMAGE]
    pair = asked("kling-3.0/video", image_urls=[URL, URL_2])
    assert [source.role for source in pair.sources] == [Role.FIRST_FRAME, Role.LAST_FRAME]
    named = asked("seedance-2", first_frame_url=URL, image_urls=[URL_2])
    assert [source.role for source in named.sources] == [Role.FIRST_FRAME, Role.IMAGE]
    references = asked("seedance-2", reference_image_urls=[URL])
    assert [source.role for source in references.sources] == [Role.IMAGE]


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("seedance-2.0-text-to-video", Kind.VIDEO),
        ("kling-2.6/text-to-video", Kind.VIDEO),
        ("bytedance/seedance-2", Kind.VIDEO),
        ("sora-2-pro", Kind.VIDEO),
        ("veo3_fast", Kind.VIDEO),
        ("hailuo/02-standard", Kind.VIDEO),
        ("happyhorse", Kind.VIDEO),
        ("wan/2-7-text-to-video", Kind.VIDEO),
        ("wan/2-7-image", Kind.IMAGE),
        ("nano-banana-2", Kind.IMAGE),
        ("inkling", Kind.IMAGE),
    ],
)
def test_kind_is_in_the_name(model: str, kind: Kind) -> None:
    assert asked(model).kind is kind


def test_kind_is_in_what_is_asked() -> None:
    assert asked("m", first_frame_url=URL).kind is Kind.VIDEO


@pytest.mark.parametrize(
    ("model", "field"),
    [
        ("gpt-image-2-image-to-image", "input_urls"),
        ("seedance-2.0-image-to-video", "image_urls"),
        ("google/nano-banana-edit", "image_urls"),
        ("topaz/image-upscale", "image_url"),
        ("recraft/remove-background", "image"),
        ("somebody/photo-edit", "input_urls"),
        ("somebody/i2v", "input_urls"),
    ],
)
def test_model_that_works_on_sources_needs_one(model: str, field: str) -> None:
    with pytest.raises(Malformed) as told:
        asked(model)
    assert told.value.path == f"input.{field}"
    assert asked(model, image_urls=[URL]).sources


def test_upscaler_needs_no_prompt() -> None:
    body = {"model": "recraft/crisp-upscale", "input": {"image": URL}}
    assert read(body).prompt == ""


# --------------------------------------------------------------------------------- writing a create


def sourced(*roles: Role) -> tuple[Source, ...]:
    return tuple(
        Source(role=role, url=f"https://example.com/{index}.png")
        for index, role in enumerate(roles)
    )


FIRST, LAST = "https://example.com/0.png", "https://example.com/1.png"


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gpt-image-2-image-to-image", {"input_urls": [FIRST]}),
        ("flux-2/pro-image-to-image", {"input_urls": [FIRST]}),
        ("wan/2-7-image", {"input_urls": [FIRST]}),
        ("nano-banana-pro", {"image_input": [FIRST]}),
        ("google/nano-banana-edit", {"image_urls": [FIRST]}),
        ("bytedance/seedream-v4-edit", {"image_urls": [FIRST]}),
        ("qwen/image-edit", {"image_url": FIRST}),
        ("recraft/crisp-upscale", {"image": FIRST}),
    ],
)
@both
def test_model_has_its_own_name_for_sources(
    jobs: Jobs, model: str, expected: dict[str, Any]
) -> None:
    assert written(Submit(model=model, sources=sourced(Role.IMAGE)), jobs) == expected


def test_service_has_its_own_name_where_the_model_has_none() -> None:
    submit = Submit(model="m", sources=sourced(Role.IMAGE))
    assert written(submit) == {"input_urls": [FIRST]}
    assert written(submit, KIE_JOBS) == {"image_urls": [FIRST]}


@pytest.mark.parametrize("model", ["qwen/image-edit", "recraft/crisp-upscale"])
def test_second_source_has_a_place_too(model: str) -> None:
    submit = Submit(model=model, sources=sourced(Role.IMAGE, Role.IMAGE))
    assert written(submit) == {"image_urls": [FIRST, LAST]}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("seedance-2.0-image-to-video", {"image_urls": [FIRST], "last_frame_url": LAST}),
        ("bytedance/seedance-2", {"first_frame_url": FIRST, "last_frame_url": LAST}),
        ("wan/2-7-image-to-video", {"first_frame_url": FIRST, "last_frame_url": LAST}),
        ("kling-3.0/video", {"image_urls": [FIRST, LAST]}),
        ("kling/v2-1-pro", {"image_url": FIRST, "tail_image_url": LAST}),
        ("hailuo/02-image-to-video-pro", {"image_url": FIRST, "end_image_url": LAST}),
    ],
)
def test_model_has_its_own_name_for_frames(model: str, expected: dict[str, Any]) -> None:
    sources = sourced(Role.FIRST_FRAME, Role.LAST_FRAME)
    submit = Submit(kind=Kind.VIDEO, model=model, sources=sources)
    assert written(submit, KIE_JOBS) == expected
    assert asked(model, KIE_JOBS, **expected).sources == sources


def test_last_frame_alone_is_not_the_first() -> None:
    submit = Submit(kind=Kind.VIDEO, model="kling-3.0", sources=sourced(Role.LAST_FRAME))
    assert written(submit) == {"last_frame_url": FIRST}


def test_other_roles() -> None:
    submit = Submit(model="m", sources=sourced(Role.MASK, Role.VIDEO, Role.AUDIO))
    assert written(submit) == {
        "mask_url": FIRST,
        "video_url": LAST,
        "audio_url": "https://example.com/2.png",
    }
    films = Submit(model="m", sources=sourced(Role.VIDEO, Role.VIDEO))
    assert written(films) == {"video_urls": [FIRST, LAST]}
    references = Submit(
        kind=Kind.VIDEO, model="seedance-2", sources=sourced(Role.FIRST_FRAME, Role.IMAGE)
    )
    assert written(references) == {"first_frame_url": FIRST, "reference_image_urls": [LAST]}


@pytest.mark.parametrize(
    ("submit", "expected"),
    [
        (Submit(model="m", count=2), {"num_images": 2}),
        (Submit(model="wan/2-7-image", count=2), {"n": 2}),
        (Submit(model="m", format="jpeg"), {"output_format": "jpeg"}),
        (Submit(model="nano-banana-2", format="jpeg"), {"output_format": "jpg"}),
        (Submit(model="m", duration=5.0), {"duration": 5}),
        (Submit(model="m", duration=2.5), {"duration": 2.5}),
        (Submit(model="m", audio=False), {"generate_audio": False}),
        (Submit(model="m", seed=3, fps=24), {"seed": 3, "fps": 24}),
        (Submit(model="qwen/text-to-image", ratio="3:4"), {"image_size": "portrait_4_3"}),
        (Submit(model="qwen/text-to-image", ratio="7:3"), {"image_size": "7:3"}),
        (
            Submit(model="m", width=1024, height=768),
            {"image_size": "1024x768", "aspect_ratio": "4:3"},
        ),
        (
            Submit(kind=Kind.VIDEO, model="hailuo/02", resolution="768p"),
            {"resolution": "768P"},
        ),
    ],
)
def test_input_is_said(submit: Submit, expected: dict[str, Any]) -> None:
    assert written(submit) == expected


@pytest.mark.parametrize(
    ("submit", "expected"),
    [
        (Submit(kind=Kind.VIDEO, model="kling-2.6/text-to-video", duration=10), {"duration": "10"}),
        (Submit(kind=Kind.VIDEO, model="bytedance/seedance-2", duration=10), {"duration": 10}),
        (Submit(kind=Kind.VIDEO, model="wan/2-7-text-to-video", duration=10), {"duration": 10}),
        (Submit(model="google/imagen4-ultra", seed=7), {"seed": "7"}),
        (Submit(model="google/imagen4-fast", seed=7, count=2), {"seed": 7, "num_images": "2"}),
    ],
)
def test_kie_says_some_numbers_as_text(submit: Submit, expected: dict[str, Any]) -> None:
    assert written(submit, KIE_JOBS) == expected


def test_input_of_its_own_is_added() -> None:
    submit = Submit(model="m", seed=1, extra={"input": {"nsfw_checker": True, "seed": 2}})
    assert written(submit) == {"seed": 2, "nsfw_checker": True}
    assert written(Submit(model="m", extra={"input": "nothing"})) == {}


def test_unknown_input_travels_on() -> None:
    """A task read here and asked of another server of the family loses nothing."""
    body = {
        "model": "a",
        "callBackUrl": "",
        "input": {"prompt": "A cat", "image_input": [URL], "nsfw_checker": True},
    }
    submit = msgspec.structs.replace(read(body), model="b")
    assert json.loads(KIE_JOBS.write_request(submit).body) == {
        "model": "b",
        "input": {"prompt": "A cat", "image_urls": [URL], "nsfw_checker": True},
    }
    for extra in ({"body": "text"}, {"body": {"input": [1]}}, {"body": {"input": "{nothing"}}):
        assert written(Submit(model="b", extra=extra)) == {}
    again = read({"model": "a", "input": '{"prompt":"A cat","cfg_scale":0.5,"style":""}'})
    assert written(again) == {"cfg_scale": 0.5}


@pytest.mark.parametrize(
    "submit",
    [
        Submit(model="m", operations=(Operation(name="upscale"),)),
        Submit(model="m", sources=(Source(data=b"png"),)),
        Submit(model="m", sources=(Source(blob="kept"),)),
        Submit(model="m", sources=sourced(Role.MASK, Role.MASK)),
        Submit(kind=Kind.VIDEO, model="m", sources=sourced(Role.FIRST_FRAME, Role.FIRST_FRAME)),
    ],
)
def test_what_the_wire_cannot_say(submit: Submit) -> None:
    with pytest.raises(Unsupported):
        AI.write_request(submit)


@pytest.mark.parametrize("command", [Cancel(id=ID), Delete(ids=(ID,)), List(), Models()])
@both
def test_operations_that_the_wire_lacks(jobs: Jobs, command: Any) -> None:
    with pytest.raises(Unsupported, match=f"{jobs.title} has no operation to"):
        jobs.write_request(command)
    with pytest.raises(Unsupported):
        jobs.read_reply(command, json_response({"code": 200, "msg": "", "data": {}}))


def test_every_name_that_is_written_is_read() -> None:
    words = ("ratio", "number", "duration", "fps", "audio", "quality")
    for _, row in ROWS:
        assert {row[word] for word in words if word in row} <= KNOWN
        assert {field.removesuffix("[]") for field in row.get("takes", ())} <= SOURCES.keys()


MODELS = (
    *("gpt-image-2-image-to-image", "nano-banana-2", "google/nano-banana-edit", "qwen/image-edit"),
    *("flux-2/pro-text-to-image", "google/imagen4", "google/imagen4-ultra", "wan/2-7-image"),
    *("seedance-2.0-image-to-video", "bytedance/seedance-2", "bytedance/seedance-1.5-pro"),
    *("kling-3.0/video", "kling-2.6/image-to-video", "hailuo/02-image-to-video", "sora-2-video"),
    *("wan/2-7-image-to-video", "wan/2-2-text-to-video", "happyhorse/text-to-video"),
)
optional = st.none


@given(
    jobs=st.sampled_from(DIALECTS),
    model=st.sampled_from(MODELS),
    prompt=st.text(min_size=1).filter(str.strip),
    negative=optional() | st.text(min_size=1),
    ratio=optional() | st.sampled_from(["1:1", "16:9", "9:16", "21:9", "auto"]),
    resolution=st.sampled_from(["1K", "4K", "720p", "1080p"]),
    seed=optional() | st.integers(0, 2**31 - 1),
    count=st.integers(1, 6),
    seconds=optional() | st.integers(1, 60),
    audio=optional() | st.booleans(),
    format=optional() | st.sampled_from(["png", "jpeg", "webp", "bmp"]),
    last=st.booleans(),
    mask=st.booleans(),
)
def test_what_is_said_is_understood(
    jobs: Jobs, model: str, seconds: int | None, last: bool, mask: bool, **values: Any
) -> None:
    kind = asked(model, jobs, image_url=URL).kind
    roles = [Role.IMAGE, Role.IMAGE]
    if kind is Kind.VIDEO:
        roles = [Role.FIRST_FRAME, Role.LAST_FRAME] if last else [Role.FIRST_FRAME]
        values["duration"] = None if seconds is None else float(seconds)
    if mask:
        roles.append(Role.MASK)
    submit = Submit(kind=kind, model=model, sources=sourced(*roles), **values)
    request = jobs.write_request(submit)
    match = jobs.match(request)
    command = jobs.read_request(match.op, match.params, request)
    assert isinstance(command, Submit)
    assert msgspec.structs.replace(command, extra={}) == submit


# --------------------------------------------------------------------------------- writing a reply

DONE = Task(
    id=ID,
    status=Status.SUCCEEDED,
    submit=Submit(model="m", prompt="A cat", seed=3),
    dialect="tensorslab",
    artifacts=(Artifact(url=URL), Artifact(blob="not linked")),
    created=1_000,
    started=1_200,
    finished=3_500,
    credits=2,
)
FIELDS = [
    *("taskId", "model", "state", "param", "resultJson", "failCode", "failMsg", "costTime"),
    *("completeTime", "createTime"),
]


@pytest.mark.parametrize("status", Status)
def test_every_documented_field_is_always_there(status: Status) -> None:
    data = answered(Task(id=ID, status=status, created=1))
    assert list(data) == FIELDS
    assert (data["resultJson"] is None) is (status is not Status.SUCCEEDED)
    assert (data["failCode"] is None) is (status not in (Status.FAILED, Status.CANCELED))
    assert (data["failMsg"] is None) is (data["failCode"] is None)


def test_finished_task() -> None:
    data = answered(DONE)
    assert data["costTime"] == 2_500
    assert json.loads(data["resultJson"]) == {"resultUrls": [URL]}
    assert "creditsConsumed" not in data
    more = answered(DONE, KIE_JOBS)
    assert (more["creditsConsumed"], more["updateTime"]) == (2, 3_500)


def test_failed_task_has_no_end_on_one_of_the_two() -> None:
    task = msgspec.structs.replace(DONE, status=Status.FAILED)
    data = answered(task)
    assert (data["completeTime"], data["costTime"]) == (None, None)
    assert (data["failCode"], data["failMsg"]) == ("500", "The task failed")
    more = answered(task, KIE_JOBS)
    assert (more["completeTime"], more["costTime"]) == (3_500, 2_500)
    assert "creditsConsumed" not in more


def test_time_that_ran_backwards_costs_nothing() -> None:
    assert answered(msgspec.structs.replace(DONE, finished=1))["costTime"] == 0
    assert answered(msgspec.structs.replace(DONE, created=None))["costTime"] is None


def test_param_of_a_task_of_another_wire() -> None:
    assert json.loads(answered(DONE)["param"]) == {
        "model": "m",
        "input": {"prompt": "A cat", "seed": 3},
    }


def test_param_says_no_source_that_has_no_address() -> None:
    submit = Submit(model="m", prompt="A cat", sources=(Source(blob="kept"), Source(url=URL)))
    task = msgspec.structs.replace(DONE, submit=submit)
    assert json.loads(answered(task)["param"])["input"] == {"prompt": "A cat", "input_urls": [URL]}


def test_param_is_the_body_that_came() -> None:
    body = {"model": "m", "input": {"prompt": "A cat", "seed": "3", "x": [1]}, "callBackUrl": ""}
    for dialect in ("aigptimage", "kie"):
        task = msgspec.structs.replace(DONE, submit=read(body), dialect=dialect)
        for jobs in DIALECTS:
            param = answered(task, jobs)["param"]
            assert json.loads(param) == body
            assert " " not in param.replace("A cat", "")
    stranger = msgspec.structs.replace(DONE, submit=read(body), dialect="tencent")
    assert json.loads(answered(stranger)["param"]) != body


def test_state_is_not_to_be_kept_by_a_proxy() -> None:
    response = AI.write_reply("recordInfo", DONE, CONTEXT)
    assert response.header("cache-control") == "no-store"


@both
def test_create_is_answered_with_the_id_alone(jobs: Jobs) -> None:
    response = jobs.write_reply("createTask", DONE, CONTEXT)
    assert json.loads(response.body) == {"code": 200, "msg": "success", "data": {"taskId": ID}}


def test_page_is_no_answer_here() -> None:
    with pytest.raises(TypeError, match="createTask does not answer Page"):
        AI.write_reply("createTask", Page(tasks=(), total=0), CONTEXT)


@pytest.mark.parametrize(
    ("status", "one", "other"),
    [
        (Status.QUEUED, "waiting", "waiting"),
        (Status.RUNNING, "waiting", "generating"),
        (Status.UPLOADING, "waiting", "generating"),
        (Status.SUCCEEDED, "success", "success"),
        (Status.FAILED, "fail", "fail"),
        (Status.CANCELED, "fail", "fail"),
    ],
)
def test_state_words(status: Status, one: str, other: str) -> None:
    task = Task(id=ID, status=status)
    assert (answered(task)["state"], answered(task, KIE_JOBS)["state"]) == (one, other)


@pytest.mark.parametrize("code", FailureCode)
@both
def test_failures_cross(jobs: Jobs, code: FailureCode) -> None:
    failed = Task(id=ID, status=Status.FAILED, failure=Failure(code=code, message="So it went"))
    data = answered(failed, jobs)
    assert data["failCode"].isdigit()
    failure = heard(data, jobs).failure
    assert failure is not None
    assert (failure.code, failure.message) == (code, "So it went")
    assert failure.provider_code == FAIL_CODES[code]


def test_canceled_task_is_heard_as_such() -> None:
    failure = Failure(code=FailureCode.CANCELED, message="Its owner left")
    data = answered(Task(id=ID, status=Status.CANCELED, failure=failure))
    assert (data["state"], data["failCode"], data["failMsg"]) == ("fail", "499", "Its owner left")
    assert heard(data).status is Status.CANCELED


# --------------------------------------------------------------------------------- reading a reply


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("waiting", Status.QUEUED),
        ("QUEUING", Status.QUEUED),
        ("Generating", Status.RUNNING),
        ("SUCCESS", Status.SUCCEEDED),
        ("FAIL", Status.FAILED),
    ],
)
def test_words_of_any_size(word: str, status: Status) -> None:
    task = heard({"state": word}, KIE_JOBS)
    assert (task.status, task.status_word) == (status, None)


@pytest.mark.parametrize(
    ("word", "kept"), [("processing", "processing"), ("Failed", "Failed"), (3, "3"), (None, None)]
)
def test_unknown_word_is_no_end(word: Any, kept: str | None) -> None:
    task = heard({"state": word})
    assert (task.id, task.status, task.status_word) == (ID, Status.RUNNING, kept)


@pytest.mark.parametrize(
    ("result", "urls"),
    [
        (f'{{"resultUrls":["{URL}"]}}', [URL]),
        ({"resultUrls": [URL, URL_2]}, [URL, URL_2]),
        (f'{{"resultUrls":"{URL}"}}', [URL]),
        ("{}", []),
        ("null", []),
        ("", []),
        (None, []),
    ],
)
def test_results_in_many_forms(result: Any, urls: list[str]) -> None:
    task = heard({"state": "success", "resultJson": result})
    assert [artifact.url for artifact in task.artifacts] == urls


@pytest.mark.parametrize("result", ["{nothing", "[]x", '{"resultUrls":[1]}', "[1]", 7])
def test_result_that_is_none(result: Any) -> None:
    with pytest.raises(Malformed) as caught:
        heard({"state": "success", "resultJson": result})
    assert caught.value.path.startswith("data.resultJson")


def test_numbers_may_be_text() -> None:
    data = {"state": "generating", "createTime": "1000", "progress": "41.6", "updateTime": ""}
    task = heard(data, KIE_JOBS)
    assert (task.created, task.progress, task.updated) == (1000, 42, None)


@pytest.mark.parametrize(
    ("code", "expected", "kept"),
    [
        (500, FailureCode.INTERNAL, "500"),
        ("408", FailureCode.TIMEOUT, "408"),
        ("GENERATION_FAILED", FailureCode.PROVIDER_ERROR, "GENERATION_FAILED"),
        (None, FailureCode.PROVIDER_ERROR, None),
        ("", FailureCode.PROVIDER_ERROR, None),
    ],
)
def test_fail_codes_of_many_kinds(code: Any, expected: FailureCode, kept: str | None) -> None:
    failure = heard({"state": "fail", "failCode": code}).failure
    assert failure == Failure(code=expected, message="The task failed", provider_code=kept)


@pytest.mark.parametrize(
    "param",
    [
        '{"model":"seedance-2","input":{"prompt":"A cat"}}',
        '{"model":"seedance-2","input":"{\\"prompt\\":\\"A cat\\"}"}',
    ],
)
def test_echo_is_read(param: str) -> None:
    submit = heard({"state": "waiting", "param": param}).submit
    assert submit == Submit(kind=Kind.VIDEO, model="seedance-2", prompt="A cat")


@pytest.mark.parametrize("param", [None, "", "[]", "{nothing", '{"model":1}', 7])
def test_echo_that_is_none_does_no_harm(param: Any) -> None:
    task = heard({"state": "waiting", "model": "kling-3.0/video", "param": param})
    assert task.submit == Submit(kind=Kind.VIDEO, model="kling-3.0/video")


def test_who_asks_knows_the_kind() -> None:
    task = heard({"state": "waiting", "model": "m"}, command=Fetch(id=ID, kind=Kind.VIDEO))
    assert task.kind is Kind.VIDEO


def test_accepted_task() -> None:
    submit = Submit(model="m", prompt="A cat")
    answer = {"code": 200, "message": "success", "data": {"taskId": "t", "recordId": "r"}}
    expected = Task(id="t", status=Status.QUEUED, submit=submit)
    assert AI.read_reply(submit, json_response(answer)) == expected
    with pytest.raises(Malformed, match=r"data\.taskId"):
        AI.read_reply(submit, json_response({"code": 200, "msg": "success", "data": None}))


# ------------------------------------------------------------------------------------------ faults


@pytest.mark.parametrize(
    ("fault", "code", "message"),
    [
        (NotFound("There is no task 7"), 404, "task not found"),
        (UnknownOperation("GET /api/v1/x"), 404, "not found: GET /api/v1/x"),
        (Unauthenticated(), 401, "authentication failed"),
        (Unauthenticated("no key"), 401, "authentication failed: no key"),
        (BadRequest("no JSON"), 400, "invalid request: no JSON"),
        (
            MissingParameter("input.prompt: required"),
            422,
            "validation error: input.prompt: required",
        ),
        (InvalidValue("validation error: input.n"), 422, "validation error: input.n"),
        (UnknownModel("'x' is none of ours"), 422, "model is not supported: 'x' is none of ours"),
        (Conflict("another body"), 409, "conflict: another body"),
        (TooLarge(), 413, "request too large"),
        (Unavailable(), 503, "server error"),
        (Internal("incident 7"), 500, "server error: incident 7"),
        (Upstream("nonsense"), 500, "server error: nonsense"),
    ],
)
def test_faults_are_told_in_the_status(fault: Fault, code: int, message: str) -> None:
    status, body, _ = told(fault)
    assert status == code
    assert body == {"code": code, "msg": message, "data": None}


def test_query_without_an_id_is_no_validation_error() -> None:
    status, body, _ = told(MissingParameter("taskId: required"), "recordInfo")
    assert (status, body["msg"]) == (400, "invalid request: taskId: required")
    assert told(BadRequest(), None)[0] == 400


@pytest.mark.parametrize(
    ("fault", "code", "heard_as"),
    [
        (NotFound(), 422, NotFound),
        (Unauthenticated(), 401, Unauthenticated),
        (InsufficientCredits(), 402, InsufficientCredits),
        (UnknownModel("x"), 422, UnknownModel),
        (InvalidValue("input.n: must be 1 or more"), 422, BadRequest),
        (MissingParameter("model: required"), 422, BadRequest),
        (RateLimited(), 429, RateLimited),
        (Conflict(), 422, BadRequest),
        (TooLarge(), 422, BadRequest),
        (Unavailable(), 455, Unavailable),
        (Internal(), 500, Internal),
    ],
)
def test_kie_tells_faults_in_the_body_alone(fault: Fault, code: int, heard_as: type[Fault]) -> None:
    status, body, response = told(fault, jobs=KIE_JOBS)
    assert (status, body["code"], body["data"]) == (200, code, None)
    assert type(raised(response, KIE_JOBS)) is heard_as


@pytest.mark.parametrize(
    ("progress", "heard"), [(45, 45), ("45", 45), ("45%", 45), ("45.4 %", 45), ("soon", None)]
)
def test_progress_is_read_however_it_is_written(progress: Any, heard: int | None) -> None:
    data = {"taskId": ID, "state": "generating", "progress": progress, "createTime": "yesterday"}
    reply = KIE_JOBS.read_reply(Fetch(id=ID), json_response({"code": 200, "msg": "", "data": data}))
    assert isinstance(reply, Task)
    assert (reply.status, reply.progress, reply.created) == (Status.RUNNING, heard, None)


def test_kies_unknown_routes_are_told_by_http_too() -> None:
    status, body, response = told(UnknownOperation(), jobs=KIE_JOBS)
    assert (status, body["code"], body["data"]) == (404, 404, None)
    assert type(raised(response, KIE_JOBS)) is NotFound


def test_rate_limit_says_when_to_come_back() -> None:
    fault = RateLimited(retry_after=2.2, limit=10, window=60)
    status, body, response = told(fault)
    assert status == 429
    assert body["data"] == {
        "retryAfter": 3,
        "limit": 10,
        "tier": "standard",
        "windowSeconds": 60,
    }
    assert response.header("retry-after") == "3"
    back = raised(response)
    assert isinstance(back, RateLimited)
    assert (back.retry_after, back.limit, back.window) == (3, 10, 60)


@pytest.mark.parametrize(
    ("data", "seconds"),
    [({"retryAfter": 4}, 4), ({"retryAfter": "4"}, 4), ("soon", None), ([], None), (None, None)],
)
def test_rate_limit_may_say_it_in_the_body(data: Any, seconds: float | None) -> None:
    back = raised(json_response({"code": 429, "msg": "rate limit exceeded", "data": data}, 429))
    assert isinstance(back, RateLimited)
    assert back.retry_after == seconds


@pytest.mark.parametrize(
    ("status", "code", "message", "expected"),
    [
        (404, 404, "task not found", NotFound),
        (404, 404, "no such thing", NotFound),
        (200, 422, "recordInfo is null", NotFound),
        (200, 401, "the API key is required", Unauthenticated),
        (200, 433, "the limit of this key", InsufficientCredits),
        (200, 451, "the image could not be had", BadRequest),
        (200, 455, "maintenance", Unavailable),
        (200, 501, "generation failed", Unavailable),
        (500, 500, "prompt is required", BadRequest),
        (200, 500, "Unknown model x", UnknownModel),
        (200, 400, "bad", BadRequest),
        (200, 0, "what", Upstream),
        (502, 200, "success", Unavailable),
    ],
)
@both
def test_faults_are_heard_in_either_manner(
    jobs: Jobs, status: int, code: int, message: str, expected: type[Fault]
) -> None:
    fault = raised(json_response({"code": code, "msg": message, "data": None}, status), jobs)
    assert type(fault) is expected
    assert fault.message == message


@pytest.mark.parametrize(
    ("status", "expected"), [(502, Unavailable), (429, RateLimited), (401, Unauthenticated)]
)
def test_gateway_that_answers_in_html(status: int, expected: type[Fault]) -> None:
    response = Response(status=status, headers=(("retry-after", "9"),), body=b"<html>")
    assert type(raised(response)) is expected


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b"{}", b'{"code":"so","msg":""}', b'{"code":200,"data":[]}']
)
def test_nonsense_with_a_good_status(body: bytes) -> None:
    with pytest.raises(Malformed):
        AI.read_reply(Fetch(id=ID), Response(body=body))


def test_tables_name_every_relative() -> None:
    assert (AI.relative, KIE_JOBS.relative) == (AIGPTIMAGE, KIE)
