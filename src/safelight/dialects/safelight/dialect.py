"""Safelight's own wire, under /api/safelight/v1: every word of ours, and no other.

What is no task's there (the document, the queue, the key) the server answers itself: `claims` says
which paths are the dialect's. See docs/api.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from safelight.dialects.safelight.answers import (
    STATES,
    read_history,
    read_model,
    read_task,
    read_upload,
)
from safelight.dialects.safelight.cursors import write_cursor
from safelight.dialects.safelight.lists import (
    next_cursor,
    query_going_on,
    read_changes,
    read_list,
    write_changes,
    write_list,
)
from safelight.dialects.safelight.problems import read_problem, write_problem
from safelight.dialects.safelight.queries import Query, flag_text, query_text
from safelight.dialects.safelight.reading import read_asked
from safelight.dialects.safelight.records import (
    ChangeList,
    EventList,
    ManyRequest,
    ModelList,
    TaskList,
    TaskPage,
    TaskSaid,
)
from safelight.dialects.safelight.retries import read_retry, write_retry
from safelight.dialects.safelight.submits import TITLE, parameter_name, read_submit, write_submit
from safelight.dialects.safelight.uploads import read_upload_request, write_upload
from safelight.dialects.safelight.writing import (
    PREFIX,
    event_said,
    model_said,
    task_said,
    upload_said,
)
from safelight.errors import Fault, Malformed, NotFound, Unsupported
from safelight.task import (
    Cancel,
    Catalogue,
    Changed,
    Changes,
    Command,
    Delete,
    Deleted,
    Events,
    Fetch,
    FetchMany,
    History,
    Kind,
    List,
    Models,
    Page,
    Reply,
    Retry,
    Several,
    Submit,
    Task,
    Upload,
    Uploaded,
)
from safelight.wire import (
    FLAG,
    INTEGER,
    TEXT,
    TEXTS,
    Context,
    Dialect,
    Exchange,
    Reading,
    Request,
    Response,
    Route,
    States,
    deed,
    json_request,
)

_TASK = f"{PREFIX}/tasks/{{id}}"
_OWN = frozenset(
    {"tasks", "changes", "models", "uploads"}
)  # the first words of paths behind the prefix
_CREATING = frozenset({"create", "retry", "upload"})
_OF_TASKS = frozenset({"create", "get", "cancel", "retry"})
_FLAGS = {True: "true", False: "false"}
_MOST_NUMBER = 2**31 - 1
_STREAM = "text/event-stream"
_DELETED = "safelight-deleted"  # the header that says which task is gone


class Safelight(Dialect):
    name = "safelight"
    title = "Safelight"
    docs = "https://github.com/safelight/safelight/tree/main/docs/api.md"
    curl = (
        'curl {base}/api/safelight/v1/tasks -H "Authorization: Bearer $SAFELIGHT_KEY" '
        '-H "Content-Type: application/json" '
        '-d \'{"model": "sketch", "input": {"prompt": "a lighthouse at dusk"}}\''
    )
    key_variables = ("SAFELIGHT_KEY",)
    prefixes = (PREFIX,)
    states: Mapping[str, States] = {"tasks": STATES}
    polls_per_second = 10.0
    repeats_safely = True
    repeats_seconds = math.inf  # as long as the task is there
    uploads = True
    keeps_files = True
    fetches_many = True
    foretells = True
    routes = (
        Route("create", "POST", f"{PREFIX}/tasks", files=True),
        Route("list", "GET", f"{PREFIX}/tasks"),
        Route("query", "POST", f"{PREFIX}/tasks/query"),
        Route("get", "GET", _TASK),
        Route("delete", "DELETE", _TASK),
        Route("cancel", "POST", f"{_TASK}/cancel"),
        Route("retry", "POST", f"{_TASK}/retry"),
        Route("events", "GET", f"{_TASK}/events"),
        Route("changes", "GET", f"{PREFIX}/changes"),
        Route("models", "GET", f"{PREFIX}/models"),
        Route("model", "GET", f"{PREFIX}/models/{{name}}"),
        Route("upload", "POST", f"{PREFIX}/uploads", files=True),
    )

    def claims(self, request: Request) -> bool:
        word, _, rest = request.path.removeprefix(f"{PREFIX}/").partition("/")
        what = rest.partition("/")[2]
        streamed = what == "events" and _STREAM in (request.header("accept") or "")
        return word in _OWN and what != "preview" and not streamed

    # ---------------------------------------------------------------------------------- request

    def read_request(self, op: str, params: Mapping[str, str], request: Request) -> Command:
        return _READERS[op](params, request)

    def write_request(self, command: Command) -> Request:
        match command:
            case Submit():
                return write_submit(command, self.path("create"))
            case FetchMany(ids=ids):
                return json_request("POST", self.path("query"), ManyRequest(ids=ids))
            case Retry(id=id):
                return write_retry(command, self.path("retry", id=id))
            case Upload(data=bytes()):
                return write_upload(command, self.path("upload"))
            case Models(name=str(name)):
                return self._ask("model", name=name)
            case Delete(ids=ids):
                return self._ask("delete", _write_query(command), id=ids[0] if ids else "")
            case Fetch(id=id) | Cancel(id=id) | Events(id=id):
                return self._ask(_OPS[type(command)], _write_query(command), id=id)
            case Changes() | List() | Models():
                return self._ask(_OPS[type(command)], _write_query(command))
            case _:
                raise Unsupported(f"{TITLE} has no operation to {deed(command)}")

    def _ask(self, op: str, query: Mapping[str, Any] | None = None, **params: str) -> Request:
        method = self.route(op).method
        return Request(method=method, path=self.path(op, **params), query=query_text(query or {}))

    # ------------------------------------------------------------------------------------ reply

    def write_reply(self, op: str, reply: Reply, context: Context) -> Response:
        if isinstance(reply, Deleted) and op == "delete":
            return self._write_deleted(op, reply, context)
        said = _write_said(op, reply, context)
        head = [("content-type", "application/json"), ("x-request-id", context.request_id)]
        if op in _CREATING and isinstance(said, TaskSaid):
            head.append(("location", said.urls.self_))
        if isinstance(said, TaskPage) and said.next_cursor is not UNSET:
            own = f"{context.base}{self.path(op)}"
            query = query_going_on(context.request, str(said.next_cursor))
            head.append(("link", f'<{own}?{query}>; rel="next"'))
        return Response(
            status=201 if op in _CREATING else 200,
            headers=tuple(head),
            body=msgspec.json.encode(said),
        )

    def _write_deleted(self, op: str, reply: Deleted, context: Context) -> Response:
        if not reply.ids:
            return self.write_fault(op, NotFound(), context)
        # There is no body, and so the head says that it was done, and not only that all is well.
        said = (("x-request-id", context.request_id), (_DELETED, reply.ids[0]))
        return Response(status=204, headers=said)

    def read_reply(self, command: Command, response: Response) -> Reply:
        if not 200 <= response.status < 300:
            raise read_problem(response)
        if isinstance(command, Delete):
            id = response.header(_DELETED)
            if response.status != 204 or not id:
                raise Malformed("", f"status {response.status}, and not a word of a task")
            return Deleted(ids=(id,))
        said = Reading(response.json())
        match command:
            case Submit():
                task = read_task(said, command.kind)
                return msgspec.structs.replace(task, submit=command)
            case Fetch() | Cancel() | Retry():
                return read_task(said, getattr(command, "kind", None))
            case FetchMany() | Changes() | List():
                return _read_tasks(command, said)
            case Events():
                return read_history(said)
            case Models(kind=kind):
                _require(said, "models")
                found = tuple(map(read_model, said.objects("models")))
                return Catalogue(models=tuple(m for m in found if kind in (None, m.kind)))
            case Upload():
                return read_upload(said)
            case _:
                raise Unsupported(f"{TITLE} has no such operation")

    def call(self, command: Command) -> Exchange:
        if isinstance(command, Delete) and len(command.ids) != 1:
            return self._delete(command)
        return super().call(command)

    def _delete(self, command: Delete) -> Exchange:
        """Several are deleted one after the other; those that are not there are left out."""
        removed: list[str] = []
        for id in command.ids:
            one = msgspec.structs.replace(command, ids=(id,))
            response = yield self.write_request(one)
            try:
                reply = self.read_reply(one, response)
            except NotFound:
                continue
            assert isinstance(reply, Deleted)
            removed += reply.ids
        return Deleted(ids=tuple(removed))

    # ------------------------------------------------------------------------------------ fault

    def parameter_name(self, op: str, name: str, submit: Submit) -> str:
        return parameter_name(name, submit)

    def write_fault(self, op: str | None, fault: Fault, context: Context) -> Response:
        return write_problem(fault, context, of_body=op in ("create", "query", "retry"))


def _write_said(op: str, reply: Reply, context: Context) -> msgspec.Struct:
    """What answers operation `op`, as the wire's record."""

    def tasks(told: tuple[Task, ...]) -> tuple[TaskSaid, ...]:
        return tuple(task_said(task, context.base, context.retention) for task in told)

    match reply:
        case Task() if op in _OF_TASKS:
            return task_said(reply, context.base, context.retention)
        case Page() if op == "list":
            cursor = next_cursor(reply, context.request)
            total = reply.total if Query.of(context.request).flag("count") else UNSET
            return TaskPage(tasks=tasks(reply.tasks), next_cursor=cursor or UNSET, total=total)
        case Several() if op == "query":
            return TaskList(tasks=tasks(reply.tasks), missing=reply.missing)
        case Changed() if op == "changes":
            cursor = write_cursor(reply.after, reply.feed)
            return ChangeList(tasks=tasks(reply.tasks), cursor=cursor, more=reply.more)
        case History() if op == "events":
            return EventList(events=tuple(map(event_said, reply.events)), last=reply.last)
        case Catalogue() if op in ("models", "model"):
            return ModelList(models=tuple(map(model_said, reply.models)))
        case Uploaded() if op == "upload":
            return upload_said(reply)
        case _:
            raise TypeError(f"{op} does not answer {type(reply).__name__}")


