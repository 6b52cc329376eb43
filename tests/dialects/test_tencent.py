"""Tencent: what its wire cases cannot say: routing, strict types, refusals, and the tables."""

from __future__ import annotations

import contextlib
import json
import re
import time
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tencentcloud.mps.v20190612 import models

from safelight import errors, task, wire
from safelight.dialects import named
from safelight.dialects.tencent import faults, parameters
from safelight.dialects.tencent.signature import sign_v1
from safelight.errors import (
    BadRequest,
    Fault,
    Internal,
    InvalidValue,
    Malformed,
    MissingParameter,
    NotFound,
    Unauthenticated,
    Unavailable,
    UnknownOperation,
    Unsupported,
    Upstream,
)
from safelight.task import (
    Artifact,
    Cancel,
    Delete,
    Deleted,
    Failure,
    FailureCode,
    Fetch,
    Kind,
    List,
    Models,
    Operation,
    Role,
    Source,
    Status,
    Submit,
    Task,
    Templates,
)
from safelight.wire import Context, Key, Request, Response, json_response

TENCENT = named("tencent")
ID = "0190a1b2c3d4e5f60718293a"
FORM = "application/x-www-form-urlencoded"
URL = {"Type": "URL", "UrlInputInfo": {"Url": "https://a.example/1.png"}}


def post(action: str, body: Any, *headers: tuple[str, str]) -> Request:
    own = (
        ("content-type", "application/json"),
        ("x-tc-action", action),
        ("x-tc-version", "2019-06-12"),
    )
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Request(method="POST", path="/", headers=own, body=raw).with_headers(*headers)


def get(query: str, *headers: tuple[str, str]) -> Request:
    return Request(method="GET", path="/", query=query, headers=headers)


def read(request: Request) -> Any:
    match = TENCENT.match(request)
    return TENCENT.read_request(match.op, match.params, request)


def refusal(request: Request) -> Fault:
    """The fault that the server would tell."""
    with pytest.raises((Fault, Malformed)) as refused:
        read(request)
    problem = refused.value
    return problem.as_fault() if isinstance(problem, Malformed) else problem  # type: ignore[return-value]


def told(request: Request, op: str | None, fault: Fault) -> tuple[str, str]:
    context = Context(request=request, request_id="r")
    error = TENCENT.write_fault(op, fault, context).json()["Response"]["Error"]
    return error["Code"], error["Message"]


# -------------------------------------------------------------------------------------- claims


@pytest.mark.parametrize(
    "request_",
    [
        get("Action=DescribeImageTaskDetail"),
        get("a=1&Action="),
        get("", ("x-tc-action", "X")),
        get("", ("authorization", "TC3-HMAC-SHA256 Credential=x")),
        Request(method="POST", path="/"),
        Request(method="PUT", path="/"),
    ],
)
def test_calls_are_claimed(request_: Request) -> None:
    assert TENCENT.claims(request_)


@pytest.mark.parametrize(
    "request_",
    [
        get(""),
        get("lang=de"),
        get("Actions=1"),
        get("", ("authorization", "Basic x")),
        Request(method="HEAD", path="/"),
    ],
)
def test_a_browser_is_not_a_caller(request_: Request) -> None:
    assert not TENCENT.claims(request_)


def test_other_dialects_claim_everything_under_their_prefixes() -> None:
    assert named("tensorslab").claims(Request(method="GET", path="/v1"))


# -------------------------------------------------------------------------------------- match


@pytest.mark.parametrize(
    ("request_", "what", "code"),
    [
        (post("Dream", {}), "action", "InvalidAction"),
        (
            Request(method="POST", path="/v9", headers=post("ProcessImage", {}).headers),
            "route",
            "InvalidAction",
        ),
        (Request(method="PUT", path="/"), "protocol", "UnsupportedProtocol"),
        (get("Action=ManageTask&Version=2018-06-08"), "version", "NoSuchVersion"),
    ],
)
def test_what_is_not_there(request_: Request, what: str, code: str) -> None:
    with pytest.raises(UnknownOperation) as refused:
        TENCENT.match(request_)
    assert refused.value.what == what
    assert told(request_, None, refused.value)[0] == code


@pytest.mark.parametrize(
    ("request_", "name"),
    [(get("Version=2019-06-12"), "Action"), (get("Action=ManageTask"), "Version")],
)
def test_action_and_version_are_required(request_: Request, name: str) -> None:
    with pytest.raises(MissingParameter) as refused:
        TENCENT.match(request_)
    assert told(request_, None, refused.value) == (
        "MissingParameter",
        f"The request is missing a required parameter `{name}`.",
    )


# -------------------------------------------------------------------------------------- types


