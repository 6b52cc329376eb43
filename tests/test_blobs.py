"""Files by name: in a local folder, and in a bucket of a real S3 server."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest
from obstore.store import MemoryStore

from backends import Bucket, S3Server
from safelight.blobs import BlobError, Blobs

NAME = "tasks/abc/1-0.png"
# A page of an S3 server's list has 1000 names.
MORE_THAN_A_PAGE = 1003


@dataclass
class Kept:
    """Blobs, and the folder in which their files can be seen from outside."""

    blobs: Blobs
    folder: Path

    def files(self) -> list[str]:
        """The names of the files that are there."""
        found = (path for path in self.folder.rglob("*") if path.is_file())
        return sorted(str(path.relative_to(self.folder)) for path in found)

    def make(self, *names: str) -> None:
        """Make small files, faster than through the store."""
        for name in names:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")


@pytest.fixture
def bucket(s3: S3Server) -> Bucket:
    return s3.bucket("kept")


@pytest.fixture(params=["folder", "bucket"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Kept:
    if request.param == "folder":
        return Kept(Blobs.local(tmp_path / "files"), tmp_path / "files")
    made: Bucket = request.getfixturevalue("bucket")
    return Kept(remote(made), made.folder / "kept")


@pytest.fixture
def blobs(kept: Kept) -> Blobs:
    return kept.blobs


def remote(
    bucket: Bucket,
    link_seconds: float | None = 60,
    public_endpoint: str | None = None,
    endpoint: str | None = None,
) -> Blobs:
    """The blobs in a bucket, reached under its own address or another."""
    return Blobs.remote(
        bucket.url,
        {**bucket.options, "endpoint": endpoint or bucket.options["endpoint"]},
        link_seconds=link_seconds,
        public_endpoint=public_endpoint,
    )


async def read(blobs: Blobs, name: str, part: range | None = None) -> bytes:
    return b"".join([chunk async for chunk in await blobs.open(name, part)])


def on_another_disk(stack: ExitStack, here: Path) -> Path:
    if not Path("/dev/shm").is_dir():
        pytest.skip("there is one disk")
    other = Path(stack.enter_context(TemporaryDirectory(dir="/dev/shm")))
    assert other.stat().st_dev != here.stat().st_dev
    return other


async def folders(blobs: Blobs, first: str, last: str) -> list[str]:
    return [name async for name in blobs.folders("tasks/", first, last)]


# -------------------------------------------------------------------------------- in and out


async def test_bytes_are_read_back(kept: Kept) -> None:
    await kept.blobs.put(NAME, b"0123456789")

    assert await kept.blobs.get(NAME) == b"0123456789"
    assert await kept.blobs.size(NAME) == 10
    assert await read(kept.blobs, NAME) == b"0123456789"
    assert await read(kept.blobs, NAME, range(3, 5)) == b"34"
    assert await read(kept.blobs, NAME, range(9, 10)) == b"9"
    assert kept.files() == [NAME]


async def test_a_file_is_taken(kept: Kept, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"0123456789")

    await kept.blobs.take(NAME, tmp_path / "in", "image/png")

    assert await kept.blobs.get(NAME) == b"0123456789"
    assert kept.files() == [NAME]


async def test_a_file_of_the_same_disk_is_moved_and_not_copied(tmp_path: Path) -> None:
    blobs, path = Blobs.local(tmp_path / "files"), tmp_path / "in"
    path.write_bytes(b"0123456789")
    before = path.stat().st_ino

    await blobs.take(NAME, path)

    assert (tmp_path / "files" / NAME).stat().st_ino == before
    assert not path.exists()
    (tmp_path / "again").write_bytes(b"again")
    await blobs.take(NAME, tmp_path / "again")  # the name is the same: what was there is replaced
    assert await blobs.get(NAME) == b"again"


@pytest.mark.parametrize("kind", ["symbolic", "hard", "other disk"])
async def test_a_file_that_is_not_the_engines_alone_is_copied(tmp_path: Path, kind: str) -> None:
    blobs, path = Blobs.local(tmp_path / "files"), tmp_path / "in"
    with ExitStack() as stack:
        if kind == "other disk":
            path = on_another_disk(stack, tmp_path) / "in"
            path.write_bytes(b"theirs")
        else:
            (tmp_path / "theirs").write_bytes(b"theirs")
            link = path.symlink_to if kind == "symbolic" else path.hardlink_to
            link(tmp_path / "theirs")

        await blobs.take(NAME, path)

        assert path.read_bytes() == b"theirs"
    if kind != "other disk":
        (tmp_path / "theirs").write_bytes(b"changed")
    assert await blobs.get(NAME) == b"theirs"
    assert not (tmp_path / "files" / NAME).is_symlink()


async def test_the_folder_of_all_is_synced_also_where_the_first_file_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs, synced, fsync = Blobs.local(tmp_path / "files"), set[int](), os.fsync

    def seen(descriptor: int) -> None:
        synced.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", seen)
    (tmp_path / "theirs").write_bytes(b"theirs")
    (tmp_path / "in").hardlink_to(tmp_path / "theirs")

    await blobs.take(NAME, tmp_path / "in")

    assert (tmp_path / "files").stat().st_ino in synced


async def test_a_take_that_broke_off_may_be_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs, path = Blobs.local(tmp_path / "files"), tmp_path / "in"
    path.write_bytes(b"0123456789")

    def broken(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", broken)
        with pytest.raises(BlobError, match="Input/output error"):
            await blobs.take(NAME, path)
    await blobs.take(NAME, path)

    assert await blobs.get(NAME) == b"0123456789"


@pytest.mark.parametrize("name", ["tasks/../../out", "/tasks/a", "tasks/", "..", "a"])
async def test_nothing_is_taken_to_elsewhere(tmp_path: Path, name: str) -> None:
    blobs = Blobs.local(tmp_path / "files")
    (tmp_path / "in").write_bytes(b"0123456789")

    with pytest.raises(ValueError, match="not a f"):
        await blobs.take(name, tmp_path / "in")

    assert (tmp_path / "in").exists()


async def test_what_is_not_there_is_not_taken(blobs: Blobs, tmp_path: Path) -> None:
    with pytest.raises((BlobError, OSError)):
        await blobs.take(NAME, tmp_path / "nothing")


async def test_what_is_put_again_is_replaced(blobs: Blobs) -> None:
    await blobs.put(NAME, b"first", "image/png")
    await blobs.put(NAME, b"second and longer", "image/png")

    assert await blobs.get(NAME) == b"second and longer"


# The larger one goes to a bucket in several parts.
@pytest.mark.parametrize("size", [3_000_000, 12_000_000])
async def test_a_file_is_kept_and_copied_out(blobs: Blobs, tmp_path: Path, size: int) -> None:
    large = os.urandom(size)
    (tmp_path / "in").write_bytes(large)

    await blobs.put(NAME, tmp_path / "in", "video/mp4")
    await blobs.save(NAME, tmp_path / "out")

    assert await blobs.size(NAME) == size
    assert (tmp_path / "out").read_bytes() == large
    assert await read(blobs, NAME, range(1_000_000, 2_500_000)) == large[1_000_000:2_500_000]


async def test_a_file_that_is_empty_is_a_file(blobs: Blobs, tmp_path: Path) -> None:
    await blobs.put(NAME, b"")
    await blobs.save(NAME, tmp_path / "out")

    assert (await blobs.get(NAME), await blobs.size(NAME)) == (b"", 0)
    assert (tmp_path / "out").read_bytes() == b""


async def test_a_blob_that_is_not_there_is_told_at_once(blobs: Blobs, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await blobs.get(NAME)
    with pytest.raises(FileNotFoundError):
        await blobs.size(NAME)
    with pytest.raises(FileNotFoundError):
        await blobs.save(NAME, tmp_path / "out")
    for part in (None, range(1)):
        with pytest.raises(FileNotFoundError):
            await blobs.open(NAME, part)
    assert not (tmp_path / "out").exists()


async def test_a_store_that_answers_passes_the_check(blobs: Blobs) -> None:
    await blobs.check()


# ----------------------------------------------------------------------------------- removing


async def test_remove_takes_what_begins_with_the_prefix(kept: Kept) -> None:
    # More than are removed in one go.
    kept.make(*(f"tasks/abc/{n}" for n in range(60)), "tasks/abcd/0", "tasks/ab")

    await kept.blobs.remove("tasks/abc/")
    await kept.blobs.remove("tasks/abc/")  # nothing is left: nothing happens

    assert kept.files() == ["tasks/ab", "tasks/abcd/0"]


async def test_a_removed_folder_leaves_none_behind(tmp_path: Path) -> None:
    blobs = Blobs.local(tmp_path)
    await blobs.put(NAME, b"x")

    await blobs.remove("tasks/abc/")

    assert not (tmp_path / "tasks" / "abc").exists()


async def test_what_dead_writers_left_goes_with_the_folder(tmp_path: Path) -> None:
    # obstore writes to such a name and renames it; its list does not show it.
    kept = Kept(Blobs.local(tmp_path), tmp_path)
    kept.make(f"{NAME}#1", f"{NAME}#2", "tasks/abc/deeper/0#1", "tasks/abcd/0#1")

    await kept.blobs.remove("tasks/abc/")

    assert kept.files() == ["tasks/abcd/0#1"]
    assert not (tmp_path / "tasks" / "abc").exists()


# A process that puts a large file (a hole: it takes no room) again and again, until it is killed.
PUTS = """
import asyncio, os, sys
from pathlib import Path
from safelight.blobs import Blobs

