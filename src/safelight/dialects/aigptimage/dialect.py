"""The jobs wire of aigptimage.com, kie.ai and their resellers: createTask and recordInfo.

The relatives share paths, envelope and fields. They differ in their state words, in whether a fault
is an HTTP status or a code under HTTP 200, and in a few fields: one class, two objects. Facts
marked [A] are on aigptimage's pages and [K] on kie's; [live] is what users report of the services
themselves, and [client] what public clients put on the wire.
"""

from __future__ import annotations

import base64
import hmac
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from safelight.dialects.aigptimage import files
from safelight.dialects.aigptimage.bodies import (
    beyond,
    parameter_name,
    refuse_unsaid,
    write_body,
)
from safelight.dialects.aigptimage.input import (
    kind_of,
    open_body,
    read_body,
    read_texts,
    refuse_foreign,
    require,
)
from safelight.dialects.aigptimage.models import Model, Usual
from safelight.errors import (
    BadRequest,
    Conflict,
    Fault,
    InsufficientCredits,
    Malformed,
    NotFound,
    RateLimited,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnknownModel,
    UnknownOperation,
    Unsupported,
)
from safelight.task import (
    Artifact,
    Balance,
    Callback,
    Command,
    Credits,
    Failure,
    FailureCode,
    Fetch,
    Locate,
    Located,
    Record,
    Reply,
    Status,
    Submit,
    Task,
    Upload,
    Uploaded,
)
from safelight.wire import (
    ANYTHING,
    CANNOT,
    INTEGER,
    NUMBER,
    TEXT,
    Context,
    Dialect,
    Field,
    Fields,
    Reading,
    Request,
    Response,
    Route,
    Sort,
    States,
    build_task,
    compact_json,
    deed,
    fault_of_status,
    json_request,
    json_response,
    query_string,
    read_json,
    read_retry_after,
    retry_after_header,
)

OK = 200
CALLBACK, PROGRESS_CALLBACK = "callBackUrl", "progressCallBackUrl"  # [K]
_TOLD = {
    True: (200, "Playground task completed successfully."),
    False: (501, "Playground task failed."),
}
DEEPEST = 64  # ours: the body is kept whole, in records that are nested themselves

# ------------------------------------------------------------------------------------------ answer


def _read_percent(value: Any, path: str) -> int:
    if isinstance(value, str):  # `45%`, of some relatives [client]
        value = Reading({path: value.removesuffix("%")}, text=True).number(path)
    number: float = NUMBER.read(value, path)
    return round(number)


PERCENT = Sort("number", _read_percent, round)

ANSWER = Fields(
    Field("id", "taskId"),
    Field("submit.model", "model"),
    Field("finished", "completeTime", INTEGER),
    Field("created", "createTime", INTEGER),
)
MORE_ANSWER = Fields(
    Field("updated", "updateTime", INTEGER),
    Field("progress", "progress", PERCENT),
    Field("credits", "creditsConsumed", NUMBER),
)
# Every documented field is there, and null while it says nothing [A]; in the page's order.
BLANK: Mapping[str, Any] = dict.fromkeys(
    (
        *("taskId", "model", "state", "param", "resultJson", "failCode", "failMsg", "costTime"),
        *("completeTime", "createTime"),
    )
)

# Numbers as text. Published are 400 (a breach of the content policy [A]), 402, 408 (the maker was
# silent), 422, 429, 451 (a source could not be had), 500 and 501 (the making failed) [K]; for the
# rest stand the HTTP statuses that mean the same, and for a canceled task nginx's 499.
FAIL_CODES: Mapping[FailureCode, str] = {
    FailureCode.INVALID_INPUT: "422",
    FailureCode.SOURCE_UNAVAILABLE: "451",
    FailureCode.CONTENT_POLICY: "400",
    FailureCode.INSUFFICIENT_CREDITS: "402",
    FailureCode.RATE_LIMITED: "429",
    FailureCode.PROVIDER_ERROR: "501",
    FailureCode.TIMEOUT: "408",
    FailureCode.SUBMISSION_UNKNOWN: "504",
    FailureCode.WORKER_DIED: "503",
    FailureCode.OUT_OF_MEMORY: "507",
    FailureCode.CANCELED: "499",
    FailureCode.INTERNAL: "500",
}
_FAILURES = {theirs: ours for ours, theirs in FAIL_CODES.items()}

# ------------------------------------------------------------------------------------------ faults


class Told(NamedTuple):
    """How a fault is told: its code, its words, and whether what was wrong follows them."""

    code: int
    words: str
    more: bool = True


