"""Commands to actions with their parameters, and back.

What an action takes at all is in `tencent_parameters`; what has been read there is of its types.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from safelight.dialects import tencent_parameters as parameters
from safelight.dialects.tencent_words import (
    FORMATS,
    MEDIA_TYPES,
    NAMELESS,
    PROCESS_IMAGE,
    TIME,
    UNTIL,
    query_of,
)
from safelight.errors import InvalidValue, Malformed, Unsupported
from safelight.task import (
    Cancel,
    Command,
    Fetch,
    Kind,
    List,
    Operation,
    Role,
    Source,
    Status,
    Submit,
)
from safelight.wire import (
    FLAG,
    INTEGER,
    SEED,
    TEXT,
    Field,
    Fields,
    Reading,
    Sort,
    compact_json,
    deed,
    merge_frames,
    read_frame,
    read_json,
    refuse_demands,
    require,
)


def _read_resolution(value: Any, path: str) -> str:
    resolution = read_frame(TEXT.read(value, path), path).resolution
    if resolution is None:
        raise Malformed(path, f"{value[:40]!r} is no resolution")
    return resolution


def _read_ratio(value: Any, path: str) -> str:
    ratio = read_frame(TEXT.read(value, path), path).ratio
    if ratio is None:
        raise Malformed(path, f"{value[:40]!r} is no ratio")
    return ratio


def _read_format(value: Any, path: str) -> str:
    word = TEXT.read(value, path).lower()
    media_type = MEDIA_TYPES.get(word, "")
    if not media_type.startswith("image/"):
        raise Malformed(path, f"{word[:40]!r} is no format")
    return FORMATS[media_type]


RESOLUTION = Sort("resolution", _read_resolution, str.upper)  # 720P, 1080P, 2K, 4K [doc]
RATIO = Sort("ratio", _read_ratio, TEXT.write)
FORMAT = Sort("format", _read_format, TEXT.write)
SECONDS = Sort("integer", INTEGER.read, round)

# What is asked of the actions that make something, and of their ExtraParameters.
_PROMPTS = (Field("prompt", "Prompt"), Field("negative", "NegativePrompt"))
_SHAPE = (Field("ratio", "AspectRatio", RATIO), Field("resolution", "Resolution", RESOLUTION))
AIGC = {
    Kind.IMAGE: Fields(*_PROMPTS, Field("count", "OutputImageCount", INTEGER)),
    Kind.VIDEO: Fields(*_PROMPTS, Field("duration", "Duration", SECONDS)),
}
AIGC_EXTRA = {
    Kind.IMAGE: Fields(*_SHAPE, Field("format", "OutputFormat", FORMAT)),
    Kind.VIDEO: Fields(*_SHAPE, Field("audio", "EnableAudio", FLAG)),
}
CREATE = {Kind.IMAGE: "CreateAigcImageTask", Kind.VIDEO: "CreateAigcVideoTask"}

# What only this wire can say: kept as it came, and written back.
AIGC_KEPT = ("SceneType", "EnhancePrompt", "Operator")
PROCESS_KEPT = (
    "OutputStorage",
    "OutputDir",
    "OutputPath",
    "Definition",
    "ResourceId",
    "ScheduleId",
)

# The lists of files: the parameter, the address in an item, and what the file is.
_LISTS = (
    ("ImageInfos", "ImageUrl", Role.IMAGE),
    ("VideoInfos", "VideoUrl", Role.VIDEO),
    ("AudioInfos", "AudioUrl", Role.AUDIO),
)
_FRAMES = (("ImageUrl", Role.FIRST_FRAME), ("LastImageUrl", Role.LAST_FRAME))

# Our names, as faults carry them, in the wire's.
_ADDITIONAL = {name: "AdditionalParameters" for name in ("width", "height", "seed")}
NAMES: dict[str, dict[str, str]] = {
    CREATE[kind]: {
        "model": "ModelName",
        "sources": "ImageInfos",
        **_ADDITIONAL,
        **{field.ours: field.theirs for field in AIGC[kind].fields},
        **{field.ours: f"ExtraParameters.{field.theirs}" for field in AIGC_EXTRA[kind].fields},
    }
    for kind in Kind
} | {
    "ProcessImage": {"sources": "InputInfo", "operations": "ImageTask"},
    "DescribeImageTasks": {"limit": "Limit", "before": "ScrollToken"},
}

# What a list may be asked for, by Status and SubTaskHasFailed; the first that fits is written.
_FILTERS: dict[tuple[str, bool | None], frozenset[Status]] = {
    ("WAITING", None): frozenset({Status.QUEUED}),
    ("PROCESSING", None): frozenset({Status.QUEUED, Status.RUNNING, Status.UPLOADING}),
    ("FINISH", None): frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELED}),
    ("FINISH", True): frozenset({Status.FAILED, Status.CANCELED}),
    ("FINISH", False): frozenset({Status.SUCCEEDED}),
}

_LIST_FIELDS = Fields(
    Field("limit", "Limit", INTEGER),
    Field("before", "ScrollToken"),
    Field("since", "StartTime", TIME),
    Field("until", "EndTime", UNTIL),
)

# What ProcessImage does without an input; and what it has no parameter for.
_MAKING = ("create_image", "ai_compose")
_UNPROCESSED = (
    "negative",
    "width",
    "height",
    "ratio",
    "resolution",
    "seed",
    "format",
    "quality",
    "duration",
    "fps",
    "audio",
)

# `Kling-2.1`, `Kling-3.0-Omni` and `Vidu-q2-pro` are a ModelName and, from the first word on that
# begins with a number, a ModelVersion; read back they are joined again, whatever was split.
_VERSIONED = re.compile(r"(.{1,100}?)-([A-Za-z]?[0-9][0-9A-Za-z.-]*)")


# ---------------------------------------------------------------------------------------- reading


def read_command(op: str, values: Mapping[str, Any]) -> Command:
    """What the parameters of action `op` ask for. Raises `Malformed`, or a `Fault`."""
    match op:
        case "ProcessImage":
            return _read_process(values)
        case "CreateAigcImageTask":
            return _read_create(Kind.IMAGE, values)
        case "CreateAigcVideoTask":
            return _read_create(Kind.VIDEO, values)
        case "DescribeImageTasks":
            return _read_list(values)
        case "ManageTask":
            parameters.choose("OperationType", values["OperationType"], ("Abort",))
            return Cancel(id=_id(values))
        case "DescribeAigcVideoTask":
            return Fetch(id=_id(values), kind=Kind.VIDEO)
        case _:
            return Fetch(id=_id(values), kind=Kind.IMAGE)


def _id(values: Mapping[str, Any]) -> str:
    id: str = values["TaskId"].strip()
    if not id:
        raise Malformed("TaskId", "required", "missing")
    return id


def _read_process(values: Mapping[str, Any]) -> Submit:
    parameters.reject(values, "StdExtInfo")
    parameters.reject(values, "AddOnParameter")
    operations = parameters.read_operations(values.get("ImageTask", {}))
    path = values.get("OutputPath")
    if path and not path.endswith(".{format}"):
        raise InvalidValue("OutputPath: must end in .{format}", parameter="OutputPath")
    names = (*PROCESS_KEPT, "InputInfo", "ImageTask")
    return Submit(
        model=PROCESS_IMAGE,
        sources=_read_input(values, operations),
        # Without an ImageTask the picture is written again as it is, as another format perhaps.
        operations=operations or (Operation(name="encode"),),
        extra={name: _without_secrets(values[name]) for name in names if name in values},
    )


def _read_input(values: Mapping[str, Any], operations: tuple[Operation, ...]) -> tuple[Source, ...]:
    info = values.get("InputInfo")
    if info is None:
        if any(operation.name in _MAKING for operation in operations):
            return ()
        raise Malformed("InputInfo", "required", "missing")
    parameters.choose("InputInfo.Type", info["Type"], ("URL", "COS", "AWS-S3", "VOD"))
    if info["Type"] != "URL":
        text = f"InputInfo.Type: files of {info['Type']} cannot be fetched here; give a URL"
        raise Unsupported(text, parameter="InputInfo.Type")
    url = info.get("UrlInputInfo", {}).get("Url", "").strip()
    if not url:
        raise Malformed("InputInfo.UrlInputInfo.Url", "required", "missing")
    return (Source(url=url),)


def _without_secrets(value: Any) -> Any:
    """`value` without the keys to somebody's storage, which are not ours to keep or to show."""
    if not isinstance(value, dict):
        return value
    return {
        name: _without_secrets(member)
        for name, member in value.items()
        if name not in ("S3SecretId", "S3SecretKey")
    }


