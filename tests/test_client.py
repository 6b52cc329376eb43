"""The client: sends a submission once, waits without being a nuisance, downloads whole files."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import math
import os
import signal
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from doubles import Serving, StartApp, names_in, picture, until
from dripping import Endless, whole
from safelight import (
    AsyncClient,
    BadRequest,
    Client,
    Fault,
    InsufficientCredits,
    Key,
    NotFound,
    RateLimited,
    StillRunning,
    SubmissionUnknown,
    TooLarge,
    Unauthenticated,
    Unavailable,
    Unreachable,
    Unsupported,
    Upstream,
)
from safelight.dialects import named
from safelight.server.fake import Fake
from safelight.task import Artifact, Kind, Source, Status, Submit, Task

ID = "0" * 24
Answer = Callable[[httpx.Request], httpx.Response]


class Server:
    """A function as the network: answers from a list, and remembers what it was asked."""

    def __init__(self, *answers: httpx.Response | Exception | Answer) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.times: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.times.append(time.monotonic())
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else answer(request)

    def client(self, dialect: str = "tensorslab", **options: Any) -> AsyncClient:
        asked = {"key": "sk-secret", "pace": 0.001, "per_second": math.inf, **options}
        if dialect == "tencent" and "key" not in options:
            asked["key"] = Key(id="AKID", secret="sk-secret")
        transport = httpx.MockTransport(self)
        return AsyncClient(dialect, "http://server", transport=transport, **asked)


def accepted(id: str = ID) -> httpx.Response:
    return httpx.Response(200, json={"code": 1000, "msg": "OK", "data": {"taskid": id}})


def state(word: Any, **more: Any) -> httpx.Response:
    data = {"taskid": ID, "image_status": word, "url": [], **more}
    return httpx.Response(200, json={"code": 1000, "msg": "OK", "data": data})


def refusal(status: int, code: int = 9999, retry_after: str | None = None) -> httpx.Response:
    headers = {} if retry_after is None else {"retry-after": retry_after}
    return httpx.Response(status, json={"code": code, "msg": "no"}, headers=headers)


RUNS, DONE = state(2), state(3, url=["http://files/a.png"])
SUBMIT = Submit(model="seedreamv4", prompt="a")


@pytest.fixture
async def no_haste(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that a client makes, which are not made."""
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    monkeypatch.setattr("safelight.client.asyncio.sleep", noted)
    return pauses


# -------------------------------------------------------------------------------------- submit


async def test_a_submission_is_sent_with_the_key_and_the_host() -> None:
    server = Server(accepted())
    async with server.client() as client:
        task = await client.submit(model="seedreamv4", prompt="a")

    (request,) = server.requests
    assert (task.id, task.status) == (ID, Status.QUEUED)
    assert request.url == "http://server/v1/images/seedreamv4"
    assert request.headers["authorization"] == "Bearer sk-secret"
    assert request.headers["host"] == "server"
    assert b"a lighthouse" not in request.content


async def test_words_win_over_the_submission_they_are_given_with() -> None:
    server = Server(accepted())
    async with server.client() as client:
        task = await client.submit(SUBMIT, prompt="b")

    assert task.submit.prompt == "b"
    assert b"\r\n\r\nb\r\n" in server.requests[0].content


async def test_an_idempotency_key_is_sent_as_a_header() -> None:
    server = Server(accepted())
    async with server.client() as client:
        await client.submit(SUBMIT, idempotency_key="once")

    assert server.requests[0].headers["idempotency-key"] == "once"


LOST = [
    httpx.ReadTimeout("no answer"),
    httpx.ReadError("reset"),
    httpx.WriteError("broken pipe"),
    httpx.WriteTimeout("slow"),
    httpx.RemoteProtocolError("nonsense"),
    httpx.CloseError("closed"),
    httpx.DecodingError("bad gzip"),
    httpx.Response(200, content=b"<html>"),
    httpx.Response(200, json={"code": 1000}),
    httpx.Response(200, json={"code": 1000, "data": {"taskid": 5}}),
    httpx.Response(200, json=[]),
    httpx.Response(500, content=b"oops"),
    httpx.Response(502, content=b"<html>Bad gateway"),
    httpx.Response(504, content=b""),
    httpx.Response(524, content=b""),
]


@pytest.mark.parametrize("answer", LOST, ids=repr)
async def test_a_lost_answer_is_never_sent_again(answer: Any) -> None:
    server = Server(answer)
    async with server.client() as client:
        with pytest.raises(SubmissionUnknown, match="may have been accepted"):
            await client.submit(SUBMIT)

    assert len(server.requests) == 1


NOT_SENT = [
    httpx.ConnectError("refused"),
    httpx.ConnectTimeout("no way"),
    httpx.PoolTimeout("too many"),
]


