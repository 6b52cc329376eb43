"""Streams of events: what they tell, where they go on, and how they end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from doubles import Serving, StartApp, picture, until, write_picture
from safelight.clock import now_millis
from safelight.dialects.safelight.writing import PREFIX
from safelight.engines import Event, Job, Log, Preview, Progress
from safelight.store import scripts
from safelight.store.sqlite import connect
from safelight.task import Status, Submit


class Told(NamedTuple):
    """An event as it came."""

    name: str
    id: str
    data: Any


class Stream:
    """A stream that an app sends, as a server holds it."""

    def __init__(
        self, serving: Serving, path: str, secret: str | None = "", **headers: str
    ) -> None:
        self.status = 0
        self.pieces: list[bytes] = []
        self.gone, self.takes = asyncio.Event(), asyncio.Event()
        self.takes.set()
        if secret is not None:
            headers["authorization"] = f"Bearer {secret or serving.key.secret}"
        headers.setdefault("accept", "text/event-stream")
        path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "path": path,
            "query_string": query.encode(),
            "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()],
        }
        self.ended = asyncio.create_task(self._run(serving, scope))

    async def _run(self, serving: Serving, scope: Any) -> None:
        await serving.app.asgi(scope, self._receive, self._send)

    async def _receive(self) -> Any:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        await self.takes.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.pieces.append(message["body"])

    @property
    def events(self) -> list[Told]:
        """What has come so far."""
        found = []
        for block in b"".join(self.pieces).decode().split("\n\n"):
            lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line[1:])
            if "event" in lines:
                found.append(Told(lines["event"], lines["id"], json.loads(lines["data"])))
        return found

    @property
    def names(self) -> list[str]:
        return [event.name for event in self.events]

    async def end(self) -> list[Told]:
        """All that came, once it has ended."""
        await asyncio.wait_for(self.ended, 10)
        return self.events


class Steps:
    """An engine that does what it is told, one thing after the other."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[Event | None] = asyncio.Queue()

    async def __call__(self, job: Job) -> AsyncIterator[Event]:
        while (event := await self.told.get()) is not None:
            if isinstance(event, Preview):
                path = job.folder / "preview.jpg"
                path.write_bytes(picture())
                event = Preview(path=path)
            yield event
        yield write_picture(job)


@pytest.fixture
async def steps() -> Steps:
    return Steps()


async def submitted(serving: Serving) -> str:
    asked = Submit(model="still", prompt="a")
    task = await serving.app.service.submit(serving.key.id, "tensorslab", asked)
    await until(lambda: serving.app.worker.runs(task.id))
    return task.id


def of_task(id: str) -> str:
    return f"{PREFIX}/tasks/{id}/events"


async def test_a_stream_tells_the_task_then_each_change_and_then_its_end(
    start_app: StartApp, steps: Steps
) -> None:
    serving = await start_app(steps)
    id = await submitted(serving)
    stream = Stream(serving, of_task(id))
    await until(lambda: "snapshot" in stream.names)

    await steps.told.put(Log(text="it begins\nto be\n\nseen"))
    await until(lambda: "log" in stream.names)
    await steps.told.put(Progress(percent=40))
    await until(lambda: "progress" in stream.names)
    await steps.told.put(None)
    events = await stream.end()

    assert stream.status == 200
    assert events[0].data["id"] == id
    assert [name for name in stream.names if name != "status"] == [
        "snapshot",
        "log",
        "progress",
        "done",
    ]
    told = {event.name: event.data for event in events}
    assert told["log"]["note"] == "it begins\nto be\n\nseen"
    assert told["progress"] == {"progress": 40}
    assert (told["done"]["status"], len(told["done"]["outputs"])) == ("succeeded", 1)
    ids = [int(event.id) for event in events[:-1]]
    assert ids == sorted(ids)
    assert events[-1].id == f"{ids[-1]}-done"
    assert ids[-1] == (await serving.task(id)).revision
    assert serving.app.waiting.polls.free(serving.key.id)


async def test_a_stream_goes_on_where_it_was(start_app: StartApp, steps: Steps) -> None:
    serving = await start_app(steps)
    id = await submitted(serving)
    first = Stream(serving, of_task(id), last_event_id="0")
    await until(lambda: "snapshot" in first.names)
    first.gone.set()
    await first.end()
    last = first.events[-1].id
    for n in range(3):
        await steps.told.put(Log(text=f"line {n}"))
    await steps.told.put(None)
    await serving.ended(id)

    again = Stream(serving, of_task(id), last_event_id=last)
    await again.end()

    rows = await serving.app.store.read(scripts.events(id))
    told = [event for event in first.events + again.events if event.name in ("status", "log")]
    assert [int(event.id) for event in told] == [row.number for row in rows]
    assert [event.data.get("status", "log") for event in told] == [row.what for row in rows]
    assert again.names[-1] == "done"
    over = Stream(serving, of_task(id), last_event_id=again.events[-1].id)
    await over.end()
    assert over.status == 204  # which stops a browser's EventSource


