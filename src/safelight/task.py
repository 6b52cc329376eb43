"""The words of Safelight: what may be asked, what a task is, and the steps it may take.

Everything else is written in these words. The module imports nothing of ours, and every record
in it is frozen: a change is a new value, or a row in the database.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec


class Kind(StrEnum):
    """What a task ends in: pictures or a film."""

    IMAGE = "image"
    VIDEO = "video"


class Status(StrEnum):
    """Where a task is on its way; `STEPS` says where it may go from there."""

    QUEUED = "queued"  # accepted and on disk; no worker has it yet
    RUNNING = "running"  # a worker's engine works on it
    UPLOADING = "uploading"  # made; its files are being stored
    SUCCEEDED = "succeeded"  # its files are stored and linked
    FAILED = "failed"  # ended without files; `Task.failure` says why
    CANCELED = "canceled"  # ended because its owner asked for that


STEPS: Mapping[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.RUNNING, Status.FAILED, Status.CANCELED}),
    # Keeping files is a state of its own where it takes a while.
    Status.RUNNING: frozenset({Status.UPLOADING, Status.SUCCEEDED, Status.FAILED, Status.CANCELED}),
    Status.UPLOADING: frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELED}),
    Status.SUCCEEDED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELED: frozenset(),
}
ENDS = frozenset(status for status, following in STEPS.items() if not following)
UNFINISHED = frozenset(STEPS) - ENDS


class Role(StrEnum):
    """What a source is to the task."""

    IMAGE = "image"  # a reference picture, or the picture to edit
    FIRST_FRAME = "first_frame"
    LAST_FRAME = "last_frame"
    MASK = "mask"  # where its alpha is 0, the edit may paint
    VIDEO = "video"
    AUDIO = "audio"


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The one base of our records: frozen, by keyword only, compared by value."""


class Source(Record, frozen=True, kw_only=True):
    """A file that the caller gives to the task: by address, or with the request.

    Of `url`, `data` and `blob` one at least is set. `data` is what came with the request and is
    stored under `blob` before the task is accepted; it is never part of a stored row.
    """

    role: Role = Role.IMAGE
    url: str | None = None
    data: bytes | None = None
    blob: str | None = None
    media_type: str | None = None
    name: str | None = None


class Operation(Record, frozen=True, kw_only=True):
    """One step of image processing: its name and its options, in our words.

    The names are those of `safelight.engines.enhance.engine`; the options are JSON values.
    """

    name: str
    options: dict[str, Any] = msgspec.field(default_factory=dict)


class Callback(Record, frozen=True, kw_only=True):
    """Where the caller of one task is told of it: an address, and which events (none: its end).

    `format` is `standard` for Standard Webhooks, or the name of the dialect in whose words and
    with whose signature it is told. `secret` signs; where there is none the server's own does. It
    is kept encrypted, and never part of a stored row.
    """

    url: str
    events: tuple[str, ...] = ()
    secret: str | None = None
    format: str = "standard"


class Submit(Record, frozen=True, kw_only=True):
    """Ask for a new task.

    `width` and `height` (pixels) win over `ratio` (`"16:9"`, or `"auto"`: as the source) and
    `resolution` (`"2K"`, `"720p"`); `safelight.sizes` resolves them. `duration` is in seconds.
    With `operations` the task processes its source; otherwise it makes something from `prompt`.
    `named` says that its model does something that is none of our words: only a rule that names
    the model may run it, and no engine by default.
    `extra` holds what only one wire can say; only the dialect that read it writes it back.
    `demands` holds what one wire alone can say too, and what changes the result, by the names that
    faults tell: where no engine passes it on, the task is refused by that name.

    The rest is about the task, and not about what it makes. `labels` and `metadata` are the
    caller's own words, to find it by. It fails unless it is begun `start_within` seconds, and is
    canceled unless it is at its end `cancel_after` seconds, from its acceptance. Of two that wait
    for one engine the one of the higher `priority` is run first. `parent` is the task that it
    retries.
    """

    kind: Kind = Kind.IMAGE
    model: str = ""
    prompt: str = ""
    negative: str | None = None
    sources: tuple[Source, ...] = ()
    count: int = 1
    width: int | None = None
    height: int | None = None
    ratio: str | None = None
    resolution: str | None = None
    seed: int | None = None
    format: str | None = None  # "png", "jpeg", "webp", "bmp"
    quality: str | None = None
    duration: float | None = None
    fps: int | None = None
    audio: bool | None = None
    operations: tuple[Operation, ...] = ()
    named: bool = False
    extra: dict[str, Any] = msgspec.field(default_factory=dict)
    demands: dict[str, Any] = msgspec.field(default_factory=dict)
    idempotency_key: str | None = None
    labels: tuple[str, ...] = ()
    metadata: dict[str, str] = msgspec.field(default_factory=dict)
    start_within: float | None = None
    cancel_after: float | None = None
    priority: int = 0
    callback: Callback | None = None
    parent: str | None = None