@pytest.mark.parametrize("problem", NOT_SENT, ids=repr)
async def test_what_was_not_sent_is_only_unreachable(problem: Exception) -> None:
    server = Server(problem)
    async with server.client() as client:
        with pytest.raises(Unreachable) as told:
            await client.submit(SUBMIT)

    assert type(told.value) is Unreachable
    assert len(server.requests) == 1


REFUSED = [
    (refusal(200), BadRequest),
    (refusal(200, code=9000), InsufficientCredits),
    (refusal(401), Unauthenticated),
    (refusal(429, retry_after="3"), RateLimited),
    (refusal(503), Unavailable),
]


@pytest.mark.parametrize(("answer", "fault"), REFUSED)
async def test_a_refusal_is_told_as_what_it_is(
    answer: httpx.Response, fault: type[Exception]
) -> None:
    server = Server(answer)
    async with server.client() as client:
        with pytest.raises(fault):
            await client.submit(SUBMIT)

    assert len(server.requests) == 1


async def test_what_the_wire_cannot_say_is_not_sent() -> None:
    server = Server(accepted())
    async with server.client() as client:
        with pytest.raises(Unsupported):
            await client.submit(SUBMIT, negative="rain")
        with pytest.raises(Unsupported):
            await client.list()
        with pytest.raises(Unsupported):
            await client.models()
        with pytest.raises(Unsupported):
            await client.cancel(ID)

    assert server.requests == []


async def test_an_address_that_is_none_is_unreachable() -> None:
    async with AsyncClient("tensorslab", "ftp://server", "sk-secret") as client:
        with pytest.raises(Unreachable) as told:
            await client.submit(SUBMIT)
    assert type(told.value) is Unreachable


async def test_nobody_there_is_unreachable(unused_tcp_port: int) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}"
    async with AsyncClient("tensorslab", url, "sk-secret") as client:
        with pytest.raises(Unreachable) as told:
            await client.submit(SUBMIT)
    assert type(told.value) is Unreachable
    assert url in told.value.message


async def test_a_connection_that_breaks_is_a_lost_answer() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with AsyncClient("tensorslab", url, "sk-secret") as client:
            with pytest.raises(SubmissionUnknown):
                await client.submit(SUBMIT)


# -------------------------------------------------------------------------- answers without an end

ENDLESS = [
    Endless(),
    Endless(head=b"HTTP/1.1 200 OK\r\n", piece=b"X-More: x\r\n"),
    Endless(
        head=b"HTTP/1.1 503 Not Now\r\nTransfer-Encoding: chunked\r\n\r\n", piece=b"1\r\nx\r\n"
    ),
]


@pytest.mark.parametrize("endless", ENDLESS, ids=["body", "head", "chunks"])
async def test_an_answer_that_is_dripped_ends_with_the_time_of_its_request(
    endless: Endless,
) -> None:
    async with (
        endless.listen(),
        AsyncClient("tensorslab", endless.url, "k", timeout=0.5, connections=1) as client,
    ):
        began = time.monotonic()
        with pytest.raises(SubmissionUnknown, match=r"did not answer within|did not answer \("):
            await client.submit(SUBMIT)
        with pytest.raises(Unreachable, match="did not answer"):
            await client.fetch(ID)
        assert time.monotonic() - began < 5

        # Its connection is closed, and its place is another's.
        await until(lambda: endless.left == 2)
        endless.choose = lambda head: whole(DONE.content)
        assert (await client.fetch(ID)).status is Status.SUCCEEDED
    assert len(endless.asked) == 3


async def test_an_answer_is_read_no_further_than_it_may_go(no_haste: list[float]) -> None:
    endless = Endless(piece=b" " * 65536, pause=0)
    async with (
        endless.listen(),
        AsyncClient("tensorslab", endless.url, "k", max_answer=1_000_000) as client,
    ):
        with pytest.raises(SubmissionUnknown, match="more than 1000000 bytes"):
            await client.submit(SUBMIT)
        with pytest.raises(Upstream, match="more than 1000000 bytes"):
            await client.fetch(ID)

    assert len(endless.asked) == 2
    assert endless.sent < 40_000_000  # what the system's buffers took


async def test_what_unpacks_to_more_than_it_may_have_is_not_unpacked() -> None:
    bomb = gzip.compress(b" " * 20_000_000)
    for encoding, problem in (("gzip", "more than"), ("gzip, gzip", "content encoding")):
        packed = httpx.Response(200, content=Parts(bomb), headers={"content-encoding": encoding})
        server = Server(packed)
        async with server.client(max_answer=1_000_000) as client:
            with pytest.raises(SubmissionUnknown, match=problem):
                await client.submit(SUBMIT)
        assert server.requests[0].headers["accept-encoding"] == "identity"