def _read_create(kind: Kind, values: Mapping[str, Any]) -> Submit:
    parameters.reject(values, "StoreCosParam")
    parameters.reject(values, "SubjectInfos")
    said = Reading(values)
    top = AIGC[kind].read(said)
    extra_parameters = said.object("ExtraParameters")
    shape = AIGC_EXTRA[kind].read(extra_parameters)
    rest, more = _read_additional(values.get("AdditionalParameters") or "{}")
    sources = _read_sources(values)
    if not top.get("prompt", "").strip() and not sources:
        raise Malformed("Prompt", "required", "missing")
    require("OutputImageCount", top.get("count"), 1, 2**31)
    require("Duration", top.get("duration"), 1, 2**31)
    extra = {name: values[name] for name in AIGC_KEPT if name in values}
    extra |= _kept_items(values)
    unread = extra_parameters.values.keys() - AIGC_EXTRA[kind].names
    if unread:
        extra["ExtraParameters"] = {name: extra_parameters.values[name] for name in sorted(unread)}
    if rest:
        extra["AdditionalParameters"] = rest
    model = _read_model(kind, values)
    return Submit(kind=kind, model=model, sources=sources, extra=extra, **top, **shape, **more)


def _read_model(kind: Kind, values: Mapping[str, Any]) -> str:
    name, version = values.get("ModelName"), values.get("ModelVersion")
    if not name:
        return NAMELESS[kind]
    return f"{name}-{version}" if version else str(name)