async def test_who_was_cut_off_between_the_last_status_and_the_end_is_told_the_end(
    serving: Serving,
) -> None:
    id = await submitted(serving)
    await serving.ended(id)
    last = (await serving.task(id)).revision

    again = Stream(serving, of_task(id), last_event_id=str(last))

    assert [event.name for event in await again.end()] == ["done"]
    over = Stream(serving, of_task(id), last_event_id=again.events[-1].id)
    assert await over.end() == []
    assert over.status == 204


async def test_of_a_task_at_its_end_the_end_is_told(serving: Serving) -> None:
    id = await submitted(serving)
    await serving.ended(id)

    stream = Stream(serving, of_task(id))

    assert [event.name for event in await stream.end()] == ["done"]


async def test_streams_end_when_the_server_stops(start_app: StartApp, steps: Steps) -> None:
    serving = await start_app(steps)
    id = await submitted(serving)
    streams = [Stream(serving, of_task(id)) for _ in range(10)]
    streams += [Stream(serving, f"{PREFIX}/events") for _ in range(10)]
    await until(lambda: all(stream.pieces for stream in streams))

    serving.app.watch.close()
    await asyncio.wait_for(asyncio.gather(*(stream.ended for stream in streams)), 5)
    late = Stream(serving, of_task(id))
    await late.end()

    assert all(b": the server is stopping" in b"".join(stream.pieces) for stream in streams)
    assert late.status == 503


async def test_whoever_goes_away_gives_the_place_back(start_app: StartApp, steps: Steps) -> None:
    serving = await start_app(steps, max_long_polls=2)
    id = await submitted(serving)
    stream = Stream(serving, of_task(id))
    await until(lambda: "snapshot" in stream.names)
    refused = Stream(serving, of_task(id))
    await refused.end()

    stream.gone.set()
    await stream.end()
    again = Stream(serving, of_task(id))
    await until(lambda: "snapshot" in again.names)

    assert refused.status == 429  # half of the places are for other keys
    again.gone.set()
    await again.end()


async def test_only_its_caller_sees_a_task(start_app: StartApp, steps: Steps) -> None:
    serving = await start_app(steps)
    id = await submitted(serving)
    other = (await serving.app.keyring.create("other")).secret
    streams = {
        401: Stream(serving, of_task(id), None),
        404: Stream(serving, of_task(id), other),
        400: Stream(serving, of_task(id), last_event_id="no number"),
    }
    wrong = Stream(serving, f"{PREFIX}/events", last_event_id="1-abc")
    await wrong.end()
    assert wrong.status == 400

    for status, stream in streams.items():
        await stream.end()
        assert stream.status == status


async def test_a_signature_opens_one_stream_for_a_while(start_app: StartApp, steps: Steps) -> None:
    serving = await start_app(steps)
    id, other = await submitted(serving), await submitted(serving)
    key = {"authorization": f"Bearer {serving.key.secret}"}
    told = (await serving.http.get(f"{PREFIX}/tasks/{id}", headers=key)).json()
    path = told["urls"]["stream"].removeprefix("http://testserver")
    links = serving.app.links
    old = links.open_stream(id, now_millis() - 2 * 3_600_000)

    stream = Stream(serving, path, None, accept="*/*")
    await until(lambda: "snapshot" in stream.names)
    stream.gone.set()
    await stream.end()
    for refused in (
        path.replace(id, other),
        f"{of_task(id)}?signature={old}",
        f"{of_task(id)}?signature=1-00",
    ):
        wrong = Stream(serving, refused, None)
        await wrong.end()
        assert wrong.status == 401


async def test_all_of_a_callers_tasks_are_told_and_nobody_elses(
    start_app: StartApp, steps: Steps
) -> None:
    serving = await start_app(steps)
    other = await serving.app.keyring.create("other")
    stream = Stream(serving, f"{PREFIX}/events")
    theirs = Stream(serving, f"{PREFIX}/events", other.secret)
    await until(lambda: stream.pieces and theirs.pieces)

    id = await submitted(serving)
    await until(lambda: [e.data["status"] for e in stream.events][-1:] == ["running"])
    seen = stream.events[-1].id
    stream.gone.set()
    await stream.end()
    await steps.told.put(None)
    await serving.ended(id)
    again = Stream(serving, f"{PREFIX}/events", last_event_id=seen)
    await until(lambda: again.events)

    assert [event.data["id"] for event in stream.events + again.events] == [id] * len(
        stream.events + again.events
    )
    assert [event.data["status"] for event in again.events] == ["succeeded"]
    assert theirs.events == []
    since = await serving.http.get(
        f"{PREFIX}/changes?cursor={seen}", headers={"authorization": f"Bearer {serving.key.secret}"}
    )
    assert [task["status"] for task in since.json()["tasks"]] == ["succeeded"]
    for one in (again, theirs):
        one.gone.set()
        await one.end()