# What of `Submit` says how the task is handled here, and is no word of any service beyond.
HANDLING: Mapping[str, Any] = {
    "labels": (),
    "metadata": {},
    "start_within": None,
    "cancel_after": None,
    "priority": 0,
    "callback": None,
    "parent": None,
}


class Fetch(Record, frozen=True, kw_only=True):
    """Ask for the state of a task. `kind` says which family's query the wire is to use."""

    id: str
    kind: Kind | None = None
    detail: bool = True


class FetchMany(Record, frozen=True, kw_only=True):
    """Ask for the states of many tasks at once."""

    ids: tuple[str, ...]


class Changes(Record, frozen=True, kw_only=True):
    """Ask for one's own tasks whose status has changed since, in the order of their changes.

    `since` and `feed` are `Changed.after` and its `feed` of the answer before; where `since` is
    None there is none yet, and only what changes from now on is asked for.
    """

    since: tuple[int, str] | None = None
    feed: str = ""
    limit: int = 100
    cursor: str | None = None  # the same, in the words of a wire


class Events(Record, frozen=True, kw_only=True):
    """Ask what happened to a task, after the event of that number."""

    id: str
    after: int = 0


class Retry(Record, frozen=True, kw_only=True):
    """Ask for a new task that is asked for as an earlier one was, but for these `words`.

    They are of `Submit`, by their names. A seed is drawn anew unless it is among them, or the
    `same_seed` is asked for.
    """

    id: str
    words: dict[str, Any] = msgspec.field(default_factory=dict)
    same_seed: bool = False
    idempotency_key: str | None = None


class Cancel(Record, frozen=True, kw_only=True):
    """Ask that a task end without a result. Asked `again`, one that was canceled is so still."""

    id: str
    kind: Kind | None = None
    again: bool = False


class Delete(Record, frozen=True, kw_only=True):
    """Ask that tasks and their files be removed: with `force` those too that are not at an end."""

    ids: tuple[str, ...]
    kind: Kind | None = None
    force: bool = True


class List(Record, frozen=True, kw_only=True):
    """Ask for one's own tasks, the newest first; or with `by_change` those that changed last.

    `before` (a task id) and `offset` both page, and by change `before` with `before_change`.
    `since` and `until` bound the creation time, and `ended_since` the end (milliseconds since 1970,
    all inclusive). No `statuses` means every status. Tasks have all of the `labels`, and the
    `metadata`. Where it need not be `counted`, nobody counts how many there are in all.
    """

    kind: Kind | None = None
    statuses: frozenset[Status] = frozenset()
    limit: int = 10
    offset: int = 0
    before: str | None = None
    since: int | None = None
    until: int | None = None
    model: str | None = None
    dialect: str | None = None
    parent: str | None = None
    labels: tuple[str, ...] = ()
    metadata: dict[str, str] = msgspec.field(default_factory=dict)
    ended_since: int | None = None
    by_change: bool = False
    before_change: int | None = None
    counted: bool = True
    cursor: str | None = None  # `Page.cursor` of the page before, where the wire has such


class Models(Record, frozen=True, kw_only=True):
    """Ask which models there are, or for the one of that name.

    `editing` asks for those that take source pictures, or where it is False for those that need
    none.
    """

    kind: Kind | None = None
    editing: bool | None = False
    name: str | None = None


class Upload(Record, frozen=True, kw_only=True):
    """Ask that a file be kept for a while, to be named as a source by its link.

    It comes as `data`, or lies at `url`; where it is neither it comes later, to an address that
    the answer tells, and has `size` bytes. `folder` is the caller's own word, and is told back.
    """

    name: str | None = None
    folder: str | None = None
    data: bytes | None = None
    url: str | None = None
    size: int | None = None


class Confirm(Record, frozen=True, kw_only=True):
    """Say that a file which was to come later has been sent."""

    id: str


class Locate(Record, frozen=True, kw_only=True):
    """Ask for an address at which one of one's own files can be had, by its link."""

    url: str


class Balance(Record, frozen=True, kw_only=True):
    """Ask how many credits are left."""


class Templates(Record, frozen=True, kw_only=True):
    """Ask which templates there are: operations that are kept under a number.

    No `numbers` means every one. They come in the order of the settings, or `by_number`.
    """

    numbers: tuple[int, ...] = ()
    name: str | None = None
    preset: bool | None = None  # whether the service's own are asked for, or those that were made
    by_number: bool = False
    descending: bool = False
    limit: int = 10
    offset: int = 0


