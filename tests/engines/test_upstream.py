"""The engine `upstream`: a real app and its worker here, a fake provider over real HTTP there."""

from __future__ import annotations

import asyncio
import base64
import json
import time
import tracemalloc
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from doubles import picture, until
from dripping import Endless, whole
from safelight import engines
from safelight.config import ModelRule, Settings, SettingsError
from safelight.engines import upstream as upstream_engine
from safelight.engines.kit.reasons import code_of, precise
from safelight.engines.kit.results import Strange, read_media_type
from safelight.engines.upstream import UpstreamEngine, read_options
from safelight.errors import (
    BadRequest,
    Fault,
    InsufficientCredits,
    Internal,
    TooLarge,
    UnknownModel,
    Unsupported,
)
from safelight.models import ModelMap
from safelight.server.app import App
from safelight.server.fake import Fake
from safelight.server.fake.samples import sample
from safelight.server.keys import NewKey
from safelight.server.opening import open_app
from safelight.store import scripts
from safelight.store.sqlite import connect
from safelight.task import (
    Cancel,
    Delete,
    FailureCode,
    Fetch,
    Kind,
    Source,
    Status,
    Submit,
    Task,
)
from safelight.wire import Key

DIALECTS = ("tensorslab", "aigptimage", "kie", "aitoearn", "tencent")
ONCE = ("tensorslab", "kie", "aitoearn", "tencent")  # those without an idempotency key
MODELS: Mapping[tuple[str, Kind], str] = {
    ("tensorslab", Kind.IMAGE): "seedreamv4",
    ("tensorslab", Kind.VIDEO): "seedancev2",
    ("aitoearn", Kind.VIDEO): "seedance-2.0",
    ("tencent", Kind.IMAGE): "Hunyuan",
    ("tencent", Kind.VIDEO): "Kling-2.1",
}
ABSENT = "http://127.0.0.1:1"


class House:
    """An app whose tasks run at a fake provider, and what is known there and here."""

    def __init__(self, app: App, key: NewKey) -> None:
        self.app = app
        self.key = key

    async def submit(self, kind: Kind = Kind.IMAGE, **words: Any) -> str:
        submit = Submit(kind=kind, **{"model": "any", "prompt": "a lighthouse", **words})
        task = await self.app.service.submit(self.key.id, "aigptimage", submit)
        return task.id

    async def task(self, id: str) -> Task:
        found = await self.app.store.read(scripts.get_any(id))
        assert found is not None
        return found

    async def memory(self, id: str) -> dict[str, Any]:
        return await self.app.store.read(scripts.recall(id))

    async def so(self, id: str, *statuses: Status, seconds: float = 20) -> Task:
        """The task once it is in one of these states, and no run is left where it has ended."""
        async with asyncio.timeout(seconds):
            while (task := await self.task(id)).status not in statuses or (  # noqa: ASYNC110
                task.ended and self.app.worker.runs(id)
            ):
                await asyncio.sleep(0.005)
        return task

    async def ended(self, id: str, seconds: float = 20) -> Task:
        return await self.so(id, Status.SUCCEEDED, Status.FAILED, Status.CANCELED, seconds=seconds)

    async def succeeded(self, id: str) -> Task:
        task = await self.ended(id)
        assert task.status is Status.SUCCEEDED, task.failure
        return task

    async def failed(self, id: str, code: FailureCode, seconds: float = 20) -> str:
        """The sentence of a failure of that code."""
        task = await self.ended(id, seconds)
        assert task.failure is not None
        assert task.failure.code is code, task.failure
        return task.failure.message

    async def asking(self, id: str) -> None:
        """Return once the task is being submitted there, or is about to be."""
        async with asyncio.timeout(20):
            while "asking" not in await self.memory(id):  # noqa: ASYNC110
                await asyncio.sleep(0.002)

    async def events(self, id: str) -> list[tuple[str, str]]:
        found = await self.app.store.read(scripts.events(id))
        return [(event.what, event.note) for event in found]

    async def log(self, id: str) -> str:
        return "\n".join(note for what, note in await self.events(id) if what == "log")

    async def steps(self, id: str) -> list[str]:
        """The states that the task was in, once each."""
        return list(dict.fromkeys(what for what, _ in await self.events(id) if what != "log"))

    async def stop(self) -> None:
        await self.app.drain()
        await self.app.close()


class Houses:
    """Starts apps on one data folder, one after the other."""

    def __init__(self, data: Path, stack: AsyncExitStack) -> None:
        self._data = data
        self._stack = stack
        self._key: NewKey | None = None

    async def start(self, fake: Fake | str, dialect: str, **options: Any) -> House:
        """One whose models run at `fake`; `options` are those of the model."""
        url = fake if isinstance(fake, str) else fake.url
        common = {"dialect": dialect, "url": url, "key": "env:FAKE", "per_second": 500.0}
        chosen = {**common, "fresh": 0.05, **options}
        rules = tuple(
            ModelRule(name=pattern, engine="upstream", options={**chosen, **more})
            for pattern, more in (
                ("still", {"model": MODELS.get((dialect, Kind.IMAGE), "gpt-image-2")}),
                ("film", {"model": MODELS.get((dialect, Kind.VIDEO), "seedance-2.0")}),
                ("*", {"model": MODELS.get((dialect, Kind.IMAGE), "any")}),
            )
        )
        return await self.start_with(*rules)

    async def start_with(self, *rules: ModelRule, **settings: Any) -> House:
        app = await open_app(Settings(data=self._data, models=rules, grace=0, **settings))
        self._key = await app.first_key() or self._key
        assert self._key is not None
        await app.start()
        house = House(app, self._key)
        self._stack.push_async_callback(house.stop)
        return house


@pytest.fixture
async def houses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Houses]:
    monkeypatch.setenv("FAKE", "id:secret")
    async with AsyncExitStack() as stack:
        yield Houses(tmp_path / "data", stack)


