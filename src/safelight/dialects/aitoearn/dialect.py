"""AiToEarn: asynchronous images and video behind one envelope, at https://docs.aitoearn.ai.

Every answer is HTTP 200; its `code` says what it is. Pictures and films have a family of routes,
of states and of codes each. Below `/api/ai/images` nothing of that holds: see `openai`.
Facts marked [doc] are in the published API description, [source] in the service's open tree,
[live] in its recorded answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from safelight.dialects.aitoearn import assets, openai
from safelight.dialects.aitoearn.bodies import (
    AMOUNT,
    FORMS,
    MODES,
    VIDEO,
    form_of,
    parameter_name,
    read_input_echo,
    read_request_echo,
    read_submit,
    write_input_echo,
    write_request_echo,
    write_submit,
)
from safelight.dialects.chinese import in_chinese
from safelight.errors import (
    BadRequest,
    Conflict,
    Fault,
    InsufficientCredits,
    Internal,
    Malformed,
    NotFound,
    RateLimited,
    StillRunning,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnknownModel,
    UnknownOperation,
    Unsupported,
)
from safelight.task import (
    Artifact,
    Catalogue,
    Command,
    Confirm,
    Failure,
    FailureCode,
    Fetch,
    Kind,
    List,
    ModelCard,
    Models,
    Page,
    Reply,
    Role,
    Status,
    Submit,
    Task,
    Upload,
    Uploaded,
    bare_id,
)
from safelight.wire import (
    ANYTHING,
    INTEGER,
    NUMBER,
    TEXT,
    TEXTS,
    Context,
    Credential,
    Dialect,
    Exchange,
    Field,
    Fields,
    Key,
    Reading,
    Request,
    Response,
    Route,
    Sort,
    States,
    build_task,
    deed,
    fault_of_status,
    json_request,
    json_response,
    query_string,
    read_bearer,
    refuse_filters,
    retry_after_header,
)

JSON = "application/json; charset=utf-8"  # [live]
SUCCESS = "请求成功"  # in every language [live]

# ---------------------------------------------------------------------------------------- states

# Of several words for one status the last is written. The case of each is the wire's own, and
# read in any other: the two families do not agree on one [source].
_IMAGE_WORDS = (
    (Status.RUNNING, "generating"),
    (Status.QUEUED, "generating"),
    (Status.UPLOADING, "generating"),
    (Status.SUCCEEDED, "success"),
    (Status.FAILED, "failed"),
    (Status.CANCELED, "failed"),
)
_VIDEO_WORDS = (
    (Status.QUEUED, "NOT_START"),
    (Status.QUEUED, "QUEUED"),
    (Status.QUEUED, "SUBMITTED"),  # what the answer to the submission said a moment before
    (Status.RUNNING, "InProgress"),
    (Status.UPLOADING, "InProgress"),
    (Status.SUCCEEDED, "SUCCESS"),
    (Status.FAILED, "FAILURE"),
    (Status.CANCELED, "FAILURE"),
)
IMAGE_STATES, VIDEO_STATES = States(*_IMAGE_WORDS), States(*_VIDEO_WORDS)
_SPELLINGS = {
    IMAGE_STATES: {word.lower(): word for _, word in _IMAGE_WORDS},
    VIDEO_STATES: {word.lower(): word for _, word in _VIDEO_WORDS},
}

# ----------------------------------------------------------------------------------------- codes

INVALID, TOO_MANY, NO_CREDITS, NO_MODEL, NO_VIDEO = 10002, 10003, 12001, 12300, 12302
CALL_FAILED, NO_MODE, NO_GROUP = 12301, 12310, 12801
NOT_NOW = 19001  # "the relay server is not available"

# The pages document 10002 for every invalid request; the open tree sends 400 for a bad body, so
# both are read.
_CODES: dict[type[Fault], int] = {
    BadRequest: INVALID,
    Conflict: INVALID,
    TooLarge: INVALID,
    Unauthenticated: 401,
    InsufficientCredits: NO_CREDITS,
    NotFound: 404,
    UnknownOperation: 404,
    UnknownModel: NO_MODEL,
    RateLimited: TOO_MANY,
    Unavailable: NOT_NOW,
    Fault: 500,
}
_FAULTS: dict[int, type[Fault]] = {
    400: BadRequest,
    401: Unauthenticated,
    404: NotFound,
    500: Internal,  # anything that broke there, before or after it did what was asked
    INVALID: BadRequest,
    10100: Unavailable,  # its file store failed
    10101: Unavailable,
    12000: Unauthenticated,  # no such user
    NO_CREDITS: InsufficientCredits,
    12003: Unauthenticated,  # a user who is closed
    NO_MODEL: UnknownModel,
    CALL_FAILED: BadRequest,  # the model's provider refused what was asked
    NO_VIDEO: NotFound,
    12303: NotFound,
    NO_MODE: Unsupported,
    12311: Unsupported,
    NO_GROUP: BadRequest,  # no such groupId
    19000: Unauthenticated,
    NOT_NOW: Unavailable,
}
# Chinese and English. The ones that are alike are not translated there either [source].
_TEXTS = {
    401: ("Unauthorized", "Unauthorized"),
    404: ("任务不存在", "任务不存在"),
    500: ("Internal server error", "Internal server error"),
    INVALID: ("参数验证失败", "Validation failed"),
    TOO_MANY: ("请求过于频繁", "Too many requests"),
    NOT_NOW: ("中转服务器不可用", "Relay server unavailable"),
    NO_CREDITS: ("用户Credits不足", "Insufficient user credits"),
    NO_MODEL: ("无效的 AI 模型", "Invalid AI model"),
    NO_VIDEO: ("无效的 AI 任务 ID", "Invalid AI task ID"),
    CALL_FAILED: ("AI 调用失败", "AI call failed"),
    NO_MODE: ("不支持的视频生成模式", "Unsupported video generation mode"),
    NO_GROUP: ("素材分组未找到", "Material group not found"),
}
_BARE = frozenset({401, 404, NO_VIDEO})  # said in the documented text alone

# ----------------------------------------------------------------------------------------- sorts

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def _write_time(millis: int) -> str:
    return f"{datetime.fromtimestamp(millis // 1000, UTC).isoformat()[:-6]}.{millis % 1000:03}Z"


def _read_time(value: Any, path: str) -> int:
    try:
        moment = datetime.fromisoformat(TEXT.read(value, path))
    except ValueError:
        raise Malformed(path, "not a time") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MILLISECOND


def _read_durations(value: Any, path: str) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise Malformed(path, "not a list", "type")
    return tuple(round(NUMBER.read(item, f"{path}.{index}")) for index, item in enumerate(value))


TIME = Sort("time", _read_time, _write_time)
DURATIONS = Sort("list of numbers", _read_durations, list)

_MOST_LISTED = 1000
_LAST_PAGE = 10**9  # far beyond any list, and its offset is still an integer to a database

# ----------------------------------------------------------------------------------------- tasks

IMAGE_DATA = Fields(
    Field("id", "logId"),
    Field("credits", "points", AMOUNT),
    Field("created", "createdAt", TIME),
    Field("updated", "updatedAt", TIME),
)
VIDEO_DATA = Fields(
    Field("id", "id"),
    Field("submit.model", "model"),
    Field("created", "submittedAt", TIME),
    Field("finished", "finishedAt", TIME),
)
LOG_DATA = Fields(
    Field("id", "id"),
    Field("owner", "userId"),
    Field("submit.model", "model"),
    Field("created", "createdAt", TIME),
    Field("updated", "updatedAt", TIME),
)
CARD = Fields(
    Field("name", "name"),
    Field("description", "description"),
    Field("max_sources", "maxInputImages", INTEGER),
    Field("sizes", "sizes", TEXTS),
    Field("ratios", "aspectRatios", TEXTS),
    Field("resolutions", "resolutions", TEXTS),
    Field("durations", "durations", DURATIONS),
    Field("qualities", "qualities", TEXTS),
)
DEFAULTS = Fields(
    Field("default_resolution", "resolution"),
    Field("default_ratio", "aspectRatio"),
    Field("default_duration", "duration", INTEGER),
)
# Which roles a film's sources may have, by the modes that need them. A picture among others may be
# a reference; what else may be referred to, `inputConstraints` say.
_MODE_ROLES = {
    "image2video": (Role.FIRST_FRAME,),
    "flf2video": (Role.FIRST_FRAME, Role.LAST_FRAME),
    "multi-image2video": (Role.IMAGE,),
    "multi-ref": (Role.IMAGE,),
    "video2video": (Role.VIDEO,),
}
_INPUTS = {Role.VIDEO: "videos", Role.AUDIO: "audios"}

_RAW = "/api/ai/images/"  # below which answers have OpenAI's shape
_SYNCHRONOUS = frozenset({"image.generate.sync", "image.edit.sync"})
_KINDS = frozenset(Kind)
_CATALOGUES = {
    "models.image.generation": Models(kind=Kind.IMAGE),
    "models.image.edit": Models(kind=Kind.IMAGE, editing=True),
    "models.video.generation": Models(kind=Kind.VIDEO),
}


class AiToEarn(Dialect):
    name = "aitoearn"
    title = "AiToEarn images and video"
    url = "https://aitoearn.ai"
    docs = "https://docs.aitoearn.ai"
    curl = (
        'curl {base}/api/ai/image/generate/async -H "X-Api-Key: $SAFELIGHT_KEY" '
        '-H "Content-Type: application/json" '
        '-d \'{"model": "gpt-image-2", "prompt": "a golden city by the sea"}\''
    )
    key_variables = ("AITOEARN_API_KEY",)
    prefixes = ("/api/ai", assets.PREFIX)
    states: Mapping[str, States] = {"images": IMAGE_STATES, "video": VIDEO_STATES}
    uploads = True
    polls_per_second = 2.0  # no rate is published; its own pages ask every 5 s for each task
    routes = (
        Route("image.generate", "POST", "/api/ai/image/generate/async"),
        Route("image.edit", "POST", "/api/ai/image/edit/async", files=True),
        Route("image.generate.sync", "POST", "/api/ai/image/generate", waits=True),
        Route("image.edit.sync", "POST", "/api/ai/image/edit", files=True, waits=True),
        Route(openai.GENERATE, "POST", openai.PATHS[openai.GENERATE], waits=True),
        Route(openai.EDIT, "POST", openai.PATHS[openai.EDIT], files=True, waits=True),
        Route("image.task", "GET", "/api/ai/image/task/{logId}"),
        Route("video.create", "POST", "/api/ai/video/generations", files=True),
        Route("video.task", "GET", "/api/ai/video/generations/{taskId}"),
        Route("video.list", "GET", "/api/ai/video/generations"),
        Route("logs", "GET", "/api/ai/logs"),  # the one list with pictures in it [source]
        Route("models.image.generation", "GET", "/api/ai/models/image/generation", open=True),
        Route("models.image.edit", "GET", "/api/ai/models/image/edit", open=True),
        Route("models.video.generation", "GET", "/api/ai/models/video/generation", open=True),
        *assets.ROUTES,
    )

    # ---------------------------------------------------------------------------------- request

    def read_request(self, op: str, params: Mapping[str, str], request: Request) -> Command:
        if op in FORMS:
            return read_submit(FORMS[op], Reading(request.json()))
        if op in openai.PATHS:
            return openai.read_submit(op, request)
        if op in _CATALOGUES:
            return _CATALOGUES[op]
        if op in assets.OPS:
            return assets.read_command(op, params, request)
        if op in ("video.list", "logs"):
            return _read_list(Kind.VIDEO if op == "video.list" else None, request)
        name, kind = ("logId", Kind.IMAGE) if op == "image.task" else ("taskId", Kind.VIDEO)
        id = bare_id(params[name])
        if id is None:
            raise Malformed(name, "not 24 hexadecimal digits")
        return Fetch(id=id, kind=kind)

    def write_request(self, command: Command) -> Request:
        match command:
            case Submit():
                form = form_of(command)
                return json_request("POST", self.path(form.op), write_submit(command, form))
            case Fetch(id=id, kind=Kind.VIDEO):
                return Request(method="GET", path=self.path("video.task", taskId=id))
            case Fetch(id=id):
                return Request(method="GET", path=self.path("image.task", logId=id))
            case List(kind=kind):
                refuse_filters(command, "AiToEarn")
                path = self.path("logs" if kind is None else "video.list")
                return Request(method="GET", path=path, query=_list_query(command))
            case Models(kind=kind, editing=editing, name=None) if kind is not None:
                use = "edit" if editing and kind is Kind.IMAGE else "generation"
                return Request(method="GET", path=self.path(f"models.{kind}.{use}"))
            case Models():
                raise Unsupported("AiToEarn lists the models of one kind at a time")
            case Upload() | Confirm():
                return assets.write_command(command)
            case _:
                raise Unsupported(f"AiToEarn has no operation to {deed(command)}")

    def call(self, command: Command) -> Exchange:
        if not isinstance(command, Models) or command.kind is not None:
            return (yield from super().call(command))
        cards: list[ModelCard] = []
        for kind in Kind:
            part = msgspec.structs.replace(command, kind=kind)
            cards += _read_catalogue(_open((yield self.write_request(part))), part).models
        return Catalogue(models=tuple(cards))

    # ------------------------------------------------------------------------------------ reply

    def write_reply(self, op: str, reply: Reply, context: Context) -> Response:
        if isinstance(reply, Task) and (op in _SYNCHRONOUS or op in openai.PATHS):
            return self._write_end(op, reply, context)
        match reply:
            case Task() if op == "image.task":
                return _answer(_image_data(reply, context), context)
            case Task() if op == "video.task":
                return _answer(_video_data(reply, context), context)
            case Task() if op == "video.create":
                return _answer({"id": reply.id, "status": "SUBMITTED"}, context)
            case Task():
                return _answer({"logId": reply.id, "status": "generating"}, context)
            case Page():
                return _answer(_page_data(op, reply, context), context)
            case Catalogue():
                return _answer(_catalogue_data(_CATALOGUES[op], reply), context)
            case Uploaded():
                return _answer(assets.write_data(op, reply), context)
            case _:
                raise TypeError(f"{op} does not answer {type(reply).__name__}")

    def _write_end(self, op: str, task: Task, context: Context) -> Response:
        """The answer to whoever waited for a task: its pictures, or why there are none."""
        if op in openai.PATHS:
            try:
                return openai.write_reply(task, context)
            except Fault as fault:
                return openai.write_fault(fault, context)
        if not task.ended:
            return self.write_fault(op, StillRunning(task_id=task.id), context)
        if task.status is Status.SUCCEEDED:
            return _answer(_response_data(task, context), context)
        told = {"logId": task.id, "status": "failed"}
        return _refuse(CALL_FAILED, _reason(task), told, context)

    def read_reply(self, command: Command, response: Response) -> Reply:
        envelope = _open(response)
        match command:
            case Submit(kind=kind):
                id = envelope.object("data").text("id" if kind is Kind.VIDEO else "logId")
                return Task(id=id, status=Status.QUEUED, submit=command)
            case Fetch(id=id, kind=Kind.VIDEO):
                return _read_video_task(envelope.object("data"), id)
            case Fetch(id=id):
                return _read_image_task(envelope.object("data"), id)
            case List():
                return _read_page(envelope.object("data"), command)
            case Models():
                return _read_catalogue(envelope, command)
            case Upload() | Confirm():
                return assets.read_data(envelope.object("data"), command)
            case _:
                raise Unsupported("AiToEarn has no such operation")

    # ------------------------------------------------------------------------------------ fault

    def write_fault(self, op: str | None, fault: Fault, context: Context) -> Response:
        if op in openai.PATHS or (op is None and context.request.path.startswith(_RAW)):
            return openai.write_fault(fault, context)
        code, told = _code_of(op, fault), {}
        if isinstance(fault, StillRunning) and fault.task_id:
            told = {"logId": fault.task_id, "status": "generating"}
        detail = "" if fault.message == type(fault).default() else fault.message
        return _refuse(code, detail, told, context, fault)

    def parameter_name(self, op: str, name: str, submit: Submit) -> str:
        if op in openai.PATHS:
            return openai.parameter_name(name, submit)
        return parameter_name(FORMS[op], name, submit)

    def carries_files(self, op: str, submit: Submit) -> bool:
        return op in openai.PATHS and openai.carries_files(submit)

    # -------------------------------------------------------------------------------------- key

    def read_key(self, request: Request, now: int) -> Credential:
        # There a bearer is a web session [source]; here there are none, and clients that know one
        # way alone send their key so.
        secret = (request.header("x-api-key") or "").strip() or read_bearer(request)
        if not secret:
            name = "Authorization" if request.path.startswith(_RAW) else "X-Api-Key"
            raise Unauthenticated(f"The {name} header carries no API key", reason="missing")
        return Credential(secret=secret)

    def write_key(self, request: Request, key: Key, now: int) -> Request:
        return request.with_headers(("x-api-key", key.secret))


# -------------------------------------------------------------------------------- envelope, fault


def _answer(data: Any, context: Context) -> Response:
    id = _request_id(context)
    body = {"data": data, "code": 0, "message": SUCCESS, "requestId": id}
    return json_response(body, content_type=JSON, headers=(("x-request-id", id),))


def _request_id(context: Context) -> str:
    # The caller's own, where it sends one, and unchecked [source].
    return context.request.header("x-request-id") or context.request_id


def _code_of(op: str | None, fault: Fault) -> int:
    """The code that tells `fault`."""
    if isinstance(fault, NotFound) and op is not None and op.startswith("video."):
        return NO_VIDEO
    if isinstance(fault, StillRunning) and op in _SYNCHRONOUS:
        return CALL_FAILED
    if isinstance(fault, Unsupported) and op == VIDEO.op and fault.parameter is not None:
        if fault.parameter == "groupId":  # nothing is kept in groups here: there is none
            return NO_GROUP
        if fault.parameter.partition(".")[0] in {"mode", *VIDEO.places}:
            return NO_MODE  # for what a film is made from is its mode
    return next(_CODES[kind] for kind in type(fault).__mro__ if kind in _CODES)


def _refuse(
    code: int, detail: str, told: dict[str, str], context: Context, fault: Fault | None = None
) -> Response:
    """The envelope of an error; `told` is its data."""
    id = _request_id(context)
    if isinstance(fault, UnknownOperation):
        message = f"Cannot {context.request.method} {context.request.path}"
    else:
        message = _wording(code, detail, context.request.header("accept-language") or "")
    body = {
        "data": told,
        "code": code,
        "message": message,
        "timestamp": context.now,
        "requestId": id,
    }
    headers = (("x-request-id", id), *(retry_after_header(fault) if fault else ()))
    return json_response(body, content_type=JSON, headers=headers)


def _wording(code: int, detail: str, languages: str) -> str:
    """The documented text of `code`, and after it the detail, said once."""
    texts = _TEXTS[code]
    chinese = _prefers_chinese(languages)
    text = texts[0] if chinese else texts[1]
    detail = detail.removeprefix(texts[0]).removeprefix(texts[1]).lstrip(":： ")
    if code in _BARE or not detail:
        return text
    return f"{text}：{in_chinese(detail)}" if chinese else f"{text}: {detail}"


def _prefers_chinese(languages: str) -> bool:
    """Whether Chinese is named before English; English is the default [source]."""
    for language in languages.lower().split(","):
        word = language.strip()[:2]
        if word in ("zh", "en"):
            return word == "zh"
    return False


def _open(response: Response) -> Reading:
    """The envelope of a good answer. Raises the `Fault` that a bad one tells."""
    try:
        envelope = Reading(response.json(), text=True)
        code, message = envelope.integer("code"), envelope.echo("message", TEXT, "")
    except Malformed:
        if response.status >= 400:
            raise fault_of_status(response.status, "", response) from None
        raise
    if code != 0:
        raise _fault_of(code, message, response)
    if response.status >= 400:
        raise fault_of_status(response.status, message, response)
    return Reading(envelope.values)


def _fault_of(code: int, message: str, response: Response) -> Fault:
    if code == 404 and message.startswith("Cannot "):
        return UnknownOperation(message)
    if code in _FAULTS:
        return _FAULTS[code](message)
    if code == TOO_MANY:
        return fault_of_status(429, message, response)
    if 400 <= code < 600:
        return fault_of_status(code, message, response)
    return BadRequest(message or f"code {code}")


def _read_list(kind: Kind | None, request: Request) -> List:
    query = Reading(request.arguments(), text=True)
    page, size = query.integer("page", 1), query.integer("pageSize", 10)
    if not 1 <= page <= _LAST_PAGE:
        raise Malformed("page", "must be 1 or more")
    if not 1 <= size <= _MOST_LISTED:
        raise Malformed("pageSize", f"must be 1 to {_MOST_LISTED}")
    return List(kind=kind, limit=size, offset=(page - 1) * size)


# -------------------------------------------------------------------------------- submit, to wire


def _list_query(command: List) -> str:
    bounds = (command.before, command.since, command.until)
    if command.kind is Kind.IMAGE or command.statuses or bounds != (None, None, None):
        raise Unsupported("AiToEarn lists all films, or all tasks, and nothing narrower")
    size = max(1, command.limit)
    page, rest = divmod(command.offset, size)
    if rest:
        raise Unsupported("AiToEarn's lists go by whole pages", parameter="offset")
    return query_string({"page": page + 1, "pageSize": size})


# --------------------------------------------------------------------------------- task, to wire


def _image_data(task: Task, context: Context) -> dict[str, Any]:
    data = IMAGE_DATA.write(task)
    _add_times(data, task, context)
    data["status"] = IMAGE_STATES.write(task.status)
    data["request"] = write_request_echo(task.submit)
    if task.status is Status.SUCCEEDED:
        data["response"] = _response_data(task, context)
        if images := data["response"]["list"]:
            data["images"] = images
    elif task.ended:
        data["errorMessage"] = _reason(task)
    return data


def _response_data(task: Task, context: Context) -> dict[str, Any]:
    images = [{"url": artifact.url} for artifact in task.artifacts if artifact.url]
    return {"created": (task.finished or context.now) // 1000, "list": images}


def _add_times(data: dict[str, Any], task: Task, context: Context) -> None:
    """Complete the times; `startedAt` is that of creation, `duration` that of the work [source]."""
    created = data.get("createdAt") or _write_time(context.now)
    data["createdAt"] = data["startedAt"] = created
    data.setdefault("updatedAt", created)
    if task.ended and task.finished is not None:
        started = task.finished if task.started is None else task.started
        data["duration"] = task.finished - started


def _video_data(task: Task, context: Context) -> dict[str, Any]:
    data = VIDEO_DATA.write(task)
    data.setdefault("submittedAt", _write_time(context.now))
    data["startedAt"] = data["submittedAt"]
    data["status"] = VIDEO_STATES.write(task.status)
    data["input"] = write_input_echo(task.submit)
    if "groupId" in data["input"]:
        data["groupId"] = data["input"]["groupId"]
    for artifact in task.artifacts:
        picture = (artifact.media_type or "").startswith("image/")
        if artifact.url:
            data.setdefault("coverUrl" if picture else "videoUrl", artifact.url)
    if task.ended and task.status is not Status.SUCCEEDED:
        data["error"] = {"message": _reason(task)}
    return data


def _reason(task: Task) -> str:
    if task.status is Status.CANCELED:
        return "The task was canceled"
    return task.failure.message if task.failure else "The task failed"


def _log_data(task: Task, context: Context) -> dict[str, Any]:
    data = LOG_DATA.write(task)
    _add_times(data, task, context)
    data |= {"userType": "user", "type": task.kind, "channel": "safelight"}
    data["status"] = IMAGE_STATES.write(task.status)  # of films too [source]
    return data


def _page_data(op: str, page: Page, context: Context) -> dict[str, Any]:
    write = _video_data if op == "video.list" else _log_data
    return {
        "page": page.offset // page.limit + 1,
        "pageSize": page.limit,
        "totalPages": -(-page.total // page.limit),
        "total": page.total,
        "list": [write(task, context) for task in page.tasks],
    }


def _catalogue_data(asked: Models, catalogue: Catalogue) -> list[dict[str, Any]]:
    return [
        _card_data(card, asked)
        for card in catalogue.models
        if card.kind is asked.kind and (card.max_sources or not asked.editing)
    ]


def _card_data(card: ModelCard, asked: Models) -> dict[str, Any]:
    # Nothing is charged here: of the two sorts of credits none is the model's own.
    own = {"label": card.name, "tags": [], "creditsScope": "general", "pricing": []}
    data = {**own, **CARD.write(card)}
    if asked.kind is Kind.VIDEO:
        del data["sizes"], data["qualities"]
        data["modes"] = [mode for mode in MODES if _offers(card, mode)]
        data["inputConstraints"] = {
            "images": {"maxCount": card.max_sources},
            **{
                name: {"maxCount": card.max_sources if role in card.roles else 0}
                for role, name in _INPUTS.items()
            },
        }
        return data | {"defaults": DEFAULTS.write(card)}
    for name in ("aspectRatios", "resolutions", "durations"):
        del data[name]
    if asked.editing:
        del data["qualities"]
    else:
        del data["maxInputImages"]
        data["styles"] = []
    return data


def _offers(card: ModelCard, mode: str) -> bool:
    """Whether a model of films takes what that mode needs."""
    if mode == "text2video":
        return not card.needs_source
    if mode == "multi-ref":
        return not _INPUTS.keys().isdisjoint(card.roles)
    several = mode in ("flf2video", "multi-image2video")
    return (
        mode in _MODE_ROLES
        and card.max_sources > several
        and set(card.roles) >= set(_MODE_ROLES[mode])
    )


# ------------------------------------------------------------------------------- task, from wire


def _read_status(states: States, data: Reading) -> dict[str, Any]:
    """The status, and the word for it where that is one that we do not know."""
    word = data.text("status", "")
    known = _SPELLINGS[states].get(word.lower())
    values: dict[str, Any] = {"status": states.read(known)}
    return values if known or not word else values | {"status_word": word}


def _read_image_task(data: Reading, id: str) -> Task:
    values = {"id": id, **IMAGE_DATA.read_echo(data), **_read_status(IMAGE_STATES, data)}
    values |= _read_span(values["status"], values.get("updated"), data)
    if values["status"] is Status.SUCCEEDED:
        # `images` is made of the list in `response` there [source]: some answers have that alone.
        there = data if data.has("images") else _read_object(data, "response")
        images = there.objects("images" if data.has("images") else "list")
        links = (_read_link(image) for image in images)
        values["artifacts"] = tuple(Artifact(url=link) for link in links if link)
    if values["status"] is Status.FAILED:
        values["failure"] = _read_failure(data.echo("errorMessage", TEXT, ""))
    return build_task(values, submit=read_request_echo(_read_object(data, "request")))


def _read_span(status: Status, updated: int | None, data: Reading) -> dict[str, int]:
    """When the work began and ended. The wire says how long; its last change was the end."""
    duration = data.echo("duration", NUMBER)
    if status not in (Status.SUCCEEDED, Status.FAILED) or duration is None or updated is None:
        return {}
    return {"started": updated - round(duration), "finished": updated}


def _read_link(image: Reading) -> str | None:
    """Where a picture is. One that is in the answer itself has its data for an address."""
    if image.has("url"):
        return str(image.text("url"))
    encoded = image.text("b64_json", None)
    return f"data:image/png;base64,{encoded}" if encoded else None


def _read_failure(message: str) -> Failure:
    return Failure(code=FailureCode.PROVIDER_ERROR, message=message or "The task failed")


def _read_video_task(data: Reading, id: str) -> Task:
    values = {"id": id, **VIDEO_DATA.read_echo(data), **_read_status(VIDEO_STATES, data)}
    if values["status"] is Status.SUCCEEDED:
        links = (data.text(name, None) for name in ("videoUrl", "coverUrl"))
        values["artifacts"] = tuple(Artifact(url=link) for link in links if link)
    if values["status"] is Status.FAILED:
        values["failure"] = _read_failure(_read_object(data, "error").echo("message", TEXT, ""))
    return build_task(values, submit=read_input_echo(_read_object(data, "input")))


def _read_object(data: Reading, name: str) -> Reading:
    """An object that the answer tells beside state and result; empty where it is none."""
    found = data.echo(name, ANYTHING)
    return Reading(found if isinstance(found, dict) else {}, data.at(name))


def _read_page(data: Reading, command: List) -> Page:
    items = data.objects("list")
    if command.kind is Kind.VIDEO:
        tasks = tuple(_read_video_task(item, item.text("id")) for item in items)
    else:
        # The other logs (chats, crawlers) are not tasks of ours.
        tasks = tuple(_read_log(item) for item in items if item.text("type") in _KINDS)
    total = data.integer("total", len(items))
    return Page(tasks=tasks, total=total, limit=command.limit, offset=command.offset)


def _read_log(item: Reading) -> Task:
    values = {"id": item.text("id"), **LOG_DATA.read_echo(item), **_read_status(IMAGE_STATES, item)}
    values |= _read_span(values["status"], values.get("updated"), item)
    return build_task(values, submit=Submit(kind=Kind(item.text("type"))))


def _read_catalogue(envelope: Reading, command: Models) -> Catalogue:
    kind = command.kind or Kind.IMAGE
    return Catalogue(models=tuple(_read_card(item, kind) for item in envelope.objects("data")))


def _read_card(item: Reading, kind: Kind) -> ModelCard:
    values = {"name": item.text("name"), **CARD.read(item)}
    if kind is Kind.VIDEO:
        values |= DEFAULTS.read_echo(_read_object(item, "defaults"))
        modes = item.echo("modes", TEXTS, ())
        values["needs_source"] = bool(modes) and "text2video" not in modes
        values["roles"] = _read_roles(modes, _read_object(item, "inputConstraints"))
    return ModelCard(kind=kind, **values)


def _read_roles(modes: tuple[str, ...], inputs: Reading) -> tuple[Role, ...]:
    """The roles that a film's sources may have, where its modes and inputs are these."""
    taken = {role for mode in modes for role in _MODE_ROLES.get(mode, ())}
    for role, name in _INPUTS.items():
        if _read_object(inputs, name).echo("maxCount", INTEGER, 0) > 0:
            taken.add(role)
    return tuple(role for role in Role if role in taken)


DIALECTS = (AiToEarn(),)
