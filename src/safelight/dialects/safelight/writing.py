"""A task, and the models, as the wire's own records."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import UNSET

from safelight.dialects.safelight.reading import write_time
from safelight.dialects.safelight.records import (
    EventSaid,
    FailureSaid,
    InputSaid,
    ModelSaid,
    Output,
    QueueSaid,
    SourceSaid,
    StepSaid,
    TaskSaid,
    UploadSaid,
    Urls,
)
from safelight.dialects.safelight.schemas import input_schema
from safelight.task import (
    ModelCard,
    Operation,
    Outlook,
    Source,
    Submit,
    Task,
    TaskEvent,
    Uploaded,
)

LOG = "log"  # what an event tells that is a line, and no status
PREFIX = "/api/safelight/v1"
# What of `Submit` has the same name on this wire, and there is known or absent.
WORDS = (
    *("negative", "width", "height", "ratio", "resolution", "seed", "format", "quality"),
    *("duration", "fps", "audio"),
)
TIMES = {
    "created_at": "created",
    "started_at": "started",
    "finished_at": "finished",
    "updated_at": "updated",
}
_FILE = ("media_type", "size", "width", "height", "duration", "etag")
_CARD = (
    *("sizes", "ratios", "resolutions", "durations", "qualities", "roles", "description"),
    *("default_ratio", "default_resolution", "default_duration"),
)


def known(record: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """The attributes of those names that say anything."""
    values = ((name, getattr(record, name)) for name in names)
    return {name: value for name, value in values if value is not None and value not in ("", ())}


def task_object(task: Task, base: str = "", retention: int = 0) -> Any:
    """A task as JSON values. `base` is the address that links begin with.

    `retention` are the milliseconds for which it is kept after its end. The links of its files, and
    of sources that came with the request, are those that the task has.
    """
    return msgspec.to_builtins(task_said(task, base, retention))


def task_said(task: Task, base: str = "", retention: int = 0) -> TaskSaid:
    """A task as the wire's record; as `task_object`."""
    said: dict[str, Any] = known(task, ("progress", "seed", "preview_url"))
    for theirs, ours in TIMES.items():
        said |= _time(theirs, getattr(task, ours))
    if task.finished is not None and retention:
        said |= _time("expires_at", task.finished + retention)
    if task.failure is not None:
        failure = task.failure
        said["failure"] = FailureSaid(
            code=failure.code, message=failure.message, **known(failure, ("provider_code",))
        )
    if task.outlook is not None:
        said |= _outlook(task.outlook)
    return TaskSaid(
        id=task.id,
        status=task.status.value,
        kind=task.kind,
        model=task.submit.model,
        input=_input(task.submit),
        metadata=task.submit.metadata,
        labels=task.submit.labels,
        priority=task.submit.priority or UNSET,
        attempt=task.attempt,
        revision=task.revision,
        dialect=task.dialect,
        parent=task.submit.parent or UNSET,
        outputs=tuple(
            Output(url=artifact.url or "", **known(artifact, _FILE)) for artifact in task.artifacts
        ),
        urls=_urls(f"{base}{PREFIX}/tasks/{quote(task.id, safe='')}", task.signature),
        **said,
    )


def _time(name: str, millis: int | None) -> dict[str, Any]:
    return {} if millis is None else {name: write_time(millis)}


def _input(submit: Submit) -> InputSaid:
    return InputSaid(
        prompt=submit.prompt,
        count=submit.count,
        sources=tuple(_source(source) for source in submit.sources),
        operations=tuple(_step(step) for step in submit.operations) or UNSET,
        **known(submit, WORDS),
    )


def _source(source: Source) -> SourceSaid:
    return SourceSaid(role=source.role, url=source.url or UNSET)


def _step(step: Operation) -> StepSaid:
    return StepSaid(name=step.name, options=step.options or UNSET)


def _outlook(outlook: Outlook) -> dict[str, Any]:
    said: dict[str, Any] = _time("eta_at", outlook.end)
    if outlook.ahead is not None:
        said["queue"] = QueueSaid(
            position=outlook.ahead + 1, ahead=outlook.ahead, engine=outlook.engine or ""
        )
    if outlook.progress is not None:
        said |= {"progress": outlook.progress, "progress_estimated": True}
    if outlook.again is not None:
        said["poll_after_ms"] = round(outlook.again * 1000)
    return said


def _urls(own: str, signature: str | None) -> Urls:
    return Urls(
        self_=own,
        cancel=f"{own}/cancel",
        retry=f"{own}/retry",
        events=f"{own}/events",
        stream=f"{own}/events?signature={signature}" if signature else UNSET,
    )


def model_said(card: ModelCard) -> ModelSaid:
    """A model as the wire's record."""
    return ModelSaid(
        name=card.name,
        kind=card.kind,
        max_sources=card.max_sources,
        needs_source=card.needs_source,
        input_schema=input_schema(card),
        **known(card, _CARD),
    )


def event_said(event: TaskEvent) -> EventSaid:
    """Something that happened as the wire's record."""
    line = event.what == LOG
    return EventSaid(
        revision=event.number,
        at=write_time(event.at),
        event="log" if line else "status",
        status=UNSET if line else event.what,
        attempt=event.attempt,
        note=event.note or UNSET,
    )


def upload_said(upload: Uploaded) -> UploadSaid:
    """A file that is kept as the wire's record."""
    return UploadSaid(
        id=upload.id,
        url=upload.url or "",
        **known(upload, ("name", "folder", "media_type", "size")),
        **_time("expires_at", upload.expires),
    )
