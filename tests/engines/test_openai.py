"""The engine `openai`, against an API on a real socket: pictures, and all that may go wrong."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
import pytest

from backends import PostgresServer
from doubles import ID, NOW, picture, until
from dripping import Endless, whole
from end_to_end import running
from end_to_end.running import START_SECONDS, Running, bugs_in, environment, program
from image_api import HANG_UP, ImageApi, Reply, error, linked, pictures
from safelight import AsyncClient, Kind, Submit
from safelight.blobs import Blobs
from safelight.config import ModelRule, SettingsError
from safelight.engines import openai as openai_engine
from safelight.engines.openai import build
from safelight.errors import BadRequest, MissingParameter, Unsupported
from safelight.fetching import Fetcher
from safelight.links import Links
from safelight.models import ModelMap
from safelight.secrets import Vault
from safelight.store import scripts
from safelight.store.sqlite import SQLiteStore
from safelight.task import FailureCode, Operation, Role, Source, Status, Task, bare_id
from safelight.worker import Worker

pytest.importorskip("openai", reason="the engine `openai` needs the library `openai`")

KEY = "sk-very-secret-1234567890"


@pytest.fixture
def api() -> Iterator[ImageApi]:
    api = ImageApi()
    yield api
    api.close()


@dataclass
class Bench:
    """A worker and what it works with, before such an API."""

    api: ImageApi
    folder: Path
    store: SQLiteStore
    blobs: Blobs
    options: dict[str, Any] = field(default_factory=dict)
    at_key: Callable[[], object] = lambda: None  # called when the key is asked for
    results: Fetcher = field(
        default_factory=lambda: Fetcher(10_000, 5, private=True)
    )  # what fetches pictures that lie elsewhere

    def worker(self, name: str = "w1") -> Worker:
        options = {"url": self.api.url, "key": "ours", "per_second": 1000.0, **self.options}
        rule = ModelRule(name="*", engine="openai", options=options)
        return Worker(
            name,
            self.store,
            self.blobs,
            ModelMap.build([rule], {}),
            Fetcher(10_000, 5, private=True),
            Links(Vault(b"secret")),
            scratch=self.folder / "scratch",
            time_limit=10,
            most_deaths=3,
            max_pixels=1_000_000,
            secret=self.secret,
            results=self.results,
        )

    async def secret(self, name: str) -> str:
        assert name == "ours"
        self.at_key()
        return KEY

    async def add(self, **words: Any) -> None:
        submit = Submit(**{"model": "gpt-image-1", "prompt": "a lighthouse", **words})
        task = Task(id=ID, status=Status.QUEUED, submit=submit, owner="a", created=NOW, updated=NOW)
        await self.store.write(scripts.add(task, ""))

    async def run(self, **words: Any) -> Task:
        """Add a task and run it to its end."""
        await self.add(**words)
        await self.worker().run(ID, "openai")
        return await self.task()

    def begin(self, worker: Worker) -> asyncio.Task[bool]:
        return asyncio.create_task(worker.run(ID, "openai"))

    async def task(self) -> Task:
        found = await self.store.read(scripts.get_any(ID))
        assert found is not None
        return found

    async def memory(self) -> dict[str, Any]:
        return await self.store.read(scripts.recall(ID))

    async def told(self) -> list[str]:
        return [f"{row.what} {row.note}" for row in await self.store.read(scripts.events(ID))]

    async def logged(self, count: int) -> None:
        """Wait for that many lines in the log of the task."""
        async with asyncio.timeout(10):
            while sum(line.startswith("log") for line in await self.told()) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.002)

    async def keep(self, name: str, data: bytes, role: Role = Role.IMAGE) -> Source:
        await self.blobs.put(name, data)
        return Source(blob=name, role=role)


@pytest.fixture
async def bench(api: ImageApi, tmp_path: Path) -> AsyncIterator[Bench]:
    store = SQLiteStore.open(tmp_path / "db")
    yield Bench(api, tmp_path, store, Blobs.local(tmp_path / "files"))
    await store.close()


def failed(task: Task, code: FailureCode) -> str:
    """The message of a task that has failed so."""
    assert task.failure is not None, task
    assert (task.status, task.failure.code) == (Status.FAILED, code), task.failure
    return task.failure.message


# --------------------------------------------------------------------------------- what is asked


async def test_a_picture_is_made(bench: Bench) -> None:
    bench.api.answers.append(pictures(picture(32, 16)))

    task = await bench.run()

    (artifact,) = task.artifacts
    assert (task.status, artifact.width, artifact.height) == (Status.SUCCEEDED, 32, 16)
    assert artifact.media_type == "image/png"
    assert await bench.blobs.get(artifact.blob or "") == picture(32, 16)
    (asked,) = bench.api.asked
    assert (asked.method, asked.target) == ("POST", "/v1/images/generations")
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.json() == {"model": "gpt-image-1", "prompt": "a lighthouse"}
    assert [line.strip() for line in await bench.told()] == [
        "queued",
        "queued",
        "running",
        "succeeded",
    ]


async def test_it_is_asked_for_in_the_words_of_that_api(bench: Bench) -> None:
    bench.options = {"model": "theirs", "extra": {"moderation": "low", "guidance": 3}}
    bench.api.answers.append(pictures(picture(8, 8), picture(9, 9, "JPEG"), picture(7, 7)))

    task = await bench.run(
        count=3, width=1600, height=900, quality="high", format="jpeg", negative=""
    )

    assert [artifact.width for artifact in task.artifacts] == [8, 9, 7]
    assert [artifact.media_type for artifact in task.artifacts][1] == "image/jpeg"
    (asked,) = bench.api.asked
    assert asked.json() == {
        "model": "theirs",
        "prompt": "a lighthouse",
        "n": 3,
        "size": "1536x1024",
        "quality": "high",
        "output_format": "jpeg",
        "moderation": "low",
        "guidance": 3,
    }


@pytest.mark.parametrize(
    ("words", "options", "size"),
    [
        ({"width": 900, "height": 1600}, {}, "1024x1536"),
        ({"ratio": "1:1", "resolution": "4K"}, {}, "1024x1024"),
        ({"ratio": "3:2"}, {"sizes": ()}, "1254x836"),
        ({"width": 640, "height": 480}, {"sizes": ()}, "640x480"),
        ({"ratio": "16:9"}, {"sizes": ("1792x1024", "1024x1024")}, "1792x1024"),
        ({}, {}, None),
    ],
)
async def test_the_size_is_one_that_it_makes(
    bench: Bench, words: dict[str, Any], options: dict[str, Any], size: str | None
) -> None:
    bench.options = options
    task = await bench.run(**words)
    assert task.status is Status.SUCCEEDED
    assert bench.api.asked[0].json().get("size") == size


async def test_what_it_has_no_words_for_is_left_out_where_that_does_not_matter(
    bench: Bench,
) -> None:
    bench.options = {"ignore": ("quality", "format", "seed", "negative")}
    await bench.run(quality="high", format="png", seed=7, negative="fog")
    assert bench.api.asked[0].json() == {"model": "gpt-image-1", "prompt": "a lighthouse"}


async def test_a_picture_is_edited(bench: Bench) -> None:
    source = await bench.keep("in/one", picture(40, 20))

    task = await bench.run(sources=(source,), ratio="auto", format="png", quality="low")

    assert task.status is Status.SUCCEEDED
    (asked,) = bench.api.asked
    assert asked.target == "/v1/images/edits"
    parts = {part.name: part for part in asked.form()}
    image = parts.pop("image")
    assert (image.filename, image.type) == ("source-0.png", "image/png")
    assert image.data == picture(40, 20)
    assert {name: part.data.decode() for name, part in parts.items()} == {
        "model": "gpt-image-1",
        "prompt": "a lighthouse",
        "size": "1536x1024",
        "quality": "low",
        "output_format": "png",
    }


async def test_several_pictures_and_a_mask_are_sent_in_their_order(bench: Bench) -> None:
    bench.options = {"extra": {"input_fidelity": "high", "guidance": 3}}
    first = await bench.keep("in/one", picture(40, 20))
    mask = await bench.keep("in/mask", picture(41, 20), Role.MASK)
    second = await bench.keep("in/two", picture(42, 20, "JPEG"))

    task = await bench.run(sources=(first, mask, second), count=2)

    assert task.status is Status.SUCCEEDED
    parts = bench.api.asked[0].form()
    assert [(part.name, part.filename, part.data) for part in parts if part.filename] == [
        ("image[]", "source-0.png", picture(40, 20)),
        ("image[]", "source-2.jpg", picture(42, 20, "JPEG")),
        ("mask", "source-1.png", picture(41, 20)),
    ]
    assert {part.name: part.data for part in parts if not part.filename} == {
        "model": b"gpt-image-1",
        "prompt": b"a lighthouse",
        "n": b"2",
        "input_fidelity": b"high",
        "guidance": b"3",
    }


# ------------------------------------------------------------------------------------ asked once


@pytest.mark.parametrize(
    "answer",
    [
        HANG_UP,
        error(500),
        error(502),
        error(504),
        error(529),
        Reply(502, b"<html>bad gateway</html>", type="text/html"),
        Reply(
            503, b"upstream connect error: reset reason: connection termination", type="text/plain"
        ),
        Reply(503, b'{"message": "Service Unavailable"}'),
        Reply(408),
        Reply(425),
        Reply(200, b'{"data": [{"b64_', (("x-cut", "yes"),)),
    ],
    ids=["hung up", "500", "502", "504", "529", "html", "proxy", "gateway", "408", "425", "cut"],
)
async def test_where_the_answer_is_lost_it_is_not_asked_again(bench: Bench, answer: Reply) -> None:
    bench.api.answers.append(answer)

    task = await bench.run()

    message = failed(task, FailureCode.SUBMISSION_UNKNOWN)
    assert bench.api.url in message
    assert ID in message
    assert len(bench.api.asked) == 1


async def test_an_answer_that_takes_too_long_is_lost(bench: Bench) -> None:
    bench.options, bench.api.held = {"timeout": 0.3}, True
    failed(await bench.run(), FailureCode.SUBMISSION_UNKNOWN)
    assert len(bench.api.asked) == 1


async def test_a_worker_that_died_meanwhile_is_not_asked_for_again(bench: Bench) -> None:
    await bench.add()
    task = await bench.store.write(scripts.claim(ID, "dead", NOW, waits=True))
    assert task is not None
    await bench.store.write(scripts.remember(ID, task.attempt, {"asking": 1.0}))

    await bench.worker("w2").run(ID, "openai")

    failed(await bench.task(), FailureCode.SUBMISSION_UNKNOWN)
    assert bench.api.asked == []


@pytest.mark.parametrize("status", [408, 409, 425, 429, 503, 521])
async def test_refused_for_now_it_is_asked_again(bench: Bench, status: int) -> None:
    bench.api.answers.append(error(status, "slow down", retry_after="0.5"))
    await bench.add()
    run = bench.begin(bench.worker())
    await bench.logged(1)

    assert await bench.memory() == {}  # whoever takes it up now may ask

    await run
    task = await bench.task()
    assert task.status is Status.SUCCEEDED, task.failure
    assert len(bench.api.asked) == 2
    assert any("slow down" in line for line in await bench.told())


@pytest.mark.parametrize(
    "answer",
    [
        Reply(503, b"busy", (("retry-after", "0.1"),), type="text/plain"),
        Reply(429, b"slow down", type="text/plain"),
        Reply(503, b'{"detail": "The queue is full"}'),
    ],
    ids=["proxy that says when", "429", "copy"],
)
async def test_what_is_certainly_a_refusal_is_one_also_in_another_form(
    bench: Bench, answer: Reply
) -> None:
    bench.api.answers.append(answer)
    task = await bench.run()
    assert task.status is Status.SUCCEEDED, task.failure
    assert len(bench.api.asked) == 2


async def test_it_waits_as_long_as_it_is_told_to(bench: Bench) -> None:
    bench.api.answers.append(error(429, retry_after="2"))
    began = time.monotonic()
    assert (await bench.run()).status is Status.SUCCEEDED
    assert time.monotonic() - began >= 2


async def test_an_api_that_is_not_reached_is_asked_again(bench: Bench) -> None:
    bench.api.refuse()
    await bench.add()
    run = bench.begin(bench.worker())
    await bench.logged(1)
    assert await bench.memory() == {}
    bench.api.listen()
    await run
    assert (await bench.task()).status is Status.SUCCEEDED
    assert len(bench.api.asked) == 1


async def test_it_is_asked_until_the_deadline(bench: Bench) -> None:
    bench.options = {"deadline": 1.0}
    bench.api.answers.extend(error(429, "slow down", retry_after="0.3") for _ in range(20))

    message = failed(await bench.run(), FailureCode.TIMEOUT)

    assert "slow down" in message
    assert len(bench.api.asked) in (3, 4)


async def test_who_is_told_to_wait_past_the_deadline_gives_up(bench: Bench) -> None:
    bench.options = {"deadline": 60}
    bench.api.answers.append(error(429, "tomorrow", retry_after="86400"))
    assert "tomorrow" in failed(await bench.run(), FailureCode.TIMEOUT)


# -------------------------------------------------------------------------- answers without an end


@pytest.mark.parametrize("status", [200, 429, 500])
async def test_an_answer_that_is_dripped_is_lost_when_its_time_is_up(
    bench: Bench, status: int
) -> None:
    head = f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n"
    endless = Endless(head=head.encode())
    async with endless.listen():
        bench.options = {"url": f"{endless.url}/v1", "timeout": 0.5}
        began = time.monotonic()
        message = failed(await bench.run(), FailureCode.SUBMISSION_UNKNOWN)
        assert time.monotonic() - began < 8

        assert "not whole within 0.5 seconds" in message
        await until(lambda: endless.left == 1)
        assert len(endless.asked) == 1


@pytest.mark.parametrize("status", [200, 400])
async def test_an_answer_is_read_no_further_than_it_may_go(bench: Bench, status: int) -> None:
    head = f"HTTP/1.1 {status} -\r\nContent-Length: 900000000\r\n\r\n".encode()
    endless = Endless(head=head, piece=b" " * 65536, pause=0)
    async with endless.listen():
        bench.options = {"url": f"{endless.url}/v1", "max_answer": 1_000_000}
        message = failed(await bench.run(), FailureCode.SUBMISSION_UNKNOWN)
        await until(lambda: endless.left == 1)

    assert "more than 1000000 bytes" in message
    assert len(endless.asked) == 1
    assert endless.sent < 40_000_000  # what the system's buffers took


async def test_an_answer_that_may_unpack_to_anything_is_not_unpacked(bench: Bench) -> None:
    bench.api.answers.append(pictures(picture())._replace(headers=(("content-encoding", "gzip"),)))
    message = failed(await bench.run(), FailureCode.SUBMISSION_UNKNOWN)
    assert "content encoding" in message
    assert bench.api.asked[0].headers["accept-encoding"] == "identity"


async def test_told_to_stop_it_waits_no_longer_than_an_answer_may_take(bench: Bench) -> None:
    endless = Endless()
    async with endless.listen():
        bench.options = {"url": f"{endless.url}/v1", "timeout": 1.0}
        await bench.add()
        worker = bench.worker()
        run = bench.begin(worker)
        await until(lambda: endless.asked)
        began = time.monotonic()
        await worker.release()
        await run
        assert time.monotonic() - began < 8

    failed(await bench.task(), FailureCode.SUBMISSION_UNKNOWN)


async def test_a_picture_is_not_fetched_from_inside(bench: Bench) -> None:
    inside = Endless()
    inside.choose = lambda head: whole(picture(9, 9))
    bench.results = Fetcher(10_000, 5)
    async with inside.listen():
        bench.api.answers.extend(linked(f"{inside.url}/secret.png?sign=1") for _ in range(2))
        message = failed(await bench.run(), FailureCode.PROVIDER_ERROR)
        assert "private network" in message
        assert "sign=1" not in message
        assert inside.asked == []

        # Where the API itself is, and where its operator says, results may lie.
        bench.options = {"result_origins": (inside.url,)}
        await bench.store.write(scripts.delete((ID,), "a", None))
        assert (await bench.run()).status is Status.SUCCEEDED
        assert len(inside.asked) == 1


async def test_a_picture_that_is_too_large_is_not_kept(bench: Bench) -> None:
    bench.results = Fetcher(50, 5)
    origin = bench.api.url.removesuffix("/v1")
    bench.api.answers.append(linked(f"{origin}/a.png"))
    assert "larger than 50 bytes" in failed(await bench.run(), FailureCode.PROVIDER_ERROR)
    assert len(bench.api.fetched) == 1


# ---------------------------------------------------------------------------------- what it means


@pytest.mark.parametrize(
    ("answer", "code", "provider_code"),
    [
        (error(429, code="insufficient_quota"), "insufficient_credits", "insufficient_quota"),
        (error(429, type="insufficient_quota"), "insufficient_credits", None),
        (error(402, "pay first"), "insufficient_credits", None),
        (
            error(400, code="billing_hard_limit_reached"),
            "insufficient_credits",
            "billing_hard_limit_reached",
        ),
        (error(400, code="moderation_blocked"), "content_policy", "moderation_blocked"),
        (
            error(400, code="content_policy_violation"),
            "content_policy",
            "content_policy_violation",
        ),
        (error(400, "rejected by the safety system", code="400"), "content_policy", "400"),
        (error(400, "no such size", code="invalid_value"), "invalid_input", "invalid_value"),
        (error(400, "Unknown parameter: 'moderation'."), "invalid_input", None),
        (error(404, code="model_not_found"), "invalid_input", "model_not_found"),
        (error(413), "invalid_input", None),
        (error(403, "not from here"), "provider_error", "403"),
        (Reply(405, b"<html>", type="text/html"), "provider_error", "405"),
        (error(501), "provider_error", "501"),
    ],
)
async def test_a_refusal_is_told_for_what_it_is(
    bench: Bench, answer: Reply, code: str, provider_code: str | None
) -> None:
    bench.api.answers.append(answer)

    task = await bench.run()

    failed(task, FailureCode(code))
    assert task.failure is not None
    assert task.failure.provider_code == provider_code
    assert len(bench.api.asked) == 1


async def test_a_mere_rate_limit_may_speak_of_billing(bench: Bench) -> None:
    sentence = "Rate limit reached. Add a payment method at https://example.com/account/billing."
    bench.api.answers.append(error(429, sentence, "rate_limit_exceeded", retry_after="0.01"))
    assert (await bench.run()).status is Status.SUCCEEDED


async def test_a_message_is_told_in_its_own_words(bench: Bench) -> None:
    bench.api.answers.append(error(400, "Invalid size."))
    assert failed(await bench.run(), FailureCode.INVALID_INPUT) == "Invalid size."


async def test_the_key_is_told_to_nobody(
    bench: Bench, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    said = f"Incorrect API key provided: {KEY}."
    bench.api.answers.append(error(503, said, retry_after="0.01"))
    bench.api.answers.append(error(401, said, code="invalid_api_key"))

    task = await bench.run()

    assert "does not take the key" in failed(task, FailureCode.PROVIDER_ERROR)
    assert task.failure is not None
    assert task.failure.provider_code == "invalid_api_key"
    written = "".join(capsys.readouterr()) + caplog.text + "".join(await bench.told())
    assert KEY not in f"{written}{task}"
    assert "(the key)" in written


# -------------------------------------------------------------------------------- what is answered


async def test_a_picture_is_fetched_without_our_key(bench: Bench, api: ImageApi) -> None:
    origin = api.url.removesuffix("/v1")
    api.answers.append(linked(f"{origin}/files/a.png?sign=1", f"{origin}/files/b.png"))
    api.files.extend(
        [error(404), HANG_UP, Reply(200, picture(30, 20)), Reply(200, picture(31, 20))]
    )

    task = await bench.run(count=2)

    assert [artifact.width for artifact in task.artifacts] == [30, 31], task.failure
    assert len(api.asked) == 1
    assert [asked.target[:12] for asked in api.fetched] == ["/files/a.png"] * 3 + ["/files/b.png"]
    assert not any("authorization" in asked.headers for asked in api.fetched)
    assert not any(KEY in str(asked) for asked in api.fetched)


async def test_a_full_disk_loses_no_picture(bench: Bench) -> None:
    bench.api.held = True
    await bench.add()
    run = bench.begin(bench.worker())
    await until(lambda: bench.api.asked)
    (folder,) = (bench.folder / "scratch").iterdir()
    made = folder / "made-0"
    made.symlink_to("/dev/full")  # a write to it: no space left on device
    bench.api.held = False
    done, _ = await asyncio.wait([run], timeout=0.5)
    assert not done

    made.unlink()
    await run
    task = await bench.task()
    assert task.status is Status.SUCCEEDED, task.failure
    assert len(bench.api.asked) == 1


@pytest.mark.parametrize(
    "dead",
    [Reply(404), Reply(200, b"<html>Sign in</html>", type="image/png")],
    ids=["dead link", "page"],
)
async def test_one_picture_that_is_not_to_be_had_loses_no_other(
    bench: Bench, api: ImageApi, dead: Reply, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_engine, "_PAUSES", (0.01, 0.02))
    origin = api.url.removesuffix("/v1")
    api.answers.append(linked(*(f"{origin}/{name}.png" for name in "abc")))
    good = Reply(200, picture(30, 20), type="image/png")
    api.files.extend([good, *[dead] * 5, good])

    task = await bench.run(count=3)

    assert task.status is Status.SUCCEEDED, task.failure
    assert len(task.artifacts) == 2
    assert any("Picture 2 is lost" in line for line in await bench.told())
    assert len(api.asked) == 1


@pytest.mark.parametrize(
    "answer",
    [
        Reply(200, b'{"data": [{"b64_json": "not base64!"}]}'),
        pictures(b"no picture"),
        pictures(),
        Reply(200, b'{"created": 1}'),
        Reply(200, b'["nothing"]'),
        Reply(200, b'{"data": ["nothing"]}'),
        Reply(200, b"<html>a page</html>", type="text/html"),
        linked("http://127.0.0.1:99999999/a.png"),
        linked("/files/a.png"),
    ],
    ids=str,
)
async def test_an_answer_without_pictures_is_the_providers_mistake(
    bench: Bench, answer: Reply
) -> None:
    bench.api.answers.append(answer)
    failed(await bench.run(), FailureCode.PROVIDER_ERROR)
    assert len(bench.api.asked) == 1


# ------------------------------------------------------------------------------- told to stop


async def test_a_worker_that_is_told_to_stop_waits_for_the_answer(bench: Bench) -> None:
    worker, bench.api.held = bench.worker(), True
    await bench.add()
    run = bench.begin(worker)
    await until(lambda: bench.api.asked)
    release = asyncio.create_task(worker.release())
    done, _ = await asyncio.wait([release, run], timeout=0.3)
    assert not done

    bench.api.held = False
    await release

    assert await run
    assert (await bench.task()).status is Status.SUCCEEDED
    assert len(bench.api.asked) == 1
    assert bench.api.given_up == 0


async def test_told_to_stop_it_fetches_what_was_made(bench: Bench, api: ImageApi) -> None:
    api.answers.append(linked(f"{api.url}/a.png"))
    api.files.append(error(404))
    worker = bench.worker()
    await bench.add()
    run = bench.begin(worker)
    await until(lambda: api.fetched)  # a second try follows, after a while

    await worker.release()

    assert await run
    assert (await bench.task()).status is Status.SUCCEEDED
    assert len(api.fetched) == 2


async def test_told_to_stop_it_keeps_what_was_made(bench: Bench) -> None:
    worker, bench.api.held = bench.worker(), True
    await bench.add()
    run = bench.begin(worker)
    await until(lambda: bench.api.asked)
    other = apsw.Connection(str(bench.folder / "db"))
    other.execute("begin immediate")  # nothing is written before this ends
    bench.api.held = False
    await until(lambda: list((bench.folder / "scratch").glob("*/made-0.png")))
    release = asyncio.create_task(worker.release())
    await asyncio.wait([release], timeout=0.2)
    other.execute("rollback")
    other.close()

    await release

    assert await run
    assert (await bench.task()).status is Status.SUCCEEDED


async def test_told_to_stop_before_it_has_asked_it_is_given_back(bench: Bench) -> None:
    worker = bench.worker()
    await bench.add()
    other = apsw.Connection(str(bench.folder / "db"))
    # Nothing more is written before this ends, and so nothing is asked.
    bench.at_key = lambda: other.execute("begin immediate")
    run = bench.begin(worker)
    await until(lambda: other.in_transaction)
    bench.at_key = lambda: None
    release = asyncio.create_task(worker.release())
    await asyncio.wait([release], timeout=0.2)
    other.execute("rollback")
    other.close()

    await release

    assert not await run
    assert await bench.memory() == {}
    assert bench.api.asked == []
    assert await bench.worker("w2").run(ID, "openai")
    assert (await bench.task()).status is Status.SUCCEEDED
    assert len(bench.api.asked) == 1


async def test_told_to_stop_and_refused_it_is_given_back(bench: Bench) -> None:
    worker, bench.api.held = bench.worker(), True
    bench.api.answers.append(error(429, retry_after="50"))
    await bench.add()
    run = bench.begin(worker)
    await until(lambda: bench.api.asked)
    release = asyncio.create_task(worker.release())
    await asyncio.wait([release], timeout=0.1)
    bench.api.held = False

    async with asyncio.timeout(10):
        await release

    assert not await run
    assert await bench.memory() == {}
    assert await bench.worker("w2").run(ID, "openai")
    task = await bench.task()
    assert (task.status, task.deaths) == (Status.SUCCEEDED, 0)
    assert len(bench.api.asked) == 2


async def test_told_to_stop_while_it_waits_to_ask_again_it_is_given_back(bench: Bench) -> None:
    worker = bench.worker()
    bench.api.answers.append(error(503, retry_after="50"))
    await bench.add()
    run = bench.begin(worker)
    await bench.logged(1)
    async with asyncio.timeout(10):
        await worker.release()
    assert not await run
    assert await bench.worker("w2").run(ID, "openai")
    assert (await bench.task()).status is Status.SUCCEEDED


@pytest.mark.parametrize("stopping", [False, True])
async def test_a_canceled_task_is_given_up_at_once(bench: Bench, stopping: bool) -> None:
    worker, bench.api.held = bench.worker(), True
    bench.store.listen(scripts.ENDED, worker.stop)
    await bench.add()
    run = bench.begin(worker)
    await until(lambda: bench.api.asked)
    release = asyncio.create_task(worker.release()) if stopping else None
    if release:
        await asyncio.wait([release], timeout=0.1)

    async with asyncio.timeout(5):
        assert await bench.store.write(scripts.cancel(ID, "a", NOW))
        await run
        await until(lambda: bench.api.given_up)

    if release:
        await release
    assert (await bench.task()).status is Status.CANCELED
    assert bench.api.held


async def test_no_more_requests_are_under_way_than_was_said(bench: Bench) -> None:
    bench.options, bench.api.held = {"concurrency": 2}, True
    worker = bench.worker()
    ids = [f"{number:024x}" for number in range(5)]
    for id in ids:
        submit = Submit(model="gpt-image-1", prompt="a lighthouse")
        task = Task(id=id, status=Status.QUEUED, submit=submit, owner="a", created=NOW, updated=NOW)
        await bench.store.write(scripts.add(task, ""))
    runs = [asyncio.create_task(worker.run(id, "openai")) for id in ids]
    await until(lambda: len(bench.api.asked) == 2)
    await asyncio.wait(runs, timeout=0.2)
    assert len(bench.api.asked) == 2
    bench.api.held = False
    await asyncio.wait(runs)
    assert len(bench.api.asked) == 5


# --------------------------------------------------------------------------- before it is accepted


@pytest.mark.parametrize(
    ("words", "parameter"),
    [
        ({"kind": Kind.VIDEO}, "kind"),
        ({"operations": (Operation(name="crop"),)}, "operations"),
        ({"negative": "fog"}, "negative"),
        ({"seed": 0}, "seed"),
        ({"prompt": ""}, "prompt"),
        ({"resolution": "huge"}, "resolution"),
        ({"ratio": "wide"}, "ratio"),
        ({"sources": (Source(url="https://a.example/b.mp4", role=Role.VIDEO),)}, "sources"),
        ({"sources": (Source(url="https://a.example/b.png", role=Role.MASK),)}, "sources"),
        (
            {
                "sources": (
                    Source(url="https://a.example/a.png"),
                    *(Source(url="https://a.example/b.png", role=Role.MASK),) * 2,
                )
            },
            "sources",
        ),
    ],
)
def test_what_it_has_no_words_for_is_refused_by_name(words: dict[str, Any], parameter: str) -> None:
    engine = build({})
    assert engine is not None
    with pytest.raises(BadRequest) as caught:
        engine.check(Submit(**{"prompt": "a lighthouse", **words}), {})
    assert caught.value.parameter == parameter
    if parameter == "prompt":
        assert isinstance(caught.value, MissingParameter)
    if parameter in ("kind", "operations", "negative", "seed"):
        assert isinstance(caught.value, Unsupported)


def test_what_does_not_matter_is_not_refused() -> None:
    submit = Submit(prompt="a lighthouse", negative="fog", seed=3)
    build({}).check(submit, {"ignore": ["negative", "seed"]})


@pytest.mark.parametrize(
    "options",
    [
        {"surprise": 1},
        {"url": "api.example.com/v1"},
        {"concurrency": 0},
        {"per_second": 0},
        {"timeout": -1},
        {"sizes": ["auto"]},
        {"sizes": ["0x10"]},
        {"ignore": ["kind"]},
        {"extra": {"stream": True}},
    ],
    ids=str,
)
def test_options_that_are_none_are_refused_at_the_start(options: dict[str, Any]) -> None:
    rule = ModelRule(name="gpt-image-*", engine="openai", options=options)
    with pytest.raises(SettingsError, match=r"gpt-image-\*") as caught:
        ModelMap.build([rule], {})
    assert next(iter(options)) in str(caught.value)


# ----------------------------------------------------------------------------- as a whole server


def config(api: ImageApi, **options: Any) -> str:
    """The settings of a server whose pictures are made there."""
    said = {"url": api.url, "key": "theirs", "ignore": ["seed"], **options}
    words = ", ".join(f"{name} = {json.dumps(value)}" for name, value in said.items())
    return (
        "grace = 0\nprivate_sources = true\n"
        f'[[models]]\nname = "*"\nengine = "openai"\noptions = {{ {words} }}\n'
    )


def keep_key(server: Running) -> None:
    """Keep the key, as a person does."""
    subprocess.run(
        program("provider-keys", "keep", "theirs", "--data", str(server.data)),
        input=f"{KEY}\n".encode(),
        check=True,
        timeout=START_SECONDS,
        env=environment(),
        cwd=server.data.parent,
    )


Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Running] = []

    def begin(config: str, **more: Any) -> Running:
        server = Running.start(tmp_path / "data", config, **more)
        started.append(server)
        return server

    yield begin
    for server in started:
        if server.process.poll() is None:
            server.kill()


async def submit(server: Running, dialect: str = "aigptimage", **words: Any) -> str:
    async with server.client(dialect) as client:
        asked = {"model": "gpt-image-2", "prompt": "a red boat", "width": 96, "height": 64}
        return (await client.submit(**{**asked, **words})).id


def end_of(server: Running, id: str) -> tuple[str, str]:
    """How a task has ended, once it has."""
    query = "select status, failure from tasks where id = ? and finished is not null"
    rows = running.until(lambda: server.rows(query, bare_id(id)))
    return rows[0][0], rows[0][1] or ""


def test_the_whole_line(api: ImageApi, start: Start, tmp_path: Path) -> None:
    server = start(config(api, model="gpt-image-1"))
    keep_key(server)
    upload = picture(30, 20)
    api.answers.append(pictures(picture(48, 32)))

    async def go() -> list[Path]:
        async with server.client("tensorslab") as client:
            task = await client.submit(
                model="seedreamv4", prompt="a red boat", sources=(Source(data=upload),)
            )
            task = await client.wait(task)
            assert task.status is Status.SUCCEEDED, task.failure
            return list(await client.download(task, tmp_path / "out"))

    (made,) = asyncio.run(go())
    assert made.read_bytes() == picture(48, 32)
    (asked,) = api.asked
    assert asked.target == "/v1/images/edits"
    assert [part.data for part in asked.form() if part.name == "image"] == [upload]
    assert server.stop() == 0
    assert not bugs_in(server.log)
    assert KEY not in server.log.read_text()


def test_killed_while_it_waits_the_task_is_not_asked_for_again(api: ImageApi, start: Start) -> None:
    server = start(config(api))
    keep_key(server)
    api.held = True
    id = asyncio.run(submit(server))
    running.until(lambda: api.asked)

    server.kill()
    api.held = False
    server = start(config(api), key=server.key)

    status, failure = end_of(server, id)
    assert status == "failed"
    assert json.loads(failure)["code"] == "submission_unknown"
    assert len(api.asked) == 1
    assert server.stop() == 0
    assert not bugs_in(server.log)


def test_told_to_stop_the_server_waits_for_its_answers(api: ImageApi, start: Start) -> None:
    server = start(config(api))
    keep_key(server)
    api.held = True
    id = asyncio.run(submit(server))
    running.until(lambda: api.asked)

    server.ask_to_stop()
    running.until(lambda: "draining" in server.log.read_text())
    with pytest.raises(subprocess.TimeoutExpired):
        server.process.wait(0.5)
    api.held = False

    assert server.process.wait(START_SECONDS) == 0
    assert end_of(server, id)[0] == "succeeded"
    assert len(api.asked) == 1
    assert not bugs_in(server.log)


# ----------------------------------------------------------------------------- without the library


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """The environment of an interpreter that has all that this one has, but not that library."""
    folder = tmp_path / "bare"
    folder.mkdir()
    for place in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for path in Path(place).iterdir():
            if not path.name.startswith("openai") and not (folder / path.name).exists():
                (folder / path.name).symlink_to(path)
    source = Path(running.__file__).parents[2] / "src"
    return {**environment(), "PYTHONPATH": os.pathsep.join([str(source), str(folder)])}


def bare_program(*arguments: str) -> list[str]:
    return [sys.executable, "-S", "-m", "safelight", *arguments]


@pytest.mark.parametrize("command", ["serve", "work"])
def test_a_worker_without_the_library_says_what_to_install(
    api: ImageApi, bare: dict[str, str], postgres: PostgresServer, tmp_path: Path, command: str
) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text(config(api))
    ended = subprocess.run(
        bare_program(
            command,
            *("--port", "0", "--data", str(tmp_path / "data"), "--config", str(settings)),
            *("--database", postgres.create()),
        ),
        capture_output=True,
        timeout=START_SECONDS,
        env=bare,
        cwd=tmp_path,
    )
    said = ended.stderr.decode()
    assert ended.returncode != 0
    assert 'pip install "safelight[openai]"' in said
    assert "Traceback" not in said


def test_a_server_without_workers_needs_no_library(
    api: ImageApi, bare: dict[str, str], postgres: PostgresServer, tmp_path: Path
) -> None:
    settings, database, log = tmp_path / "data.toml", postgres.create(), tmp_path / "data.log"
    settings.write_text(config(api))
    with log.open("wb") as output:
        process = subprocess.Popen(
            bare_program(
                "serve",
                *("--no-workers", "--port", "0", "--data", str(tmp_path / "data")),
                *("--config", str(settings), "--database", database),
            ),
            stdout=output,
            stderr=output,
            env=bare,
            cwd=tmp_path,
        )
    server = Running(tmp_path / "data", log, process)
    try:
        server.wait_until_ready()
        # It tells its first key when it starts.
        key = next(word for word in log.read_text().split() if word.startswith("sk-"))
        assert asyncio.run(accept(server, key)).status is Status.QUEUED
        assert server.stop() == 0
    finally:
        if process.poll() is None:
            server.kill()
    assert not bugs_in(log)


async def accept(server: Running, key: str) -> Task:
    async with AsyncClient("aigptimage", server.url, key) as client:
        return await client.submit(model="gpt-image-2", prompt="a red boat", width=96, height=64)