async def test_how_far_a_task_is_can_be_seen(start_app: StartApp, steps: Steps) -> None:
    serving = await start_app(steps)
    id = await submitted(serving)
    key = {"authorization": f"Bearer {serving.key.secret}"}
    stream = Stream(serving, of_task(id))
    await until(lambda: "snapshot" in stream.names)
    none = await serving.http.get(f"{PREFIX}/tasks/{id}/preview", headers=key)

    await steps.told.put(Preview(path=Path(__file__)))
    await until(lambda: "preview" in stream.names)
    link = next(event.data["url"] for event in stream.events if event.name == "preview")
    seen = await serving.http.get(link)
    asked = await serving.http.get(f"{PREFIX}/tasks/{id}/preview", headers=key)
    again = await serving.http.get(
        f"{PREFIX}/tasks/{id}/preview", headers={**key, "if-none-match": asked.headers["etag"]}
    )
    await steps.told.put(None)
    await stream.end()

    assert none.status_code == 404
    assert none.headers["content-type"] == "application/problem+json"
    assert seen.content == asked.content == picture()
    assert (seen.headers["content-type"], asked.headers["content-type"]) == ("image/jpeg",) * 2
    assert again.status_code == 304
    assert (await serving.http.get(link)).status_code == 404
    assert "preview_url" not in stream.events[-1].data


async def test_a_reader_who_takes_nothing_is_given_up(
    start_app: StartApp, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safelight.server.streams._SEND_SECONDS", 0.2)
    serving = await start_app(steps)
    id = await submitted(serving)
    stream = Stream(serving, of_task(id))
    await until(lambda: "snapshot" in stream.names)

    stream.takes.clear()
    await steps.told.put(Log(text="nobody hears"))
    await asyncio.wait_for(stream.ended, 10)

    assert serving.app.waiting.polls.free(serving.key.id)


async def test_changes_are_held_until_there_is_one(start_app: StartApp, steps: Steps) -> None:
    serving = await start_app(steps)
    headers = {"authorization": f"Bearer {serving.key.secret}"}
    begin = (await serving.http.get(f"{PREFIX}/changes", headers=headers)).json()
    path = f"{PREFIX}/changes?cursor={begin['cursor']}"
    held = asyncio.create_task(serving.http.get(path, headers={**headers, "prefer": "wait=20"}))
    await until(lambda: serving.app.watch.waits)

    id = await submitted(serving)
    answer = await held
    async with asyncio.timeout(10):  # nothing is left to come but its end
        while (await serving.task(id)).status is not Status.RUNNING:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    nothing = await serving.http.get(f"{PREFIX}/changes", headers={**headers, "prefer": "wait=1"})

    assert answer.headers["preference-applied"] == "wait=20"
    assert [task["id"] for task in answer.json()["tasks"]] == [id]
    assert nothing.json()["tasks"] == []
    assert nothing.headers["preference-applied"] == "wait=1"


async def test_a_key_that_is_revoked_ends_its_streams(start_app: StartApp, steps: Steps) -> None:
    serving = await start_app(steps)
    id = await submitted(serving)
    other = await serving.app.keyring.create("other")
    streams = [Stream(serving, of_task(id)), Stream(serving, f"{PREFIX}/events")]
    theirs = Stream(serving, f"{PREFIX}/events", other.secret)
    await until(lambda: all(stream.pieces for stream in (*streams, theirs)))

    await serving.app.keyring.revoke(serving.key.id)
    await asyncio.wait_for(asyncio.gather(*(stream.ended for stream in streams)), 10)

    assert not theirs.ended.done()
    theirs.gone.set()
    await theirs.end()


async def test_a_key_that_was_revoked_unheard_ends_its_streams_too(
    start_app: StartApp, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safelight.server.streams._ALIVE_SECONDS", 0.2)
    serving = await start_app(steps)
    stream = Stream(serving, f"{PREFIX}/events")
    await until(lambda: b": here" in b"".join(stream.pieces))

    connection = connect(serving.app.settings.data / "safelight.db")  # as another process would
    connection.execute("update keys set revoked = 1")
    connection.close()

    await asyncio.wait_for(stream.ended, 10)


async def test_a_query_of_many_parts_is_refused_and_breaks_nothing(serving: Serving) -> None:
    query = "&".join(["a=1"] * 3000)

    for path in (f"{of_task('0' * 24)}?{query}", f"{PREFIX}/events?{query}"):
        stream = Stream(serving, path)
        await stream.end()
        assert stream.status == 400