async def put_for_ever(folder, large):
    os.truncate(os.open(large, os.O_CREAT | os.O_RDWR), 64_000_000)
    blobs = Blobs.local(folder)
    while True:
        await blobs.put("tasks/abc/1-0.mp4", large)

asyncio.run(put_for_ever(Path(sys.argv[1]), Path(sys.argv[2])))
"""


async def test_what_kill_9_leaves_in_the_middle_of_a_put_goes_with_the_folder(
    tmp_path: Path,
) -> None:
    kept = Kept(Blobs.local(tmp_path / "files"), tmp_path / "files")
    staged = kept.folder / "tasks/abc/1-0.mp4#1"

    await asyncio.to_thread(_kill_in_a_put, staged, kept.folder, tmp_path / "large")
    assert await folders(kept.blobs, "a", "b") == ["abc"]
    await kept.blobs.remove("tasks/abc/")

    assert kept.files() == []
    assert not staged.parent.exists()


def _kill_in_a_put(staged: Path, *arguments: Path) -> None:
    deadline = time.monotonic() + 60
    while not staged.exists():  # a kill may come just after the end of one put
        assert time.monotonic() < deadline, "nothing is left of any put"
        with subprocess.Popen([sys.executable, "-c", PUTS, *map(str, arguments)]) as process:
            while not staged.exists():
                assert process.poll() is None
                assert time.monotonic() < deadline, "nothing is put"
                time.sleep(0.001)
            process.kill()


async def test_what_is_put_while_its_folder_is_removed_can_be_removed_after_that(
    tmp_path: Path,
) -> None:
    kept = Kept(Blobs.local(tmp_path / "files"), tmp_path / "files")
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", 64_000_000)
    for _ in range(5):
        put = asyncio.ensure_future(kept.blobs.put(NAME, tmp_path / "large"))
        while not put.done():
            await kept.blobs.remove("tasks/abc/")
        with suppress(BlobError):  # its file was taken away under its hands
            await put

        await kept.blobs.remove("tasks/abc/")

        assert kept.files() == []


async def test_links_are_not_followed_when_a_folder_is_removed(tmp_path: Path) -> None:
    kept = Kept(Blobs.local(tmp_path / "files"), tmp_path / "files")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine").write_bytes(b"x")
    kept.make(NAME)
    (kept.folder / "tasks/abc/folder").symlink_to(outside)
    (kept.folder / "tasks/abc/file").symlink_to(outside / "mine")
    (kept.folder / "tasks/linked").symlink_to(outside)

    await kept.blobs.remove("tasks/abc/")
    with pytest.raises(OSError, match="symbolic link"):
        await kept.blobs.remove("tasks/linked/")

    assert kept.files() == []
    assert (outside / "mine").read_bytes() == b"x"
    assert await folders(kept.blobs, "a", "z") == []  # nor is such a link one of our folders


async def test_what_cannot_be_removed_keeps_nothing_else(tmp_path: Path) -> None:
    kept = Kept(Blobs.local(tmp_path), tmp_path)
    kept.make("tasks/abc", NAME.replace("abc", "abd"))  # a file where a folder should be

    with pytest.raises(NotADirectoryError):
        await kept.blobs.remove("tasks/abc/")
    await kept.blobs.remove("tasks/abd/")

    assert kept.files() == ["tasks/abc"]


@pytest.mark.parametrize("prefix", ["", "/", "./", "tasks", "tasks/../../a/", "../", "/etc/"])
async def test_only_a_folder_of_files_is_removed(tmp_path: Path, prefix: str) -> None:
    kept = Kept(Blobs.local(tmp_path), tmp_path)
    kept.make(NAME)

    with pytest.raises(ValueError, match="not a folder of files"):
        await kept.blobs.remove(prefix)

    assert kept.files() == [NAME]


async def test_two_may_remove_the_same_at_once(kept: Kept) -> None:
    kept.make(*(f"tasks/abc/{n}" for n in range(30)))

    await asyncio.gather(*(kept.blobs.remove("tasks/abc/") for _ in range(4)))

    assert kept.files() == []


# ------------------------------------------------------------------------------------ folders


async def test_folders_are_found_between_two_names(kept: Kept) -> None:
    kept.make(*(f"tasks/{name}/{n}" for name in "abcd" for n in range(3)), "others/b/0")

    assert sorted(await folders(kept.blobs, "a", "e")) == ["a", "b", "c", "d"]
    assert sorted(await folders(kept.blobs, "b", "d")) == ["b", "c"]
    assert await folders(kept.blobs, "bb", "bc") == []
    assert await folders(kept.blobs, "c", "c") == []
    assert await folders(kept.blobs, "e", "f") == []


async def test_folders_without_a_file_in_them_are_found_too(tmp_path: Path) -> None:
    kept = Kept(Blobs.local(tmp_path), tmp_path)
    kept.make("tasks/b/1-0.mp4#1", "tasks/c/0", "tasks/file")
    (tmp_path / "tasks" / "a").mkdir()

    assert await folders(kept.blobs, "a", "z") == ["a", "b", "c"]


async def test_there_are_no_folders_where_nothing_is(blobs: Blobs) -> None:
    assert await folders(blobs, "a", "z") == []


async def test_a_folder_of_many_files_is_found_once(kept: Kept) -> None:
    kept.make("tasks/a/0", *(f"tasks/b/{n}" for n in range(MORE_THAN_A_PAGE)), "tasks/c/0")

    assert sorted(await folders(kept.blobs, "a", "d")) == ["a", "b", "c"]
    assert await folders(kept.blobs, "b", "c") == ["b"]


# ---------------------------------------------------------------------------- the local folder


async def test_files_are_owned_by_the_folder(tmp_path: Path) -> None:
    blobs = Blobs.local(tmp_path / "files")

    with pytest.raises(Exception, match=r"\.\."):
        await blobs.put("../outside", b"x")

    assert not (tmp_path / "outside").exists()


async def test_a_folder_signs_no_links(tmp_path: Path) -> None:
    blobs = Blobs.local(tmp_path)

    assert not blobs.signs
    assert blobs.origins == frozenset()


async def test_any_store_of_obstores_will_do() -> None:
    blobs = Blobs(MemoryStore())
    await blobs.put(NAME, b"0123456789")

    assert await read(blobs, NAME, range(2, 4)) == b"23"
    await blobs.remove("tasks/abc/")
    with pytest.raises(FileNotFoundError):
        await blobs.open(NAME)


# -------------------------------------------------------------------------------- signed links


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who has no key."""
    async with httpx.AsyncClient(trust_env=False) as client:
        yield client


