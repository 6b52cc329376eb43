"""What is answered, against the published descriptions of the five queries.

The schemas in `tests/published` say the names, types and words of the pages again, and nothing of
ours. Every query is held against its own for tasks in every state, created in every dialect.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import msgspec

from end_to_end.conftest import Start
from end_to_end.running import CONFIG, SERVED, TASK_SECONDS, Running, until
from end_to_end.words import IMAGES, VIDEOS, late, slow
from safelight import Kind, Operation, Source, Status, Submit
from safelight.task import Cancel, Delete, Fetch, bare_id

FOLDER = Path(__file__).parents[1] / "published"
# By dialect and kind, the page that describes the query. Tencent's films and AiToEarn's have pages
# of their own, which are not among the five.
PAGES: Mapping[tuple[str, Kind], str] = {
    ("tensorslab", Kind.IMAGE): "tensorslab-image",
    ("tensorslab", Kind.VIDEO): "tensorslab-video",
    ("aigptimage", Kind.IMAGE): "aigptimage",
    ("aigptimage", Kind.VIDEO): "aigptimage",
    ("aitoearn", Kind.IMAGE): "aitoearn",
    ("tencent", Kind.IMAGE): "tencent",
}
WORDS: Mapping[str, Mapping[Status, Any]] = {
    "tensorslab-image": {
        Status.QUEUED: 1, Status.RUNNING: 2, Status.SUCCEEDED: 3, Status.FAILED: 4,
        Status.CANCELED: 4,
    },
    "tensorslab-video": {
        Status.QUEUED: 1, Status.RUNNING: 2, Status.SUCCEEDED: 3, Status.FAILED: 4,
        Status.CANCELED: 4,
    },
    "aigptimage": {
        Status.QUEUED: "waiting", Status.RUNNING: "waiting", Status.SUCCEEDED: "success",
        Status.FAILED: "fail", Status.CANCELED: "fail",
    },
    "aitoearn": {
        Status.QUEUED: "generating", Status.RUNNING: "generating", Status.SUCCEEDED: "success",
        Status.FAILED: "failed", Status.CANCELED: "failed",
    },
    "tencent": {
        Status.QUEUED: "WAITING", Status.RUNNING: "PROCESSING", Status.SUCCEEDED: "FINISH",
        Status.FAILED: "FINISH", Status.CANCELED: "FINISH",
    },
}  # fmt: skip


def schema(page: str) -> Any:
    """The schema of a page."""
    return json.loads((FOLDER / f"{page}.json").read_text())


def data_of(page: str, body: Any) -> Any:
    """The part of an answer that tells of the task."""
    return body["Response"] if page == "tencent" else body["data"]


def word_of(page: str, data: Any) -> Any:
    """The word for the status."""
    for name in ("image_status", "task_status", "state", "status", "Status"):
        if name in data:
            return data[name]
    raise AssertionError(f"{page}: no status in {data}")


def reason_of(page: str, data: Any) -> Any:
    """What is told of why it ended without a result; nothing where it did not."""
    for name in ("error_message", "message", "failMsg", "errorMessage", "ErrMsg"):
        if data.get(name):
            return data[name]
    return None


def links_of(page: str, data: Any) -> list[str]:
    """The addresses of the result."""
    match page:
        case "aigptimage":
            return list(json.loads(data["resultJson"])["resultUrls"]) if data["resultJson"] else []
        case "aitoearn":
            return [image["url"] for image in data.get("images", ())]
        case "tencent":
            parts = data.get("ImageProcessTaskResultSet") or ()
            return [part["Output"]["SignedUrl"] for part in parts if part.get("Output")]
        case _:
            return list(data["url"])


def hold_against_the_pages(
    server: Running, http: httpx.Client, id: str, kind: Kind, status: Status
) -> None:
    """Ask for a task in that state by every published query, and hold the answers against it."""
    for (dialect, asked), page in PAGES.items():
        if asked is not kind:
            continue
        fetch = Fetch(id=bare_id(id) or id, kind=kind, detail=False)  # more is on no page
        body = server.ask(http, dialect, fetch).json()
        jsonschema.validate(
            body, schema(page), format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
        )
        data = data_of(page, body)
        own = schema(page)["properties"]["Response" if page == "tencent" else "data"]
        assert data.keys() <= own["properties"].keys(), (page, data.keys())
        assert word_of(page, data) == WORDS[page][status], (page, id, data)
        assert bool(links_of(page, data)) == (status is Status.SUCCEEDED), (page, data)
        bad = status in (Status.FAILED, Status.CANCELED)
        assert bool(reason_of(page, data)) == bad, (page, data)


def submits(model: Any) -> Iterator[tuple[str, Submit]]:
    """A task of each kind in every dialect, of the models that `model` says."""
    for dialect in SERVED:
        for known in (IMAGES[dialect], VIDEOS[dialect]):
            yield dialect, msgspec.structs.replace(known, model=model(dialect, known.kind))


async def submit_all(server: Running, model: Any) -> list[tuple[str, Kind]]:
    """Submit all of them; their ids and kinds."""
    made = []
    for dialect, submit in submits(model):
        async with server.client(dialect) as client:
            made.append(((await client.submit(submit)).id, submit.kind))
    return made


def known_model(dialect: str, kind: Kind) -> str:
    return (IMAGES if kind is Kind.IMAGE else VIDEOS)[dialect].model


def wait_for(server: Running, ids: list[tuple[str, Kind]], status: Status) -> None:
    """Wait until all of them are in that state."""

    def there() -> bool:
        found = dict(server.rows("select id, status from tasks"))
        return all(found[bare_id(id)] == status for id, _ in ids)

    until(there, TASK_SECONDS)


def drop(server: Running, http: httpx.Client, ids: list[tuple[str, Kind]]) -> None:
    """Delete them: the slow ones would run for long."""
    for id, kind in ids:
        server.ask(http, "tensorslab", Delete(ids=(id,), kind=kind))


def test_the_schemas_are_schemas() -> None:
    for page in set(PAGES.values()):
        jsonschema.Draft202012Validator.check_schema(schema(page))
    assert {path.stem for path in FOLDER.glob("*.json")} == set(PAGES.values())


async def test_queued_tasks(start: Start, http: httpx.Client) -> None:
    server = await asyncio.to_thread(start, "data", CONFIG.replace("= 16", "= 1"))
    async with server.client("aitoearn") as client:
        first = await client.submit(IMAGES["aitoearn"], model="slow")
    wait_for(server, [(first.id, Kind.IMAGE)], Status.RUNNING)

    for id, kind in await submit_all(server, slow):
        hold_against_the_pages(server, http, id, kind, Status.QUEUED)


async def test_running_and_canceled_tasks(server: Running, http: httpx.Client) -> None:
    ids = await submit_all(server, slow)
    wait_for(server, ids, Status.RUNNING)

    for id, kind in ids:
        hold_against_the_pages(server, http, id, kind, Status.RUNNING)
        server.ask(http, "tencent", Cancel(id=id))
        hold_against_the_pages(server, http, id, kind, Status.CANCELED)
    drop(server, http, ids)


async def test_succeeded_tasks(server: Running, http: httpx.Client) -> None:
    ids = await submit_all(server, known_model)
    wait_for(server, ids, Status.SUCCEEDED)

    for id, kind in ids:
        hold_against_the_pages(server, http, id, kind, Status.SUCCEEDED)


async def test_failed_tasks(server: Running, http: httpx.Client) -> None:
    ids = await submit_all(server, late)
    wait_for(server, ids, Status.FAILED)

    for id, kind in ids:
        hold_against_the_pages(server, http, id, kind, Status.FAILED)


async def test_processed_pictures(server: Running, http: httpx.Client) -> None:
    async with server.client("tencent") as client:
        source = await client.wait(await client.submit(IMAGES["tencent"]), TASK_SECONDS)
        submit = Submit(
            model="process-image",
            sources=(Source(url=source.artifacts[0].url),),
            operations=(Operation(name="encode", options={"format": "JPEG", "quality": 50}),),
        )
        good = await client.wait(await client.submit(submit), TASK_SECONDS)
        drop(server, http, [(source.id, Kind.IMAGE)])
        bad = await client.wait(await client.submit(submit), TASK_SECONDS)

    hold_against_the_pages(server, http, good.id, Kind.IMAGE, Status.SUCCEEDED)
    hold_against_the_pages(server, http, bad.id, Kind.IMAGE, Status.FAILED)


async def test_edited_pictures(server: Running, http: httpx.Client) -> None:
    async with server.client("aitoearn") as client:
        first = await client.wait(await client.submit(IMAGES["aitoearn"]), TASK_SECONDS)
        source = Source(url=first.artifacts[0].url)
        edited = await client.wait(
            await client.submit(IMAGES["aitoearn"], sources=(source,)), TASK_SECONDS
        )
        film = await client.wait(
            await client.submit(VIDEOS["aitoearn"], sources=(source,)), TASK_SECONDS
        )

    hold_against_the_pages(server, http, edited.id, Kind.IMAGE, Status.SUCCEEDED)
    hold_against_the_pages(server, http, film.id, Kind.VIDEO, Status.SUCCEEDED)
