"""Answers that are held until there is something to tell, and those that tell nothing new."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import httpx
import pytest

from backends import PostgresServer
from doubles import Serving, StartApp, until, write_picture
from safelight import dialects
from safelight.clock import now_millis
from safelight.engines import Event, Job, Progress
from safelight.links import Links
from safelight.secrets import Vault
from safelight.server.conditions import Conditions, matches, read_conditions
from safelight.store import scripts
from safelight.task import Command, Fetch, FetchMany, Kind, Status, Submit, Task
from safelight.wire import Key, Request, Response

WIRES = sorted(dialects.own())


class Gate:
    """An engine that says how far it is when it is told to, and ends when the gate is open."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.begin = asyncio.Event()
        self.begin.set()
        self.percent: asyncio.Queue[int] = asyncio.Queue()

    async def __call__(self, job: Job) -> AsyncIterator[Event]:
        opened = asyncio.ensure_future(self.open.wait())
        while not opened.done():
            told = asyncio.ensure_future(self.percent.get())
            await asyncio.wait([opened, told], return_when=asyncio.FIRST_COMPLETED)
            if told.done():
                yield Progress(percent=told.result())
            told.cancel()
        yield write_picture(job)


@pytest.fixture
async def gate() -> Gate:
    return Gate()


async def ask(serving: Serving, name: str, command: Command, **headers: str) -> httpx.Response:
    """Ask in a dialect's own words, with headers beside them."""
    wire = dialects.named(name)
    key = Key(id=serving.key.id, secret=serving.key.secret)
    request = wire.write_key(_here(wire.write_request(command)), key, now_millis())
    sent = {**dict(request.headers), **{n.replace("_", "-"): v for n, v in headers.items()}}
    return await serving.http.request(
        request.method, f"/{name}{request.target}", headers=sent, content=request.body
    )


def _here(request: Request) -> Request:
    return request.with_headers(("host", "testserver"))


async def submitted(serving: Serving) -> str:
    """A task, as the store has it: it is the same one in every dialect."""
    task = await serving.app.service.submit(
        serving.key.id, "tensorslab", Submit(model="still", prompt="a")
    )
    await until(lambda: serving.app.worker.runs(task.id))
    return task.id


async def ask_for(serving: Serving, *ids: str, wait: int = 20) -> httpx.Response:
    """Ask for several tasks at once, on our own wire."""
    return await ask(serving, "safelight", FetchMany(ids=ids), prefer=f"wait={wait}")


async def test_several_tasks_are_waited_for_in_one_request(start_app: StartApp, gate: Gate) -> None:
    serving = await start_app(gate, concurrency=2)
    ids = [await submitted(serving) for _ in range(2)]
    for id in ids:
        await running(serving, id)
    waiting = asyncio.create_task(ask_for(serving, *ids))
    await until(lambda: serving.app.watch.waits)

    await gate.percent.put(20)  # which is no end
    await serving.app.store.write(scripts.cancel(ids[1], serving.key.id, now_millis()))
    began = time.monotonic()
    told = await waiting

    assert time.monotonic() - began < 1.5
    assert told.headers["preference-applied"] == "wait=20"
    assert [task["status"] for task in told.json()["tasks"]] == ["running", "canceled"]
    assert not serving.app.watch.waits
    # One is at its end, or not there: there is something to tell.
    for more in ((ids[0], ids[1]), (ids[0], "0" * 24)):
        assert "preference-applied" not in (await ask_for(serving, *more)).headers
    gate.open.set()


async def test_several_tasks_are_waited_for_so_long(start_app: StartApp, gate: Gate) -> None:
    serving = await start_app(gate, max_long_polls=2)
    id = await submitted(serving)

    began = time.monotonic()
    told = await ask_for(serving, id, id, wait=1)
    took = time.monotonic() - began
    waiting = asyncio.create_task(ask_for(serving, id))
    await until(lambda: serving.app.watch.waits)
    at_once = await ask_for(serving, id)  # half of the places are for other keys
    deleting = scripts.delete((id,), serving.key.id, None)
    await serving.app.store.write(deleting)
    gone = await waiting

    assert 1 <= took < 3
    assert (told.headers["preference-applied"], len(told.json()["tasks"])) == ("wait=1", 2)
    assert "preference-applied" not in at_once.headers
    assert gone.json()["missing"] == [id]
    gate.open.set()


