"""Hearing of it from another process: whoever tells of a change is never the one who made it.

Two APIs run no tasks, one worker draws and sends no webhooks, and the other sends them and draws
nothing. What is canceled at one API is heard of at the other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest

from backends import PostgresServer, S3Server
from end_to_end.cluster import Cluster, installed, so
from end_to_end.running import RULES, SERVED, TASK_SECONDS, Running
from end_to_end.streams import Sent, events_of
from end_to_end.words import IMAGES, slow
from receiver import Letter, Receiver, receiving
from safelight import Kind, Task
from safelight.dialects import named
from safelight.task import Fetch
from safelight.webhooks import verify, verify_kie

V1 = "/api/safelight/v1"
MODELS = f"""
[[models]]
name = "still"
engine = "sketch"
options = {{ seconds = 0.5 }}

{RULES}"""
ASKED = {"model": "still", "input": {"prompt": "a lighthouse", "width": 64, "height": 64}}
# Whoever hears by a notice knows at once, and whoever looks every two seconds after one on average:
# five of them know together in this time only where they were told.
HEARD, OFTEN = 1.0, 5


class Four(NamedTuple):
    """The processes of an installation."""

    cluster: Cluster
    a: Running
    b: Running
    draws: Running
    tells: Running


@pytest.fixture(scope="module")
def four(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer, s3: S3Server
) -> Iterator[Four]:
    folder = tmp_path_factory.mktemp("hearing")
    more = {"private_callbacks": True, "concurrency": 2 * OFTEN}
    with installed(folder, postgres.create(), s3.bucket(), MODELS, **more) as cluster:
        a, b = cluster.start("serve --no-workers", "serve --no-workers")
        (draws,) = cluster.start("work --engines sketch", SAFELIGHT_SENDER="false")
        (tells,) = cluster.start("work --engines enhance")
        yield Four(cluster, a, b, draws, tells)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


def http(server: Running) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=f"{server.url}{V1}",
        headers={"authorization": f"Bearer {server.key.secret}"},
        timeout=TASK_SECONDS,
        trust_env=False,
    )


async def make(server: Running, **words: Any) -> str:
    """A new task of our own wire; its id."""
    async with http(server) as client:
        answer = await client.post("/tasks", json={**ASKED, **words})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])


async def cancel(server: Running, id: str) -> None:
    async with http(server) as client:
        (await client.post(f"/tasks/{id}/cancel")).raise_for_status()


async def get(server: Running, path: str, **headers: str) -> httpx.Response:
    async with http(server) as client:
        return await client.get(path, headers=named_as_sent(headers))


def named_as_sent(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


async def settle(waiting: list[asyncio.Task[httpx.Response]]) -> None:
    """See that all wait: none is answered, although all were asked a while ago."""
    await asyncio.sleep(0.3)
    assert not any(each.done() for each in waiting)


async def stream(server: Running, path: str, last: str | None = None) -> AsyncIterator[Sent]:
    """The events of a stream, after the last one that is known."""
    headers = {"accept": "text/event-stream", **({"last-event-id": last} if last else {})}
    async with http(server) as client, client.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        async for event in events_of(answer):
            yield event


# ---------------------------------------------------------------------------------------- waiting


@pytest.mark.parametrize("dialect", SERVED)
async def test_who_waits_at_one_process_hears_what_was_done_at_another(
    four: Four, dialect: str
) -> None:
    spoken = named(dialect)
    asked = msgspec.structs.replace(IMAGES[dialect], model=slow(dialect, Kind.IMAGE))
    async with four.a.client(dialect) as caller:
        tasks = [await caller.submit(asked) for _ in range(OFTEN)]

    async def wait(client: httpx.AsyncClient, task: Task) -> httpx.Response:
        request = four.b.sign(spoken, spoken.write_request(Fetch(id=task.id, kind=Kind.IMAGE)))
        return await client.request(
            request.method,
            f"{four.b.url}{request.target}",
            headers=[*request.headers, ("prefer", "wait=30")],
            content=request.body,
        )

    async with http(four.b) as client:
        del client.headers["authorization"]
        waiting = [asyncio.create_task(wait(client, task)) for task in tasks]
        await settle(waiting)
        for task in tasks:
            await cancel(four.a, task.id)
        began = time.monotonic()
        answers = await asyncio.gather(*waiting)

    assert time.monotonic() - began < HEARD
    assert {answer.headers["preference-applied"] for answer in answers} == {"wait=30"}
    assert all("canceled" in answer.text.lower() for answer in answers), answers[0].text


async def test_an_end_of_a_worker_is_heard_at_both_apis(four: Four) -> None:
    id = await make(four.a)

    answers = await asyncio.gather(
        *(get(at, f"/tasks/{id}", prefer="wait=30") for at in (four.a, four.b))
    )

    assert [answer.json()["status"] for answer in answers] == ["succeeded"] * 2
    assert answers[0].headers["etag"] == answers[1].headers["etag"]


async def test_what_was_seen_at_one_process_is_known_at_the_other(four: Four) -> None:
    ids = [await make(four.a, model="slow") for _ in range(OFTEN)]
    for id in ids:
        async for event in stream(four.a, f"/tasks/{id}/events", "0"):
            if event.said.get("status") == "running":
                break
    seen = [(await get(four.a, f"/tasks/{id}")).headers["etag"] for id in ids]

    same = await get(four.b, f"/tasks/{ids[-1]}", prefer="wait=1", if_none_match=seen[-1])
    waiting = [
        asyncio.create_task(get(four.b, f"/tasks/{id}", prefer="wait=30", if_none_match=tag))
        for id, tag in zip(ids, seen, strict=True)
    ]
    await settle(waiting)
    for id in ids:
        await cancel(four.a, id)
    began = time.monotonic()
    answers = await asyncio.gather(*waiting)

    assert (same.status_code, same.headers["preference-applied"]) == (304, "wait=1")
    assert time.monotonic() - began < HEARD
    assert {answer.json()["status"] for answer in answers} == {"canceled"}
    assert all(a.headers["etag"] != tag for a, tag in zip(answers, seen, strict=True))


async def test_changes_are_heard_where_they_were_not_made(four: Four) -> None:
    cursor = (await get(four.a, "/changes")).json()["cursor"]
    found: list[tuple[str, str]] = []
    made = []
    for number in range(OFTEN):
        at, elsewhere = (four.a, four.b) if number % 2 else (four.b, four.a)
        path = f"/changes?cursor={cursor}"
        waiting = asyncio.create_task(get(elsewhere, path, prefer="wait=30"))
        await settle([waiting])
        made.append(await make(at, model="slow"))
        began = time.monotonic()
        answer = (await waiting).json()
        assert time.monotonic() - began < HEARD
        await cancel(at, made[-1])
        cursor = answer["cursor"]
        found += [(task["id"], task["status"]) for task in answer["tasks"]]
        async for event in stream(elsewhere, "/events", cursor):  # up to its last state
            cursor = event.id
            if (event.said["id"], event.said["status"]) == (made[-1], "canceled"):
                break

    assert [id for id, _ in found] == made


# ---------------------------------------------------------------------------------------- streams


async def test_a_stream_of_a_task_goes_on_at_the_other_process(four: Four) -> None:
    id = await make(four.a)
    path, events = f"/tasks/{id}/events", list[Sent]()

    at, others = four.b, [four.a]
    for _ in range(20):
        async for event in stream(at, path, events[-1].id if events else "0"):
            events.append(event)
            if event.name in ("status", "log"):  # cut off after each, and taken up elsewhere
                break
        if events[-1].name == "done":
            break
        at, others = others[0], [at]

    rows = [(await get(each, path)).json()["events"] for each in (four.a, four.b)]
    assert rows[0] == rows[1]
    told = [int(event.id) for event in events if event.name in ("status", "log")]
    assert told == [row["revision"] for row in rows[0]]
    assert events[-1].said["status"] == "succeeded"
    gone = await get(others[0], path, accept="text/event-stream", last_event_id=events[-1].id)
    assert gone.status_code == 204


async def test_a_stream_of_a_key_goes_on_at_the_other_process(four: Four) -> None:
    cursor: str | None = (await get(four.a, "/changes")).json()["cursor"]
    ids = [await make(at) for at in (four.a, four.b) for _ in range(3)]
    last: dict[str, str] = {}

    at, other = four.b, four.a
    while any(last.get(id) != "succeeded" for id in ids):
        taken = 0
        async for event in stream(at, "/events", cursor):
            cursor, taken = event.id, taken + 1
            last[event.said["id"]] = event.said["status"]
            if taken == 2 or all(last.get(id) == "succeeded" for id in ids):
                break
        at, other = other, at

    left = (await get(at, f"/changes?cursor={cursor}")).json()
    assert left["tasks"] == []


# --------------------------------------------------------------------------------------- webhooks


async def test_webhooks_are_sent_by_a_process_that_changed_nothing(
    four: Four, receiver: Receiver
) -> None:
    body = {"url": receiver.url("/all"), "events": ["task.running", "task.ended"]}
    async with http(four.a) as client:
        made = (await client.post("/webhooks/endpoints", json=body)).json()
    try:
        ids = [await make(at) for at in (four.a, four.b)]
        lost = await make(four.a, model="slow")
        await cancel(four.b, lost)
        wanted = {(id, "task.succeeded") for id in ids} | {(lost, "task.canceled")}
        wanted |= {(id, "task.running") for id in ids}
        while not wanted <= (said := {said_in(letter) for letter in receiver.letters}):
            await receiver.until(len(receiver.letters) + 1)
        for at in (four.a, four.b):
            for id, type in sorted(wanted):
                await so(partial(delivered, at, id, type))
    finally:
        async with http(four.b) as client:
            await client.delete(f"/webhooks/endpoints/{made['id']}")

    assert said - wanted <= {(lost, "task.running")}
    assert len({letter.id for letter in receiver.letters}) == len(said)
    for letter in receiver.letters:
        verify(letter.body, letter.headers, made["secret"])


def said_in(letter: Letter) -> tuple[str, str]:
    return letter.said["data"]["id"], letter.said["type"]


async def delivered(at: Running, task: str, type: str) -> bool:
    """Whether one of the deliveries of a task is told to be delivered."""
    found = (await get(at, f"/webhooks/deliveries?state=delivered&task={task}")).json()
    return type in {delivery["type"] for delivery in found["deliveries"]}


async def test_kies_callback_is_sent_by_a_process_that_changed_nothing(
    four: Four, receiver: Receiver
) -> None:
    body = {"model": "still", "input": {"prompt": "a"}, "callBackUrl": receiver.url("/done")}
    async with http(four.a) as client:
        answer = await client.post(f"{four.a.url}/kie/api/v1/jobs/createTask", json=body)
        id = answer.json()["data"]["taskId"]
        (letter,) = await receiver.until(1, "/done")
        key = (await client.get("/webhooks/secret")).json()["secret"]

    assert letter.said["code"] == 200
    assert letter.said["data"]["taskId"] == id
    verify_kie(letter.body, letter.headers, key)


async def test_the_process_that_draws_sends_nothing(four: Four, receiver: Receiver) -> None:
    await make(four.a, callback={"url": receiver.url("/own")})
    (letter,) = await receiver.until(1, "/own")

    drew, told = (one.log.read_text(errors="replace") for one in (four.draws, four.tells))
    assert letter.said["data"]["id"] in drew
    assert letter.said["data"]["id"] not in told
