"""Tencent's own SDK for Python against a running server: an implementation that is not ours.

Covered are all the ways it signs and sends: TC3 by POST, by GET and without the payload, both older
signatures by POST and GET, the two ways to write an address of one's own, the asynchronous client,
and the client that knows no models.
"""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from tencentcloud.common import credential
from tencentcloud.common.common_client import CommonClient
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.mps.v20190612 import models, mps_client, mps_client_async

from end_to_end.running import Running, until
from end_to_end.words import film, picture
from safelight import Key, Kind, Status
from safelight.task import bare_id

# SignedUrl is on the pages of the mainland site, and this SDK, which is the international one,
# warns of every field that it does not know.
pytestmark = pytest.mark.filterwarnings("ignore:SignedUrl fileds are useless:UserWarning")

SIGNATURES = ("TC3-HMAC-SHA256", "HmacSHA1", "HmacSHA256")


def profile(server: Running, sign: str, method: str, whole: bool, unsigned: bool) -> ClientProfile:
    """How the SDK is to send: `whole` gives the address as a URL, `unsigned` omits the body."""
    host = server.url.removeprefix("http://")
    http = HttpProfile(
        protocol="http", endpoint=server.url if whole else host, reqMethod=method, reqTimeout=30
    )
    made = ClientProfile(signMethod=sign, httpProfile=http, language="en-US")
    made.unsignedPayload = unsigned
    return made


def client(
    server: Running,
    *,
    key: Key | None = None,
    sign: str = "TC3-HMAC-SHA256",
    method: str = "POST",
    whole: bool = False,
    unsigned: bool = False,
) -> Any:
    """A client of the SDK's."""
    owner = key or server.key
    return mps_client.MpsClient(
        credential.Credential(owner.id, owner.secret),
        "",
        profile(server, sign, method, whole, unsigned),
    )


def asked(kind: str, **values: Any) -> Any:
    """A request of the SDK's with these parameters."""
    request = getattr(models, f"{kind}Request")()
    request._deserialize(values)
    return request


def wait_for_image(sdk: Any, id: str) -> Any:
    """The answer when an image that is made is at its end."""

    def ended() -> Any:
        answer = sdk.DescribeAigcImageTask(asked("DescribeAigcImageTask", TaskId=id))
        return answer if answer.Status in ("DONE", "FAIL") else None

    return until(ended, every=0.1)


def wait_for_detail(sdk: Any, id: str) -> Any:
    """The answer when an image that is processed is at its end."""

    def ended() -> Any:
        answer = sdk.DescribeImageTaskDetail(asked("DescribeImageTaskDetail", TaskId=id))
        return answer if answer.Status == "FINISH" else None

    return until(ended, every=0.15)


SMALL = {"Prompt": "a red boat", "AdditionalParameters": '{"size":"96x64","seed":5}'}


def make_image(sdk: Any) -> str:
    """The address of a small picture that was made."""
    task = sdk.CreateAigcImageTask(asked("CreateAigcImageTask", ModelName="Hunyuan", **SMALL))
    answer = wait_for_image(sdk, task.TaskId)
    assert (answer.Status, answer.Message) == ("DONE", "ok")
    assert answer.RequestId
    (url,) = answer.ImageUrls
    return str(url)


@pytest.mark.parametrize("sign", SIGNATURES)
@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("whole", [False, True], ids=["host", "url"])
def test_every_way_to_sign_and_send(server: Running, sign: str, method: str, whole: bool) -> None:
    sdk = client(server, sign=sign, method=method, whole=whole)

    task = sdk.CreateAigcImageTask(
        asked(
            "CreateAigcImageTask",
            ModelName="slow",
            Prompt="ein Boot – 红船 & a+b=c/%~*'\"",
            EnhancePrompt=False,
            OutputImageCount=2,
            ImageInfos=[{"ImageUrl": make_image(client(server))}],
            ExtraParameters={"AspectRatio": "16:9", "Resolution": "1K"},
        )
    )
    ((submit,),) = server.rows("select submit from tasks where id = ?", bare_id(task.TaskId))
    assert "ein Boot – 红船 & a+b=c/%~*'" in submit
    with pytest.raises(TencentCloudSDKException) as refused:
        sdk.DescribeImageTaskDetail(asked("DescribeImageTaskDetail", TaskId="0" * 24))
    assert refused.value.get_code() == "ResourceNotFound"
    assert refused.value.get_request_id()
    aborted = sdk.ManageTask(asked("ManageTask", OperationType="Abort", TaskId=task.TaskId))
    assert aborted.RequestId


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_payload_that_is_not_signed(server: Running, method: str) -> None:
    sdk = client(server, method=method, unsigned=True)

    with pytest.raises(TencentCloudSDKException) as refused:
        sdk.DescribeImageTaskDetail(asked("DescribeImageTaskDetail", TaskId="0" * 24))

    assert refused.value.get_code() == "ResourceNotFound"


