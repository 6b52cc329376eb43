"""The two signatures against published and recomputed vectors, and against the official SDK."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode

import msgspec
import pytest
from tencentcloud.common.common_client import CommonClient
from tencentcloud.common.credential import Credential as SdkCredential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.mps.v20190612 import models
from tencentcloud.mps.v20190612.mps_client import MpsClient

from safelight.dialects import named
from safelight.dialects.tencent.signature import (
    FORM,
    TC3,
    canonical_request,
    find_v1,
    payload_hash,
    read_tc3,
    read_v1,
    sign_tc3,
    sign_v1,
    string_to_sign,
    tc3_key,
    tc3_signature,
    utc_date,
    v1_signature,
    v1_text,
)
from safelight.errors import Fault, Unauthenticated
from safelight.task import Fetch, Kind, Status, Task
from safelight.wire import Context, Credential, Key, Request, Response

SECRET, ID = "testsecretkey", "AKIDtestid"
SECONDS = 1747381466
NOW = SECONDS * 1000
TASK = "24000089-WorkflowTask-0723542d0c164c958ba116874fa9b0c4"
BODY = f'{{"TaskId": "{TASK}"}}'.encode()
PUBLISHED = (
    rb'{"Limit": 1, "Filters": [{"Values": ["\u672a\u547d\u540d"], "Name": "instance-name"}]}'
)
COMPACT = f'{{"TaskId":"{TASK}"}}'.encode()
LOOPBACK = "127.0.0.1:8000"


def signed(
    signature: str,
    *,
    host: str = LOOPBACK,
    service: str = "mps",
    method: str = "POST",
    query: str = "",
    body: bytes = BODY,
    content_type: str = "application/json",
    headers: tuple[tuple[str, str], ...] = (),
    names: str = "content-type;host",
    date: str = "2025-05-16",
    timestamp: str = str(SECONDS),
) -> Request:
    """A request with that signature in its Authorization header."""
    authorization = (
        f"{TC3} Credential={ID}/{date}/{service}/tc3_request, SignedHeaders={names}, "
        f"Signature={signature}"
    )
    own = (
        ("host", host),
        ("content-type", content_type),
        ("x-tc-timestamp", timestamp),
        ("authorization", authorization),
    )
    return Request(
        method=method,
        path="/",
        query=query,
        body=body,
        headers=tuple(pair for pair in own if pair[1]) + headers,
    )


def check(request: Request, now: int = NOW, secret: str = SECRET) -> Credential:
    credential = read_tc3(request, request.header("authorization") or "", now)
    assert credential.check is not None
    credential.check(secret, request)
    return credential


def refusal(request: Request, now: int = NOW, secret: str = SECRET) -> Unauthenticated:
    with pytest.raises(Unauthenticated) as refused:
        check(request, now, secret)
    return refused.value


# ----------------------------------------------------------------------------------------- TC3


def test_the_published_example() -> None:
    headers = (
        ("content-type", "application/json; charset=utf-8"),
        ("host", "cvm.tencentcloudapi.com"),
        ("x-tc-action", "describeinstances"),
    )
    hashed = payload_hash(Request(method="POST", path="/", body=PUBLISHED))
    assert hashed == "35e9c5b0e3ae67532d3c9f17ead6c90222632e5b1ff7f6e89887f1398934f064"
    canonical = canonical_request("POST", "", headers, hashed)
    scope = f"{utc_date(1551113065)}/cvm/tc3_request"
    text = string_to_sign("1551113065", scope, canonical)
    assert text.splitlines()[3] == (
        "7019a55be8395899b900fb5564e4200d984910f34794a27cb3fb7d10ff6a1e84"
    )
    key = tc3_key("*" * 32, "2019-02-25", "cvm")
    assert tc3_signature(key, text) == (
        "10b1a37a7301a02ca19a647ad722d5e43b4b3cff309d421d85b46093f6ab6c4f"
    )


def test_the_published_example_is_accepted_with_the_action_as_the_sdks_send_it() -> None:
    request = signed(
        "10b1a37a7301a02ca19a647ad722d5e43b4b3cff309d421d85b46093f6ab6c4f",
        host="cvm.tencentcloudapi.com",
        service="cvm",
        body=PUBLISHED,
        content_type="application/json; charset=utf-8",
        headers=(("x-tc-action", "DescribeInstances"),),
        names="content-type;host;x-tc-action",
        date="2019-02-25",
        timestamp="1551113065",
    )
    assert check(request, 1551113065_000, "*" * 32).id == ID


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(
            signed(
                "0a4af1dcb5c04992d9ee594745c30cc19654d55b248f412479e9cc054c509043",
                host="mps.intl.tencentcloudapi.com",
            ),
            id="post",
        ),
        pytest.param(
            signed("a05a9e09392c7bc83310e6f89711c7e54a7cf8320eaaa8470bbb637a007f9499"),
            id="host-with-port",
        ),
        pytest.param(
            signed(
                "a05a9e09392c7bc83310e6f89711c7e54a7cf8320eaaa8470bbb637a007f9499",
                host="http://127.0.0.1:8000",
            ),
            id="host-with-scheme-that-was-not-signed",
        ),
        pytest.param(
            signed(
                "0ce06301809b891617b89f67274b31a18ada31d4e025b4bc167dd37d419c2ed5",
                headers=(("x-tc-content-sha256", "UNSIGNED-PAYLOAD"),),
            ),
            id="unsigned-payload",
        ),
        pytest.param(
            signed(
                "eefa1cd8d28398049a944d4586a21181f2ab19d0bc4bcbbc6ee498b803bd87f5",
                method="GET",
                query="TaskId=a+b~%2A%2F%26%3D%25",
                body=b"",
                content_type=FORM,
            ),
            id="get",
        ),
        pytest.param(
            signed(
                "8182ea85d35be4c91375c9f0c932a87810ae1514db7accbfb56c97607285dd9e",
                service="127",
                body=COMPACT,
            ),
            id="npm-host-without-port-and-service-of-the-host",
        ),
        pytest.param(
            signed(
                "270571a3590a0807e47cb65116fa8a78fcdf355f7b97c28c2a0b9295ca35937b",
                body=COMPACT,
            ),
            id="npm-host-without-port",
        ),
    ],
)
def test_vectors_are_accepted(request_: Request) -> None:
    assert check(request_).id == ID


@pytest.mark.parametrize("host", [LOOPBACK, "mps.intl.tencentcloudapi.com"])
def test_what_is_signed_is_the_vector(host: str) -> None:
    expected = {
        LOOPBACK: "a05a9e09392c7bc83310e6f89711c7e54a7cf8320eaaa8470bbb637a007f9499",
        "mps.intl.tencentcloudapi.com": (
            "0a4af1dcb5c04992d9ee594745c30cc19654d55b248f412479e9cc054c509043"
        ),
    }
    headers = (("content-type", "application/json"), ("host", host))
    request = Request(method="POST", path="/", headers=headers, body=BODY)
    made = sign_tc3(request, Key(id=ID, secret=SECRET), NOW, "mps")
    assert made.header("authorization") == (
        f"TC3-HMAC-SHA256 Credential={ID}/2025-05-16/mps/tc3_request, "
        f"SignedHeaders=content-type;host, Signature={expected[host]}"
    )
    assert made.header("x-tc-timestamp") == str(SECONDS)


def test_a_get_is_signed_as_a_form() -> None:
    request = Request(
        method="GET", path="/", query="TaskId=a+b~%2A%2F%26%3D%25", headers=(("host", LOOPBACK),)
    )
    made = sign_tc3(request, Key(id=ID, secret=SECRET), NOW, "mps")
    assert made.header("content-type") == FORM
    assert (made.header("authorization") or "").endswith(
        "eefa1cd8d28398049a944d4586a21181f2ab19d0bc4bcbbc6ee498b803bd87f5"
    )
    check(made)


def test_header_values_may_be_signed_in_lower_case() -> None:
    content_type = "multipart/form-data; boundary=AbC"
    host = "Example.org:8000"
    for value in (content_type, content_type.lower()):
        for name in (host, host.lower(), "Example.org", "example.org"):
            lowered = name if value == content_type else name.lower()
            headers = (("content-type", value), ("host", lowered))
            canonical = canonical_request(
                "POST", "", headers, payload_hash(Request(method="POST", path="/", body=BODY))
            )
            text = string_to_sign(str(SECONDS), "2025-05-16/mps/tc3_request", canonical)
            signature = tc3_signature(tc3_key(SECRET, "2025-05-16", "mps"), text)
            request = signed(signature, host=host, content_type=content_type)
            if value == content_type and name not in (host, "Example.org"):
                assert refusal(request).reason == "signature"
            else:
                check(request)


def good(**changes: Any) -> Request:
    return signed("a05a9e09392c7bc83310e6f89711c7e54a7cf8320eaaa8470bbb637a007f9499", **changes)


@pytest.mark.parametrize("seconds", [-300, 300])
def test_clocks_may_be_five_minutes_apart(seconds: int) -> None:
    check(good(), NOW + seconds * 1000)


Reason = Literal["missing", "malformed", "unknown", "expired", "signature"]


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (good(body=BODY + b" "), "signature"),
        (good(host="127.0.0.1:8001"), "signature"),
        (good(service="cvm"), "signature"),
        (good(method="GET"), "signature"),
        (good(date="2025-05-17"), "signature"),
        (good(timestamp=str(SECONDS + 1)), "signature"),
        (good(timestamp=str(SECONDS + 301)), "expired"),
        (good(timestamp=str(SECONDS - 301)), "expired"),
        (good(timestamp="9" * 12), "expired"),
        (good(timestamp="9" * 13), "malformed"),
        (good(timestamp="soon"), "malformed"),
        (good(timestamp=""), "missing"),
        (good(names="host"), "malformed"),
        (good(names="content-type;host;x-tc-nothing"), "malformed"),
        (good(content_type=""), "malformed"),
        (good(headers=(("x-tc-content-sha256", "UNSIGNED-PAYLOAD"),)), "signature"),
        (signed("A" * 64), "malformed"),
        (signed("a" * 63), "malformed"),
        (good(date="today"), "malformed"),
    ],
)
def test_what_is_refused(request_: Request, reason: Reason) -> None:
    assert refusal(request_).reason == reason


def test_another_secret_does_not_fit() -> None:
    assert refusal(good(), secret="other").reason == "signature"


def test_a_secret_of_any_text_is_compared() -> None:
    assert refusal(good(), secret="\ud800ü").reason == "signature"


# --------------------------------------------------------------------------- the older signature

PARAMETERS = {
    "TaskId": TASK,
    "Action": "DescribeImageTaskDetail",
    "RequestClient": "SDK_PYTHON_3.1.193",
    "Nonce": "12345",
    "Version": "2019-06-12",
    "Language": "en-US",
    "SecretId": ID,
    "Timestamp": str(SECONDS),
}
OLD_VECTORS = [
    ("POST", "HmacSHA256", "JutZED8IFVNp3YQxmFZkGcpwUzQ7KQ+TEi0ssxh3oUE="),
    ("POST", "HmacSHA1", "bGvVF0NY/wHxBwvkIrNOrAw4cXA="),
    ("GET", "HmacSHA1", "FP3XQsLaqm00AtL73ED03HSklao="),
]


def check_v1(
    method: str, parameters: dict[str, str], host: str = LOOPBACK, now: int = NOW
) -> Credential:
    request = Request(method=method, path="/", headers=(("host", host),))
    credential = read_v1(request, parameters, now)
    assert credential.check is not None
    credential.check(SECRET, request)
    return credential


@pytest.mark.parametrize(("method", "digest", "signature"), OLD_VECTORS)
@pytest.mark.parametrize("host", [LOOPBACK, f"http://{LOOPBACK}"])
def test_the_older_vectors(method: str, digest: str, signature: str, host: str) -> None:
    parameters = {**PARAMETERS, "SignatureMethod": digest}
    assert v1_signature(SECRET, v1_text(method, LOOPBACK, parameters), digest) == signature
    parameters["Signature"] = signature
    assert check_v1(method, parameters, host).id == ID


def test_signing_the_older_way() -> None:
    parameters = {name: PARAMETERS[name] for name in ("TaskId", "Action", "Version", "Language")}
    made = sign_v1(parameters, Key(id=ID, secret=SECRET), NOW, host=LOOPBACK, nonce=7)
    assert check_v1("POST", made).id == ID


def form_of(parameters: Mapping[str, str]) -> Request:
    headers = (("host", LOOPBACK), ("content-type", FORM))
    return Request(method="POST", path="/", headers=headers, body=urlencode(parameters).encode())


def flat_of(request: Request) -> dict[str, str]:
    return dict(parse_qsl(request.body.decode()))


def test_who_signed_a_form_is_found_before_it_is_read() -> None:
    made = sign_v1(
        {"Action": "X", "Other": "SecretId=y"},
        Key(id=ID, secret=SECRET),
        NOW,
        host=LOOPBACK,
        nonce=7,
    )
    request, read = form_of(made), list[Request]()

    def flat(request: Request) -> dict[str, str]:
        read.append(request)
        return flat_of(request)

    credential = find_v1(request, flat, NOW)
    assert (credential.id, read) == (ID, [])
    assert credential.check is not None
    credential.check(SECRET, request)
    assert read == [request]
    with pytest.raises(Unauthenticated):
        credential.check("another", request)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "missing"),
        (b"xSecretId=a", "missing"),
        (b"SecretId=" + b"x" * 129, "missing"),
        (b"a=SecretId%3Da", "missing"),
    ],
)
def test_a_form_that_names_nobody(body: bytes, reason: str) -> None:
    request = msgspec.structs.replace(form_of({}), body=body)
    with pytest.raises(Unauthenticated) as refused:
        find_v1(request, flat_of, NOW)
    assert refused.value.reason == reason


def test_so_many_headers_are_signed_at_most() -> None:
    many = ";".join(f"x-{number}" for number in range(31_000))
    authorization = (
        f"{TC3} Credential={ID}/{utc_date(SECONDS)}/mps/tc3_request, "
        f"SignedHeaders={many}, Signature={'0' * 64}"
    )
    request = Request(method="POST", path="/", headers=(("x-tc-timestamp", str(SECONDS)),))
    with pytest.raises(Unauthenticated, match="More than 32 headers"):
        read_tc3(request, authorization, NOW)


def test_a_form_that_names_two_is_refused() -> None:
    made = sign_v1({"Action": "X"}, Key(id=ID, secret=SECRET), NOW, host=LOOPBACK, nonce=7)
    request = form_of(made)
    twice = msgspec.structs.replace(request, body=b"SecretId=another&" + request.body)

    credential = find_v1(twice, flat_of, NOW)

    assert (credential.id, credential.check is None) == ("another", False)
    with pytest.raises(Unauthenticated, match="more than one"):
        credential.check(SECRET, twice)  # type: ignore[misc]


def test_sha1_is_meant_where_no_method_is_named() -> None:
    text = v1_text("POST", LOOPBACK, PARAMETERS)
    signature = v1_signature(SECRET, text, "HmacSHA1")
    check_v1("POST", {**PARAMETERS, "Signature": signature})


def test_names_with_underscores_are_signed_with_dots() -> None:
    dotted = {**PARAMETERS, "Made.Up": "1"}
    signature = v1_signature(SECRET, v1_text("POST", LOOPBACK, dotted), "HmacSHA1")
    check_v1("POST", {**PARAMETERS, "Made_Up": "1", "Signature": signature})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"Nonce": ""}, "missing"),
        ({"Timestamp": ""}, "missing"),
        ({"Signature": ""}, "missing"),
        ({"Timestamp": str(SECONDS - 301)}, "expired"),
        ({"Timestamp": "-1"}, "malformed"),
        ({"SignatureMethod": "HmacMD5"}, "malformed"),
        ({"TaskId": "other"}, "signature"),
        ({"Signature": "ünsigned"}, "signature"),
    ],
)
def test_what_is_refused_the_older_way(changes: dict[str, str], reason: Reason) -> None:
    made = sign_v1(PARAMETERS, Key(id=ID, secret=SECRET), NOW, host=LOOPBACK, nonce=7)
    with pytest.raises(Unauthenticated) as refused:
        check_v1("POST", {**made, **changes})
    assert refused.value.reason == reason


# -------------------------------------------------------------------------------- the real SDK


class Desk(BaseHTTPRequestHandler):
    """Answers every request with what the dialect makes of it, and keeps it."""

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        self.answer(self.rfile.read(length))

    def do_GET(self) -> None:
        self.answer(b"")

    def answer(self, body: bytes) -> None:
        path, _, query = self.path.partition("?")
        headers = tuple((name.lower(), value) for name, value in self.headers.items())
        request = Request(method=self.command, path=path, query=query, headers=headers, body=body)
        assert isinstance(self.server, Hall)
        self.server.requests.append(request)
        response = self.server.respond(request)
        self.send_response(response.status)
        for name, value in response.headers:
            self.send_header(name, value)
        self.send_header("content-length", str(len(response.body)))
        self.end_headers()
        self.wfile.write(response.body)

    def log_message(self, format: str, *args: Any) -> None:
        return


class Hall(HTTPServer):
    """A server on loopback that knows one key and one task, in the dialect's own words."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Desk)
        self.requests: list[Request] = []
        self.commands: list[Any] = []

    def respond(self, request: Request) -> Response:
        tencent = named("tencent")
        context = Context(request=request, request_id="6f8f0d1e-9a43-4f7e-8a63-5a7de7f3a1b2")
        op = None
        try:
            op, params, *_ = tencent.match(request)
            credential = tencent.read_key(request, int(time.time() * 1000))
            assert credential.id == ID
            assert credential.check is not None
            credential.check(SECRET, request)
            command = tencent.read_request(op, params, request)
        except Fault as fault:
            return tencent.write_fault(op, fault, context)
        self.commands.append(command)
        task = Task(id="0190a1b2c3d4e5f60718293a", status=Status.SUCCEEDED)
        return tencent.write_reply(op, task, context)