Command = (
    Submit
    | Fetch
    | FetchMany
    | Changes
    | Events
    | Retry
    | Cancel
    | Delete
    | List
    | Models
    | Upload
    | Confirm
    | Locate
    | Balance
    | Templates
)


class FailureCode(StrEnum):
    """Why a task failed, in a word that every dialect can translate."""

    INVALID_INPUT = "invalid_input"
    SOURCE_UNAVAILABLE = "source_unavailable"
    CONTENT_POLICY = "content_policy"
    INSUFFICIENT_CREDITS = "insufficient_credits"
    RATE_LIMITED = "rate_limited"
    PROVIDER_ERROR = "provider_error"
    TIMEOUT = "timeout"
    SUBMISSION_UNKNOWN = "submission_unknown"
    WORKER_DIED = "worker_died"
    OUT_OF_MEMORY = "out_of_memory"
    CANCELED = "canceled"
    INTERNAL = "internal"


class Failure(Record, frozen=True, kw_only=True):
    """Why a task failed: our code, a sentence for a person, and the provider's own code."""

    code: FailureCode
    message: str
    provider_code: str | None = None


class Artifact(Record, frozen=True, kw_only=True):
    """A result file: where it is kept (`blob`, on the server) and where it can be had (`url`).

    `data` is the file itself, where an answer carries it; it is never part of a stored row. `size`
    is in bytes, `width` and `height` in pixels, `duration` in seconds.
    """

    url: str | None = None
    blob: str | None = None
    data: bytes | None = None
    media_type: str | None = None
    size: int | None = None
    width: int | None = None
    height: int | None = None
    duration: float | None = None
    etag: str | None = None


class Outlook(Record, frozen=True, kw_only=True):
    """What is foreseen of a task that is not at its end; what is not known is None.

    `ahead` is how many wait before it for its `engine`, `end` (milliseconds since 1970) when it is
    likely at its end, `progress` an estimate in percent where its engine tells none, and `again`
    the seconds after which to ask for it again.
    """

    engine: str | None = None
    ahead: int | None = None
    end: int | None = None
    progress: int | None = None
    again: float | None = None


class Task(Record, frozen=True, kw_only=True):
    """One piece of work, with one id for life.

    Times are milliseconds since 1970, UTC. `seed` is the one asked for, or else the one drawn
    when the task was accepted, so that running it again makes the same picture. `status_word` is
    the wire's own word for the status, kept by the client when it is one that we do not know.
    `revision` goes up with every change of what is kept of the task; `previews` counts the pictures
    of how far it was, the last of which is kept.
    """

    id: str
    status: Status
    submit: Submit = Submit()
    revision: int = 0
    dialect: str = ""  # the dialect it was created in
    owner: str = ""  # the id of the key it was created with
    seed: int | None = None
    attempt: int = 0
    deaths: int = 0  # how many workers died while they ran it
    progress: int | None = None  # percent; 100 only at success
    previews: int = 0
    preview_url: str | None = None
    signature: str | None = None  # opens its stream of events without a key, for a while
    replayed: bool = False  # whether the submission that it answers was one that was made before
    failure: Failure | None = None
    artifacts: tuple[Artifact, ...] = ()
    credits: float = 0
    created: int | None = None
    started: int | None = None
    finished: int | None = None
    updated: int | None = None
    status_word: str | None = None
    outlook: Outlook | None = None

    def with_outlook(self, outlook: Outlook) -> Task:
        """This task with what is foreseen of it."""
        return msgspec.structs.replace(self, outlook=outlook)

    @property
    def kind(self) -> Kind:
        return self.submit.kind

    @property
    def ended(self) -> bool:
        return self.status in ENDS


class Page(Record, frozen=True, kw_only=True):
    """Part of a list. `following` (a task id) is `List.before` of the next page, if any.

    By change, that is asked for with `following_change` as well; and on a wire that has such, with
    the `cursor`.
    """

    tasks: tuple[Task, ...]
    total: int
    following: str | None = None
    following_change: int | None = None
    cursor: str | None = None
    limit: int = 10
    offset: int = 0


class Several(Record, frozen=True, kw_only=True):
    """The tasks that were asked for, in that order, and the ids of which there are none."""

    tasks: tuple[Task, ...]
    missing: tuple[str, ...] = ()

    @property
    def any_over(self) -> bool:
        """Whether one of them is at its end, or is not there."""
        return bool(self.missing) or any(task.ended for task in self.tasks)


class Changed(Record, frozen=True, kw_only=True):
    """Tasks as they are, in the order of their last changes. There may be `more` already."""

    tasks: tuple[Task, ...]
    after: tuple[int, str] = (0, "")
    feed: str = ""  # what `after` belongs to
    more: bool = False
    cursor: str | None = None  # where to go on, in the words of a wire


