"""The sources of a task, as files in its folder."""

from __future__ import annotations

from pathlib import Path

from safelight.blobs import Blobs
from safelight.engines import Failed, Given
from safelight.fetching import Fetcher, FetchError, FileTooLarge
from safelight.linked import find_linked
from safelight.links import Links, Target
from safelight.media_types import media_type_of
from safelight.store import Store
from safelight.task import FailureCode, Source, Task


class Sources:
    """Fetches what tasks are made from: from addresses, or from what was kept of an upload.

    Engines that hand sources on are told of a link to each below `public_url`, if there is one.
    """

    def __init__(
        self, store: Store, blobs: Blobs, fetcher: Fetcher, links: Links, public_url: str | None
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._fetcher = fetcher
        self._links = links
        self._public_url = public_url

    async def fetch(self, task: Task, folder: Path) -> tuple[Given, ...]:
        """The sources of `task`, in files in `folder`. Raises `Failed`, `BlobError`."""
        given = []
        for number, source in enumerate(task.submit.sources):
            path = folder / f"source-{number}"
            await self._save(source, path, task.owner)
            with path.open("rb") as file:
                media_type = media_type_of(file.read(32))
            given.append(
                Given(
                    path=path,
                    role=source.role,
                    media_type=media_type,
                    url=self._link(task, number, source),
                )
            )
        return tuple(given)

    def _link(self, task: Task, number: int, source: Source) -> str | None:
        if source.url is not None:
            return source.url
        return self._links.of_source(task.id, number, source, self._public_url)

    async def _save(self, source: Source, path: Path, owner: str) -> None:
        blob = source.blob
        if blob is None and source.url and (target := self._links.read_url(source.url)):
            blob = await self._blob_of(target)
        if blob is None:
            await self._fetch(source.url or "", path, owner)
            return
        try:
            await self._blobs.save(blob, path)
        except FileNotFoundError:
            raise _gone() from None

    async def _fetch(self, url: str, path: Path, owner: str) -> None:
        try:
            await self._fetcher.on_behalf(owner).fetch(url, path)
        except FileTooLarge as problem:
            raise Failed(FailureCode.INVALID_INPUT, f"{_shown(url)}: {problem}") from None
        except FetchError as problem:
            raise Failed(FailureCode.SOURCE_UNAVAILABLE, f"{_shown(url)}: {problem}") from None

    async def _blob_of(self, target: Target) -> str:
        """The blob that one of our own links leads to: no need to call ourselves for it."""
        found = await find_linked(self._store, target)
        if found is None:
            raise _gone()
        return found.blob


def _shown(url: str) -> str:
    # The query may be a signature: it is nobody's business in a message or a log.
    return url.partition("?")[0][:200]


def _gone() -> Failed:
    return Failed(FailureCode.SOURCE_UNAVAILABLE, "A source file is not there any more")