async def test_who_waits_for_several_tasks_is_answered_when_the_server_stops(
    start_app: StartApp, gate: Gate
) -> None:
    serving = await start_app(gate)
    id = await submitted(serving)
    waiting = asyncio.create_task(ask_for(serving, id))
    await until(lambda: serving.app.watch.waits)

    serving.app.watch.close()

    assert (await asyncio.wait_for(waiting, 2)).status_code == 200
    gate.open.set()


async def running(serving: Serving, id: str) -> Task:
    """The task once its run has begun."""
    async with asyncio.timeout(10):
        while (found := await serving.task(id)).status is not Status.RUNNING:  # noqa: ASYNC110
            await asyncio.sleep(0.002)
    return found


def waiting(serving: Serving) -> int:
    return serving.app.waiting.polls._taken.total()


# ------------------------------------------------------------------------------------- Prefer: wait


@pytest.mark.parametrize("name", WIRES)
async def test_each_wire_holds_its_answer_until_the_end(
    start_app: StartApp, gate: Gate, name: str
) -> None:
    serving = await start_app(gate)
    id = await submitted(serving)
    wanted = Fetch(id=id, kind=Kind.IMAGE)

    at_once = await ask(serving, name, wanted)
    held = asyncio.create_task(ask(serving, name, wanted, prefer="wait=20"))
    await until(lambda: waiting(serving) == 1)
    gate.open.set()
    answer = await held

    assert "preference-applied" not in at_once.headers
    assert answer.headers["preference-applied"] == "wait=20"
    assert answer.status_code == at_once.status_code == 200
    told = dialects.named(name).read_reply(wanted, _response(answer))
    assert isinstance(told, Task)
    assert (told.status, len(told.artifacts)) == (Status.SUCCEEDED, 1)
    assert waiting(serving) == 0


def _response(answer: httpx.Response) -> Response:
    headers = tuple((name.lower(), value) for name, value in answer.headers.items())
    return Response(status=answer.status_code, headers=headers, body=answer.content)


@pytest.mark.parametrize("name", WIRES)
async def test_each_wire_holds_the_answer_to_a_submission(
    start_app: StartApp, gate: Gate, name: str
) -> None:
    serving = await start_app(gate)
    model = {"tensorslab": "seedreamv4", "tencent": "", "kie": "still", "aigptimage": "still"}
    submit = Submit(model=model.get(name, "still"), prompt="a lighthouse")

    held = asyncio.create_task(ask(serving, name, submit, prefer="wait=20"))
    await until(lambda: waiting(serving) == 1)
    gate.open.set()
    answer = await held

    assert answer.headers["preference-applied"] == "wait=20"
    assert (await serving.task(serving.engine.jobs[0].task.id)).status is Status.SUCCEEDED


async def test_the_time_is_up_and_the_task_is_told_as_it_is(
    start_app: StartApp, gate: Gate
) -> None:
    serving = await start_app(gate, max_wait=1)
    id = await submitted(serving)
    began = time.monotonic()

    answer = await ask(serving, "aitoearn", Fetch(id=id), prefer="respond-async, wait=600")

    assert answer.headers["preference-applied"] == "wait=1"
    assert 0.9 < time.monotonic() - began < 10
    assert answer.json()["data"]["status"] == "generating"


async def test_whose_task_is_at_its_end_is_not_kept_waiting(serving: Serving) -> None:
    id = await submitted(serving)
    await serving.ended(id)

    answer = await ask(serving, "aitoearn", Fetch(id=id), prefer="wait=60")

    assert answer.status_code == 200
    assert "preference-applied" not in answer.headers


async def test_where_there_is_no_place_the_answer_comes_at_once(
    start_app: StartApp, gate: Gate
) -> None:
    serving = await start_app(gate, max_long_polls=2)
    id = await submitted(serving)
    held = asyncio.create_task(ask(serving, "kie", Fetch(id=id), prefer="wait=20"))
    await until(lambda: waiting(serving) == 1)

    other = await ask(serving, "kie", Fetch(id=id), prefer="wait=20")  # half are for other keys

    assert other.status_code == 200
    assert "preference-applied" not in other.headers
    gate.open.set()
    assert (await held).headers["preference-applied"] == "wait=20"