class TaskEvent(Record, frozen=True, kw_only=True):
    """Something that happened to a task: `what` is a status, or `log`, whose line is the note.

    `number` is the task's revision by it, and `at` in milliseconds since 1970.
    """

    number: int
    at: int
    what: str
    attempt: int = 0
    note: str = ""


class History(Record, frozen=True, kw_only=True):
    """What happened to a task, in order; `last` is the number to ask after the next time."""

    events: tuple[TaskEvent, ...]
    last: int = 0


class Deleted(Record, frozen=True, kw_only=True):
    """The ids that were found and removed."""

    ids: tuple[str, ...]


class ModelCard(Record, frozen=True, kw_only=True):
    """What a model makes and which inputs it takes. Durations are in seconds.

    Each `default_...` is what is made where a task of words alone asks for none.
    """

    name: str
    kind: Kind
    description: str = ""
    max_sources: int = 0
    roles: tuple[Role, ...] = ()  # of the sources that a film may be asked for with
    needs_source: bool = False  # whether it makes nothing from words alone
    sizes: tuple[str, ...] = ()
    ratios: tuple[str, ...] = ()
    resolutions: tuple[str, ...] = ()
    durations: tuple[int, ...] = ()
    qualities: tuple[str, ...] = ()
    default_ratio: str | None = None
    default_resolution: str | None = None
    default_duration: int | None = None


class Catalogue(Record, frozen=True, kw_only=True):
    """The models there are."""

    models: tuple[ModelCard, ...]


class Uploaded(Record, frozen=True, kw_only=True):
    """A file that is kept: `url` is its link, `upload_url` where it is to be sent, if it has to be.

    `size` is in bytes. Times are milliseconds since 1970; after `expires` its link leads nowhere.
    """

    id: str
    name: str | None = None
    folder: str | None = None
    url: str | None = None
    upload_url: str | None = None
    media_type: str | None = None
    size: int | None = None
    created: int | None = None
    expires: int | None = None


class Located(Record, frozen=True, kw_only=True):
    """An address at which a file can be had, without a key."""

    url: str


class Credits(Record, frozen=True, kw_only=True):
    """The credits that are left; None where nothing is counted."""

    left: float | None = None


class Template(Record, frozen=True, kw_only=True):
    """Operations that are kept under a number, so that a task may be asked with that alone."""

    number: int
    name: str = ""
    comment: str = ""
    preset: bool = False
    operations: tuple[Operation, ...] = ()


class TemplatePage(Record, frozen=True, kw_only=True):
    """Part of the list of templates; `total` are all that were asked for."""

    templates: tuple[Template, ...]
    total: int


Reply = (
    Task
    | Several
    | Changed
    | History
    | Page
    | Deleted
    | Catalogue
    | Uploaded
    | Located
    | Credits
    | TemplatePage
)

_ID = re.compile(r"(?:[0-9A-Za-z]+[-_])*([0-9a-fA-F]{24})")
MOST_ID = 128  # characters of an id with its decoration


def new_id(now: int, random: bytes) -> str:
    """A task id: `now` (milliseconds, 48 bits) and six random bytes, as 24 hex digits.

    Ids sort by time, and one of them is also a valid MongoDB ObjectId, which AiToEarn's clients
    check for.
    """
    return f"{now & 0xFFFFFFFFFFFF:012x}{random[:6].hex()}"


def bare_id(text: str) -> str | None:
    """The task id in `text`, without what a dialect puts before it; None where there is none.

    A decoration is words ended by `-` or `_`, as in `2600-WorkflowTask-<24 hex digits>`. Every
    dialect reads every decoration, so that an id can be carried from one to the other as it is.
    What is longer than `MOST_ID` is none, and is not looked at.
    """
    found = _ID.fullmatch(text) if len(text) <= MOST_ID else None
    return found[1].lower() if found else None


def drop_handling(submit: Submit) -> Submit:
    """`submit` without how its task is handled here: what is asked of another service."""
    if all(getattr(submit, name) == unsaid for name, unsaid in HANDLING.items()):
        return submit
    return msgspec.structs.replace(submit, **HANDLING)


def drop_data(submit: Submit) -> Submit:
    """`submit` without the bytes and the secret that came with it: what may be stored as a row."""
    if submit.callback is not None and submit.callback.secret is not None:
        told = msgspec.structs.replace(submit.callback, secret=None)
        submit = msgspec.structs.replace(submit, callback=told)
    if all(source.data is None for source in submit.sources):
        return submit
    kept = tuple(msgspec.structs.replace(source, data=None) for source in submit.sources)
    return msgspec.structs.replace(submit, sources=kept)