async def test_a_link_opens_without_a_key(bucket: Bucket, http: httpx.AsyncClient) -> None:
    blobs = remote(bucket)
    await blobs.put(NAME, b"0123456789", "image/png")

    answer = await http.get(blobs.link(NAME))
    part = await http.get(blobs.link(NAME), headers={"range": "bytes=3-4"})

    assert (answer.status_code, answer.content) == (200, b"0123456789")
    # The bucket knows what it is: a browser shows it.
    assert answer.headers["content-type"] == "image/png"
    assert part.content == b"34"  # this server says 200, others 206


async def test_a_link_opens_one_file_and_only_as_it_was_signed(
    bucket: Bucket, http: httpx.AsyncClient
) -> None:
    blobs = remote(bucket)
    await blobs.put(NAME, b"mine")
    await blobs.put("tasks/abc/2-0.png", b"another's")
    link = blobs.link(NAME)

    for other in (link.partition("?")[0], link.replace("1-0.png", "2-0.png"), f"{link[:-1]}x"):
        answer = await http.get(other)
        assert answer.status_code in (400, 403)
        assert b"another's" not in answer.content
    assert (await http.put(link, content=b"changed")).status_code == 403
    assert await blobs.get(NAME) == b"mine"


async def test_a_link_of_a_blob_that_is_gone_leads_nowhere(
    bucket: Bucket, http: httpx.AsyncClient
) -> None:
    assert (await http.get(remote(bucket).link(NAME))).status_code == 404


