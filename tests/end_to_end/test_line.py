"""The line: a client, the server, its worker, a file, and the download of it."""

from __future__ import annotations

import asyncio
import itertools
import re
from pathlib import Path

import httpx
import msgspec
import pytest

from end_to_end.running import SERVED, TASK_SECONDS, Running, until
from end_to_end.words import (
    IMAGES,
    NOT_FOUND,
    VIDEOS,
    film,
    lasting,
    picture,
    png,
    refusal,
    slow,
)
from safelight import (
    Artifact,
    Conflict,
    Key,
    Kind,
    NotFound,
    Operation,
    Role,
    Source,
    Status,
    Submit,
    Task,
    Unsupported,
)
from safelight.dialects import named
from safelight.task import Cancel, Delete, Fetch, List, Models, bare_id
from safelight.wire import Part, Request, Response, write_form

LINK = re.compile(r"http://127\.0\.0\.1:\d+/files/([0-9a-f]{24})-a\d+-[0-9a-f]{32}\.\w+")


async def make(server: Running, dialect: str, submit: Submit, folder: Path) -> list[Path]:
    """Carry a task from its submission to its files."""
    async with server.client(dialect) as client:
        task = await client.submit(submit)
        ended = await client.wait(task, TASK_SECONDS)
        assert ended.status is Status.SUCCEEDED, ended.failure
        assert ended.id == task.id
        return list(await client.download(ended, folder))


async def finished(server: Running, dialect: str, submit: Submit) -> Task:
    """A task that has succeeded."""
    async with server.client(dialect) as client:
        ended = await client.wait(await client.submit(submit), TASK_SECONDS)
        assert ended.status is Status.SUCCEEDED, ended.failure
        return ended


async def running(server: Running, dialect: str, kind: Kind = Kind.IMAGE) -> Task:
    """A task that a worker has begun and that goes on for long."""
    submit = (IMAGES if kind is Kind.IMAGE else VIDEOS)[dialect]
    async with server.client(dialect) as client:
        task = await client.submit(submit, model=slow(dialect, kind))
    query = "select 1 from tasks where id = ? and status = 'running'"
    await asyncio.to_thread(until, lambda: server.rows(query, bare_id(task.id)))
    return task


# -------------------------------------------------------------------------------- create to file


@pytest.mark.parametrize("dialect", SERVED)
async def test_a_picture_is_made_as_it_was_asked_for(
    server: Running, tmp_path: Path, dialect: str
) -> None:
    files = await make(server, dialect, IMAGES[dialect], tmp_path)

    assert [picture(path) for path in files] == [("PNG", (96, 64))]


@pytest.mark.parametrize("dialect", SERVED)
async def test_several_pictures_are_made_and_differ(
    server: Running, tmp_path: Path, dialect: str
) -> None:
    submit = msgspec.structs.replace(IMAGES[dialect], count=3)

    files = await make(server, dialect, submit, tmp_path)

    assert [picture(path) for path in files] == [("PNG", (96, 64))] * 3
    assert len({path.read_bytes() for path in files}) == 3


@pytest.mark.parametrize(
    ("dialect", "format", "theirs"),
    [
        ("aigptimage", "jpeg", "JPEG"),
        ("aigptimage", "webp", "WEBP"),
        ("tencent", "jpeg", "JPEG"),
        ("tencent", "png", "PNG"),
    ],
)
async def test_a_picture_has_the_format_that_was_asked_for(
    server: Running, tmp_path: Path, dialect: str, format: str, theirs: str
) -> None:
    submit = msgspec.structs.replace(IMAGES[dialect], format=format)

    files = await make(server, dialect, submit, tmp_path)

    assert [picture(path) for path in files] == [(theirs, (96, 64))]
    assert files[0].suffix == {"JPEG": ".jpg"}.get(theirs, f".{theirs.lower()}")


