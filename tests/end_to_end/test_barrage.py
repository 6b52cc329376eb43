"""The barrage: malformed and misdirected calls on every prefix of a running server.

Whatever comes, the answer is never a 5xx and always in the words of the dialect at home there; what
was refused has left nothing; and no secret is in the log.
"""

from __future__ import annotations

import base64
import gzip
import io
import itertools
import json
import socket
import struct
import time
import zlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import httpx
import msgspec
import pytest
from PIL import Image

from end_to_end.running import SERVED, Running, bugs_in, files_in, running, until
from end_to_end.words import IMAGES, VIDEOS, compact, png, refusal, slow
from safelight import FailureCode, Key, Kind, Source, Status, Submit
from safelight.dialects import named
from safelight.dialects.tencent import signature
from safelight.task import Fetch
from safelight.wire import Part, Request, write_form

# Nearly all that is accepted here waits for a minute before it is drawn; there is room for all.
LIMITS = """
concurrency = 4000
grace = 0.5
max_body = 65536
max_source = 20000
max_pixels = 1000000

[[models]]
name = "process-image"
engine = "enhance"

[[models]]
name = "quickedit"
engine = "sketch"

[[models]]
name = "*"
engine = "sketch"
options = { seconds = 60 }

[[definitions]]
number = 1
name = "large"
image_task = { EnhanceConfig = { SuperResolution = { Size = 2 } } }
"""
QUERY_SECRET = "sig-7c1e9a44d0b5"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with small limits, whose log is looked through in the end."""
    with running(tmp_path_factory.mktemp("small") / "data", LIMITS) as server:
        yield server
        log = server.log.read_text(errors="replace")
        assert server.key.secret not in log.replace(first_secret(log), "")
        assert QUERY_SECRET not in log
    assert not bugs_in(server.log), server.log.read_text(errors="replace")[-8000:]


def first_secret(log: str) -> str:
    """The secret of the first key, which a first start shows."""
    return log.partition("  secret  ")[2].split()[0]


@pytest.fixture
def nothing_kept(small: Running) -> Iterator[None]:
    """The test leaves no task, no file and nothing in the scratch folder."""
    before = small.kept()[0]
    yield
    assert small.kept()[0] == before
    ids = {row[0] for row in small.rows("select id from tasks")}
    assert {path.name for path in (small.data / "files" / "tasks").glob("*")} <= ids


def json_call(path: str, body: bytes, **headers: str) -> Request:
    """A POST of these bytes as JSON."""
    said = {"content-type": "application/json", **headers}
    return Request(method="POST", path=path, headers=tuple(said.items()), body=body)


def form_call(path: str, parts: list[Part]) -> Request:
    """A POST of a form."""
    content_type, body = write_form(parts)
    return Request(method="POST", path=path, headers=(("content-type", content_type),), body=body)


def call_tencent(action: str, body: bytes) -> Request:
    """A call of Tencent's, which names its action in a header."""
    return json_call("/", body, **{"x-tc-action": action, "x-tc-version": "2019-06-12"})


