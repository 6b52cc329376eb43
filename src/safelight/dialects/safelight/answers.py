"""Tasks, and what else is told, read from answers: what is said beside an end is an echo."""

from __future__ import annotations

from typing import Any

import msgspec

from safelight.dialects.safelight.reading import read_said, read_time
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
)
from safelight.dialects.safelight.writing import LOG, TIMES, WORDS
from safelight.errors import Malformed
from safelight.task import (
    Artifact,
    Failure,
    FailureCode,
    History,
    Kind,
    ModelCard,
    Operation,
    Outlook,
    Source,
    Status,
    Submit,
    Task,
    TaskEvent,
    Uploaded,
)
from safelight.wire import ANYTHING, Reading, States

# The words are our own.
STATES = States(*((status, status.value) for status in Status))
# What of a task, and of what it was asked with, has the same name on both sides.
_SAME = ("progress", "attempt", "seed", "revision", "dialect")
_HANDLED = ("metadata", "labels", "priority", "parent")


def read_task(said: Reading, kind: Kind | None = None) -> Task:
    """A task that an answer tells; of that kind, where it says none. Raises `Malformed`."""
    id = said.text("id")
    word = said.value("status", ANYTHING)
    values = read_said(TaskSaid, said.values)
    status = STATES.read(word)
    own: dict[str, Any] = {name: values[name] for name in _SAME if name in values}
    for theirs, ours in TIMES.items():
        if (moment := _read_moment(values.get(theirs))) is not None:
            own[ours] = moment
    return Task(
        id=id,
        status=status,
        status_word=None if STATES.knows(word) else str(word),
        submit=_submit(said, values, kind),
        failure=_failure(said) if status in (Status.FAILED, Status.CANCELED) else None,
        artifacts=tuple(_artifact(one) for one in said.objects("outputs")),
        outlook=_outlook(said, values),
        **own,
    )


def _read_moment(text: Any) -> int | None:
    if text is None:
        return None
    try:
        return read_time(text, "")
    except Malformed:
        return None


def _submit(said: Reading, values: dict[str, Any], kind: Kind | None) -> Submit:
    raw = said.values.get("input")
    asked = read_said(InputSaid, raw)
    handled = {name: values[name] for name in _HANDLED if name in values}
    return Submit(
        kind=values.get("kind", kind or Kind.IMAGE),
        model=values.get("model", ""),
        sources=tuple(Source(**read) for read in _echoes(SourceSaid, raw, "sources")),
        operations=tuple(
            Operation(**read) for read in _echoes(StepSaid, raw, "operations") if "name" in read
        ),
        **{name: asked[name] for name in ("prompt", "count", *WORDS) if name in asked},
        **handled,
    )


def _echoes(kind: type[msgspec.Struct], holder: Any, name: str) -> list[dict[str, Any]]:
    """What can be read of a list of records that is in an echo."""
    listed = holder.get(name) if isinstance(holder, dict) else None
    return [read_said(kind, one) for one in listed] if isinstance(listed, list) else []


def _failure(said: Reading) -> Failure:
    read = read_said(FailureSaid, said.values.get("failure"))
    read.setdefault("code", FailureCode.PROVIDER_ERROR)
    read["message"] = read.get("message") or "The task failed"
    return Failure(**read)


def _artifact(said: Reading) -> Artifact:
    return Artifact(**{**read_said(Output, said.values), "url": said.text("url")})


def _outlook(said: Reading, values: dict[str, Any]) -> Outlook | None:
    read: dict[str, Any] = {}
    queue = read_said(QueueSaid, said.values.get("queue"))
    read |= {name: queue[name] for name in ("ahead", "engine") if name in queue}
    if (eta := _read_moment(values.get("eta_at"))) is not None:
        read["end"] = eta
    if values.get("progress_estimated") and "progress" in values:
        read["progress"] = values["progress"]
    if "poll_after_ms" in values:
        read["again"] = values["poll_after_ms"] / 1000
    return Outlook(**read) if read else None


def read_history(said: Reading) -> History:
    """What happened to a task. Raises `Malformed`."""
    last = said.integer("last")
    events = []
    for one in said.objects("events"):
        read = read_said(EventSaid, one.values)
        what = LOG if read.get("event") == "log" else read.get("status")
        if what is not None and {"revision", "at"} <= read.keys():
            events.append(
                TaskEvent(
                    number=read["revision"],
                    at=_read_moment(read["at"]) or 0,
                    what=what,
                    attempt=read.get("attempt", 0),
                    note=read.get("note", ""),
                )
            )
    return History(events=tuple(events), last=last)


def read_model(said: Reading) -> ModelCard:
    """A model that an answer tells. Raises `Malformed`."""
    read = read_said(ModelSaid, said.values)
    name = said.text("name")
    if "kind" not in read:
        raise Malformed(said.at("kind"), "neither image nor video")
    read.pop("input_schema", None)
    return ModelCard(**{**read, "name": name})


def read_upload(said: Reading) -> Uploaded:
    """A file that is kept, as an answer tells it. Raises `Malformed`."""
    read = read_said(UploadSaid, said.values)
    expires = _read_moment(read.pop("expires_at", None))
    return Uploaded(**{**read, "id": said.text("id"), "url": said.text("url")}, expires=expires)
