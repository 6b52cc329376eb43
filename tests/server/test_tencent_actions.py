"""What Tencent's clients ask of a running server beside making and fetching one task."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from doubles import Player, Serving, StartApp, models_of, picture
from safelight.config import DefinitionRule, ModelRule, Settings, SettingsError
from safelight.dialects import named
from safelight.engines import Traits
from safelight.errors import UnknownModel, Unsupported
from safelight.models import ModelMap
from safelight.server.definitions import Definitions
from safelight.server.opening import open_app
from safelight.task import Kind, Operation, Source, Submit, bare_id
from safelight.wire import Key, json_request

TENCENT = named("tencent")
INPUT = {"Type": "URL", "UrlInputInfo": {"Url": "https://a.example/1.png"}}
DEFINITIONS = (
    DefinitionRule(
        number=30,
        name="clean",
        comment="for scans",
        image_task={
            "EncodeConfig": {"Format": "PNG"},
            "EnhanceConfig": {"Denoise": {"Type": "strong"}, "ColorEnhance": {"Type": "weak"}},
        },
    ),
    DefinitionRule(number=20, name="large", image_task={"EnhanceConfig": {"SuperResolution": {}}}),
)


async def ask(serving: Serving, action: str, *headers: tuple[str, str], **said: Any) -> Any:
    """The `Response` to an action."""
    asked = json_request("POST", "/", said).with_headers(
        ("x-tc-action", action),
        ("x-tc-version", "2019-06-12"),
        ("host", "testserver"),
        *headers,
    )
    key = Key(id=serving.key.id, secret=serving.key.secret)
    signed = TENCENT.write_key(asked, key, int(time.time() * 1000))
    answer = await serving.http.post("/", content=signed.body, headers=list(signed.headers))
    return answer.json()["Response"]


async def refused(serving: Serving, action: str, **said: Any) -> tuple[str, str]:
    """The code and the text of the error that it answers."""
    error = (await ask(serving, action, **said))["Error"]
    return error["Code"], error["Message"]


async def processed(serving: Serving, **said: Any) -> Submit:
    """What a ProcessImage was accepted as."""
    answer = await ask(serving, "ProcessImage", InputInfo=INPUT, **said)
    return (await serving.task(bare_id(answer["TaskId"]) or "")).submit


@pytest.fixture
async def numbered(start_app: StartApp) -> Serving:
    """A server with templates."""
    return await start_app(definitions=DEFINITIONS)


# -------------------------------------------------------------------------------------- templates


async def test_a_number_means_what_the_settings_say(numbered: Serving) -> None:
    submit = await processed(numbered, Definition=30)

    assert submit.operations == (
        Operation(name="encode", options={"format": "PNG"}),
        Operation(name="denoise", options={"type": "strong"}),
        Operation(name="color_enhance", options={"type": "weak"}),
    )
    assert submit.demands == {}


async def test_what_is_said_beside_a_number_wins_member_by_member(numbered: Serving) -> None:
    submit = await processed(
        numbered,
        Definition=30,
        ImageTask={
            "EncodeConfig": {"Quality": 80},
            "EnhanceConfig": {
                "Denoise": {"Switch": "OFF"},
                "ColorEnhance": {"Type": "strong"},
                "SharpEnhance": {"Intensity": 0.5},
            },
        },
    )

    assert submit.operations == (
        Operation(name="encode", options={"format": "PNG", "quality": 80}),
        Operation(name="color_enhance", options={"type": "strong"}),
        Operation(name="sharp_enhance", options={"intensity": 0.5}),
    )


async def test_a_template_of_which_all_is_switched_off_writes_the_picture_again(
    numbered: Serving,
) -> None:
    off = {"EnhanceConfig": {"SuperResolution": {"Switch": "OFF"}}}
    submit = await processed(numbered, Definition=20, ImageTask=off)
    assert submit.operations == (Operation(name="encode"),)


async def test_the_number_is_told_back_to_whoever_sent_one(numbered: Serving) -> None:
    for said, told in (({"Definition": 20}, 20), ({}, None)):
        answer = await ask(numbered, "ProcessImage", InputInfo=INPUT, **said)
        detail = await ask(numbered, "DescribeImageTaskDetail", TaskId=answer["TaskId"])
        assert detail.get("Definition") == told


async def test_a_number_that_there_is_not(numbered: Serving, start_app: StartApp) -> None:
    code, text = await refused(numbered, "ProcessImage", InputInfo=INPUT, Definition=9)
    assert (code, text) == ("ResourceNotFound.TemplateNotExist", "there is no template 9")


async def test_a_number_where_there_are_none(serving: Serving) -> None:
    code, text = await refused(serving, "ProcessImage", InputInfo=INPUT, Definition=30)
    assert code == "InvalidParameterValue.Definition"
    assert "`Definition` is not valid: there are no templates here" in text
    templates = await ask(serving, "DescribeProcessImageTemplates")
    assert (templates["TotalCount"], templates["ProcessImageTemplateSet"]) == (0, [])


async def test_nothing_is_kept_of_what_was_refused(serving: Serving) -> None:
    for said in ({"Definition": 1}, {"ScheduleId": 30000}, {"StdExtInfo": '{"a":1}'}):
        await refused(serving, "ProcessImage", InputInfo=INPUT, **said)
    listed = await ask(serving, "DescribeAigcTaskList")
    assert listed["Total"] == 0


@pytest.mark.parametrize(
    ("action", "said", "name"),
    [
        ("ProcessImage", {"ScheduleId": 30000}, "ScheduleId"),
        ("ProcessImage", {"StdExtInfo": '{"FilterConfig":{"Switch":"ON"}}'}, "StdExtInfo"),
        (
            "ProcessImage",
            {"AddOnParameter": {"OutputConfig": {"ImageSize": "2K"}}},
            "AddOnParameter.OutputConfig.ImageSize",
        ),
        ("CreateAigcImageTask", {"SceneType": "3d_panorama"}, "SceneType"),
        ("CreateAigcImageTask", {"EnhancePrompt": True}, "EnhancePrompt"),
        (
            "CreateAigcImageTask",
            {"ExtraParameters": {"LogoAdd": 1}},
            "ExtraParameters.LogoAdd",
        ),
        (
            "CreateAigcImageTask",
            {"StoreCosParam": {"CosBucketName": "b"}},
            "StoreCosParam.CosBucketName",
        ),
        (
            "CreateAigcImageTask",
            {"AdditionalParameters": '{"camera": "left"}'},
            "AdditionalParameters.camera",
        ),
        ("CreateAigcVideoTask", {"SubjectInfos": [{"Id": "1"}]}, "SubjectInfos.0.Id"),
    ],
)
async def test_what_nobody_can_do_is_refused_by_its_name(
    serving: Serving, action: str, said: Mapping[str, Any], name: str
) -> None:
    beside = {"InputInfo": INPUT} if action == "ProcessImage" else {"Prompt": "a fox"}
    code, text = await refused(serving, action, **beside, **said)
    assert code == "UnsupportedOperation"
    assert f"`{name}`" in text


class Passing(Player):
    """An engine that plays passing demands on."""

    name = "passing"
    traits = Traits(passes_on=True)


async def test_a_number_is_passed_on_by_whoever_passes_demands_on(tmp_path: Path) -> None:
    engine = Passing()
    models = models_of(engine, ModelRule(name="process-image", engine="sketch"))
    app = await open_app(Settings(data=tmp_path, definitions=DEFINITIONS), models)
    for number in (30, 9):  # whether it is one of ours or not
        asked = Submit(
            model="process-image",
            operations=(Operation(name="encode"),),
            demands={"Definition": number, "ScheduleId": 30000},
        )
        task = await app.service.submit("alice", "tencent", asked)
        assert task.submit == asked
    await app.close()


async def test_the_templates_are_told(numbered: Serving) -> None:
    async def numbers(**said: Any) -> tuple[int, list[int]]:
        told = await ask(numbered, "DescribeProcessImageTemplates", **said)
        return told["TotalCount"], [one["Definition"] for one in told["ProcessImageTemplateSet"]]

    assert await numbers() == (2, [30, 20])
    assert await numbers(OrderBy="Definition") == (2, [20, 30])
    assert await numbers(OrderBy="Definition", OrderType=1) == (2, [30, 20])
    assert await numbers(Limit=1) == (2, [30])
    assert await numbers(Limit=1, Offset=1) == (2, [20])
    assert await numbers(Offset=2**31) == (2, [])
    assert await numbers(Definitions=[20, 99]) == (1, [20])
    assert await numbers(Name="clean", Type="Custom") == (1, [30])
    assert await numbers(Name="clea") == (0, [])
    assert await numbers(Type="Preset") == (0, [])
    told = await ask(numbered, "DescribeProcessImageTemplates", Definitions=[30])
    assert told["ProcessImageTemplateSet"] == [
        {
            "Definition": 30,
            "Name": "clean",
            "Comment": "for scans",
            "Type": "Custom",
            "ProcessImageConfig": {
                "EncodeConfig": {"Format": "PNG"},
                "EnhanceConfig": {
                    "Denoise": {"Switch": "ON", "Type": "strong"},
                    "ColorEnhance": {"Switch": "ON", "Type": "weak"},
                },
            },
        }
    ]


async def test_our_client_hears_of_them(numbered: Serving) -> None:
    async with numbered.client("tencent") as client:
        told = await client.templates(name="large")
    assert [(one.number, one.name) for one in told.templates] == [(20, "large")]
    assert told.templates[0].operations == (Operation(name="super_resolution"),)


@pytest.mark.parametrize(
    ("image_task", "problem"),
    [
        ({}, "definitions: 7: image_task: it asks for nothing"),
        ({"EncodeConfig": {"Quality": "high"}}, "image_task.EncodeConfig.Quality: not an integer"),
        ({"Sharpen": {}}, "definitions: 7: image_task.Sharpen: not defined here"),
        ({"EnhanceConfig": {"Denoise": {"Switch": "OFF"}}}, "it asks for nothing"),
    ],
)
def test_what_is_no_template_is_refused_at_the_start(
    image_task: Mapping[str, Any], problem: str
) -> None:
    with pytest.raises(SettingsError, match=problem):
        Definitions((DefinitionRule(number=7, image_task=dict(image_task)),))


# ------------------------------------------------------------------------------- the other queries


async def test_a_path_leads_to_the_result_whatever_made_it(serving: Serving) -> None:
    made = await serving.post(
        "/v1/images/seedreamv4",
        data={"prompt": "a"},
        files={"sourceImage": ("mine.png", picture())},
    )
    id = made.json()["data"]["taskid"]
    await serving.ended(id)

    detail = await ask(serving, "DescribeImageTaskDetail", TaskId=id)
    workflow = await ask(serving, "DescribeTaskDetail", TaskId=id)

    (result,) = detail["ImageProcessTaskResultSet"]
    (part,) = workflow["WorkflowTask"]["MediaProcessResultSet"]
    file = await serving.http.get(result["Output"]["Path"])
    assert file.content == picture()
    assert "-a0-" in result["Output"]["Path"]
    assert part["TranscodeTask"]["Output"]["Path"] == result["Output"]["Path"]


async def test_a_task_is_told_in_all_three_vocabularies(serving: Serving) -> None:
    made = await ask(serving, "CreateAigcImageTask", Prompt="a fox")
    id = bare_id(made["TaskId"]) or ""
    await serving.ended(id)

    detail = await ask(serving, "DescribeTaskDetail", TaskId=made["TaskId"])
    status = await ask(serving, "DescribeAigcTaskStatus", TaskId=made["TaskId"])
    listed = await ask(serving, "DescribeTasks", Status="FINISH", SubTaskHasFailed=False)
    page = await ask(serving, "DescribeAigcTaskList", PageSize=5)
    alone = await ask(serving, "DescribeAigcTaskList", QueryTaskFilter={"TaskId": id})
    films = await ask(serving, "DescribeAigcTaskList", QueryTaskFilter={"TaskType": "AigcVideo"})

    assert (detail["Status"], status["TaskStatus"]) == ("FINISH", "FINISHED")
    assert status["RequestBody"] == '{"Prompt":"a fox","OutputImageCount":1}'
    assert (await serving.http.get(status["OutputUrl"])).content == picture()
    assert [one["TaskId"] for one in listed["TaskSet"]] == [made["TaskId"]]
    assert page["Tasks"] == alone["Tasks"]
    assert page["Tasks"][0]["Urls"] == [status["OutputUrl"]]
    assert (films["Total"], films["Tasks"]) == (0, [])
    nobody = await refused(serving, "DescribeAigcTaskList", QueryTaskFilter={"TaskId": "0" * 24})
    assert nobody[0] == "ResourceNotFound"


async def test_pages_of_a_list_are_told_by_their_numbers(serving: Serving) -> None:
    made = [(await ask(serving, "CreateAigcImageTask", Prompt="x"))["TaskId"] for _ in range(3)]
    told = []
    for number in (1, 2, 3):
        page = await ask(serving, "DescribeAigcTaskList", PageNum=number, PageSize=2)
        assert (page["Total"], page["PageNum"], page["PageSize"]) == (3, number, 2)
        told += [one["TaskId"] for one in page["Tasks"]]
    assert told == made[::-1]


async def test_tasks_of_other_keys_are_nobody_s(serving: Serving) -> None:
    made = await ask(serving, "CreateAigcImageTask", Prompt="x")
    other = await serving.app.keyring.create("other")
    stranger = Serving(serving.app, serving.engine, other, serving.http)
    for action in ("DescribeTaskDetail", "DescribeAigcTaskStatus"):
        assert (await refused(stranger, action, TaskId=made["TaskId"]))[0] == "ResourceNotFound"
    assert (await ask(stranger, "DescribeTasks", Status="FINISH"))["TotalCount"] == 0
    assert (await ask(stranger, "DescribeAigcTaskList"))["Total"] == 0


# ----------------------------------------------------------------------------- names and languages


async def test_a_source_is_named_by_where_it_was_given(serving: Serving) -> None:
    inside = "http://127.0.0.1/x"
    films = [{"VideoUrl": "https://a.example/1.mp4"}, {"VideoUrl": inside}]
    for said, name in (
        ({"ImageUrl": inside}, "ImageUrl"),
        ({"LastImageUrl": inside}, "LastImageUrl"),
        ({"ImageInfos": [{"ImageUrl": inside}]}, "ImageInfos.0.ImageUrl"),
        ({"ImageUrl": "https://a.example/1.png", "VideoInfos": films}, "VideoInfos.1.VideoUrl"),
    ):
        code, text = await refused(serving, "CreateAigcVideoTask", Prompt="x", **said)
        assert code == "InvalidParameterValue"
        assert f"`{name}` is not valid: " in text
        assert "sources" not in text
    code, text = await refused(
        serving, "ProcessImage", InputInfo={"Type": "URL", "UrlInputInfo": {"Url": inside}}
    )
    assert "`InputInfo.UrlInputInfo.Url` is not valid: " in text


async def test_what_is_wrong_is_told_in_chinese(serving: Serving) -> None:
    answer = await ask(
        serving,
        "CreateAigcVideoTask",
        ("x-tc-language", "zh-CN"),
        ImageUrl="http://127.0.0.1/x",
    )
    assert answer["Error"]["Message"] == "参数 `ImageUrl` 的取值不正确：该地址指向内部网络"


# --------------------------------------------------------------------------------- to an upstream


def test_what_tencent_alone_can_say_is_passed_on_to_tencent_alone() -> None:
    asked = (
        Submit(model="process-image", sources=(Source(url="u"),), demands={"Definition": 7}),
        Submit(kind=Kind.VIDEO, model="Kling", prompt="x", demands={"EnhancePrompt": True}),
    )
    for submit in asked:
        for dialect in ("tencent", "tensorslab", "kie", "aitoearn"):
            rule = ModelRule(name=submit.model, engine="upstream", options={"dialect": dialect})
            place = ModelMap.build((rule,), {}).find(submit)
            if dialect == "tencent":
                place.engine.check(submit, place.options)
            else:
                with pytest.raises((Unsupported, UnknownModel)):
                    place.engine.check(submit, place.options)
