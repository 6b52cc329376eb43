"""Files out: what a link answers, and when it is a link no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from backends import Bucket, S3Server
from doubles import Serving, StartApp, picture
from safelight.blob_names import task_folder
from safelight.engines import Event, File, Job
from safelight.links import FILES, Links, Target
from safelight.secrets import Vault
from safelight.task import Delete

DATA = picture()
SIZE = len(DATA)


async def link(serving: Serving) -> str:
    """The path of the link to a picture that was made."""
    id = await serving.create()
    await serving.ended(id)
    url: str = (await serving.ask(id)).json()["data"]["url"][0]
    return httpx.URL(url).path


@pytest.fixture
async def path(serving: Serving) -> str:
    return await link(serving)


async def test_a_file_comes_with_its_type_length_and_name(serving: Serving, path: str) -> None:
    answer = await serving.http.get(path)

    assert (answer.status_code, answer.content) == (200, DATA)
    assert path.endswith(".png")
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-length"] == str(SIZE)
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["etag"].startswith('"')
    assert answer.headers["content-disposition"].endswith('-0.png"')
    # It is shown as what it is, or not at all, and may do nothing.
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]


async def test_the_suffix_of_a_link_is_for_people(serving: Serving, path: str) -> None:
    bare = path.rpartition(".")[0]

    assert (await serving.http.get(bare)).content == DATA
    assert (await serving.http.get(f"{bare}.mp4")).headers["content-type"] == "image/png"


async def test_head_says_the_same_without_the_file(serving: Serving, path: str) -> None:
    whole = await serving.http.get(path)

    answer = await serving.http.head(path)

    assert answer.status_code == 200
    assert answer.content == b""
    assert dict(answer.headers) == dict(whole.headers)


async def test_another_method_is_not_allowed(serving: Serving, path: str) -> None:
    assert (await serving.http.delete(path)).status_code == 405


# -------------------------------------------------------------------------------------- ranges

RANGES = [
    ("bytes=0-0", 0, 1),
    ("bytes=2-4", 2, 5),
    ("bytes=5-", 5, SIZE),
    ("bytes=0-", 0, SIZE),
    (f"bytes=0-{SIZE - 1}", 0, SIZE),
    ("bytes=3-999999", 3, SIZE),
    ("bytes=-4", SIZE - 4, SIZE),
    ("bytes=-999999", 0, SIZE),
    (f"bytes={SIZE - 1}-", SIZE - 1, SIZE),
]


@pytest.mark.parametrize(("asked", "start", "end"), RANGES)
async def test_a_range_is_answered_with_206(
    serving: Serving, path: str, asked: str, start: int, end: int
) -> None:
    answer = await serving.http.get(path, headers={"range": asked})

    assert answer.status_code == 206
    assert answer.content == DATA[start:end]
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert answer.headers["content-length"] == str(end - start)


@pytest.mark.parametrize("asked", [f"bytes={SIZE}-", "bytes=99999-100000", "bytes=-0"])
async def test_a_range_beyond_the_end_is_416(serving: Serving, path: str, asked: str) -> None:
    answer = await serving.http.get(path, headers={"range": asked})

    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{SIZE}"
    assert answer.content == b""


@pytest.mark.parametrize(
    "asked",
    ["", "bytes=", "bytes=-", "bytes=5-2", "bytes=0-1,3-4", "items=0-1", "bytes=a-b", "x" * 5000],
)
async def test_what_is_no_single_range_is_the_whole_file(
    serving: Serving, path: str, asked: str
) -> None:
    answer = await serving.http.get(path, headers={"range": asked})

    assert (answer.status_code, answer.content) == (200, DATA)
    assert "content-range" not in answer.headers


async def test_a_range_is_for_get_alone(serving: Serving, path: str) -> None:
    answer = await serving.http.head(path, headers={"range": "bytes=0-1"})

    assert (answer.status_code, answer.headers["content-length"]) == (200, str(SIZE))


# ---------------------------------------------------------------------------------- conditions


async def test_what_the_caller_has_is_not_sent_again(serving: Serving, path: str) -> None:
    etag = (await serving.http.get(path)).headers["etag"]

    for condition in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        answer = await serving.http.get(path, headers={"if-none-match": condition})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == etag
    answer = await serving.http.get(path, headers={"if-none-match": '"other"'})
    assert answer.status_code == 200


async def test_a_range_of_another_version_is_the_whole_file(serving: Serving, path: str) -> None:
    etag = (await serving.http.get(path)).headers["etag"]

    async def status(condition: str) -> int:
        headers = {"range": "bytes=0-1", "if-range": condition}
        return (await serving.http.get(path, headers=headers)).status_code

    assert await status(etag) == 206
    assert await status('"other"') == 200
    assert await status(f"W/{etag}") == 200  # a weak tag does not promise the same bytes
    assert await status("Wed, 21 Oct 2015 07:28:00 GMT") == 200


# --------------------------------------------------------------------------------- and no more


async def test_a_link_with_a_wrong_signature_is_none(serving: Serving, path: str) -> None:
    wrong = f"{path.rpartition('-')[0]}-{'0' * 32}.png"

    for each in (wrong, f"{FILES}x", f"{FILES}..%2f..%2fsecret", path.replace("-a0-", "-a1-")):
        assert (await serving.http.get(each)).status_code == 404


async def test_a_file_that_the_task_does_not_have_is_none(serving: Serving, path: str) -> None:
    id = path.removeprefix(FILES)[:24]
    links = Links(Vault.open(serving.app.settings.data))
    for what, number in (("a", 5), ("s", 0)):
        url = links.write("", Target(id, what, number), None)
        assert (await serving.http.get(url)).status_code == 404


async def test_a_deleted_task_takes_its_links_with_it(serving: Serving, path: str) -> None:
    id = path.removeprefix(FILES)[:24]

    await serving.app.service.delete(serving.key.id, Delete(ids=(id,)))

    assert (await serving.http.get(path)).status_code == 404


async def test_an_expired_task_takes_its_links_with_it(serving: Serving, path: str) -> None:
    await serving.age(path.removeprefix(FILES)[:24])  # nothing is swept yet

    assert (await serving.http.get(path)).status_code == 404


async def test_a_file_that_is_removed_just_now_is_none(serving: Serving, path: str) -> None:
    await serving.app.blobs.remove(task_folder(path.removeprefix(FILES)[:24]))

    answer = await serving.http.get(path)

    assert answer.status_code == 404
    assert (await serving.http.get(path, headers={"range": "bytes=0-1"})).status_code == 404


# -------------------------------------------------------------------------------------- sources


async def test_what_was_uploaded_can_be_seen_too(serving: Serving) -> None:
    data = picture(3, 3, "JPEG")
    answer = await serving.post(
        "/v1/images/seedreamv4",
        data={"prompt": "a"},
        files={"sourceImage": ("<script>.html", data, "text/html")},
    )
    id = answer.json()["data"]["taskid"]
    url = (await serving.ask(id)).json()["data"]["images"][0]

    sent = await serving.http.get(url)

    assert sent.content == data
    # By what it is, whatever it was called.
    assert sent.headers["content-type"] == "image/jpeg"
    assert sent.headers["content-disposition"].endswith('-0.jpg"')
    tail = await serving.http.get(url, headers={"range": "bytes=-3"})
    assert tail.content == data[-3:]
    etag = sent.headers["etag"]
    assert (await serving.http.get(url, headers={"if-none-match": etag})).status_code == 304


async def test_a_large_file_comes_whole_and_in_parts(start_app: StartApp) -> None:
    data = bytes(range(256)) * 6000

    async def play(job: Job) -> AsyncIterator[Event]:
        path = job.folder / "film.mp4"
        path.write_bytes(data)
        yield File(path=path, media_type="video/mp4")

    serving = await start_app(play)
    path = await link(serving)

    assert (await serving.http.get(path)).content == data
    asked = {"range": "bytes=700000-1400000"}
    assert (await serving.http.get(path, headers=asked)).content == data[700000:1400001]


# ------------------------------------------------------------------------------- from a bucket


@pytest.fixture
async def bucket(s3: S3Server) -> Bucket:
    return s3.bucket()


@pytest.fixture
async def distant(start_app: StartApp, bucket: Bucket) -> Serving:
    """An app whose files are in a bucket, and go out through it."""
    return await start_app(files=bucket.url, files_options=bucket.options, files_links="own")


@pytest.mark.parametrize(
    ("asked", "start", "end"), [*RANGES[:4], ("bytes=-4", SIZE - 4, SIZE), (None, 0, SIZE)]
)
async def test_a_file_in_a_bucket_comes_whole_and_in_parts(
    distant: Serving, bucket: Bucket, asked: str | None, start: int, end: int
) -> None:
    path = await link(distant)

    answer = await distant.http.get(path, headers={"range": asked} if asked else {})

    assert answer.status_code == (206 if asked else 200)
    assert answer.content == DATA[start:end]
    assert answer.headers["content-length"] == str(end - start)
    assert answer.headers["content-type"] == "image/png"
    assert len(bucket.files()) == 1
    assert not (distant.app.settings.data / "files").exists()


async def test_what_was_uploaded_can_be_seen_from_a_bucket_too(distant: Serving) -> None:
    data = picture(3, 3, "JPEG")
    answer = await distant.post(
        "/v1/images/seedreamv4", data={"prompt": "a"}, files={"sourceImage": ("a", data)}
    )
    id = answer.json()["data"]["taskid"]
    await distant.ended(id)

    sent = await distant.http.get((await distant.ask(id)).json()["data"]["images"][0])

    assert (sent.content, sent.headers["content-type"]) == (data, "image/jpeg")


async def test_a_signed_link_leads_to_the_bucket_and_the_own_one_still_works(
    start_app: StartApp, bucket: Bucket
) -> None:
    serving = await start_app(files=bucket.url, files_options=bucket.options)
    id = await serving.create()
    await serving.ended(id)

    signed = (await serving.ask(id)).json()["data"]["url"][0]
    links = Links(Vault.open(serving.app.settings.data))
    own = links.write("", Target(id, "a", 0), "image/png")

    assert signed.startswith(f"{bucket.options['endpoint']}/")
    async with httpx.AsyncClient(trust_env=False) as nobody:
        answer = await nobody.get(signed)
    assert (answer.content, answer.headers["content-type"]) == (DATA, "image/png")
    assert (await serving.http.get(own)).content == DATA


async def test_a_file_that_is_gone_from_the_bucket_is_none(
    distant: Serving, bucket: Bucket
) -> None:
    path = await link(distant)
    for name in bucket.files():
        (bucket.folder / name).unlink()

    assert (await distant.http.get(path)).status_code == 404


async def test_a_bucket_that_is_away_is_told_with_503(start_app: StartApp, tmp_path: Path) -> None:
    root = tmp_path / "buckets"
    root.mkdir()
    server = S3Server(root)
    server.start()
    try:
        bucket = server.bucket()
        serving = await start_app(files=bucket.url, files_options=bucket.options, files_links="own")
        path = await link(serving)
        assert (await serving.http.get("/readyz")).status_code == 200
        server.stop()

        answer = await serving.http.get(path)
        async with asyncio.timeout(10):  # what it was a moment ago is told for a second
            while (await serving.http.get("/readyz")).status_code != 503:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        server.start()
        again = await serving.http.get(path)
    finally:
        server.close()

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert "do not answer" in answer.text
    assert (again.status_code, again.content) == (200, DATA)