@pytest.mark.parametrize("dialect", SERVED)
async def test_a_film_is_made_as_it_was_asked_for(
    server: Running, tmp_path: Path, dialect: str
) -> None:
    files = await make(server, dialect, VIDEOS[dialect], tmp_path)

    assert [path.suffix for path in files] == [".mp4"]
    size, seconds = film(files[0])
    assert size == ((214, 120) if dialect == "aigptimage" else (96, 64))
    assert seconds == pytest.approx(1, abs=0.05)


async def test_a_picture_is_processed(server: Running, tmp_path: Path) -> None:
    first = await finished(server, "tencent", IMAGES["tencent"])
    submit = Submit(
        model="process-image",
        sources=(Source(url=first.artifacts[0].url),),
        operations=(
            Operation(name="super_resolution", options={"type": "lq", "size": 2}),
            Operation(name="encode", options={"format": "JPEG", "quality": 80}),
        ),
    )

    files = await make(server, "tencent", submit, tmp_path)

    assert [picture(path) for path in files] == [("JPEG", (192, 128))]


async def test_the_same_seed_makes_the_same_picture_in_every_dialect_that_says_seeds(
    server: Running, tmp_path: Path
) -> None:
    files = [
        (await make(server, dialect, IMAGES[dialect], tmp_path))[0]
        for dialect in ("tensorslab", "aigptimage", "tencent")
    ]

    assert len({path.read_bytes() for path in files}) == 1


# -------------------------------------------------------------------------------- sources


async def test_a_picture_is_made_from_an_upload(server: Running, tmp_path: Path) -> None:
    source = Source(data=png(80, 48), name="boat.png")
    submit = Submit(model="quickedit", prompt="at night", sources=(source,), width=96, height=64)

    assert [picture(path) for path in await make(server, "tensorslab", submit, tmp_path)] == [
        ("PNG", (96, 64))
    ]


async def test_an_edit_that_names_no_size_keeps_that_of_the_upload(
    server: Running, tmp_path: Path
) -> None:
    source = Source(data=png(80, 48), name="boat.png")

    for dialect, model in (("tensorslab", "quickedit"), ("aitoearn", "gpt-image-2")):
        submit = Submit(model=model, prompt="at night", sources=(source,))
        files = await make(server, dialect, submit, tmp_path / dialect)
        assert [picture(path) for path in files] == [("PNG", (80, 48))]


async def test_a_film_goes_on_from_an_uploaded_frame(server: Running, tmp_path: Path) -> None:
    frame = Source(role=Role.FIRST_FRAME, data=png(96, 64), name="frame.png")

    for dialect in ("tensorslab", "aitoearn"):
        submit = msgspec.structs.replace(VIDEOS[dialect], sources=(frame,))
        files = await make(server, dialect, submit, tmp_path / dialect)
        assert film(files[0])[0] == (96, 64)


@pytest.mark.parametrize("dialect", SERVED)
async def test_a_picture_is_made_from_a_file_of_our_own(
    server: Running, tmp_path: Path, dialect: str
) -> None:
    first = await finished(server, "aitoearn", IMAGES["aitoearn"])
    source = Source(url=first.artifacts[0].url)
    submit = msgspec.structs.replace(IMAGES[dialect], sources=(source,), prompt="the same at night")

    files = await make(server, dialect, submit, tmp_path)

    assert [picture(path) for path in files] == [("PNG", (96, 64))]


async def test_a_source_can_be_looked_at_and_goes_with_its_task(
    server: Running, http: httpx.Client
) -> None:
    data = png(50, 40)
    submit = Submit(model="quickedit", prompt="x", sources=(Source(data=data, name="a.png"),))
    task = await finished(server, "tensorslab", submit)

    shown = server.ask(http, "tensorslab", Fetch(id=task.id, kind=Kind.IMAGE)).json()
    link = shown["data"]["images"][0]

    assert http.get(link).content == data
    server.ask(http, "tensorslab", Delete(ids=(task.id,), kind=Kind.IMAGE))
    assert http.get(link).status_code == 404