@pytest.mark.parametrize(
    ("action", "body", "code", "text"),
    [
        ("DescribeImageTaskDetail", {}, "MissingParameter", "`TaskId`"),
        ("DescribeImageTaskDetail", b"", "MissingParameter", "`TaskId`"),
        ("DescribeImageTaskDetail", {"TaskId": None}, "MissingParameter", "`TaskId`"),
        ("DescribeImageTaskDetail", {"TaskId": " "}, "MissingParameter", "`TaskId`"),
        (
            "DescribeImageTaskDetail",
            {"TaskId": 5},
            "InvalidParameter",
            "type of parameter `TaskId`",
        ),
        ("DescribeImageTaskDetail", {"TaskId": ID, "x": 1}, "UnknownParameter", "`x`"),
        ("DescribeImageTaskDetail", [], "InvalidParameter", "not an object"),
        ("DescribeImageTaskDetail", b"{", "InvalidParameter", "not valid JSON"),
        ("ProcessImage", {}, "MissingParameter", "`InputInfo`"),
        ("ProcessImage", {"InputInfo": {}}, "MissingParameter", "`InputInfo.Type`"),
        ("ProcessImage", {"InputInfo": []}, "InvalidParameter", "`InputInfo`"),
        (
            "ProcessImage",
            {"InputInfo": {"Type": "URL", "UrlInputInfo": {"Url": " "}}},
            "MissingParameter",
            "`InputInfo.UrlInputInfo.Url`",
        ),
        ("ProcessImage", {"InputInfo": {"Type": "URL"}}, "MissingParameter", "Input"),
        (
            "ProcessImage",
            {"InputInfo": {"Type": "COS", "CosInputInfo": {"Bucket": "b"}}},
            "UnsupportedOperation",
            "`InputInfo.Type`",
        ),
        (
            "ProcessImage",
            {"InputInfo": {"Type": "FTP"}},
            "InvalidParameterValue",
            "`InputInfo.Type`",
        ),
        ("ProcessImage", {"InputInfo": URL, "Definition": -1}, "InvalidParameter", "`Definition`"),
        (
            "ProcessImage",
            {
                "InputInfo": URL,
                "AddOnParameter": {
                    "ImageSet": [{"Image": {"Type": "AWS-S3", "S3InputInfo": {"S3SecretKey": "x"}}}]
                },
            },
            "UnsupportedOperation",
            "`AddOnParameter.ImageSet.0.Image.S3InputInfo.S3SecretKey`",
        ),
        (
            "ProcessImage",
            {"InputInfo": URL, "OutputPath": "{inputName}_{resolution}.{format}"},
            "InvalidParameterValue",
            "`OutputPath` is not valid: there is no placeholder {resolution}",
        ),
        (
            "ProcessImage",
            {"InputInfo": URL, "OutputPath": "x.png"},
            "InvalidParameterValue",
            "`OutputPath`",
        ),
        (
            "ProcessImage",
            {"InputInfo": URL, "ImageTask": {"EnhanceConfig": {"Denoise": {"Switch": "on"}}}},
            "InvalidParameterValue",
            "`ImageTask.EnhanceConfig.Denoise.Switch`",
        ),
        (
            "ProcessImage",
            {
                "InputInfo": URL,
                "ImageTask": {
                    "EraseConfig": {"ImageEraseLogo": {"ImageAreaBoxes": [{"BoundingBox": [True]}]}}
                },
            },
            "InvalidParameter",
            "`ImageTask.EraseConfig.ImageEraseLogo.ImageAreaBoxes.0.BoundingBox.0`",
        ),
        (
            "ProcessImage",
            {"InputInfo": URL, "ImageTask": {"UnderstandImageConfig": {"Model": "m"}}},
            "MissingParameter",
            "`ImageTask.UnderstandImageConfig.Prompt`",
        ),
        ("CreateAigcImageTask", {}, "MissingParameter", "`Prompt`"),
        ("CreateAigcImageTask", {"Prompt": "x", "ImageInfos": [5]}, "InvalidParameter", "Infos.0`"),
        ("CreateAigcImageTask", {"Prompt": "x", "ImageInfos": {}}, "InvalidParameter", "Infos`"),
        (
            "CreateAigcImageTask",
            {"ImageInfos": [{}]},
            "MissingParameter",
            "`ImageInfos.0.ImageUrl`",
        ),
        (
            "CreateAigcImageTask",
            {"ImageInfos": [{"ImageUrl": ""}]},
            "MissingParameter",
            "ImageUrl`",
        ),
        (
            "CreateAigcImageTask",
            {"Prompt": "x", "OutputImageCount": 0},
            "InvalidParameterValue",
            "`OutputImageCount`",
        ),
        (
            "CreateAigcImageTask",
            {"Prompt": "x", "ExtraParameters": {"AspectRatio": "2K"}},
            "InvalidParameterValue",
            "AspectRatio`",
        ),
        (
            "CreateAigcImageTask",
            {"Prompt": "x", "ExtraParameters": {"Resolution": "16:9"}},
            "InvalidParameterValue",
            "Resolution`",
        ),
        (
            "CreateAigcImageTask",
            {"Prompt": "x", "ExtraParameters": {"OutputFormat": "mp4"}},
            "InvalidParameterValue",
            "OutputFormat`",
        ),
        (
            "CreateAigcImageTask",
            {"Prompt": "x", "AdditionalParameters": "[]"},
            "InvalidParameterValue",
            "not a JSON object",
        ),
        (
            "CreateAigcImageTask",
            {"Prompt": "x", "AdditionalParameters": '{"size": "big"}'},
            "InvalidParameterValue",
            "`AdditionalParameters.size`",
        ),
        (
            "CreateAigcImageTask",
            {
                "Prompt": "x",
                "ExtraParameters": {"AspectRatio": "16:9"},
                "AdditionalParameters": '{"size": "4:3"}',
            },
            "InvalidParameterValue",
            "`AdditionalParameters.size` is not valid: says another ratio than ExtraParameters.Asp",
        ),
        (
            "CreateAigcVideoTask",
            {"Prompt": "x", "Duration": 0},
            "InvalidParameterValue",
            "Duration",
        ),
        ("CreateAigcVideoTask", {"Prompt": "x", "Duration": 5.5}, "InvalidParameter", "`Duration`"),
        ("DescribeImageTasks", {}, "MissingParameter", "`Status`"),
        ("DescribeImageTasks", {"Status": "DONE"}, "InvalidParameterValue", "`Status`"),
        (
            "DescribeImageTasks",
            {"Status": "FINISH", "Limit": 101},
            "InvalidParameterValue.Limit",
            "`Limit`",
        ),
        (
            "DescribeImageTasks",
            {"Status": "FINISH", "StartTime": "then"},
            "InvalidParameterValue",
            "`StartTime`",
        ),
        ("DescribeTasks", {"Status": "FINISH", "Limit": "many"}, "InvalidParameter", "`Limit`"),
        ("DescribeTaskDetail", {"TaskId": ""}, "MissingParameter", "`TaskId`"),
        ("DescribeAigcTaskList", {"PageNum": 0}, "InvalidParameterValue", "`PageNum`"),
        ("DescribeAigcTaskList", {"PageSize": 101}, "InvalidParameterValue", "`PageSize`"),
        (
            "DescribeAigcTaskList",
            {"QueryTaskFilter": {"Ratio": "16:9"}},
            "UnsupportedOperation",
            "`QueryTaskFilter.Ratio`",
        ),
        (
            "DescribeAigcTaskList",
            {"QueryTaskFilter": {"TaskId": ID, "TaskStatus": "FAILED"}},
            "UnsupportedOperation",
            "`QueryTaskFilter.TaskId`",
        ),
        (
            "DescribeAigcTaskList",
            {"QueryTaskFilter": {"TaskType": "VideoRedraw"}},
            "InvalidParameterValue",
            "`QueryTaskFilter.TaskType` is not valid: not one of AigcImage, AigcVideo",
        ),
        (
            "DescribeProcessImageTemplates",
            {"Definitions": list(range(101))},
            "InvalidParameterValue",
            "`Definitions`",
        ),
        ("DescribeProcessImageTemplates", {"Definitions": [-1]}, "InvalidParameter", "itions.0`"),
        ("DescribeProcessImageTemplates", {"Limit": 0}, "InvalidParameterValue.Limit", "`Limit`"),
        (
            "DescribeProcessImageTemplates",
            {"OrderBy": "Name"},
            "InvalidParameterValue",
            "`OrderBy`",
        ),
        ("DescribeProcessImageTemplates", {"Type": "Ours"}, "InvalidParameterValue", "`Type`"),
        (
            "ManageTask",
            {"OperationType": "Pause", "TaskId": ID},
            "InvalidParameterValue.InvalidOperationType",
            "`OperationType`",
        ),
    ],
)
def test_what_is_refused(action: str, body: Any, code: str, text: str) -> None:
    request = post(action, body)
    got, message = told(request, action, refusal(request))
    assert got == code
    assert text in message