_FAULTS: Mapping[type[Fault], Told] = {
    BadRequest: Told(400, "invalid request"),
    Unauthenticated: Told(401, "authentication failed"),
    InsufficientCredits: Told(402, "insufficient credits"),
    # The same for a task that is absent and for one of another key [A].
    NotFound: Told(404, "task not found", more=False),
    UnknownOperation: Told(404, "not found"),
    Conflict: Told(409, "conflict"),  # this one, 413 and 503 are HTTP's own
    TooLarge: Told(413, "request too large"),
    UnknownModel: Told(422, "model is not supported"),
    RateLimited: Told(429, "rate limit exceeded"),
    Unavailable: Told(503, "server error"),
    Fault: Told(500, "server error"),
}
_NO_FILE = Told(422, "file not found")  # 422 for an address that is none of theirs [K]
_INVALID = Told(422, "validation error")
_KIE_FAULTS: Mapping[type[Fault], Told] = {
    **_FAULTS,
    Unauthenticated: Told(401, "You do not have access permissions"),
    InsufficientCredits: Told(402, "Credits insufficient"),
    NotFound: Told(422, "recordInfo is null", more=False),
    Conflict: _INVALID,  # no 409 and no 413 here [K]
    TooLarge: _INVALID,
    UnknownModel: Told(422, "The model name you specified is not supported"),
    RateLimited: Told(429, "Your call frequency is too high. Please try again later.", more=False),
    Unavailable: Told(455, "Service unavailable"),
}
# What 404, 422 and 500 mean is in their words: 422 is also said of an unknown task and of an
# unknown model, 500 also of a caller's mistake and of empty accounts [live].
_VAGUE = frozenset({404, 422, 500})
_HEARD: tuple[tuple[re.Pattern[str], type[Fault]], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), fault)
    for pattern, fault in (
        (r"recordInfo is null|(?:task|file) not found", NotFound),
        (r"\bmodel\b.*\bnot (?:supported|found|exist)|(?:unknown|unsupported) model", UnknownModel),
        (r"credits insufficient|insufficient credits", InsufficientCredits),
        (r"\brequired\b|not within the range", BadRequest),
    )
)
# 422 that says nothing of a model is a mistake in the rest; 433 is the limit that an owner set for
# one key, 455 is maintenance, and 408 that a maker was silent for long, which is no refusal [K].
_HEARD_AS = {408: 504, 422: 400, 433: 402, 455: 503}

# ---------------------------------------------------------------------------------------- relatives


class Relative(Record, frozen=True, kw_only=True):
    """What tells one service of the family from the others."""

    name: str
    title: str
    url: str
    docs: str
    key_variable: str
    served: bool
    states: States
    faults: Mapping[type[Fault], Told]
    usual: Usual
    coded: bool  # faults are HTTP 200, and the code is in the body alone
    idempotency_headers: tuple[str, ...]
    polls_per_second: float
    repeats_safely: bool
    files_url: str = ""


AIGPTIMAGE = Relative(
    name="aigptimage",
    title="AI GPT Image",
    url="https://aigptimage.com",
    docs="https://aigptimage.com",
    key_variable="AIGPTIMAGE_API_KEY",
    served=True,
    states=States(
        (Status.QUEUED, "waiting"),
        (Status.RUNNING, "waiting"),
        (Status.UPLOADING, "waiting"),
        (Status.SUCCEEDED, "success"),
        (Status.FAILED, "fail"),
        (Status.CANCELED, "fail"),
    ),
    faults=_FAULTS,
    usual=Usual(images=Model(images="input_urls[]"), videos=Model()),
    coded=False,
    idempotency_headers=("x-request-id", "idempotency-key"),
    polls_per_second=1.0,  # 60 a minute in its free tier [A]
    repeats_safely=True,  # the same X-Request-ID is the same task [A]
)
_TEXTS = ("duration", "num_images")  # numbers that most of its models take as text [K]
KIE = Relative(
    name="kie",
    title="KIE",
    url="https://api.kie.ai",
    docs="https://docs.kie.ai",
    key_variable="KIE_API_KEY",
    served=False,  # its paths are aigptimage's: a server speaks one of the two
    states=States(
        (Status.QUEUED, "queuing"),
        (Status.QUEUED, "waiting"),
        (Status.RUNNING, "generating"),
        (Status.UPLOADING, "generating"),
        (Status.SUCCEEDED, "success"),
        (Status.FAILED, "fail"),
        (Status.CANCELED, "fail"),
    ),
    faults=_KIE_FAULTS,
    usual=Usual(images=Model(texts=_TEXTS), videos=Model(texts=_TEXTS)),
    coded=True,
    idempotency_headers=("idempotency-key",),  # it documents none [K]
    polls_per_second=0.5,  # every 2 to 3 s at first [K]
    repeats_safely=False,
    files_url="https://kieai.redpandaai.co",  # what it keeps for its callers is there [K]
)