# --------------------------------------------------------------------------------- all is well


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_what_is_made_there_is_ours_before_the_task_says_so(
    houses: Houses, dialect: str
) -> None:
    script = {"tasks": [{"queued": 0.1, "running": 0.3, "progress": True}]}
    async with Fake.run(dialect, script) as fake:
        house = await houses.start(fake, dialect)
        stills = [await house.submit(model="still") for _ in range(3)]
        film = await house.submit(Kind.VIDEO, model="film", duration=5)

        for id in (*stills, film):
            task = await house.succeeded(id)
            (artifact,) = task.artifacts
            assert artifact.blob is not None
            kept = await house.app.blobs.get(artifact.blob)
            assert kept == sample(task.kind).data
            assert artifact.url is None
            assert (await house.steps(id))[-3:] == ["queued", "running", "succeeded"]
        counts = fake.counts()
        asked = house.app._models.requests()

    assert (counts.received, counts.accepted, counts.repeated) == (4, 4, 0)
    assert set(asked) == {(dialect, "answered")}
    assert asked[dialect, "answered"] >= 8  # each is submitted, and asked for
    assert all(number == 1 for number in counts.downloads.values())


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_the_links_of_the_provider_are_told_to_nobody(houses: Houses, dialect: str) -> None:
    async with Fake.run(dialect) as fake:
        house = await houses.start(fake, dialect)
        id = await house.submit(model="still")
        await house.succeeded(id)
        there = fake.tasks()[0].id

        told = []
        for ours in house.app.dialects:
            request = ours.write_request(Fetch(id=id, kind=Kind.IMAGE))
            request = request.with_headers(("host", "testserver"))
            key = Key(id=house.key.id, secret=house.key.secret)
            signed = ours.write_key(request, key, time.time_ns() // 1_000_000)
            transport = httpx.ASGITransport(house.app.asgi)
            async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as http:
                answer = await http.request(
                    signed.method,
                    signed.target,
                    headers=list(signed.headers),
                    content=signed.body,
                )
            told.append(answer.text)
        events = await house.events(id)

    assert all("http://testserver/files/" in text for text in told), told
    assert not any(fake.url in text or there in text for text in told)
    assert not any("/files/" in note for _, note in events)


async def test_several_pictures_keep_their_order(houses: Houses) -> None:
    async with Fake.run("aigptimage") as fake:
        house = await houses.start(fake, "aigptimage")
        task = await house.succeeded(await house.submit(model="still", count=3))

        assert len(task.artifacts) == 3
        assert len(fake.counts().downloads) == 3


# ----------------------------------------------------------------------------------- asked once


@pytest.mark.parametrize("dialect", ONCE)
async def test_a_lost_answer_is_told_and_nothing_is_sent_again(
    houses: Houses, dialect: str
) -> None:
    for answer in ("lost", "garbage", "internal"):
        script = {"submissions": [{"match": {"nth": 1}, "answer": answer, "accepts": True}]}
        async with Fake.run(dialect, script) as fake:
            house = await houses.start(fake, dialect)
            id = await house.submit(model="still")
            sentence = await house.failed(id, FailureCode.SUBMISSION_UNKNOWN)
            assert await house.succeeded(await house.submit(model="still"))
            assert fake.counts().received == 2
            await house.stop()

        assert fake.url in sentence
        assert id in sentence
        assert "may charge" in sentence


PROXIES = [
    # Envoy's and Istio's, when the connection behind them broke: the service had the request.
    (
        "503 Service Unavailable",
        b"upstream connect error or disconnect/reset before headers. "
        b"reset reason: connection termination",
        "Content-Type: text/plain",
    ),
    ("408 Request Timeout", b"", ""),
    ("425 Too Early", b"", ""),
    ("503 Service Unavailable", b'{"message": "Service Unavailable"}', ""),
]


@pytest.mark.parametrize(("status", "body", "header"), PROXIES)
@pytest.mark.parametrize("dialect", ["tensorslab", "kie", "aitoearn", "tencent"])
async def test_what_a_proxy_says_of_itself_is_no_refusal(
    houses: Houses, dialect: str, status: str, body: bytes, header: str
) -> None:
    proxy = Endless()
    proxy.choose = lambda head: whole(body, *filter(None, [header]), status=status)
    async with proxy.listen():
        house = await houses.start(proxy.url, dialect)
        sentence = await house.failed(
            await house.submit(model="still"), FailureCode.SUBMISSION_UNKNOWN
        )
    assert "may charge" in sentence
    assert len(proxy.asked) == 1


async def test_a_proxy_that_says_when_to_come_back_has_refused(houses: Houses) -> None:
    async with There().run() as there:
        there.links = [f"{there.url}/file"]
        answer = whole(b"busy", "Retry-After: 1", status="503 Service Unavailable")
        there.first.append(answer)
        house = await house_at(houses, there.url, {})
        await house.succeeded(await house.submit())
        assert there.asked("/v1/images/seedreamv4") == 2


@pytest.mark.parametrize("dialect", ["kie", "aigptimage"])
async def test_that_a_maker_was_silent_is_no_refusal(houses: Houses, dialect: str) -> None:
    said = json.dumps({"code": 408, "msg": "The upstream was silent", "data": None}).encode()
    silent = Endless()
    silent.choose = lambda head: whole(said, status="200 OK" if dialect == "kie" else "408 -")
    async with silent.listen():
        house = await houses.start(silent.url, "kie")
        await house.failed(await house.submit(model="still"), FailureCode.SUBMISSION_UNKNOWN)
    assert len(silent.asked) == 1


async def test_each_submission_has_a_connection_of_its_own(houses: Houses) -> None:
    """One that was kept may end when it is used, which looks like an answer that was lost."""
    async with There().run() as there:
        there.links = [f"{there.url}/file"]
        house = await house_at(houses, there.url, {})
        for _ in range(5):
            await house.succeeded(await house.submit())
        made = [talk for talk in there.listener.talks if any("POST" in head for head in talk)]
    asked = "/v1/images/seedreamv4"
    first = [talk[0] for talk in made if any(f" {asked} " in head for head in talk)]
    assert len(first) == 5
    assert all(f" {asked} " in head for head in first)


async def test_with_an_idempotency_key_it_is_sent_again_and_made_once(houses: Houses) -> None:
    script = {"submissions": [{"match": {"until": 2}, "answer": "lost"}]}
    async with Fake.run("aigptimage", script) as fake:
        house = await houses.start(fake, "aigptimage")
        id = await house.submit(model="still")
        await house.succeeded(id)
        counts, made = fake.counts(), fake.tasks()

    assert (counts.received, counts.repeated) == (3, 2)
    assert counts.keys == {id: 3}
    assert len(made) == 1


async def test_what_a_repeat_cannot_settle_is_told_too(houses: Houses) -> None:
    script = {
        "submissions": [
            {"match": {"nth": 1}, "answer": "lost"},
            {"match": {"nth": 2}, "answer": "unauthenticated"},
        ]
    }
    async with Fake.run("aigptimage", script) as fake:
        house = await houses.start(fake, "aigptimage")
        id = await house.submit(model="still")
        sentence = await house.failed(id, FailureCode.SUBMISSION_UNKNOWN)

    assert f"idempotency key {id}" in sentence


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_what_was_certainly_refused_for_now_is_asked_again(
    houses: Houses, dialect: str
) -> None:
    script = {
        "submissions": [
            {"match": {"nth": 1}, "answer": "unavailable"},
            {"match": {"nth": 2}, "answer": "rate_limited", "retry_after": 0.2},
        ]
    }
    async with Fake.run(dialect, script) as fake:
        house = await houses.start(fake, dialect)
        id = await house.submit(model="still")
        await house.succeeded(id)
        assert len(fake.tasks()) == 1
        assert fake.counts().received == 3

    assert "again in" in await house.log(id)


async def test_a_service_that_is_not_there_is_asked_until_the_deadline(houses: Houses) -> None:
    house = await houses.start(ABSENT, "tensorslab", deadline=0.5)
    sentence = await house.failed(await house.submit(model="still"), FailureCode.TIMEOUT)
    assert "cannot be reached" in sentence


@pytest.mark.parametrize(
    ("answer", "message", "code"),
    [
        ("insufficient_credits", None, FailureCode.INSUFFICIENT_CREDITS),
        ("unknown_model", None, FailureCode.INVALID_INPUT),
        ("bad_request", "The prompt violates our content policy", FailureCode.CONTENT_POLICY),
        ("invalid_value", "prompt: too long", FailureCode.INVALID_INPUT),
        ("unauthenticated", None, FailureCode.PROVIDER_ERROR),
    ],
)
async def test_a_refusal_ends_the_task_and_says_why(
    houses: Houses, answer: str, message: str | None, code: FailureCode
) -> None:
    rule = {"answer": answer, **({"message": message} if message else {})}
    async with Fake.run("aigptimage", {"submissions": [rule]}) as fake:
        house = await houses.start(fake, "aigptimage")
        sentence = await house.failed(await house.submit(model="still"), code)
        assert fake.counts().received == 1

    assert message is None or message in sentence
    assert "secret" not in sentence


# --------------------------------------------------------------------------- runs that break off


async def test_a_process_that_is_told_to_stop_hears_the_answer_first(houses: Houses) -> None:
    script = {"submissions": [{"answer": "slow", "seconds": 0.5}], "tasks": [{"running": 0.3}]}
    async with Fake.run("kie", script) as fake:
        first = await houses.start(fake, "kie")
        id = await first.submit()
        await until(lambda: fake.counts().received)
        await first.stop()
        assert fake.counts().received == 1

        second = await houses.start(fake, "kie")
        task = await second.succeeded(id)
        assert (fake.counts().received, task.attempt, task.deaths) == (1, 2, 0)
        assert "Resumed" in await second.log(id)


@pytest.mark.parametrize("answer", ["unavailable", "lost"])
async def test_told_to_stop_it_stops_also_when_the_answer_is_a_refusal(
    houses: Houses, answer: str
) -> None:
    script = {"submissions": [{"match": {"nth": 1}, "answer": answer, "seconds": 0.3}]}
    async with Fake.run("kie", script) as fake:
        first = await houses.start(fake, "kie")
        id = await first.submit()
        await until(lambda: fake.counts().received)
        async with asyncio.timeout(5):
            await first.stop()

        second = await houses.start(fake, "kie")
        if answer == "lost":
            await second.failed(id, FailureCode.SUBMISSION_UNKNOWN)
        else:
            await second.succeeded(id)
        assert len(fake.tasks()) == 1


async def test_told_to_stop_before_it_has_asked_it_has_not_asked(houses: Houses) -> None:
    """Whichever write the stop meets: none of these is `submission_unknown` afterwards."""
    async with Fake.run("kie") as fake:
        for number in range(8):
            first = await houses.start(fake, "kie")
            ids = [await first.submit() for _ in range(10)]
            await asyncio.sleep(number * 0.004)
            await first.stop()
        last = await houses.start(fake, "kie")
        for id in ids:
            await last.succeeded(id)
        tasks, counts = fake.tasks(), fake.counts()

    assert len(tasks) == counts.received == 80


async def left_asking(houses: Houses, dialect: str, since: float) -> str:
    """A task whose worker died, since when it may have asked; its id."""
    house = await houses.start(ABSENT, dialect)
    id = await house.submit()
    await house.asking(id)
    await house.stop()
    await leave(house, id, {"asking": since})
    return id


async def test_a_worker_that_died_while_it_asked_is_not_followed_by_another_submission(
    houses: Houses,
) -> None:
    async with Fake.run("kie") as fake, Fake.run("aigptimage") as safe:
        for there, dialect in ((fake, "kie"), (safe, "aigptimage")):
            id = await left_asking(houses, dialect, time.time())
            house = await houses.start(there, dialect)
            if dialect == "kie":
                sentence = await house.failed(id, FailureCode.SUBMISSION_UNKNOWN)
                assert "the worker ended" in sentence
                assert there.counts().received == 0
            else:
                await house.succeeded(id)
                assert there.counts().keys == {id: 1}
            await house.stop()


async def test_a_repeat_is_taken_for_safe_for_minutes_and_not_for_hours(houses: Houses) -> None:
    """How long a service remembers an idempotency key, no page of theirs says."""
    async with Fake.run("aigptimage") as fake, Fake.run("safelight") as own:
        for there, dialect in ((fake, "aigptimage"), (own, "safelight")):
            id = await left_asking(houses, dialect, time.time() - 301)
            house = await houses.start(there, dialect)
            if dialect == "aigptimage":
                await house.failed(id, FailureCode.SUBMISSION_UNKNOWN)
                assert there.counts().received == 0
            else:  # it remembers the key as long as the task
                await house.succeeded(id)
                assert there.counts().keys == {id: 1}
            await house.stop()


async def leave(house: House, id: str, memory: dict[str, Any]) -> None:
    """What a worker that died has left behind."""

    def write() -> None:
        connection = connect(house.app.settings.data / "safelight.db")
        text = msgspec.json.encode(memory).decode()
        connection.execute("update tasks set memory = ? where id = ?", (text, id))
        connection.close()

    await asyncio.to_thread(write)


async def test_a_source_that_is_gone_meanwhile_does_not_fail_what_is_made_already(
    houses: Houses,
) -> None:
    async with Fake.run("tensorslab", {"tasks": [{"running": 0.5}]}) as fake:
        first = await houses.start(fake, "tensorslab")
        id = await first.submit(model="still", sources=(Source(data=picture()),))
        async with asyncio.timeout(10):
            while "id" not in await first.memory(id):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        source = (await first.task(id)).submit.sources[0]
        assert source.blob is not None
        await first.app.blobs.remove(source.blob.rpartition("/")[0] + "/")
        await first.stop()

        second = await houses.start(fake, "tensorslab")
        await second.succeeded(id)


async def test_the_deadline_counts_from_the_submission_also_after_a_restart(
    houses: Houses,
) -> None:
    async with Fake.run("tensorslab", {"tasks": [{"result": "never"}]}) as fake:
        first = await houses.start(fake, "tensorslab", deadline=3600)
        id = await first.submit(model="still")
        await first.so(id, Status.RUNNING)
        memory = await first.memory(id)
        await first.stop()
        await leave(first, id, {**memory, "at": memory["at"] - 3600})

        second = await houses.start(fake, "tensorslab", deadline=3600)
        await second.failed(id, FailureCode.TIMEOUT, seconds=5)
        assert fake.counts().received == 1


# ------------------------------------------------------------------------------------- waiting


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_an_outage_slows_it_down_and_fails_nothing(houses: Houses, dialect: str) -> None:
    faults = ("unavailable", "garbage", "rate_limited", "internal")
    script = {
        "tasks": [{"running": 0.2, "unknown_state": True}],
        "queries": [{"match": {"prompt": one, "nth": 1}, "answer": one} for one in faults],
    }
    async with Fake.run(dialect, script) as fake:
        house = await houses.start(fake, dialect)
        for id in [await house.submit(model="still", prompt=one) for one in faults]:
            await house.succeeded(id)
        made = fake.tasks()

    assert [one.submissions for one in made] == [1] * 4
    assert all(one.queries >= 2 for one in made)


async def test_lost_answers_and_mistakes_of_the_service_are_waited_out(houses: Houses) -> None:
    script = {
        "queries": [
            {"match": {"nth": 1}, "answer": "lost"},
            {"match": {"nth": 2}, "answer": "unauthenticated"},
        ]
    }
    async with Fake.run("tencent", script) as fake:
        house = await houses.start(fake, "tencent")
        id = await house.submit(model="still")
        await house.succeeded(id)

    assert "did not answer" in await house.log(id)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_service_that_does_not_know_its_task_for_a_while_is_asked_again(
    houses: Houses, dialect: str
) -> None:
    script = {"queries": [{"answer": "not_found", "within": 0.4}]}
    async with Fake.run(dialect, script) as fake:
        house = await houses.start(fake, dialect)
        id = await house.submit(model="still")
        await house.succeeded(id)
        assert fake.counts().answers["not_found"] >= 1


async def test_one_stuck_answer_delays_nobody_else(houses: Houses) -> None:
    script = {
        "submissions": [{"match": {"prompt": "stuck"}, "answer": "slow", "seconds": 5}],
        "queries": [
            {"match": {"prompt": "slow"}, "answer": "slow", "seconds": 5},
            {"match": {"prompt": "odd"}, "answer": "garbage"},
        ],
    }
    async with Fake.run("tensorslab", script) as fake:
        house = await houses.start(fake, "tensorslab")
        behind = [await house.submit(model="still", prompt=p) for p in ("stuck", "slow", "odd")]
        async with asyncio.timeout(4):
            others = [await house.submit(model="still") for _ in range(20)]
            for id in others:
                await house.succeeded(id)
        for id in behind:
            assert not (await house.task(id)).ended


async def test_what_429_says_holds_for_all_tasks_of_that_service(houses: Houses) -> None:
    script = {
        "tasks": [{"result": "never"}],
        "queries": [{"match": {"prompt": "hold"}, "answer": "rate_limited", "retry_after": 2}],
    }
    async with Fake.run("tensorslab", script) as fake:
        house = await houses.start(fake, "tensorslab")
        ids = [await house.submit(model="still") for _ in range(10)]
        for id in ids:
            await house.so(id, Status.RUNNING)
        # Another model, which has other options: it is the same service all the same.
        held = await house.submit(Kind.VIDEO, model="film", duration=5, prompt="hold")
        async with asyncio.timeout(10):
            while not fake.counts().answers.get("rate_limited"):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        await asyncio.sleep(0.2)  # what is under way ends
        before = sum(fake.counts().queries.values())
        await asyncio.sleep(1.2)
        assert sum(fake.counts().queries.values()) == before
        assert not (await house.task(held)).ended


async def test_what_429_says_holds_for_that_key_alone(
    houses: Houses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER", "id:another")
    script = {
        "queries": [{"match": {"prompt": "hold"}, "answer": "rate_limited", "retry_after": 9}]
    }
    async with Fake.run("tensorslab", script) as fake:
        common = {"dialect": "tensorslab", "url": fake.url, "model": "seedreamv4", "fresh": 0.05}
        house = await houses.start_with(
            ModelRule(name="one", engine="upstream", options={**common, "key": "env:FAKE"}),
            ModelRule(name="two", engine="upstream", options={**common, "key": "env:OTHER"}),
        )
        held = await house.submit(model="one", prompt="hold")
        await until(lambda: fake.counts().answers.get("rate_limited"))
        async with asyncio.timeout(5):
            await house.succeeded(await house.submit(model="two"))
        assert not (await house.task(held)).ended


async def test_each_key_has_a_rate_of_its_own(
    houses: Houses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER", "id:another")
    async with Fake.run("tensorslab", {"tasks": [{"result": "never"}]}) as fake:
        common = {"dialect": "tensorslab", "url": fake.url, "model": "seedreamv4", "fresh": 60}
        house = await houses.start_with(
            *(
                ModelRule(
                    name=name,
                    engine="upstream",
                    options={**common, "key": f"env:{key}", "per_second": 2.0},
                )
                for name, key in (("one", "FAKE"), ("same", "FAKE"), ("two", "OTHER"))
            )
        )
        for name in ("one", "same", "two") * 10:
            await house.submit(model=name)
        await asyncio.sleep(3)
        counts = fake.counts()

    # Two keys with two a second: models that share a key share its rate.
    assert 8 <= counts.received + sum(counts.queries.values()) <= 2 * (2 * 3 + 3)


async def test_sources_are_fetched_when_there_is_a_place(houses: Houses) -> None:
    sources = Endless()
    sources.choose = lambda head: whole(picture())
    script = {"submissions": [{"match": {"nth": 1}, "answer": "slow", "seconds": 1.5}]}
    async with sources.listen(), Fake.run("tensorslab", script) as fake:
        rule = {"dialect": "tensorslab", "url": fake.url, "key": "env:FAKE", "per_second": 500.0}
        options = {**rule, "fresh": 0.05, "model": "seedreamv4", "concurrency": 1}
        house = await houses.start_with(
            ModelRule(name="*", engine="upstream", options=options), private_sources=True
        )
        ids = [
            await house.submit(sources=(Source(url=f"{sources.url}/{number}.png"),))
            for number in range(30)
        ]
        await until(lambda: fake.counts().received)
        await asyncio.sleep(0.5)  # as long as thirty of them would take
        assert len(sources.asked) == 1
        for id in ids:
            await house.succeeded(id)
        assert len(sources.asked) == 30


async def test_the_rate_holds_over_all_tasks(houses: Houses) -> None:
    async with Fake.run("tensorslab", {"tasks": [{"result": "never"}]}) as fake:
        house = await houses.start(fake, "tensorslab", per_second=10.0)
        for _ in range(30):
            await house.submit(model="still")
        await asyncio.sleep(2)
        counts = fake.counts()

    assert 10 <= counts.received + sum(counts.queries.values()) <= 10 * 2 + 6


async def test_a_late_success_is_taken_at_the_deadline(houses: Houses) -> None:
    # Between the last question and the deadline it succeeds.
    script = {"tasks": [{"late": 0.8}], "queries": [{"answer": "unavailable", "within": 1.5}]}
    async with Fake.run("tensorslab", script) as fake:
        house = await houses.start(fake, "tensorslab", deadline=1.0)
        id = await house.submit(model="still")
        await house.succeeded(id)
        assert fake.counts().cancels == {}


async def test_what_does_not_end_in_time_fails_and_is_stopped_there(houses: Houses) -> None:
    async with Fake.run("aitoearn", {"tasks": [{"result": "never"}]}) as fake:
        house = await houses.start(fake, "aitoearn", deadline=0.5)
        sentence = await house.failed(
            await house.submit(Kind.VIDEO, model="film", duration=5), FailureCode.TIMEOUT
        )
        (made,) = fake.tasks()

    assert made.id in sentence or "within 0.5 seconds" in sentence


# ------------------------------------------------------------------------- states and progress


async def test_what_is_queued_there_is_not_running_here(houses: Houses) -> None:
    script = {"tasks": [{"queued": 1.0, "running": 0.5}]}
    async with Fake.run("kie", script) as fake:
        house = await houses.start(fake, "kie")
        id = await house.submit()
        async with asyncio.timeout(10):
            while not fake.counts().queries:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert (await house.task(id)).status is Status.QUEUED
        started = (await house.so(id, Status.RUNNING)).started
        task = await house.succeeded(id)

    assert task.created is not None
    assert started is not None
    assert started - task.created >= 900


async def test_progress_is_the_providers_own_and_never_the_end(houses: Houses) -> None:
    script = {"tasks": [{"running": 2, "progress": True}]}
    async with Fake.run("kie", script) as fake:
        house = await houses.start(fake, "kie")
        id = await house.submit()
        seen = set()
        while not (task := await house.task(id)).ended:
            seen.add(task.progress)
            await asyncio.sleep(0.02)

    told = {percent for percent in seen if percent is not None}
    assert len(told) >= 2
    assert max(told) < 100
    assert task.progress == 100


async def test_progress_that_nobody_tells_is_estimated_from_what_others_took(
    houses: Houses,
) -> None:
    async with Fake.run("tensorslab", {"tasks": [{"running": 0.8}]}) as fake:
        house = await houses.start(fake, "tensorslab")
        for _ in range(2):
            for id in [await house.submit(model="still") for _ in range(8)]:
                await house.ended(id)
        id = await house.submit(model="still")
        seen = set()
        while not (task := await house.task(id)).ended:
            seen.add(task.progress)
            await asyncio.sleep(0.01)

    assert all(percent is None or percent <= 95 for percent in seen)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_why_it_failed_is_told_in_our_words_beside_theirs(
    houses: Houses, dialect: str
) -> None:
    script = {
        "tasks": [
            {
                "match": {"prompt": "bad"},
                "result": "failure",
                "failure": {
                    "code": "content_policy",
                    "message": "Blocked by the content policy",
                    "provider_code": "400",
                },
            },
            {
                "match": {"prompt": "poor"},
                "result": "failure",
                "failure": {"code": "insufficient_credits", "message": "Insufficient credits"},
            },
            {"result": "failure", "failure": {"message": "The maker is tired"}},
        ]
    }
    async with Fake.run(dialect, script) as fake:
        house = await houses.start(fake, dialect)
        ids = [await house.submit(model="still", prompt=p) for p in ("bad", "poor", "other")]
        bad, poor, other = [(await house.ended(id)).failure for id in ids]

    assert bad and poor and other
    assert (bad.code, poor.code, other.code) == (
        FailureCode.CONTENT_POLICY,
        FailureCode.INSUFFICIENT_CREDITS,
        FailureCode.PROVIDER_ERROR,
    )
    assert "Blocked by the content policy" in bad.message
    assert "The maker is tired" in other.message
    if dialect in ("aigptimage", "kie"):
        assert bad.provider_code == "400"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("Your request was rejected by our safety system", FailureCode.CONTENT_POLICY),
        ("NSFW content detected", FailureCode.CONTENT_POLICY),
        ("The prompt violates the terms of use", FailureCode.CONTENT_POLICY),
        ("输入内容违规", FailureCode.CONTENT_POLICY),
        ("用户Credits不足", FailureCode.INSUFFICIENT_CREDITS),
        ("Not enough credits", FailureCode.INSUFFICIENT_CREDITS),
        ("Your balance is insufficient", FailureCode.INSUFFICIENT_CREDITS),
        ("GPU memory exhausted", FailureCode.PROVIDER_ERROR),
        ("no creditable source", FailureCode.PROVIDER_ERROR),
    ],
)
def test_words_are_understood_where_codes_say_little(words: str, code: FailureCode) -> None:
    assert precise(FailureCode.PROVIDER_ERROR, words) is code
    assert precise(FailureCode.TIMEOUT, words) is FailureCode.TIMEOUT


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (InsufficientCredits(), FailureCode.INSUFFICIENT_CREDITS),
        (UnknownModel(), FailureCode.INVALID_INPUT),
        (TooLarge(), FailureCode.INVALID_INPUT),
        (BadRequest("flagged by moderation"), FailureCode.CONTENT_POLICY),
        (Internal(), FailureCode.PROVIDER_ERROR),
    ],
)
def test_faults_mean_what_they_say(fault: Fault, code: FailureCode) -> None:
    assert code_of(fault) is code