@pytest.mark.parametrize(
    ("query", "code", "text"),
    [
        ("TaskId=1&TaskId.A=2", "InvalidParameter", "`TaskId.A`"),
        ("TaskId.A=2&TaskId=1", "InvalidParameter", "`TaskId`"),
        ("TaskId.A=2", "InvalidParameter", "`TaskId`"),
        (".".join("A" * 99) + "=1", "UnknownParameter", "`A`"),
    ],
)
def test_what_is_refused_in_a_query(query: str, code: str, text: str) -> None:
    request = get(f"Action=DescribeImageTaskDetail&Version=2019-06-12&{query}")
    got, message = told(request, "DescribeImageTaskDetail", refusal(request))
    assert (got, text in message) == (code, True)


@pytest.mark.parametrize("name", ["ImageInfos.first.ImageUrl", "ImageInfos.99999.ImageUrl"])
def test_a_list_has_numbers(name: str) -> None:
    request = get(f"Action=CreateAigcImageTask&Version=2019-06-12&{name}=x")
    assert refusal(request).parameter == "ImageInfos"


def test_a_list_is_in_the_order_of_its_numbers() -> None:
    names = [f"ImageInfos.{index}.ImageUrl=u{index}" for index in (10, 2, 0)]
    submit = read(get(f"Action=CreateAigcImageTask&Version=2019-06-12&{'&'.join(names)}"))
    assert [source.url for source in submit.sources] == ["u0", "u2", "u10"]


@pytest.mark.parametrize("word", ["True", "true", "1"])
def test_a_flag_is_text_in_a_form(word: str) -> None:
    body = (
        f"Action=CreateAigcVideoTask&Version=2019-06-12&Prompt=a+b&EnhancePrompt={word}&Duration=5"
    )
    headers = (("content-type", f"{FORM}; charset=utf-8"),)
    submit = read(Request(method="POST", path="/", headers=headers, body=body.encode()))
    assert (submit.prompt, submit.duration) == ("a b", 5)
    assert submit.demands == {"EnhancePrompt": True}


def test_a_part_of_json_is_read_as_json() -> None:
    content_type, body = wire.write_form(
        [
            wire.Part(name="Prompt", data=b"x"),
            wire.Part(
                name="ImageInfos", data=b'[{"ImageUrl": "u"}]', media_type="application/json"
            ),
        ]
    )
    submit = read(post("CreateAigcImageTask", body, ("content-type", content_type)))
    assert submit.sources == (Source(url="u"),)


def test_a_region_of_null_is_nothing_to_us() -> None:
    read(post("DescribeImageTaskDetail", {"TaskId": ID}, ("x-tc-region", "null")))


# ------------------------------------------------------------------------- the table of parameters


def shape_of_sdk(name: str) -> set[str]:
    return {field.lstrip("_") for field in vars(getattr(models, name)())}


def check_against_sdk(shape: parameters.Object, name: str) -> None:
    assert shape_of_sdk(name) <= set(shape.members), name
    documented = getattr(models, name).__init__.__doc__
    for member, kind in re.findall(r":type (\w+): (.*)", documented):
        inner = shape.members[member]
        if found := re.search(r"models\.(\w+)`|list of ([A-Z]\w+)", kind):
            while isinstance(inner, parameters.Items):
                inner = inner.of
            assert isinstance(inner, parameters.Object), member
            check_against_sdk(inner, found[1] or found[2])
        else:
            sorts = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
            expected = sorts[kind.removeprefix("list of ")]
            while isinstance(inner, parameters.Items):
                inner = inner.of
            assert isinstance(inner, wire.Sort)
            assert inner.name in (expected, f"unsigned {expected}"), member


@pytest.mark.parametrize("action", parameters.ACTIONS)
def test_every_parameter_of_the_sdk_is_known_with_its_type(action: str) -> None:
    check_against_sdk(parameters.ACTIONS[action], f"{action}Request")


def test_the_answer_has_only_fields_that_the_page_or_the_mainland_names() -> None:
    task_ = Task(id=ID, status=Status.SUCCEEDED, created=1, finished=1)
    context = Context(request=post("DescribeImageTaskDetail", {}), request_id="r")
    answer = TENCENT.write_reply("DescribeImageTaskDetail", task_, context)
    assert answer.status == 200
    assert answer.header("content-type") == "application/json"
    assert set(answer.json()["Response"]) <= shape_of_sdk("DescribeImageTaskDetailResponse")


