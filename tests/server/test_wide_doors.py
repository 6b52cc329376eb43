"""Clients that say the same otherwise get through: browsers, compressing proxies, old habits."""

from __future__ import annotations

import gzip
import json
from typing import Any

import httpx
import pytest

from doubles import Serving, StartApp, picture
from safelight.task import Status

CREATE, ASK = "/v1/images/seedreamv4", "/v1/images/infobytaskid"
PAGE = "https://studio.example"
QUERIES = {
    "tensorslab": ("POST", ASK),
    "aigptimage": ("GET", "/api/v1/jobs/recordInfo"),
    "aitoearn": ("GET", "/api/ai/image/task/0123456789abcdef01234567"),
    "tencent": ("POST", "/"),
}


# ---------------------------------------------------------------------------------------- browsers


@pytest.mark.parametrize(("method", "path"), [*QUERIES.values(), ("GET", "/files/x")])
async def test_a_browser_may_ask(serving: Serving, method: str, path: str) -> None:
    asked = {
        "origin": PAGE,
        "access-control-request-method": method,
        "access-control-request-headers": "authorization,content-type,x-api-key,x-tc-action",
    }
    preflight = await serving.http.options(path, headers=asked)

    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert method in preflight.headers["access-control-allow-methods"]
    allowed = preflight.headers["access-control-allow-headers"]
    assert allowed == asked["access-control-request-headers"]
    assert "access-control-allow-credentials" not in preflight.headers

    answer = await serving.http.request(method, path, headers={"origin": PAGE})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "Retry-After" in answer.headers["access-control-expose-headers"]
    assert "access-control-allow-credentials" not in answer.headers


async def test_a_browser_may_have_the_result(serving: Serving) -> None:
    id = await serving.create()
    await serving.ended(id)
    url = (await serving.ask(id)).json()["data"]["url"][0]

    file = await serving.http.get(url, headers={"origin": PAGE})

    assert (file.status_code, file.headers["access-control-allow-origin"]) == (200, "*")


async def test_only_some_pages_may_ask_where_the_settings_name_them(start_app: StartApp) -> None:
    serving = await start_app(cors_origins=(PAGE,))
    for origin, allowed in ((PAGE, PAGE), ("https://evil.example", None)):
        answer = await serving.http.post(ASK, headers={"origin": origin})
        assert answer.headers.get("access-control-allow-origin") == allowed
        asked = {"origin": origin, "access-control-request-method": "POST"}
        preflight = await serving.http.options(ASK, headers=asked)
        assert (preflight.status_code == 200) is (allowed is not None)


async def test_no_page_may_ask_where_that_is_switched_off(start_app: StartApp) -> None:
    serving = await start_app(cors_origins=())
    answer = await serving.http.post(ASK, headers={"origin": PAGE})
    assert "access-control-allow-origin" not in answer.headers


async def test_whoever_is_no_browser_sees_nothing_of_it(serving: Serving) -> None:
    answer = await serving.ask("0" * 24)
    assert not [name for name in answer.headers if name.startswith("access-control")]


# ------------------------------------------------------------------------------ the same otherwise


async def test_head_is_told_wherever_get_is(serving: Serving) -> None:
    id = await serving.create()
    await serving.ended(id)
    key = {"authorization": f"Bearer {serving.key.secret}", "x-api-key": serving.key.secret}
    link = (await serving.ask(id)).json()["data"]["url"][0]
    paths = [
        f"/api/v1/jobs/recordInfo?taskId={id}",
        f"/api/ai/image/task/{id}",
        "/api/ai/models/image/generation",
        link,
        "/",
        "/healthz",
        "/metrics",
    ]
    for path in paths:
        got = await serving.http.get(path, headers=key)
        head = await serving.http.head(path, headers=key)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        assert head.headers["content-type"] == got.headers["content-type"], path


async def test_a_slash_at_the_end_means_the_same(serving: Serving) -> None:
    made = await serving.post(f"{CREATE}/", data={"prompt": "a"})
    id = made.json()["data"]["taskid"]
    key = {"authorization": f"Bearer {serving.key.secret}", "x-api-key": serving.key.secret}

    asked = await serving.http.get(f"/api/v1/jobs/recordInfo/?taskId={id}", headers=key)
    image = await serving.http.get(f"/api/ai/image/task/{id}/", headers=key)

    assert asked.json()["data"]["taskId"] == image.json()["data"]["logId"] == id


