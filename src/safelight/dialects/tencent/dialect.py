"""Tencent Cloud MPS 2019-06-12: image processing, and the making of images and video.

One path, `/`: the action is in a header or among the parameters, and every answer has HTTP status
200, an error too. What the actions take is in `parameters`, what is made of it in
`commands` and `demands`, what is answered in `tasks`, `workflows`,
`scenarios`, `templates` and `faults`, how requests are signed in
`signature`. Facts marked [doc] are on the published pages, [client] are what the official
SDKs and command lines do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from safelight.dialects.tencent import (
    commands,
    faults,
    parameters,
    scenarios,
    signature,
    tasks,
    templates,
    workflows,
)
from safelight.dialects.tencent.words import DIALECT, SERVICE, VERSION, decorated, query_of
from safelight.errors import (
    Fault,
    MissingParameter,
    Unauthenticated,
    UnknownOperation,
    Unsupported,
)
from safelight.task import (
    Cancel,
    Command,
    Fetch,
    Kind,
    List,
    Page,
    Reply,
    Status,
    Submit,
    Task,
    TemplatePage,
    Templates,
)
from safelight.wire import (
    Context,
    Credential,
    Dialect,
    Key,
    Match,
    Part,
    Request,
    Response,
    Route,
    States,
    json_request,
    json_response,
    read_json,
    retry_after_header,
)


class Tencent(Dialect):
    name = DIALECT
    title = "Tencent Cloud MPS images and video"
    url = "https://mps.intl.tencentcloudapi.com"
    docs = "https://www.tencentcloud.com/document/product/1041"
    # curl cannot sign.
    curl = 'safelight submit "snowy mountains" --dialect tencent --url {base} --key ID:SECRET'
    key_variables = ("TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY")
    prefixes = ("/",)
    states: Mapping[str, States] = {
        "DescribeImageTaskDetail": tasks.DETAIL_STATES,
        "DescribeAigc...Task": tasks.AIGC_STATES,
        "DescribeImageTasks": tasks.LIST_STATES,
        "DescribeAigcTask...": scenarios.STATES,
    }
    # The page allows 20 queries a second [doc], for all that an account runs.
    polls_per_second = 10.0
    routes = tuple(Route(action, "POST", "/") for action in parameters.ACTIONS)

    # ---------------------------------------------------------------------------------- request

    def claims(self, request: Request) -> bool:
        """Whether this is a call: what a browser asks of `/` has neither action nor signature."""
        return (
            request.method not in ("GET", "HEAD")
            or request.header("x-tc-action") is not None
            or _signs_in_head(request)
            or _ACTION.search(request.query) is not None
        )

    def told_in_body(self, head: Request) -> bool:
        """Whether this is a form with the older signature, or one that names its action itself."""
        return (
            head.method == "POST"
            and _is_form(head)
            and not (head.header("x-tc-action") and _signs_in_head(head))
        )

    def match(self, request: Request) -> Match:
        if request.path != "/":
            raise UnknownOperation(f"{request.method} {request.path}", name=request.path)
        if request.method not in ("GET", "HEAD", "POST"):
            raise UnknownOperation(request.method, what="protocol", name=request.method)
        action = _common(request, "Action")
        # Clients may write the first letter small; the SDK for Python makes it a capital [client].
        op = action[:1].upper() + action[1:]
        if op not in parameters.ACTIONS:
            raise UnknownOperation(action, what="action", name=action)
        version = _common(request, "Version")
        if version != VERSION:
            raise UnknownOperation(version, what="version", name=version)
        return Match(op, {})

    def read_request(self, op: str, params: Mapping[str, str], request: Request) -> Command:
        said, text = _parameters(request)
        values = parameters.read_action(op, said, text=text)
        if op == "DescribeAigcTaskList":
            return scenarios.read_asked(values)
        return commands.read_command(op, values)

    def write_request(self, command: Command) -> Request:
        action, body = commands.write_command(command)
        return json_request("POST", "/", body).with_headers(
            ("x-tc-action", action), ("x-tc-version", VERSION)
        )

    # ------------------------------------------------------------------------------------ reply

    def write_reply(self, op: str, reply: Reply, context: Context) -> Response:
        match reply:
            case Task():
                return _answer(_TASKS.get(op, _created)(reply), context)
            case Page():
                return _answer(_PAGES.get(op, tasks.write_list)(reply), context)
            case TemplatePage():
                return _answer(templates.write_page(reply), context)
            case _:
                raise TypeError(f"{op} does not answer {type(reply).__name__}")

    def read_reply(self, command: Command, response: Response) -> Reply:
        data = faults.open_answer(response)
        match command:
            case Submit():
                return Task(id=data.text("TaskId"), status=Status.QUEUED, submit=command)
            # What is told shows which action told it.
            case Fetch() if data.has("TaskStatus"):
                return scenarios.read_status(data, command)
            case Fetch() if data.has(workflows.WORKFLOW):
                return workflows.read_detail(data, command)
            case Fetch(id=id, kind=kind):
                query = query_of(id, kind)
                read = tasks.read_detail if query == "DescribeImageTaskDetail" else tasks.read_aigc
                return read(data, command)
            case Cancel(id=id, kind=kind):
                status = Status.CANCELED  # the answer says no more than that it was heeded
                return Task(id=id, status=status, submit=Submit(kind=kind or Kind.IMAGE))
            case List() if data.has("Tasks"):
                return scenarios.read_page(data, command)
            case List() if any(one.has("TaskType") for one in data.objects("TaskSet")):
                return workflows.read_page(data, command)
            case List():
                return tasks.read_page(data, command)
            case Templates():
                return templates.read_page(data)
            case _:
                raise Unsupported("Tencent has no such operation")

    # ------------------------------------------------------------------------------------ fault

    def write_fault(self, op: str | None, fault: Fault, context: Context) -> Response:
        ours = fault.parameter
        name = commands.LIST_NAMES.get(op or "", {}).get(ours or "", ours)
        error = faults.write(op, fault, name, chinese=_speaks_chinese(context.request))
        return _answer({"Error": error}, context, retry_after_header(fault))

    def parameter_name(self, op: str, name: str, submit: Submit) -> str:
        return commands.parameter_name(op, name, submit)

    # -------------------------------------------------------------------------------------- key

    def read_key(self, request: Request, now: int) -> Credential:
        authorization = request.header("authorization")
        if authorization is not None and _signs_in_head(request):
            return signature.read_tc3(request, authorization, now)
        if request.method == "POST" and _is_form(request):
            if _SIGNED.search(request.body):
                return signature.find_v1(request, _flat, now)
        elif _SIGNED.search(request.query.encode()):
            return signature.read_v1(request, _flat(request), now)
        if authorization is not None:  # SKIP among them, which the SDKs send unsigned [client]
            raise Unauthenticated(
                f"The Authorization header does not begin with {signature.TC3}", reason="malformed"
            )
        raise Unauthenticated(
            "Authorization: required", reason="missing", parameter="Authorization"
        )

    def write_key(self, request: Request, key: Key, now: int) -> Request:
        if request.header("host") is None:
            request = request.with_headers(("host", urlsplit(self.url).netloc))
        return signature.sign_tc3(request, key, now, SERVICE)


# What tells, before it is read, what a query string or a form has in it.
_ACTION = re.compile(r"(?:^|&)Action=")
_SIGNED = re.compile(rb"(?:^|&)(?:Signature|SecretId)=")
_CHINESE = re.compile(rb"(?:^|&)Language=zh-CN(?:&|\Z)")


def _signs_in_head(request: Request) -> bool:
    return (request.header("authorization") or "").startswith(signature.TC3)


def _is_form(request: Request) -> bool:
    content_type = request.header("content-type") or ""
    return content_type.partition(";")[0].strip().lower() == signature.FORM


def _flat(request: Request) -> dict[str, Any]:
    """The parameters of a query string or of an urlencoded form, by their flat names."""
    if request.method == "POST" and _is_form(request):
        return {part.name: part.text for part in request.form()}
    return dict(request.arguments()) if request.query else {}


def _common(request: Request, name: str) -> str:
    """A common parameter: from its header, or from among the others. Raises `MissingParameter`."""
    value = request.header(f"x-tc-{name.lower()}") or _flat(request).get(name)
    if not value:
        raise MissingParameter(f"{name}: required", parameter=name)
    return str(value).strip()


def _parameters(request: Request) -> tuple[Any, bool]:
    """The action's parameters, and whether they came as text."""
    content_type = (request.header("content-type") or "").lower()
    if request.method == "POST" and content_type.startswith("multipart/form-data"):
        flat = {part.name: _part_value(part) for part in request.form()}
    elif request.method == "POST" and not _is_form(request):
        return (request.json() if request.body.strip() else {}), False
    else:
        flat = _flat(request)
    own = {name: value for name, value in flat.items() if name not in parameters.COMMON}
    return parameters.unflatten(own), True