# -------------------------------------------------------------------------------------- results


@pytest.mark.parametrize("failure", ["unavailable", "truncated", "lost", "not_found"])
async def test_files_that_cannot_be_had_are_fetched_again(houses: Houses, failure: str) -> None:
    async with Fake.run("aigptimage", {"files": {"failures": 1, "failure": failure}}) as fake:
        house = await houses.start(fake, "aigptimage")
        task = await house.succeeded(await house.submit(model="still"))
        (artifact,) = task.artifacts
        assert artifact.blob is not None
        assert await house.app.blobs.get(artifact.blob) == sample(Kind.IMAGE).data
        assert fake.counts().received == 1


class There:
    """A service that speaks TensorsLab's dialect and is trusted with nothing: its task is done."""

    def __init__(self, *links: str) -> None:
        self.listener = Endless(head=FILE_HEAD)
        self.links, self.copies = list(links), 1  # the first one is told so many times
        self.drips = ""  # the beginning of the path whose answer has no end
        self.all: list[str] = []  # links, where several are told
        self.first: list[bytes] = []  # what it answers before it takes anything

    @asynccontextmanager
    async def run(self) -> AsyncIterator[There]:
        self.listener.choose = self._choose
        async with self.listener.listen():
            yield self

    @property
    def url(self) -> str:
        return self.listener.url

    def asked(self, path: str) -> int:
        return sum(f" {path}" in head.partition("\r\n")[0] for head in self.listener.asked)

    def _choose(self, head: str) -> bytes | None:
        path = head.split(" ")[1]
        if self.first:
            return self.first.pop(0)
        if self.drips and path.startswith(self.drips):
            return None
        if path.startswith("/elsewhere"):
            return whole(b"", f"Location: {self.links[1]}", status="302 Found")
        if path.startswith("/page"):
            return whole(b"<html>Sign in</html>", "Content-Type: image/png")
        if path.startswith("/dead"):
            return whole(b"", status="404 Not Found")
        if path.startswith("/file"):
            return whole(picture())
        data: dict[str, Any] = {"taskid": "t" * 24}
        if path.endswith("infobytaskid"):
            links = self.all or self.links[:1] * self.copies
            data |= {"image_status": 3, "url": links}
        return whole(json.dumps({"code": 1000, "msg": "OK", "data": data}).encode())