class Jobs(Dialect):
    """The family's wire, as one of the relatives speaks it."""

    curl = (
        'curl {base}/api/v1/jobs/createTask -H "Authorization: Bearer $SAFELIGHT_KEY" '
        '-H "Content-Type: application/json" '
        '-d \'{"model": "gpt-image-2-text-to-image", "input": {"prompt": "a misty forest"}}\''
    )
    prefixes = ("/api/v1", *files.PREFIXES)
    routes = (
        Route("createTask", "POST", "/api/v1/jobs/createTask"),
        Route("recordInfo", "GET", "/api/v1/jobs/recordInfo"),
        *files.ROUTES,
    )
    keeps_files = True

    def __init__(self, relative: Relative) -> None:
        super().__init__()
        self.relative = relative
        self.name, self.title = relative.name, relative.title
        self.url, self.docs = relative.url, relative.docs
        self.key_variables = (relative.key_variable,)
        self.served = relative.served
        self.idempotency_headers = relative.idempotency_headers
        self.polls_per_second = relative.polls_per_second
        self.repeats_safely = relative.repeats_safely
        self.files_url = relative.files_url
        self.states = {"jobs": relative.states}

    # ---------------------------------------------------------------------------------- request

    def read_request(self, op: str, params: Mapping[str, str], request: Request) -> Command:
        if op in files.OPS:
            return files.read_command(op, request)
        if op == "recordInfo":
            # A body is never looked at, though some clients announce one [client].
            id = request.arguments().get("taskId", "").strip()
            if not id:
                raise Malformed("taskId", "required", "missing")
            return Fetch(id=id)
        body = request.json()
        if not isinstance(body, dict):
            raise Malformed("", "the body is not a JSON object", "syntax")
        if not _within(body, DEEPEST):
            raise Malformed("", f"the body is nested deeper than {DEEPEST} levels", "syntax")
        return self._read_submit(body)

    def _read_submit(self, body: dict[str, Any]) -> Submit:
        said = Reading(body)
        # An empty one means none, to one client [client].
        if said.text(PROGRESS_CALLBACK, "").strip():
            raise Unsupported(f"{PROGRESS_CALLBACK}: {CANNOT}", parameter=PROGRESS_CALLBACK)
        url = said.text(CALLBACK, "").strip()
        asked = open_body(said, self.relative.usual)
        refuse_foreign(asked)
        submit = read_body(asked)
        require(asked, submit)
        # Told once, of its end alone [K].
        callback = Callback(url=url, format=self.name) if url else None
        return msgspec.structs.replace(submit, callback=callback, extra={"body": body})

    def parameter_name(self, op: str, name: str, submit: Submit) -> str:
        return parameter_name(name, submit, self.relative.usual)

    def write_request(self, command: Command) -> Request:
        match command:
            case Submit():
                usual, extra = self.relative.usual, command.extra.get("input")
                refuse_unsaid(command, usual)
                body = write_body(command, usual)
                if command.callback is not None:
                    body[CALLBACK] = self._callback_url(command.callback)
                body["input"] |= beyond(command, usual) | (extra if isinstance(extra, dict) else {})
                return json_request("POST", self.path("createTask"), body)
            case Fetch(id=id):
                query = query_string({"taskId": id})
                return Request(method="GET", path=self.path("recordInfo"), query=query)
            case Upload() | Locate() | Balance():
                return files.write_command(command)
            case _:
                raise Unsupported(f"{self.title} has no operation to {deed(command)}")

    def _callback_url(self, callback: Callback) -> str:
        """Where its service is to tell of a task, which it does in its own words alone."""
        if (
            callback.format != self.name
            or callback.secret
            or callback.events
            not in (
                (),
                ("task.ended",),
            )
        ):
            raise Unsupported(
                f"{self.title} tells of ends alone, in its own format and signed with its own key",
                parameter="callback",
            )
        return callback.url

    # --------------------------------------------------------------------------------- callback

    def write_callback(self, task: Task, secret: str, context: Context) -> Request:
        """What a query would be answered, under a code and a sentence of its own [K].

        Signed is the task's id with the time, and not the body.
        """
        code, words = _TOLD[task.status is Status.SUCCEEDED]
        stamp = str(context.now // 1000)
        mac = hmac.digest(secret.encode(), f"{task.id}.{stamp}".encode(), "sha256")
        signed = base64.b64encode(mac).decode()
        request = json_request("POST", "", {"code": code, "msg": words, "data": self._data(task)})
        return request.with_headers(("x-webhook-timestamp", stamp), ("x-webhook-signature", signed))

    # ------------------------------------------------------------------------------------ reply

    def write_reply(self, op: str, reply: Reply, context: Context) -> Response:
        match reply:
            case Uploaded() | Located() | Credits():
                return files.write_reply(reply)
            case Task() if op == "recordInfo":
                data = self._data(reply)
            case Task():
                data = {"taskId": reply.id}
            case _:
                raise TypeError(f"{op} does not answer {type(reply).__name__}")
        # A state that a proxy keeps is a task that never ends.
        return json_response(
            {"code": OK, "msg": "success", "data": data}, headers=(("cache-control", "no-store"),)
        )

    def _data(self, task: Task) -> dict[str, Any]:
        data = {**BLANK, **ANSWER.write(task)}
        data["state"] = self.relative.states.write(task.status)
        data["param"] = compact_json(self._asked(task))
        if task.status is Status.SUCCEEDED:
            urls = [artifact.url for artifact in task.artifacts if artifact.url]
            data["resultJson"] = compact_json({"resultUrls": urls})
        elif task.ended:
            data["failCode"], data["failMsg"] = _reason(task)
            if not self.relative.coded:
                data["completeTime"] = None  # so is the page's example [A]
        if data["completeTime"] is not None and task.created is not None:
            data["costTime"] = max(0, data["completeTime"] - task.created)
        if self.relative.coded:
            data |= MORE_ANSWER.write(task)
            data.setdefault("updateTime", task.finished or task.created)
            if task.status is not Status.SUCCEEDED:
                del data["creditsConsumed"]
        return data

    def _asked(self, task: Task) -> dict[str, Any]:
        """The body that created `task`, or the one that would have."""
        body = task.submit.extra.get("body") if task.dialect in FAMILY else None
        return body if isinstance(body, dict) else write_body(task.submit, self.relative.usual)

    def read_reply(self, command: Command, response: Response) -> Reply:
        match command:
            case Upload():
                return files.read_upload(command, response)
            case Locate() | Balance():
                return files.read_data(command, _open_envelope(response))
        data = _open(response)
        match command:
            case Submit():
                return Task(id=data.text("taskId"), status=Status.QUEUED, submit=command)
            case Fetch():
                return self._read_task(data, command)
            case _:
                raise Unsupported(f"{self.title} has no such operation")

    def _read_task(self, data: Reading, command: Fetch) -> Task:
        values = {"id": command.id, **ANSWER.read_echo(data), **MORE_ANSWER.read_echo(data)}
        word = data.value("state", ANYTHING, "")
        known = str(word).lower()  # a reseller shouts [client]
        status = self.relative.states.read(known)
        if status is Status.SUCCEEDED:
            values["artifacts"] = _artifacts(data)
        elif status is Status.FAILED:
            failure = _read_failure(data)
            values["failure"] = failure
            if failure.code is FailureCode.CANCELED:
                status = Status.CANCELED
        elif not self.relative.states.knows(known):
            values["status_word"] = str(word) or None
        submit = self._read_param(data, values.get("submit.model", ""), command)
        return build_task(values, status=status, submit=submit)

    def _read_param(self, data: Reading, model: str, command: Fetch) -> Submit:
        """What was asked, as far as the answer tells. It is an echo: no fault is made of it."""
        try:
            asked = Reading(read_json(data.text("param", "").encode()))
            submit = read_body(open_body(asked, self.relative.usual))
        except Malformed:
            submit = Submit(kind=kind_of(model, {}), model=model)
        return msgspec.structs.replace(submit, kind=command.kind or submit.kind)

    # ------------------------------------------------------------------------------------ fault

    def write_fault(self, op: str | None, fault: Fault, context: Context) -> Response:
        if (answer := files.write_fault(op, fault)) is not None:
            return answer
        faults = self.relative.faults
        told = next(faults[sort] for sort in type(fault).__mro__ if sort in faults)
        if op == files.LOCATE and isinstance(fault, NotFound):
            told = _NO_FILE
        if op == "createTask" and isinstance(fault, BadRequest) and type(fault) is not BadRequest:
            told = _INVALID  # 400 is for what is no JSON, 422 for what it says [A]
        data, headers = None, retry_after_header(fault)
        if isinstance(fault, RateLimited) and not self.relative.coded:
            data = _allowance(fault)
        body = {"code": told.code, "msg": _message(told, fault), "data": data}
        # A route that there is not is told by HTTP too: clients try their second one then [client].
        plain = not self.relative.coded or isinstance(fault, UnknownOperation)
        return json_response(body, told.code if plain else OK, headers=headers)


def _within(value: Any, levels: int) -> bool:
    """Whether `value` is a JSON value nested no deeper than `levels`."""
    layer = [value]
    for _ in range(levels):
        objects = [item for item in layer if isinstance(item, dict)]
        lists = [item for item in layer if isinstance(item, list)]
        layer = [inner for item in objects for inner in item.values()]
        layer += [inner for item in lists for inner in item]
        if not layer:
            return True
    return False


# -------------------------------------------------------------------------------------------- task


def _open(response: Response) -> Reading:
    """The data of a good answer. Raises the `Fault` that a bad one tells."""
    given = _open_envelope(response).object("data").values
    kept = {name: value for name, value in given.items() if value != ""}
    return Reading(kept, "data", text=True)


def _open_envelope(response: Response) -> Reading:
    """The envelope of a good answer. Raises the `Fault` that a bad one tells, in either manner."""
    try:
        envelope = Reading(response.json(), text=True)
        code = envelope.integer("code")
        # Both names are in use; some relatives' samples have the longer one.
        message = envelope.echo("msg", TEXT) or envelope.echo("message", TEXT, "")
    except Malformed:
        if response.status >= 400:
            raise fault_of_status(response.status, "", response) from None
        raise
    if code != OK or response.status >= 400:
        raise _read_fault(code if code != OK else response.status, message, envelope, response)
    return envelope


def _read_fault(code: int, message: str, envelope: Reading, response: Response) -> Fault:
    if code in _VAGUE:
        for pattern, sort in _HEARD:
            if pattern.search(message):
                return sort(message)
    if code == 429:
        return _read_rate(message, envelope, response)
    return fault_of_status(_HEARD_AS.get(code, code), message, response)


def _read_rate(message: str, envelope: Reading, response: Response) -> RateLimited:
    seconds = read_retry_after(response)
    try:
        data = Reading(envelope.values.get("data") or {}, "data", text=True)
        return RateLimited(
            message,
            retry_after=data.number("retryAfter", None) if seconds is None else seconds,
            limit=data.integer("limit", 0),
            window=data.integer("windowSeconds", 1),
        )
    except Malformed:
        return RateLimited(message, retry_after=seconds)


def _artifacts(data: Reading) -> tuple[Artifact, ...]:
    raw = data.value("resultJson", ANYTHING, {})
    if isinstance(raw, str):  # a string of JSON; one reseller sends the object itself [client]
        try:
            raw = read_json(raw.encode())
        except Malformed:
            raise Malformed("data.resultJson", "not valid JSON") from None
    result = Reading(raw or {}, "data.resultJson")
    return tuple(Artifact(url=url) for url in read_texts(result, "resultUrls"))


def _read_failure(data: Reading) -> Failure:
    """A number of the table, or a word; a number that is not in it is the provider's own."""
    word = data.value("failCode", ANYTHING, None)
    code = _FAILURES.get(str(word), FailureCode.PROVIDER_ERROR)
    message = data.echo("failMsg", TEXT, "The task failed")
    return Failure(code=code, message=message, provider_code=None if word is None else str(word))


def _reason(task: Task) -> tuple[str, str]:
    """The code and the sentence of a task that ended without a result; there are always both."""
    if task.status is Status.CANCELED:
        message = task.failure.message if task.failure else "The task was canceled"
        return FAIL_CODES[FailureCode.CANCELED], message
    failure = task.failure or Failure(code=FailureCode.INTERNAL, message="The task failed")
    return FAIL_CODES[failure.code], failure.message


# ----------------------------------------------------------------------------------------- wording


def _message(told: Told, fault: Fault) -> str:
    """The wire's words, and then what was wrong, where a person does not know it from them."""
    if not told.more or fault.message == type(fault).default():
        return told.words
    if fault.message.startswith(told.words):  # told so by another server before us
        return fault.message
    return f"{told.words}: {fault.message}"


def _allowance(fault: RateLimited) -> dict[str, Any]:
    """What a 429 says beside its words [A]; there is one tier here."""
    seconds = fault.window if fault.retry_after is None else fault.retry_after
    return {
        "retryAfter": max(1, math.ceil(seconds)),
        "limit": fault.limit,
        "tier": "standard",
        "windowSeconds": fault.window,
    }


DIALECTS = (Jobs(AIGPTIMAGE), Jobs(KIE))
# They store what was asked in the same form, so each writes the other's back.
FAMILY = frozenset(dialect.name for dialect in DIALECTS)