def _part_value(part: Part) -> Any:
    # The SDK for Python sends lists and objects as parts of JSON [client].
    if (part.media_type or "").startswith("application/json"):
        return read_json(part.data)
    return part.text


def _answer(
    data: dict[str, Any], context: Context, headers: tuple[tuple[str, str], ...] = ()
) -> Response:
    # Status and content type are exactly these: with others the SDKs see no error at all [client].
    data["RequestId"] = context.request_id
    trace = context.request.header("x-tc-traceid")  # the SDK for Node reads it back [client]
    if trace is not None and trace.isascii() and trace.isprintable():
        headers = (*headers, ("x-tc-traceid", trace))
    return json_response({"Response": data}, headers=headers)


def _speaks_chinese(request: Request) -> bool:
    if language := request.header("x-tc-language"):
        return language == "zh-CN"
    # Found, not read: a fault may be told of a form that nobody has a key for.
    said = request.body if _is_form(request) else request.query.encode()
    return _CHINESE.search(said) is not None


def _created(task: Task) -> dict[str, Any]:
    return {"TaskId": decorated(task)}


def _heeded(task: Task) -> dict[str, Any]:
    return {}


# What is answered with a task, and with a list, by the action; with its id where none is named.
_TASKS: Mapping[str, Callable[[Task], dict[str, Any]]] = {
    "DescribeImageTaskDetail": tasks.write_detail,
    "DescribeAigcImageTask": partial(tasks.write_aigc, "DescribeAigcImageTask"),
    "DescribeAigcVideoTask": partial(tasks.write_aigc, "DescribeAigcVideoTask"),
    "DescribeTaskDetail": workflows.write_detail,
    "DescribeAigcTaskStatus": scenarios.write_status,
    "DescribeAigcTaskList": scenarios.write_alone,
    "ManageTask": _heeded,
}
_PAGES: Mapping[str, Callable[[Page], dict[str, Any]]] = {
    "DescribeTasks": workflows.write_list,
    "DescribeAigcTaskList": scenarios.write_page,
}


DIALECTS = (Tencent(),)