# The calls that are JSON, each with a body that would be accepted.
IMAGE, VIDEO = Kind.IMAGE, Kind.VIDEO
JSON_CALLS: list[tuple[str, str, dict[str, Any]]] = [
    (
        "aigptimage",
        "/api/v1/jobs/createTask",
        {
            "model": slow("aigptimage", IMAGE),
            "callBackUrl": "",
            "input": {
                "prompt": "x",
                "aspect_ratio": "1:1",
                "image_size": "64x64",
                "seed": 1,
                "num_images": 1,
                "output_format": "png",
                "negative_prompt": "y",
                "quality": "high",
                "resolution": "1K",
                "input_urls": [],
                "duration": 1,
                "fps": 8,
                "generate_audio": False,
            },
        },
    ),
    (
        "aitoearn",
        "/api/ai/image/generate/async",
        {
            "model": slow("aitoearn", IMAGE),
            "prompt": "x",
            "n": 1,
            "size": "64x64",
            "quality": "high",
            "style": "vivid",
            "user": "u",
            "response_format": "url",
        },
    ),
    (
        "aitoearn",
        "/api/ai/image/edit/async",
        {"model": slow("aitoearn", IMAGE), "prompt": "x", "image": "", "mask": "", "n": 1},
    ),
    (
        "aitoearn",
        "/api/ai/video/generations",
        {
            "model": slow("aitoearn", VIDEO),
            "prompt": "x",
            "duration": 1,
            "resolution": "360p",
            "ratio": "16:9",
            "size": "64x64",
            "image": "",
            "images": [],
            "image_tail": "",
            "seed": 1,
            "metadata": {"aspectRatio": "1:1"},
            "tools": [{"type": "web_search"}],
            "watermark": False,
            "groupId": "g",
        },
    ),
    ("tensorslab", "/v1/images/infobytaskid", {"taskid": "0" * 24, "moreTaskInfo": True}),
    ("tensorslab", "/v1/video/infobytaskid", {"taskid": "0" * 24, "moreTaskInfo": True}),
    ("tensorslab", "/v1/images/deleteimagestask", {"taskids": ["0" * 24]}),
    ("tensorslab", "/v1/video/deletevideotask", {"taskids": ["0" * 24]}),
    (
        "tencent",
        "CreateAigcImageTask",
        {
            "ModelName": "slow",
            "ModelVersion": "1",
            "Prompt": "x",
            "NegativePrompt": "y",
            "EnhancePrompt": False,
            "ImageInfos": [],
            "OutputImageCount": 1,
            "ExtraParameters": {"AspectRatio": "1:1", "Resolution": "1K", "OutputFormat": "png"},
            "AdditionalParameters": '{"size":"64x64","seed":1}',
            "Operator": "me",
        },
    ),
    (
        "tencent",
        "CreateAigcVideoTask",
        {
            "ModelName": "slow-video",
            "Prompt": "x",
            "Duration": 1,
            "ImageUrl": "",
            "LastImageUrl": "",
            "VideoInfos": [],
            "AudioInfos": [],
            "ExtraParameters": {"Resolution": "720P", "EnableAudio": False},
        },
    ),
    (
        "tencent",
        "ProcessImage",
        {
            "InputInfo": {"Type": "URL", "UrlInputInfo": {"Url": "http://10.0.0.1/a.png"}},
            "OutputStorage": {"Type": "COS", "CosOutputStorage": {"Bucket": "b", "Region": "r"}},
            "OutputDir": "/a/",
            "OutputPath": "x.{format}",
            "Definition": 1,
            "ImageTask": {
                "EncodeConfig": {"Format": "JPEG", "Quality": 50},
                "EnhanceConfig": {
                    "SuperResolution": {"Switch": "ON", "Type": "lq", "Size": 2},
                    "Denoise": {"Type": "weak"},
                    "SharpEnhance": {"Intensity": 0.5},
                },
            },
        },
    ),
    ("tencent", "DescribeImageTaskDetail", {"TaskId": "0" * 24}),
    ("tencent", "DescribeTaskDetail", {"TaskId": "0" * 24}),
    ("tencent", "DescribeAigcTaskStatus", {"TaskId": "0" * 24}),
    (
        "tencent",
        "DescribeAigcTaskList",
        {
            "PageNum": 1,
            "PageSize": 10,
            "QueryTaskFilter": {"TaskId": "", "TaskType": "AigcImage", "TaskStatus": "FAILED"},
        },
    ),
    (
        "tencent",
        "DescribeProcessImageTemplates",
        {
            "Definitions": [1],
            "Offset": 0,
            "Limit": 10,
            "Name": "large",
            "Type": "Custom",
            "OrderBy": "Definition",
            "OrderType": 1,
        },
    ),
    ("tencent", "DescribeAigcVideoTask", {"TaskId": "0" * 24}),
    ("tencent", "ManageTask", {"OperationType": "Abort", "TaskId": "0" * 24}),
    (
        "tencent",
        "DescribeImageTasks",
        {
            "Status": "FINISH",
            "Limit": 10,
            "ScrollToken": "",
            "StartTime": "2026-01-01T00:00:00Z",
            "EndTime": "2026-01-01T00:00:00Z",
            "SubTaskHasFailed": False,
        },
    ),
]
CALL_NAMES = [f"{dialect}-{path.rpartition('/')[2]}" for dialect, path, _ in JSON_CALLS]

# Raw JSON texts, so that also those can be said that no JSON library writes.
STRANGE = (
    "null", "true", "false", "0", "-1", "1.5", "1e308", "1e999", "-0", str(2**63), "1" * 40,
    '""', '" "', '"\\u0000"', '"\\ud800"', '"x"', '"NaN"', '"-1"', '"0x0"', '"99999x99999"',
    '"0:0"', '"1e5"', '"' + "x" * 5000 + '"', '"\\u202e\\u0130"', '"{}"', '"[]"', '"\\r\\nX-A: b"',
    "[]", "[null]", "[[]]", "[1]", '[""]', '[{"a":1}]', "{}", '{"a":{"b":[]}}', '{"":null}',
    "[" * 200 + "]" * 200, '{"a":' * 100 + "1" + "}" * 100, '["' + '","'.join("x" * 300) + '"]',
)  # fmt: skip
BODIES = (
    b"", b" ", b"{", b"}", b"[]", b"null", b"1", b'"x"', b"{]", b"\xff\xfe{}", b'{"model":"\xff"}',
    b"[" * 30000, b'{"a":' * 10000, b"{}{}", b'{"a":1,}', b"{'a':1}", b"NaN", b"-", b"\x00",
    "\ufeff{}".encode(), "{}".encode("utf-16"), gzip.compress(b"{}"), b'{"prompt":NaN}',
    b"prompt=x&model=y", b"--x\r\n\r\n--x--", b"<xml/>", b'{"\\ud800":1}', b'{"a":"\x01"}',
)  # fmt: skip


def call(dialect: str, path: str, body: bytes) -> Request:
    """The call of `JSON_CALLS` with another body."""
    return call_tencent(path, body) if dialect == "tencent" else json_call(path, body)


