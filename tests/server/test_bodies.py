"""Bodies under way are bounded: each in time, all together in size, and each caller in his part."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Iterator
from typing import Any

import pytest

from doubles import Serving, StartApp, longest_holdup, picture, resident
from safelight.errors import BadRequest, TooLarge, Unavailable
from safelight.server import bodies
from safelight.server.bodies import Bodies, Room
from safelight.server.running import give_memory_back
from safelight.wire import Part, Request, write_form

MEGABYTE = 2**20
CREATE, ASK = "/v1/images/seedreamv4", "/v1/images/infobytaskid"


def head(length: int | None) -> Request:
    framing = (
        ("transfer-encoding", "chunked") if length is None else ("content-length", str(length))
    )
    return Request(method="POST", path="/", headers=(framing,))


class Sender:
    """What a caller sends, message by message; then nothing more comes."""

    def __init__(self, *chunks: bytes, ends: bool = True) -> None:
        self._left = list(chunks)
        self._ends = ends
        self.asked = 0

    async def __call__(self) -> dict[str, Any]:
        self.asked += 1
        if not self._left:
            await asyncio.get_running_loop().create_future()
        chunk = self._left.pop(0)
        more = bool(self._left) or not self._ends
        return {"type": "http.request", "body": chunk, "more_body": more}


def announce(all_bodies: Bodies, size: int | None, who: str = "a") -> Room:
    return all_bodies.room(who, head(size))


async def test_what_is_taken_is_given_back() -> None:
    all_bodies = Bodies(100, 5)

    for size in (50, 50, None, 50):
        room = announce(all_bodies, size)
        assert len(await room.receive(Sender(b"x" * 20, b"x" * 30), 50)) == 50
        room.leave()
        room.leave()


async def test_one_caller_has_half_and_others_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "_WAIT_SECONDS", 0.05)
    all_bodies = Bodies(100, 5)
    first = announce(all_bodies, 40)
    await first.receive(Sender(b"x" * 40), 50)

    with pytest.raises(Unavailable) as told:
        await announce(all_bodies, 11).receive(Sender(b"x" * 11), 50)
    await announce(all_bodies, 10).receive(Sender(b"x" * 10), 50)
    await announce(all_bodies, 50, "b").receive(Sender(b"x" * 50), 50)

    assert told.value.retry_after == 0.05
    with pytest.raises(Unavailable):
        await announce(all_bodies, 1, "c").receive(Sender(b"x"), 50)


async def test_who_waits_for_room_gets_it_when_it_is_given_back() -> None:
    all_bodies = Bodies(100, 5)
    rooms = [announce(all_bodies, 50, who) for who in "ab"]
    for room in rooms:
        await room.receive(Sender(b"x" * 50), 50)
    sender = Sender(b"x" * 30)
    waiting = asyncio.ensure_future(announce(all_bodies, 30, "c").receive(sender, 50))
    await asyncio.sleep(0)
    assert sender.asked == 0  # nothing is received before there is room

    rooms[0].leave()

    assert len(await waiting) == 30


async def test_who_gives_up_waiting_leaves_no_trace() -> None:
    all_bodies = Bodies(100, 5)
    rooms = [announce(all_bodies, 50, who) for who in "ab"]
    for room in rooms:
        await room.receive(Sender(b"x" * 50), 50)
    room = announce(all_bodies, 50, "c")
    waiting = asyncio.ensure_future(room.receive(Sender(b"x" * 50), 50))
    await asyncio.sleep(0)

    rooms[0].leave()  # he is given his room, and goes away before he knows
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    room.leave()

    await announce(all_bodies, 50, "d").receive(Sender(b"x" * 50), 50)


async def test_not_everybody_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "_MOST_WAITING", 1)
    all_bodies = Bodies(100, 5)
    await announce(all_bodies, 50).receive(Sender(b"x" * 50), 50)
    waiting = asyncio.ensure_future(announce(all_bodies, 1).receive(Sender(b"x"), 50))
    await asyncio.sleep(0)

    with pytest.raises(Unavailable):
        await announce(all_bodies, 1).receive(Sender(b"x"), 50)

    waiting.cancel()


async def test_a_body_of_unknown_length_takes_more_room_as_it_grows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bodies, "_WAIT_SECONDS", 0.05)
    monkeypatch.setattr(bodies, "_STEP", 10)
    all_bodies = Bodies(100, 5)
    room = announce(all_bodies, None)

    assert len(await room.receive(Sender(*[b"x" * 7] * 6), 50)) == 42
    assert room.size == 50
    with pytest.raises(Unavailable):
        await announce(all_bodies, None).receive(Sender(b"x"), 50)
    room.leave()
    with pytest.raises(TooLarge):
        await announce(all_bodies, None).receive(Sender(*[b"x" * 7] * 8), 50)


async def test_a_body_that_takes_too_long_is_given_up() -> None:
    all_bodies = Bodies(100, 0.05)
    room = announce(all_bodies, 20)

    with pytest.raises(BadRequest, match=r"did not arrive within 0\.05 seconds"):
        await room.receive(Sender(b"x", ends=False), 50)

    assert room.unread


# ------------------------------------------------------------------------------ on a whole server


@pytest.fixture
def without_collector() -> Iterator[None]:
    give_memory_back()  # as the server has it: else what was sent is free, and still resident
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def large_forms(serving: Serving) -> Iterator[tuple[str, dict[str, Any]]]:
    """Requests with large bodies that are refused, each after another part of the way."""
    file = {"sourceImage": ("a.png", bytes(8 * MEGABYTE))}
    wrong = {"sourceImage": ("a.png", picture() + bytes(8 * MEGABYTE))}
    key = {"authorization": f"Bearer {serving.key.secret}"}
    yield CREATE, {"data": {"prompt": "a"}, "files": file, "status": 401}
    yield CREATE, {"data": {"prompt": "a"}, "files": file, "headers": key}
    yield CREATE, {"data": {"prompt": "a", "seed": "x"}, "files": wrong, "headers": key}
    yield CREATE, {"content": b"x" * 8 * MEGABYTE, "headers": key}
    part = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n'
    form = {**key, "content-type": "multipart/form-data; boundary=x"}
    yield CREATE, {"content": part * (8 * MEGABYTE // len(part)), "headers": form}
    conflict = {**key, "idempotency-key": "one"}
    yield CREATE, {"data": {"prompt": "another"}, "files": wrong, "headers": conflict}
    edit = b'{"model": "m", "prompt": "p", "image": "data:image/png;base64,%b"}'
    headers = {"x-api-key": serving.key.secret, "content-type": "application/json"}
    yield (
        "/api/ai/image/edit/async",
        {"content": edit % (b"A" * 8 * MEGABYTE), "headers": headers},
    )


@pytest.mark.usefixtures("without_collector")
async def test_what_is_refused_is_forgotten_with_all_that_was_sent(serving: Serving) -> None:
    await serving.post(CREATE, data={"prompt": "one"}, headers={"idempotency-key": "one"})
    for path, request in large_forms(serving):
        status = request.pop("status", 200)
        before = 0
        for number in range(12):
            if number == 2:
                before = resident()
            answer = await serving.http.post(path, **request)
            assert answer.status_code == status, answer.text
            assert answer.json()["code"] not in (0, 1000)
        # Ten bodies of 8 MB were kept, each until the collector came by.
        assert resident() - before < 40 * MEGABYTE, (path, answer.text)


@pytest.mark.usefixtures("without_collector")
async def test_an_upload_that_breaks_off_is_forgotten(serving: Serving) -> None:
    key = (b"authorization", f"Bearer {serving.key.secret}".encode())
    scope = {
        "type": "http",
        "method": "POST",
        "path": CREATE,
        "query_string": b"",
        "headers": [key, (b"content-length", b"50000000")],
    }

    async def break_off() -> None:
        left = [{"type": "http.request", "body": bytes(8 * MEGABYTE), "more_body": True}]

        async def receive() -> dict[str, Any]:
            return left.pop() if left else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            pass

        await serving.app.asgi(scope, receive, send)

    await break_off()
    before = resident()
    for _ in range(10):
        await break_off()

    assert resident() - before < 40 * MEGABYTE


LISTS = b"[" + b"[]," * (20 * MEGABYTE) + b"[]]"


async def test_what_is_sent_to_be_read_holds_nobody_up(serving: Serving) -> None:
    key = {"authorization": f"Bearer {serving.key.secret}"}
    edit = {"x-api-key": serving.key.secret, "content-type": "application/json"}
    blanks = b'{"model":"m","prompt":"p","image":"data:image/png;base64,' + b"A " * (15 * MEGABYTE)
    signs = b'{"model":"m","prompt":"p","image":"data:' + b";" * (30 * MEGABYTE) + b',"}'
    digits = "1" * 48_000 + "x"
    form = {**key, "content-type": "application/x-www-form-urlencoded"}
    attacks: list[tuple[str, dict[str, Any]]] = [
        (ASK, {"content": LISTS, "headers": key}),
        (ASK, {"content": LISTS[:MEGABYTE], "headers": key}),
        ("/api/ai/image/edit/async", {"content": LISTS, "headers": edit}),
        ("/api/ai/image/edit/async", {"content": blanks + b'"}', "headers": edit}),
        ("/api/ai/image/edit/async", {"content": signs, "headers": edit}),
        (CREATE, {"content": b"prompt=" + b"%" * (8 * MEGABYTE), "headers": form}),
        (CREATE, {"data": {"prompt": "a", "imageUrl": "http://a," * 900_000}, "headers": key}),
        (ASK, {"json": {"taskid": "x" * 1_000_000}, "headers": key}),
        (ASK, {"json": {"taskid": "a-" * 500_000}, "headers": key}),
        ("/v1/images/deleteimagestask", {"json": {"taskids": ["1"] * 200_000}, "headers": key}),
        ("/v1/video/seedancev2", {"data": {"prompt": "a", "duration": digits}, "headers": key}),
    ]
    before = resident()
    for path, request in attacks:
        content = request.get("content")
        async with longest_holdup() as seen:
            answer = await serving.http.post(path, **request)
        assert answer.json()["code"] not in (0, 1000), path
        # Seconds, and gigabytes, as they were.
        assert seen.seconds < 1.5, (path, (content or b"")[:20])
    assert resident() - before < 300 * MEGABYTE


async def test_a_keyless_form_is_not_read(serving: Serving) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    for body in (b"%" * 200_000, b"SecretId=nobody&Action=" + b"%" * 200_000):
        async with longest_holdup() as seen:
            for _ in range(20):
                answer = await serving.http.post("/", content=body, headers=form)
                assert "AuthFailure" in answer.text or "MissingParameter" in answer.text
        assert seen.seconds < 0.4
    answer = await serving.http.post("/", content=b"a=" + b"x" * 300_000, headers=form)
    assert "RequestSizeLimitExceeded" in answer.text


async def test_a_long_text_is_refused_by_its_parameter(start_app: StartApp) -> None:
    serving = await start_app(max_text=2000)
    long = "x" * 2001
    key = {"x-api-key": serving.key.secret}
    asked = {"model": "m", "prompt": "p"}

    said = [
        (await serving.post(CREATE, data={"prompt": long})).json()["msg"],
        (await serving.post(CREATE, data={"prompt": "a", "category": long})).json()["msg"],
        (await serving.post(CREATE, data={"prompt": "a", "imageUrl": f"http://a/{long}"})).text,
        (
            await serving.http.post(
                "/api/ai/image/generate/async", json={**asked, "model": long}, headers=key
            )
        ).json()["message"],
    ]

    assert [text.partition("at most 2000 bytes")[1] != "" for text in said] == [True] * 4
    assert "prompt" in said[0]
    assert "category" in said[1]
    assert "imageUrl" in said[2]
    assert "model" in said[3]
    assert (await serving.post(CREATE, data={"prompt": "x" * 1500})).status_code == 200


async def test_a_large_upload_is_read_apart_from_the_loop(serving: Serving) -> None:
    data = picture(2000, 2000) + bytes(20 * MEGABYTE)
    content_type, body = write_form(
        [
            Part(name="prompt", data=b"a"),
            Part(name="sourceImage", data=data, filename="a.png"),
        ]
    )
    headers = {"content-type": content_type, "idempotency-key": "k"}

    async with longest_holdup() as seen:
        answers = [
            (await serving.post(CREATE, content=body, headers=headers)).content for _ in range(3)
        ]

    assert len(set(answers)) == 1
    assert json.loads(answers[0])["code"] == 1000
    assert seen.seconds < 0.5
