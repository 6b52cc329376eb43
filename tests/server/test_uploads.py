"""Files that callers give beforehand: each wire's way, links that any dialect takes, and an end."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.json import encode

from doubles import Serving, StartApp, picture, write_picture
from safelight.engines import Event, Job
from safelight.server.housekeeping import Housekeeping
from safelight.store import scripts
from safelight.store.sqlite import connect
from safelight.task import Artifact, Source, Status

CREATE, ASK = "/v1/images/seedreamv4", "/v1/images/infobytaskid"
STREAM, BASE64, URL = (f"/api/file-{way}-upload" for way in ("stream", "base64", "url"))
DOWNLOAD = "/api/v1/common/download-url"
SIGN = "/api/assets/uploadSign"
FILE = picture(40, 30)
VAST = (5000, 5000)  # more pixels than are taken
DAY = 86_400


async def upload(serving: Serving, data: bytes = FILE, **more: Any) -> httpx.Response:
    """kie's upload of a file in a form."""
    form = {"uploadPath": "pictures", "fileName": "sea.png", **more.pop("form", {})}
    return await serving.post(STREAM, files={"file": ("a.png", data)}, data=form, **more)


async def upload_base64(serving: Serving, text: str) -> httpx.Response:
    asked = {"base64Data": text, "uploadPath": "pictures", "fileName": "sea.png"}
    return await serving.post(BASE64, json=asked)


async def link_of(serving: Serving) -> str:
    url: str = (await upload(serving)).json()["data"]["downloadUrl"]
    return url


async def sign(serving: Serving, **asked: Any) -> dict[str, Any]:
    """AiToEarn's announcement of a file."""
    answer = await serving.post(SIGN, json={"filename": "sea.png", "type": "temp", **asked})
    data: dict[str, Any] = answer.json()["data"]
    return data


async def confirm(serving: Serving, id: str, secret: str | None = None) -> dict[str, Any]:
    answer = await serving.post(f"/api/assets/{id}/confirm", secret)
    body: dict[str, Any] = answer.json()
    return body


async def age(serving: Serving, seconds: float) -> None:
    """Make it so much longer ago that all files were given."""

    def write() -> None:
        connection = connect(serving.app.settings.data / "safelight.db")
        connection.execute("update uploads set created = created - ?", (int(seconds * 1000),))
        connection.close()

    await asyncio.to_thread(write)


def kept(serving: Serving) -> list[str]:
    root = serving.app.settings.data / "files" / "uploads"
    return sorted(path.parent.parent.name for path in root.rglob("file"))


@pytest.fixture
async def other(serving: Serving) -> str:
    """The secret of another key."""
    return (await serving.app.keyring.create("another")).secret


# -------------------------------------------------------------------------------- kie's three ways


async def test_a_file_is_uploaded_in_a_form(serving: Serving) -> None:
    answer = await upload(serving)

    body = answer.json()
    assert (answer.status_code, body["success"], body["code"]) == (200, True, 200)
    data = body["data"]
    assert data["fileName"] == "sea.png"
    assert data["filePath"] == "pictures/sea.png"
    assert (data["fileSize"], data["mimeType"]) == (len(FILE), "image/png")
    assert data["uploadedAt"] < data["expiresAt"]
    file = await serving.http.get(data["downloadUrl"])  # without a key
    assert (file.status_code, file.headers["content-type"], file.content) == (
        200,
        "image/png",
        FILE,
    )
    assert data["downloadUrl"].endswith(".png")


@pytest.mark.parametrize("head", ["", "data:image/png;base64,"])
async def test_a_file_is_uploaded_in_base64(serving: Serving, head: str) -> None:
    answer = await upload_base64(serving, head + base64.b64encode(FILE).decode())

    data = answer.json()["data"]
    assert (await serving.http.get(data["downloadUrl"])).content == FILE


@pytest.mark.parametrize("text", ["", "data:image/png;base64,", "no base64!", "Zm9v" * 3 + "=Zm9v"])
async def test_what_is_no_base64_is_refused(serving: Serving, text: str) -> None:
    answer = await upload_base64(serving, text)

    assert (answer.status_code, answer.json()["success"]) == (400, False)
    assert "base64Data" in answer.json()["msg"]