async def test_whoever_waits_is_answered_when_the_server_stops(
    start_app: StartApp, gate: Gate
) -> None:
    serving = await start_app(gate, grace=0)
    id = await submitted(serving)
    held = [
        asyncio.create_task(ask(serving, "kie", Fetch(id=id), prefer="wait=60")) for _ in range(20)
    ]
    await until(lambda: waiting(serving) == 20)

    serving.app.watch.close()
    answers = await asyncio.wait_for(asyncio.gather(*held), 5)
    late = await ask(serving, "kie", Fetch(id=id), prefer="wait=60")

    assert {answer.status_code for answer in answers} == {200}
    assert "preference-applied" not in late.headers


async def test_a_task_that_is_deleted_meanwhile_is_told_so(start_app: StartApp, gate: Gate) -> None:
    serving = await start_app(gate)
    id = await submitted(serving)
    held = asyncio.create_task(ask(serving, "tensorslab", Fetch(id=id), prefer="wait=20"))
    await until(lambda: waiting(serving) == 1)

    await serving.post("/v1/images/deleteimagestask", json={"taskids": [id]})

    gone = await ask(serving, "tensorslab", Fetch(id=id))
    answer = await held
    assert (answer.status_code, answer.json()["msg"]) == (gone.status_code, gone.json()["msg"])


async def test_many_who_wait_for_one_task_ask_the_database_together(
    start_app: StartApp, gate: Gate
) -> None:
    serving = await start_app(gate)
    id = await submitted(serving)
    await running(serving, id)
    held = [
        asyncio.create_task(ask(serving, "kie", Fetch(id=id), prefer="wait=20")) for _ in range(100)
    ]
    await until(lambda: waiting(serving) == 100)

    gate.open.set()
    answers = await asyncio.wait_for(asyncio.gather(*held), 20)

    states = {answer.json()["data"]["state"] for answer in answers}
    assert states == {"success"}


async def test_what_another_process_has_changed_is_heard(
    start_app: StartApp, gate: Gate, postgres: PostgresServer
) -> None:
    url = await postgres.create_soon()
    asked = await start_app(gate, database=url, workers=False)
    works = await start_app(gate, database=url)
    task = await asked.app.service.submit(
        asked.key.id, "tensorslab", Submit(model="still", prompt="a")
    )
    held = asyncio.create_task(ask(asked, "kie", Fetch(id=task.id), prefer="wait=30"))
    await until(lambda: works.app.worker.runs(task.id))
    await until(lambda: waiting(asked) == 1)

    gate.open.set()
    answer = await held

    assert answer.json()["data"]["state"] == "success"


# --------------------------------------------------------------------------------------- ETag, 304


@pytest.mark.parametrize("name", WIRES)
async def test_what_is_told_by_get_has_a_tag_and_is_not_told_twice(
    serving: Serving, name: str
) -> None:
    id = await submitted(serving)
    await serving.ended(id)
    wanted = Fetch(id=id, kind=Kind.IMAGE)

    first = await ask(serving, name, wanted)
    again = await ask(serving, name, wanted, if_none_match=first.headers.get("etag", "*"))

    if dialects.named(name).write_request(wanted).method != "GET":
        # If-None-Match says something else there: 412 (RFC 9110, 13.1.2).
        assert ("etag" in first.headers, again.status_code) == (False, 200)
        return
    assert first.headers["etag"].startswith('W/"')
    assert first.headers["cache-control"] == "private, no-cache"
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]


async def test_each_change_has_another_tag(start_app: StartApp, gate: Gate) -> None:
    serving = await start_app(gate)
    id = await submitted(serving)
    await running(serving, id)
    tags = [(await ask(serving, "kie", Fetch(id=id))).headers["etag"]]

    await gate.percent.put(40)
    async with asyncio.timeout(10):
        while (await serving.task(id)).progress != 40:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    tags.append((await ask(serving, "kie", Fetch(id=id))).headers["etag"])
    gate.open.set()
    await serving.ended(id)
    tags.append((await ask(serving, "kie", Fetch(id=id))).headers["etag"])

    assert len(set(tags)) == 3


async def test_whoever_has_seen_a_state_is_told_the_next_one(
    start_app: StartApp, gate: Gate
) -> None:
    serving = await start_app(gate)
    id = await submitted(serving)
    await running(serving, id)
    seen = (await ask(serving, "kie", Fetch(id=id))).headers["etag"]
    held = asyncio.create_task(
        ask(serving, "kie", Fetch(id=id), prefer="wait=20", if_none_match=seen)
    )
    await until(lambda: waiting(serving) == 1)

    await gate.percent.put(40)  # not its end, but another state
    answer = await held

    assert answer.status_code == 200
    assert answer.json()["data"]["state"] == "generating"
    assert answer.headers["etag"] != seen
    assert answer.headers["preference-applied"] == "wait=20"