class Parts(httpx.AsyncByteStream):
    """A body that comes in parts."""

    def __init__(self, *parts: bytes) -> None:
        self._parts = parts

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            yield part


async def test_what_is_uploaded_has_the_time_that_a_slow_line_takes() -> None:
    slow = Endless()
    slow.delay, slow.choose = 1.5, lambda head: whole(accepted().content)
    async with (
        slow.listen(),
        AsyncClient("tensorslab", slow.url, "k", timeout=0.5) as client,
    ):
        source = Source(data=bytes(2**20), name="a.png")
        task = await client.submit(SUBMIT, sources=(source,))

    assert task.id == ID


def test_an_exception_does_not_outlive_its_answer() -> None:
    async def ask(client: AsyncClient) -> Answered:
        answered = Answered()
        for act in (client.submit(SUBMIT), client.fetch(ID), client.wait(ID, timeout=0)):
            try:
                await act
            except Fault as fault:
                answered.hang_on(fault)
        return answered

    async def run() -> None:
        for answer in (httpx.ReadError("reset"), httpx.Response(200, content=b"x"), refusal(400)):
            async with Server(answer).client() as client:
                answered = await ask(client)
            assert answered.count == 3
            assert answered.left() == []

    gc.collect()
    gc.disable()
    try:
        asyncio.run(run())
    finally:
        gc.enable()


class Answered:
    """Exceptions that were raised, as far as they are still there."""

    def __init__(self) -> None:
        self._kept: list[weakref.ref[BaseException]] = []

    @property
    def count(self) -> int:
        return len(self._kept)

    def hang_on(self, problem: BaseException) -> None:
        self._kept.append(weakref.ref(problem))

    def left(self) -> list[BaseException | None]:
        return [kept() for kept in self._kept if kept() is not None]


# ---------------------------------------------------------------------------------------- keys


async def test_a_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(RUNS)
    monkeypatch.setenv("TENSORSLAB_API_KEY", "sk-from-there")
    async with server.client(key=None) as client:
        await client.fetch(ID)

    assert server.requests[0].headers["authorization"] == "Bearer sk-from-there"


async def test_without_a_key_nothing_is_sent() -> None:
    for dialect, key in (("tensorslab", None), ("tensorslab", ""), ("tencent", "alone")):
        server = Server(RUNS)
        async with server.client(dialect, key=key) as client:
            with pytest.raises(Unauthenticated, match=r"no key: set [A-Z]") as told:
                await client.fetch(ID)
        assert told.value.reason == "missing"
        assert server.requests == []


async def test_tencents_pair_is_an_id_and_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = named("tencent").key_variables[0], named("tencent").key_variables[-1]
    server = Server(httpx.Response(200, json={"Response": {"RequestId": "x", "TaskId": ID}}))

    async def credential(key: Any) -> str:
        async with server.client("tencent", key=key) as client:
            with pytest.raises(Exception, match=r".*"):
                await client.fetch(ID)
                raise AssertionError
        return server.requests[-1].headers["authorization"].partition("/")[0]

    assert (await credential(Key(id="AKID1", secret="s"))).endswith("Credential=AKID1")
    assert (await credential("AKID2:s")).endswith("Credential=AKID2")
    monkeypatch.setenv(first, "AKID3")
    monkeypatch.setenv(second, "s")
    assert (await credential(None)).endswith("Credential=AKID3")


async def test_a_secret_is_in_no_message() -> None:
    for answer in (httpx.ReadError("reset"), httpx.Response(200, content=b"<html>"), refusal(401)):
        async with Server(answer).client() as client:
            with pytest.raises(Exception, match=r".*") as told:
                await client.fetch(ID)
        assert "sk-secret" not in str(told.value)


# ---------------------------------------------------------------------------------------- wait


async def test_a_wait_ends_with_the_task_whatever_the_end() -> None:
    for end, status in ((DONE, Status.SUCCEEDED), (state(4, error_message="x"), Status.FAILED)):
        server = Server(state(1), RUNS, RUNS, end)
        async with server.client() as client:
            task = await client.wait(ID)
        assert task.status is status
        assert len(server.requests) == 4


async def test_every_change_is_told_once() -> None:
    server = Server(state(1), state(1), RUNS, state(2, width=5), DONE)
    seen: list[Status] = []
    async with server.client() as client:
        await client.wait(ID, on_progress=lambda task: seen.append(task.status))

    assert seen == [Status.QUEUED, Status.RUNNING, Status.SUCCEEDED]


