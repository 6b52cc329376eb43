"""Commands to actions with their parameters, and back.

What an action takes at all is in `parameters`; what has been read there is of its types.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from safelight.dialects.tencent import demands, parameters, templates
from safelight.dialects.tencent.words import (
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
    Templates,
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
    refuse_filters,
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

# What only this wire can say, and what changes no result: kept as it came, and written back. Where
# files go is among it: clients of the service always name a bucket of theirs, and read SignedUrl.
AIGC_KEPT = ("Operator",)
PROCESS_KEPT = ("OutputStorage", "OutputDir", "OutputPath", "ResourceId")
_ECHOED = (*PROCESS_KEPT, "Definition", "InputInfo", "ImageTask")

# The lists of files: the parameter, the address in an item, and what the file is.
_LISTS = (
    ("ImageInfos", "ImageUrl", Role.IMAGE),
    ("VideoInfos", "VideoUrl", Role.VIDEO),
    ("AudioInfos", "AudioUrl", Role.AUDIO),
)
_FRAMES = (("ImageUrl", Role.FIRST_FRAME), ("LastImageUrl", Role.LAST_FRAME))

# What is read into our words, or kept: whatever else these actions take is a demand.
_HEEDED: dict[str, frozenset[str]] = {
    CREATE[kind]: frozenset(
        {
            *("ModelName", "ModelVersion", "AdditionalParameters"),
            *AIGC_KEPT,
            *AIGC[kind].names,
            *(f"ExtraParameters.{name}" for name in AIGC_EXTRA[kind].names),
            *(name for name, _ in _FRAMES),
            *(f"{name}.*.{address}" for name, address, _ in _LISTS),
        }
    )
    for kind in Kind
} | {"ProcessImage": frozenset({"InputInfo", "ImageTask", *PROCESS_KEPT})}
_ADDITIONAL = "AdditionalParameters"

# Our names, as faults carry them, in the wire's.
_NAMES: dict[str, dict[str, str]] = {
    CREATE[kind]: {
        "model": "ModelName",
        **{name: _ADDITIONAL for name in ("width", "height", "seed")},
        **{field.ours: field.theirs for field in AIGC[kind].fields},
        **{field.ours: f"ExtraParameters.{field.theirs}" for field in AIGC_EXTRA[kind].fields},
    }
    for kind in Kind
} | {"ProcessImage": {"sources": "InputInfo", "operations": "ImageTask"}}

# The same for what is wrong with a list, which is no submission.
LIST_NAMES: dict[str, dict[str, str]] = {
    "DescribeImageTasks": {"limit": "Limit", "before": "ScrollToken"},
    "DescribeTasks": {"limit": "Limit", "before": "ScrollToken"},
    "DescribeAigcTaskList": {"limit": "PageSize"},
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

# Without an ImageTask the picture is written again as it is.
AS_IT_IS = (Operation(name="encode"),)
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
            return _read_list(values, Kind.IMAGE)
        case "DescribeTasks":
            return _read_list(values, None)
        case "DescribeProcessImageTemplates":
            return templates.read_asked(values)
        case "ManageTask":
            parameters.choose("OperationType", values["OperationType"], ("Abort",))
            return Cancel(id=_id(values))
        case "DescribeAigcVideoTask":
            return Fetch(id=_id(values), kind=Kind.VIDEO)
        case "DescribeTaskDetail" | "DescribeAigcTaskStatus":
            return Fetch(id=_id(values))
        case _:
            return Fetch(id=_id(values), kind=Kind.IMAGE)


def _id(values: Mapping[str, Any]) -> str:
    id: str = values["TaskId"].strip()
    if not id:
        raise Malformed("TaskId", "required", "missing")
    return id


def _read_process(values: Mapping[str, Any]) -> Submit:
    operations = parameters.read_operations(values.get("ImageTask", {}))
    _check_path(values.get("OutputPath", ""))
    return Submit(
        model=PROCESS_IMAGE,
        sources=_read_input(values, operations),
        operations=operations or AS_IT_IS,
        extra={name: _without_secrets(values[name]) for name in _ECHOED if name in values},
        demands=demands.read(values, _HEEDED["ProcessImage"]),
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


_PLACEHOLDER = re.compile(r"\{([^{}]{0,64})\}")
_PLACEHOLDERS = frozenset({"inputName", "inputFormat", "format", "definition", "number"})  # [doc]
# Characters of an OutputPath, and of what is filled in: a name that is there often is told often.
_LONGEST_PATH, _LONGEST_NAME = 2048, 255


def _check_path(path: str) -> None:
    """Raise `InvalidValue` for an OutputPath that cannot be filled in."""
    if path and not path.endswith(".{format}"):
        raise InvalidValue("OutputPath: must end in .{format}", parameter="OutputPath")
    if len(path) > _LONGEST_PATH:
        raise Malformed("OutputPath", f"longer than {_LONGEST_PATH} characters")
    for name in _PLACEHOLDER.findall(path):
        if name not in _PLACEHOLDERS:
            text = f"OutputPath: there is no placeholder {{{name}}}"
            raise InvalidValue(text, parameter="OutputPath")


def fill_path(path: str, values: Mapping[str, str]) -> str:
    """An OutputPath with its placeholders filled in; what a value has in it is left as it is."""
    return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0])[:_LONGEST_NAME], path)


def _without_secrets(value: Any) -> Any:
    """`value` without the keys to somebody's storage, which are not ours to keep or to show."""
    if not isinstance(value, dict):
        return value
    return {
        name: _without_secrets(member)
        for name, member in value.items()
        if name not in demands.SECRETS
    }