def test_a_picture_is_processed_and_listed(
    server: Running, http: httpx.Client, tmp_path: Path
) -> None:
    key = server.make_key("sdk")
    sdk = client(server, key=key)
    source = make_image(sdk)
    task = sdk.ProcessImage(
        asked(
            "ProcessImage",
            InputInfo={"Type": "URL", "UrlInputInfo": {"Url": source}},
            OutputDir="/output/",
            OutputPath="{inputName}_{number}.{format}",
            ImageTask={
                "EncodeConfig": {"Format": "JPEG", "Quality": 80},
                "EnhanceConfig": {"SuperResolution": {"Switch": "ON", "Type": "lq", "Size": 2}},
            },
        )
    )
    assert "-WorkflowTask-" in task.TaskId

    answer = wait_for_detail(sdk, task.TaskId)

    assert (answer.TaskType, answer.ErrCode, answer.ErrMsg) == ("WorkflowTask", 0, "")
    assert answer.CreateTime <= answer.FinishTime
    (result,) = answer.ImageProcessTaskResultSet
    assert (result.Status, result.Progress) == ("SUCCESS", 100)
    assert result.Output.Path.startswith("/output/")
    assert result.Output.Path.endswith("_0.jpeg")
    assert answer.ImageTask.EncodeConfig.Format == "JPEG"
    assert answer.InputInfo.UrlInputInfo.Url == source
    body = sdk.call("DescribeImageTaskDetail", {"TaskId": task.TaskId})
    link = httpx.Response(200, content=body).json()["Response"]["ImageProcessTaskResultSet"][0]
    file = tmp_path / "out.jpg"
    file.write_bytes(http.get(link["Output"]["SignedUrl"]).content)
    assert picture(file) == ("JPEG", (192, 128))

    listed = sdk.DescribeImageTasks(asked("DescribeImageTasks", Status="FINISH", Limit=10))
    assert listed.TotalCount == 2
    assert listed.TaskSet[0].TaskId == task.TaskId
    assert listed.TaskSet[0].SubTaskHasFailed is False
    first = sdk.DescribeImageTasks(asked("DescribeImageTasks", Status="FINISH", Limit=1))
    rest = sdk.DescribeImageTasks(
        asked("DescribeImageTasks", Status="FINISH", Limit=1, ScrollToken=first.ScrollToken)
    )
    assert [one.TaskId for one in (*first.TaskSet, *rest.TaskSet)] == [
        one.TaskId for one in listed.TaskSet
    ]


def test_a_template_is_listed_and_its_result_is_at_the_path(
    server: Running, http: httpx.Client, tmp_path: Path
) -> None:
    sdk = client(server, key=server.make_key("numbers"))
    listed = sdk.DescribeProcessImageTemplates(
        asked("DescribeProcessImageTemplates", Definitions=[30001], Type="Custom", Limit=5)
    )
    (template,) = listed.ProcessImageTemplateSet
    assert (listed.TotalCount, template.Definition, template.Name) == (1, 30001, "large")
    assert template.ProcessImageConfig.EnhanceConfig.SuperResolution.Size == 2

    task = sdk.ProcessImage(
        asked(
            "ProcessImage",
            InputInfo={"Type": "URL", "UrlInputInfo": {"Url": make_image(sdk)}},
            OutputStorage={"Type": "COS", "CosOutputStorage": {"Bucket": "b-1", "Region": "r"}},
            Definition=template.Definition,
        )
    )
    answer = wait_for_detail(sdk, task.TaskId)

    assert (answer.Definition, answer.ErrCode) == (30001, 0)
    output = answer.ImageProcessTaskResultSet[0].Output
    assert output.OutputStorage.CosOutputStorage.Bucket == "b-1"
    file = tmp_path / "out.jpg"
    # All that this SDK's callers have of the file.
    file.write_bytes(http.get(f"{server.url}{output.Path}").content)
    assert picture(file) == ("JPEG", (192, 128))