async def test_a_word_that_nobody_knows_is_no_end() -> None:
    server = Server(state("almost"), state(None), state(99), DONE)
    async with server.client() as client:
        assert (await client.wait(ID)).status is Status.SUCCEEDED


async def test_a_task_is_asked_for_in_its_own_kind() -> None:
    film = httpx.Response(
        200, json={"code": 1000, "data": {"taskid": ID, "task_status": 3, "url": ["http://f"]}}
    )
    server = Server(film)
    async with server.client() as client:
        await client.wait(Task(id=ID, status=Status.QUEUED, submit=Submit(kind=Kind.VIDEO)))
        await client.wait(ID, kind=Kind.VIDEO)
        await client.fetch(ID, Kind.VIDEO)

    assert {request.url.path for request in server.requests} == {"/v1/video/infobytaskid"}


PASSING = [
    httpx.ConnectError("refused"),
    httpx.ReadTimeout("slow"),
    httpx.RemoteProtocolError("nonsense"),
    httpx.DecodingError("bad gzip"),
    refusal(429),
    refusal(500),
    refusal(503),
    httpx.Response(502, content=b"<html>"),
    httpx.Response(200, content=b"not json"),
    httpx.Response(200, json={"code": 1000}),
    httpx.Response(200, json={"code": "1000", "data": []}),
    httpx.Response(302, headers={"location": "http://elsewhere"}),
]


@pytest.mark.parametrize("answer", PASSING, ids=repr)
async def test_trouble_is_waited_out(answer: Any, no_haste: list[float]) -> None:
    server = Server(RUNS, answer, answer, DONE)
    async with server.client() as client:
        assert (await client.wait(ID)).status is Status.SUCCEEDED

    assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (refusal(404), NotFound),
        (refusal(401), Unauthenticated),
        (refusal(400), BadRequest),
        (refusal(200), BadRequest),
    ],
)
async def test_what_will_not_pass_stops_the_wait_at_once(
    answer: httpx.Response, fault: type[Exception]
) -> None:
    server = Server(RUNS, answer)
    async with server.client() as client:
        with pytest.raises(fault):
            await client.wait(ID)

    assert len(server.requests) == 2


UNKNOWN = refusal(404)


async def test_a_task_that_was_just_submitted_need_not_be_known_yet() -> None:
    server = Server(accepted(), UNKNOWN, UNKNOWN, RUNS, UNKNOWN, DONE)
    async with server.client() as client:
        task = await client.submit(SUBMIT)
        assert (await client.wait(task)).status is Status.SUCCEEDED

    assert len(server.requests) == 6


async def test_a_task_that_stays_unknown_is_told_after_the_grace() -> None:
    server = Server(accepted(), UNKNOWN)
    async with server.client(grace=0.3) as client:
        task = await client.submit(SUBMIT)
        began = time.monotonic()
        with pytest.raises(NotFound):
            await client.wait(task)
        assert time.monotonic() - began >= 0.2
        with pytest.raises(NotFound):
            await client.fetch(task)
        asked = len(server.requests)
        with pytest.raises(NotFound):
            await client.wait(task)

    assert len(server.requests) == asked + 1  # its time is up


async def test_a_task_of_anothers_is_unknown_at_once() -> None:
    server = Server(accepted(), UNKNOWN)
    async with server.client() as client:
        await client.submit(SUBMIT)
        with pytest.raises(NotFound):
            await client.wait("1" * 24)
        with pytest.raises(NotFound):
            await client.fetch(ID)  # a fetch tells what it is told

    assert len(server.requests) == 3


async def test_only_so_many_submissions_are_remembered() -> None:
    numbers = iter(range(20_000))
    server = Server(lambda request: accepted(f"{next(numbers):024x}"))
    async with server.client(grace=0.0) as client:
        await client.submit(SUBMIT)
        await client.submit(SUBMIT)
        assert len(client._own) <= 1
    async with server.client() as client:
        for number in range(10_050):
            client._remember(str(number))
        assert len(client._own) == 10_000
        assert "10049" in client._own


@pytest.mark.parametrize("dialect", ["tensorslab", "aigptimage", "kie", "aitoearn", "tencent"])
async def test_each_service_may_take_its_time_to_know_a_task(
    dialect: str,
) -> None:
    script = {"queries": [{"answer": "not_found", "within": 0.5}]}
    key = Key(id="AKID", secret="s")
    async with Fake.run(dialect, script) as fake:
        async with AsyncClient(dialect, fake.url, key, pace=0.05, per_second=100) as client:
            task = await client.submit(model=MODELS.get(dialect, "gpt-image-2"), prompt="a")
            assert (await client.wait(task, 20)).status is Status.SUCCEEDED
            other = await client.submit(model=MODELS.get(dialect, "gpt-image-2"), prompt="a")
        async with AsyncClient(dialect, fake.url, key) as stranger:
            with pytest.raises(NotFound):
                await stranger.wait(other, 20)
        assert fake.counts().answers["not_found"] >= 2


