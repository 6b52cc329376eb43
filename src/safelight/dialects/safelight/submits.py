"""What a new task is asked for with: JSON, or a form whose part `task` is that, and its files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from safelight.dialects.safelight.reading import read_asked
from safelight.dialects.safelight.records import (
    CallbackRequest,
    GivenSource,
    Input,
    InputChanges,
    Step,
    TaskRequest,
)
from safelight.dialects.safelight.writing import WORDS, known
from safelight.errors import Malformed, Unsupported
from safelight.task import Callback, Operation, Source, Submit
from safelight.wire import (
    Part,
    Request,
    is_address,
    json_request,
    merge_frames,
    read_frame,
    read_json,
    read_source,
    refuse_demands,
    write_form,
)

TITLE = "Safelight"
TASK = "task"  # the part of a form that is the JSON
_DEEPEST = 64  # levels of options
_HANDLED = ("labels", "metadata", "start_within", "cancel_after", "priority", "callback")


# ------------------------------------------------------------------------------------------- read


def read_submit(request: Request) -> Submit:
    """The task that `request` asks for. Raises `Malformed`."""
    value, files = _open(request)
    asked = read_asked(TaskRequest, value)
    submit = _submit(asked, files)
    if files:
        name = next(iter(files))
        raise Malformed(name, "no source is this part of the form", "unknown")
    if not (submit.prompt or submit.sources or submit.operations):
        raise Malformed("input.prompt", "required without sources and operations", "missing")
    return submit


def _open(request: Request) -> tuple[Any, dict[str, Part]]:
    """The JSON, and the files of a form by the names of their parts."""
    media_type = (request.header("content-type") or "").partition(";")[0].strip().lower()
    if media_type != "multipart/form-data":
        return request.json(), {}
    parts: dict[str, Part] = {}
    for part in request.form():
        if part.name in parts:
            raise Malformed(part.name, "two parts of the form have this name")
        parts[part.name] = part
    task = parts.pop(TASK, None)
    if task is None:
        raise Malformed(TASK, "required", "missing")
    return read_json(task.data), parts


def _submit(asked: TaskRequest, files: dict[str, Part]) -> Submit:
    said = asked.input
    words = {name: value for name in WORDS if (value := getattr(said, name)) is not UNSET}
    if words.get("seed") == -1:
        del words["seed"]
    return Submit(
        kind=asked.kind,
        model=asked.model,
        prompt=said.prompt,
        count=said.count,
        sources=tuple(
            _source(source, f"input.sources.{index}", files)
            for index, source in enumerate(said.sources)
        ),
        operations=tuple(
            _operation(step, f"input.operations.{index}")
            for index, step in enumerate(said.operations)
        ),
        labels=tuple(dict.fromkeys(asked.labels)),
        metadata=dict(sorted(asked.metadata.items())),
        start_within=asked.start_within or None,
        cancel_after=asked.cancel_after or None,
        priority=asked.priority,
        callback=_callback(asked.callback) if asked.callback else None,
        **(words | read_frames(said)),
    )


def read_frames(said: Input | InputChanges) -> dict[str, Any]:
    """The size, each part of it in the one way that it is said inside. Raises `Malformed`."""
    for name, other in (("width", "height"), ("height", "width")):
        if getattr(said, name) is not UNSET and getattr(said, other) is UNSET:
            raise Malformed(f"input.{other}", f"required beside {name}", "missing")
    texts = {name: getattr(said, name) for name in ("ratio", "resolution")}
    return merge_frames(
        [read_frame(text, f"input.{name}") for name, text in texts.items() if text is not UNSET]
    )


def _source(given: GivenSource, path: str, files: dict[str, Part]) -> Source:
    if (given.url is UNSET) is (given.part is UNSET):
        raise Malformed(path, "either an address (url) or a part of the form (part)", "missing")
    if given.url is not UNSET:
        return read_source(given.url, f"{path}.url", given.role)
    part = files.pop(str(given.part), None)
    if part is None:
        raise Malformed(f"{path}.part", "there is no such part of the form, or it is another's")
    return Source(role=given.role, data=part.data, name=part.filename or None)


def _operation(step: Step, path: str) -> Operation:
    if not _within(step.options, _DEEPEST):
        raise Malformed(f"{path}.options", f"nested deeper than {_DEEPEST} levels")
    return Operation(name=step.name, options=step.options)


def _within(value: Any, levels: int) -> bool:
    inner: Any = ()
    if isinstance(value, Mapping):
        inner = value.values()
    elif isinstance(value, list | tuple):
        inner = value
    return levels > 0 and all(_within(one, levels - 1) for one in inner)


def _callback(asked: CallbackRequest) -> Callback:
    if not is_address(asked.url):
        raise Malformed("callback.url", "not an http(s) address")
    return Callback(url=asked.url, events=asked.events, secret=asked.secret or None)


def parameter_name(name: str, submit: Submit) -> str:
    """What this wire calls a parameter that a fault names as `Submit` does."""
    what, _, rest = name.partition(".")
    if what == "sources" and rest.isdecimal() and int(rest) < len(submit.sources):
        return f"input.{name}.url" if submit.sources[int(rest)].url else f"input.{name}"
    if what in ("model", "kind", *_HANDLED):
        return name
    if what in ("prompt", "count", "sources", "operations", *WORDS):
        return f"input.{name}"
    for index, step in enumerate(submit.operations):
        if step.name == what and rest:
            return f"input.operations.{index}.options.{rest}"
    return name


# ------------------------------------------------------------------------------------------ write


def write_submit(submit: Submit, path: str) -> Request:
    """The request that asks for `submit`. Raises `Unsupported` for what has no word here."""
    refuse_demands(submit, TITLE, _HANDLED)
    if submit.named:
        raise Unsupported(f"{TITLE} cannot say this model", parameter="model")
    files: list[Part] = []
    asked = TaskRequest(
        kind=submit.kind,
        model=submit.model,
        input=_write_input(submit, files),
        callback=_write_callback(submit.callback) if submit.callback else UNSET,
        **known(submit, ("labels", "metadata", "start_within", "cancel_after", "priority")),
    )
    if not files:
        return json_request("POST", path, asked)
    task = Part(name=TASK, data=msgspec.json.encode(asked), media_type="application/json")
    content_type, body = write_form([task, *files])
    headers = (("content-type", content_type),)
    return Request(method="POST", path=path, headers=headers, body=body)


def _write_input(submit: Submit, files: list[Part]) -> Input:
    return Input(
        prompt=submit.prompt,
        count=submit.count,
        sources=tuple(
            _write_source(source, index, files) for index, source in enumerate(submit.sources)
        ),
        operations=tuple(Step(name=step.name, options=step.options) for step in submit.operations),
        **known(submit, WORDS),
    )


def _write_source(source: Source, index: int, files: list[Part]) -> GivenSource:
    if source.data is not None:
        name = f"source_{index}"
        files.append(Part(name=name, data=source.data, filename=source.name or ""))
        return GivenSource(role=source.role, part=name)
    if source.url is None:
        sentence = f"{TITLE} takes a source by its address or with the request"
        raise Unsupported(sentence, parameter="sources")
    return GivenSource(role=source.role, url=source.url)


def _write_callback(callback: Callback) -> CallbackRequest:
    if callback.format != "standard":
        raise Unsupported(f"{TITLE} cannot say this callback", parameter="callback")
    return CallbackRequest(
        url=callback.url, events=callback.events, secret=callback.secret or UNSET
    )
