"""Requests whose answer is the end of their task: how long they wait, and how many of them."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from backends import PostgresServer
from doubles import Serving, StartApp, picture, raising, until, write_picture
from safelight.engines import Event, Failed, File, Job, Progress
from safelight.store import scripts
from safelight.task import FailureCode, Status

GENERATE, EDIT = "/api/ai/image/generate", "/api/ai/image/edit"
RAW, RAW_EDIT = "/api/ai/images/generations", "/api/ai/images/edits"
BODY = {"model": "still", "prompt": "a"}
PICTURE = "data:image/png;base64," + base64.b64encode(picture()).decode()


class Held:
    """A run that waits for its gate."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.runs = 0

    async def __call__(self, job: Job) -> AsyncIterator[Event]:
        self.runs += 1
        yield Progress(percent=10)
        await self.gate.wait()
        yield write_picture(job)


@pytest.fixture
async def held() -> Held:
    return Held()


async def tasks(serving: Serving) -> dict[str, int]:
    """How many tasks there are, by status."""
    counts: dict[str, int] = await serving.app.store.read_aside(scripts.count_by_status())
    return counts


async def accepted(serving: Serving) -> int:
    return sum((await tasks(serving)).values())


async def ask(serving: Serving, path: str = GENERATE, **more: Any) -> Any:
    answer = await serving.post(path, json={**BODY, **more})
    return answer.json()


async def log(serving: Serving, id: str) -> Any:
    """A task as the asynchronous route tells it."""
    key = {"x-api-key": serving.key.secret}
    return (await serving.http.get(f"/api/ai/image/task/{id}", headers=key)).json()["data"]


# --------------------------------------------------------------------------------- what is answered


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
async def test_the_answer_is_the_result(
    start_app: StartApp, request: pytest.FixtureRequest, database: str
) -> None:
    settings: dict[str, Any] = {}
    if database == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres")
        settings["database"] = await server.create_soon()
    serving = await start_app(**settings)

    made = await ask(serving)
    edited = await ask(serving, EDIT, image=PICTURE)
    raw = await ask(serving, RAW)

    assert made["code"] == edited["code"] == 0
    assert made["data"]["created"] > 1.7e9
    links = [
        made["data"]["list"][0]["url"],
        edited["data"]["list"][0]["url"],
        raw["data"][0]["url"],
    ]
    for link in links:
        assert (await serving.http.get(link)).content == picture()
    assert base64.b64decode(raw["data"][0]["b64_json"]) == picture()
    assert (raw["size"], raw["output_format"]) == ("8x6", "png")
    assert await tasks(serving) == {"succeeded": 3}


async def test_pictures_come_as_they_were_asked_for(serving: Serving) -> None:
    link = await ask(serving, RAW, response_format="url")
    data = await ask(serving, RAW, response_format="b64_json")

    assert set(link["data"][0]) == {"url"}
    assert set(data["data"][0]) == {"b64_json"}


async def test_pictures_for_which_there_is_no_room_are_links(start_app: StartApp) -> None:
    async def large(job: Job) -> AsyncIterator[Event]:
        path = job.folder / "out.png"
        path.write_bytes(bytes(900))
        yield File(path=path, media_type="image/png")

    serving = await start_app(large, max_body=1000, max_bodies=2000)

    link = await ask(serving, RAW)
    data = await ask(serving, RAW, response_format="b64_json")

    assert set(link["data"][0]) == {"url"}
    assert data["error"]["param"] == "response_format"
    assert await tasks(serving) == {"succeeded": 2}


@pytest.mark.parametrize(
    ("code", "status", "word"),
    [
        (FailureCode.CONTENT_POLICY, 400, "moderation_blocked"),
        (FailureCode.TIMEOUT, 504, "timeout"),
        (FailureCode.PROVIDER_ERROR, 500, "provider_error"),
    ],
)
async def test_a_failed_task_is_told_in_the_wires_words(
    start_app: StartApp, code: FailureCode, status: int, word: str
) -> None:
    serving = await start_app(raising(Failed(code, "Not today")))

    told = await ask(serving)
    raw = await serving.post(RAW, json=BODY)

    assert (told["code"], told["message"]) == (12301, "AI call failed: Not today")
    assert (await log(serving, told["data"]["logId"]))["status"] == "failed"
    assert (raw.status_code, raw.json()["error"]["code"]) == (status, word)
    assert raw.headers["x-should-retry"] == "false"