@pytest.mark.parametrize("step", parameters.STEPS.values(), ids=lambda step: step.name)
def test_options_have_one_spelling_each(step: parameters.Step) -> None:
    assert len(step.options.names) == len(step.options.members)
    wire_name = parameters.parameter_of_step(step.name)
    assert wire_name == f"ImageTask.{step.path}"


def film_of(*roles: Role, **words: Any) -> Submit:
    sources = tuple(Source(role=role, url=f"https://a.example/{role}") for role in roles)
    return Submit(kind=Kind.VIDEO, sources=sources, **words)


SIZED = {"AdditionalParameters": {"size": "16:9"}}


@pytest.mark.parametrize(
    ("op", "ours", "submit", "theirs"),
    [
        ("ProcessImage", "denoise.type", Submit(), "ImageTask.EnhanceConfig.Denoise.Type"),
        ("ProcessImage", "denoise.magic", Submit(), "ImageTask.EnhanceConfig.Denoise.magic"),
        ("ProcessImage", "encode", Submit(), "ImageTask.EncodeConfig"),
        (
            "ProcessImage",
            "image_erase_logo.image_area_boxes.0.bounding_box",
            Submit(),
            "ImageTask.EraseConfig.ImageEraseLogo.ImageAreaBoxes.0.BoundingBox",
        ),
        (
            "ProcessImage",
            "ai_compose.layers.0.input_info.vod_input_info.sub_app_id.x",
            Submit(),
            "ImageTask.AiComposeConfig.Layers.0.InputInfo.VODInputInfo.SubAppId.x",
        ),
        ("ProcessImage", "sources.0", Submit(), "InputInfo.UrlInputInfo.Url"),
        ("ProcessImage", "sources", Submit(), "InputInfo"),
        ("ProcessImage", "operations", Submit(), "ImageTask"),
        ("ProcessImage", "OutputPath", Submit(), "OutputPath"),
        (
            "ProcessImage",
            "extra",
            Submit(extra={"InputInfo": {}, "OutputDir": "x" * 9}),
            "OutputDir",
        ),
        ("ProcessImage", "extra", Submit(), "extra"),
        ("CreateAigcImageTask", "resolution", Submit(), "ExtraParameters.Resolution"),
        ("CreateAigcImageTask", "ratio", Submit(ratio="16:9", extra=SIZED), "AdditionalParameters"),
        (
            "CreateAigcImageTask",
            "ratio",
            Submit(ratio="4:3", extra=SIZED),
            "ExtraParameters.AspectRatio",
        ),
        ("CreateAigcImageTask", "width", Submit(), "AdditionalParameters"),
        ("CreateAigcImageTask", "sources", Submit(), "ImageInfos"),
        ("CreateAigcImageTask", "demands", Submit(demands={"SceneType": "x"}), "SceneType"),
        ("CreateAigcVideoTask", "duration", Submit(), "Duration"),
        ("CreateAigcVideoTask", "model", Submit(), "ModelName"),
        ("CreateAigcVideoTask", "sources.0", film_of(Role.FIRST_FRAME, Role.IMAGE), "ImageUrl"),
        ("CreateAigcVideoTask", "sources.0", film_of(Role.LAST_FRAME), "LastImageUrl"),
        (
            "CreateAigcVideoTask",
            "sources.2",
            film_of(Role.FIRST_FRAME, Role.IMAGE, Role.IMAGE, Role.VIDEO),
            "ImageInfos.1.ImageUrl",
        ),
        (
            "CreateAigcVideoTask",
            "sources.1",
            film_of(Role.IMAGE, Role.VIDEO, Role.AUDIO),
            "VideoInfos.0.VideoUrl",
        ),
        ("CreateAigcVideoTask", "sources", film_of(Role.IMAGE, Role.AUDIO), "AudioInfos"),
        ("CreateAigcVideoTask", "sources.9", film_of(Role.LAST_FRAME), "LastImageUrl"),
        ("CreateAigcVideoTask", "sources.x", film_of(Role.LAST_FRAME), "LastImageUrl"),
    ],
)
def test_parameters_are_named_as_the_wire_names_them(
    op: str, ours: str, submit: Submit, theirs: str
) -> None:
    assert TENCENT.parameter_name(op, ours, submit) == theirs


@pytest.mark.parametrize(
    ("op", "ours", "theirs"),
    [
        ("DescribeImageTasks", "limit", "Limit"),
        ("DescribeTasks", "before", "ScrollToken"),
        ("DescribeAigcTaskList", "limit", "PageSize"),
        (None, "thing", "thing"),
    ],
)
def test_the_parameters_of_lists_are_named_so_too(op: str | None, ours: str, theirs: str) -> None:
    _, message = told(post("X", {}), op, Unsupported(f"{ours}: no", parameter=ours))
    assert message == f"The parameter `{theirs}` asks for what cannot be done here: no"


@pytest.mark.parametrize(
    "kept",
    [5, {}, {"size": 5}, {"size": "huge"}, {"size": "4:3"}, {"size": "64x48"}],
)
def test_what_another_wire_keeps_is_no_size_of_ours(kept: Any) -> None:
    submit = Submit(prompt="x", ratio="16:9", extra={"AdditionalParameters": kept})
    body = TENCENT.write_request(submit).json()
    assert body["ExtraParameters"] == {"AspectRatio": "16:9"}
    assert "AdditionalParameters" not in body


def test_many_sources_of_which_much_is_demanded_are_written_in_no_time() -> None:
    many = [{"ImageUrl": "u", "ReferenceType": "style"}] * 10_000
    submit = read(post("CreateAigcVideoTask", {"ImageInfos": many}))
    began = time.process_time()
    assert TENCENT.write_request(submit).json()["ImageInfos"] == many
    assert TENCENT.parameter_name("CreateAigcVideoTask", "demands", submit)
    assert time.process_time() - began < 1