@pytest.fixture
async def elsewhere() -> AsyncIterator[str]:
    """The address of a file server on this machine; `/sea.png` is there, and takes no time."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = (await reader.readline()).decode()
        while (await reader.readline()).strip():
            pass
        if "slow" in line:
            await reader.read()  # until its caller gives up
            writer.close()
            return
        status, body = ("200 OK", FILE) if "sea.png" in line else ("404 Not Found", b"")
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    yield f"http://{host}:{port}"
    server.close()


async def test_a_file_is_fetched_from_its_address(start_app: StartApp, elsewhere: str) -> None:
    serving = await start_app(private_sources=True)

    asked = {"fileUrl": f"{elsewhere}/sea.png", "uploadPath": "pictures"}
    answer = await serving.post(URL, json=asked)

    data = answer.json()["data"]
    assert (await serving.http.get(data["downloadUrl"])).content == FILE
    missing = await serving.post(URL, json={**asked, "fileUrl": f"{elsewhere}/none"})
    assert (missing.status_code, missing.json()["success"]) == (400, False)
    assert "404" in missing.json()["msg"]


async def test_a_private_address_is_not_fetched(serving: Serving, elsewhere: str) -> None:
    asked = {"fileUrl": f"{elsewhere}/sea.png", "uploadPath": "pictures"}
    answer = await serving.post(URL, json=asked)

    assert (answer.status_code, answer.json()["success"]) == (400, False)
    assert "private" in answer.json()["msg"]
    assert kept(serving) == []


async def test_only_a_few_files_are_fetched_at_once(start_app: StartApp, elsewhere: str) -> None:
    serving = await start_app(private_sources=True, source_timeout=2)
    asked = {"fileUrl": f"{elsewhere}/slow", "uploadPath": "pictures"}
    slow = [asyncio.create_task(serving.post(URL, json=asked)) for _ in range(6)]
    answers = await asyncio.gather(*slow)

    told = sorted(answer.status_code for answer in answers)
    assert told == [400, 400, 503, 503, 503, 503]
    assert all("retry-after" in one.headers for one in answers if one.status_code == 503)
    at_once = await serving.post(URL, json={**asked, "fileUrl": f"{elsewhere}/sea.png"})
    assert at_once.status_code == 200  # the places are free again


async def test_one_of_our_own_files_is_taken_without_fetching(serving: Serving) -> None:
    # The address is this server's, on a network that nothing is fetched from.
    asked = {"fileUrl": await link_of(serving), "uploadPath": "again"}
    answer = await serving.post(URL, json=asked)

    data = answer.json()["data"]
    assert (await serving.http.get(data["downloadUrl"])).content == FILE
    assert len(kept(serving)) == 2


async def test_a_film_of_ours_that_is_too_large_is_not_read(start_app: StartApp) -> None:
    serving = await start_app(max_source=1000)
    id = await serving.create()
    await serving.ended(id)
    film = f"tasks/{id}/1-0.png"
    await serving.app.blobs.put(film, b"x" * 5000)
    ours = Artifact(blob=film, media_type="video/mp4", size=5000)
    connection = connect(serving.app.settings.data / "safelight.db")
    connection.execute("update tasks set artifacts = ? where id = ?", (encode([ours]).decode(), id))
    connection.close()
    url = (await serving.ask(id)).json()["data"]["url"][0]

    answer = await serving.post(URL, json={"fileUrl": url, "uploadPath": "again"})

    assert (answer.status_code, answer.json()["success"]) == (413, False)
    assert kept(serving) == []


async def test_a_put_that_the_disk_refuses_may_be_made_again(serving: Serving) -> None:
    told = await sign(serving)
    place = serving.app.settings.data / "files" / "uploads"
    place.parent.mkdir(exist_ok=True)
    await asyncio.to_thread(place.write_bytes, b"in the way")

    assert (await serving.http.put(told["uploadUrl"], content=FILE)).status_code == 503
    await asyncio.to_thread(place.unlink)
    assert (await serving.http.put(told["uploadUrl"], content=FILE)).status_code == 200


@pytest.mark.parametrize("name", ["uploadPath", "file"])
async def test_what_is_missing_is_told_by_its_name(serving: Serving, name: str) -> None:
    files = {} if name == "file" else {"file": ("a.png", FILE)}
    form = {} if name == "uploadPath" else {"uploadPath": "pictures"}
    answer = await serving.post(STREAM, files=files or {"x": ("x", b"x")}, data=form)

    assert answer.status_code == 400
    assert answer.json() == {
        "success": False,
        "code": 400,
        "msg": f"Missing required parameter: {name}",
    }


async def test_an_upload_without_a_key_is_refused_before_it_is_read(serving: Serving) -> None:
    body = b"x" * (8 * 2**20)
    answer = await serving.http.post(STREAM, content=body)

    assert answer.status_code == 401
    assert answer.json()["msg"] == "Authentication failed: Invalid API Key"


@pytest.mark.parametrize("data", [b"<html>", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, b"%PDF-1.7", VAST])
async def test_only_pictures_films_and_sounds_are_kept(
    serving: Serving, data: bytes | tuple[int, int]
) -> None:
    answer = await upload(serving, data if isinstance(data, bytes) else picture(*data))

    assert (answer.status_code, answer.json()["success"]) == (400, False)
    assert kept(serving) == []


async def test_a_film_is_kept(serving: Serving) -> None:
    answer = await upload(serving, b"\0\0\0\x20ftypisom" + b"\0" * 200)

    assert answer.json()["data"]["mimeType"] == "video/mp4"


async def test_what_is_too_large_is_refused(start_app: StartApp) -> None:
    serving = await start_app(max_source=1000)
    answer = await upload(serving, picture(400, 300) + b"\0" * 2000)

    assert (answer.status_code, answer.json()["success"]) == (413, False)


# ------------------------------------------------------------------------ AiToEarn in three steps


async def test_a_file_is_announced_put_and_confirmed(serving: Serving) -> None:
    told = await sign(serving, size=len(FILE))
    early = await confirm(serving, told["id"])
    put = await serving.http.put(told["uploadUrl"], content=FILE)  # without a key

    assert early["code"] == 10002
    assert "sent" in early["message"]
    assert put.status_code == 200
    done = await confirm(serving, told["id"])
    assert (done["code"], done["data"]["status"]) == (0, "confirmed")
    for url in (told["url"], done["data"]["url"]):
        assert (await serving.http.get(url)).content == FILE


async def test_nothing_is_there_before_it_was_put(serving: Serving) -> None:
    told = await sign(serving)

    assert (await serving.http.get(told["url"])).status_code == 404
    assert (await serving.http.get(told["uploadUrl"])).status_code == 404


async def test_what_was_put_is_never_changed(serving: Serving) -> None:
    told = await sign(serving)
    await serving.http.put(told["uploadUrl"], content=FILE)
    again = await serving.http.put(told["uploadUrl"], content=picture(9, 9))

    assert again.status_code == 409
    assert (await serving.http.get(told["url"])).content == FILE


async def test_two_that_are_put_at_once_are_one(serving: Serving) -> None:
    told = await sign(serving)
    files = [picture(40 + n, 30) for n in range(4)]
    puts = (serving.http.put(told["uploadUrl"], content=file) for file in files)
    statuses = [answer.status_code for answer in await asyncio.gather(*puts)]

    assert sorted(statuses) == [200, 409, 409, 409]
    taken = files[statuses.index(200)]
    assert (await serving.http.get(told["url"])).content == taken
    assert len(kept(serving)) == 1


async def test_only_the_address_that_was_told_takes_a_file(serving: Serving) -> None:
    told = await sign(serving)
    name = told["uploadUrl"].rpartition("/")[2]
    for strange in (
        told["url"],  # the link to the file
        told["uploadUrl"][:-1] + ("0" if told["uploadUrl"][-1] != "0" else "1"),
        told["uploadUrl"].replace(told["id"], "0" * 24),
        told["uploadUrl"].replace(name, "x"),
    ):
        answer = await serving.http.put(strange, content=b"x" * 2**21)
        assert answer.status_code == 404
    assert kept(serving) == []


async def test_what_is_put_is_judged_as_what_is_uploaded(start_app: StartApp) -> None:
    serving = await start_app(max_source=100_000)
    told = await sign(serving)
    for data, status in ((b"<html>", 400), (b"", 400), (b"\xff" * 200_000, 413)):
        answer = await serving.http.put(told["uploadUrl"], content=data)
        assert answer.status_code == status
    assert (await serving.http.put(told["uploadUrl"], content=FILE)).status_code == 200


async def test_a_file_that_breaks_off_may_be_put_again(serving: Serving) -> None:
    told = await sign(serving)

    async def broken() -> AsyncIterator[bytes]:
        yield FILE[:20]
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await serving.http.put(told["uploadUrl"], content=broken())
    assert (await serving.http.put(told["uploadUrl"], content=FILE)).status_code == 200


async def test_another_s_file_cannot_be_confirmed(serving: Serving, other: str) -> None:
    told = await sign(serving)
    await serving.http.put(told["uploadUrl"], content=FILE)

    for id in (told["id"], "0" * 24, "nonsense"):
        assert (await confirm(serving, id, other))["code"] == 404


@pytest.mark.parametrize("asked", [{}, {"filename": " "}, {"filename": "a", "size": -1}, []])
async def test_a_bad_announcement_is_refused(serving: Serving, asked: Any) -> None:
    answer = await serving.post(SIGN, json=asked)

    assert answer.json()["code"] == 10002


# ------------------------------------------------------------------------------------------- quota


async def test_a_key_keeps_so_much_and_no_more(start_app: StartApp) -> None:
    serving = await start_app(upload_quota=200_000)  # each counts 64 KiB at least
    other = (await serving.app.keyring.create("another")).secret
    for _ in range(3):
        assert (await upload(serving)).status_code == 200

    full = await upload(serving)

    assert (full.status_code, full.json()["success"]) == (413, False)
    assert "200000" in full.json()["msg"]
    assert (await serving.post(SIGN, json={"filename": "a"})).json()["code"] == 10002
    files = {"file": ("a.png", FILE)}
    allowed = await serving.post(STREAM, other, files=files, data={"uploadPath": "x"})
    assert allowed.status_code == 200
    await age(serving, 4 * DAY)  # what is gone counts no more
    assert (await upload(serving)).status_code == 200


async def test_uploads_at_once_do_not_pass_the_quota_together(start_app: StartApp) -> None:
    serving = await start_app(upload_quota=200_000)
    answers = await asyncio.gather(*(upload(serving) for _ in range(8)))

    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [413] * 5


async def test_a_file_counts_what_it_has_and_not_what_was_announced(start_app: StartApp) -> None:
    serving = await start_app(upload_quota=200_000)
    small = await sign(serving, size=1)
    film = b"\0\0\0\x20ftypisom" + b"\0" * 190_000
    assert (await serving.http.put(small["uploadUrl"], content=film)).status_code == 200

    second = await serving.post(SIGN, json={"filename": "b", "size": 1})
    assert second.json()["code"] == 10002  # 64 KiB more would be too much
    await age(serving, 4 * DAY)
    other = await sign(serving, size=1)
    await sign(serving, size=100_000)
    assert (await serving.http.put(other["uploadUrl"], content=film)).status_code == 413


async def test_no_file_is_kept_where_the_quota_is_nothing(start_app: StartApp) -> None:
    serving = await start_app(upload_quota=0)

    assert (await upload(serving)).status_code == 413


# ------------------------------------------------------------------------------ what it is good for


class Looking:
    """An engine's play that keeps what it was given."""

    def __init__(self) -> None:
        self.given: list[bytes] = []

    async def __call__(self, job: Job) -> AsyncIterator[Event]:
        self.given += [await asyncio.to_thread(source.path.read_bytes) for source in job.sources]
        yield write_picture(job)


