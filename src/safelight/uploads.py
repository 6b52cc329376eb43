"""Files that callers give to be named as sources by their links, in any dialect.

They are kept for some days, up to so many bytes of one key. The rule for whoever edits it: a file's
row is written before the file, so that nothing is kept that no row tells of.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import structlog

from safelight import blob_names
from safelight.blobs import BlobError, Blobs
from safelight.clock import now_millis
from safelight.config import Settings
from safelight.errors import Conflict, InvalidValue, NotFound, TooLarge, Unavailable
from safelight.fetching import Fetcher, FetchError
from safelight.inspection import Inspector
from safelight.linked import find_linked
from safelight.links import Links
from safelight.media_types import media_type_of
from safelight.store import Store, StoreUnavailable, scripts
from safelight.store.scripts import UploadRow
from safelight.task import Confirm, Locate, Located, Upload, Uploaded, bare_id, new_id

_log = structlog.get_logger("safelight.uploads")

_MOST_NAME = 255  # characters of a name, and of a folder
_MOST_FETCHED, _MOST_FETCHED_OF_ONE = 4, 2  # files that are fetched at once; of one key
_FETCHING_SECONDS = 2.0
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")


class Uploads:
    """Keeps files for `kept` milliseconds, up to `quota` bytes of one key. `most` is one's size."""

    def __init__(
        self,
        store: Store,
        blobs: Blobs,
        links: Links,
        fetcher: Fetcher,
        inspector: Inspector,
        *,
        kept: int,
        quota: int,
        most: int,
        scratch: Path | None = None,
        clock: Callable[[], int] = now_millis,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._links = links
        self._fetcher = fetcher
        self._inspector = inspector
        self._kept = kept
        self._quota = quota
        self._most = most
        self._scratch = scratch
        self._clock = clock
        self._fetching: Counter[str] = Counter()

    @classmethod
    def build(
        cls,
        settings: Settings,
        store: Store,
        blobs: Blobs,
        links: Links,
        fetcher: Fetcher,
        inspector: Inspector,
        scratch: Path,
    ) -> Uploads:
        """Uploads with the bounds that the settings name."""
        return cls(
            store,
            blobs,
            links,
            fetcher,
            inspector,
            kept=settings.uploads_kept,
            quota=settings.upload_quota,
            most=settings.max_source,
            scratch=scratch,
        )

    async def keep(self, who: str, asked: Upload) -> Uploaded:
        """Keep a file, or have it announced that one is to come. Raises `Fault`."""
        if asked.data is not None or asked.url is None:
            return await self._keep(who, asked, asked.data)
        async with self._place(who):  # until it is kept: it is in memory all the while
            return await self._keep(who, asked, await self._fetch(who, asked.url))

    async def _keep(self, who: str, asked: Upload, data: bytes | None) -> Uploaded:
        size = len(data) if data is not None else asked.size or 0
        self._check_size(size)
        media_type = None if data is None else await self._judge(data)
        row = await self._add(who, asked, size)
        if data is not None and media_type is not None:
            try:
                row = await self._put(row, data, media_type)
            except (BlobError, OSError, StoreUnavailable):
                await self._forget(row)  # nobody knows of it
                raise
        return self._told(row)

    async def find_coming(self, id: str) -> UploadRow:
        """The file that is to come under that id. Raises `NotFound`, `Conflict`."""
        row = await self._store.read(scripts.get_upload(id))
        if row is None or row.created <= self.oldest():
            raise NotFound("There is no such upload, or not any more")
        if row.received is not None:
            raise Conflict("the file is here already")
        return row

    async def receive(self, row: UploadRow, data: bytes) -> None:
        """Keep the file that was to come. Raises `Fault`."""
        if not data:
            raise InvalidValue("the file is empty")
        self._check_size(len(data))
        media_type = await self._judge(data)
        fits = scripts.resize_upload(row, len(data), self.oldest(), self._quota)
        if not await self._store.write(fits):
            raise self._full()
        await self._put(row, data, media_type)

    async def confirm(self, who: str, asked: Confirm) -> Uploaded:
        """The file that was sent. Raises `NotFound`, `Conflict` where it has not come."""
        id = bare_id(asked.id)
        row = None if id is None else await self._store.read(scripts.get_upload(id))
        if row is None or row.owner != who or row.created <= self.oldest():
            raise NotFound("There is no such upload, or not any more")
        if row.received is None:
            raise Conflict("the file has not been sent")
        return self._told(row)

    async def locate(self, who: str, asked: Locate, oldest: int) -> Located:
        """Where one's own file is to be had. Raises `NotFound`."""
        target = self._links.read_url(asked.url)
        found = target and await find_linked(self._store, target, oldest, self.oldest())
        if not found or found.owner != who:
            raise NotFound("The address is none of a file of yours")
        return Located(url=asked.url)

    def oldest(self) -> int:
        """Uploads made then, or before, are there no more."""
        return self._clock() - self._kept

    # ------------------------------------------------------------------------------------ rows

    async def _add(self, who: str, asked: Upload, size: int) -> UploadRow:
        now = self._clock()
        row = UploadRow(
            id=new_id(now, random.randbytes(6)),  # noqa: S311 - no secret: links are signed
            owner=who,
            name=_plain(asked.name),
            folder=_plain(asked.folder),
            size=size,
            media_type=None,
            created=now,
        )
        if not await self._store.write(scripts.add_upload(row, self.oldest(), self._quota)):
            raise self._full()
        return row

    async def _put(self, row: UploadRow, data: bytes, media_type: str) -> UploadRow:
        # Of several that are put at once one is the file.
        place = blob_names.upload_place(row.id, random.randbytes(8))  # noqa: S311 - no secret
        blob = blob_names.uploaded(place)
        await self._blobs.put(blob, data, media_type)
        now, size = self._clock(), len(data)
        kept = scripts.receive_upload(row.id, blob, size, media_type, now)
        if not await self._store.write(kept):
            await self._blobs.remove(place)
            raise Conflict("the file is here already")
        return row._replace(media_type=media_type, received=now, size=size, blob=blob)

    async def _forget(self, row: UploadRow) -> None:
        """Forget a file that could not be kept; where that fails too, a sweep does it later."""
        try:
            await self._blobs.remove(blob_names.upload_folder(row.id))
            await self._store.write(scripts.remove_upload(row.id))
        except (BlobError, OSError, StoreUnavailable) as problem:
            _log.warning("upload_not_removed", upload=row.id, problem=str(problem)[:300])

    def _told(self, row: UploadRow) -> Uploaded:
        return Uploaded(
            id=row.id,
            name=row.name or None,
            folder=row.folder or None,
            media_type=row.media_type,
            size=row.size,
            created=row.created,
            expires=row.created + self._kept,
        )

    # ----------------------------------------------------------------------------------- files

    def _check_size(self, size: int) -> None:
        if size > self._most:
            raise TooLarge(f"The file is larger than {self._most} bytes")

    def _full(self) -> TooLarge:
        return TooLarge(
            f"This key keeps as many files as it may, {self._quota} bytes; the oldest go first"
        )

    async def _judge(self, data: bytes) -> str:
        """The media type of a file. Raises `InvalidValue` where it is none that can be a source."""
        media_type = media_type_of(data[:32])
        kind = media_type.partition("/")[0]
        if kind not in ("image", "video", "audio"):
            raise InvalidValue("the file is no picture, film or sound of a known format")
        if kind == "image":
            await self._inspector.check(data, "file")
        return media_type

    async def _fetch(self, who: str, url: str) -> bytes:
        """What lies at an address: at one of ours too. Raises `InvalidValue`, `Unavailable`."""
        target = self._links.read_url(url)
        if target is not None:
            found = await find_linked(self._store, target, 0, self.oldest())
            if found is None:
                raise InvalidValue("there is no such file, or not any more")
            # A film may be larger than what may be uploaded.
            self._check_size(found.size or await self._blobs.size(found.blob))
            return await self._blobs.get(found.blob)
        fetcher = self._fetcher.on_behalf(who)
        with TemporaryDirectory(prefix="safelight-upload-", dir=self._scratch) as folder:
            path = Path(folder) / "file"
            try:
                await fetcher.fetch(url, path)
            except FetchError as problem:
                raise InvalidValue(f"the address: {problem}") from None
            return await asyncio.to_thread(path.read_bytes)

    @asynccontextmanager
    async def _place(self, who: str) -> AsyncIterator[None]:
        """One of the few places for what is fetched while its caller waits."""
        if self._fetching.total() >= _MOST_FETCHED or self._fetching[who] >= _MOST_FETCHED_OF_ONE:
            raise Unavailable(
                "As many files are being fetched as may be at once; please try again",
                retry_after=_FETCHING_SECONDS,
            )
        self._fetching[who] += 1
        try:
            yield
        finally:
            self._fetching[who] -= 1
            if not self._fetching[who]:
                del self._fetching[who]


def _plain(words: str | None) -> str:
    """A name or a folder as it is kept: it is told back, and nothing else is made of it."""
    plain = _CONTROLS.sub("", words or "")
    if len(plain) > _MOST_NAME:
        raise InvalidValue(f"a name of a file has at most {_MOST_NAME} characters")
    return plain