def _require(said: Reading, name: str) -> None:
    if not said.has(name):
        raise Malformed(said.at(name), "required", "missing")


def _read_tasks(asked: FetchMany | Changes | List, said: Reading) -> Several | Changed | Page:
    _require(said, "tasks")
    kind = asked.kind if isinstance(asked, List) else None
    tasks = tuple(read_task(one, kind) for one in said.objects("tasks"))
    match asked:
        case FetchMany():
            return Several(tasks=tasks, missing=said.echo("missing", TEXTS, ()))
        case Changes():
            cursor, more = said.text("cursor"), said.echo("more", FLAG, False)
            return Changed(tasks=tasks, cursor=cursor, more=more)
        case _:
            total, cursor = said.echo("total", INTEGER, len(tasks)), said.echo("next_cursor", TEXT)
            return Page(tasks=tasks, total=total, cursor=cursor, limit=asked.limit)


# ----------------------------------------------------------------------------------- what is asked


def _read_delete(params: Mapping[str, str], query: Query) -> Delete:
    kind, force = query.word("kind", Kind), query.flag("force")
    return Delete(ids=(params["id"],), kind=kind, force=force)


def _read_events(params: Mapping[str, str], query: Query) -> Events:
    return Events(id=params["id"], after=query.number("after", 0, 0, _MOST_NUMBER))


