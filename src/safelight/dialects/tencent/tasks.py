"""Tasks to what the queries answer, and back: three vocabularies of status in one service."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

from safelight.dialects.tencent import faults, parameters
from safelight.dialects.tencent.commands import fill_path
from safelight.dialects.tencent.words import (
    DIALECT,
    FORMATS,
    MEDIA_TYPES,
    NEVER,
    PROCESS_IMAGE,
    TIME,
    decorated,
    query_of,
)
from safelight.errors import Malformed
from safelight.task import (
    Artifact,
    Failure,
    FailureCode,
    Fetch,
    Kind,
    List,
    Page,
    Source,
    Status,
    Submit,
    Task,
)
from safelight.wire import INTEGER, TEXT, Field, Fields, Reading, States, build_task

# FINISH is no success: a task that failed is FINISH with an error beside it [doc] [client]. So the
# word for a status is a pair, the status and how its parts came out.
DETAIL_STATES = States(
    (Status.QUEUED, ("WAITING", None)),
    (Status.RUNNING, ("PROCESSING", "PROCESSING")),
    (Status.UPLOADING, ("PROCESSING", "PROCESSING")),
    (Status.SUCCEEDED, ("FINISH", "SUCCESS")),
    (Status.FAILED, ("FINISH", "FAIL")),
    (Status.CANCELED, ("FINISH", "FAIL")),
)
_OUTCOMES: dict[str, str | None] = {"WAITING": None, "PROCESSING": "PROCESSING"}
AIGC_STATES = States(
    (Status.QUEUED, "WAIT"),
    (Status.RUNNING, "RUN"),
    (Status.UPLOADING, "RUN"),
    (Status.SUCCEEDED, "DONE"),
    (Status.FAILED, "FAIL"),
    (Status.CANCELED, "FAIL"),
)
# A list tells waiting tasks as in work; beside FINISH it says whether a part failed [doc].
LIST_STATES = States(
    (Status.RUNNING, ("PROCESSING", False)),
    (Status.QUEUED, ("PROCESSING", False)),
    (Status.UPLOADING, ("PROCESSING", False)),
    (Status.SUCCEEDED, ("FINISH", False)),
    (Status.FAILED, ("FINISH", True)),
    (Status.CANCELED, ("FINISH", True)),
)
# The times of a task, and of one in a list.
_TIMES = Fields(Field("created", "CreateTime", TIME), Field("finished", "FinishTime", TIME))
_LIST_TIMES = Fields(*_TIMES.fields, Field("started", "BeginProcessTime", TIME))
_SIZE = re.compile(r"([0-9]{1,5})[xX]([0-9]{1,5})")


# ---------------------------------------------------------------------------------------- writing


def _own(task: Task) -> Mapping[str, Any]:
    """What was kept with a task of this dialect."""
    return task.submit.extra if task.dialect == DIALECT else {}


def write_detail(task: Task) -> dict[str, Any]:
    """What DescribeImageTaskDetail answers."""
    word, outcome = DETAIL_STATES.write(task.status)
    code, number, message = faults.write_failure(task)
    data: dict[str, Any] = {
        "TaskType": "WorkflowTask",
        "Status": word,
        "ErrCode": number,
        "ErrMsg": code,
        "Message": message,
    }
    if outcome is not None:
        data["ImageProcessTaskResultSet"] = _results(task, outcome, code, message)
    data |= _TIMES.write(task)
    own = _own(task)
    if "Definition" in own:
        data["Definition"] = own["Definition"]
    return data | write_asked(task)


def _results(task: Task, outcome: str, code: str, message: str) -> list[dict[str, Any]]:
    result = {"Status": outcome, "ErrMsg": code, "Message": message}
    if outcome != "SUCCESS":
        return [{**result, "Progress": task.progress or 0}]
    storage = _own(task).get("OutputStorage")
    stored = {} if storage is None else {"OutputStorage": storage}
    return [
        {
            **result,
            "Message": "SUCCESS",
            "Output": {"Path": write_path(task, one, index), **stored, "SignedUrl": one.url},
            "Progress": 100,
        }
        for index, one in enumerate(task.artifacts)
    ]


def write_asked(task: Task) -> dict[str, Any]:
    """InputInfo and ImageTask: as they came, or what they would be for what was asked otherwise."""
    own = _own(task)
    said = {name: own[name] for name in ("ImageTask", "InputInfo") if name in own}
    submit = task.submit
    if task.dialect == DIALECT and submit.model == PROCESS_IMAGE:
        return said
    if "ImageTask" not in said and submit.operations:
        said["ImageTask"] = parameters.write_echo(submit.operations)
    url = next((source.url for source in submit.sources if source.url), None)
    if "InputInfo" not in said and url is not None:
        said["InputInfo"] = {"Type": "URL", "UrlInputInfo": {"Url": url}}
    return said


def write_path(task: Task, artifact: Artifact, index: int) -> str:
    """Where the result lies: here, in its link, or where OutputPath would have it.

    The SDK of the international site knows no SignedUrl, so that without an OutputPath this is all
    that its callers have of the file [client].
    """
    own = _own(task)
    template = own.get("OutputPath")
    if not template:
        return _path_of(artifact.url or "")
    source = next((source.url for source in task.submit.sources if source.url), "")
    folder, name = posixpath.split(unquote(_path_of(source)))
    stem, extension = posixpath.splitext(name)
    values = {
        "inputName": stem or task.id,
        "inputFormat": extension.lstrip("."),
        "format": FORMATS.get(artifact.media_type or "") or extension.lstrip(".") or "png",
        "definition": str(own.get("Definition", 0)),
        "number": str(index),
    }
    if index and "{number}" not in template:  # nor do two results have one name
        template = f"{template.removesuffix('.{format}')}_{index}.{{format}}"
    path = fill_path(template, values)
    return posixpath.join("/", own.get("OutputDir") or folder, path)


def _path_of(url: str) -> str:
    """The path of an address, without its query."""
    _, _, rest = url.partition("#")[0].partition("?")[0].partition("://")
    _, slash, path = rest.partition("/")
    return slash + path


def write_aigc(op: str, task: Task) -> dict[str, Any]:
    """What DescribeAigcImageTask and DescribeAigcVideoTask answer."""
    word = AIGC_STATES.write(task.status)
    _, _, message = faults.write_failure(task)
    data: dict[str, Any] = {"Status": word, "Message": "ok" if word == "DONE" else message}
    name = "VideoUrls" if op == "DescribeAigcVideoTask" else "ImageUrls"
    data[name] = [artifact.url for artifact in task.artifacts if artifact.url]
    if name == "VideoUrls":
        sizes = [f"{one.width}x{one.height}" for one in task.artifacts if one.width and one.height]
        data["Resolution"] = sizes[0] if sizes else ""
    return data


def write_list(page: Page) -> dict[str, Any]:
    """What DescribeImageTasks answers."""
    return {
        "TotalCount": page.total,
        "ScrollToken": page.following or "",
        "TaskSet": [_listed(task) for task in page.tasks],
    }


def _listed(task: Task) -> dict[str, Any]:
    # No member of a list may be null, so that a time that has not come is one of zeros [doc].
    word, failed = LIST_STATES.write(task.status)
    url = next((source.url for source in task.submit.sources if source.url), "")
    return {
        "TaskId": decorated(task),
        "Status": word,
        "Input": url,
        "CreateTime": NEVER,
        "BeginProcessTime": NEVER,
        "FinishTime": NEVER,
        **_LIST_TIMES.write(task),
        "SubTaskHasFailed": failed,
    }


# ---------------------------------------------------------------------------------------- reading


def read_detail(data: Reading, command: Fetch) -> Task:
    """The task that DescribeImageTaskDetail tells. Raises `Malformed`."""
    results = data.objects("ImageProcessTaskResultSet")
    code, number, message = _read_error(data, results)
    word = data.text("Status", None)
    said = outcome(word, results, failed=bool(code or number))
    status, values = DETAIL_STATES.read(said), _TIMES.read_echo(data)
    if not DETAIL_STATES.knows(said):
        values["status_word"] = word
    if status is Status.FAILED:
        failure = faults.read_failure(code, number, message)
        values["failure"] = failure
        status = ended_so(failure)
    values["artifacts"] = read_outputs(results)
    values["progress"] = read_progress(results)
    return build_task(values, id=command.id, status=status, submit=_read_asked(data))


def _read_error(data: Reading, results: list[Reading]) -> tuple[str, int, str]:
    """The error of the task, or of the first of its parts that has one."""
    code, number = data.text("ErrMsg", ""), data.integer("ErrCode", 0)
    if code or number:
        return code, number, data.echo("Message", TEXT, "")
    for result in results:
        if result.text("ErrMsg", "") or result.text("Status", "") == "FAIL":
            return result.text("ErrMsg", ""), 0, result.echo("Message", TEXT, "")
    return "", 0, data.echo("Message", TEXT, "")


def outcome(word: str | None, results: list[Reading], *, failed: bool) -> Any:
    """The word for the status and for how the parts came out."""
    if word == "FAIL":  # not documented; the agents' scripts take it for an end [client]
        return ("FINISH", "FAIL")
    if word != "FINISH":
        return (word, _OUTCOMES.get(word or ""))
    parts = {result.text("Status", None) for result in results}  # null is no success either
    if failed or "FAIL" in parts:
        return (word, "FAIL")
    return (word, "SUCCESS" if parts <= {"SUCCESS"} else "PROCESSING")


def ended_so(failure: Failure) -> Status:
    """How a task ended that failed so: an aborted one has a failure too."""
    return Status.CANCELED if failure.code is FailureCode.CANCELED else Status.FAILED


def read_progress(results: list[Reading]) -> int | None:
    """How far the parts are, together; None where none says it."""
    said = [result.echo("Progress", INTEGER) for result in results]
    known = [progress for progress in said if progress is not None]
    return sum(known) // len(known) if known else None


def read_outputs(results: list[Reading]) -> tuple[Artifact, ...]:
    """The files that the parts tell of, as far as an address can be told."""
    outputs = [result.object("Output") for result in results]
    artifacts = (_read_output(output) for output in outputs if output.values)
    return tuple(artifact for artifact in artifacts if artifact.url)


def _read_output(output: Reading) -> Artifact:
    path = output.text("Path", "")
    extension = posixpath.splitext(path)[1].lstrip(".").lower()
    url = output.text("SignedUrl", "") or _stored_at(output.object("OutputStorage"), path)
    return Artifact(url=url or None, media_type=MEDIA_TYPES.get(extension))


def _stored_at(storage: Reading, path: str) -> str:
    """The address of a file in COS, which the international site does not give [doc]."""
    cos = storage.object("CosOutputStorage")
    bucket, region = cos.text("Bucket", ""), cos.text("Region", "")
    if not (bucket and region and path):
        return ""
    return f"https://{bucket}.cos.{region}.myqcloud.com/{quote(path.lstrip('/'))}"


def _read_asked(data: Reading) -> Submit:
    """What was asked, as far as the answer tells."""
    if not data.has("ImageTask"):
        return Submit(sources=read_url(data))
    operations = parameters.read_echo(data.values["ImageTask"])
    return Submit(model=PROCESS_IMAGE, sources=read_url(data), operations=operations)


def read_url(data: Reading) -> tuple[Source, ...]:
    """The source in InputInfo, where it has an address."""
    try:
        url = data.object("InputInfo").object("UrlInputInfo").text("Url", "")
    except Malformed:  # an echo, and no more
        url = ""
    return (Source(url=url),) if url else ()


def read_aigc(data: Reading, command: Fetch) -> Task:
    """The task that one of the two AIGC queries tells. Raises `Malformed`."""
    query = query_of(command.id, command.kind)
    kind = Kind.VIDEO if query == "DescribeAigcVideoTask" else Kind.IMAGE
    word = data.text("Status", None)
    status = AIGC_STATES.read(word)
    found = _SIZE.fullmatch(data.echo("Resolution", TEXT, ""))
    width, height = (int(found[1]), int(found[2])) if found else (None, None)
    urls = data.texts("VideoUrls" if kind is Kind.VIDEO else "ImageUrls", ())
    return Task(
        id=command.id,
        status=status,
        submit=Submit(kind=kind),
        artifacts=tuple(Artifact(url=url, width=width, height=height) for url in urls),
        failure=_aigc_failure(data) if status is Status.FAILED else None,
        status_word=None if AIGC_STATES.knows(word) else word,
    )


def _aigc_failure(data: Reading) -> Failure:
    message = data.echo("Message", TEXT) or "The task failed"
    return Failure(code=FailureCode.PROVIDER_ERROR, message=message)


def read_page(data: Reading, command: List) -> Page:
    """The tasks that DescribeImageTasks tells. Raises `Malformed`."""
    return Page(
        tasks=tuple(_read_listed(item) for item in data.objects("TaskSet")),
        total=data.integer("TotalCount", 0),
        following=data.text("ScrollToken", "") or None,
        limit=command.limit,
    )


def _read_listed(item: Reading) -> Task:
    word = (item.text("Status", None), item.flag("SubTaskHasFailed", None))
    status, values = LIST_STATES.read(word), _LIST_TIMES.read_echo(item)
    if not LIST_STATES.knows(word):
        values["status_word"] = word[0]
    if status is Status.FAILED:
        values["failure"] = Failure(code=FailureCode.PROVIDER_ERROR, message="The task failed")
    url = item.text("Input", "")
    sources = (Source(url=url),) if url else ()
    return build_task(values, id=item.text("TaskId"), status=status, submit=Submit(sources=sources))