@pytest.fixture
def hall() -> Iterator[Hall]:
    with Hall() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@contextlib.contextmanager
def closing(client: Any) -> Iterator[Any]:
    try:
        yield client
    finally:
        client.request.conn._session.close()


def profile(hall: Hall, *, scheme: bool = False, **more: Any) -> ClientProfile:
    endpoint = f"127.0.0.1:{hall.server_port}"
    if scheme:
        http = HttpProfile(endpoint=f"http://{endpoint}")
    else:
        http = HttpProfile(protocol="http", endpoint=endpoint)
    http.reqMethod = more.pop("method", "POST")
    made = ClientProfile(httpProfile=http, **more)
    made.language = "en-US"
    return made


PROFILES: list[Any] = [
    pytest.param({}, id="tc3-post"),
    pytest.param({"scheme": True}, id="tc3-post-host-with-scheme"),
    pytest.param({"method": "GET"}, id="tc3-get"),
    pytest.param({"unsignedPayload": True}, id="unsigned-payload"),
    pytest.param({"signMethod": "HmacSHA1"}, id="sha1-post"),
    pytest.param({"signMethod": "HmacSHA256"}, id="sha256-post"),
    pytest.param({"signMethod": "HmacSHA1", "method": "GET"}, id="sha1-get"),
    pytest.param({"signMethod": "HmacSHA256", "method": "GET"}, id="sha256-get"),
]