async def test_a_link_expires(bucket: Bucket, http: httpx.AsyncClient) -> None:
    blobs = remote(bucket, link_seconds=1)
    await blobs.put(NAME, b"x")
    link = blobs.link(NAME)
    deadline = time.monotonic() + 30

    while (answer := await http.get(link)).status_code == 200:
        assert time.monotonic() < deadline, "the link does not expire"
        await asyncio.sleep(0.1)

    assert answer.status_code in (400, 403)
    assert (await http.get(remote(bucket).link(NAME))).status_code == 200  # the file is there


async def test_a_link_is_the_same_while_half_of_its_time_is_left(bucket: Bucket) -> None:
    blobs = remote(bucket, link_seconds=600)
    brief = remote(bucket, link_seconds=2)
    began = time.monotonic()
    link = brief.link(NAME)

    assert {blobs.link(NAME) for _ in range(5)} == {blobs.link(NAME)}
    assert blobs.link("another") != blobs.link(NAME)
    while brief.link(NAME) == link:
        assert time.monotonic() - began < 30, "the link is never signed anew"
        await asyncio.sleep(0.02)
    assert time.monotonic() - began > 1


async def test_a_link_is_of_the_public_endpoint(bucket: Bucket) -> None:
    blobs = remote(bucket, public_endpoint="https://files.example:9443")

    assert blobs.link(NAME).startswith("https://files.example:9443/")
    assert f"/kept/{NAME}?" in blobs.link(NAME)
    assert blobs.origins == {"https://files.example:9443"}
    await blobs.put(NAME, b"x")  # itself it goes the short way
    assert await blobs.get(NAME) == b"x"


