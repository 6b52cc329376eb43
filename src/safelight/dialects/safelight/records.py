"""What is said on Safelight's own wire, as records: read, written and documented from these alone.

What is asked is read strictly: an unknown name, a null and a value out of bounds are refused by the
path to them. What is answered has what is known, and nothing in the place of what is not. The rule
for whoever edits it: these are the wire's own, and no record of the inside is ever sent.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from safelight.task import FailureCode, Kind, Role

MOST_IDS = 500  # that one request may ask for
MOST_SOURCES = 16
MOST_LABELS = MOST_METADATA = 16
MOST_STEPS = 64
MOST_NAME, MOST_VALUE = 64, 512  # characters of labels and of names, and of what metadata say
LONGEST = 30 * 86_400  # seconds until which a task has to be begun or ended
PRIORITIES = 100  # as many above the usual, and below it

_Time = Annotated[
    str,
    Meta(
        description="RFC 3339, UTC, with milliseconds.", extra_json_schema={"format": "date-time"}
    ),
]
_Address = Annotated[str, Meta(max_length=8192)]
_Label = Annotated[str, Meta(min_length=1, max_length=MOST_NAME)]
_Name = Annotated[str, Meta(min_length=1, max_length=MOST_NAME)]
_Value = Annotated[str, Meta(max_length=MOST_VALUE)]
_Word = Annotated[str, Meta(max_length=64)]
_Side = Annotated[int, Meta(ge=1, le=65_536, description="In pixels.")]
_Ratio = Annotated[
    str,
    Meta(
        pattern=r"^(auto|[1-9][0-9]{0,3}:[1-9][0-9]{0,3})$",
        description="Like 16:9; auto is the ratio of the source.",
    ),
]
_Resolution = Annotated[
    str,
    Meta(pattern=r"^([1-9][0-9]?[kK]|[1-9][0-9]{2,3}[pP])$", description="Like 2K or 720p."),
]
_Seed = Annotated[
    int,
    Meta(ge=-1, le=2**63 - 1, description="The same seed, the same result; -1 is any seed."),
]
_Seconds = Annotated[float, Meta(gt=0, le=86_400, description="Seconds of film.")]
_Model = Annotated[str, Meta(max_length=255)]
_Labels = Annotated[tuple[_Label, ...], Meta(max_length=MOST_LABELS)]
_Metadata = Annotated[dict[_Name, _Value], Meta(max_length=MOST_METADATA)]
_StartWithin = Annotated[
    float, Meta(gt=0, le=LONGEST, description="Seconds: not begun by then, it fails.")
]
_CancelAfter = Annotated[
    float, Meta(gt=0, le=LONGEST, description="Seconds: not ended by then, it is canceled.")
]
_Priority = Annotated[
    int, Meta(ge=-PRIORITIES, le=PRIORITIES, description="The higher is run first.")
]


class Asked(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """What is asked."""


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What is answered: what is not known is absent."""


# ----------------------------------------------------------------------------------- what is asked


class GivenSource(Asked, frozen=True, kw_only=True):
    """A file that the task is given: by an address, in the address itself as data in base64, or
    with the request, in the part of the form that `part` names.
    """

    role: Role = Role.IMAGE
    url: Annotated[str, Meta(description="http(s), or data: in base64.")] | UnsetType = UNSET
    part: _Word | UnsetType = UNSET


class Step(Asked, frozen=True, kw_only=True):
    """A step of image processing: its name and its options."""

    name: _Word
    options: dict[str, Any] = {}


class Input(Asked, frozen=True, kw_only=True):
    """What is to be made. `width` and `height` win over `ratio` and `resolution`."""

    prompt: str = ""
    negative: Annotated[str, Meta(description="What is not to be seen.")] | UnsetType = UNSET
    sources: Annotated[tuple[GivenSource, ...], Meta(max_length=MOST_SOURCES)] = ()
    count: Annotated[int, Meta(ge=1, le=1000)] = 1
    width: _Side | UnsetType = UNSET
    height: _Side | UnsetType = UNSET
    ratio: _Ratio | UnsetType = UNSET
    resolution: _Resolution | UnsetType = UNSET
    seed: _Seed | UnsetType = UNSET
    format: Annotated[_Word, Meta(description="png, jpeg, webp or bmp.")] | UnsetType = UNSET
    quality: _Word | UnsetType = UNSET
    duration: _Seconds | UnsetType = UNSET
    fps: Annotated[int, Meta(ge=1, le=1000)] | UnsetType = UNSET
    audio: bool | UnsetType = UNSET
    operations: Annotated[tuple[Step, ...], Meta(max_length=MOST_STEPS)] = ()


class CallbackRequest(Asked, frozen=True, kw_only=True):
    """Where the caller is told of the task: an address, and which events (none: its end)."""

    url: _Address
    events: Annotated[tuple[_Word, ...], Meta(max_length=16)] = ()
    secret: Annotated[str, Meta(min_length=1, max_length=255)] | UnsetType = UNSET