def test_a_size_and_a_shape_that_say_the_same_are_no_contradiction() -> None:
    body = {
        "Prompt": "x",
        "ExtraParameters": {"AspectRatio": "16:9"},
        "AdditionalParameters": '{"size": "16:9"}',
    }
    assert read(post("CreateAigcImageTask", body)).ratio == "16:9"


def test_a_fault_of_a_chinese_caller_has_no_english_in_it() -> None:
    request = post("ProcessImage", {"InputInfo": URL}, ("x-tc-language", "zh-CN"))
    for problem in (
        "AddOnParameter.ExtPrompt: this server cannot do that",
        "ImageTask.EnhanceConfig.Denoise.Type: 'soft' is none of weak, strong",
        "InputInfo.UrlInputInfo.Url: not an http or https address",
    ):
        name = problem.partition(":")[0]
        for kind in (Unsupported, InvalidValue):
            _, message = told(request, "ProcessImage", kind(problem, parameter=name))
            rest = message.replace(name, "").replace("soft", "").replace("weak, strong", "")
            assert not re.search("[A-Za-z]{3}", rest.replace("http", ""))


IMAGE_TASK = {
    "EncodeConfig": {"Format": "png"},
    "AiComposeConfig": {
        "Switch": "ON",
        "Canvas": {"Width": 5, "Height": 6},
        "Layers": [{"ZIndex": 1, "InputInfo": {**URL}, "BoundingBox": [0, 0.5, 1, 1]}],
    },
    "BeautyConfig": {"BeautyEffectItems": [{"Type": "Whiten", "Switch": "OFF", "Value": 3}]},
    "BlindWatermarkConfig": {"ExtractBlindWatermark": {"Switch": "ON"}},
    "ImageQualityConfig": {"Attributes": ["IQA"]},
}


def test_an_image_task_is_read_and_written_again() -> None:
    operations = parameters.read_echo(IMAGE_TASK)
    assert [operation.name for operation in operations] == [
        "encode",
        "image_quality",
        "ai_compose",
        "extract_blind_watermark",
        "beauty",
    ]
    assert operations[2].options["layers"][0]["input_info"] == {
        "type": "URL",
        "url_input_info": {"url": "https://a.example/1.png"},
    }
    assert parameters.write_operations(operations) == IMAGE_TASK


def test_an_echo_that_cannot_be_read_is_no_trouble() -> None:
    assert parameters.read_echo(5) == ()
    assert parameters.read_echo({"EncodeConfig": {"Quality": "high"}}) == ()
    assert parameters.read_echo({"NewConfig": {}, "EncodeConfig": {"New": 1}}) == (
        Operation(name="encode"),
    )


def test_a_task_of_another_wire_may_ask_for_what_this_one_has_no_words_for() -> None:
    submit = Submit(operations=(Operation(name="dream"),), sources=(Source(blob="b"),))
    task_ = Task(
        id=ID,
        status=Status.SUCCEEDED,
        submit=submit,
        artifacts=(Artifact(url="https://b.example/1"),),
    )
    context = Context(request=post("DescribeImageTaskDetail", {}), request_id="r")
    answer = TENCENT.write_reply("DescribeImageTaskDetail", task_, context).json()["Response"]
    assert answer["ImageTask"] == {}
    assert "InputInfo" not in answer
    assert answer["ImageProcessTaskResultSet"][0]["Output"]["Path"] == "/1"


# -------------------------------------------------------------------------------- client, requests

PROCESS = Submit(operations=(Operation(name="denoise"),), sources=(Source(url="u"),))


def changed(submit: Submit, **changes: Any) -> Submit:
    return msgspec.structs.replace(submit, **changes)


@pytest.mark.parametrize(
    ("command", "parameter"),
    [
        (Delete(ids=(ID,)), None),
        (Models(), None),
        (List(), "statuses"),
        (List(kind=Kind.VIDEO, statuses=frozenset({Status.QUEUED})), "kind"),
        (List(offset=5, statuses=frozenset({Status.QUEUED})), "offset"),
        (changed(PROCESS, prompt="x"), "prompt"),
        (changed(PROCESS, model="m"), "model"),
        (changed(PROCESS, kind=Kind.VIDEO), "kind"),
        (changed(PROCESS, count=2), "count"),
        (changed(PROCESS, seed=0), "seed"),
        (changed(PROCESS, sources=(Source(data=b"x"),)), "sources"),
        (changed(PROCESS, sources=(Source(url="u"),) * 2), "sources"),
        (changed(PROCESS, sources=(Source(url="u", role=Role.MASK),)), "sources"),
        (changed(PROCESS, operations=(Operation(name="dream"),)), "dream"),
        (changed(PROCESS, operations=PROCESS.operations * 2), "denoise"),
        (
            changed(PROCESS, operations=(Operation(name="denoise", options={"x": 1}),)),
            "denoise.x",
        ),
        (Submit(prompt="x", fps=24), "fps"),
        (Submit(prompt="x", quality="hd"), "quality"),
        (Submit(prompt="x", audio=True), "audio"),
        (Submit(prompt="x", duration=5), "duration"),
        (Submit(prompt="x", sources=(Source(url="u", role=Role.MASK),)), "sources"),
        (Submit(prompt="x", sources=(Source(data=b"x"),)), "sources"),
        (Submit(kind=Kind.VIDEO, prompt="x", count=2), "count"),
        (Submit(kind=Kind.VIDEO, prompt="x", format="mp4"), "format"),
        (
            Submit(kind=Kind.VIDEO, sources=(Source(url="u", role=Role.FIRST_FRAME),) * 2),
            "sources",
        ),
        # What another wire demands, or another action; what is told in words of ours; and what
        # belongs to a source that is not there.
        (Submit(prompt="x", demands={"return_last_frame": True}), "return_last_frame"),
        (Submit(prompt="x", demands={"Definition": 7}), "Definition"),
        (Submit(prompt="x", demands={"Prompt": "y"}), "Prompt"),
        (Submit(prompt="x", demands={"ExtraParameters": {}}), "ExtraParameters"),
        (Submit(prompt="x", demands={"ExtraParameters.LogoAdd.0": 1}), "ExtraParameters.LogoAdd.0"),
        (Submit(prompt="x", demands={"ImageInfos.ReferenceType": "a"}), "ImageInfos.ReferenceType"),
        (Submit(prompt="x", demands={"ImageInfos.0.ImageUrl": "a"}), "ImageInfos.0.ImageUrl"),
        (
            Submit(sources=(Source(url="u"),), demands={"ImageInfos.1.ReferenceType": "style"}),
            "ImageInfos.1.ReferenceType",
        ),
        (changed(PROCESS, demands={"SceneType": "x"}), "SceneType"),
        (changed(PROCESS, demands={"AdditionalParameters.x": 1}), "AdditionalParameters.x"),
    ],
)
def test_what_the_wire_cannot_say(command: Any, parameter: str | None) -> None:
    with pytest.raises(Unsupported) as refused:
        TENCENT.write_request(command)
    assert refused.value.parameter == parameter