FILE_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"


async def house_at(houses: Houses, url: str, options: dict[str, Any], **settings: Any) -> House:
    common = {"dialect": "tensorslab", "url": url, "key": "env:FAKE", "per_second": 500.0}
    chosen = {**common, "fresh": 0.05, "model": "seedreamv4", **options}
    rule = ModelRule(name="*", engine="upstream", options=chosen)
    return await houses.start_with(rule, **settings)


@pytest.mark.parametrize("redirected", [False, True])
async def test_a_result_is_not_fetched_from_inside(houses: Houses, redirected: bool) -> None:
    inside = Endless()
    inside.choose = lambda head: whole(picture())
    async with inside.listen(), There().run() as there:
        secret = f"{inside.url}/secret"
        there.links = [f"{there.url}/elsewhere", secret] if redirected else [secret]
        house = await house_at(houses, there.url, {}, private_sources=True)
        sentence = await house.failed(await house.submit(), FailureCode.PROVIDER_ERROR)

        assert "private network" in sentence
        assert inside.url not in sentence
        assert inside.asked == []
        assert there.asked("/v1/images/seedreamv4") == 1

        # The operator may say that results lie there.
        house = await house_at(houses, there.url, {"result_origins": (inside.url,)})
        assert (await house.succeeded(await house.submit())).artifacts
        assert len(inside.asked) == 1


