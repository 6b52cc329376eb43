"""The fake provider, over real HTTP, mostly asked by our own client."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
import httpx
import msgspec
import pytest
from PIL import Image

from doubles import until
from safelight import dialects
from safelight.client import AsyncClient
from safelight.errors import (
    BadRequest,
    Conflict,
    Fault,
    InsufficientCredits,
    NotFound,
    RateLimited,
    StillRunning,
    SubmissionUnknown,
    Unauthenticated,
    Unavailable,
    Unreachable,
    Upstream,
)
from safelight.server.addresses import free_port
from safelight.server.fake import STRANGE_NUMBER, STRANGE_WORD, Fake, ScriptError
from safelight.server.fake.script import FAULTS, read_script
from safelight.task import (
    UNFINISHED,
    FailureCode,
    Kind,
    Operation,
    Source,
    Status,
    Submit,
    Task,
    bare_id,
)
from safelight.wire import Key

NAMES = [*dialects.found()]
every_dialect = pytest.mark.parametrize("dialect", NAMES)
MODELS: Mapping[Kind, Mapping[str, str]] = {
    Kind.IMAGE: {"tensorslab": "seedreamv4", "tencent": ""},
    Kind.VIDEO: {"tensorslab": "seedancev2", "tencent": "", "kie": "kling/text-to-video"},
}
# Where a wire tells how far a task is.
TELLS_PROGRESS = {"kie"}

PROCESS = Submit(
    operations=(Operation(name="denoise"),),
    sources=(Source(url="https://example.com/in.png"),),
)


def asking(dialect: str, prompt: str = "a lighthouse", kind: Kind = Kind.IMAGE) -> Submit:
    return Submit(kind=kind, model=MODELS[kind].get(dialect, f"any-{kind}"), prompt=prompt)


def client_of(fake: Fake, dialect: str, key: str = "AKID:sk-any") -> AsyncClient:
    return AsyncClient(dialect, fake.url, key, pace=0.02, per_second=200, timeout=5)


def rule(table: str, **values: Any) -> dict[str, Any]:
    """A script of one rule."""
    return {table: [values]}


async def states_of(client: AsyncClient, task: Task) -> list[Task]:
    """All that a wait saw of a task."""
    seen: list[Task] = []
    await client.wait(task, 10, on_progress=seen.append)
    return seen


# ----------------------------------------------------------------------------------- all goes well


@every_dialect
@pytest.mark.parametrize("kind", list(Kind))
async def test_it_speaks_every_dialect(dialect: str, kind: Kind, tmp_path: Path) -> None:
    async with Fake.run(dialect) as fake, client_of(fake, dialect) as client:
        task = await client.submit(asking(dialect, kind=kind))
        ended = await client.wait(task, 10)
        paths = await client.download(ended, tmp_path)

    assert ended.status is Status.SUCCEEDED
    (path,) = paths
    if kind is Kind.IMAGE:
        with Image.open(path) as picture:
            picture.load()
            assert picture.format == "PNG"
    else:
        with av.open(path) as film:
            assert len(list(film.decode(video=0))) == 8


@every_dialect
async def test_sources_may_come_with_the_request(dialect: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "PNG")
    data = None if not dialects.named(dialect).uploads else file.getvalue()
    source = Source(data=data, name="in.png") if data else Source(url="https://example.com/in.png")
    submit = msgspec.structs.replace(asking(dialect), sources=(source,))

    async with Fake.run(dialect) as fake, client_of(fake, dialect) as client:
        ended = await client.wait(await client.submit(submit), 10)

    assert ended.status is Status.SUCCEEDED


async def test_image_processing_of_tencent() -> None:
    async with Fake.run("tencent") as fake, client_of(fake, "tencent") as client:
        ended = await client.wait(await client.submit(PROCESS), 10)

    assert ended.status is Status.SUCCEEDED
    assert ended.artifacts


async def test_a_task_may_end_in_several_files(tmp_path: Path) -> None:
    submit = msgspec.structs.replace(asking("tensorslab"), count=3)
    async with Fake.run("tensorslab") as fake, client_of(fake, "tensorslab") as client:
        ended = await client.wait(await client.submit(submit), 10)

        assert len(await client.download(ended, tmp_path)) == 3
        assert sorted(fake.counts().downloads.values()) == [1, 1, 1]


async def test_it_takes_any_key_but_not_none() -> None:
    async with Fake.run("aitoearn") as fake, httpx.AsyncClient() as http:
        answer = await http.get(f"{fake.url}/api/ai/image/task/{'0' * 24}")

        assert answer.json()["code"] == 401
        assert fake.counts().answers == {"unauthenticated": 1}


@every_dialect
async def test_it_may_take_one_key_alone(dialect: str) -> None:
    async with Fake.run(dialect, key="AKID:sk-right") as fake:
        key = "AKID:sk-right"
        async with client_of(fake, dialect, key) as client:
            await client.submit(asking(dialect))
        for wrong in ("AKID:sk-wrong", "AKID2:sk-right"):
            async with client_of(fake, dialect, wrong) as client:
                with pytest.raises(Unauthenticated):
                    await client.submit(asking(dialect))

        assert fake.counts().accepted == 1


async def test_tasks_can_be_listed_canceled_and_removed() -> None:
    script = rule("tasks", queued=60)
    async with Fake.run("tencent", script) as fake, client_of(fake, "tencent") as client:
        ids = [(await client.submit(PROCESS)).id for _ in range(3)]
        first = await client.list(limit=2, statuses=UNFINISHED)
        rest = await client.list(limit=2, statuses=UNFINISHED, before=first.following)
        assert [task.id for task in (*first.tasks, *rest.tasks)] == ids[::-1]
        assert first.total == 3 and rest.following is None

        await client.cancel(ids[0])
        with pytest.raises(Conflict):
            await client.cancel(ids[0])
        left = await client.list(statuses=UNFINISHED)

        assert [task.id for task in left.tasks] == ids[:0:-1]
        assert (await client.fetch(ids[0])).status is Status.CANCELED
        note = fake.tasks()[0]
        assert note.canceled and note.ended is not None and note.ended >= note.submitted
        assert fake.counts().cancels == {bare_id(ids[0]): 2}

    async with Fake.run("tensorslab") as fake, client_of(fake, "tensorslab") as client:
        task = await client.submit(asking("tensorslab"))
        await client.delete(task)
        with pytest.raises(NotFound):
            await client.fetch(task)
        assert fake.tasks()[0].deleted


async def test_it_tells_models_where_the_wire_can() -> None:
    async with Fake.run("aitoearn") as fake, client_of(fake, "aitoearn") as client:
        assert {card.kind for card in (await client.models()).models} == set(Kind)


# ---------------------------------------------------------------------------------------- tasks


@every_dialect
async def test_a_task_takes_its_time(dialect: str) -> None:
    script = rule("tasks", queued=0.2, running=[0.3, 0.5])
    async with Fake.run(dialect, script) as fake, client_of(fake, dialect) as client:
        submit = asking(dialect)
        task = await client.submit(submit)
        ended = await client.wait(task, 10)
        (note,) = fake.tasks()

    assert ended.status is Status.SUCCEEDED
    assert note.id == bare_id(task.id)
    assert (note.prompt, note.status) == (submit.prompt, Status.SUCCEEDED)
    assert note.ended is not None and note.told is not None
    assert 0.5 <= note.ended - note.submitted <= 0.7
    assert note.told >= note.ended
    assert note.queries == fake.counts().queries[note.id] >= 2


async def test_times_are_drawn_alike_from_one_seed() -> None:
    async def times(seed: int) -> list[float]:
        script = {"seed": seed, **rule("tasks", running=[0.0, 0.01])}
        async with Fake.run("kie", script) as fake, client_of(fake, "kie") as client:
            for _ in range(4):
                await client.wait(await client.submit(asking("kie")), 10)
            return [round((note.ended or 0) - note.submitted, 5) for note in fake.tasks()]

    assert await times(1) == await times(1)
    assert await times(1) != await times(2)


@every_dialect
@pytest.mark.parametrize("code", ["content_policy", "provider_error"])
async def test_a_task_may_fail(dialect: str, code: str) -> None:
    reason = {"code": code, "message": "A lighthouse is not allowed", "provider_code": "X1"}
    script = rule("tasks", result="failure", failure=reason)
    async with Fake.run(dialect, script) as fake, client_of(fake, dialect) as client:
        ended = await client.wait(await client.submit(asking(dialect)), 10)

    assert ended.status is Status.FAILED
    assert ended.failure is not None
    assert "A lighthouse is not allowed" in ended.failure.message
    if dialect in ("aigptimage", "kie"):
        assert ended.failure.code is FailureCode(code)


@every_dialect
async def test_a_task_may_never_end(dialect: str) -> None:
    script = rule("tasks", result="never", running=0.1)
    async with Fake.run(dialect, script) as fake, client_of(fake, dialect) as client:
        task = await client.submit(asking(dialect))
        with pytest.raises(StillRunning):
            await client.wait(task, 0.4)

        assert fake.tasks()[0].ended is None


async def test_a_task_may_be_late() -> None:
    script = rule("tasks", running=0.1, late=0.6)
    async with Fake.run("kie", script) as fake, client_of(fake, "kie") as client:
        task = await client.submit(asking("kie"))
        with pytest.raises(StillRunning):
            await client.wait(task, 0.3)
        assert (await client.wait(task, 10)).status is Status.SUCCEEDED
        (note,) = fake.tasks()

    assert (note.ended or 0) - note.submitted == pytest.approx(0.6)


async def test_progress_is_told_where_the_wire_tells_it() -> None:
    script = rule("tasks", running=0.4, progress=True)
    for dialect in NAMES:
        async with Fake.run(dialect, script) as fake, client_of(fake, dialect) as client:
            seen = await states_of(client, await client.submit(asking(dialect)))
        known = [state.progress for state in seen if state.progress is not None]
        if dialect in TELLS_PROGRESS:
            assert known == sorted(known) and known[-1] == 100 and len(known) > 2


@every_dialect
@pytest.mark.parametrize("kind", list(Kind))
async def test_a_state_may_be_told_in_a_word_that_nobody_knows(dialect: str, kind: Kind) -> None:
    script = rule("tasks", running=0.6, unknown_state=True)
    async with Fake.run(dialect, script) as fake, client_of(fake, dialect) as client:
        seen = await states_of(client, await client.submit(asking(dialect, kind=kind)))

    strange = [state for state in seen if state.status_word is not None]
    assert strange
    for state in strange:
        assert state.status_word in (STRANGE_WORD, str(STRANGE_NUMBER))
        assert state.status is Status.RUNNING
    assert seen[-1].status is Status.SUCCEEDED


async def test_the_first_rule_that_fits_decides() -> None:
    script = """
    [[tasks]]
    match = { model = "film-*" }
    result = "failure"

    [[tasks]]
    match = { prompt = "*storm*", nth = 2 }
    result = "failure"

    [[tasks]]
    match = { every = 3, from = 4 }
    result = "never"
    """
    async with Fake.run("aigptimage", script) as fake, client_of(fake, "aigptimage") as client:
        for model, prompt in (
            *(("film-1", "calm"), ("a", "a storm"), ("a", "a storm"), ("a", "calm")),
            *(("a", "calm"), ("a", "calm"), ("a", "a storm")),
        ):
            await client.submit(model=model, prompt=prompt)
        ends = [note.status.value for note in fake.tasks()]

    assert ends == [
        *("failed", "succeeded", "failed", "succeeded"),
        *("succeeded", "running", "succeeded"),
    ]


# ----------------------------------------------------------------------------------- submissions


@every_dialect
async def test_an_answer_may_be_lost(dialect: str) -> None:
    script = rule("submissions", match={"nth": 1}, answer="lost")
    async with Fake.run(dialect, script) as fake, client_of(fake, dialect) as client:
        with pytest.raises(SubmissionUnknown):
            await client.submit(asking(dialect))
        assert len(fake.tasks()) == 1
        await client.submit(asking(dialect))

        counts = fake.counts()
        assert (counts.received, counts.accepted) == (2, 2)
        assert counts.answers == {"lost": 1, "ok": 1}


async def test_a_submission_may_be_refused_without_a_word() -> None:
    script = rule("submissions", answer="refused")
    async with Fake.run("kie", script) as fake, client_of(fake, "kie") as client:
        with pytest.raises(SubmissionUnknown):
            await client.submit(asking("kie"))

        assert (fake.counts().received, fake.counts().accepted, fake.tasks()) == (1, 0, [])


async def test_lost_is_a_connection_that_closes() -> None:
    """Without a byte of an answer: a 500 would be one."""
    async with Fake.run("tencent", rule("submissions", answer="lost")) as fake:
        reader, writer = await asyncio.open_connection(*fake.url.removeprefix("http://").split(":"))
        async with client_of(fake, "tencent") as client:
            request = client.dialect.write_request(asking("tencent"))
            request = request.with_headers(
                ("host", "x"), ("content-length", f"{len(request.body)}")
            )
            request = client.dialect.write_key(
                request, Key(id="AKID", secret="sk-any"), int(time.time() * 1000)
            )
        head = "".join(f"{name}: {value}\r\n" for name, value in request.headers)
        writer.write(f"POST / HTTP/1.1\r\n{head}\r\n".encode() + request.body)

        assert await asyncio.wait_for(reader.read(), 5) == b""
        assert fake.counts().accepted == 1
        writer.close()
        await writer.wait_closed()


@every_dialect
@pytest.mark.parametrize(
    ("answer", "heard"),
    [
        ("rate_limited", RateLimited),
        ("unavailable", Unavailable),
        ("insufficient_credits", InsufficientCredits),
        ("unauthenticated", Unauthenticated),
        ("invalid_value", BadRequest),
    ],
)
async def test_a_submission_may_be_answered_with_a_fault(
    dialect: str, answer: str, heard: type[Fault]
) -> None:
    script = rule("submissions", answer=answer)
    async with Fake.run(dialect, script) as fake, client_of(fake, dialect) as client:
        with pytest.raises(heard):
            await client.submit(asking(dialect))

        assert fake.tasks() == []
        assert fake.counts().answers == {answer: 1}


async def test_a_fault_may_say_when_to_come_back() -> None:
    script = rule("submissions", answer="rate_limited", retry_after=7, message="Too fast")
    async with Fake.run("tensorslab", script) as fake, client_of(fake, "tensorslab") as client:
        with pytest.raises(RateLimited, match="Too fast") as raised:
            await client.submit(asking("tensorslab"))

    assert raised.value.retry_after == 7


async def test_a_task_may_be_there_in_spite_of_the_answer() -> None:
    script = rule("submissions", answer="internal", accepts=True)
    async with Fake.run("tensorslab", script) as fake, client_of(fake, "tensorslab") as client:
        with pytest.raises(SubmissionUnknown):
            await client.submit(asking("tensorslab"))

        assert len(fake.tasks()) == 1


@every_dialect
async def test_a_submission_may_be_answered_with_garbage(dialect: str) -> None:
    script = rule("submissions", answer="garbage")
    async with Fake.run(dialect, script) as fake, client_of(fake, dialect) as client:
        with pytest.raises(SubmissionUnknown):
            await client.submit(asking(dialect))

        assert len(fake.tasks()) == 1


async def test_an_answer_may_be_slow() -> None:
    script = rule("submissions", answer="slow", seconds=0.3)
    async with Fake.run("kie", script) as fake, client_of(fake, "kie") as client:
        before = time.monotonic()
        await client.submit(asking("kie"))
        assert time.monotonic() - before >= 0.3

        async with AsyncClient("kie", fake.url, "any", timeout=0.1) as hasty:
            with pytest.raises(SubmissionUnknown):
                await hasty.submit(asking("kie"))
        assert len(fake.tasks()) == 2


async def test_a_burst_of_refusals() -> None:
    script = rule("submissions", match={"from": 2, "until": 3}, answer="rate_limited")
    async with Fake.run("kie", script) as fake, client_of(fake, "kie") as client:
        heard = []
        for _ in range(4):
            try:
                await client.submit(asking("kie"))
                heard.append("ok")
            except RateLimited:
                heard.append("429")

    assert heard == ["ok", "429", "429", "ok"]
    assert fake.counts().accepted == 2


@every_dialect
async def test_an_id_may_be_given_twice(dialect: str) -> None:
    script = rule("submissions", match={"nth": 2}, duplicate=True)
    async with Fake.run(dialect, script) as fake, client_of(fake, dialect) as client:
        first = await client.submit(asking(dialect, "one"))
        second = await client.submit(asking(dialect, "two"))
        third = await client.submit(asking(dialect, "three"))

    assert first.id == second.id != third.id
    assert fake.counts().duplicated == 1
    assert [(note.prompt, note.submissions) for note in fake.tasks()] == [("one", 2), ("three", 1)]


@every_dialect
async def test_idempotency_keys_are_honoured(dialect: str) -> None:
    submit = msgspec.structs.replace(asking(dialect), idempotency_key="k1")
    script = rule("submissions", match={"nth": 1}, answer="lost")
    async with Fake.run(dialect, script) as fake, client_of(fake, dialect) as client:
        with pytest.raises(SubmissionUnknown):
            await client.submit(submit)
        again = await client.submit(submit)

        (note,) = fake.tasks()
        assert (note.id, note.submissions) == (bare_id(again.id), 2)
        assert note.idempotency_key == "k1"
        counts = fake.counts()
        assert (counts.received, counts.accepted, counts.repeated) == (2, 2, 1)
        assert counts.keys == {"k1": 2}
        with pytest.raises(Fault):
            await client.submit(msgspec.structs.replace(submit, prompt="something else"))
        assert len(fake.tasks()) == 1


async def test_idempotency_keys_may_be_unknown_to_it() -> None:
    submit = msgspec.structs.replace(asking("kie"), idempotency_key="k1")
    async with Fake.run("kie", {"idempotency": False}) as fake, client_of(fake, "kie") as client:
        await client.submit(submit)
        await client.submit(submit)

    assert len(fake.tasks()) == 2


# --------------------------------------------------------------------------------------- queries


@every_dialect
async def test_queries_may_break_and_waiting_goes_on(dialect: str) -> None:
    script = {
        "tasks": [{"running": 0.2}],
        "queries": [
            {"match": {"nth": 1}, "answer": "lost"},
            {"match": {"nth": 2}, "answer": "garbage"},
            {"match": {"nth": 3}, "answer": "unavailable"},
            {"match": {"nth": 4}, "seconds": 0.1},
        ],
    }
    async with Fake.run(dialect, script) as fake, client_of(fake, dialect) as client:
        task = await client.submit(asking(dialect))
        for heard in (Unreachable, Upstream, Unavailable):
            with pytest.raises(heard):
                await client.fetch(task)
        before = time.monotonic()
        await client.fetch(task)
        assert time.monotonic() - before >= 0.1

        assert (await client.wait(task, 10)).status is Status.SUCCEEDED
        answers = fake.counts().answers
        assert (answers["lost"], answers["garbage"], answers["unavailable"]) == (1, 1, 1)


@every_dialect
async def test_a_task_may_not_be_found_at_first(dialect: str) -> None:
    script = rule("queries", answer="not_found", within=0.4)
    async with Fake.run(dialect, script) as fake, client_of(fake, dialect) as client:
        task = await client.submit(asking(dialect))
        with pytest.raises(NotFound):
            await client.fetch(task)
        await asyncio.sleep(0.4)

        assert (await client.fetch(task)).status is Status.SUCCEEDED


@every_dialect
async def test_only_so_many_queries_a_second(dialect: str) -> None:
    script = rule("queries", per_second=3, retry_after=1)
    async with Fake.run(dialect, script) as fake, client_of(fake, dialect) as client:
        task = await client.submit(asking(dialect))
        heard: list[str] = []
        for _ in range(6):
            try:
                await client.fetch(task)
                heard.append("ok")
            except RateLimited as fault:
                heard.append("429")
                assert fault.retry_after == 1
        assert heard == ["ok"] * 3 + ["429"] * 3
        await asyncio.sleep(1.0)
        await client.fetch(task)


async def test_each_task_has_queries_of_its_own() -> None:
    script = rule("queries", match={"every": 2}, answer="unavailable")
    async with Fake.run("kie", script) as fake, client_of(fake, "kie") as client:
        for task in [await client.submit(asking("kie")) for _ in range(2)]:
            await client.fetch(task)
            with pytest.raises(Unavailable):
                await client.fetch(task)


async def test_queries_for_what_is_not_there_are_counted() -> None:
    async with Fake.run("tensorslab") as fake, client_of(fake, "tensorslab") as client:
        with pytest.raises(NotFound):
            await client.fetch("no-such-task")

        assert fake.counts().queries == {"no-such-task": 1}
        assert fake.tasks() == []


# ----------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("failure", ["unavailable", "truncated", "lost"])
async def test_the_first_downloads_may_fail(failure: str, tmp_path: Path) -> None:
    script = {"files": {"failures": 2, "failure": failure}}
    async with Fake.run("kie", script) as fake, client_of(fake, "kie") as client:
        ended = await client.wait(await client.submit(asking("kie")), 10)
        (path,) = await client.download(ended, tmp_path)

        with Image.open(path) as picture:
            picture.load()
        assert list(fake.counts().downloads.values()) == [3]


async def test_a_file_may_be_gone_for_a_while(tmp_path: Path) -> None:
    script = {"files": {"failures": 1, "failure": "not_found"}}
    async with Fake.run("kie", script) as fake, client_of(fake, "kie") as client:
        ended = await client.wait(await client.submit(asking("kie")), 10)
        with pytest.raises(NotFound):
            await client.download(ended, tmp_path)

        assert len(await client.download(ended, tmp_path)) == 1


async def test_files_have_a_type_a_size_and_an_etag() -> None:
    script = {"files": {"latency": [0.1, 0.2]}}
    async with Fake.run("tensorslab", script) as fake, client_of(fake, "tensorslab") as client:
        ended = await client.wait(await client.submit(asking("tensorslab")), 10)
        url = ended.artifacts[0].url or ""
        async with httpx.AsyncClient() as http:
            before = time.monotonic()
            whole = await http.get(url)
            assert time.monotonic() - before >= 0.1
            head = await http.head(url)
            same = await http.get(url, headers={"if-none-match": whole.headers["etag"]})
            other = await http.get(f"{url[:-6]}-9.png")
            none = await http.get(f"{fake.url}/files/nothing")

    assert whole.headers["content-type"] == "image/png"
    assert int(whole.headers["content-length"]) == len(whole.content)
    assert head.headers["content-length"] == whole.headers["content-length"]
    assert (head.content, same.status_code, same.content) == (b"", 304, b"")
    assert (other.status_code, none.status_code) == (404, 404)


async def test_a_file_is_not_there_before_its_task_is_at_its_end() -> None:
    script = {"tasks": [{"running": 60}]}
    async with Fake.run("kie", script) as fake, client_of(fake, "kie") as client:
        task = await client.submit(asking("kie"))
        async with httpx.AsyncClient() as http:
            answer = await http.get(f"{fake.url}/files/{bare_id(task.id)}-0.png")

    assert answer.status_code == 404


# ------------------------------------------------------------------------------------------ HTTP


async def test_nonsense_is_answered_and_the_next_caller_too() -> None:
    async with Fake.run("kie") as fake, httpx.AsyncClient() as http:
        host, port = fake.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"nonsense\r\n\r\n")
        assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 400")
        writer.close()
        await writer.wait_closed()

        assert (await http.get(f"{fake.url}/fake/counts")).json()["received"] == 0
        unknown = await http.post(f"{fake.url}/api/v1/jobs/other")
        assert unknown.json()["code"] == 404


async def test_a_caller_may_wait_to_be_told_to_go_on() -> None:
    """curl does, before a large body."""
    async with Fake.run("kie") as fake:
        host, port = fake.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        body = json.dumps({"model": "m", "input": {"prompt": "a"}}).encode()
        writer.write(
            b"POST http://x/api/v1/jobs/createTask HTTP/1.1\r\nHost: x\r\nAuthorization: k\r\n"
            b"Expect: 100-continue\r\nConnection: close\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body)
        )
        assert (await reader.readline()).startswith(b"HTTP/1.1 100")
        writer.write(body)
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        await writer.wait_closed()

        assert b"taskId" in answer
        assert fake.counts().accepted == 1


async def test_it_ends_while_callers_wait() -> None:
    script = rule("submissions", answer="slow", seconds=600)
    async with client_at("kie") as client:
        async with Fake.run("kie", script) as fake:
            client.url = fake.url
            waiting = asyncio.create_task(client.submit(asking("kie")))
            await until(fake.tasks)
        with pytest.raises(SubmissionUnknown):
            await waiting


def client_at(dialect: str) -> AsyncClient:
    return AsyncClient(dialect, "http://127.0.0.1:1", "any")


async def test_thousands_of_tasks_at_once() -> None:
    tasks, connections = 5000, 20
    body = json.dumps({"model": "m", "input": {"prompt": "a"}}).encode()
    head = b" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\n"
    submission = b"POST /api/v1/jobs/createTask" + head + b"Content-Length: %d\r\n\r\n" % len(body)

    async with Fake.run("kie", rule("tasks", running=[600, 900])) as fake:
        async with asyncio.TaskGroup() as group:
            for _ in range(connections):
                group.create_task(ask_many(fake, [submission + body] * (tasks // connections)))
        ids = [note.id.encode() for note in fake.tasks()]
        queries = [b"GET /api/v1/jobs/recordInfo?taskId=" + id + head + b"\r\n" for id in ids]
        async with asyncio.TaskGroup() as group:
            for number in range(connections):
                group.create_task(ask_many(fake, queries[number::connections]))

        assert len(set(ids)) == tasks
        assert set(fake.counts().queries.values()) == {1}
        assert {note.status for note in fake.tasks()} == {Status.RUNNING}
        assert fake.counts().answers == {"ok": 2 * tasks}


async def ask_many(fake: Fake, requests: list[bytes]) -> None:
    """Requests over one connection, each sent when the one before was answered."""
    host, port = fake.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    for request in requests:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.partition(b"content-length: ")[2].partition(b"\r")[0])
        assert json.loads(await reader.readexactly(length))["code"] == 200
    writer.close()
    await writer.wait_closed()


# -------------------------------------------------------------------------------------- scripts


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[tasks]", "script: "),
        ("[[task]]", "unknown field `task`"),
        ("[[tasks]]\nrunning = [3, 1]", "running"),
        ("[[tasks]]\nqueued = -1", "queued"),
        ("[[tasks]]\nrunning = [1]", "tasks"),
        ('[[tasks]]\nresult = "maybe"', "maybe"),
        ("[[tasks]]\nmatch = { nth = 0 }", "nth"),
        ('[[submissions]]\nanswer = "sulky"', "no answer 'sulky'"),
        ("[[submissions]]\naccepts = false", "cannot be answered"),
        ("[[queries]]\nduplicate = true", "duplicate"),
        ("[files]\nlatency = [2, 1]", "latency"),
    ],
)
async def test_a_script_that_cannot_be_read(text: str, said: str) -> None:
    with pytest.raises(ScriptError, match="script: ") as raised:
        async with Fake.run("kie", text):
            pass

    assert said in str(raised.value)


async def test_a_script_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match=r"none\.toml"):
        async with Fake.run("kie", tmp_path / "none.toml"):
            pass


async def test_a_dialect_that_is_not_there() -> None:
    with pytest.raises(LookupError, match="there are"):
        async with Fake.run("klingon"):
            pass


# ----------------------------------------------------------------------------- as a process


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "safelight", "fake", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )


def test_the_command(tmp_path: Path) -> None:
    script = tmp_path / "bad-day.toml"
    script.write_text('[[submissions]]\nmatch = { nth = 1 }\nanswer = "lost"\n')
    with start("--dialect", "tensorslab", "--script", str(script), "--key", "sk-1") as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said.startswith("The fake provider listens on http://127.0.0.1:")
        url = said.split()[-1]
        form = {"prompt": (None, "a lighthouse")}
        headers = {"authorization": "Bearer sk-1"}
        with httpx.Client(headers=headers) as http:
            with pytest.raises(httpx.TransportError):
                http.post(f"{url}/v1/images/seedreamv4", files=form)
            answer = http.post(f"{url}/v1/images/seedreamv4", files=form).json()
            counts = http.get(f"{url}/fake/counts").json()
            notes = http.get(f"{url}/fake/tasks").json()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0

    assert counts["received"] == counts["accepted"] == 2
    assert counts["answers"] == {"lost": 1, "ok": 1}
    assert [note["id"] for note in notes][1] == answer["data"]["taskid"]
    assert notes[0]["status"] == "succeeded" and notes[0]["ended"] >= notes[0]["submitted"]


def test_the_command_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    script = tmp_path / "wrong.toml"
    script.write_text("[[tasks]]\nruning = 3\n")
    for arguments, said in (
        (("--dialect", "klingon"), "no dialect 'klingon'"),
        (("--dialect", "kie", "--script", str(script)), "runing"),
    ):
        with start(*arguments) as process:
            _, errors = process.communicate(timeout=30)
        assert process.returncode == 2
        assert said in errors


# ---------------------------------------------------------------------------------- as documented


PAGE = Path(__file__).parents[2] / "docs" / "fake.md"


def blocks(language: str) -> list[str]:
    text = PAGE.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_example_for_a_ci_runs(tmp_path: Path) -> None:
    program = tmp_path / "safelight"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m safelight "$@"\n')
    program.chmod(0o755)
    (example,) = (block for block in blocks("sh") if "curl" in block)

    with subprocess.Popen(
        ["bash", "-euc", example.replace("8123", str(free_port("127.0.0.1")))],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as ran:
        try:
            said, _ = ran.communicate(timeout=60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(ran.pid, signal.SIGKILL)  # what it left behind, where it failed

    assert ran.returncode == 0, said
    assert "refused for now" in said
    (picture,) = (tmp_path / "out").iterdir()
    assert picture.suffix == ".png"


async def test_the_example_in_python_runs() -> None:
    (example,) = blocks("python")
    names: dict[str, Any] = {}
    exec(compile(example, str(PAGE), "exec"), names)

    await names["test_nothing_is_submitted_twice"]()


def test_the_example_script_can_be_read() -> None:
    (example,) = blocks("toml")

    assert len(read_script(example).tasks) == 2


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_named(fault: str) -> None:
    assert f"`{fault}`" in PAGE.read_text(encoding="utf-8")