async def test_a_source_that_is_gone_fails_the_task_with_a_reason(server: Running) -> None:
    first = await finished(server, "tensorslab", IMAGES["tensorslab"])
    url = first.artifacts[0].url
    async with server.client("tensorslab") as client:
        assert await client.delete(first) == (first.id,)
        task = await client.submit(
            Submit(model="quickedit", prompt="x", sources=(Source(url=url),))
        )
        ended = await client.wait(task, TASK_SECONDS)

    assert ended.status is Status.FAILED
    assert ended.failure is not None
    assert "not there any more" in ended.failure.message


# -------------------------------------------------------------------------------- one id everywhere


@pytest.mark.parametrize("created", SERVED)
async def test_a_task_is_answered_by_every_dialect(server: Running, created: str) -> None:
    task = await finished(server, created, IMAGES[created])
    film_task = await finished(server, created, VIDEOS[created])

    for dialect in SERVED:
        for id in (task.id, bare_id(task.id) or "", f"2600-WorkflowTask-{bare_id(task.id)}"):
            async with server.client(dialect) as client:
                seen = await client.fetch(id, Kind.IMAGE)
            assert seen.status is Status.SUCCEEDED, (dialect, id)
            assert _names(seen.artifacts) == _names(task.artifacts)
        async with server.client(dialect) as client:
            seen = await client.fetch(film_task.id, Kind.VIDEO)
        assert seen.status is Status.SUCCEEDED
        assert _names(seen.artifacts) == _names(film_task.artifacts)


def _names(artifacts: tuple[Artifact, ...]) -> list[str]:
    found = [LINK.fullmatch(artifact.url or "") for artifact in artifacts]
    assert found
    assert all(found)
    return [match[0] for match in found if match]


async def test_an_image_task_is_unknown_where_films_are_asked_for(
    server: Running, http: httpx.Client
) -> None:
    image = await finished(server, "tensorslab", IMAGES["tensorslab"])
    video = await finished(server, "tensorslab", VIDEOS["tensorslab"])

    for (dialect, kind), code in NOT_FOUND.items():
        if dialect == "aigptimage":  # one route for both
            continue
        other = image if kind is Kind.VIDEO else video
        asked = Fetch(id=bare_id(other.id) or "", kind=kind)
        assert refusal(dialect, server.ask(http, dialect, asked)) == code


async def test_unknown_foreign_and_expired_tasks_answer_alike(
    server: Running, http: httpx.Client
) -> None:
    other = await asyncio.to_thread(server.make_key, "other")
    ended = await finished(server, "tensorslab", IMAGES["tensorslab"])
    film_ended = await finished(server, "tensorslab", VIDEOS["tensorslab"])
    server.change("update tasks set finished = 1 where id in (?, ?)", ended.id, film_ended.id)
    foreign = await finished(server, "aitoearn", IMAGES["aitoearn"])
    foreign_film = await finished(server, "aitoearn", VIDEOS["aitoearn"])
    unknown = "0" * 24

    for (dialect, kind), code in NOT_FOUND.items():
        expired_id = ended.id if kind is Kind.IMAGE else film_ended.id
        foreign_id = foreign.id if kind is Kind.IMAGE else foreign_film.id
        answers = [
            server.ask(http, dialect, Fetch(id=unknown, kind=kind)),
            server.ask(http, dialect, Fetch(id=foreign_id, kind=kind), key=other),
            server.ask(http, dialect, Fetch(id=expired_id, kind=kind)),
        ]
        assert {refusal(dialect, answer) for answer in answers} == {code}
        assert lasting(answers[0]) == lasting(answers[1]) == lasting(answers[2]), dialect


async def test_expired_and_foreign_files_are_gone(server: Running, http: httpx.Client) -> None:
    ended = await finished(server, "tensorslab", IMAGES["tensorslab"])
    url = ended.artifacts[0].url or ""
    assert http.get(url).status_code == 200

    server.change("update tasks set finished = 1 where id = ?", ended.id)

    assert http.get(url).status_code == 404


# -------------------------------------------------------------------------------- idempotency