async def test_a_link_is_a_source_in_any_dialect(start_app: StartApp) -> None:
    looking = Looking()
    serving = await start_app(looking)
    url = await link_of(serving)
    asked = {"model": "gpt-image-2-image-to-image", "input": {"prompt": "a", "input_urls": [url]}}
    made = await serving.post("/api/v1/jobs/createTask", json=asked)
    ids = [made.json()["data"]["taskId"], await serving.create(imageUrl=url)]
    edit = {"model": "m", "prompt": "a", "image": url}
    answer = await serving.post("/api/ai/image/edit/async", json=edit)
    ids.append(answer.json()["data"]["logId"])

    for id in ids:
        assert (await serving.ended(id)).status is Status.SUCCEEDED
    assert looking.given == [FILE] * 3


async def test_a_link_ends_and_its_file_a_day_later(serving: Serving) -> None:
    url = await link_of(serving)
    house = Housekeeping(
        serving.app.store,
        serving.app.blobs,
        serving.app.housekeeping._recovery,
        10**9,
        serving.app.settings.uploads_kept,
    )
    await age(serving, 3 * DAY + 60)

    assert (await serving.http.get(url)).status_code == 404
    # A task that named it in time may still wait for its turn.
    now = await serving.app.store.now() // 1000
    assert await house.sweep_uploads(now) == 0
    id = await serving.create(imageUrl=url)
    assert (await serving.ended(id)).status is Status.SUCCEEDED

    await age(serving, DAY)
    assert await house.sweep_uploads(now) == 1
    assert kept(serving) == []
    late = await serving.ended(await serving.create(imageUrl=url))
    assert late.failure is not None
    assert "not there any more" in late.failure.message