class TaskRequest(Asked, frozen=True, kw_only=True):
    """A task that is asked for."""

    kind: Kind = Kind.IMAGE
    model: _Model = ""
    input: Input = Input()
    labels: _Labels = ()
    metadata: _Metadata = {}
    start_within: _StartWithin | UnsetType = UNSET
    cancel_after: _CancelAfter | UnsetType = UNSET
    priority: _Priority = 0
    callback: CallbackRequest | UnsetType = UNSET


class InputChanges(Asked, frozen=True, kw_only=True):
    """What is to be made otherwise than before."""

    prompt: str | UnsetType = UNSET
    negative: str | UnsetType = UNSET
    count: Annotated[int, Meta(ge=1, le=1000)] | UnsetType = UNSET
    width: _Side | UnsetType = UNSET
    height: _Side | UnsetType = UNSET
    ratio: _Ratio | UnsetType = UNSET
    resolution: _Resolution | UnsetType = UNSET
    format: _Word | UnsetType = UNSET
    quality: _Word | UnsetType = UNSET
    duration: _Seconds | UnsetType = UNSET
    fps: Annotated[int, Meta(ge=1, le=1000)] | UnsetType = UNSET
    audio: bool | UnsetType = UNSET


class RetryRequest(Asked, frozen=True, kw_only=True):
    """A task that is asked for again, as a new one: what is absent is as it was.

    The seed is a new one unless it is `same`, or a number.
    """

    seed: _Seed | Literal["same", "new"] | UnsetType = UNSET
    model: _Model | UnsetType = UNSET
    input: InputChanges | UnsetType = UNSET
    labels: _Labels | UnsetType = UNSET
    metadata: _Metadata | UnsetType = UNSET
    start_within: _StartWithin | UnsetType = UNSET
    cancel_after: _CancelAfter | UnsetType = UNSET
    priority: _Priority | UnsetType = UNSET


class ManyRequest(Asked, frozen=True, kw_only=True):
    """Tasks that are asked for at once."""

    ids: Annotated[tuple[Annotated[str, Meta(max_length=128)], ...], Meta(max_length=MOST_IDS)]


# -------------------------------------------------------------------------------- what is answered


class SourceSaid(Said, frozen=True, kw_only=True):
    """A file that the task was given, and where it can be had."""

    role: Role
    url: str | UnsetType = UNSET


class StepSaid(Said, frozen=True, kw_only=True):
    """A step of image processing."""

    name: str
    options: dict[str, Any] | UnsetType = UNSET


class InputSaid(Said, frozen=True, kw_only=True):
    """What is to be made, as it was asked for in whichever dialect."""

    prompt: str
    negative: str | UnsetType = UNSET
    sources: tuple[SourceSaid, ...]
    count: int
    width: int | UnsetType = UNSET
    height: int | UnsetType = UNSET
    ratio: str | UnsetType = UNSET
    resolution: str | UnsetType = UNSET
    seed: int | UnsetType = UNSET
    format: str | UnsetType = UNSET
    quality: str | UnsetType = UNSET
    duration: float | UnsetType = UNSET
    fps: int | UnsetType = UNSET
    audio: bool | UnsetType = UNSET
    operations: tuple[StepSaid, ...] | UnsetType = UNSET


class QueueSaid(Said, frozen=True, kw_only=True):
    """Where a task waits: its place in the queue of its engine, and how many are before it."""

    position: int
    ahead: int
    engine: str


class FailureSaid(Said, frozen=True, kw_only=True):
    """Why a task has no result: our code, a sentence for a person, and the provider's own code."""

    code: FailureCode
    message: str
    provider_code: str | UnsetType = UNSET


class Output(Said, frozen=True, kw_only=True):
    """A result file. Sizes in bytes and pixels, duration in seconds."""

    url: str
    media_type: str | UnsetType = UNSET
    size: int | UnsetType = UNSET
    width: int | UnsetType = UNSET
    height: int | UnsetType = UNSET
    duration: float | UnsetType = UNSET
    etag: str | UnsetType = UNSET


class Urls(Said, frozen=True, kw_only=True):
    """Where to go on with a task."""

    self_: str = msgspec.field(name="self")
    cancel: str
    retry: str
    events: str
    stream: (
        Annotated[
            str,
            Meta(
                description="Events as they happen; opens without a key, for half an hour at least."
            ),
        ]
        | UnsetType
    ) = UNSET