async def test_what_is_wrong_is_told_at_once_by_its_name(serving: Serving) -> None:
    wrong = await ask(serving, size="vast")
    raw = await serving.post(RAW, json={**BODY, "background": "transparent"})
    edit = await serving.post(
        RAW_EDIT, data={"prompt": "a"}, files={"image": ("a.png", b"no picture")}
    )

    assert (wrong["code"], "size: 'vast'" in wrong["message"]) == (10002, True)
    assert (raw.status_code, raw.json()["error"]["param"]) == (400, "background")
    assert (edit.status_code, edit.json()["error"]["param"]) == (400, "image")
    assert await accepted(serving) == 0


@pytest.mark.parametrize("path", [GENERATE, RAW])
async def test_an_idempotency_key_makes_one_task(serving: Serving, path: str) -> None:
    headers = {"idempotency-key": "once"}

    answers = [(await serving.post(path, json=BODY, headers=headers)).json() for _ in range(2)]

    assert answers[0].get("data") == answers[1].get("data")
    assert await accepted(serving) == 1


@pytest.mark.parametrize(("path", "status", "said"), [(GENERATE, 200, 401), (RAW, 401, None)])
async def test_whoever_has_no_key_is_told_so_from_the_head(
    serving: Serving, path: str, status: int, said: int | None
) -> None:
    received = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal received
        received += 1
        yield b"{}"

    answer = await serving.http.post(path, content=body())

    assert answer.status_code == status
    assert answer.json().get("code") == said
    assert received == 0


# ------------------------------------------------------------------------------------- how long


async def test_when_the_time_is_up_the_id_is_told_and_the_task_goes_on(
    start_app: StartApp, held: Held
) -> None:
    serving = await start_app(held, wait_timeout=0.2)

    told = await ask(serving)
    raw = await serving.post(RAW, json=BODY)

    id = told["data"]["logId"]
    assert (told["code"], told["data"]["status"], id in told["message"]) == (
        12301,
        "generating",
        True,
    )
    assert (raw.status_code, raw.headers["x-should-retry"]) == (504, "false")
    assert (await log(serving, id))["status"] == "generating"
    held.gate.set()
    await serving.ended(id)
    assert (await log(serving, id))["images"]


async def test_a_task_that_is_deleted_meanwhile_is_not_found(
    start_app: StartApp, held: Held
) -> None:
    serving = await start_app(held)
    waiting = asyncio.create_task(serving.post(RAW, json=BODY))
    await until(lambda: held.runs)
    id = serving.engine.jobs[0].task.id

    await serving.post("/v1/images/deleteimagestask", json={"taskids": [id]})

    assert (await waiting).status_code == 404


class Line:
    """A connection to the app as a server holds it, whose caller may go away."""

    def __init__(self, serving: Serving, path: str, body: Any) -> None:
        self.sent: list[Any] = []
        self.gone, self.takes = asyncio.Event(), asyncio.Event()
        self.takes.set()
        self._left = [{"type": "http.request", "body": json.dumps(body).encode()}]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "path": path,
            "query_string": b"",
            "headers": [
                (b"authorization", f"Bearer {serving.key.secret}".encode()),
                (b"content-type", b"application/json"),
                (b"transfer-encoding", b"chunked"),
            ],
        }
        self.answered = asyncio.create_task(self._run(serving, scope))

    async def _run(self, serving: Serving, scope: Any) -> None:
        await serving.app.asgi(scope, self._receive, self._send)

    async def _receive(self) -> Any:
        if self._left:
            return self._left.pop()
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self.sent.append(message)
        if message["type"] == "http.response.body":
            await self.takes.wait()


async def test_whoever_goes_away_ends_the_waiting_and_not_the_task(
    start_app: StartApp, held: Held
) -> None:
    serving = await start_app(held, max_waiting=2)
    line = Line(serving, RAW, BODY)
    await until(lambda: held.runs)
    full = await serving.post(RAW, json=BODY)

    line.gone.set()
    await asyncio.wait_for(line.answered, 5)
    held.gate.set()

    assert full.status_code == 429
    ended = await serving.ended(serving.engine.jobs[0].task.id)
    assert ended.status is Status.SUCCEEDED
    assert (await serving.post(RAW, json=BODY)).status_code == 200  # its place is free again


async def test_an_answer_that_is_not_taken_holds_its_room_and_no_more(
    start_app: StartApp,
) -> None:
    async def large(job: Job) -> AsyncIterator[Event]:
        path = job.folder / "out.png"
        path.write_bytes(bytes(900))
        yield File(path=path, media_type="image/png")

    serving = await start_app(large, max_body=2000, max_bodies=4000)
    slow = Line(serving, RAW, BODY)
    slow.takes.clear()
    await until(lambda: slow.sent)

    crowded = await ask(serving, RAW)
    slow.takes.set()
    await slow.answered
    roomy = await ask(serving, RAW)

    assert "b64_json" in json.loads(slow.sent[1]["body"])["data"][0]
    assert set(crowded["data"][0]) == {"url"}
    assert set(roomy["data"][0]) == {"url", "b64_json"}