@pytest.mark.parametrize(
    ("action", "said", "code", "name"),
    [
        ("ProcessImage", {"Definition": 9}, "ResourceNotFound.TemplateNotExist", "9"),
        ("CreateAigcImageTask", {"EnhancePrompt": True}, "UnsupportedOperation", "EnhancePrompt"),
        (
            "CreateAigcVideoTask",
            {"ExtraParameters": {"LogoAdd": 1}},
            "UnsupportedOperation",
            "ExtraParameters.LogoAdd",
        ),
    ],
)
def test_what_cannot_be_done_is_told_by_its_name(
    server: Running, action: str, said: dict[str, Any], code: str, name: str
) -> None:
    source = {"Type": "URL", "UrlInputInfo": {"Url": "https://example.com/1.png"}}
    beside = {"InputInfo": source} if action == "ProcessImage" else {"Prompt": "a red boat"}
    with pytest.raises(TencentCloudSDKException) as refused:
        getattr(client(server), action)(asked(action, **beside, **said))
    assert refused.value.get_code() == code
    assert name in refused.value.get_message()


def test_the_other_queries_know_the_same_task(
    server: Running, http: httpx.Client, tmp_path: Path
) -> None:
    sdk = client(server, key=server.make_key("queries"))
    small = {"ModelName": "Hunyuan", **SMALL}
    task = sdk.CreateAigcImageTask(asked("CreateAigcImageTask", **small))
    wait_for_image(sdk, task.TaskId)

    status = sdk.DescribeAigcTaskStatus(asked("DescribeAigcTaskStatus", TaskId=task.TaskId))
    detail = sdk.DescribeTaskDetail(asked("DescribeTaskDetail", TaskId=task.TaskId))
    tasks = sdk.DescribeTasks(asked("DescribeTasks", Status="FINISH", SubTaskHasFailed=False))
    page = sdk.DescribeAigcTaskList(
        asked(
            "DescribeAigcTaskList", PageNum=1, PageSize=5, QueryTaskFilter={"TaskType": "AigcImage"}
        )
    )

    assert (status.TaskId, status.TaskStatus) == (task.TaskId, "FINISHED")
    assert status.CreateTime <= status.ScheduledTime <= status.FinishedTime
    time.strptime(status.FinishedTime, "%Y-%m-%d %H:%M:%S")
    assert json.loads(status.RequestBody)["Prompt"] == SMALL["Prompt"]
    assert (detail.TaskType, detail.Status) == ("WorkflowTask", "FINISH")
    assert detail.WorkflowTask.TaskId == task.TaskId
    output = detail.WorkflowTask.MediaProcessResultSet[0].TranscodeTask.Output
    assert (output.Width, output.Height, output.Container) == (96, 64, "png")
    for number, url in enumerate((f"{server.url}{output.Path}", status.OutputUrl)):
        file = tmp_path / f"{number}.png"
        file.write_bytes(http.get(url).content)
        assert picture(file) == ("PNG", (96, 64))
    assert (tasks.TotalCount, tasks.TaskSet[0].TaskId) == (1, task.TaskId)
    assert (page.Total, page.PageNum, page.PageSize) == (1, 1, 5)
    assert (page.Tasks[0].Urls, page.Tasks[0].Resolution) == ([status.OutputUrl], "96x64")


def test_a_film_is_made(server: Running, http: httpx.Client, tmp_path: Path) -> None:
    sdk = client(server)
    task = sdk.CreateAigcVideoTask(
        asked("CreateAigcVideoTask", ModelName="Kling", ModelVersion="2.1", Duration=1, **SMALL)
    )

    def ended() -> Any:
        request = asked("DescribeAigcVideoTask", TaskId=task.TaskId)
        answer = sdk.DescribeAigcVideoTask(request)
        return answer if answer.Status in ("DONE", "FAIL") else None

    answer = until(ended, every=0.1)

    assert (answer.Status, answer.Resolution) == ("DONE", "96x64")
    file = tmp_path / "out.mp4"
    file.write_bytes(http.get(answer.VideoUrls[0]).content)
    assert film(file)[0] == (96, 64)