def sdk(hall: Hall, secret: str = SECRET, **options: Any) -> MpsClient:
    unsigned = options.pop("unsignedPayload", False)
    made = profile(hall, **options)
    made.unsignedPayload = unsigned
    return MpsClient(SdkCredential(ID, secret), "", made)


@pytest.mark.parametrize("options", PROFILES)
def test_the_sdk_is_understood(hall: Hall, options: dict[str, Any]) -> None:
    asked = models.DescribeImageTaskDetailRequest()
    asked.TaskId = "2600-WorkflowTask-0190a1b2c3d4e5f60718293a"
    asked.headers = {"X-TC-TraceId": "a-trace"}
    with closing(sdk(hall, **options)) as client:
        answer = client.DescribeImageTaskDetail(asked)
    assert (answer.Status, answer.TaskType, answer.ErrMsg) == ("FINISH", "WorkflowTask", "")
    assert answer.RequestId == "6f8f0d1e-9a43-4f7e-8a63-5a7de7f3a1b2"
    assert hall.commands == [Fetch(id=asked.TaskId, kind=Kind.IMAGE)]


@pytest.mark.parametrize("options", PROFILES)
def test_the_sdk_says_everything_in_every_way(hall: Hall, options: dict[str, Any]) -> None:
    said: dict[str, Any] = {
        "InputInfo": {"Type": "URL", "UrlInputInfo": {"Url": "https://a.example/夜 (1).png?a=1&b"}},
        "ImageTask": {
            "EncodeConfig": {"Format": "JPEG", "Quality": 80},
            "EnhanceConfig": {"SharpEnhance": {"Switch": "ON", "Intensity": 0.5}},
            "EraseConfig": {
                "ImageEraseLogo": {"ImageAreaBoxes": [{"AreaCoordSet": [1, 2, 3, 4]}] * 2}
            },
        },
    }
    asked = models.ProcessImageRequest()
    asked.from_json_string(json.dumps(said))
    with closing(sdk(hall, **options)) as client:
        answer = client.ProcessImage(asked)
    assert answer.TaskId.endswith("0190a1b2c3d4e5f60718293a")
    (command,) = hall.commands
    assert command.sources[0].url == said["InputInfo"]["UrlInputInfo"]["Url"]
    options_of = {operation.name: operation.options for operation in command.operations}
    assert options_of == {
        "encode": {"format": "JPEG", "quality": 80},
        "sharp_enhance": {"intensity": 0.5},
        "image_erase_logo": {"image_area_boxes": [{"area_coord_set": [1, 2, 3, 4]}] * 2},
    }