async def test_what_was_announced_and_never_put_is_swept(serving: Serving) -> None:
    told = await sign(serving)
    await age(serving, 4 * DAY + 60)

    assert (await serving.http.put(told["uploadUrl"], content=FILE)).status_code == 404
    now = await serving.app.store.now() // 1000
    assert await serving.app.housekeeping.sweep_uploads(now) == 1
    assert await serving.app.store.read(scripts.get_upload(told["id"])) is None


async def test_a_file_that_cannot_be_kept_leaves_nothing_for_long(serving: Serving) -> None:
    root = serving.app.settings.data / "files"
    uploads = root / "uploads"
    root.mkdir(exist_ok=True)
    await asyncio.to_thread(uploads.write_bytes, b"in the way")

    answer = await upload(serving)

    assert (answer.status_code, answer.json()["success"]) == (503, False)
    await asyncio.to_thread(uploads.unlink)
    await age(serving, 4 * DAY + 60)
    assert await serving.app.housekeeping.sweep_uploads(await serving.app.store.now() // 1000) == 1
    assert await serving.app.store.read(scripts.old_uploads(2**62, 10)) == ()


# ------------------------------------------------------------------------ addresses and credits


async def test_one_s_own_files_have_an_address(serving: Serving, other: str) -> None:
    id = await serving.create()
    await serving.ended(id)
    result = (await serving.ask(id)).json()["data"]["url"][0]
    for url in (result, await link_of(serving)):
        answer = await serving.post(DOWNLOAD, json={"url": url})
        assert (answer.status_code, answer.json()["code"]) == (200, 200)
        assert (await serving.http.get(answer.json()["data"])).status_code == 200

        foreign = await serving.post(DOWNLOAD, other, json={"url": url})
        assert (foreign.status_code, foreign.json()["code"]) == (422, 422)
    for url in ("https://example.com/a.png", "nonsense"):
        answer = await serving.post(DOWNLOAD, json={"url": url})
        assert (answer.status_code, answer.json()["code"]) == (422, 422)
    assert (await serving.post(DOWNLOAD, json={})).json()["code"] == 400


@pytest.mark.parametrize("path", ["/api/v1/chat/credit", "/api/v1/user/credits"])
async def test_credits_are_a_number(serving: Serving, path: str) -> None:
    key = {"authorization": f"Bearer {serving.key.secret}"}
    answer = await serving.http.get(path, headers=key)

    assert answer.json() == {"code": 200, "msg": "success", "data": 1_000_000}
    assert (await serving.http.get(path)).status_code == 401


# ------------------------------------------------------------------------------------- the client


@pytest.mark.parametrize("dialect", ["aigptimage", "aitoearn"])
async def test_the_client_uploads(serving: Serving, tmp_path: Path, dialect: str) -> None:
    path = tmp_path / "sea.png"
    await asyncio.to_thread(path.write_bytes, FILE)
    async with serving.client(dialect) as client:
        kept_file = await client.upload(path)

    assert kept_file.name == "sea.png"
    assert kept_file.url is not None
    assert (await serving.http.get(kept_file.url)).content == FILE


async def test_a_source_that_has_no_address_is_uploaded_first(start_app: StartApp) -> None:
    looking = Looking()
    serving = await start_app(looking)
    async with serving.client("aigptimage") as client:
        task = await client.submit(
            model="gpt-image-2-image-to-image",
            prompt="a",
            sources=(Source(data=FILE, name="sea.png"),),
        )
        ended = await client.wait(task)

    assert ended.status is Status.SUCCEEDED
    assert looking.given == [FILE]


async def test_the_client_asks_for_credits(serving: Serving) -> None:
    async with serving.client("aigptimage") as client:
        assert await client.credits() == 1_000_000
