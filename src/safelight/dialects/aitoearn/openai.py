"""AiToEarn's routes in OpenAI's shape: pictures in the answer to the request itself.

No envelope: faults are HTTP statuses with `{"error": {...}}`. Facts marked [spec] are in OpenAI's
published description, [sdk] what its official Python library reads or sends. What changes no
picture is kept in `Submit.extra` under `OWN`; what does and has no common word is demanded.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any

from safelight.dialects.aitoearn.bodies import longest
from safelight.errors import (
    Conflict,
    Fault,
    InsufficientCredits,
    InvalidType,
    InvalidValue,
    Malformed,
    MissingParameter,
    RateLimited,
    StillRunning,
    Unauthenticated,
    UnknownModel,
    UnknownParameter,
    Unsupported,
)
from safelight.task import Artifact, FailureCode, Role, Source, Status, Submit, Task
from safelight.wire import (
    INTEGER,
    SEED,
    TEXT,
    Context,
    Field,
    Fields,
    Frame,
    Part,
    Reading,
    Request,
    Response,
    Sort,
    json_response,
    merge_frames,
    pairs,
    read_frame,
    read_source,
    retry_after_header,
)

GENERATE, EDIT = "images.generations", "images.edits"
PATHS = {GENERATE: "/api/ai/images/generations", EDIT: "/api/ai/images/edits"}
OWN = "openai"  # in `Submit.extra`

# ------------------------------------------------------------------------------------- parameters

_MOST_PROMPT, _MOST_COUNT, _MOST_SOURCES = 32_000, 10, 16  # [spec]


def _read_format(value: Any, path: str) -> str | None:
    text: str = TEXT.read(value, path)
    return None if text == "png" else text


def _read_quality(value: Any, path: str) -> str | None:
    text: str = TEXT.read(value, path)
    return None if text == "auto" else text


def _read_object(value: Any, path: str) -> Any:
    return Reading(value, path).values


_OBJECT = Sort("object", _read_object, dict)
WORDS = Fields(
    Field("model", "model"),
    Field("prompt", "prompt"),
    Field("count", "n", INTEGER),
    Field("quality", "quality", Sort("string", _read_quality, str)),
    Field("format", "output_format", Sort("string", _read_format, str)),
    # No parameter of that service, but of every other one with this wire [spec].
    Field("seed", "seed", SEED),
)
# What changes no picture: how the answer carries them, and who asks for them. Nothing here looks at
# what a picture shows, and pictures that are made here are opaque.
KEPT: Mapping[str, Sort] = {
    "response_format": pairs(TEXT, ("url", "url"), ("b64_json", "b64_json")),
    "user": TEXT,
    "safety_identifier": TEXT,
    "moderation": TEXT,
}
# What changes the picture, and the default of each, which asks for nothing [spec].
DEMANDED: Mapping[str, tuple[Sort, tuple[Any, ...]]] = {
    "background": (TEXT, ("auto", "opaque")),
    "output_compression": (INTEGER, (100,)),
    "style": (TEXT, ("vivid", "")),
    "input_fidelity": (TEXT, ("low",)),
    "complexity": (TEXT, ("",)),
    "frame_count": (INTEGER, (9,)),
    "frame_duration_ms": (INTEGER, (200,)),
    "svg": (_OBJECT, ({},)),
}
_KNOWN = frozenset({*WORDS.names, *KEPT, *DEMANDED, "size", "stream", "partial_images"})
_OF_GENERATIONS, _OF_EDITS = _KNOWN - {"input_fidelity"}, _KNOWN - {"style"}
_PICTURES = frozenset({"images", "mask"})  # of an edit in JSON
# The fields of a form that are sources; a list of files has the second name [sdk].
_FILES = {"image": Role.IMAGE, "image[]": Role.IMAGE, "mask": Role.MASK}


def read_submit(op: str, request: Request) -> Submit:
    """What is asked for, in JSON or, of an edit, in a form. Raises `Malformed`, `Unsupported`."""
    form = op == EDIT and _is_form(request)
    if form:
        parts = request.form()
        texts = {part.name: part.text for part in parts if part.filename is None}
        others = texts.keys() - _FILES.keys()
        body = Reading({name: texts[name] for name in others}, text=True)
        found = list(_read_parts(parts))
    else:
        body = Reading(request.json())
        found = list(_read_images(body)) if op == EDIT else []
    allowed = _OF_GENERATIONS if op == GENERATE else _OF_EDITS
    _refuse_unknown(body, allowed | (_PICTURES if op == EDIT and not form else frozenset()))
    values = _read_words(body)
    kept = {name: body.value(name, sort, None) for name, sort in KEPT.items()}
    kept = {name: value for name, value in kept.items() if value is not None}
    if op == EDIT and all(source.role is not Role.IMAGE for _, source in found):
        raise Malformed("image" if form else "images", "required", "missing")
    if len(found) > _MOST_SOURCES + 1:
        raise Malformed(found[0][0].partition(".")[0], f"more than {_MOST_SOURCES} pictures")
    if found:
        kept["sources"] = [place for place, _ in found]
    return Submit(
        sources=tuple(source for _, source in found),
        extra={OWN: kept} if kept else {},
        demands=_read_demands(body),
        **values,
    )


def _is_form(request: Request) -> bool:
    return "json" not in (request.header("content-type") or "multipart/form-data").lower()


def _refuse_unknown(body: Reading, allowed: frozenset[str]) -> None:
    for name in body.values:
        # The real service defines no others either [spec].
        if name not in allowed:
            raise Malformed(name[:60], "not defined here", "unknown")
    if body.flag("stream", False):
        raise Unsupported("stream: answers are not streamed here", parameter="stream")
    if body.integer("partial_images", 0):
        sentence = "partial_images: answers are not streamed here"
        raise Unsupported(sentence, parameter="partial_images")


def _read_words(body: Reading) -> dict[str, Any]:
    values = WORDS.read(body)
    prompt = body.text("prompt")
    if not 1 <= len(prompt) <= _MOST_PROMPT:
        raise Malformed("prompt", f"must be 1 to {_MOST_PROMPT} characters long")
    if not 1 <= values.get("count", 1) <= _MOST_COUNT:
        raise Malformed("n", f"must be at least 1 and at most {_MOST_COUNT}")
    size = body.text("size", "auto")
    if size.strip().lower() not in ("auto", ""):  # the model's own size
        values |= merge_frames([read_frame(size, "size")])
    return values


def _read_demands(body: Reading) -> dict[str, Any]:
    demands = {}
    for name, (sort, nothing) in DEMANDED.items():
        value = body.value(name, sort, None)
        if value is not None and value not in nothing:
            demands[name] = value
    return demands


def _read_parts(parts: tuple[Part, ...]) -> Iterator[tuple[str, Source]]:
    for part in parts:
        role = _FILES.get(part.name)
        place = part.name.removesuffix("[]")
        if part.filename is not None:
            if role is None:
                raise Malformed(part.name[:60], "not defined here", "unknown")
            yield place, Source(role=role, data=part.data, name=part.filename or None)
        elif role is not None and part.text.strip():
            yield place, read_source(part.text.strip(), place, role)


def _read_images(body: Reading) -> Iterator[tuple[str, Source]]:
    """The pictures of a JSON body: objects, each with an address or a data URI [spec]."""
    for index, image in enumerate(body.objects("images")):
        yield f"images.{index}.image_url", _read_image(image, Role.IMAGE)
    if body.has("mask"):
        yield "mask.image_url", _read_image(body.object("mask"), Role.MASK)


def _read_image(image: Reading, role: Role) -> Source:
    if image.has("file_id"):
        path = image.at("file_id")
        raise Unsupported(f"{path}: this server keeps no files by id", parameter=path)
    return read_source(image.text("image_url"), image.at("image_url"), role)


def parameter_name(name: str, submit: Submit) -> str:
    """What a body of these routes calls a parameter of ours."""
    what, _, number = name.partition(".")
    if what == "sources":
        places = submit.extra.get(OWN, {}).get("sources", [])
        index = int(number) if number.isdecimal() else 0
        return str(places[index]) if index < len(places) else "image"
    if what in Frame._fields:
        return "size"
    if name == "extra":
        return longest(submit.extra.get(OWN, {}))
    return {"count": "n", "format": "output_format"}.get(name, name)


# ----------------------------------------------------------------------------------------- answers


def carries_files(submit: Submit) -> bool:
    """Whether the answer is to hold the pictures themselves: unless links are asked for."""
    return _format(submit) != "url"


def _format(submit: Submit) -> str | None:
    kept = submit.extra.get(OWN)
    said = kept.get("response_format") if isinstance(kept, dict) else None
    return said if isinstance(said, str) else None


def write_reply(task: Task, context: Context) -> Response:
    """The pictures of a task, or why there are none.

    Where nobody says how they are to come they come both ways: some clients read the one and some
    the other alone [sdk]. Raises a `Fault`.
    """
    if not task.ended:
        raise StillRunning(task_id=task.id)
    if task.status is not Status.SUCCEEDED:
        return _failure(task, context)
    wanted = _format(task.submit)
    made = task.artifacts
    if wanted == "b64_json" and any(artifact.data is None for artifact in made):
        raise Unsupported(
            f"response_format: the pictures of task {task.id} are too large for one answer: "
            "they can be had as links",
            parameter="response_format",
        )
    answer: dict[str, Any] = {
        "created": (task.finished or context.now) // 1000,
        "data": [_picture(artifact, wanted) for artifact in made],
    }
    if made and made[0].width and made[0].height:
        answer["size"] = f"{made[0].width}x{made[0].height}"
    if made and (made[0].media_type or "").startswith("image/"):
        answer["output_format"] = (made[0].media_type or "").removeprefix("image/")
    return _response(answer, 200, context)


def _picture(artifact: Artifact, wanted: str | None) -> dict[str, str]:
    picture = {}
    if artifact.url is not None and wanted != "b64_json":
        picture["url"] = artifact.url
    if artifact.data is not None and wanted != "url":
        picture["b64_json"] = base64.b64encode(artifact.data).decode()
    return picture


def _response(
    body: dict[str, Any],
    status: int,
    context: Context,
    headers: tuple[tuple[str, str], ...] = (),
) -> Response:
    id = ("x-request-id", context.request_id)
    return json_response(body, status, headers=(id, *headers))


# ------------------------------------------------------------------------------------------ faults

# Which type and code go with a fault, the nearest class first [spec].
_REQUEST, _SERVER = "invalid_request_error", "server_error"
_WORDS: tuple[tuple[type[Fault], str, str | None], ...] = (
    (MissingParameter, _REQUEST, "missing_required_parameter"),
    (InvalidType, _REQUEST, "invalid_type"),
    (InvalidValue, _REQUEST, "invalid_value"),
    (UnknownParameter, _REQUEST, "unknown_parameter"),
    (Unsupported, _REQUEST, "unsupported_parameter"),
    (UnknownModel, _REQUEST, "model_not_found"),
    (InsufficientCredits, "insufficient_quota", "insufficient_quota"),
    (RateLimited, "requests", "rate_limit_exceeded"),
    (StillRunning, _SERVER, "still_running"),
)
_STATUSES: dict[type[Fault], int] = {UnknownModel: 404, InsufficientCredits: 429}
# Of a task that has failed: status, type, and code.
_FAILURES: dict[FailureCode, tuple[int, str, str]] = {
    FailureCode.INVALID_INPUT: (400, _REQUEST, "invalid_value"),
    FailureCode.SOURCE_UNAVAILABLE: (400, _REQUEST, "source_unavailable"),
    FailureCode.CONTENT_POLICY: (400, "image_generation_user_error", "moderation_blocked"),
    FailureCode.INSUFFICIENT_CREDITS: (429, "insufficient_quota", "insufficient_quota"),
    FailureCode.RATE_LIMITED: (429, "requests", "rate_limit_exceeded"),
    FailureCode.TIMEOUT: (504, _SERVER, "timeout"),
    FailureCode.CANCELED: (409, _REQUEST, "canceled"),
}
# The library sends a POST up to three times, and would have the picture made anew each time, unless
# it is told not to [sdk].
_ONCE = (("x-should-retry", "false"),)


def write_fault(fault: Fault, context: Context) -> Response:
    """The answer that tells `fault`."""
    status = next((code for kind, code in _STATUSES.items() if isinstance(fault, kind)), None)
    status = status or fault.status
    found = [(sort, code) for kind, sort, code in _WORDS if isinstance(fault, kind)]
    sort, code = found[0] if found else (_SERVER if status >= 500 else _REQUEST, None)
    if isinstance(fault, Unauthenticated) and fault.reason != "missing":
        code = "invalid_api_key"
    headers = retry_after_header(fault)
    once = isinstance(fault, Conflict | InsufficientCredits) or status in (500, 504)
    return _error(fault.message, status, (sort, code), fault.parameter, context, headers, once)


def _failure(task: Task, context: Context) -> Response:
    failed = task.failure.code if task.failure else FailureCode.CANCELED
    status, sort, code = _FAILURES.get(failed, (500, _SERVER, failed.value))
    reason = task.failure.message if task.failure else "The task was canceled"
    sentence = f"{reason} (task {task.id})"
    return _error(sentence, status, (sort, code), None, context, (), once=True)


def _error(
    message: str,
    status: int,
    words: tuple[str, str | None],
    parameter: str | None,
    context: Context,
    headers: tuple[tuple[str, str], ...],
    once: bool,
) -> Response:
    sort, code = words
    body = {"error": {"message": message, "type": sort, "param": parameter, "code": code}}
    return _response(body, status, context, (*headers, *(_ONCE if once else ())))