def test_an_aborted_task_is_finished_with_an_error(server: Running) -> None:
    sdk = client(server)
    task = sdk.CreateAigcImageTask(asked("CreateAigcImageTask", ModelName="slow", **SMALL))

    sdk.ManageTask(asked("ManageTask", OperationType="Abort", TaskId=task.TaskId))

    answer = wait_for_detail(sdk, task.TaskId)
    assert answer.ErrMsg
    assert answer.ErrCode
    with pytest.raises(TencentCloudSDKException) as refused:
        sdk.ManageTask(asked("ManageTask", OperationType="Abort", TaskId=task.TaskId))
    assert refused.value.get_code() == "InvalidParameterValue.NotProcessingTask"


def test_the_client_that_knows_no_models(server: Running) -> None:
    owner = credential.Credential(server.key.id, server.key.secret)
    plain = CommonClient(
        "mps", "2019-06-12", owner, "", profile(server, SIGNATURES[0], "POST", False, False)
    )

    made = plain.call_json("CreateAigcImageTask", {"ModelName": "slow", "Prompt": "x"})
    id = made["Response"]["TaskId"]

    seen = plain.call_json("DescribeAigcImageTask", {"TaskId": id})
    assert seen["Response"]["Status"] in ("WAIT", "RUN")
    plain.call_json("ManageTask", {"TaskId": id, "OperationType": "Abort"})
    with pytest.raises(TencentCloudSDKException) as refused:
        plain.call_json("DescribeAigcImageTask", {"TaskId": id, "Strange": 1})
    assert refused.value.get_code() == "UnknownParameter"
    assert "Strange" in refused.value.get_message()


async def test_the_asynchronous_client(server: Running) -> None:
    owner = credential.Credential(server.key.id, server.key.secret)
    made = profile(server, SIGNATURES[0], "POST", False, False)
    async with mps_client_async.MpsClient(owner, "", made) as sdk:
        task = await sdk.CreateAigcImageTask(
            asked("CreateAigcImageTask", ModelName="Hunyuan", **SMALL)
        )
        deadline = time.monotonic() + 30
        status = ""
        while status != "DONE":
            request = asked("DescribeAigcImageTask", TaskId=task.TaskId)
            status = (await sdk.DescribeAigcImageTask(request)).Status
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        with pytest.raises(TencentCloudSDKException) as refused:
            await sdk.DescribeImageTaskDetail(asked("DescribeImageTaskDetail", TaskId="1"))
    assert refused.value.get_code() == "ResourceNotFound"


@pytest.mark.parametrize("sign", SIGNATURES)
def test_wrong_keys_are_told_as_the_service_tells_them(server: Running, sign: str) -> None:
    for key, code in (
        (Key(id=server.key.id, secret="wrong"), "AuthFailure.SignatureFailure"),
        (Key(id="AKIDnobody", secret=server.key.secret), "AuthFailure.SecretIdNotFound"),
    ):
        with pytest.raises(TencentCloudSDKException) as refused:
            client(server, key=key, sign=sign).DescribeImageTaskDetail(
                asked("DescribeImageTaskDetail", TaskId="1")
            )
        assert refused.value.get_code() == code
        assert len(refused.value.get_request_id()) == 36


def test_too_many_queries_are_told_as_the_service_tells_them(server: Running) -> None:
    sdk = client(server, key=server.make_key("hasty"))
    codes = []
    messages = set()
    for _ in range(40):
        with pytest.raises(TencentCloudSDKException) as refused:
            sdk.DescribeImageTaskDetail(asked("DescribeImageTaskDetail", TaskId="0" * 24))
        codes.append(refused.value.get_code())
        messages.add(refused.value.get_message())

    assert set(codes[:20]) == {"ResourceNotFound"}
    assert "RequestLimitExceeded" in codes[20:]
    assert any("20" in message and "frequency" in message for message in messages)


async def test_our_client_waits_out_the_limit_that_the_sdk_hits(server: Running) -> None:
    key = await asyncio.to_thread(server.make_key, "patient")
    async with server.client("tencent", key) as ours:
        ours._turns._interval = 0.0
        tasks = [
            await ours.submit(model="Hunyuan", prompt="x", width=64, height=64) for _ in range(4)
        ]
        ended = await asyncio.gather(
            *(ours.wait(bare_id(task.id) or "", 60, kind=Kind.IMAGE) for task in tasks)
        )
    assert {task.status for task in ended} == {Status.SUCCEEDED}