def test_a_processing_without_steps_is_asked_for_by_its_model() -> None:
    request = TENCENT.write_request(Submit(model="process-image"))
    assert request.header("x-tc-action") == "ProcessImage"
    assert request.json() == {}


@pytest.mark.parametrize(
    ("model", "name", "version"),
    [
        ("Kling-2.1", "Kling", "2.1"),
        ("Kling-3.0-Omni", "Kling", "3.0-Omni"),
        ("Vidu-q2-pro", "Vidu", "q2-pro"),
        ("Hunyuan", "Hunyuan", None),
        ("nano-banana", "nano-banana", None),
        ("gpt-image-2", "gpt-image", "2"),
    ],
)
def test_a_model_is_a_name_and_a_version(model: str, name: str, version: str | None) -> None:
    submit = Submit(kind=Kind.VIDEO, model=model, prompt="a")
    request = TENCENT.write_request(submit)

    body = request.json()
    assert (body["ModelName"], body.get("ModelVersion")) == (name, version)
    assert read(request).model == model


@pytest.mark.parametrize("echo", [{"InputInfo": []}, {"CreateTime": "noon"}, {"Message": 5}])
def test_no_picture_is_lost_to_an_echo_that_is_nonsense(echo: dict[str, Any]) -> None:
    output = {"Path": "/1.png", "SignedUrl": "https://a.example/1.png"}
    results = [{"Status": "SUCCESS", "Progress": "most", "Output": output}]
    detail = {"Status": "FINISH", "ImageProcessTaskResultSet": results, **echo}
    task = TENCENT.read_reply(Fetch(id=ID), json_response({"Response": detail}))
    assert isinstance(task, Task)
    assert (task.status, task.progress) == (Status.SUCCEEDED, None)
    assert [artifact.url for artifact in task.artifacts] == ["https://a.example/1.png"]


@pytest.mark.parametrize(
    ("command", "action"),
    [
        (Fetch(id=f"2600-WorkflowTask-{ID}", kind=Kind.VIDEO), "DescribeImageTaskDetail"),
        (Fetch(id=f"4-AigcVideo-{ID}", kind=Kind.IMAGE), "DescribeAigcVideoTask"),
        (Fetch(id=f"4-AigcImage-{ID}"), "DescribeAigcImageTask"),
        (Fetch(id="1", kind=Kind.VIDEO), "DescribeAigcVideoTask"),
        (Fetch(id="1"), "DescribeImageTaskDetail"),
        (Cancel(id=ID), "ManageTask"),
    ],
)
def test_the_id_chooses_the_query(command: Any, action: str) -> None:
    assert TENCENT.write_request(command).header("x-tc-action") == action


def test_a_request_is_signed_and_the_signature_is_accepted() -> None:
    asked = TENCENT.write_request(Fetch(id=ID))
    key = Key(id="AKID", secret="secret")
    for request in (asked, asked.with_headers(("host", "127.0.0.1:8000"))):
        signed = TENCENT.write_key(request, key, 1747381466000)
        credential = TENCENT.read_key(signed, 1747381466000)
        assert credential.id == "AKID"
        assert credential.check is not None
        credential.check("secret", signed)
    assert TENCENT.write_key(asked, key, 0).header("host") == "mps.intl.tencentcloudapi.com"


@pytest.mark.parametrize(
    ("request_", "reason", "code"),
    [
        (post("ManageTask", {}), "missing", "MissingParameter"),
        (get("Action=ManageTask"), "missing", "MissingParameter"),
        (get("Action=ManageTask&SecretId=x"), "missing", "MissingParameter"),
        (
            post("ManageTask", {}, ("authorization", "SKIP")),
            "malformed",
            "AuthFailure.InvalidAuthorization",
        ),
        (
            post("ManageTask", {}, ("authorization", "TC3-HMAC-SHA256 x")),
            "malformed",
            "AuthFailure.InvalidAuthorization",
        ),
    ],
)
def test_keys_that_are_none(request_: Request, reason: str, code: str) -> None:
    with pytest.raises(Unauthenticated) as refused:
        TENCENT.read_key(request_, 0)
    assert refused.value.reason == reason
    assert told(request_, None, refused.value)[0] == code


A_FORM = ("content-type", FORM)
SIGNED = ("authorization", "TC3-HMAC-SHA256 x")
ACTION = ("x-tc-action", "ManageTask")


@pytest.mark.parametrize(
    ("method", "headers", "told_there"),
    [
        ("POST", (A_FORM,), True),
        ("POST", (A_FORM, SIGNED), True),
        ("POST", (A_FORM, ACTION), True),
        ("POST", (A_FORM, SIGNED, ACTION), False),
        ("POST", (SIGNED, ACTION), False),
        ("POST", (), False),
        ("GET", (A_FORM,), False),
    ],
)
def test_only_a_form_tells_in_its_body_who_sends_it(
    method: str, headers: tuple[tuple[str, str], ...], told_there: bool
) -> None:
    head = Request(method=method, path="/", headers=headers)
    assert TENCENT.told_in_body(head) is told_there