async def test_a_connection_that_says_nothing_is_waited_on(start_app: StartApp, held: Held) -> None:
    serving = await start_app(held)
    line = Line(serving, RAW, BODY)
    line._left = [{"type": "http.request", "body": b""} for _ in range(20)] + line._left
    await until(lambda: held.runs)

    held.gate.set()
    await asyncio.wait_for(line.answered, 5)

    assert line.sent[0]["status"] == 200


# ---------------------------------------------------------------------------------- how many


async def test_only_so_many_wait_and_half_of_them_of_one_key(
    start_app: StartApp, held: Held
) -> None:
    serving = await start_app(held, max_waiting=4, concurrency=8)
    other = (await serving.app.keyring.create("other")).secret
    third = (await serving.app.keyring.create("third")).secret
    waiting = [asyncio.create_task(serving.post(GENERATE, json=BODY)) for _ in range(2)]
    await until(lambda: held.runs == 2)

    mine = await serving.post(GENERATE, json=BODY)
    mine_raw = await serving.post(RAW, json=BODY)
    waiting += [asyncio.create_task(serving.post(RAW, other, json=BODY)) for _ in range(2)]
    await until(lambda: held.runs == 4)
    full = await serving.post(GENERATE, third, json=BODY)
    full_raw = await serving.post(RAW, third, json=BODY)

    assert mine.json()["code"] == 10003
    assert (mine_raw.status_code, mine_raw.headers["retry-after"]) == (429, "5")
    assert (full.json()["code"], full.headers["retry-after"]) == (19001, "5")
    assert full_raw.status_code == 503
    assert await accepted(serving) == 4  # nothing was accepted that is not waited for
    # Whoever does not wait is not held up by those who do.
    assert (await serving.post("/api/ai/image/generate/async", json=BODY)).json()["code"] == 0
    held.gate.set()
    assert [(await one).status_code for one in waiting] == [200] * 4


async def test_many_who_ask_at_once_have_no_more_places(start_app: StartApp, held: Held) -> None:
    serving = await start_app(held, max_waiting=6, concurrency=8)
    waiting = [asyncio.create_task(serving.post(RAW, json=BODY)) for _ in range(20)]
    await until(lambda: sum(one.done() for one in waiting) == 17)
    held.gate.set()

    statuses = sorted([(await one).status_code for one in waiting])
    assert statuses == [200] * 3 + [429] * 17
    assert await accepted(serving) == 3


async def test_whoever_waits_holds_nothing_of_what_was_sent(
    start_app: StartApp, held: Held
) -> None:
    serving = await start_app(held, max_body=200_000, max_bodies=400_000)
    large = picture(200, 200, "BMP")
    files = {"image": ("a.bmp", large)}
    first = asyncio.create_task(serving.post(RAW_EDIT, data={"prompt": "a"}, files=files))
    await until(lambda: held.runs)

    # One key has room for half of all bodies: for one of this size.
    second = asyncio.create_task(serving.post(RAW_EDIT, data={"prompt": "a"}, files=files))
    await until(lambda: held.runs == 2, 4)  # a place in the room is waited for longer

    held.gate.set()
    assert ((await first).status_code, (await second).status_code) == (200, 200)


# ------------------------------------------------------------------------------------- stopping


async def test_a_server_that_stops_tells_the_id_and_takes_nobody_any_more(
    start_app: StartApp, held: Held
) -> None:
    serving = await start_app(held, grace=0.3)
    waiting = [asyncio.create_task(serving.post(path, json=BODY)) for path in (GENERATE, RAW)]
    await until(lambda: held.runs == 2)

    draining = asyncio.create_task(serving.app.drain())
    await until(lambda: serving.app.readiness.draining)
    late = await serving.post(RAW, json=BODY)
    told, raw = [await asyncio.wait_for(one, 10) for one in waiting]
    await draining

    assert (late.status_code, "x-should-retry" in late.headers) == (503, False)
    assert "stopping" in told.json()["message"]
    id = told.json()["data"]["logId"]
    assert not (await serving.task(id)).ended  # it was given back, and the next one runs it
    assert (raw.status_code, raw.headers["x-should-retry"]) == (504, "false")
    assert await accepted(serving) == 2


async def test_what_ends_within_the_grace_is_told(start_app: StartApp, held: Held) -> None:
    serving = await start_app(held, grace=30)
    waiting = asyncio.create_task(serving.post(RAW, json=BODY))
    await until(lambda: held.runs)

    draining = asyncio.create_task(serving.app.drain())
    held.gate.set()
    await draining

    answer: httpx.Response = await waiting
    assert answer.status_code == 200