def _read_create(kind: Kind, values: Mapping[str, Any]) -> Submit:
    said = Reading(values)
    top = AIGC[kind].read(said)
    shape = AIGC_EXTRA[kind].read(said.object("ExtraParameters"))
    additional = _read_additional(values.get(_ADDITIONAL) or "{}", shape)
    sources = _read_sources(values)
    if not top.get("prompt", "").strip() and not sources:
        raise Malformed("Prompt", "required", "missing")
    require("OutputImageCount", top.get("count"), 1, 2**31)
    require("Duration", top.get("duration"), 1, 2**31)
    extra = {name: values[name] for name in AIGC_KEPT if name in values}
    return Submit(
        kind=kind,
        model=_read_model(kind, values),
        sources=sources,
        extra=extra | additional.kept,
        demands=demands.read(values, _HEEDED[CREATE[kind]]) | additional.demands,
        **top,
        **shape | additional.words,
    )


def _read_model(kind: Kind, values: Mapping[str, Any]) -> str:
    name, version = values.get("ModelName"), values.get("ModelVersion")
    if not name:
        return NAMELESS[kind]
    return f"{name}-{version}" if version else str(name)


class _Additional(NamedTuple):
    """What AdditionalParameters says: in our words, what to keep, and what is demanded."""

    words: dict[str, Any]
    kept: dict[str, Any]
    demands: dict[str, Any]


def _read_additional(text: str, shape: Mapping[str, Any]) -> _Additional:
    """Read AdditionalParameters, a JSON text: `size` and `seed` are ours. Raises `Malformed`.

    `shape` is what ExtraParameters says, which a size must not contradict.
    """
    try:
        reading = Reading(read_json(text.encode(errors="replace")), _ADDITIONAL)
    except Malformed:
        raise Malformed(_ADDITIONAL, "not a JSON object") from None
    words: dict[str, Any] = {}
    kept: dict[str, Any] = {}
    if reading.has("size"):
        size, path = reading.text("size"), reading.at("size")
        words = _frame(size)
        if "width" not in words:  # the page has pixels here; elsewhere it is said where this was
            kept = {_ADDITIONAL: {"size": size}}
        for name in words.keys() & shape.keys():
            if words[name] != shape[name]:
                theirs = _NAMES[CREATE[Kind.IMAGE]][name]
                raise Malformed(path, f"says another {name} than {theirs}")
    if reading.has("seed"):
        words["seed"] = reading.value("seed", SEED)
    others = {
        reading.at(name): value
        for name, value in reading.values.items()
        if name not in ("size", "seed") and value is not None
    }
    return _Additional(words, kept, others)


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