async def test_a_result_that_names_the_clouds_metadata_is_refused(houses: Houses) -> None:
    link = "http://169.254.169.254/latest/meta-data/iam/security-credentials/"
    async with There(link).run() as there:
        house = await house_at(houses, there.url, {})
        sentence = await house.failed(await house.submit(), FailureCode.PROVIDER_ERROR, seconds=5)

    assert "private network" in sentence
    assert "169.254" not in sentence


async def test_a_result_that_is_too_large_is_not_kept(houses: Houses) -> None:
    async with There().run() as there:
        there.links = [f"{there.url}/file"]
        house = await house_at(houses, there.url, {}, max_result=50)
        sentence = await house.failed(await house.submit(), FailureCode.PROVIDER_ERROR)
        assert there.asked("/file") == 1

    assert "larger than 50 bytes" in sentence


async def test_more_results_than_there_may_be_are_refused(houses: Houses) -> None:
    async with There().run() as there:
        there.links, there.copies = [f"{there.url}/file"], 33
        house = await house_at(houses, there.url, {})
        sentence = await house.failed(await house.submit(), FailureCode.PROVIDER_ERROR)
        assert there.asked("/file") == 0

    assert "more than 32 files" in sentence


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is fetched again is fetched soon."""
    monkeypatch.setattr(upstream_engine, "_PAUSES", (0.01, 0.02))


@pytest.mark.usefixtures("no_pauses")
async def test_a_page_is_no_result(houses: Houses) -> None:
    async with There().run() as there:
        there.links = [f"{there.url}/page"]
        house = await house_at(houses, there.url, {})
        sentence = await house.failed(await house.submit(), FailureCode.PROVIDER_ERROR)
        assert there.asked("/page") == 5

    assert "no picture" in sentence
    assert "Sign in" in sentence or "<html>" in sentence


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("lost", ["dead", "page"])
async def test_one_file_that_is_not_to_be_had_loses_no_other(houses: Houses, lost: str) -> None:
    async with There().run() as there:
        there.all = [f"{there.url}/{name}" for name in ("file-a", lost, "file-b")]
        house = await house_at(houses, there.url, {})
        id = await house.submit(count=3)
        task = await house.succeeded(id)

        assert len(task.artifacts) == 2
        assert "File 2 is lost" in await house.log(id)
        assert there.asked("/file-a") == there.asked("/file-b") == 1  # each is fetched once
        assert there.asked(f"/{lost}") == 5
        assert there.asked("/v1/images/seedreamv4") == 1


async def test_a_picture_is_no_film(tmp_path: Path) -> None:
    path = tmp_path / "made"
    for data, kind, good in (
        (sample(Kind.IMAGE).data, Kind.IMAGE, True),
        (sample(Kind.VIDEO).data, Kind.VIDEO, True),
        (sample(Kind.IMAGE).data, Kind.VIDEO, False),
        (sample(Kind.VIDEO).data, Kind.IMAGE, False),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", Kind.IMAGE, True),
        (b"<html><svg/></html>", Kind.IMAGE, False),
        (b"\x89PNG\r\n\x1a\nnothing", Kind.IMAGE, False),
        (b"", Kind.IMAGE, False),
    ):
        path.write_bytes(data)
        if good:
            assert read_media_type(path, kind)
        else:
            with pytest.raises(Strange):
                read_media_type(path, kind)


async def test_a_result_that_is_dripped_does_not_outlast_the_deadline_for_long(
    houses: Houses,
) -> None:
    async with There().run() as there:
        there.links, there.drips = [f"{there.url}/file"], "/file"
        house = await house_at(houses, there.url, {"deadline": 2}, result_timeout=0.4)
        sentence = await house.failed(await house.submit(), FailureCode.PROVIDER_ERROR, seconds=15)

        assert "Made, but not to be fetched" in sentence
        assert "within 0.4 seconds" in sentence
        assert there.asked("/file") >= 2
        assert there.listener.left >= 1
        # One that is dripped once costs nothing.
        there.drips = ""
        assert (await house.succeeded(await house.submit())).artifacts


async def test_a_result_in_the_answer_itself_is_kept(houses: Houses) -> None:
    data = base64.b64encode(picture()).decode()
    async with There(f"data:image/png;base64,{data}").run() as there:
        house = await house_at(houses, there.url, {})
        (artifact,) = (await house.succeeded(await house.submit())).artifacts
        assert await house.app.blobs.get(artifact.blob or "") == picture()


@pytest.mark.parametrize("drips", ["/v1/images/seedreamv4", "/v1/images/infobytaskid", "/file"])
async def test_told_to_stop_it_waits_no_longer_than_a_request_may_take(
    houses: Houses, drips: str
) -> None:
    async with There().run() as there:
        there.links, there.drips = [f"{there.url}/file"], drips
        first = await house_at(houses, there.url, {"timeout": 1})
        id = await first.submit()
        async with asyncio.timeout(10):
            while not there.asked(drips):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        began = time.monotonic()
        await first.stop()
        assert time.monotonic() - began < 8

        there.drips = ""
        second = await house_at(houses, there.url, {"timeout": 1})
        if drips == "/v1/images/seedreamv4":  # nobody knows whether it was accepted
            await second.failed(id, FailureCode.SUBMISSION_UNKNOWN)
        else:
            await second.succeeded(id)
        assert there.asked("/v1/images/seedreamv4") == 1


async def test_only_so_many_models_are_remembered_with_their_paces(houses: Houses) -> None:
    async with There().run() as there:
        there.links = [f"{there.url}/file"]
        house = await house_at(houses, there.url, {"model": None})
        engine = house.app._models.engine("upstream")
        assert isinstance(engine, UpstreamEngine)
        provider = engine._provider(read_options(house.app.settings.models[0].options))
        kept = provider.pace(Submit(model="often"))
        for number in range(2000):
            provider.pace(Submit(model=f"model-{number}"))
            assert provider.pace(Submit(model="often")) is kept

    assert len(provider.paces) == 500


# ----------------------------------------------------------------------------------- cancelling


@pytest.mark.parametrize("deed", ["cancel", "delete"])
async def test_a_task_that_its_owner_ends_is_ended_there_too(houses: Houses, deed: str) -> None:
    async with Fake.run("tencent", {"tasks": [{"result": "never"}]}) as fake:
        house = await houses.start(fake, "tencent")
        id = await house.submit(model="still")
        await house.so(id, Status.RUNNING)
        await end(house, id, deed)
        async with asyncio.timeout(10):
            while house.app.worker.runs(id):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        (made,) = fake.tasks()

    assert made.canceled


async def end(house: House, id: str, deed: str) -> None:
    if deed == "cancel":
        await house.app.service.cancel(house.key.id, Cancel(id=id))
    else:
        await house.app.service.delete(house.key.id, Delete(ids=(id,)))


@pytest.mark.parametrize("deed", ["cancel", "delete"])
async def test_a_task_that_is_ended_while_it_is_submitted_is_ended_there_too(
    houses: Houses, deed: str
) -> None:
    script = {
        "submissions": [{"answer": "slow", "seconds": 0.4}],
        "tasks": [{"result": "never"}],
    }
    async with Fake.run("tencent", script) as fake:
        house = await houses.start(fake, "tencent")
        id = await house.submit(model="still")
        await house.asking(id)
        async with asyncio.timeout(10):
            while not fake.counts().received:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        await end(house, id, deed)
        async with asyncio.timeout(10):
            while house.app.worker.runs(id):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        (made,) = fake.tasks()

    assert made.canceled
    assert made.submissions == 1


async def test_an_end_that_is_found_by_a_write_is_passed_on_too(houses: Houses) -> None:
    """Nobody told the worker: what it writes is refused, and it sees why."""
    script = {
        "submissions": [{"answer": "slow", "seconds": 0.4}],
        "tasks": [{"result": "never"}],
    }
    async with Fake.run("tencent", script) as fake:
        house = await houses.start(fake, "tencent")
        id = await house.submit(model="still")
        await house.asking(id)

        def write() -> None:
            connection = connect(house.app.settings.data / "safelight.db")
            connection.execute("update tasks set status = 'canceled' where id = ?", (id,))
            connection.close()

        await asyncio.to_thread(write)
        async with asyncio.timeout(10):
            while not any(made.canceled for made in fake.tasks()):  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def test_a_process_that_stops_cancels_nothing(houses: Houses) -> None:
    async with Fake.run("tencent", {"tasks": [{"result": "never"}]}) as fake:
        house = await houses.start(fake, "tencent")
        id = await house.submit(model="still")
        await house.so(id, Status.RUNNING)
        await house.stop()

        assert fake.counts().cancels == {}
        assert (await houses.start(fake, "tencent")) is not None


# -------------------------------------------------------------------------------------- sources


@pytest.mark.parametrize("dialect", ["tencent"])
async def test_an_upload_that_nobody_can_fetch_is_not_submitted(
    houses: Houses, dialect: str
) -> None:
    async with Fake.run(dialect) as fake:
        house = await houses.start(fake, dialect)
        id = await house.submit(model="still", sources=(Source(data=picture()),))
        sentence = await house.failed(id, FailureCode.INVALID_INPUT)
        assert fake.counts().received == 0

    assert "public_url" in sentence


@pytest.mark.parametrize("dialect", ["aigptimage", "kie"])
async def test_an_upload_is_sent_first_where_the_service_keeps_files(
    houses: Houses, dialect: str
) -> None:
    async with Fake.run(dialect) as fake:
        house = await houses.start(fake, dialect)
        id = await house.submit(model="still", sources=(Source(data=picture()),))
        await house.succeeded(id)
        counts = fake.counts()

    assert counts.received == 1
    assert counts.answers["ok"] >= 3  # the file, the task, and what became of it


@pytest.mark.parametrize("dialect", ["tensorslab", "aitoearn"])
async def test_an_upload_goes_along_where_the_wire_has_room(houses: Houses, dialect: str) -> None:
    async with Fake.run(dialect) as fake:
        house = await houses.start(fake, dialect)
        id = await house.submit(model="still", sources=(Source(data=picture()),))
        await house.succeeded(id)
        assert fake.counts().received == 1


# -------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({}, "url"),  # of a Safelight, which is wherever it is run
        ({"dialect": "nobody"}, "nobody"),
        ({"dialect": "kie", "colour": 1}, "colour"),
        ({"dialect": "kie", "deadline": 0}, "deadline"),
        ({"dialect": "kie", "per_second": -1}, "per_second"),
        ({"dialect": "kie", "concurrency": "many"}, "concurrency"),
    ],
)
def test_options_that_are_none_are_refused_at_the_start_by_name(
    options: dict[str, Any], named: str
) -> None:
    rule = ModelRule(name="video-*", engine="upstream", options=options)

    with pytest.raises(SettingsError, match=rf"video-\*: options: .*{named}") as refused:
        ModelMap.build((rule,), {})

    assert "\n" not in str(refused.value)


def test_what_a_wire_cannot_say_is_refused_before_the_task_is_accepted() -> None:
    engine = engines.build("upstream", {})
    assert engine is not None
    options = {"dialect": "aitoearn"}

    engine.check(Submit(model="m", prompt="a boat", sources=(Source(data=b"x"),)), options)
    with pytest.raises(Unsupported) as refused:
        engine.check(Submit(model="m", prompt="a boat", seed=5), options)

    assert refused.value.parameter == "seed"


async def test_a_key_that_is_not_there_fails_the_task_and_asks_nobody(houses: Houses) -> None:
    async with Fake.run("kie") as fake:
        house = await houses.start(fake, "kie", key="absent")
        sentence = await house.failed(await house.submit(), FailureCode.INTERNAL)
        assert fake.counts().received == 0

    assert "absent" in sentence


# --------------------------------------------------------------------------------------- growth


async def test_two_thousand_waiting_tasks_take_little(houses: Houses) -> None:
    async with Fake.run("kie", {"tasks": [{"result": "never"}]}) as fake:
        house = await houses.start(fake, "kie", per_second=100_000.0, fresh=600.0, concurrency=200)
        for id in [await house.submit() for _ in range(50)]:
            async with asyncio.timeout(20):
                while "id" not in await house.memory(id):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        tracemalloc.start()
        ids = [await house.submit() for _ in range(200)]
        async with asyncio.timeout(60):
            for id in ids:
                while "id" not in await house.memory(id):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        taken, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert taken / len(ids) < 40_000, taken / len(ids)  # of 2,000: 80 MB