async def test_a_body_may_be_compressed(serving: Serving) -> None:
    body = gzip.compress(json.dumps({"taskid": "0" * 24}).encode())
    for encoding in ("gzip", "GZIP", "x-gzip"):
        headers = {"content-encoding": encoding}
        assert (await serving.post(ASK, content=body, headers=headers)).status_code == 404

    plain = await serving.post(ASK, json={"taskid": "0" * 24}, headers={"content-encoding": ""})
    assert plain.status_code == 404


@pytest.mark.parametrize(
    ("body", "encoding", "said"),
    [
        (b"{}", "gzip", "not gzip"),
        (gzip.compress(b"{}")[:-1], "gzip", "not whole"),
        (gzip.compress(b"{}") * 2, "gzip", "more than one"),
        (b"{}", "br", "br is not read here"),
        (gzip.compress(bytes(2**20 + 1)), "gzip", "larger than 1048576 bytes"),
    ],
    ids=["none", "half", "two", "another", "large"],  # what is compressed has its time in it
)
async def test_what_is_wrong_with_a_compressed_body_is_told(
    serving: Serving, body: bytes, encoding: str, said: str
) -> None:
    answer = await serving.post(ASK, content=body, headers={"content-encoding": encoding})

    assert answer.status_code in (400, 413)
    assert said in answer.json()["msg"]


async def test_a_file_may_come_compressed(serving: Serving) -> None:
    form = httpx.Request(
        "POST", "http://a", data={"prompt": "a"}, files={"sourceImage": ("a.png", picture())}
    )
    headers = {"content-type": form.headers["content-type"], "content-encoding": "gzip"}

    answer = await serving.post(CREATE, content=gzip.compress(form.read()), headers=headers)

    task = await serving.ended(answer.json()["data"]["taskid"])
    assert (task.status, len(task.submit.sources)) == (Status.SUCCEEDED, 1)


async def test_a_byte_order_mark_is_skipped_and_half_a_character_replaced(
    serving: Serving,
) -> None:
    key = {"x-api-key": serving.key.secret, "content-type": "application/json"}
    body = b'\xef\xbb\xbf{"model": "still", "prompt": "a cat \\ud83d"}'

    answer = await serving.http.post("/api/ai/image/generate/async", content=body, headers=key)

    task = await serving.task(answer.json()["data"]["logId"])
    assert task.submit.prompt == "a cat \ufffd"


async def test_a_filename_may_be_written_the_extended_way(serving: Serving) -> None:
    body = (
        b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na\r\n'
        b'--x\r\nContent-Disposition: form-data; name="sourceImage"; '
        b"filename*=UTF-8''%E7%8C%AB.png\r\n\r\n" + picture() + b"\r\n--x--\r\n"
    )
    headers = {"content-type": "multipart/form-data; boundary=x"}

    answer = await serving.post(CREATE, content=body, headers=headers)

    (source,) = (await serving.task(answer.json()["data"]["taskid"])).submit.sources
    assert source.name == "猫.png"


async def test_aitoearn_takes_its_key_as_a_bearer_too(serving: Serving) -> None:
    key = {"authorization": f"Bearer {serving.key.secret}"}

    answer = await serving.http.get("/api/ai/logs", headers=key)

    assert answer.json()["code"] == 0


# ----------------------------------------------------------------------------------- unknown paths

NEAR = [
    ("/api/v2/jobs/recordInfo", 404, "not found"),
    ("/api/v1/veo/generate", 404, "not found"),
    ("/api/nothing", 404, "not found"),
    ("/api/ai/draft", 404, "Cannot GET /api/ai/draft"),
    ("/v1/nothing", 9999, "There is no GET /v1/nothing"),
    ("/nothing/at/all", 404, "There is no GET /nothing/at/all"),
]


@pytest.mark.parametrize(("path", "code", "words"), NEAR)
async def test_an_unknown_path_is_told_in_json(
    serving: Serving, path: str, code: int, words: str
) -> None:
    said: Any = (await serving.http.get(path)).json()

    assert said["code"] == code
    assert words in (said.get("msg") or said["message"])


async def test_kies_unknown_routes_are_told_by_http_too(start_app: StartApp) -> None:
    serving = await start_app(dialects=("kie",))

    answer = await serving.http.post("/api/v1/veo/generate", json={})
    known = await serving.http.get("/api/v1/jobs/recordInfo?taskId=x")

    assert (answer.status_code, answer.json()["code"]) == (404, 404)
    assert (known.status_code, known.json()["code"]) == (200, 401)
