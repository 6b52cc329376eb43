"""Links to files: unguessable, without a key, and gone with their task.

A link says the task, which of its files, and a signature that only this installation can make; so
nothing has to be stored for it, and deleting the task ends it. Files that were uploaded to be named
as sources have links alike, and others to be sent to.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from safelight.blobs import Blobs
from safelight.media_types import suffix_of
from safelight.secrets import Vault
from safelight.task import Artifact, Source, Task, Uploaded

FILES = "/files/"
_LINK = re.compile(r"([0-9a-f]{24})-([asupv])([0-9]{1,9})-([0-9a-f]{32})(?:\.[a-z0-9]{1,5})?")
# A signature of a stream: until when it is good, in ms. It is the same for half an hour, so that
# what a task tells does not differ each time.
_STREAM = re.compile(r"([0-9]{1,15})-([0-9a-f]{32})")
_STREAM_MILLIS = 1_800_000


class Target(NamedTuple):
    """What a link leads to: a task, and its artifact or its source of that number; or an upload."""

    id: str
    # "a": an artifact, "s": a source, "u": an upload, "p": where one is to be put, "v": the preview
    what: str
    number: int = 0


class Links:
    """Makes and reads links. `base` is the public address that a link begins with.

    Where `sign` is given it makes links to blobs that are not ours to answer: the bucket's own,
    good for so many `seconds`.
    """

    def __init__(
        self, vault: Vault, sign: Callable[[str], str] | None = None, seconds: float = 0
    ) -> None:
        self._vault = vault
        self._sign = sign
        self._millis = int(seconds * 1000)

    @classmethod
    def build(cls, vault: Vault, blobs: Blobs) -> Links:
        """Links that we answer, or the bucket where it signs its own."""
        if not blobs.signs:
            return cls(vault)
        return cls(vault, blobs.link, blobs.link_seconds)

    def epoch(self, now: int) -> int:
        """A number that is another one when links are to be told anew; `now` in ms.

        A link is signed again when half of its time is over, and told again before the rest is.
        """
        return now // (self._millis // 4) if self._millis else 0

    def write(self, base: str, target: Target, media_type: str | None) -> str:
        """The link to a file, with the suffix that fits its media type."""
        name = f"{target.id}-{target.what}{target.number}"
        return f"{base}{FILES}{name}-{self._vault.sign_link(name)}{suffix_of(media_type)}"

    def read(self, name: str) -> Target | None:
        """What the last part of a link leads to; None where it is not one that we made."""
        found = _LINK.fullmatch(name)
        if not found:
            return None
        id, what, index, signature = found.groups()
        expected = self._vault.sign_link(f"{id}-{what}{index}")
        if not hmac.compare_digest(signature, expected):
            return None
        return Target(id, what, int(index))

    def with_stream(self, task: Task, now: int) -> Task:
        """`task` with what opens its stream without a key, for an hour at most; `now` in ms."""
        return msgspec.structs.replace(task, signature=self.open_stream(task.id, now))

    def open_stream(self, id: str, now: int) -> str:
        """A signature that opens the stream of that task; `now` in ms."""
        until = (now // _STREAM_MILLIS + 2) * _STREAM_MILLIS
        return f"{until}-{self._vault.sign_link(f'{id}-stream-{until}')}"

    def opens(self, id: str, signature: str | None, now: int) -> bool:
        """Whether a signature opens the stream of that task, still."""
        found = _STREAM.fullmatch(signature or "")
        if found is None or int(found[1]) < now:
            return False
        return hmac.compare_digest(found[2], self._vault.sign_link(f"{id}-stream-{found[1]}"))

    def read_url(self, url: str) -> Target | None:
        """What a link of ours leads to; None where the address is not one.

        The signature says that it is ours, whatever name this server was called by.
        """
        _, found, name = url.partition(FILES)
        return self.read(name) if found else None

    def dress(self, task: Task, base: str) -> Task:
        """`task` with links to its files, its preview, and the sources that came with it."""
        if task.previews and not task.ended:
            link = self.write(base, Target(task.id, "v", task.previews), "image/jpeg")
            task = msgspec.structs.replace(task, preview_url=link)
        if task.artifacts:
            task = msgspec.structs.replace(task, artifacts=self._artifacts(task, base))
        if any(source.url is None for source in task.submit.sources):
            submit = msgspec.structs.replace(task.submit, sources=self._sources(task, base))
            task = msgspec.structs.replace(task, submit=submit)
        return task

    def dress_upload(self, upload: Uploaded, base: str) -> Uploaded:
        """`upload` with its link, and, while it is to come, with where it is to be put."""
        link = self.write(base, Target(upload.id, "u"), upload.media_type)
        put = None
        if upload.media_type is None:
            put = self.write(base, Target(upload.id, "p"), None)
        return msgspec.structs.replace(upload, url=link, upload_url=put)

    def of_source(self, task_id: str, number: int, file: Source, base: str | None) -> str | None:
        """Where anybody can fetch a source that came with a request; None where nobody can.

        `base` is the public address of this server, if it has one.
        """
        if base is None and self._sign is None:
            return None
        return self._link(base or "", Target(task_id, "s", number), file)

    def _artifacts(self, task: Task, base: str) -> tuple[Artifact, ...]:
        return tuple(
            msgspec.structs.replace(
                artifact, url=self._link(base, Target(task.id, "a", index), artifact)
            )
            for index, artifact in enumerate(task.artifacts)
        )

    def _link(self, base: str, target: Target, file: Artifact | Source) -> str:
        if self._sign is not None and file.blob is not None:
            return self._sign(file.blob)
        return self.write(base, target, file.media_type)

    def _sources(self, task: Task, base: str) -> tuple[Source, ...]:
        return tuple(
            source
            if source.url is not None
            else msgspec.structs.replace(
                source, url=self._link(base, Target(task.id, "s", index), source)
            )
            for index, source in enumerate(task.submit.sources)
        )
