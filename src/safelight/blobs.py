"""Files, through obstore: a local folder here, S3 and its kin elsewhere.

A blob is written once, under a name that no other attempt uses, and is complete when `put`
returns: on disk, for a folder. A writer that is killed leaves a file there that obstore does not
list, so what is removed of a folder is seen with our own eyes.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import stat
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import obstore
import structlog
from obstore.exceptions import BaseError, GenericError
from obstore.store import AzureStore, GCSStore, LocalStore, ObjectStore, S3Store, from_url

from safelight.durations import LONG, Durations, timed

_log = structlog.get_logger("safelight.blobs")

# A request to a bucket is tried again by obstore for a moment, by a worker for as long as it takes.
_RETRIES: Any = {"max_retries": 3, "retry_timeout": timedelta(seconds=10)}
_CONNECT_SECONDS = 5
_TRANSFER_SECONDS = 600
_CHECK_SECONDS = 5.0
_MOST_SIGNED = 10_000
_CHUNK = 2**18  # bytes of a download that are handed on together, at least
_NO_PARTS = "non-partial response"  # obstore's words for a server that answers parts with 200
# The names by which obstore, and the environment for it, know the address of an S3 server.
_ENDPOINTS = frozenset({"endpoint", "endpoint_url", "aws_endpoint", "aws_endpoint_url"})


class Blobs:
    """A store of files by name. `folder` is the local folder, None where it is not one.

    `durations` are how long its operations took, up to the first byte of what is opened.
    """

    def __init__(
        self, store: ObjectStore, folder: Path | None = None, signer: Signer | None = None
    ) -> None:
        self.durations: Durations[str] = Durations(LONG)
        self._store = store
        self._folder = folder
        self._signer = signer
        self._synced: set[str] = set()  # what of the folder's own names is on the disk
        # The addresses that signed links begin with: scheme, host and port.
        self.origins = frozenset({signer.origin} if signer else ())

    @classmethod
    def local(cls, folder: Path) -> Blobs:
        """Files in a folder, which is made if need be."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return cls(LocalStore(folder), folder)

    @classmethod
    def remote(
        cls,
        url: str,
        options: Mapping[str, str],
        *,
        link_seconds: float | None,
        public_endpoint: str | None = None,
    ) -> Blobs:
        """Files in a bucket: `s3://bucket/prefix`, `gs://…`, `az://…`.

        `options` are obstore's for that kind of store (`endpoint`, `region`, `access_key_id`, …);
        what is not there comes from the usual variables of the environment. Links are signed for
        `link_seconds`, for `public_endpoint` where callers reach the bucket under another name;
        None: they are not. Raises `ValueError` for an address or an option that is none.
        """
        signer = None
        if link_seconds is not None:
            public = options
            if public_endpoint is not None:
                others = {name: options[name] for name in options if name.lower() not in _ENDPOINTS}
                public = {**others, "endpoint": public_endpoint}
            signer = _signer(_open(url, public), link_seconds)
        return cls(_open(url, options), None, signer)

    @property
    def signs(self) -> bool:
        """Whether `link` makes links that need no server of ours."""
        return self._signer is not None

    @property
    def link_seconds(self) -> float:
        """How long such a link is good."""
        assert self._signer is not None
        return self._signer.seconds

    def link(self, name: str) -> str:
        """A link to a blob that the bucket itself answers, without a key, for a while."""
        assert self._signer is not None
        return self._signer.link(name)

    @timed("put")
    async def put(self, name: str, data: bytes | Path, media_type: str | None = None) -> None:
        """Keep `data` (bytes, or the file at a path) under `name`."""
        if self._folder is None:
            attributes: Any = {"Content-Type": media_type} if media_type else None
            try:
                await obstore.put_async(self._store, name, data, attributes=attributes)
            except FileNotFoundError as problem:  # the bucket is not there, or not any more
                raise GenericError(str(problem)) from None
            return
        await obstore.put_async(self._store, name, data)
        # obstore's folder writes and renames, but leaves the data to the page cache.
        await self._in_folder(_sync, PurePosixPath(name))

    @timed("take")
    async def take(self, name: str, path: Path, media_type: str | None = None) -> None:
        """Keep the file at `path` under `name`, as `put` does; it may be gone from there then.

        Beside a folder on the same disk nothing is copied. May be tried again where it raised.
        """
        if self._folder is not None:
            try:
                if await self._in_folder(partial(_move, path), _file(name)):
                    return
            except OSError as problem:  # as obstore tells of a disk that cannot just now
                raise GenericError(str(problem)) from None
        await self.put(name, path, media_type)

    async def _in_folder(
        self, act: Callable[[Path, PurePosixPath, Path | None], bool], name: PurePosixPath
    ) -> bool:
        """Bring a file to the disk, and the folder of all files once for each of its names.

        Whether `act` did so.
        """
        assert self._folder is not None
        kind = name.parts[0]
        root = None if kind in self._synced else self._folder
        done = await asyncio.to_thread(act, self._folder, name, root)
        if done:
            self._synced.add(kind)
        return done

    @timed("get")
    async def get(self, name: str) -> bytes:
        """The whole of a blob. Raises `FileNotFoundError`."""
        result = await obstore.get_async(self._store, name)
        return bytes(await result.bytes_async())

    @timed("save")
    async def save(self, name: str, path: Path) -> None:
        """Copy a blob to a file. Raises `FileNotFoundError`."""
        result = await obstore.get_async(self._store, name)
        with path.open("wb") as file:
            async for chunk in result.stream(min_chunk_size=2**20):
                file.write(chunk)

    @timed("open")
    async def open(self, name: str, part: range | None = None) -> Download:
        """The bytes of a blob, or of a part of it, to be closed by who asked.

        Raises `FileNotFoundError`, at once and not when the first chunk is asked for.
        """
        if part is not None:
            options: Any = {"range": (part.start, part.stop)}
            try:
                return Download(await obstore.get_async(self._store, name, options=options))
            except GenericError as problem:
                # Some servers say of a part that it is the whole, and some send the whole.
                if _NO_PARTS not in str(problem):
                    raise
        return Download(await obstore.get_async(self._store, name), part)

    async def size(self, name: str) -> int:
        """The size of a blob in bytes. Raises `FileNotFoundError`."""
        return (await obstore.head_async(self._store, name))["size"]

    @timed("remove")
    async def remove(self, prefix: str) -> None:
        """Remove every blob whose name begins with `prefix`, which ends in a slash.

        In a folder also what writers that died have left there. Raises `BlobError` or `OSError`
        where something cannot be removed; the rest of a folder is, all the same.
        """
        if self._folder is not None:
            await asyncio.to_thread(_remove_folder, self._folder / _inner(prefix))
            return
        while True:
            try:
                async for found in obstore.list(self._store, prefix=prefix):
                    await obstore.delete_async(self._store, [item["path"] for item in found])
                return
            except FileNotFoundError:  # somebody else removes them too: see what is left
                await asyncio.sleep(0)

    async def folders(self, prefix: str, first: str, last: str) -> AsyncIterator[str]:
        """The names from `first` up to, not including, `last` of the folders in `prefix`, in order.

        `prefix` ends in a slash. A bucket is not read further than that, nor from the start.
        """
        if self._folder is not None:
            for name in await asyncio.to_thread(_folders_in, self._folder / _inner(prefix)):
                if first <= name < last:
                    yield name
            return
        seen = ""
        async for items in obstore.list(self._store, prefix=prefix, offset=f"{prefix}{first}"):
            for item in items:
                name = item["path"].removeprefix(prefix).partition("/")[0]
                if name >= last:
                    return
                if name != seen:
                    seen = name
                    yield name

    async def check(self) -> None:
        """Raise where the store does not answer, soon."""
        async with asyncio.timeout(_CHECK_SECONDS):
            async for _ in obstore.list(self._store, prefix="no/such/task"):
                pass


