"""DescribeTaskDetail and DescribeTasks: our tasks as the video tasks that clients ask for so.

The shapes are those of a workflow of MPS, of which a task of ours is one that transcodes: a result
has a path there, and no address [doc].
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from safelight.dialects.tencent import faults, tasks
from safelight.dialects.tencent.words import FORMATS, NEVER, TIME, decorated
from safelight.task import Artifact, Fetch, Kind, List, Page, Status, Submit, Task
from safelight.wire import INTEGER, NUMBER, TEXT, Field, Fields, Reading, build_task

WORKFLOW = "WorkflowTask"
_TIMES = Fields(
    Field("created", "CreateTime", TIME),
    Field("started", "BeginProcessTime", TIME),
    Field("finished", "FinishTime", TIME),
)
_OUTPUT = Fields(
    Field("width", "Width", INTEGER),
    Field("height", "Height", INTEGER),
    Field("size", "Size", INTEGER),
    Field("duration", "Duration", NUMBER),
)


# ---------------------------------------------------------------------------------------- writing


def write_detail(task: Task) -> dict[str, Any]:
    """What DescribeTaskDetail answers."""
    word, outcome = tasks.DETAIL_STATES.write(task.status)
    code, number, message = faults.write_failure(task)
    workflow: dict[str, Any] = {
        "TaskId": decorated(task),
        "Status": "FINISH" if word == "FINISH" else "PROCESSING",  # it has no other words [doc]
        "ErrCode": number,
        "Message": message,
        "MediaProcessResultSet": [
            {"Type": "Transcode", "TranscodeTask": part}
            for part in _parts(task, outcome, code, number, message)
        ],
    }
    if "InputInfo" in (asked := tasks.write_asked(task)):
        workflow["InputInfo"] = asked["InputInfo"]
    return {"TaskType": WORKFLOW, "Status": word, WORKFLOW: workflow} | _TIMES.write(task)


def _parts(
    task: Task, outcome: str | None, code: str, number: int, message: str
) -> Iterator[dict[str, Any]]:
    part = {"Status": outcome, "ErrCodeExt": code, "ErrCode": number, "Message": message}
    if outcome == "SUCCESS":
        for index, artifact in enumerate(task.artifacts):
            output = _write_output(task, artifact, index)
            yield {**part, "Message": outcome, "Progress": 100, "Output": output}
    elif outcome is not None:
        yield {**part, "Progress": task.progress or 0}


def _write_output(task: Task, artifact: Artifact, index: int) -> dict[str, Any]:
    format = FORMATS.get(artifact.media_type or "", "")
    return {
        "Path": tasks.write_path(task, artifact, index),
        "Container": format,
        **_OUTPUT.write(artifact),
    }


def write_list(page: Page) -> dict[str, Any]:
    """What DescribeTasks answers."""
    return {
        "TotalCount": page.total,
        "ScrollToken": page.following or "",
        "TaskSet": [
            {
                "TaskId": decorated(task),
                "TaskType": WORKFLOW,
                "SubTaskTypes": ["Transcode"],
                # A time that has not come is one of zeros [doc].
                "CreateTime": NEVER,
                "BeginProcessTime": NEVER,
                "FinishTime": NEVER,
                **_TIMES.write(task),
            }
            for task in page.tasks
        ],
    }


# ---------------------------------------------------------------------------------------- reading


def read_detail(data: Reading, command: Fetch) -> Task:
    """The task that DescribeTaskDetail tells. Raises `Malformed`."""
    workflow = data.object(WORKFLOW)
    parts = list(_read_parts(workflow))
    word, number = data.text("Status", None), workflow.integer("ErrCode", 0)
    outcome = tasks.outcome(word, parts, failed=bool(number))
    status, values = tasks.DETAIL_STATES.read(outcome), _TIMES.read_echo(data)
    if not tasks.DETAIL_STATES.knows(outcome):
        values["status_word"] = word
    if status is Status.FAILED:
        code, told = _read_error(parts)
        message = workflow.echo("Message", TEXT, "") or told
        failure = faults.read_failure(code, number, message)
        values["failure"] = failure
        status = tasks.ended_so(failure)
    values["artifacts"] = tasks.read_outputs(parts)
    values["progress"] = tasks.read_progress(parts)
    submit = Submit(kind=command.kind or Kind.VIDEO, sources=tasks.read_url(workflow))
    return build_task(values, id=command.id, status=status, submit=submit)


def _read_parts(workflow: Reading) -> Iterator[Reading]:
    """What was done, each in the object that is named after it."""
    for name in workflow.values:
        if name.endswith("ResultSet"):
            for item in workflow.objects(name):
                for member in item.values:
                    if member.endswith("Task") and item.has(member):
                        yield item.object(member)


def _read_error(parts: list[Reading]) -> tuple[str, str]:
    """The code and the message of the first part that has failed."""
    for part in parts:
        if part.text("Status", "") == "FAIL":
            return part.echo("ErrCodeExt", TEXT, ""), part.echo("Message", TEXT, "")
    return "", ""


def read_page(data: Reading, command: List) -> Page:
    """The tasks that DescribeTasks tells. Raises `Malformed`."""
    return Page(
        tasks=tuple(_read_listed(item, command) for item in data.objects("TaskSet")),
        total=data.integer("TotalCount", 0),
        following=data.text("ScrollToken", "") or None,
        limit=command.limit,
    )


def _read_listed(item: Reading, command: List) -> Task:
    # It has no status: all in it have the one that was asked for, as far as that was one.
    times = _TIMES.read_echo(item)
    asked = command.statuses
    status = Status.RUNNING if "started" in times else Status.QUEUED
    if len(asked) == 1:
        status = next(iter(asked))
    elif "finished" in times:  # how it ended is not told
        times["status_word"] = "FINISH"
    return Task(id=item.text("TaskId"), status=status, **times)