class TaskSaid(Said, frozen=True, kw_only=True):
    """A task."""

    id: str
    status: Annotated[
        str,
        Meta(
            extra_json_schema={
                "enum": ["queued", "running", "uploading", "succeeded", "failed", "canceled"]
            }
        ),
    ]
    kind: Kind
    model: str
    input: InputSaid
    metadata: dict[str, str]
    labels: tuple[str, ...]
    progress: Annotated[int, Meta(description="Percent; 100 only at success.")] | UnsetType = UNSET
    progress_estimated: (
        Annotated[bool, Meta(description="From how long such tasks took of late.")] | UnsetType
    ) = UNSET
    queue: QueueSaid | UnsetType = UNSET
    eta_at: _Time | UnsetType = UNSET
    priority: int | UnsetType = UNSET
    attempt: int
    seed: Annotated[int, Meta(description="Asked for, or drawn.")] | UnsetType = UNSET
    revision: Annotated[int, Meta(description="Goes up with every change.")]
    dialect: str
    parent: Annotated[str, Meta(description="The task that this one retries.")] | UnsetType = UNSET
    created_at: _Time | UnsetType = UNSET
    started_at: _Time | UnsetType = UNSET
    finished_at: _Time | UnsetType = UNSET
    updated_at: _Time | UnsetType = UNSET
    expires_at: _Time | UnsetType = UNSET
    failure: FailureSaid | UnsetType = UNSET
    outputs: tuple[Output, ...]
    preview_url: Annotated[str, Meta(description="How far it is, as a picture.")] | UnsetType = (
        UNSET
    )
    poll_after_ms: int | UnsetType = UNSET
    urls: Urls


class TaskPage(Said, frozen=True, kw_only=True):
    """Part of a list of tasks. There is a next part where there is a `next_cursor`."""

    tasks: tuple[TaskSaid, ...]
    next_cursor: str | UnsetType = UNSET
    total: Annotated[int, Meta(description="Of all parts; only with count=true.")] | UnsetType = (
        UNSET
    )


class TaskList(Said, frozen=True, kw_only=True):
    """The tasks that were asked for, in that order, and the ids of which there are none."""

    tasks: tuple[TaskSaid, ...]
    missing: tuple[str, ...]


class ChangeList(Said, frozen=True, kw_only=True):
    """Tasks as they are, in the order of their last changes of status.

    `cursor` is where to go on; there is `more` already, or there is not.
    """

    tasks: tuple[TaskSaid, ...]
    cursor: str
    more: bool


class EventSaid(Said, frozen=True, kw_only=True):
    """Something that happened to a task: a `status`, or a line of its `log`."""

    revision: int
    at: _Time
    event: Literal["status", "log"]
    status: str | UnsetType = UNSET
    attempt: int
    note: str | UnsetType = UNSET


class EventList(Said, frozen=True, kw_only=True):
    """What happened to a task, in order; `last` is what to ask after the next time."""

    events: tuple[EventSaid, ...]
    last: int


class ModelSaid(Said, frozen=True, kw_only=True):
    """A model: what it makes, and from what."""

    name: str
    kind: Kind
    description: str | UnsetType = UNSET
    max_sources: int
    roles: tuple[Role, ...] | UnsetType = UNSET
    needs_source: bool
    sizes: tuple[str, ...] | UnsetType = UNSET
    ratios: tuple[str, ...] | UnsetType = UNSET
    resolutions: tuple[str, ...] | UnsetType = UNSET
    durations: tuple[int, ...] | UnsetType = UNSET
    qualities: tuple[str, ...] | UnsetType = UNSET
    default_ratio: str | UnsetType = UNSET
    default_resolution: str | UnsetType = UNSET
    default_duration: int | UnsetType = UNSET
    input_schema: Annotated[
        dict[str, Any], Meta(description="A JSON Schema of `input` for this model.")
    ]


class ModelList(Said, frozen=True, kw_only=True):
    """The models there are."""

    models: tuple[ModelSaid, ...]


class UploadSaid(Said, frozen=True, kw_only=True):
    """A file that is kept until `expires_at`: `url` may be a source of tasks."""

    id: str
    url: str
    name: str | UnsetType = UNSET
    folder: str | UnsetType = UNSET
    media_type: str | UnsetType = UNSET
    size: int | UnsetType = UNSET
    expires_at: _Time | UnsetType = UNSET


class KeySaid(Said, frozen=True, kw_only=True):
    """The key that a request was made with."""

    key_id: str
    name: str


class EngineLoad(Said, frozen=True, kw_only=True):
    """What an engine has to do."""

    engine: str
    waiting: int
    running: int
    oldest_wait: Annotated[float, Meta(description="Seconds.")] | UnsetType = UNSET
    places: (
        Annotated[int, Meta(description="How many run at once in this process.")] | UnsetType
    ) = UNSET


class QueueList(Said, frozen=True, kw_only=True):
    """What waits and runs, by engine, as of a moment ago."""

    engines: tuple[EngineLoad, ...]


class WrongValue(Said, frozen=True, kw_only=True):
    """A value in the body that is wrong: a JSON pointer to it, and why."""

    pointer: str
    detail: str


class Problem(Said, frozen=True, kw_only=True):
    """Why a request failed (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: Annotated[str, Meta(description="The id of the request.")]
    code: str
    parameter: str | UnsetType = UNSET
    retry_after: Annotated[int, Meta(description="Seconds.")] | UnsetType = UNSET
    incident: Annotated[str, Meta(description="Finds it in the server's log.")] | UnsetType = UNSET
    errors: tuple[WrongValue, ...] | UnsetType = UNSET