def names_in(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path to every value in an object."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield (*path, name)
            yield from names_in(member, (*path, name))


def with_value(body: dict[str, Any], path: tuple[str, ...], text: str | None) -> bytes:
    """`body` as JSON with that raw text at `path`, or without the name where the text is None."""
    copy = json.loads(json.dumps(body))
    node = copy
    for name in path[:-1]:
        node = node[name]
    if text is None:
        del node[path[-1]]
    else:
        node[path[-1]] = "@@"
    return json.dumps(copy).replace('"@@"', text or "").encode()


class Count:
    """Judges answers, and counts those that accepted a task."""

    def __init__(self) -> None:
        self.accepted = 0
        self.refused = 0

    def judge(self, dialect: str, answer: httpx.Response, creates: bool = True) -> None:
        if succeeded(dialect, answer):
            self.accepted += creates
        else:
            refusal(dialect, answer)
            self.refused += 1


def succeeded(dialect: str, answer: httpx.Response) -> bool:
    """Whether the call did what it asked for, by that dialect's own envelope."""
    body = answer.json()
    match dialect:
        case "tensorslab":
            return bool(body["code"] == 1000)
        case "aigptimage":
            return bool(body["code"] == 200)
        case "aitoearn":
            return bool(body["code"] == 0)
        case "safelight":
            return answer.is_success
        case _:
            return "Error" not in body["Response"]


# -------------------------------------------------------------------------------- bodies


@pytest.mark.parametrize(("dialect", "path", "body"), JSON_CALLS, ids=CALL_NAMES)
def test_strange_values_in_every_field(
    small: Running, http: httpx.Client, dialect: str, path: str, body: dict[str, Any]
) -> None:
    creates = "infobytaskid" not in path and "delete" not in path and "Describe" not in path
    tasks, count = small.kept()[0], Count()

    for name in names_in(body):
        for text in (None, *STRANGE):
            request = call(dialect, path, with_value(body, name, text))
            count.judge(dialect, small.ask(http, dialect, request), creates)

    assert count.refused
    assert small.kept()[0] == tasks + count.accepted


# Of these nothing has to be asked, so that an empty body is one.
BARE = ("DescribeAigcTaskList", "DescribeProcessImageTemplates")


@pytest.mark.parametrize(
    ("dialect", "path", "body"),
    [one for one in JSON_CALLS if one[1] not in BARE],
    ids=[name for name in CALL_NAMES if not name.endswith(BARE)],
)
def test_bodies_that_are_no_objects(
    small: Running,
    http: httpx.Client,
    nothing_kept: None,
    dialect: str,
    path: str,
    body: dict[str, Any],
) -> None:
    for raw in BODIES:
        answer = small.ask(http, dialect, call(dialect, path, raw))
        refusal(dialect, answer)
        for content_type in ("text/plain", "application/x-www-form-urlencoded",
                             "multipart/form-data", "multipart/form-data; boundary=", "\xff", ";;;",
                             ""):  # fmt: skip
            request = call(dialect, path, raw).with_headers(("content-type", content_type))
            refusal(dialect, small.ask(http, dialect, request))


FORM: dict[str, bytes] = {
    "prompt": b"x",
    "batchsize": b"1",
    "seed": b"1",
    "resolution": b"64x64",
    "imageUrl": b"",
    "category": b"c",
    "ratio": b"16:9",
    "duration": b"1",
    "fps": b"8",
    "generate_audio": b"0",
}
STRANGE_PARTS = (
    b"", b" ", b"\x00", b"\xff\xfe", b"-1", b"0", b"1.5", b"1e999", b"9" * 40, b"NaN", b"inf",
    b"true", b"{}", b"[]", b"99999x99999", b"0x0", b"0:0", b"x" * 5000, "\uff11".encode(), b"\r\n",
    b"auto", b"http://", b",,,", b"http://a,b,http://10.0.0.1/",
)  # fmt: skip


@pytest.mark.parametrize("path", ["/v1/images/zimage", "/v1/video/seedancev1"])
def test_strange_values_in_every_part_of_a_form(
    small: Running, http: httpx.Client, path: str
) -> None:
    tasks, count = small.kept()[0], Count()

    for name, value in itertools.product(FORM, STRANGE_PARTS):
        parts = [Part(name=key, data=data) for key, data in {**FORM, name: value}.items()]
        count.judge("tensorslab", small.ask(http, "tensorslab", form_call(path, parts)))
        body = urlencode([(part.name, part.data) for part in parts]).encode()
        request = json_call(path, body).with_headers(
            ("content-type", "application/x-www-form-urlencoded")
        )
        count.judge("tensorslab", small.ask(http, "tensorslab", request))
    for name in FORM:
        parts = [Part(name=key, data=data) for key, data in FORM.items() if key != name]
        parts += [Part(name=name, data=b"a file", filename="x.txt", media_type="text/plain")]
        count.judge("tensorslab", small.ask(http, "tensorslab", form_call(path, parts)))

    assert count.refused
    assert small.kept()[0] == tasks + count.accepted


BROKEN_FORMS = (
    ("multipart/form-data; boundary=x", b""),
    ("multipart/form-data; boundary=x", b"--x"),
    ("multipart/form-data; boundary=x", b"--x--\r\n"),
    ("multipart/form-data; boundary=x", b"--y\r\n\r\n--y--\r\n"),
    ("multipart/form-data; boundary=x", b"--x\r\n\r\nvalue\r\n--x--\r\n"),
    ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="prompt"'),
    (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\nhalf a form',
    ),
    (
        "multipart/form-data; boundary=x",
        b"--x\r\nContent-Disposition: form-data\r\n\r\nnameless\r\n--x--\r\n",
    ),
    ("multipart/form-data; boundary=x", b"--x\r\n: : :\r\n\r\n\r\n--x--\r\n"),
    (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n' * 300 + b"--x--\r\n",
    ),
    ("multipart/form-data; boundary=" + "x" * 500, b"--x\r\n\r\n--x--"),
    ("multipart/mixed; boundary=x", b"--x\r\n\r\n--x--"),
    ("multipart/form-data; boundary*=utf-8''x", b"--x\r\n\r\n--x--"),
    ("application/json", b'{"prompt":"x"}'),
    ("application/octet-stream", b"prompt=x"),
    ("application/x-www-form-urlencoded", b"%ff=%ff&prompt"),
    ("application/x-www-form-urlencoded", b"&".join(b"a=1" for _ in range(1000))),
)


@pytest.mark.parametrize("path", ["/v1/images/seedreamv4", "/v1/video/seedancev2"])
def test_broken_forms(small: Running, http: httpx.Client, nothing_kept: None, path: str) -> None:
    for content_type, body in BROKEN_FORMS:
        request = json_call(path, body).with_headers(("content-type", content_type))
        refusal("tensorslab", small.ask(http, "tensorslab", request))


@pytest.mark.parametrize("dialect", SERVED)
def test_bodies_that_are_too_large(
    small: Running, http: httpx.Client, nothing_kept: None, dialect: str
) -> None:
    paths = {
        "tensorslab": "/v1/images/seedreamv4",
        "aigptimage": "/api/v1/jobs/createTask",
        "aitoearn": "/api/ai/image/generate/async",
        "safelight": "/api/safelight/v1/tasks",
        "tencent": "CreateAigcImageTask",
    }
    request = small.sign(named(dialect), call(dialect, paths[dialect], b" " * 70000))
    expected = {
        "tensorslab": (9999, 413),
        "aigptimage": 413,
        "aitoearn": 10002,
        "safelight": ("too_large", 413),
        "tencent": "RequestSizeLimitExceeded",
    }

    announced = small.send(http, request)
    assert refusal(dialect, announced) == expected[dialect]
    assert "connection" not in announced.headers  # a body of this size is thrown away
    chunked = http.post(
        f"{small.url}{request.path}",
        content=iter([b" " * 10000] * 7),
        headers=dict(request.headers),
    )
    assert refusal(dialect, chunked) == expected[dialect]
    assert chunked.headers["connection"] == "close"  # it is not read: nothing can follow


# -------------------------------------------------------------------------------- routes

STRAY = {
    "tensorslab": (
        "/v1", "/v1/", "/v1//images", "/v1/images", "/v1/images/", "/v1/images/gpt", "/v1/audio/x",
        "/v1/images/infobytaskid/", "/v1/images/%00", "/v1/%ff", "/v1/images/seedreamv4/x",
        "/v1/video/seedreamv4", "/v1/images/seedancev2", "/v1/" + "x" * 3000, "/v1/%2e%2e/secret",
    ),
    "aigptimage": (
        "/api/v1", "/api/v1/", "/api/v1/jobs", "/api/v1/jobs/recordinfo", "/api/v1/jobs/%00",
        "/api/v1/jobs/createTask/", "/api/v1/veo/generate", "/api/v1/" + "x" * 3000,
    ),
    "aitoearn": (
        "/api/ai", "/api/ai/", "/api/ai/image", "/api/ai/image/task", "/api/ai/image/task/",
        "/api/ai/image/task/1/2", "/api/ai/video/generations//x", "/api/ai/models/audio",
        "/api/ai/image/task/..%2f..%2fsecret/x", "/api/ai/" + "x" * 3000,
    ),
}  # fmt: skip
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW")


@pytest.mark.parametrize("dialect", STRAY)
def test_routes_that_are_none(
    small: Running, http: httpx.Client, nothing_kept: None, dialect: str
) -> None:
    for path, method in itertools.product(STRAY[dialect], METHODS):
        request = Request(method=method, path=path)
        refusal(dialect, small.ask(http, dialect, request))
        assert small.ask(http, dialect, Request(method="HEAD", path=path)).status_code < 500


@pytest.mark.parametrize("dialect", STRAY)
def test_methods_that_a_route_does_not_have(
    small: Running, http: httpx.Client, nothing_kept: None, dialect: str
) -> None:
    routes = named(dialect).routes
    for route, method in itertools.product(routes, METHODS):
        path = route.path.replace("{logId}", "0" * 24).replace("{taskId}", "0" * 24)
        if (method, path) not in {(one.method, one.path) for one in routes} | {("GET", path)}:
            answer = small.ask(http, dialect, Request(method=method, path=path))
            refusal(dialect, answer)


def test_ids_that_are_none(small: Running, http: httpx.Client, nothing_kept: None) -> None:
    ids = ("1", "x", "0" * 23, "0" * 25, "g" * 24, "a" * 4000, "0" * 24 + "\n", "-" * 60,
           "2600-WorkflowTask-" + "0" * 23, "%00", "\u0660" * 24, "' or 1=1 --", "../../secret",
           "a-" * 2000 + "0" * 24, "a_-" * 1000)  # fmt: skip
    for dialect, id, kind in itertools.product(SERVED, ids, Kind):
        began = time.monotonic()
        refusal(dialect, small.ask(http, dialect, Fetch(id=id, kind=kind)))
        assert time.monotonic() - began < 5


def test_queries_that_are_none(small: Running, http: httpx.Client, nothing_kept: None) -> None:
    for query in ("", "taskId", "taskId=", "taskId=%00", "taskId=%ff", "taskid=1", "&&&",
                  "a=b" * 999, "taskId=1&taskId=2", "taskId[]=1", "taskId=%ED%A0%80"):  # fmt: skip
        asked = Request(method="GET", path="/api/v1/jobs/recordInfo", query=query)
        refusal("aigptimage", small.ask(http, "aigptimage", asked))
    for query in ("page=0", "page=-1", "page=x", "pageSize=0", "pageSize=1000000", "page=1e9",
                  "page=" + "9" * 40, "page=999999999999&pageSize=100", "pageSize=%00",
                  "status=x"):  # fmt: skip
        for path in ("/api/ai/logs", "/api/ai/video/generations"):
            answer = small.ask(http, "aitoearn", Request(method="GET", path=path, query=query))
            assert answer.status_code == 200
            if not succeeded("aitoearn", answer):
                refusal("aitoearn", answer)


# -------------------------------------------------------------------------------- Tencent


def test_actions_and_versions_that_are_none(
    small: Running, http: httpx.Client, nothing_kept: None
) -> None:
    for headers, code in (
        ({}, "MissingParameter"),
        ({"x-tc-action": "Nothing", "x-tc-version": "2019-06-12"}, "InvalidAction"),
        ({"x-tc-action": "x" * 5000, "x-tc-version": "2019-06-12"}, "InvalidAction"),
        ({"x-tc-action": "\xff\xfe", "x-tc-version": "2019-06-12"}, "InvalidAction"),
        ({"x-tc-action": "ProcessImage"}, "MissingParameter"),
        ({"x-tc-action": "ProcessImage", "x-tc-version": "2017-03-12"}, "NoSuchVersion"),
    ):
        answer = small.ask(http, "tencent", json_call("/", b"{}", **headers))
        assert refusal("tencent", answer) == code
    for method in ("PUT", "PATCH", "DELETE", "OPTIONS", "BREW"):
        answer = small.ask(http, "tencent", Request(method=method, path="/"))
        assert refusal("tencent", answer) == "UnsupportedProtocol"


def signed(server: Running, key: Key, now: float, body: bytes = b'{"TaskId":"1"}') -> Request:
    """A call that was signed with that key, at that time."""
    request = call_tencent("DescribeImageTaskDetail", body)
    request = request.with_headers(("host", server.url.removeprefix("http://")))
    return named("tencent").write_key(request, key, int(now * 1000))


def test_stale_and_forged_signatures(
    small: Running, http: httpx.Client, nothing_kept: None
) -> None:
    now, key = time.time(), small.key
    good = signed(small, key, now)
    assert refusal("tencent", small.send(http, good)) == "ResourceNotFound"
    said = good.header("authorization") or ""

    for request, code in (
        (signed(small, key, now - 400), "AuthFailure.SignatureExpire"),
        (signed(small, key, now + 400), "AuthFailure.SignatureExpire"),
        (signed(small, key, 0), "AuthFailure.SignatureExpire"),
        (signed(small, Key(id=key.id, secret="sk-wrong"), now), "AuthFailure.SignatureFailure"),
        (signed(small, Key(id="AKIDx", secret=key.secret), now), "AuthFailure.SecretIdNotFound"),
        (msgspec.structs.replace(good, body=b'{"TaskId":"2"}'), "AuthFailure.SignatureFailure"),
        (good.with_headers(("x-tc-timestamp", "99999999999")), "AuthFailure.SignatureExpire"),
    ):
        assert refusal("tencent", small.send(http, request)) == code
    for authorization in ("", "SKIP", "Bearer x", signature.TC3, f"{signature.TC3} x",
                          said[:-1], said.replace("Signature=", "Signature=0"),
                          said.replace("host", "nohost"),
                          said.replace("content-type;host", ""), said.replace(key.id, ""),
                          said.replace("content-type;host", "content-type"), said + "0",
                          said.replace("content-type;host", ";".join("x" * 900)),
                          "\xff" * 9):  # fmt: skip
        forged = good.with_headers(("authorization", authorization))
        assert str(refusal("tencent", small.send(http, forged))).startswith(
            ("AuthFailure", "MissingParameter")
        )
    for timestamp in ("", "x", "-1", "1e9", "9" * 400, "\xb2", "nan"):
        forged = good.with_headers(("x-tc-timestamp", timestamp))
        refusal("tencent", small.send(http, forged))


def test_older_signatures_that_are_forged(
    small: Running, http: httpx.Client, nothing_kept: None
) -> None:
    base = {
        "Action": "DescribeImageTaskDetail",
        "Version": "2019-06-12",
        "TaskId": "1",
        "Nonce": "7",
        "SecretId": small.key.id,
        "Timestamp": str(int(time.time())),
        "Signature": "AAAA",
    }
    for change in ({}, {"Signature": ""}, {"Signature": "\u00e9"}, {"SignatureMethod": "none"},
                   {"SignatureMethod": "HmacSHA256"}, {"Timestamp": "0"}, {"Timestamp": "x"},
                   {"SecretId": "AKIDx"}, {"SecretId": ""}, {"Nonce": ""}, {"A.B.C": "1", "A": "2"},
                   {"A." * 5000: "1"}, {"ImageInfos.99999999999.ImageUrl": "x"}):  # fmt: skip
        said = {**base, **change}
        by_get = http.get(f"{small.url}/", params=said)
        by_post = http.post(f"{small.url}/", data=said)
        assert refusal("tencent", by_get) == refusal("tencent", by_post)


# -------------------------------------------------------------------------------- keys


@pytest.mark.parametrize("dialect", ["tensorslab", "aigptimage", "aitoearn"])
def test_wrong_and_missing_keys(
    small: Running, http: httpx.Client, nothing_kept: None, dialect: str
) -> None:
    revoked = small.make_key("revoked")
    small.change("update keys set revoked = 1 where id = ?", revoked.id)
    request = named(dialect).write_request(IMAGES[dialect])
    name = "x-api-key" if dialect == "aitoearn" else "authorization"
    code = (9999, 401) if dialect == "tensorslab" else 401

    assert refusal(dialect, small.send(http, request)) == code
    for value in ("", "Bearer", "bearer", "Bearer wrong", "Basic eDp5", "\xe9\xff",
                  "Bearer \xe9", "x" * 6000, revoked.secret, f"Bearer {revoked.secret}",
                  small.key.secret[:-1], f"{small.key.secret}x", small.key.secret.upper(),
                  f"Bearer Bearer {small.key.secret}", small.key.id):  # fmt: skip
        answer = small.send(http, request.with_headers((name, value)))
        assert refusal(dialect, answer) == code, value
        assert small.key.secret not in answer.text


def test_a_key_is_asked_for_before_anything_else_is_told(
    small: Running, http: httpx.Client, nothing_kept: None
) -> None:
    for dialect, path, _ in JSON_CALLS:
        answer = small.send(http, call(dialect, path, b"{"))
        told = refusal(dialect, answer)
        assert told in (401, (9999, 401), "MissingParameter"), (dialect, path)


@pytest.mark.parametrize("dialect", SERVED)
def test_tokens_that_are_too_long(
    small: Running, http: httpx.Client, nothing_kept: None, dialect: str
) -> None:
    for header in named(dialect).idempotency_headers:
        request = named(dialect).write_request(IMAGES[dialect]).with_headers((header, "x" * 300))
        refusal(dialect, small.ask(http, dialect, request))


# -------------------------------------------------------------------------------- pictures


def png_of(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header says that size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    pixels = zlib.compress(b"\0" * 100)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def gif_of(width: int, height: int) -> bytes:
    """A GIF whose header says that size."""
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + b";"


NO_PICTURES = {
    "empty": b"",
    "text": b"not a picture",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "html": b"<html><script>alert(1)</script>",
    "zip": b"PK\x03\x04" + b"\0" * 40,
    "head of a PNG": b"\x89PNG\r\n\x1a\n",
    "half a header": png()[:20],
    "bomb": png_of(60000, 60000),
    "largest bomb": png_of(2**31 - 1, 2**31 - 1),
    "flat bomb": png_of(10**6 + 1, 1),
    "no pixels": png_of(0, 0),
    "gif bomb": gif_of(65535, 65535),
    "bmp garbage": b"BM" + b"\xff" * 60,
    "tiff garbage": b"II*\x00" + b"\xff" * 60,
    "webp garbage": b"RIFF\xff\xff\xff\xffWEBPVP8 " + b"\xff" * 40,
    "jpeg garbage": b"\xff\xd8\xff" + b"\xff" * 60,
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "film": b"\0\0\0\x18ftypmp42" + b"\0" * 40,
    "too many bytes": png() + b"\0" * 20000,
}


def upload(path: str, data: bytes, filename: str = "a.png") -> Request:
    """A form with a file in it."""
    parts = [Part(name="prompt", data=b"x")]
    parts += [Part(name="sourceImage", data=data, filename=filename, media_type="image/png")]
    return form_call(path, parts)


def end_of(server: Running, id: str) -> tuple[str, str]:
    """The status and the failure, as JSON, with which the task has ended."""
    query = "select status, failure from tasks where id = ? and finished is not null"
    ((status, failure),) = until(lambda: server.rows(query, id))
    return status, failure


def data_uri(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


@pytest.mark.parametrize("name", NO_PICTURES)
def test_files_that_are_no_pictures(
    small: Running, http: httpx.Client, nothing_kept: None, name: str
) -> None:
    data = NO_PICTURES[name]
    for path in ("/v1/images/quickedit", "/v1/video/seedancev2"):
        refusal("tensorslab", small.ask(http, "tensorslab", upload(path, data)))
    uri = data_uri(data)
    for path, body in (
        ("/api/ai/image/edit/async", {"model": "slow", "prompt": "x", "image": uri}),
        ("/api/ai/image/edit/async", {"model": "slow", "prompt": "x", "image": [uri, uri]}),
        ("/api/ai/video/generations", {"model": "slow-video", "prompt": "x", "image": uri}),
    ):
        refusal("aitoearn", small.ask(http, "aitoearn", json_call(path, compact(body))))


def test_data_uris_that_are_none(small: Running, http: httpx.Client, nothing_kept: None) -> None:
    for uri in ("data:", "data:,", "data:;base64,", "data:image/png;base64,!!!",
                "data:image/png,xx",
                "data:image/png;base64", "DATA:x;base64,AAAA", "data:image/png;base64,AAA=A",
                "data:image/png;base64,\u00e9", "blob:x", "x", "/etc/passwd"):  # fmt: skip
        body = compact({"model": "slow", "prompt": "x", "image": uri})
        answer = small.ask(http, "aitoearn", json_call("/api/ai/image/edit/async", body))
        refusal("aitoearn", answer)


def test_a_picture_that_breaks_off_fails_its_task_with_a_reason(
    small: Running, http: httpx.Client
) -> None:
    file = io.BytesIO()
    Image.effect_noise((60, 60), 50).convert("RGB").save(file, "PNG")
    for data in (file.getvalue()[:-1000], png_of(100, 100)):
        answer = small.ask(http, "tensorslab", upload("/v1/images/quickedit", data))
        id = answer.json()["data"]["taskid"]
        status, failure = end_of(small, id)
        assert status == Status.FAILED
        assert json.loads(failure)["code"] == FailureCode.INVALID_INPUT
    until(lambda: not small.scratch())


@pytest.mark.parametrize(
    "filename", ["../../evil.png", "a" * 3000, "\x00.png", 'a".png', "", "é.png"]
)
def test_names_of_files_mean_nothing(small: Running, http: httpx.Client, filename: str) -> None:
    answer = small.ask(http, "tensorslab", upload("/v1/images/zimage", png(), filename))

    assert answer.json()["code"] == 1000
    assert not [path for path in files_in(small.data.parent) if path.name.startswith("evil")]


# -------------------------------------------------------------------------------- addresses inside

INSIDE = (
    "http://127.0.0.1/a.png", "http://localhost/a.png", "HTTP://LOCALHOST/",
    "http://127.1/", "http://127.0.0.1:99999/", "http://0.0.0.0/", "http://0/",
    "http://2130706433/",
    "http://0x7f000001/", "http://0177.0.0.1/", "http://[::1]/", "http://[::]/",
    "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[::ffff:10.0.0.1]/",
    "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/", "http://[fd00::1]/",
    "http://[fe80::1]/",
    "http://[::127.0.0.1]/", "http://[fec0::1]/", "http://[ff02::1]/",
    "http://169.254.169.254/latest/meta-data/", "http://10.0.0.1/", "http://172.16.0.1/",
    "http://192.168.0.1/", "http://100.64.0.1/", "http://198.18.0.1/", "http://224.0.0.1/",
    "http://255.255.255.255/", "http://192.0.2.1/", "http://user:word@example.com/a.png",
    "http://user@8.8.8.8/", "http://8.8.8.8@127.0.0.1/", "http://127.0.0.1#@8.8.8.8/",
    "http://127.0.0.1\\@8.8.8.8/", "http://127\u30020\u30020\u30021/",
    "http://\u2460\u2461\u2466.0.0.1/",
    "http://127.0.0.1?x=8.8.8.8", "https://127.0.0.1/", "http:///a.png", "http://",
    "http://[::1", "http://:80/", "http://%31%32%37.0.0.1/", "http://127.0.0.1%00.example.com/",
    "http://\x00/", "http://a b/", "http://" + "a" * 300 + "/", "http://" + "a." * 2000 + "/",
)  # fmt: skip
ELSEWHERE = ("ftp://example.com/a.png", "file:///etc/passwd", "gopher://127.0.0.1/", "javascript:1",
             "//127.0.0.1/a.png", "dict://127.0.0.1:11211/", "unix:///run/x.sock")  # fmt: skip


def asks_for(url: str) -> Iterator[tuple[str, Request]]:
    """A call in every dialect that gives this address for a source."""
    yield (
        "tensorslab",
        form_call(
            "/v1/images/zimage",
            [Part(name="prompt", data=b"x"), Part(name="imageUrl", data=url.encode())],
        ),
    )
    yield (
        "tensorslab",
        form_call(
            "/v1/video/seedancev1",
            [Part(name="prompt", data=b"x"), Part(name="imageUrl", data=url.encode())],
        ),
    )
    body: dict[str, Any] = {"model": "slow", "input": {"prompt": "x", "input_urls": [url]}}
    yield "aigptimage", json_call("/api/v1/jobs/createTask", compact(body))
    body = {"model": "slow", "prompt": "x", "image": url}
    yield "aitoearn", json_call("/api/ai/image/edit/async", compact(body))
    body = {"model": "slow-video", "prompt": "x", "images": [url]}
    yield "aitoearn", json_call("/api/ai/video/generations", compact(body))
    body = {"ModelName": "slow", "Prompt": "x", "ImageInfos": [{"ImageUrl": url}]}
    yield "tencent", call_tencent("CreateAigcImageTask", compact(body))
    body = {
        "InputInfo": {"Type": "URL", "UrlInputInfo": {"Url": url}},
        "ImageTask": {"EncodeConfig": {"Format": "PNG"}},
    }
    yield "tencent", call_tencent("ProcessImage", compact(body))


@pytest.mark.parametrize("url", INSIDE + ELSEWHERE)
def test_addresses_that_lead_inside(
    small: Running, http: httpx.Client, nothing_kept: None, url: str
) -> None:
    mark = "&" if "?" in url else "?"
    for address in (url, f"{url}{mark}token={QUERY_SECRET}"):
        for dialect, request in asks_for(address):
            refusal(dialect, small.ask(http, dialect, request))


def test_a_forged_link_to_our_own_files_is_an_address_inside(
    small: Running, http: httpx.Client, nothing_kept: None
) -> None:
    forged = f"{small.url}/files/{'0' * 24}-a0-{'0' * 32}.png"
    for dialect, request in asks_for(forged):
        refusal(dialect, small.ask(http, dialect, request))


def test_an_address_that_cannot_be_fetched_fails_the_task_without_its_query(
    small: Running, http: httpx.Client
) -> None:
    url = f"http://nowhere.invalid/a.png?token={QUERY_SECRET}"
    parts = [Part(name="prompt", data=b"x"), Part(name="imageUrl", data=url.encode())]
    answer = small.ask(http, "tensorslab", form_call("/v1/images/quickedit", parts))
    id = answer.json()["data"]["taskid"]

    status, failure = end_of(small, id)

    assert status == Status.FAILED
    assert json.loads(failure)["code"] == FailureCode.SOURCE_UNAVAILABLE
    assert QUERY_SECRET not in failure


# -------------------------------------------------------------------------------- sockets


def talk(server: Running, data: bytes, more: bool = False) -> bytes:
    """What the server answers to these bytes, until it closes; no `more` will come, it is told."""
    host, _, port = server.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(data)
        if not more:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        return answer


GARBAGE = (
    b"", b"\x00" * 100, b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", 
    b"\x16\x03\x01\x02\x00\x01",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET  / HTTP/1.1\r\n\r\n",
    b"POST /v1 HTTP/1.1\r\nHost: x\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nBad Header: y\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 5000,
    b"GET /" + b"x" * 100000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /v1/images/zimage HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /v1/images/zimage HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
    b"POST /v1/images/zimage HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /v1/images/zimage HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nshort",
    b"POST /v1 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    b"GET /v1/\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /v1/%zz HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET http://127.0.0.1/v1/x HTTP/1.1\r\nHost: x\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /healthz HTTP/1.0\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
)  # fmt: skip


def test_garbage_on_the_socket(small: Running, http: httpx.Client, nothing_kept: None) -> None:
    for data in GARBAGE:
        try:
            answer = talk(small, data)
        except (OSError, TimeoutError):  # it has closed the connection, as it may
            continue
        status = answer.partition(b"\r\n")[0]
        assert not status.startswith(b"HTTP/1.1 5"), (data[:60], answer[:200])
    assert http.get(f"{small.url}/readyz").status_code == 200


@pytest.mark.parametrize(
    "host", ["http://127.0.0.1:1", "http://example.com", "a b", "\xff", "", "x" * 900]
)
def test_strange_hosts_are_answered(small: Running, host: str) -> None:
    head = f"GET /?Action=X HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode("latin-1")
    page = f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode("latin-1")

    for data in (head, page):
        answer = talk(small, data, more=True)
        assert answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 400")), answer[:300]
        if host.startswith("http://"):  # Tencent's SDK for Python sends such
            assert answer.startswith(b"HTTP/1.1 200"), answer[:300]


def test_a_host_never_gets_into_a_link_unchecked(small: Running, http: httpx.Client) -> None:
    submit = Submit(model="quickedit", prompt="x", sources=(Source(data=png()),))
    request = named("tensorslab").write_request(submit)
    id = small.ask(http, "tensorslab", request).json()["data"]["taskid"]
    until(lambda: small.rows("select 1 from tasks where id = ? and finished is not null", id))
    asked = small.sign(named("tensorslab"), named("tensorslab").write_request(Fetch(id=id)))

    for host in ('evil"><script>', "a/b", "user@evil", "a#b", "evil.example\tx"):
        answer = small.send(http, asked.with_headers(("host", host)))
        if answer.status_code == 200:
            assert answer.json()["data"]["url"][0].startswith(f"{small.url}/files/")


def test_callers_that_go_away_leave_nothing(
    small: Running, http: httpx.Client, nothing_kept: None
) -> None:
    request = small.sign(named("tensorslab"), upload("/v1/images/zimage", png()))
    head = [f"POST {request.path} HTTP/1.1", f"content-length: {len(request.body)}"]
    head += [f"{name}: {value}" for name, value in request.headers]
    data = "\r\n".join([*head, "", ""]).encode() + request.body
    host, _, port = small.url.removeprefix("http://").partition(":")

    for cut in range(1, len(data), max(1, len(data) // 25)):
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(data[:cut])
    assert http.get(f"{small.url}/readyz").status_code == 200


def test_the_barrage_broke_nothing(small: Running, http: httpx.Client) -> None:
    for dialect in SERVED:
        for submit in (IMAGES[dialect], VIDEOS[dialect]):
            changed = msgspec.structs.replace(submit, model=slow(dialect, submit.kind))
            assert succeeded(dialect, small.ask(http, dialect, changed))
    text = http.get(f"{small.url}/metrics").text
    assert 'status="500"' not in text
    assert 'status="503"' not in text
