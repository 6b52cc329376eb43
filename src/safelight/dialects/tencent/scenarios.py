"""DescribeAigcTaskStatus and DescribeAigcTaskList: the third vocabulary, with times of its own."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from safelight.dialects.tencent import commands, faults, parameters
from safelight.dialects.tencent.words import TIME, decorated
from safelight.errors import Fault, Malformed, Unsupported
from safelight.task import (
    Artifact,
    Command,
    Failure,
    FailureCode,
    Fetch,
    Kind,
    List,
    Page,
    Status,
    Submit,
    Task,
)
from safelight.wire import (
    TEXT,
    Field,
    Fields,
    Reading,
    Sort,
    States,
    build_task,
    compact_json,
    require,
)

STATES = States(
    (Status.QUEUED, "PENDING"),
    (Status.RUNNING, "RUNNING"),
    (Status.UPLOADING, "RUNNING"),
    (Status.SUCCEEDED, "FINISHED"),
    (Status.FAILED, "FAILED"),
    (Status.CANCELED, "STOP"),
)
_TIMED_OUT = "TIMEOUT"  # a failure that has a word of its own [doc]
# The pages have types of scenarios, none of which is ours.
_TYPES = {Kind.IMAGE: "AigcImage", Kind.VIDEO: "AigcVideo"}
_FILTERS: Mapping[str, frozenset[Status]] = {
    "PENDING": frozenset({Status.QUEUED}),
    "RUNNING": frozenset({Status.RUNNING, Status.UPLOADING}),
    "FINISHED": frozenset({Status.SUCCEEDED}),
    "STOP": frozenset({Status.CANCELED}),
    "FAILED": frozenset({Status.FAILED}),
}
_MOST_PAGES, _MOST_LISTED = 10**9, 100


def _write_time(millis: int) -> str:
    return datetime.fromtimestamp(millis // 1000, UTC).isoformat(" ")[:19]


# `2026-01-30 12:00:00`, and no ISO [doc]; in which zone is not said: in UTC, as all others.
SPACED = Sort("time", TIME.read, _write_time)
_TIMES = Fields(
    Field("created", "CreateTime", SPACED),
    Field("started", "ScheduledTime", SPACED),
    Field("finished", "FinishedTime", SPACED),
)


# ---------------------------------------------------------------------------------------- asking


def read_asked(values: Mapping[str, Any]) -> Command:
    """What DescribeAigcTaskList asks for. Raises a `Fault`."""
    require("PageNum", values.get("PageNum"), 1, _MOST_PAGES)
    require("PageSize", values.get("PageSize"), 1, _MOST_LISTED)
    said = {name: word for name, word in values.get("QueryTaskFilter", {}).items() if word}
    if "TaskId" in said and len(said) == 1:
        return Fetch(id=said["TaskId"])
    for name in sorted(said.keys() - {"TaskType", "TaskStatus"}):
        path = f"QueryTaskFilter.{name}"
        raise Unsupported(f"{path}: this server cannot do that", parameter=path)
    size = values.get("PageSize", 10)
    return List(
        kind=_choose("TaskType", said, {word: kind for kind, word in _TYPES.items()}, None),
        statuses=_choose("TaskStatus", said, _FILTERS, frozenset()),
        limit=size,
        offset=(values.get("PageNum", 1) - 1) * size,
    )


def _choose(name: str, said: Mapping[str, str], words: Mapping[str, Any], default: Any) -> Any:
    if name not in said:
        return default
    parameters.choose(f"QueryTaskFilter.{name}", said[name], tuple(words))
    return words[said[name]]


# ---------------------------------------------------------------------------------------- writing


def write_status(task: Task) -> dict[str, Any]:
    """What DescribeAigcTaskStatus answers."""
    urls = _urls(task)
    return _write_task(task) | {"OutputUrl": urls[0] if urls else ""}


def write_page(page: Page) -> dict[str, Any]:
    """What DescribeAigcTaskList answers."""
    return {
        "Total": page.total,
        "PageNum": page.offset // page.limit + 1,
        "PageSize": page.limit,
        "Tasks": [_write_listed(task) for task in page.tasks],
    }


def write_alone(task: Task) -> dict[str, Any]:
    """What DescribeAigcTaskList answers about the task that was asked for by its id."""
    return write_page(Page(tasks=(task,), total=1))


def _write_listed(task: Task) -> dict[str, Any]:
    sizes = [f"{one.width}x{one.height}" for one in task.artifacts if one.width and one.height]
    return _write_task(task) | {
        "Urls": _urls(task),
        "Resolution": sizes[0] if sizes else "",
        "Ratio": task.submit.ratio or "",
    }


def _write_task(task: Task) -> dict[str, Any]:
    _, number, message = faults.write_failure(task)
    late = task.failure is not None and task.failure.code is FailureCode.TIMEOUT
    return {
        "TaskId": decorated(task),
        "TaskType": _TYPES[task.kind],
        "TaskStatus": _TIMED_OUT if late else STATES.write(task.status),
        "CreateTime": "",
        "ScheduledTime": "",
        "FinishedTime": "",
        **_TIMES.write(task),
        "TaskResultCode": number,
        "TaskResultMsg": message,
        "RequestBody": _body(task.submit),
        "TaskInfo": "",
        "Stage": "",
    }


def _urls(task: Task) -> list[str]:
    return [artifact.url for artifact in task.artifacts if artifact.url]


def _body(submit: Submit) -> str:
    """What the task would be asked with on this wire; empty where it has no words for it."""
    try:
        return compact_json(commands.write_command(submit)[1])
    except (Malformed, Fault):
        return ""


# ---------------------------------------------------------------------------------------- reading


def read_status(data: Reading, command: Fetch) -> Task:
    """The task that DescribeAigcTaskStatus tells. Raises `Malformed`."""
    url = data.echo("OutputUrl", TEXT, "")
    return _read_task(data, command.id, (url,) if url else ())


def read_page(data: Reading, command: List) -> Page:
    """The tasks that DescribeAigcTaskList tells. Raises `Malformed`."""
    return Page(
        tasks=tuple(
            _read_task(item, item.text("TaskId"), item.texts("Urls", ()))
            for item in data.objects("Tasks")
        ),
        total=data.integer("Total", 0),
        limit=command.limit,
        offset=command.offset,
    )


def _read_task(data: Reading, id: str, urls: tuple[str, ...]) -> Task:
    word = data.text("TaskStatus", None)
    late = word == _TIMED_OUT
    status = Status.FAILED if late else STATES.read(word)
    values = _TIMES.read_echo(data)
    if status is Status.FAILED:
        message = data.echo("TaskResultMsg", TEXT, "") or "The task failed"
        code = FailureCode.TIMEOUT if late else FailureCode.PROVIDER_ERROR
        values["failure"] = Failure(code=code, message=message)
    kind = next((ours for ours, one in _TYPES.items() if one == data.echo("TaskType", TEXT)), None)
    return build_task(
        values,
        id=id,
        status=status,
        submit=Submit(kind=kind or Kind.VIDEO),
        artifacts=tuple(Artifact(url=url) for url in urls),
        status_word=None if late or STATES.knows(word) else word,
    )