@pytest.mark.parametrize(
    ("dialect", "header"),
    [(name, header) for name in SERVED for header in named(name).idempotency_headers],
)
async def test_the_same_token_and_body_is_the_same_task(
    server: Running, http: httpx.Client, dialect: str, header: str
) -> None:
    token = f"{dialect}-{header}-again"
    request = named(dialect).write_request(IMAGES[dialect]).with_headers((header, token))
    changed = msgspec.structs.replace(IMAGES[dialect], prompt="something else")
    other = named(dialect).write_request(changed).with_headers((header, token))

    first, second = (_id(dialect, server.ask(http, dialect, request)) for _ in range(2))
    before = server.kept()[0]
    refused = server.ask(http, dialect, other)

    assert first == second
    assert (
        refusal(dialect, refused)
        == {
            "tensorslab": (9999, 200),
            "aigptimage": 409,
            "aitoearn": 10002,
            "safelight": ("conflict", 422),
            "tencent": "FailedOperation",
        }[dialect]
    )
    assert server.kept()[0] == before


async def test_a_token_counts_for_its_own_key(server: Running, http: httpx.Client) -> None:
    other = await asyncio.to_thread(server.make_key, "token")
    request = named("aitoearn").write_request(IMAGES["aitoearn"])
    request = request.with_headers(("idempotency-key", "shared"))

    ids = [_id("aitoearn", server.ask(http, "aitoearn", request, key)) for key in (None, other)]

    assert ids[0] != ids[1]


async def test_a_token_that_is_refused_leaves_no_upload(
    server: Running, http: httpx.Client
) -> None:
    def ask(prompt: bytes, data: bytes) -> httpx.Response:
        parts = [
            Part(name="prompt", data=prompt),
            Part(name="sourceImage", data=data, filename="a.png"),
        ]
        content_type, body = write_form(parts)
        headers = (("content-type", content_type), ("idempotency-key", "upload"))
        request = Request(method="POST", path="/v1/images/zimage", headers=headers, body=body)
        return server.ask(http, "tensorslab", request)

    first = _id("tensorslab", ask(b"x", png()))
    again = _id("tensorslab", ask(b"x", png()))
    folders = {path.parent.name for path in (server.data / "files" / "tasks").rglob("source-*")}
    refusal("tensorslab", ask(b"y", png()))
    refusal("tensorslab", ask(b"x", png(20, 20)))

    assert first == again
    assert first in folders
    after = {path.parent.name for path in (server.data / "files" / "tasks").rglob("source-*")}
    assert after <= folders
    server.ask(http, "tensorslab", Delete(ids=(first,), kind=Kind.IMAGE))


async def test_twenty_at_once_with_one_token_are_one_task(server: Running) -> None:
    request = named("aigptimage").write_request(IMAGES["aigptimage"])
    request = request.with_headers(("x-request-id", "stampede"))
    signed = server.sign(named("aigptimage"), request)

    async with httpx.AsyncClient(trust_env=False) as http:
        answers = await asyncio.gather(
            *(
                http.post(f"{server.url}{signed.path}", headers=list(signed.headers),
                          content=signed.body)
                for _ in range(20)
            )
        )  # fmt: skip

    assert len({answer.json()["data"]["taskId"] for answer in answers}) == 1


def _id(dialect: str, answer: httpx.Response) -> str:
    body = answer.json()
    match dialect:
        case "tensorslab":
            return str(body["data"]["taskid"])
        case "aigptimage":
            return str(body["data"]["taskId"])
        case "aitoearn":
            return str(body["data"].get("logId") or body["data"]["id"])
        case "safelight":
            return str(body["id"])
        case _:
            return str(body["Response"]["TaskId"])


# -------------------------------------------------------------------------------- other commands


async def test_deleting_a_running_task_stops_it_and_leaves_nothing(
    server: Running, http: httpx.Client
) -> None:
    task = await running(server, "tensorslab")
    film_task = await running(server, "tensorslab", Kind.VIDEO)
    assert server.scratch() is not None

    async with server.client("tensorslab") as client:
        assert await client.delete(task) == (task.id,)
        assert await client.delete(film_task) == (film_task.id,)
        for gone in (task, film_task):
            with pytest.raises(NotFound):
                await client.fetch(gone)

    def left() -> list[Path]:
        names = [*(server.data / "scratch").glob("*"), *(server.data / "files" / "tasks").glob("*")]
        return [path for path in names if path.name.startswith((task.id, film_task.id))]

    await asyncio.to_thread(until, lambda: not left())


