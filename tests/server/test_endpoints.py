"""Webhooks of a running server: endpoints, deliveries, and tasks that are told."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import standardwebhooks

from doubles import Serving, StartApp, one_picture, raising
from receiver import Receiver, receiving, status
from safelight.store import hooks
from safelight.webhooks import verify_kie

V1 = "/api/safelight/v1"
TASK = {"model": "still", "input": {"prompt": "a lighthouse"}}


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


@pytest.fixture
async def serving(start_app: StartApp) -> Serving:
    return await start_app(private_callbacks=True)


async def ask(
    serving: Serving, method: str, path: str, body: Any = None, key: str | None = None
) -> tuple[int, Any]:
    headers = {"authorization": f"Bearer {key or serving.key.secret}"}
    answer = await serving.http.request(method, f"{V1}{path}", json=body, headers=headers)
    return answer.status_code, answer.json() if answer.content else None


async def endpoint(serving: Serving, url: str, **more: Any) -> Any:
    code, made = await ask(serving, "POST", "/webhooks/endpoints", {"url": url, **more})
    assert code == 201, made
    return made


async def settled(serving: Serving, **asked: str) -> list[Any]:
    """The deliveries, once none is on its way."""
    query = "&".join(f"{name}={value}" for name, value in asked.items())
    async with asyncio.timeout(20):
        while True:
            _, page = await ask(serving, "GET", f"/webhooks/deliveries?{query}")
            found: list[Any] = page["deliveries"]
            assert serving.app.sender is not None
            if found and not serving.app.sender.busy:
                return found
            await asyncio.sleep(0.01)


# ------------------------------------------------------------------------------------------- tasks


async def test_a_task_is_told_to_an_endpoint_as_it_is_told_to_who_asks(
    serving: Serving, receiver: Receiver
) -> None:
    made = await endpoint(serving, receiver.url(), events=["task.queued", "task.ended"])
    code, task = await ask(serving, "POST", "/tasks", TASK)
    assert code == 201
    queued, ended = await receiver.until(2)

    said = standardwebhooks.Webhook(made["secret"]).verify(ended.body, ended.headers)
    _, asked = await ask(serving, "GET", f"/tasks/{task['id']}")
    base = f"http://127.0.0.1:{serving.app.settings.port}"
    assert said["type"] == "task.succeeded"
    assert said["timestamp"] == asked["finished_at"]
    local = {**asked, "outputs": said["data"]["outputs"], "urls": said["data"]["urls"]}
    assert said["data"] == local
    assert said["data"]["outputs"][0]["url"].startswith(f"{base}/files/{task['id']}-a0-")
    assert queued.said["type"] == "task.queued"
    assert queued.said["data"]["revision"] == 1 < said["data"]["revision"]


async def test_a_task_that_fails_is_told_with_its_reason(
    start_app: StartApp, receiver: Receiver
) -> None:
    serving = await start_app(raising(ValueError("no")), private_callbacks=True)
    await ask(serving, "POST", "/tasks", {**TASK, "callback": {"url": receiver.url("/own")}})
    (letter,) = await receiver.until(1)

    assert letter.said["type"] == "task.failed"
    assert letter.said["data"]["failure"]["code"] == "internal"


async def test_a_task_has_an_address_of_its_own(serving: Serving, receiver: Receiver) -> None:
    secret = "whsec_" + "c2VjcmV0" * 5
    own = {"url": receiver.url("/own"), "events": ["task.running"], "secret": secret}
    code, task = await ask(serving, "POST", "/tasks", {**TASK, "callback": own})
    assert code == 201
    (letter,) = await receiver.until(1, "/own")
    standardwebhooks.Webhook(secret).verify(letter.body, letter.headers)
    assert letter.said["type"] == "task.running"

    await ask(serving, "POST", "/tasks", {**TASK, "callback": {"url": receiver.url("/plain")}})
    (letter,) = await receiver.until(1, "/plain")
    _, told = await ask(serving, "GET", "/webhooks/secret")
    standardwebhooks.Webhook(told["secret"]).verify(letter.body, letter.headers)
    # Nowhere is its secret to be seen.
    _, asked = await ask(serving, "GET", f"/tasks/{task['id']}")
    assert secret not in str(asked)
    _, listed = await ask(serving, "GET", "/webhooks/endpoints")
    assert listed == {"endpoints": []}


async def test_a_retried_task_is_told_as_the_first_was(
    serving: Serving, receiver: Receiver
) -> None:
    secret = "whsec_" + "c2VjcmV0" * 5
    own = {"url": receiver.url("/own"), "secret": secret, "events": ["task.running", "task.ended"]}
    _, first = await ask(serving, "POST", "/tasks", {**TASK, "callback": own})
    await receiver.until(2, "/own")
    await serving.ended(first["id"])

    code, again = await ask(serving, "POST", f"/tasks/{first['id']}/retry", {})
    letters = (await receiver.until(4, "/own"))[2:]

    assert code == 201
    assert secret not in str(again)
    assert {letter.said["data"]["id"] for letter in letters} == {again["id"]}
    for letter in letters:
        standardwebhooks.Webhook(secret).verify(letter.body, letter.headers)


def by_the_sample_of_kies_page(body: dict[str, Any], headers: dict[str, str], key: str) -> bool:
    """As its sample in Python does: it reads `task_id`, and `taskId` where there is none."""
    data = body["data"]
    id = data.get("task_id") or data["taskId"]
    message = f"{id}.{headers['x-webhook-timestamp']}"
    made = hmac.new(key.encode("utf-8"), message.encode("utf-8"), hashlib.sha256).digest()
    return base64.b64encode(made).decode("utf-8") == headers["x-webhook-signature"]


@pytest.mark.parametrize("wire", ["kie", "aigptimage"])
@pytest.mark.parametrize("good", [True, False])
async def test_kies_callback_in_kies_words(
    start_app: StartApp, receiver: Receiver, wire: str, good: bool
) -> None:
    play = one_picture if good else raising(ValueError("no"))
    serving = await start_app(play, private_callbacks=True)
    headers = {"authorization": f"Bearer {serving.key.secret}"}
    body = {"model": "still", "input": {"prompt": "a"}, "callBackUrl": receiver.url("/done")}
    path = f"/{wire}/api/v1/jobs"
    made = await serving.http.post(f"{path}/createTask", json=body, headers=headers)
    assert made.json()["code"] == 200, made.text
    id = made.json()["data"]["taskId"]
    (letter,) = await receiver.until(1)
    _, told = await ask(serving, "GET", "/webhooks/secret")

    said, key = letter.said, told["secret"]
    assert said["code"] == (200 if good else 501)
    assert said["msg"] == f"Playground task {'completed successfully' if good else 'failed'}."
    asked = await serving.http.get(f"{path}/recordInfo", params={"taskId": id}, headers=headers)
    data = asked.json()["data"]
    if good:  # links begin with what each is reached by
        mine, theirs = (json.loads(one["resultJson"]) for one in (said["data"], data))
        suffix = theirs["resultUrls"][0].partition("/files/")[2]
        assert mine["resultUrls"][0].endswith(f"/files/{suffix}")
        data["resultJson"] = said["data"]["resultJson"]
    assert said["data"] == data
    assert json.loads(data["param"]) == body
    assert by_the_sample_of_kies_page(said, letter.headers, key)
    verify_kie(letter.body, letter.headers, key)
    standardwebhooks.Webhook(key).verify(letter.body, letter.headers)


@pytest.mark.parametrize(
    ("callback", "named"),
    [
        ({"url": "http://127.0.0.1:1/x"}, "callback.url"),
        ({"url": "http://[::ffff:127.0.0.1]/x"}, "callback.url"),
        ({"url": "http://2130706433/"}, "callback.url"),
        ({"url": "http://169.254.169.254/latest"}, "callback.url"),
        ({"url": "http://user:password@93.184.216.34/"}, "callback.url"),
        ({"url": "http://93.184.216.34@127.0.0.1/"}, "callback.url"),
        ({"url": "http://127.0.0.1\\@93.184.216.34/"}, "callback.url"),
        ({"url": "http://93.184.216.34:99999/"}, "callback.url"),
        ({"url": "http://93.184.216.34:-1/"}, "callback.url"),
        ({"url": "http://①②⑦.0.0.1/"}, "callback.url"),
        ({"url": "http://93.184.216.34/a b"}, "callback.url"),
        ({"url": "http://93.184.216.34/\r\nX: y"}, "callback.url"),
        ({"url": "ftp://93.184.216.34/"}, "callback.url"),
        ({"url": "http://93.184.216.34/" + "x" * 2048}, "callback.url"),
        ({"url": "http://93.184.216.34/", "events": ["task.eaten"]}, "callback.events"),
        ({"url": "http://93.184.216.34/", "secret": "short"}, "callback.secret"),
        ({"url": "http://93.184.216.34/", "secret": "whsec_AAAA"}, "callback.secret"),
    ],
)
async def test_what_is_no_callback_is_refused_by_its_name(
    start_app: StartApp, callback: dict[str, Any], named: str
) -> None:
    serving = await start_app()
    code, said = await ask(serving, "POST", "/tasks", {**TASK, "callback": callback})

    assert (code, said["parameter"]) == (400, named)
    code, said = await ask(serving, "POST", "/webhooks/endpoints", callback)
    assert (code, said["parameter"]) == (400, named.removeprefix("callback."))


async def test_a_key_names_so_many_hosts(
    serving: Serving, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "MOST_ORIGINS", 1)
    first = {**TASK, "callback": {"url": receiver.url("/a")}}
    assert (await ask(serving, "POST", "/tasks", first))[0] == 201
    assert (await ask(serving, "POST", "/tasks", first))[0] == 201
    other = {**TASK, "callback": {"url": receiver.url("/a").replace("127.0.0.1", "localhost")}}
    code, said = await ask(serving, "POST", "/tasks", other)
    assert (code, said["parameter"]) == (400, "callback.url")


# --------------------------------------------------------------------------------------- endpoints


async def test_endpoints_are_made_shown_changed_and_removed(
    serving: Serving, receiver: Receiver
) -> None:
    made = await endpoint(serving, receiver.url("/a"), description="the shop")
    secret = made.pop("secret")
    assert secret.startswith("whsec_")
    assert made["events"] == ["task.ended"] and made["state"] == "on"
    id = made["id"]
    assert await ask(serving, "GET", "/webhooks/endpoints") == (200, {"endpoints": [made]})
    assert await ask(serving, "GET", f"/webhooks/endpoints/{id}") == (200, made)
    change = {"events": ["task.failed"], "description": ""}
    code, changed = await ask(serving, "PATCH", f"/webhooks/endpoints/{id}", change)
    assert (code, changed) == (200, {**made, **change})
    code, rotated = await ask(serving, "POST", f"/webhooks/endpoints/{id}/rotate")
    assert code == 200 and rotated["secret"] not in ("", secret)
    assert await ask(serving, "DELETE", f"/webhooks/endpoints/{id}") == (204, None)
    assert (await ask(serving, "DELETE", f"/webhooks/endpoints/{id}"))[0] == 404


async def test_an_endpoint_is_tried_out(serving: Serving, receiver: Receiver) -> None:
    made = await endpoint(serving, receiver.url(), events=["task.failed"])
    code, told = await ask(serving, "POST", f"/webhooks/endpoints/{made['id']}/test")
    assert (code, told["type"], told["state"]) == (202, "webhook.test", "pending")
    (letter,) = await receiver.until(1)
    assert letter.id == told["id"]
    said = standardwebhooks.Webhook(made["secret"]).verify(letter.body, letter.headers)
    assert said["data"] == {"endpoint": made["id"]}
    await settled(serving)
    code, told = await ask(serving, "GET", f"/webhooks/deliveries/{told['id']}")
    assert told["state"] == "delivered"
    assert [(each["status"], each["answer"]) for each in told["history"]] == [(200, "ok")]


async def test_what_failed_is_seen_and_sent_again(serving: Serving, receiver: Receiver) -> None:
    made = await endpoint(serving, receiver.url())
    receiver.answers["/"] = [status(410), status(200)]
    _, task = await ask(serving, "POST", "/tasks", TASK)
    await receiver.until(1)
    (told,) = await settled(serving, state="failed", task=task["id"])
    _, shown = await ask(serving, "GET", f"/webhooks/endpoints/{made['id']}")
    assert (shown["state"], shown["reason"]) == ("off", "it answered 410 Gone")
    since = {"since": "2020-01-01T00:00:00Z"}
    code, enabled = await ask(serving, "POST", f"/webhooks/endpoints/{made['id']}/enable")
    assert (code, enabled["state"]) == (200, "on")
    code, said = await ask(serving, "POST", f"/webhooks/endpoints/{made['id']}/recover", since)
    assert (code, said) == (202, {"recovered": 1})
    await receiver.until(2)
    (again,) = await settled(serving, endpoint=made["id"], state="delivered")
    assert again["id"] == told["id"] and again["tries"] == 2
    code, _ = await ask(serving, "POST", f"/webhooks/deliveries/{told['id']}/redeliver")
    assert code == 202
    letters = await receiver.until(3)
    assert len({letter.id for letter in letters}) == 1


async def test_what_is_anothers_is_not_there(serving: Serving, receiver: Receiver) -> None:
    other = (await serving.app.keyring.create("other")).secret
    made = await endpoint(serving, receiver.url())
    await ask(serving, "POST", "/tasks", TASK)
    await receiver.until(1)
    (told,) = await settled(serving)
    own, delivery = f"/webhooks/endpoints/{made['id']}", f"/webhooks/deliveries/{told['id']}"
    since = {"since": "2020-01-01T00:00:00Z"}
    for method, path, body in (
        ("GET", own, None),
        ("PATCH", own, {"description": "mine"}),
        ("DELETE", own, None),
        ("POST", f"{own}/rotate", {}),
        ("POST", f"{own}/test", {}),
        ("POST", f"{own}/enable", {}),
        ("POST", f"{own}/recover", since),
        ("GET", delivery, None),
        ("POST", f"{delivery}/redeliver", {}),
        ("GET", "/webhooks/endpoints/%00", None),
        ("GET", "/webhooks/deliveries/%F0%9F%92%A9", None),
    ):
        assert (await ask(serving, method, path, body, other))[0] == 404, path
    assert await ask(serving, "GET", "/webhooks/deliveries", key=other) == (200, {"deliveries": []})
    assert (await ask(serving, "GET", "/webhooks/endpoints", key="sk-none"))[0] == 401
    _, first = await ask(serving, "GET", "/webhooks/secret")
    _, second = await ask(serving, "GET", "/webhooks/secret", key=other)
    assert first != second


async def test_deliveries_are_paged(serving: Serving, receiver: Receiver) -> None:
    await endpoint(serving, receiver.url())
    for _ in range(3):
        await ask(serving, "POST", "/tasks", TASK)
    await receiver.until(3)
    await settled(serving)
    seen: list[str] = []
    path = "/webhooks/deliveries?limit=2"
    _, page = await ask(serving, "GET", path)
    seen += [each["id"] for each in page["deliveries"]]
    cursor = page["next_cursor"]
    code, said = await ask(serving, "GET", f"{path}&state=failed&cursor={cursor}")
    assert (code, said["parameter"]) == (400, "cursor")
    assert "other filters" in said["detail"]
    _, page = await ask(serving, "GET", f"{path}&cursor={cursor}")
    seen += [each["id"] for each in page["deliveries"]]

    assert len(seen) == len(set(seen)) == 3 and "next_cursor" not in page
    for wrong in ("cursor=x", "cursor=%00", "state=eaten", "limit=0", "colour=red"):
        assert (await ask(serving, "GET", f"/webhooks/deliveries?{wrong}"))[0] == 400


async def test_a_key_makes_so_many_endpoints(
    serving: Serving, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "MOST_ENDPOINTS", 1)
    await endpoint(serving, receiver.url())
    code, said = await ask(serving, "POST", "/webhooks/endpoints", {"url": receiver.url()})
    assert (code, said["code"]) == (409, "conflict")


async def test_what_nobody_reads_ends_the_connection_and_is_not_received(serving: Serving) -> None:
    received = 0
    sent: list[Any] = []

    async def receive() -> Any:
        nonlocal received
        received += 1
        return {"type": "http.request", "body": bytes(1000), "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/safelight/v1/webhooks/endpoints",
        "query_string": b"",
        "headers": [(b"content-length", b"1000000000")],
    }
    await serving.app.asgi(scope, receive, send)

    assert (sent[0]["status"], received) == (401, 0)
    assert (b"connection", b"close") in sent[0]["headers"]