def _read_list(values: Mapping[str, Any], kind: Kind | None) -> List:
    failed = values.get("SubTaskHasFailed")
    parameters.choose("Status", values["Status"], ("WAITING", "PROCESSING", "FINISH"))
    statuses = _FILTERS.get((values["Status"], failed), _FILTERS[values["Status"], None])
    said = Reading(values)
    require("Limit", values.get("Limit"), 1, 100)
    return List(
        kind=kind,
        statuses=statuses,
        limit=said.integer("Limit", 10),
        before=values.get("ScrollToken") or None,
        since=said.value("StartTime", TIME, None),
        until=said.value("EndTime", UNTIL, None),
    )


# ---------------------------------------------------------------------------------------- writing


def write_command(command: Command) -> tuple[str, dict[str, Any]]:
    """The action that says `command`, and its parameters. Raises `Unsupported`."""
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
            refuse_filters(command, "Tencent")
            return "DescribeImageTasks", _write_list(command)
        case Templates():
            return "DescribeProcessImageTemplates", templates.write_asked(command)
        case _:
            raise Unsupported(f"Tencent has no action to {deed(command)}")


def _refuse(given: Mapping[str, Any], action: str) -> None:
    for name, value in given.items():
        if value:
            raise Unsupported(f"Tencent's {action} has no parameter for {name}", parameter=name)


def _check_demands(submit: Submit, action: str) -> None:
    """Raise `Unsupported` for a demand of another wire, or of another action."""
    shape, heeded = parameters.ACTIONS[action], _HEEDED[action]
    known = {name for name in submit.demands if demands.known(name, shape, heeded)}
    if action != "ProcessImage":
        known |= {name for name in submit.demands if name.startswith(f"{_ADDITIONAL}.")}
    refuse_demands(submit, f"Tencent's {action}", known)


def _write_process(submit: Submit) -> dict[str, Any]:
    _check_demands(submit, "ProcessImage")
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
    # A template, or a scenario, says what to do: what was not asked for is not said beside it.
    if submit.operations and not (submit.demands and submit.operations == AS_IT_IS):
        body["ImageTask"] = parameters.write_operations(submit.operations)
    body |= {name: submit.extra[name] for name in PROCESS_KEPT if name in submit.extra}
    return body | demands.write(submit.demands)


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
    _check_demands(submit, CREATE[submit.kind])
    kept = {name: submit.extra[name] for name in AIGC_KEPT if name in submit.extra}
    body = {**_write_model(submit), **AIGC[submit.kind].write(submit), **kept}
    if not submit.prompt:
        del body["Prompt"]
    others = dict(submit.demands)
    body |= _write_sources(submit, others)
    size = _size_in_words(submit)
    said_there = _frame(size) if size else {}
    shape = AIGC_EXTRA[submit.kind].write(submit)
    names = _NAMES[CREATE[submit.kind]]
    for name in said_there:
        del shape[names[name].rpartition(".")[2]]
    if shape:
        body["ExtraParameters"] = shape
    additional: dict[str, Any] = {} if size is None else {"size": size}
    if submit.width and submit.height:
        additional["size"] = f"{submit.width}x{submit.height}"
    if submit.seed is not None:
        additional["seed"] = submit.seed
    for name in submit.demands:
        if name.startswith(f"{_ADDITIONAL}."):
            additional[name.partition(".")[2]] = others.pop(name)
    if additional:
        body[_ADDITIONAL] = compact_json(additional)
    return _merge(body, demands.write(others))