def _read_models(params: Mapping[str, str], query: Query) -> Models:
    return Models(kind=query.word("kind", Kind), editing=query.choice("editing"))


def _of_query(
    read: Callable[[Mapping[str, str], Query], Command],
) -> Callable[[Mapping[str, str], Request], Command]:
    """A reader of all that a query string says, and of nothing that it does not define."""

    def read_all(params: Mapping[str, str], request: Request) -> Command:
        query = Query.of(request)
        command = read(params, query)
        query.end()
        return command

    return read_all


_READERS: Mapping[str, Callable[[Mapping[str, str], Request], Command]] = {
    "create": lambda params, request: read_submit(request),
    "list": lambda params, request: read_list(request),
    "query": lambda params, request: FetchMany(ids=read_asked(ManyRequest, request.json()).ids),
    "get": _of_query(lambda params, query: Fetch(id=params["id"])),
    "delete": _of_query(_read_delete),
    "cancel": _of_query(lambda params, query: Cancel(id=params["id"], again=True)),
    "retry": lambda params, request: read_retry(params["id"], request),
    "events": _of_query(_read_events),
    "changes": lambda params, request: read_changes(request),
    "models": _of_query(_read_models),
    "model": _of_query(lambda params, query: Models(name=params["name"], editing=None)),
    "upload": lambda params, request: read_upload_request(request),
}
_OPS: Mapping[type, str] = {
    Fetch: "get", Cancel: "cancel", Events: "events", Changes: "changes", List: "list",
    Models: "models",
}  # fmt: skip


def _write_query(command: Command) -> dict[str, Any]:
    """The query string of a command that is asked by nothing else."""
    match command:
        case Delete(kind=kind, force=force):
            return {"kind": kind, "force": flag_text(force)}
        case Events(after=after):
            return {"after": after}
        case Changes():
            return write_changes(command)
        case List():
            return write_list(command)
        case Models(kind=kind, editing=editing):
            return {"kind": kind, "editing": None if editing is None else _FLAGS[editing]}
        case _:
            return {}


DIALECTS = (Safelight(),)