class Download:
    """The bytes of a blob in chunks, or those of them that are in `part`.

    An open file, or a connection, is behind it until `close`: who goes away early would else leave
    it to the garbage collector.
    """

    def __init__(self, result: obstore.GetResult, part: range | None = None) -> None:
        self._stream: obstore.BytesStream | None = result.stream(min_chunk_size=_CHUNK)
        self._part = part
        self._at = 0

    def __aiter__(self) -> Download:
        return self

    async def __anext__(self) -> bytes:
        while self._stream is not None and not self._past_its_end():
            chunk = bytes(await anext(self._stream))
            if kept := self._cut(chunk):
                return kept
        raise StopAsyncIteration

    def close(self) -> None:
        """Let go of what is behind it, now."""
        self._stream = None

    def _past_its_end(self) -> bool:
        return self._part is not None and self._at >= self._part.stop

    def _cut(self, chunk: bytes) -> bytes:
        if self._part is None:
            return chunk
        begin, self._at = self._at, self._at + len(chunk)
        return chunk[max(0, self._part.start - begin) : max(0, self._part.stop - begin)]


class Signer:
    """Signs links to blobs. One is handed out again while half of its time is left."""

    def __init__(self, store: S3Store | GCSStore | AzureStore, seconds: float) -> None:
        self._store = store
        self.seconds = seconds
        parts = urlsplit(self._sign("any"))
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self._signed: OrderedDict[str, tuple[float, str]] = OrderedDict()

    def link(self, name: str) -> str:
        now = time.monotonic()
        made, link = self._signed.get(name, (0.0, ""))
        if not link or now - made > self.seconds / 2:
            link = self._sign(name)
            self._signed[name] = (now, link)
            self._signed.move_to_end(name)
            if len(self._signed) > _MOST_SIGNED:
                self._signed.popitem(last=False)
        return link

    def _sign(self, name: str) -> str:
        return obstore.sign(self._store, "GET", name, timedelta(seconds=self.seconds))