async def test_deleting_asks_for_the_kind(server: Running, http: httpx.Client) -> None:
    task = await finished(server, "tensorslab", IMAGES["tensorslab"])

    server.ask(http, "tensorslab", Delete(ids=(task.id,), kind=Kind.VIDEO))

    async with server.client("tensorslab") as client:
        assert (await client.fetch(task)).status is Status.SUCCEEDED


async def test_nobody_deletes_what_is_not_theirs(server: Running, http: httpx.Client) -> None:
    other = await asyncio.to_thread(server.make_key, "thief")
    task = await finished(server, "tensorslab", IMAGES["tensorslab"])

    unknown = server.ask(http, "tensorslab", Delete(ids=("0" * 24,), kind=Kind.IMAGE))
    foreign = server.ask(http, "tensorslab", Delete(ids=(task.id,), kind=Kind.IMAGE), key=other)

    assert lasting(unknown) == lasting(foreign)
    async with server.client("tensorslab") as client:
        assert (await client.fetch(task)).status is Status.SUCCEEDED


async def test_a_running_task_is_aborted(server: Running, http: httpx.Client) -> None:
    task = await running(server, "tencent")
    other = await asyncio.to_thread(server.make_key, "aborter")
    assert refusal("tencent", server.ask(http, "tencent", Cancel(id=task.id), key=other)) == (
        "ResourceNotFound"
    )

    async with server.client("tencent") as client:
        await client.cancel(task)
        with pytest.raises(Conflict):
            await client.cancel(task)

    for dialect in SERVED:
        async with server.client(dialect) as client:
            seen = await client.fetch(bare_id(task.id) or "", Kind.IMAGE)
        assert seen.status in (Status.CANCELED, Status.FAILED)
        assert seen.failure is not None
        assert not seen.artifacts
    ends = "select what from events where task_id = ? and what in ('canceled', 'failed')"
    assert server.rows(ends, bare_id(task.id)) == [("canceled",)]


async def test_a_list_shows_ones_own_tasks_page_by_page(start_key: tuple[Running, Key]) -> None:
    server, key = start_key
    async with server.client("aitoearn", key) as client:
        tasks = [await client.submit(IMAGES["aitoearn"]) for _ in range(5)]
        films = [await client.submit(VIDEOS["aitoearn"])]
        for task in (*tasks, *films):
            await client.wait(task, TASK_SECONDS)
        pages = [await client.list(limit=2, offset=offset) for offset in (0, 2, 4)]
        only_films = await client.list(kind=Kind.VIDEO)
    listed = [task.id for page in pages for task in page.tasks]

    assert listed == [task.id for task in (*films, *reversed(tasks))]
    assert {page.total for page in pages} == {6}
    assert [task.id for task in only_films.tasks] == [films[0].id]
    async with server.client("tencent", key) as client:
        first = await client.list(statuses=frozenset({Status.SUCCEEDED}), limit=3)
        rest = await client.list(
            statuses=frozenset({Status.SUCCEEDED}), limit=3, before=first.following
        )
    assert [bare_id(task.id) for task in (*first.tasks, *rest.tasks)] == listed[1:]
    assert rest.following is None


@pytest.fixture
def start_key(server: Running) -> tuple[Running, Key]:
    """The server, and a key that has no tasks yet."""
    return server, server.make_key("lister")


async def test_what_a_wire_cannot_ask_is_refused_before_it_is_sent(server: Running) -> None:
    for dialect, command in itertools.product(
        ("aigptimage", "tensorslab"), (List(), Models(), Cancel(id="0" * 24))
    ):
        async with server.client(dialect) as client:
            with pytest.raises(Unsupported):
                match command:
                    case List():
                        await client.list(command)
                    case Models():
                        await client.models(command)
                    case _:
                        await client.cancel("0" * 24)