def test_the_older_signature_of_a_form_is_checked() -> None:
    signed = sign_v1({"Action": "ManageTask"}, Key(id="AKID", secret="s"), 0, host="a", nonce=1)
    headers = (("host", "a"), A_FORM)
    body = urlencode(signed).encode()
    request = Request(method="POST", path="/", headers=headers, body=body)

    credential = TENCENT.read_key(request, 0)

    assert (credential.id, credential.check is None) == ("AKID", False)
    credential.check("s", request)  # type: ignore[misc]


def test_the_language_of_a_form_is_found_without_reading_it() -> None:
    for said, chinese in ((b"a=%&Language=zh-CN", True), (b"Language=zh-CNx", False)):
        request = Request(method="POST", path="/", headers=(A_FORM,), body=said)
        answer = TENCENT.write_fault(None, NotFound(), Context(request=request, request_id="r"))
        assert ("任务" in answer.body.decode()) is chinese


# --------------------------------------------------------------------------------- answers, faults


def test_the_trace_is_told_back() -> None:
    request = post("ManageTask", {}, ("x-tc-traceid", "a-trace"))
    answer = TENCENT.write_fault(None, BadRequest(), Context(request=request, request_id="r"))
    assert answer.header("x-tc-traceid") == "a-trace"
    request = post("ManageTask", {}, ("x-tc-traceid", "ü"))
    answer = TENCENT.write_fault(None, BadRequest(), Context(request=request, request_id="r"))
    assert answer.header("x-tc-traceid") is None


def faults_there_are() -> list[type[Fault]]:
    made = vars(errors).values()
    return [kind for kind in made if isinstance(kind, type) and issubclass(kind, Fault)]


@pytest.mark.parametrize("kind", faults_there_are())
@pytest.mark.parametrize("language", ["en-US", "zh-CN"])
def test_every_fault_is_told_with_status_200(kind: type[Fault], language: str) -> None:
    request = post("ManageTask", {}, ("x-tc-language", language))
    context = Context(request=request, request_id="r")
    answer = TENCENT.write_fault("ManageTask", kind(), context)
    assert answer.status == 200
    assert answer.header("content-type") == "application/json"
    said = answer.json()["Response"]
    assert said["RequestId"] == "r"
    assert said["Error"]["Code"]
    assert said["Error"]["Message"]
    assert "{" not in said["Error"]["Message"]
    with pytest.raises(Fault):
        TENCENT.read_reply(Fetch(id=ID), answer)


def test_a_broken_form_is_told_in_english() -> None:
    headers = (("content-type", FORM),)
    request = Request(method="POST", path="/", headers=headers, body=b"\xff")
    assert told(request, None, BadRequest("broken")) == ("InvalidParameter", "broken")


def test_a_name_that_is_told_back_is_cut() -> None:
    _, message = told(post("X", {}), None, UnknownOperation(what="action", name="x" * 9999))
    assert len(message) < 400


@pytest.mark.parametrize(
    ("response", "fault"),
    [
        (Response(status=502, body=b"<html>"), Unavailable),
        (Response(status=404, body=b"{}"), errors.NotFound),
        (Response(status=200, body=b"{}"), Upstream),
        (Response(status=200, body=b"<html>"), Malformed),
        (Response(status=200, body=b'{"Response": {"Error": 5}}'), Malformed),
        (json_response({"Response": {"Error": {"Code": "InternalError"}}}, 500), Internal),
    ],
)
def test_answers_that_are_none(response: Response, fault: type[Exception]) -> None:
    with pytest.raises(fault):
        TENCENT.read_reply(Fetch(id=ID), response)


@pytest.mark.parametrize("command", [Delete(ids=()), Models()])
def test_there_are_no_answers_to_what_cannot_be_asked(command: Any) -> None:
    with pytest.raises(Unsupported):
        TENCENT.read_reply(command, json_response({"Response": {"RequestId": "r"}}))


def test_what_no_action_answers_is_a_mistake_of_ours() -> None:
    context = Context(request=post("X", {}))
    with pytest.raises(TypeError):
        TENCENT.write_reply("ManageTask", Deleted(ids=()), context)


@pytest.mark.parametrize("code", list(FailureCode))
def test_every_failure_crosses(code: FailureCode) -> None:
    failed = Task(id=ID, status=Status.FAILED, failure=Failure(code=code, message="why"))
    context = Context(request=post("X", {}), request_id="r")
    answer = TENCENT.write_reply("DescribeImageTaskDetail", failed, context)
    heard = TENCENT.read_reply(Fetch(id=ID), answer)
    assert isinstance(heard, Task)
    assert heard.failure is not None
    assert (heard.failure.code, heard.failure.message) == (code, "why")
    assert heard.failure.provider_code == faults.FAILURES[code][0]
    assert heard.ended


def test_a_failure_without_a_reason_has_one() -> None:
    assert faults.write_failure(Task(id=ID, status=Status.FAILED)) == (
        "InternalError",
        70000,
        "The task failed",
    )


# ----------------------------------------------------------------------------------------- fuzz