async def test_a_public_endpoint_that_leads_to_the_same_server_opens_the_file(
    s3: S3Server, bucket: Bucket, http: httpx.AsyncClient
) -> None:
    public = f"http://localhost:{s3.port}"
    blobs = remote(bucket, public_endpoint=public)
    await blobs.put(NAME, b"x")

    assert blobs.link(NAME).startswith(f"{public}/")
    assert (await http.get(blobs.link(NAME))).content == b"x"


async def test_links_are_not_signed_where_nobody_wants_them(bucket: Bucket) -> None:
    blobs = remote(bucket, link_seconds=None)

    assert not blobs.signs
    assert blobs.origins == frozenset()


async def test_links_come_from_the_buckets_own_address(s3: S3Server, bucket: Bucket) -> None:
    assert remote(bucket).origins == {s3.endpoint}


# ----------------------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT"])
async def test_what_is_not_given_comes_from_the_environment(
    s3: S3Server, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, s3.endpoint)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.SECRET)
    blobs = Blobs.remote(bucket.url, {}, link_seconds=60)

    await blobs.put(NAME, b"x")

    assert bucket.files() == [f"kept/{NAME}"]
    assert blobs.origins == {s3.endpoint}


async def test_an_endpoint_may_have_its_long_name(s3: S3Server, bucket: Bucket) -> None:
    options = {**bucket.options, "aws_endpoint": bucket.options["endpoint"]}
    del options["endpoint"]
    blobs = Blobs.remote(
        bucket.url, options, link_seconds=60, public_endpoint="https://files.example"
    )

    await blobs.check()

    assert blobs.origins == {"https://files.example"}