@pytest.mark.parametrize("options", PROFILES)
def test_the_sdk_with_a_wrong_secret_is_refused(hall: Hall, options: dict[str, Any]) -> None:
    asked = models.DescribeImageTaskDetailRequest()
    asked.TaskId = "x"
    with (
        closing(sdk(hall, secret="wrong", **options)) as client,
        pytest.raises(TencentCloudSDKException) as told,
    ):
        client.DescribeImageTaskDetail(asked)
    assert told.value.get_code() == "AuthFailure.SignatureFailure"
    assert told.value.get_request_id() == "6f8f0d1e-9a43-4f7e-8a63-5a7de7f3a1b2"


def test_the_sdk_sends_booleans_and_multipart(hall: Hall) -> None:
    credential = SdkCredential(ID, SECRET)
    said = {"Prompt": "a cat", "EnhancePrompt": True, "OutputImageCount": 2}
    made = profile(hall, method="GET")
    with closing(CommonClient("mps", "2019-06-12", credential, "", made)) as client:
        client.call_json("createAigcImageTask", said)
    form = {"Prompt": "a cat", "ExtraParameters": {"AspectRatio": "16:9"}}
    with closing(CommonClient("mps", "2019-06-12", credential, "", profile(hall))) as client:
        client.call("CreateAigcImageTask", form, options={"IsMultipart": True, "BinaryParams": []})
    first, second = hall.commands
    assert (first.prompt, first.count, first.demands) == ("a cat", 2, {"EnhancePrompt": True})
    assert (second.prompt, second.ratio) == ("a cat", "16:9")