NAMES = [
    "Status",
    "ErrCode",
    "ErrMsg",
    "Message",
    "ImageProcessTaskResultSet",
    "Output",
    "Progress",
    "CreateTime",
    "ImageTask",
    "InputInfo",
    "UrlInputInfo",
    "Url",
    "TaskSet",
    "TaskId",
    "TotalCount",
    "ImageUrls",
    "Resolution",
    "Response",
    "Error",
    "Code",
    "SubTaskHasFailed",
    "Type",
    "Prompt",
    "ImageInfos",
    "ImageUrl",
    "EncodeConfig",
    "ExtraParameters",
    "AdditionalParameters",
    "StartTime",
    "Limit",
    "TaskStatus",
    "TaskType",
    "Tasks",
    "Urls",
    "WorkflowTask",
    "MediaProcessResultSet",
    "TranscodeTask",
    "ProcessImageTemplateSet",
    "ProcessImageConfig",
    "Definition",
    "Definitions",
    "QueryTaskFilter",
    "PageNum",
    "SubjectInfos",
    "StoreCosParam",
    "AddOnParameter",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(NAMES),
            inner,
            max_size=6,
        )
    ),
    max_leaves=25,
)
COMMANDS = [
    Submit(),
    Fetch(id=ID),
    Fetch(id=f"4-AigcImage-{ID}"),
    Fetch(id="1", kind=Kind.VIDEO),
    Cancel(id=ID),
    List(),
    Templates(),
]


@given(JSON, st.sampled_from(COMMANDS))
def test_no_answer_breaks_the_client(value: Any, command: task.Command) -> None:
    response = json_response({"Response": value})
    with contextlib.suppress(Malformed, Fault):
        TENCENT.read_reply(command, response)


@given(JSON, st.sampled_from(sorted(parameters.ACTIONS)))
def test_no_body_breaks_the_server(value: Any, action: str) -> None:
    with contextlib.suppress(Malformed, Fault):
        read(post(action, msgspec.json.encode(value)))


@given(st.text(max_size=60), st.sampled_from(sorted(parameters.ACTIONS)))
def test_no_query_and_no_form_breaks_the_server(text: str, action: str) -> None:
    own = f"Action={action}&Version=2019-06-12&{text}"
    form = post(action, own.encode(), ("content-type", FORM))
    for request in (get(own), form, get(own, ("authorization", text))):
        for ask in (read, TENCENT.claims, lambda one: TENCENT.read_key(one, 0)):
            with contextlib.suppress(Malformed, Fault):
                ask(request)


@pytest.mark.parametrize(
    ("extra", "paths"),
    [
        # Where nothing was asked, and where only a folder was, the files are found at their links.
        ({}, ["/files/a-%C3%BC.webp", "/files/b"]),
        ({"OutputDir": "/out/"}, ["/files/a-%C3%BC.webp", "/files/b"]),
        ({"OutputPath": ""}, ["/files/a-%C3%BC.webp", "/files/b"]),
        ({"OutputPath": "x.{format}"}, ["/in/x.webp", "/in/x_1.png"]),
        ({"OutputPath": "/x/{number}.{format}", "OutputDir": "/y"}, ["/x/0.webp", "/x/1.png"]),
        (
            {"OutputPath": "{inputName}_{inputFormat}_{definition}.{format}", "OutputDir": "y"},
            ["/y/{format}_tiff_0.webp", "/y/{format}_tiff_0_1.png"],
        ),
        (
            {"OutputPath": "{definition}{.{format}", "Definition": 7},
            ["/in/7{.webp", "/in/7{_1.png"],
        ),
    ],
)
def test_a_path_leads_to_the_result_unless_another_was_asked(
    extra: dict[str, Any], paths: list[str]
) -> None:
    task_ = Task(
        id=ID,
        status=Status.SUCCEEDED,
        dialect="tencent",
        submit=Submit(
            sources=(Source(url="https://a.example/in/%7Bformat%7D.tiff?x"),), extra=extra
        ),
        artifacts=(
            Artifact(url="https://b.example/files/a-%C3%BC.webp?s=1#x", media_type="image/webp"),
            Artifact(url="https://b.example/files/b", media_type="image/png"),
        ),
    )
    context = Context(request=post("DescribeImageTaskDetail", {}), request_id="r")
    answer = TENCENT.write_reply("DescribeImageTaskDetail", task_, context).json()["Response"]
    assert [one["Output"]["Path"] for one in answer["ImageProcessTaskResultSet"]] == paths


def test_only_what_was_sent_is_told_back() -> None:
    sent = read(post("ProcessImage", {"InputInfo": URL}))
    task_ = Task(id=ID, status=Status.QUEUED, dialect="tencent", submit=sent)
    context = Context(request=post("DescribeImageTaskDetail", {}), request_id="r")
    answer = TENCENT.write_reply("DescribeImageTaskDetail", task_, context).json()["Response"]
    assert answer["InputInfo"] == URL
    assert not {"ImageTask", "Definition"} & set(answer)


def test_a_path_does_not_grow_without_end() -> None:
    path = "{inputName}" * 180 + ".{format}"
    long = {**URL, "UrlInputInfo": {"Url": f"https://a.example/{'x' * 100_000}.png"}}
    sent = read(post("ProcessImage", {"InputInfo": long, "OutputPath": path}))
    artifacts = tuple(Artifact(url=f"https://b.example/{n}") for n in range(32))
    task_ = Task(
        id=ID, status=Status.SUCCEEDED, dialect="tencent", submit=sent, artifacts=artifacts
    )
    context = Context(request=post("DescribeImageTaskDetail", {}), request_id="r")
    answer = TENCENT.write_reply("DescribeImageTaskDetail", task_, context)
    assert len(answer.body) < 2_000_000
    over = {"InputInfo": URL, "OutputPath": "{inputName}" * 200 + ".{format}"}
    assert refusal(post("ProcessImage", over)).parameter == "OutputPath"


def test_a_path_of_another_wire_s_task_is_no_business_of_its_source() -> None:
    source = Source(url="https://b.example/files/source.png", blob="tasks/1/source-0")
    task_ = Task(
        id=ID,
        status=Status.SUCCEEDED,
        dialect="tensorslab",
        submit=Submit(sources=(source,), extra={"OutputPath": "x.{format}"}),
        artifacts=(Artifact(url="https://b.example/files/result.png"),),
    )
    context = Context(request=post("DescribeImageTaskDetail", {}), request_id="r")
    answer = TENCENT.write_reply("DescribeImageTaskDetail", task_, context).json()["Response"]
    assert answer["ImageProcessTaskResultSet"][0]["Output"]["Path"] == "/files/result.png"
