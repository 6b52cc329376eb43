"""The OpenAPI 3.1 document of Safelight's own wire, made from its records and its routes.

What an operation is asked and answers with stands in a table, beside the routes: a test holds that
there is a line for each route.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from safelight.dialects.safelight import records
from safelight.dialects.safelight.lists import CHANGES, LISTED, MOST_CHANGES, MOST_LISTED
from safelight.dialects.safelight.problems import MEDIA_TYPE
from safelight.task import Kind, Status
from safelight.wire import Route

_REFERENCE = "#/components/schemas/{name}"
_JSON, _FORM = "application/json", "multipart/form-data"
_PARAMETER = re.compile(r"\{(\w+)\}")


class Parameter(NamedTuple):
    """A parameter of a query string."""

    name: str
    schema: Mapping[str, Any]
    about: str = ""


class About(NamedTuple):
    """What an operation does, what it is asked with in its body, and what it answers with.

    `form` are the parts of a form that it may come as instead, or bytes where `raw`; `media` is
    what it may answer with beside JSON. Its answer `leads` to other operations, by the id in it.
    """

    summary: str
    answers: Any = None
    status: int = 200
    asks: Any = None
    query: Sequence[Parameter] = ()
    repeats: bool = False  # whether an idempotency key makes a repetition the same
    form: Mapping[str, Any] | None = None
    raw: bool = False
    needs_body: bool = True
    media: Mapping[str, Any] = {}
    leads: Sequence[str] = ()


_DONE = {"description": "It is done."}
_TEXT: Mapping[str, Any] = {"type": "string"}
_FLAG: Mapping[str, Any] = {"type": "boolean"}
_TIME: Mapping[str, Any] = {"type": "string", "format": "date-time"}
_KIND = Parameter("kind", {"type": "string", "enum": [*Kind]})
_CURSOR = Parameter("cursor", _TEXT, "Where to go on, as the answer before has said.")


def _limit(usual: int, most: int) -> Parameter:
    schema = {"type": "integer", "minimum": 1, "maximum": most, "default": usual}
    return Parameter("limit", schema)


_FILE: Mapping[str, Any] = {"type": "string", "contentMediaType": "application/octet-stream"}
_LIST = (
    Parameter(
        "status",
        {"type": "array", "items": {"type": "string", "enum": [*Status]}},
        "One of these; all where it is absent.",
    ),
    _KIND,
    Parameter("model", _TEXT),
    Parameter("dialect", _TEXT, "The wire format that the task was created in."),
    Parameter("label", {"type": "array", "items": _TEXT}, "All of these."),
    Parameter("parent", _TEXT, "The task that was retried."),
    Parameter("created_after", _TIME),
    Parameter("created_before", _TIME),
    Parameter("finished_after", _TIME),
    Parameter("order", {"type": "string", "enum": ["created", "changed"]}, "The last one first."),
    _limit(LISTED, MOST_LISTED),
    _CURSOR,
    Parameter("before", _TEXT, "Only tasks older than this one."),
    Parameter("count", _FLAG, "Whether to count how many there are in all."),
)
OPERATIONS: Mapping[str, About] = {
    "create": About(
        "Create a task",
        records.TaskSaid,
        201,
        asks=records.TaskRequest,
        repeats=True,
        form={
            "type": "object",
            "properties": {"task": _REFERENCE.format(name="TaskRequest")},
            "additionalProperties": _FILE,
            "required": ["task"],
        },
        leads=("get", "delete", "cancel", "retry", "events"),
    ),
    "list": About("List tasks. `metadata.NAME` filters by metadata", records.TaskPage, query=_LIST),
    "query": About("Ask for many tasks at once", records.TaskList, asks=records.ManyRequest),
    "get": About("Ask for a task", records.TaskSaid),
    "delete": About(
        "Delete a task and its files",
        None,
        204,
        query=(_KIND, Parameter("force", _FLAG, "Also where it is not at its end.")),
    ),
    "cancel": About("Cancel a task", records.TaskSaid),
    "retry": About(
        "Create a task as an earlier one",
        records.TaskSaid,
        201,
        asks=records.RetryRequest,
        repeats=True,
        needs_body=False,
    ),
    "events": About(
        "What happened to a task",
        records.EventList,
        query=(Parameter("after", {"type": "integer", "minimum": 0, "default": 0}),),
        media={"text/event-stream": _TEXT},
    ),
    "changes": About(
        "The tasks whose status has changed since",
        records.ChangeList,
        query=(_CURSOR, _limit(CHANGES, MOST_CHANGES)),
    ),
    "models": About(
        "The models",
        records.ModelList,
        query=(_KIND, Parameter("editing", _FLAG, "Those that take sources, or need none.")),
    ),
    "model": About("The model of a name, for each kind that it makes", records.ModelList),
    "upload": About(
        "Keep a file for a while, to be a source",
        records.UploadSaid,
        201,
        query=(Parameter("name", _TEXT), Parameter("folder", _TEXT)),
        form={
            "type": "object",
            "properties": {"file": _FILE, "folder": _TEXT},
            "required": ["file"],
        },
        raw=True,
    ),
    "me": About("Whose key this is", records.KeySaid),
    "queue": About("What waits and runs, by engine", records.QueueList),
}


def write_document(
    routes: Iterable[Route],
    version: str,
    server: str = "/",
    more: Mapping[str, About] = {},
) -> dict[str, Any]:
    """The document of the routes of which `OPERATIONS`, or what is `more`, says anything."""
    operations = {**OPERATIONS, **more}
    known = [(route, operations[route.op]) for route in routes if route.op in operations]
    types = {about.answers for _, about in known} | {about.asks for _, about in known}
    named = sorted({*types, records.Problem} - {None}, key=lambda kind: str(kind.__name__))
    _, schemas = msgspec.json.schema_components(named, ref_template=_REFERENCE)
    for schema in schemas.values():
        schema["description"] = inspect.cleandoc(schema.get("description", ""))
    paths: dict[str, dict[str, Any]] = {}
    for route, about in known:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, about)
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "Safelight",
            "version": version,
            "description": "Image and video tasks. Every answer that shows a task shows all of it.",
        },
        "servers": [{"url": server}],
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }
    made: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(document))  # JSON values alone
    return made


def _operation(route: Route, about: About) -> dict[str, Any]:
    said: dict[str, Any] = {
        "operationId": _name(route.op),
        "summary": about.summary,
        "parameters": _parameters(route, about),
        "responses": {
            str(about.status): _answer(about),
            "default": {
                "description": "It failed.",
                "content": {MEDIA_TYPE: {"schema": _reference(records.Problem)}},
            },
        },
    }
    if (body := _body(about)) is not None:
        said["requestBody"] = body
    if route.open:
        said["security"] = []
    return said


def _answer(about: About) -> dict[str, Any]:
    content = {media: {"schema": schema} for media, schema in about.media.items()}
    if about.answers is None:
        return {"description": about.summary, "content": content} if content else dict(_DONE)
    said = {
        "description": inspect.cleandoc(about.answers.__doc__ or "").splitlines()[0],
        "content": {_JSON: {"schema": _reference(about.answers)}, **content},
    }
    if about.leads:
        said["links"] = {_name(op): _lead(op) for op in about.leads}
    return said


def _lead(op: str) -> dict[str, Any]:
    """How an operation is asked of what an answer has told."""
    return {"operationId": _name(op), "parameters": {"id": "$response.body#/id"}}


def _name(op: str) -> str:
    return op.replace(".", "_")


def _body(about: About) -> dict[str, Any] | None:
    content: dict[str, Any] = {}
    if about.asks is not None:
        content[_JSON] = {"schema": _reference(about.asks)}
    if about.form is not None:
        content[_FORM] = {"schema": _form(about.form)}
    if about.raw:
        content["application/octet-stream"] = {"schema": _FILE}
    return {"required": about.needs_body, "content": content} if content else None


def _form(form: Mapping[str, Any]) -> dict[str, Any]:
    """A form, in which a part may be one of the records."""
    properties = {
        name: {"$ref": part} if isinstance(part, str) else part
        for name, part in form["properties"].items()
    }
    return {**form, "properties": properties}


def _parameters(route: Route, about: About) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": _TEXT}
        for name in _PARAMETER.findall(route.path)
    ]
    for name, schema, described in about.query:
        one: dict[str, Any] = {"name": name, "in": "query", "schema": schema}
        said.append({**one, "description": described} if described else one)
    if about.repeats:
        schema = {"type": "string", "minLength": 1, "maxLength": 255}
        sentence = "The same one with the same request is the same task."
        said.append(
            {"name": "Idempotency-Key", "in": "header", "schema": schema, "description": sentence}
        )
    return said


def _reference(record: Any) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(name=record.__name__)}