WRONG_KEYS = [
    ({"secret_access_key": "another-secret"}, "SignatureDoesNotMatch"),
    ({"access_key_id": "another-key"}, "InvalidAccessKeyId"),
]


@pytest.mark.parametrize(("options", "said"), WRONG_KEYS)
async def test_wrong_keys_are_told(bucket: Bucket, options: dict[str, str], said: str) -> None:
    blobs = Blobs.remote(bucket.url, {**bucket.options, **options}, link_seconds=60)

    for act in (blobs.check, lambda: blobs.put(NAME, b"x"), lambda: blobs.get(NAME)):
        with pytest.raises(BlobError, match=said):
            await act()
    assert bucket.files() == []


async def test_a_bucket_that_is_not_there_is_told(bucket: Bucket) -> None:
    blobs = Blobs.remote("s3://no-such-bucket/kept", bucket.options, link_seconds=60)

    with pytest.raises(BlobError, match="NoSuchBucket"):
        await blobs.check()
    # A file is put nowhere: that is no file which is not found.
    with pytest.raises(BlobError, match="NoSuchBucket"):
        await blobs.put(NAME, b"x")


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:1", "http://no-such-host.invalid"])
async def test_a_wrong_address_is_told_soon(bucket: Bucket, endpoint: str) -> None:
    blobs = remote(bucket, endpoint=endpoint)
    began = time.monotonic()

    with pytest.raises((BlobError, TimeoutError)):
        await blobs.check()

    assert time.monotonic() - began < 10


async def test_a_server_that_is_down_is_told_soon_and_is_back_when_it_is(
    tmp_path: Path,
) -> None:
    root = tmp_path / "buckets"
    root.mkdir()
    own = S3Server(root)
    own.start()
    try:
        blobs = remote(own.bucket())
        await blobs.put(NAME, b"x")
        own.stop()
        await _fails_soon(blobs.check)
        await _fails_soon(lambda: blobs.put(NAME, b"y"))
        await _fails_soon(lambda: blobs.get(NAME))
        own.start()
        await blobs.check()
        assert await blobs.get(NAME) == b"x"
    finally:
        own.close()


async def _fails_soon(act: Callable[[], Awaitable[object]]) -> None:
    began = time.monotonic()
    with pytest.raises((BlobError, TimeoutError)):
        await act()
    assert time.monotonic() - began < 15


NO_BUCKET = [
    ("nowhere://bucket/kept", {}, "recognise"),
    ("s3://", {}, "recognise"),
    ("s3:///kept", {}, "recognise"),
    ("http://files.example/kept", {}, "must be a bucket"),
    ("memory:///", {}, "must be a bucket"),
    ("file:///", {}, "must be a bucket"),
    ("s3://bucket/kept", {"colour": "blue"}, "colour"),
    ("az://bucket/kept", {}, "[Aa]ccount"),
]


@pytest.mark.parametrize(("url", "options", "said"), NO_BUCKET)
def test_what_is_no_bucket_is_refused_in_a_line(
    url: str, options: dict[str, str], said: str
) -> None:
    with pytest.raises(ValueError, match=said) as told:
        Blobs.remote(url, options, link_seconds=60)

    assert "\n" not in str(told.value)