def test_an_unsigned_request_of_the_sdk_is_refused(hall: Hall) -> None:
    with (
        closing(sdk(hall)) as client,
        pytest.raises(TencentCloudSDKException) as told,
    ):
        client.call_json("DescribeImageTaskDetail", {"TaskId": "x"}, options={"SkipSign": True})
    assert told.value.get_code() == "AuthFailure.InvalidAuthorization"
    assert dict(hall.requests[0].headers)["authorization"] == "SKIP"


def test_what_the_sdk_signs_is_what_we_sign(hall: Hall) -> None:
    asked = models.DescribeImageTaskDetailRequest()
    asked.TaskId = "x"
    with closing(sdk(hall)) as client:
        client.DescribeImageTaskDetail(asked)
    (theirs,) = hall.requests
    now = int(theirs.header("x-tc-timestamp") or "") * 1000
    ours = sign_tc3(theirs, Key(id=ID, secret=SECRET), now, "mps")
    assert ours.header("authorization") == theirs.header("authorization")


def test_the_older_signature_of_the_sdk_is_ours(hall: Hall) -> None:
    asked = models.DescribeImageTaskDetailRequest()
    asked.TaskId = "a b/+ü"
    with closing(sdk(hall, signMethod="HmacSHA256")) as client:
        client.DescribeImageTaskDetail(asked)
    theirs = dict(parse_qsl(hall.requests[0].body.decode()))
    ours = sign_v1(
        {name: value for name, value in theirs.items() if name != "Signature"},
        Key(id=ID, secret=SECRET),
        int(theirs["Timestamp"]) * 1000,
        host=f"127.0.0.1:{hall.server_port}",
        nonce=int(theirs["Nonce"]),
    )
    assert urlencode(ours) == urlencode({name: theirs[name] for name in ours})