async def test_nothing_new_is_told_as_such_when_the_time_is_up(
    start_app: StartApp, gate: Gate
) -> None:
    serving = await start_app(gate, max_wait=1)
    id = await submitted(serving)
    await running(serving, id)
    seen = (await ask(serving, "kie", Fetch(id=id))).headers["etag"]

    answer = await ask(serving, "kie", Fetch(id=id), prefer="wait=5", if_none_match=seen)

    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["preference-applied"] == "wait=1"


async def test_a_link_is_told_anew_while_the_last_one_still_leads_somewhere() -> None:
    vault = Vault(b"secret")
    signed = Links(vault, lambda blob: blob, seconds=400)

    assert Links(vault).epoch(now_millis()) == 0
    assert [signed.epoch(seconds * 1000) for seconds in (0, 99, 100, 199, 200)] == [0, 0, 1, 1, 2]


@pytest.mark.parametrize(
    ("headers", "method", "said"),
    [
        ((), "GET", Conditions()),
        ((("prefer", "wait=5"),), "POST", Conditions(5)),
        ((("prefer", "respond-async, wait = 5"),), "GET", Conditions(5)),
        ((("prefer", 'WAIT="7";foo'),), "GET", Conditions(7)),
        ((("prefer", "respond-async"), ("prefer", "wait=9")), "GET", Conditions(9)),
        ((("prefer", "wait=-1"),), "GET", Conditions()),
        ((("prefer", "wait=1.5"),), "GET", Conditions()),
        ((("prefer", "await=5"),), "GET", Conditions()),
        ((("prefer", "wait=" + "9" * 50),), "GET", Conditions()),
        ((("if-none-match", 'W/"1"'),), "GET", Conditions(0, 'W/"1"')),
        ((("if-none-match", "a"), ("if-none-match", "b")), "HEAD", Conditions(0, "a, b")),
        ((("if-none-match", 'W/"1"'),), "POST", Conditions()),
    ],
)
def test_conditions_are_read(
    headers: tuple[tuple[str, str], ...], method: str, said: Conditions
) -> None:
    assert read_conditions(Request(method=method, path="/", headers=headers)) == said


@pytest.mark.parametrize(
    ("seen", "same"),
    [
        (None, False),
        ('W/"7-0"', True),
        ('"7-0"', True),
        ('"1", W/"7-0"', True),
        ("*", True),
        ('W/"8-0"', False),
        ("", False),
    ],
)
def test_tags_are_compared_weakly(seen: str | None, same: bool) -> None:
    assert matches(seen, 'W/"7-0"') is same


# ---------------------------------------------------------------------------- when to ask again


async def test_when_to_ask_again_is_learned(start_app: StartApp, gate: Gate) -> None:
    gate.open.set()
    serving = await start_app(gate)
    first = await submitted(serving)
    await serving.ended(first)
    await until(lambda: serving.app.paces._pending)
    await serving.app.store.write(scripts.learn([("", "player", 40_000.0)] * 3))
    serving.app.paces._pending.clear()
    assert serving.app.paces.mean(Submit()) is None  # it is read once somebody asks
    await serving.app.paces.exchange()
    gate.open.clear()

    id = await submitted(serving)
    await running(serving, id)
    answer = await ask(serving, "kie", Fetch(id=id))
    ended = await ask(serving, "kie", Fetch(id=first))

    assert 15 <= int(answer.headers["retry-after"]) <= 20
    assert "retry-after" not in ended.headers


# ------------------------------------------------------------------------------------ our client


def asked(serving: Serving) -> int:
    """How many queries of a task were answered."""
    answered = serving.app.metrics.requests.answered
    return sum(n for (_, op, _), n in answered.items() if op not in ("unknown",))