def _read_additional(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What AdditionalParameters says, a JSON text: what is not ours, and size and seed as ours."""
    try:
        reading = Reading(read_json(text.encode(errors="replace")), "AdditionalParameters")
    except Malformed:
        raise Malformed("AdditionalParameters", "not a JSON object") from None
    more: dict[str, Any] = {}
    if reading.has("size"):
        path = reading.at("size")
        more = merge_frames([read_frame(reading.text("size"), path)])
    if reading.has("seed"):
        more["seed"] = reading.value("seed", SEED)
    rest = {name: value for name, value in reading.values.items() if name not in ("size", "seed")}
    return rest, more


def _read_sources(values: Mapping[str, Any]) -> tuple[Source, ...]:
    sources = [
        Source(role=role, url=values[name].strip())
        for name, role in _FRAMES
        if values.get(name, "").strip()
    ]
    for name, address, role in _LISTS:
        for index, item in enumerate(values.get(name, ())):
            if not item[address].strip():
                raise Malformed(f"{name}.{index}.{address}", "required", "missing")
            sources.append(Source(role=role, url=item[address].strip()))
    return tuple(sources)


def _kept_items(values: Mapping[str, Any]) -> dict[str, Any]:
    """What the lists of files say beside the addresses."""
    kept = {}
    for name, address, _ in _LISTS:
        items = [
            {key: value for key, value in item.items() if key != address}
            for item in values.get(name, ())
        ]
        if any(items):
            kept[name] = items
    return kept


def _read_list(values: Mapping[str, Any]) -> List:
    failed = values.get("SubTaskHasFailed")
    parameters.choose("Status", values["Status"], ("WAITING", "PROCESSING", "FINISH"))
    statuses = _FILTERS.get((values["Status"], failed), _FILTERS[values["Status"], None])
    said = Reading(values)
    require("Limit", values.get("Limit"), 1, 100)
    return List(
        kind=Kind.IMAGE,
        statuses=statuses,
        limit=said.integer("Limit", 10),
        before=values.get("ScrollToken") or None,
        since=said.value("StartTime", TIME, None),
        until=said.value("EndTime", UNTIL, None),
    )


# ---------------------------------------------------------------------------------------- writing


def write_command(command: Command) -> tuple[str, dict[str, Any]]:
    """The action that says `command`, and its parameters. Raises `Unsupported`."""
    if isinstance(command, Submit):
        refuse_demands(command, "Tencent")
    match command:
        case Submit(operations=operations, model=model) if operations or model == PROCESS_IMAGE:
            return "ProcessImage", _write_process(command)
        case Submit(kind=kind):
            return CREATE[kind], _write_create(command)
        case Fetch(id=id, kind=kind):
            return query_of(id, kind), {"TaskId": id}
        case Cancel(id=id):
            return "ManageTask", {"OperationType": "Abort", "TaskId": id}
        case List():
            return "DescribeImageTasks", _write_list(command)
        case _:
            raise Unsupported(f"Tencent has no action to {deed(command)}")


def _refuse(given: Mapping[str, Any], action: str) -> None:
    for name, value in given.items():
        if value:
            raise Unsupported(f"Tencent's {action} has no parameter for {name}", parameter=name)


def _write_process(submit: Submit) -> dict[str, Any]:
    unsaid = {
        "kind": submit.kind is not Kind.IMAGE,
        "model": submit.model not in ("", PROCESS_IMAGE),
        "prompt": submit.prompt,
        "count": submit.count != 1,
        **{name: getattr(submit, name) is not None for name in _UNPROCESSED},
    }
    _refuse(unsaid, "ProcessImage")
    body: dict[str, Any] = {}
    if len(submit.sources) > 1 or any(one.role is not Role.IMAGE for one in submit.sources):
        raise Unsupported("Tencent's ProcessImage takes one picture", parameter="sources")
    if submit.sources:
        url = {"Url": _url_of(submit.sources[0])}
        body["InputInfo"] = {"Type": "URL", "UrlInputInfo": url}
    if submit.operations:
        body["ImageTask"] = parameters.write_operations(submit.operations)
    return body | {name: submit.extra[name] for name in PROCESS_KEPT if name in submit.extra}


def _url_of(source: Source) -> str:
    if source.url is None:
        raise Unsupported("Tencent takes files by their address only", parameter="sources")
    return source.url


def _write_create(submit: Submit) -> dict[str, Any]:
    unsaid = {
        "fps": submit.fps is not None,
        "quality": submit.quality is not None,
        "duration": submit.kind is Kind.IMAGE and submit.duration is not None,
        "audio": submit.kind is Kind.IMAGE and submit.audio is not None,
        "format": submit.kind is Kind.VIDEO and submit.format is not None,
        "count": submit.kind is Kind.VIDEO and submit.count != 1,
    }
    _refuse(unsaid, CREATE[submit.kind])
    kept = {name: submit.extra[name] for name in AIGC_KEPT if name in submit.extra}
    body = {**_write_model(submit), **AIGC[submit.kind].write(submit), **kept}
    if not submit.prompt:
        del body["Prompt"]
    body |= _write_sources(submit)
    shape = {**submit.extra.get("ExtraParameters", {}), **AIGC_EXTRA[submit.kind].write(submit)}
    if shape:
        body["ExtraParameters"] = shape
    additional = dict(submit.extra.get("AdditionalParameters", {}))
    if submit.width and submit.height:
        additional["size"] = f"{submit.width}x{submit.height}"
    if submit.seed is not None:
        additional["seed"] = submit.seed
    if additional:
        body["AdditionalParameters"] = compact_json(additional)
    return body


def _write_model(submit: Submit) -> dict[str, str]:
    if submit.model in ("", NAMELESS[submit.kind]):
        return {}
    if found := _VERSIONED.fullmatch(submit.model):
        return {"ModelName": found[1], "ModelVersion": found[2]}
    return {"ModelName": submit.model}


def _write_sources(submit: Submit) -> dict[str, Any]:
    written: dict[str, Any] = {}
    frames = {role: name for name, role in _FRAMES}
    lists = {role: (name, address) for name, address, role in _LISTS}
    for source in submit.sources:
        url = _url_of(source)
        if submit.kind is Kind.IMAGE and source.role is not Role.IMAGE:
            raise Unsupported(f"Tencent takes no {source.role} for a picture", parameter="sources")
        if source.role in frames and frames[source.role] not in written:
            written[frames[source.role]] = url
        elif source.role in lists:
            name, address = lists[source.role]
            items = written.setdefault(name, [])
            kept = submit.extra.get(name, ())
            items.append({address: url, **(kept[len(items)] if len(items) < len(kept) else {})})
        else:
            raise Unsupported(f"Tencent takes no such {source.role}", parameter="sources")
    return written


def _write_list(asked: List) -> dict[str, Any]:
    _refuse({"kind": asked.kind is Kind.VIDEO, "offset": asked.offset}, "DescribeImageTasks")
    said = next((said for said, those in _FILTERS.items() if those == asked.statuses), None)
    if said is None:
        raise Unsupported(
            "Tencent lists tasks that wait, that are at work, or that are finished",
            parameter="statuses",
        )
    return {"Status": said[0], **_LIST_FIELDS.write(asked)} | (
        {} if said[1] is None else {"SubTaskHasFailed": said[1]}
    )


# ------------------------------------------------------------------------------------------ names


def wire_name(op: str | None, name: str | None) -> str | None:
    """The wire's name for a parameter that a fault carries in ours; its own names are left."""
    if name is None:
        return None
    head, dot, rest = name.partition(".")
    if head in NAMES.get(op or "", {}):
        return NAMES[op or ""][head] + dot + rest
    return (parameters.parameter_of_step(name) if op == "ProcessImage" else None) or name
