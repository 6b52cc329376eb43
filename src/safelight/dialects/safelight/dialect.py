"""Safelight's own wire, under /api/safelight/v1: every word of ours, and no other.

What is no task's there (the document, the queue, the key) the server answers itself: `claims` says
which paths are the dialect's. See docs/api.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from safelight.dialects.safelight.answers import STATES, read_model, read_task, read_upload
from safelight.dialects.safelight.lists import read_list, write_list
from safelight.dialects.safelight.problems import read_problem, write_problem
from safelight.dialects.safelight.queries import Query, flag_text
from safelight.dialects.safelight.records import ModelList, TaskPage
from safelight.dialects.safelight.submits import TITLE, parameter_name, read_submit, write_submit
from safelight.dialects.safelight.writing import PREFIX, model_said, task_said, upload_said
from safelight.errors import Fault, Malformed, NotFound, Unsupported
from safelight.task import (
    Cancel,
    Catalogue,
    Command,
    Delete,
    Deleted,
    Fetch,
    Kind,
    List,
    Models,
    Page,
    Reply,
    Submit,
    Task,
    Upload,
    Uploaded,
)
from safelight.wire import (
    TEXT,
    Context,
    Dialect,
    Exchange,
    Part,
    Reading,
    Request,
    Response,
    Route,
    States,
    deed,
    query_string,
    write_form,
)

_TASK = f"{PREFIX}/tasks/{{id}}"
_OWN = frozenset({"tasks", "models", "uploads"})  # the first words of paths behind the prefix
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
    uploads = True
    keeps_files = True
    foretells = True
    routes = (
        Route("create", "POST", f"{PREFIX}/tasks", files=True),
        Route("list", "GET", f"{PREFIX}/tasks"),
        Route("get", "GET", _TASK),
        Route("delete", "DELETE", _TASK),
        Route("cancel", "POST", f"{_TASK}/cancel"),
        Route("models", "GET", f"{PREFIX}/models"),
        Route("upload", "POST", f"{PREFIX}/uploads", files=True),
    )

    def claims(self, request: Request) -> bool:
        word, _, rest = request.path.removeprefix(f"{PREFIX}/").partition("/")
        return word in _OWN and not rest.endswith("/preview")

    # ---------------------------------------------------------------------------------- request

    def read_request(self, op: str, params: Mapping[str, str], request: Request) -> Command:
        match op:
            case "create":
                return read_submit(request)
            case "list":
                return read_list(request)
            case "upload":
                return _read_upload(request)
        query = Query.of(request)
        command: Command
        match op:
            case "get":
                command = Fetch(id=params["id"])
            case "cancel":
                command = Cancel(id=params["id"])
            case "delete":
                kind, force = query.word("kind", Kind), query.flag("force")
                command = Delete(ids=(params["id"],), kind=kind, force=force)
            case _:
                command = Models(kind=query.word("kind", Kind), editing=query.flag("editing"))
        query.end()
        return command

    def write_request(self, command: Command) -> Request:
        match command:
            case Submit():
                return write_submit(command, self.path("create"))
            case Fetch(id=id):
                return self._ask("get", id=id)
            case Cancel(id=id):
                return self._ask("cancel", id=id)
            case Delete(ids=ids, kind=kind, force=force):
                said = {"kind": kind, "force": flag_text(force)}
                return self._ask("delete", said, id=ids[0] if ids else "")
            case List():
                return self._ask("list", write_list(command))
            case Models(kind=kind, editing=editing):
                return self._ask("models", {"kind": kind, "editing": flag_text(editing)})
            case Upload(data=bytes()):
                return _write_upload(command, self.path("upload"))
            case _:
                raise Unsupported(f"{TITLE} has no operation to {deed(command)}")

    def _ask(self, op: str, query: Mapping[str, Any] | None = None, **params: str) -> Request:
        method = self.route(op).method
        return Request(method=method, path=self.path(op, **params), query=query_string(query or {}))

    # ------------------------------------------------------------------------------------ reply

    def write_reply(self, op: str, reply: Reply, context: Context) -> Response:
        said: Any
        headers: tuple[tuple[str, str], ...] = ()
        status = 200
        match reply:
            case Task() if op in ("create", "get", "cancel"):
                said = task_said(reply, context.base, context.retention)
                if op == "create":
                    status, headers = 201, (("location", said.urls.self_),)
            case Page() if op == "list":
                said = TaskPage(
                    tasks=tuple(
                        task_said(task, context.base, context.retention) for task in reply.tasks
                    ),
                    next_cursor=reply.following or UNSET,
                )
            case Deleted() if op == "delete":
                return self._write_deleted(op, reply, context)
            case Catalogue() if op == "models":
                said = ModelList(models=tuple(map(model_said, reply.models)))
            case Uploaded() if op == "upload":
                said, status = upload_said(reply), 201
            case _:
                raise TypeError(f"{op} does not answer {type(reply).__name__}")
        head = (("content-type", "application/json"), ("x-request-id", context.request_id))
        return Response(status=status, headers=(*head, *headers), body=msgspec.json.encode(said))

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
            case Fetch(kind=kind) | Cancel(kind=kind):
                return read_task(said, kind)
            case List():
                return _read_page(command, said)
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
        return write_problem(fault, context, of_body=op == "create")


def _require(said: Reading, name: str) -> None:
    if not said.has(name):
        raise Malformed(said.at(name), "required", "missing")


def _read_page(asked: List, said: Reading) -> Page:
    _require(said, "tasks")
    tasks = tuple(read_task(one, asked.kind) for one in said.objects("tasks"))
    following = said.echo("next_cursor", TEXT)
    return Page(tasks=tasks, total=len(tasks), following=following, limit=asked.limit)


def _read_upload(request: Request) -> Upload:
    """A file that is sent: as the body, or as the part `file` of a form. Raises `Malformed`."""
    media_type = (request.header("content-type") or "").partition(";")[0].strip().lower()
    if media_type != "multipart/form-data":
        query = Query.of(request)
        name, folder = query.text("name"), query.text("folder")
        query.end()
        return Upload(name=name, folder=folder, data=_not_empty(request.body, ""))
    parts = {part.name: part for part in request.form()}
    file, folder_part = parts.pop("file", None), parts.pop("folder", None)
    if file is None:
        raise Malformed("file", "required", "missing")
    if parts:
        raise Malformed(next(iter(parts)), "there is no such parameter", "unknown")
    return Upload(
        name=file.filename or None,
        folder=folder_part.text if folder_part is not None else None,
        data=_not_empty(file.data, "file"),
    )


def _not_empty(data: bytes, path: str) -> bytes:
    if not data:
        raise Malformed(path, "an empty file", "missing")
    return data


def _write_upload(upload: Upload, path: str) -> Request:
    parts = [Part(name="file", data=upload.data or b"", filename=upload.name or "")]
    if upload.folder is not None:
        parts.append(Part(name="folder", data=upload.folder.encode()))
    content_type, body = write_form(parts)
    headers = (("content-type", content_type),)
    return Request(method="POST", path=path, headers=headers, body=body)


DIALECTS = (Safelight(),)