MODELS = {"tensorslab": "seedreamv4", "tencent": "Hunyuan"}


async def test_a_wait_that_is_too_long_says_by_which_id_to_go_on() -> None:
    server = Server(RUNS)
    async with server.client() as client:
        with pytest.raises(StillRunning) as told:
            await client.wait(ID, timeout=0.05)
        assert told.value.task_id == ID
        assert ID in told.value.message
        server.answers = [DONE]
        assert (await client.wait(told.value.task_id)).status is Status.SUCCEEDED


async def test_a_timeout_of_somebody_elses_is_not_ours() -> None:
    def broken(task: Task) -> None:
        raise TimeoutError("in the caller's own")

    async with Server(RUNS).client() as client:
        with pytest.raises(TimeoutError, match="own"):
            await client.wait(ID, on_progress=broken)


async def test_a_request_that_hangs_does_not_outlast_the_wait() -> None:
    class Hanging(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await asyncio.sleep(60)
            raise AssertionError

    async with AsyncClient("tensorslab", "http://x", "k", transport=Hanging()) as client:
        with pytest.raises(StillRunning):
            await client.wait(ID, timeout=0.05)


# --------------------------------------------------------------------------------------- pacing


async def test_pauses_grow_up_to_a_bound(no_haste: list[float]) -> None:
    server = Server(*[RUNS] * 30, DONE)
    async with server.client(pace=1.0) as client:
        await client.wait(ID, timeout=None)

    assert len(no_haste) == 30
    assert 0.8 <= no_haste[0] <= 1.2
    assert 0.8 * 1.25**4 <= no_haste[4] <= 1.2 * 1.25**4
    assert all(8 <= pause <= 12 for pause in no_haste[-5:])
    assert len({round(pause, 6) for pause in no_haste[-5:]}) > 1  # out of step


async def test_a_pace_that_is_slower_than_the_bound_is_kept(no_haste: list[float]) -> None:
    server = Server(*[RUNS] * 5, DONE)
    async with server.client(pace=60.0) as client:
        await client.wait(ID, timeout=None)

    assert all(48 <= pause <= 72 for pause in no_haste)


async def test_after_trouble_pauses_double_and_start_anew(no_haste: list[float]) -> None:
    server = Server(*[refusal(503)] * 8, RUNS, refusal(503), DONE)
    async with server.client(pace=1.0) as client:
        await client.wait(ID, timeout=None)

    for n, pause in enumerate(no_haste[:8]):
        backoff = min(30, 2**n)
        assert 0.8 * backoff <= pause <= 1.2 * backoff
    assert no_haste[9] <= 1.2


@pytest.mark.parametrize(("asked", "least"), [("7", 7), ("0.5", 0.8), ("soon", 0.8), ("-5", 0.8)])
async def test_a_service_that_asks_for_a_pause_gets_it(
    no_haste: list[float], asked: str, least: float
) -> None:
    server = Server(refusal(429, retry_after=asked), DONE)
    async with server.client(pace=1.0) as client:
        await client.wait(ID, timeout=None)

    (pause,) = no_haste
    assert least <= pause <= max(least, 1.2)


async def test_many_waits_share_one_rate() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        # Each task is done when it is asked for the second time.
        id = json.loads(request.content)["taskid"]
        seen = sum(id.encode() in earlier.content for earlier in server.requests)
        return state(3 if seen > 1 else 2)

    server = Server(answer)
    async with server.client(per_second=100) as client:
        await asyncio.gather(*(client.wait(f"{n:024x}") for n in range(25)))

    assert len(server.requests) == 50
    # 49 turns after the first. That may have been late, and its request later than the others: it
    # opens the client.
    assert server.times[-1] - server.times[0] >= 0.4


async def test_waits_that_are_given_up_keep_no_turns() -> None:
    server = Server(RUNS)
    async with server.client(per_second=20) as client:
        waits = [asyncio.create_task(client.wait(ID, timeout=None)) for _ in range(100)]
        await asyncio.sleep(0.5)
        for wait in waits:
            wait.cancel()
        await asyncio.wait(waits)
        assert len(server.requests) <= 30
        server.answers = [DONE]
        began = time.monotonic()
        assert (await client.wait(ID, timeout=2)).status is Status.SUCCEEDED

    assert time.monotonic() - began < 1  # and not after five seconds of other waits' turns


@pytest.mark.parametrize("seconds", [0, 0.001, 0.3])
async def test_every_wait_asks_once_however_scarce_turns_and_time_are(seconds: float) -> None:
    asked = []

    async def answer(request: httpx.Request) -> httpx.Response:
        asked.append(id := json.loads(request.content)["taskid"])
        await asyncio.sleep(0.2)
        return DONE if id == ID else RUNS

    async with AsyncClient(
        "tensorslab", "http://x", "k", per_second=0.1, transport=httpx.MockTransport(answer)
    ) as client:
        others = [asyncio.create_task(client.wait(f"{n:024x}", timeout=0)) for n in range(1, 9)]
        assert (await client.wait(ID, timeout=seconds)).status is Status.SUCCEEDED
        ended = await asyncio.gather(*others, return_exceptions=True)

    assert all(isinstance(end, StillRunning) for end in ended)
    assert len(asked) == len(set(asked)) == 9


async def test_the_rate_is_the_dialects_where_none_is_given(no_haste: list[float]) -> None:
    server = Server(RUNS)
    transport = httpx.MockTransport(server)
    dialect = named("tensorslab")
    async with AsyncClient(dialect, "http://x", "k", pace=0.0, transport=transport) as client:
        tasks = [asyncio.create_task(client.wait(ID)) for _ in range(3)]
        while len(no_haste) < 2:  # noqa: ASYNC110 - until two have had to wait
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    waits = [pause for pause in no_haste if pause]
    assert waits[0] == pytest.approx(1 / dialect.polls_per_second, abs=0.05)


# ------------------------------------------------------------------------------------- download


def done(*urls: str, id: str = ID) -> Task:
    return Task(id=id, status=Status.SUCCEEDED, artifacts=tuple(Artifact(url=url) for url in urls))


def png(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, content=picture(), headers={"content-type": "image/png"})


async def test_files_are_saved_by_the_id_and_their_type(tmp_path: Path) -> None:
    server = Server(png)
    async with server.client() as client:
        paths = await client.download(done("http://files/a", "http://files/b.jpg?x=1"), tmp_path)

    assert [path.name for path in paths] == [f"{ID}-0.png", f"{ID}-1.png"]
    assert all(path.read_bytes() == picture() for path in paths)
    assert names_in(tmp_path) == [f"{ID}-0.png", f"{ID}-1.png"]


async def test_the_key_does_not_go_to_where_the_files_are(tmp_path: Path) -> None:
    moved = httpx.Response(302, headers={"location": "http://elsewhere/a.png"})
    server = Server(moved, png)
    async with server.client() as client:
        await client.download(done("http://server/a.png"), tmp_path)

    assert [request.url.host for request in server.requests] == ["server", "elsewhere"]
    for request in server.requests:
        assert "authorization" not in request.headers
        assert "x-api-key" not in request.headers
        assert b"sk-secret" not in request.content


@pytest.mark.parametrize(
    ("media_type", "path", "suffix"),
    [
        ("video/mp4; charset=x", "/a", ".mp4"),
        ("application/octet-stream", "/a.webp", ".webp"),
        ("", "/a.webp", ".webp"),
        ("application/octet-stream", "/a", ""),
        ("application/octet-stream", "/a.%2e%2e%2fx", ""),
        ("nobody/knows", "/a.b/c", ""),
        ("", f"/a.{'x' * 300}", ""),
    ],
)
async def test_a_suffix_is_the_types_or_the_addresss(
    tmp_path: Path, media_type: str, path: str, suffix: str
) -> None:
    server = Server(httpx.Response(200, content=b"x", headers={"content-type": media_type}))
    async with server.client() as client:
        (saved,) = await client.download(done(f"http://files{path}"), tmp_path)

    assert saved == tmp_path / f"{ID}-0{suffix}"


@pytest.mark.parametrize("id", ["../../evil", "/etc/passwd", "a/b", "..", "a\x00b"])
async def test_an_id_is_no_path(tmp_path: Path, id: str) -> None:
    async with Server(png).client() as client:
        (saved,) = await client.download(done("http://files/a", id=id), tmp_path / "out")

    assert saved.parent == tmp_path / "out"
    assert names_in(tmp_path) == ["out"]


@pytest.mark.parametrize(
    "trouble",
    [
        httpx.ReadError("reset"),
        httpx.ConnectError("refused"),
        httpx.Response(503),
        httpx.Response(429),
        httpx.Response(403),
    ],
    ids=repr,
)
async def test_a_download_is_tried_again(
    tmp_path: Path, trouble: Any, no_haste: list[float]
) -> None:
    server = Server(trouble, trouble, png)
    async with server.client() as client:
        (saved,) = await client.download(done("http://files/a"), tmp_path)

    assert saved.read_bytes() == picture()
    assert len(no_haste) == 2


async def test_a_download_is_not_tried_for_ever(tmp_path: Path, no_haste: list[float]) -> None:
    server = Server(httpx.ReadError("reset"))
    async with server.client() as client:
        with pytest.raises(Unreachable):
            await client.download(done("http://files/a"), tmp_path)

    assert len(server.requests) == 4
    assert names_in(tmp_path) == []


async def test_a_file_that_is_gone_is_told_at_once(tmp_path: Path) -> None:
    for status in (404, 410):
        server = Server(httpx.Response(status))
        async with server.client() as client:
            with pytest.raises(NotFound):
                await client.download(done("http://files/a"), tmp_path)
        assert len(server.requests) == 1


async def test_redirects_without_an_end_are_told(tmp_path: Path, no_haste: list[float]) -> None:
    server = Server(httpx.Response(302, headers={"location": "http://files/a"}))
    async with server.client() as client:
        with pytest.raises(Unreachable):
            await client.download(done("http://files/a"), tmp_path)


async def test_a_file_that_breaks_off_has_no_name(tmp_path: Path, no_haste: list[float]) -> None:
    class Half(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"half"
            names.append(names_in(tmp_path))
            raise httpx.ReadError("reset")

    names: list[list[str]] = []
    server = Server(lambda request: httpx.Response(200, stream=Half()))
    async with server.client() as client:
        with pytest.raises(Unreachable, match="whole"):
            await client.download(done("http://files/a.png"), tmp_path)

    assert names == [[f"{ID}-0.part"]] * 4
    assert names_in(tmp_path) == []


async def test_a_download_that_is_cancelled_leaves_nothing(tmp_path: Path) -> None:
    began = asyncio.Event()

    class Slow(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"half"
            began.set()
            await asyncio.sleep(60)

    server = Server(lambda request: httpx.Response(200, stream=Slow()))
    async with server.client() as client:
        saving = asyncio.create_task(client.download(done("http://files/a.png"), tmp_path))
        await began.wait()
        saving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await saving

    assert names_in(tmp_path) == []


async def test_a_file_that_is_dripped_ends_with_its_time(tmp_path: Path) -> None:
    endless = Endless()
    async with (
        endless.listen(),
        AsyncClient("tensorslab", endless.url, "k", download_timeout=0.5) as client,
    ):
        began = time.monotonic()
        with pytest.raises(Unreachable, match=r"within 0\.5 seconds"):
            await client.download(done(f"{endless.url}/a.png"), tmp_path)
        await until(lambda: endless.left == 1)

    assert time.monotonic() - began < 5
    assert names_in(tmp_path) == []


async def test_a_file_has_no_more_bytes_than_it_may(tmp_path: Path) -> None:
    endless = Endless(piece=b"x" * 65536, pause=0)
    async with (
        endless.listen(),
        AsyncClient("tensorslab", endless.url, "k", max_file=1_000_000) as client,
    ):
        with pytest.raises(TooLarge, match="1000000 bytes"):
            await client.download(done(f"{endless.url}/a.png"), tmp_path)

    assert len(endless.asked) == 1  # it would be as large the next time
    assert names_in(tmp_path) == []


async def test_the_body_of_a_redirect_is_not_read(tmp_path: Path) -> None:
    endless = Endless(
        head=b"HTTP/1.1 302 Found\r\nLocation: /a.png\r\nContent-Length: 1000000000\r\n\r\n"
    )
    endless.choose = lambda head: whole(picture()) if "GET /a.png" in head else None
    async with (
        endless.listen(),
        AsyncClient("tensorslab", endless.url, "k", download_timeout=20) as client,
    ):
        (saved,) = await client.download(done(f"{endless.url}/first"), tmp_path)

    assert saved.read_bytes() == picture()


async def test_a_file_in_the_answer_itself_is_saved(tmp_path: Path) -> None:
    async with Server(png).client() as client:
        (saved,) = await client.download(done("data:image/png;base64,eHl6"), tmp_path)
        assert (saved.name, saved.read_bytes()) == (f"{ID}-0.png", b"xyz")
        with pytest.raises(Upstream):
            await client.download(done("data:image/png;base64,!"), tmp_path)


async def test_a_success_without_files_is_nonsense(tmp_path: Path) -> None:
    async with Server(png).client() as client:
        with pytest.raises(Upstream, match="no file"):
            await client.download(done(), tmp_path)
        assert await client.download(Task(id=ID, status=Status.RUNNING), tmp_path) == []


# ------------------------------------------------------------------------------- the other words


async def test_delete_tells_what_is_gone() -> None:
    server = Server(httpx.Response(200, json={"code": 1000, "data": {"status": "Success"}}))
    async with server.client() as client:
        assert await client.delete(ID, Task(id="1" * 24, status=Status.FAILED)) == (ID, "1" * 24)
        assert await client.delete(ID, kind=Kind.VIDEO) == (ID,)

    assert [request.url.path for request in server.requests] == [
        "/v1/images/deleteimagestask",
        "/v1/video/deletevideotask",
    ]


async def test_a_task_is_cancelled_listed_and_deleted_over_the_app(
    start_app: StartApp,
) -> None:
    serving = await start_app(start=False)
    # The dialects that have these words, each asked for what it can.
    done_by = set()
    for dialect in serving.app.dialects:
        async with serving.client(dialect.name) as client:
            for word in ("list", "models", "cancel"):
                id = await serving.create()
                try:
                    if word == "list":
                        assert (await client.list(limit=5)).tasks
                    elif word == "models":
                        assert (await client.models()).models
                    else:
                        await client.cancel(id)
                        assert (await serving.task(id)).status is Status.CANCELED
                except Unsupported:
                    continue
                done_by.add(word)

    assert {"list", "models"} <= done_by


async def test_the_ways_of_all_dialects_lead_through_the_app(serving: Serving) -> None:
    id = await serving.create()
    await serving.ended(id)
    for dialect in serving.app.dialects:
        async with serving.client(dialect.name) as client:
            assert (await client.wait(id, 5, kind=Kind.IMAGE)).status is Status.SUCCEEDED
            with pytest.raises(NotFound):
                await client.wait(ID, 5)


# ------------------------------------------------------------------------------- the sync face


@contextmanager
def sync(server: Server, **options: Any) -> Iterator[Client]:
    asked = {"pace": 0.001, "per_second": math.inf, **options}
    transport = httpx.MockTransport(server)
    with Client("tensorslab", "http://server", "sk-secret", transport=transport, **asked) as client:
        yield client


def test_the_sync_face_has_the_same_words(tmp_path: Path) -> None:
    deleted = httpx.Response(200, json={"code": 1000, "data": {"status": "Success"}})
    server = Server(accepted(), RUNS, DONE, png, deleted)
    seen: list[Status] = []
    with sync(server) as client:
        task = client.submit(model="seedreamv4", prompt="a")
        assert client.fetch(task).status is Status.RUNNING
        ended = client.wait(task, on_progress=lambda state: seen.append(state.status))
        (saved,) = client.download(ended, tmp_path)
        assert client.delete(task) == (ID,)
        for word in (client.list, client.models, lambda: client.cancel(ID)):
            with pytest.raises(Unsupported):
                word()

    assert saved.read_bytes() == picture()
    assert seen == [Status.SUCCEEDED]


def test_faults_come_through_the_sync_face() -> None:
    with sync(Server(httpx.ReadError("reset"))) as client, pytest.raises(SubmissionUnknown):
        client.submit(SUBMIT)
    with sync(Server(RUNS)) as client, pytest.raises(StillRunning):
        client.wait(ID, timeout=0.05)


def test_a_sync_client_ends_its_thread_and_may_be_closed_twice() -> None:
    threads = threading.active_count()
    client = Client("tensorslab", "http://server", "k", transport=httpx.MockTransport(Server(RUNS)))
    assert client.fetch(ID).id == ID
    client.close()
    client.close()

    assert threading.active_count() == threads


def test_a_client_of_no_dialect_leaves_no_thread() -> None:
    threads = threading.active_count()

    with pytest.raises(LookupError, match="esperanto"):
        Client("esperanto")

    assert threading.active_count() == threads


def test_an_interrupted_wait_does_not_go_on() -> None:
    server = Server(RUNS)

    def interrupt() -> None:
        while len(server.requests) < 3:
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    with sync(server) as client:
        interrupting = threading.Thread(target=interrupt)
        interrupting.start()
        with pytest.raises(KeyboardInterrupt):
            client.wait(ID, timeout=None)
        interrupting.join()
        client.fetch(ID)  # whatever was under way is through
        asked = len(server.requests)
        time.sleep(0.05)  # time for dozens of polls, were they still made

        assert len(server.requests) == asked


def test_many_threads_may_share_one_client() -> None:
    server = Server(RUNS)
    with sync(server) as client:
        threads = [threading.Thread(target=client.fetch, args=(ID,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert len(server.requests) == 8


def test_an_address_may_carry_a_path_and_a_password() -> None:
    server = Server(RUNS)
    transport = httpx.MockTransport(server)
    with Client("tensorslab", "http://u:p@server/base/", "k", transport=transport) as client:
        client.fetch(ID)

    (request,) = server.requests
    assert request.url.path == "/base/v1/images/infobytaskid"
    assert request.headers["host"] == "server"