@pytest.mark.parametrize("name", ["kie", "tencent", "tensorslab", "aitoearn"])
async def test_the_client_that_waits_asks_twice(start_app: StartApp, gate: Gate, name: str) -> None:
    serving = await start_app(gate)
    id = await submitted(serving)
    client = serving.client(name, path=f"/{name}")
    before = asked(serving)
    ended = asyncio.create_task(client.wait(id, 20, kind=Kind.IMAGE))
    await until(lambda: waiting(serving) == 1)

    gate.open.set()
    task = await ended

    assert task.status is Status.SUCCEEDED
    assert asked(serving) - before == 2
    assert client.holds is True


async def test_the_client_hears_of_every_state_without_asking_again_and_again(
    start_app: StartApp, gate: Gate
) -> None:
    serving = await start_app(gate)
    id = await submitted(serving)
    await running(serving, id)
    heard: list[tuple[Status, int | None]] = []
    client = serving.client("kie", path="/kie")
    before = asked(serving)
    ended = asyncio.create_task(
        client.wait(id, 20, on_progress=lambda task: heard.append((task.status, task.progress)))
    )
    for percent in (10, 50):
        await until(lambda: waiting(serving) == 1)
        await gate.percent.put(percent)
        await until(lambda percent=percent: heard[-1:] == [(Status.RUNNING, percent)])  # type: ignore[misc]
        await asyncio.sleep(0.5)  # a worker writes no two within half a second
    gate.open.set()
    await ended

    assert heard == [
        (Status.RUNNING, None),
        (Status.RUNNING, 10),
        (Status.RUNNING, 50),
        (Status.SUCCEEDED, 100),
    ]
    assert asked(serving) - before == 4


async def test_the_client_polls_where_no_answer_is_held(start_app: StartApp, gate: Gate) -> None:
    serving = await start_app(gate, max_long_polls=1)
    id = await submitted(serving)
    taken = asyncio.create_task(ask(serving, "kie", Fetch(id=id), prefer="wait=20"))
    await until(lambda: waiting(serving) == 1)
    client = serving.client("kie", path="/kie")
    ended = asyncio.create_task(client.wait(id, 20))
    await until(lambda: asked(serving) > 5)

    gate.open.set()

    assert (await ended).status is Status.SUCCEEDED
    assert client.holds is False
    await taken


# -------------------------------------------------------------------- what the native wire adds


async def test_a_repeated_submission_is_told_as_such(serving: Serving) -> None:
    body = {"input": {"prompt": "a"}}
    headers = {"idempotency-key": '"order-1"'}

    first = await serving.post("/api/safelight/v1/tasks", json=body, headers=headers)
    again = await serving.post(
        "/api/safelight/v1/tasks", json=body, headers={"idempotency-key": "order-1"}
    )
    other = await serving.post(
        "/api/safelight/v1/tasks", json={"input": {"prompt": "b"}}, headers=headers
    )

    assert first.json()["id"] == again.json()["id"]
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert other.status_code == 422


async def test_what_is_left_of_a_rate_is_told_where_there_is_one(start_app: StartApp) -> None:
    serving = await start_app(rates={"safelight.create": "2/minute"})
    body = {"input": {"prompt": "a"}}

    answers = [await serving.post("/api/safelight/v1/tasks", json=body) for _ in range(3)]
    others = await serving.http.get(
        "/api/safelight/v1/tasks", headers={"authorization": f"Bearer {serving.key.secret}"}
    )

    assert [answer.status_code for answer in answers] == [201, 201, 429]
    assert {answer.headers["ratelimit-policy"] for answer in answers} == {'"create";q=2;w=60'}
    left = [answer.headers["ratelimit"].partition(";t=")[0] for answer in answers]
    assert left == ['"create";r=1', '"create";r=0', '"create";r=0']
    assert int(answers[2].headers["retry-after"]) >= 1
    assert "ratelimit" not in others.headers


async def test_a_retry_may_be_waited_for_and_is_told_as_repeated(serving: Serving) -> None:
    first = await serving.post("/api/safelight/v1/tasks", json={"input": {"prompt": "a"}})
    id = first.json()["id"]
    await serving.ended(id)
    path, headers = f"/api/safelight/v1/tasks/{id}/retry", {"idempotency-key": "again"}

    made = await serving.post(path, headers={**headers, "prefer": "wait=20"})
    again = await serving.post(path, headers=headers)

    assert made.headers["preference-applied"] == "wait=20"
    assert (made.status_code, made.json()["status"]) == (201, "succeeded")
    assert made.json()["id"] == again.json()["id"] != id
    assert again.headers["idempotent-replayed"] == "true"