async def test_the_catalogues_need_no_key(server: Running, http: httpx.Client) -> None:
    for path in ("image/generation", "image/edit", "video/generation"):
        answer = http.get(f"{server.url}/api/ai/models/{path}")
        body = answer.json()
        assert (answer.status_code, body["code"]) == (200, 0)
        assert "sketch" in [card["name"] for card in body["data"]]
    wrong = http.get(
        f"{server.url}/api/ai/models/image/generation", headers={"x-api-key": "sk-wrong"}
    )
    assert refusal("aitoearn", wrong) == 401


# -------------------------------------------------------------------------------- the server's own


def test_health_readiness_and_metrics(server: Running, http: httpx.Client) -> None:
    assert http.get(f"{server.url}/healthz").text == "ok\n"
    assert http.get(f"{server.url}/readyz").text == "ready\n"
    text = http.get(f"{server.url}/metrics").text
    for name in ("safelight_requests_total", "safelight_tasks{", "safelight_queue_depth"):
        assert name in text


def test_the_root_is_a_page_for_people_and_an_api_for_clients(
    server: Running, http: httpx.Client
) -> None:
    page = http.get(f"{server.url}/")
    assert page.headers["content-type"].startswith("text/html")
    for dialect in SERVED:
        assert named(dialect).title in page.text
    head = http.head(f"{server.url}/")
    assert (head.status_code, head.text) == (200, "")

    asked = http.get(f"{server.url}/?Action=DescribeImageTaskDetail&Version=2019-06-12&TaskId=1")
    assert refusal("tencent", asked) == "MissingParameter"
    assert refusal("tencent", http.post(f"{server.url}/")) == "MissingParameter"
    by_header = http.get(f"{server.url}/", headers={"x-tc-action": "DescribeImageTaskDetail"})
    assert refusal("tencent", by_header) == "MissingParameter"


def test_the_curl_lines_of_the_page_name_this_server(server: Running, http: httpx.Client) -> None:
    page = http.get(f"{server.url}/").text

    assert "{base}" not in page
    assert f"curl {server.url}/" in page


async def test_a_file_is_answered_in_ranges_and_by_its_tag(
    server: Running, http: httpx.Client
) -> None:
    task = await finished(server, "tensorslab", IMAGES["tensorslab"])
    url = task.artifacts[0].url or ""
    whole = http.get(url)
    size = len(whole.content)

    assert whole.headers["content-type"] == "image/png"
    assert int(whole.headers["content-length"]) == size
    head = http.head(url)
    assert (head.status_code, int(head.headers["content-length"]), head.content) == (200, size, b"")
    for asked, expected in (
        ("bytes=0-9", whole.content[:10]),
        ("bytes=10-", whole.content[10:]),
        ("bytes=-7", whole.content[-7:]),
        (f"bytes=0-{size * 2}", whole.content),
    ):
        part = http.get(url, headers={"range": asked})
        assert part.content == expected
        assert part.status_code == 206
    assert http.get(url, headers={"range": f"bytes={size}-"}).status_code == 416
    assert http.get(url, headers={"if-none-match": whole.headers["etag"]}).status_code == 304
    assert http.post(url).status_code == 405
    guess = "1.png" if url.endswith("0.png") else "0.png"
    for wrong in (url[:-5] + guess, url.replace("-a0-", "-a1-"), url.replace("-a0-", "-s0-"),
                  f"{server.url}/files/../safelight.db",
                  f"{server.url}/files/%2e%2e%2fsecret"):  # fmt: skip
        assert http.get(wrong).status_code == 404, wrong


async def test_a_task_is_readable_in_every_dialect_when_its_create_is_answered(
    server: Running, http: httpx.Client
) -> None:
    for created, asked in itertools.product(SERVED, SERVED):
        answer = server.ask(http, created, IMAGES[created])
        id = bare_id(_id(created, answer)) or ""
        seen = server.ask(http, asked, Fetch(id=id, kind=Kind.IMAGE))
        assert "not found" not in seen.text.lower()
        assert id in seen.text or asked == "tencent"
        assert named(asked).read_reply(
            Fetch(id=id, kind=Kind.IMAGE),
            Response(status=seen.status_code, body=seen.content),
        )