def _size_in_words(submit: Submit) -> str | None:
    """The size in AdditionalParameters, where it came as a ratio or a resolution."""
    kept = submit.extra.get(_ADDITIONAL)  # of this wire, or of another that has the name too
    size = kept.get("size") if isinstance(kept, Mapping) else None
    try:
        said = _frame(size) if isinstance(size, str) else {}
    except Malformed:
        said = {}
    same = said and all(getattr(submit, name) == word for name, word in said.items())
    return size if same else None


def _frame(size: str) -> dict[str, Any]:
    return merge_frames([read_frame(size, f"{_ADDITIONAL}.size")])


def _merge(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """What both say: of an object that both have, the members of both."""
    both = {name: {**first[name], **second[name]} for name in first if name in second}
    return {**first, **second, **both}


def _write_model(submit: Submit) -> dict[str, str]:
    if submit.model in ("", NAMELESS[submit.kind]):
        return {}
    if found := _VERSIONED.fullmatch(submit.model):
        return {"ModelName": found[1], "ModelVersion": found[2]}
    return {"ModelName": submit.model}


def _write_sources(submit: Submit, others: dict[str, Any]) -> dict[str, Any]:
    """The files; what of the demands (`others`) belongs to an item of theirs is taken out there."""
    written: dict[str, Any] = {}
    frames = {role: name for name, role in _FRAMES}
    lists = {role: (name, address) for name, address, role in _LISTS}
    said = _take_items(others)
    for source in submit.sources:
        url = _url_of(source)
        if submit.kind is Kind.IMAGE and source.role is not Role.IMAGE:
            raise Unsupported(f"Tencent takes no {source.role} for a picture", parameter="sources")
        if source.role in frames and frames[source.role] not in written:
            written[frames[source.role]] = url
        elif source.role in lists:
            name, address = lists[source.role]
            items = written.setdefault(name, [])
            items.append({address: url} | said.pop(f"{name}.{len(items)}", {}))
        else:
            raise Unsupported(f"Tencent takes no such {source.role}", parameter="sources")
    for item, members in said.items():
        name = f"{item}.{next(iter(members))}"
        raise Unsupported(f"{name}: there is no such source", parameter=name)
    return written


def _take_items(others: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What is demanded of the items of the lists of files, taken out of `others`."""
    said: dict[str, dict[str, Any]] = {}
    lists = [name for name, _, _ in _LISTS]
    for name in list(others):
        if name.partition(".")[0] in lists:
            item, _, member = name.rpartition(".")
            said.setdefault(item, {})[member] = others.pop(name)
    return said


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


def parameter_name(op: str, name: str, submit: Submit) -> str:
    """What action `op` calls the parameter of `submit` that a fault names in our words."""
    head, _, rest = name.partition(".")
    kept: dict[str, Any] = getattr(submit, head) if head in ("extra", "demands") else {}
    if kept:  # what was too long of it
        return max(kept, key=lambda one: len(compact_json(kept[one])))
    if op == "ProcessImage":
        if head == "sources" and rest:
            return "InputInfo.UrlInputInfo.Url"
        return parameters.parameter_of_step(name) or _NAMES[op].get(head, name)
    if head == "sources":
        return _name_of_source(submit.sources, int(rest) if rest.isdecimal() else None)
    size = _size_in_words(submit)
    if size and head in _frame(size):
        return _ADDITIONAL
    return _NAMES[op].get(head, name)


def _name_of_source(sources: Sequence[Source], index: int | None) -> str:
    """Where a source was given; without a number, the parameter of the last one, the rarest sort.

    It is in the order in which the sources were read.
    """
    if index is not None and index < len(sources):
        role = sources[index].role
        for name, address, its in _LISTS:
            if its is role:
                number = sum(one.role is role for one in sources[:index])
                return f"{name}.{number}.{address}"
        return dict((its, name) for name, its in _FRAMES)[role]
    last = sources[-1].role if sources else Role.IMAGE
    fields = (*_FRAMES, *((name, its) for name, _, its in _LISTS))
    return next(name for name, its in fields if its is last)