BlobError = BaseError


def _signer(store: S3Store | GCSStore | AzureStore, seconds: float) -> Signer | None:
    try:
        return Signer(store, seconds)
    except BaseError as problem:  # credentials that can read and write, but not sign
        _log.warning("links_are_not_signed", problem=str(problem)[:300])
        return None


def _open(url: str, options: Mapping[str, str]) -> S3Store | GCSStore | AzureStore:
    client: Any = {
        "connect_timeout": timedelta(seconds=_CONNECT_SECONDS),
        "timeout": timedelta(seconds=_TRANSFER_SECONDS),
        "allow_http": _endpoint(options).startswith("http://"),
    }
    try:
        config: Any = dict(options)
        store = from_url(url, config=config, client_options=client, retry_config=_RETRIES)
    except BaseError as problem:
        # Its first line is the sentence, what follows is for obstore's own developers.
        raise ValueError(str(problem).partition("\n")[0]) from None
    if not isinstance(store, S3Store | GCSStore | AzureStore):
        raise ValueError("must be a bucket: s3://bucket/prefix, gs://… or az://…")
    return store


def _endpoint(options: Mapping[str, str]) -> str:
    """The address of the bucket's server; "" where it is the provider's own."""
    for name, value in options.items():
        if name.lower() in _ENDPOINTS:
            return value
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT"):  # which obstore reads for itself
        if value := os.environ.get(name, ""):
            return value
    return ""


def _inner(prefix: str) -> PurePosixPath:
    """The path of a folder below the folder of all files, and of nothing else."""
    path = PurePosixPath(prefix)
    if not prefix.endswith("/") or not path.parts or path.is_absolute() or ".." in path.parts:
        raise ValueError(f"not a folder of files: {prefix!r}")
    return path


def _file(name: str) -> PurePosixPath:
    """The path of a file in a folder below the folder of all files, and of nothing else."""
    folder, _, last = name.rpartition("/")
    if not last:
        raise ValueError(f"not a file in a folder: {name!r}")
    return _inner(f"{folder}/") / last


def _move(path: Path, folder: Path, name: PurePosixPath, root: Path | None) -> bool:
    """Move a file to its place, on the disk; False where it is no plain file, or elsewhere.

    What has other names is theirs too: whoever knows one could change it.
    """
    target = folder / name
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        if not target.is_file():
            raise
        # It was moved by a call that broke off after that.
    else:
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.rename(target)
        except OSError as problem:
            if problem.errno != errno.EXDEV:
                raise
            return False
    return _sync(folder, name, root)


def _folders_in(folder: Path) -> list[str]:
    """The names of the folders in a folder, in order, whatever is in them."""
    try:
        with os.scandir(folder) as entries:
            return sorted(each.name for each in entries if each.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []


def _remove_folder(folder: Path) -> None:
    """Remove a folder with all that is in it, following no links.

    What is written there meanwhile may stay: its writer finds that its task is gone. What cannot
    be removed keeps nothing else from being removed; the first of it is raised.
    """
    problems: list[BaseException] = []

    def note(_act: object, _path: str, told: tuple[Any, BaseException, Any]) -> None:
        # Somebody else removes it too, or is writing; or what stays in it was noted already.
        if getattr(told[1], "errno", None) not in (errno.ENOENT, errno.ENOTEMPTY):
            problems.append(told[1])

    shutil.rmtree(folder, onerror=note)
    if problems:
        raise problems[0]


def _sync(folder: Path, name: PurePosixPath, root: Path | None) -> bool:
    """Bring a file to the disk, and the folders below `folder` that lead to it, which may be new.

    And `root`, where the first of them may be new itself.
    """
    above = [folder / parent for parent in name.parents if parent.name]
    for place in (folder / name, *above, *([root] if root else [])):
        try:
            descriptor = os.open(place, os.O_RDONLY)
        except FileNotFoundError:  # removed already, with its task
            continue
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    return True
