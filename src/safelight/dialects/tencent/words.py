"""The words that Tencent's commands and answers share: names, ids, times and formats."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from safelight.errors import Malformed
from safelight.task import Kind, Task
from safelight.wire import TEXT, Sort

DIALECT = "tencent"
SERVICE, VERSION = "mps", "2019-06-12"

# The models of tasks that name none: processing has no models, and ModelName may be left out [doc].
PROCESS_IMAGE = "process-image"
NAMELESS = {Kind.IMAGE: "aigc-image", Kind.VIDEO: "aigc-video"}

# The ids that clients see: `2600-WorkflowTask-<id>`; the digits are an account's, anywhere else.
_PROCESSING, _IMAGE, _VIDEO = "2600-WorkflowTask-", "4-AigcImage-", "4-AigcVideo-"
_QUERIES = {
    "-WorkflowTask-": "DescribeImageTaskDetail",
    "-AigcImage-": "DescribeAigcImageTask",
    "-AigcVideo-": "DescribeAigcVideoTask",
    "-AigcScenario-": "DescribeAigcTaskStatus",
}

FORMATS = {
    "image/jpeg": "jpeg",
    "image/png": "png",
    "image/webp": "webp",
    "image/bmp": "bmp",
    "video/mp4": "mp4",
}
MEDIA_TYPES = {word: media_type for media_type, word in FORMATS.items()} | {"jpg": "image/jpeg"}


def _write_time(millis: int) -> str:
    return f"{datetime.fromtimestamp(millis // 1000, UTC).isoformat()[:19]}Z"


NEVER = "0000-00-00T00:00:00Z"  # how lists write a time that has not come [doc]


def _read_time(value: Any, path: str) -> int | None:
    text = TEXT.read(value, path)
    if text in (NEVER, ""):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Malformed(path, "not a time") from None
    return int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()) * 1000


# In UTC, without a fraction [doc].
TIME = Sort("time", _read_time, _write_time)


def _read_until(value: Any, path: str) -> int | None:
    time = _read_time(value, path)
    return None if time is None else time + 999


# The second that a range ends with is part of it.
UNTIL = Sort("time", _read_until, _write_time)


def decorated(task: Task) -> str:
    """The task's id in the form that tells which action asks for it."""
    if task.submit.operations or task.submit.model == PROCESS_IMAGE:
        return _PROCESSING + task.id
    return (_VIDEO if task.kind is Kind.VIDEO else _IMAGE) + task.id


def query_of(id: str, kind: Kind | None) -> str:
    """The action that asks for a task: its id tells, and where it doesn't, what the task makes."""
    for infix, action in _QUERIES.items():
        if infix in id:
            return action
    return "DescribeAigcVideoTask" if kind is Kind.VIDEO else "DescribeImageTaskDetail"
