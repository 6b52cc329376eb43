"""The tasks of a fake provider: what each is at a time is worked out when somebody asks.

So a task that is under way costs nothing, and there may be any number of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from safelight.errors import Conflict, NotFound
from safelight.server.fake.samples import sample
from safelight.server.fake.script import TaskRule
from safelight.task import (
    Artifact,
    Cancel,
    Deleted,
    Failure,
    Kind,
    List,
    Page,
    Status,
    Submit,
    Task,
    bare_id,
    drop_data,
)

_MOST_FILES = 16
_ALMOST = 99  # percent


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a task. Times are seconds since 1970.

    `submissions` counts those that were answered with its id, the one that made it included;
    `ended` is when it ended, `told` when an answer first said so.
    """

    id: str
    kind: Kind
    model: str
    prompt: str
    idempotency_key: str | None
    status: Status
    submitted: float
    ended: float | None
    told: float | None
    canceled: bool
    deleted: bool
    submissions: int
    queries: int


class Made:
    """A task, and how it goes."""

    def __init__(
        self,
        id: str,
        submit: Submit,
        dialect: str,
        seed: int,
        rule: TaskRule,
        now: float,
        queued: float,
        running: float,
    ) -> None:
        self.id = id
        self.submit = drop_data(submit)
        self.rule = rule
        self.submitted = now
        self.starts = now + queued
        self.ends = None if rule.result == "never" else now + max(queued + running, rule.late)
        self.canceled: float | None = None
        self.deleted = False
        self.told: float | None = None
        self.submissions = 1
        self.queries = 0
        self._dialect, self._seed = dialect, seed

    def status(self, now: float) -> Status:
        """Where it is on its way."""
        if self.canceled is not None:
            return Status.CANCELED
        if self.ends is not None and now >= self.ends:
            return Status.SUCCEEDED if self.rule.result == "success" else Status.FAILED
        return Status.QUEUED if now < self.starts else Status.RUNNING

    def ended(self, now: float) -> float | None:
        """When it ended; None where it has not."""
        if self.canceled is not None:
            return self.canceled
        return self.ends if self.ends is not None and now >= self.ends else None

    def strange(self, now: float) -> bool:
        """Whether its state is told in a word that nobody knows: in the middle of its run."""
        running = self.rule.unknown_state and self.status(now) is Status.RUNNING
        return running and 1 / 3 <= self._share(now) < 2 / 3

    def _share(self, now: float) -> float:
        """How much of its run is over; one that never ends is half over."""
        if self.ends is None or self.ends <= self.starts:
            return 0.5
        return (now - self.starts) / (self.ends - self.starts)

    def tell(self, now: float, base: str) -> Task:
        """The task as it is told, with links that begin with `base`."""
        status, ended = self.status(now), self.ended(now)
        succeeded = status is Status.SUCCEEDED
        return Task(
            id=self.id,
            status=status,
            submit=self.submit,
            dialect=self._dialect,
            seed=self._seed,
            attempt=0 if status is Status.QUEUED else 1,
            progress=self._progress(status, now),
            failure=self._failure(status),
            artifacts=tuple(self._artifacts(base)) if succeeded else (),
            created=_millis(self.submitted),
            started=_millis(self.starts) if now >= self.starts else None,
            finished=None if ended is None else _millis(ended),
            updated=_millis(now if ended is None else ended),
        )

    def _progress(self, status: Status, now: float) -> int | None:
        if not self.rule.progress:
            return None
        if status is Status.RUNNING:
            return min(_ALMOST, int(100 * self._share(now)))
        return 100 if status is Status.SUCCEEDED else None

    def _failure(self, status: Status) -> Failure | None:
        if status is not Status.FAILED:
            return None
        reason = self.rule.failure
        return Failure(code=reason.code, message=reason.message, provider_code=reason.provider_code)

    def _artifacts(self, base: str) -> Sequence[Artifact]:
        file = sample(self.submit.kind)
        return [
            Artifact(
                url=f"{base}/files/{self.id}-{number}{file.suffix}",
                media_type=file.media_type,
                size=len(file.data),
                width=file.side,
                height=file.side,
                duration=file.duration,
                etag=file.etag,
            )
            for number in range(self.files)
        ]

    @property
    def files(self) -> int:
        """How many files it ends in."""
        return max(1, min(_MOST_FILES, self.submit.count)) if self.submit.kind is Kind.IMAGE else 1

    def note(self, now: float) -> Note:
        return Note(
            id=self.id,
            kind=self.submit.kind,
            model=self.submit.model,
            prompt=self.submit.prompt,
            idempotency_key=self.submit.idempotency_key,
            status=self.status(now),
            submitted=self.submitted,
            ended=self.ended(now),
            told=self.told,
            canceled=self.canceled is not None,
            deleted=self.deleted,
            submissions=self.submissions,
            queries=self.queries,
        )


class Tasks:
    """All tasks, the oldest first; removed ones are kept to be told of."""

    def __init__(self) -> None:
        self._made: dict[str, Made] = {}

    def add(self, made: Made) -> None:
        self._made[made.id] = made

    def all(self) -> Sequence[Made]:
        """Every task there ever was."""
        return tuple(self._made.values())

    def find(self, id: str, kind: Kind | None = None) -> Made:
        """The task of that id, decorated or not. Raises `NotFound`."""
        made = self._made.get(bare_id(id) or "")
        if made is None or made.deleted or kind not in (None, made.submit.kind):
            raise NotFound
        return made

    def cancel(self, asked: Cancel, now: float) -> Made:
        """End a task. Raises `NotFound` and `Conflict`."""
        made = self.find(asked.id, asked.kind)
        if made.ended(now) is not None:
            raise Conflict(f"the task is at its end: {made.status(now).value}")
        made.canceled = now
        return made

    def delete(self, ids: Sequence[str], kind: Kind | None) -> Deleted:
        """Remove tasks; those that are not there are left out of the answer."""
        removed = []
        for id in ids:
            made = self._made.get(bare_id(id) or "")
            if made is not None and not made.deleted and kind in (None, made.submit.kind):
                made.deleted = True
                removed.append(made.id)
        return Deleted(ids=tuple(removed))

    def list(self, asked: List, now: float, base: str) -> Page:
        """A page of the tasks, the newest first."""
        found = [one for one in reversed(self._made.values()) if _wanted(one, asked, now)]
        later = _after(found, asked.before)
        shown = later[asked.offset : asked.offset + asked.limit]
        more = len(later) > asked.offset + len(shown)
        return Page(
            tasks=tuple(one.tell(now, base) for one in shown),
            total=len(found),
            following=shown[-1].id if shown and more else None,
            limit=asked.limit,
            offset=asked.offset,
        )


def _after(found: Sequence[Made], before: str | None) -> Sequence[Made]:
    """What comes after the task of that id; its place tells, for ids of one moment are unsorted."""
    if before is None:
        return found
    ids = [one.id for one in found]
    id = bare_id(before)
    return found[ids.index(id) + 1 :] if id in ids else []


def _wanted(made: Made, asked: List, now: float) -> bool:
    created = _millis(made.submitted)
    return (
        not made.deleted
        and asked.kind in (None, made.submit.kind)
        and (not asked.statuses or made.status(now) in asked.statuses)
        and (asked.since is None or created >= asked.since)
        and (asked.until is None or created <= asked.until)
    )


def _millis(seconds: float) -> int:
    return int(seconds * 1000)
