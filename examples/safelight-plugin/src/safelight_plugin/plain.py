"""The dialect `plain`: a small wire, all JSON, with two routes.

    POST /pictures        {"text": "navy, orange", "width": 640, "height": 480}   -> {"id", "state"}
    GET  /pictures/{id}   -> {"id", "state", "pictures": [address, ...], "problem": null or a text}

What Safelight asks for is `DIALECTS`. The tables are read in both directions, so the server and the
client cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Mapping

from safelight.errors import Fault, MissingParameter, Unsupported
from safelight.task import (
    Artifact,
    Command,
    Failure,
    FailureCode,
    Fetch,
    Kind,
    Reply,
    Status,
    Submit,
    Task,
)
from safelight.wire import (
    INTEGER,
    TEXT,
    Context,
    Dialect,
    Field,
    Fields,
    Reading,
    Request,
    Response,
    Route,
    States,
    build_task,
    deed,
    fault_of_status,
    json_request,
    json_response,
    refuse_demands,
    retry_after_header,
)

STATES = States(
    (Status.QUEUED, "waiting"),
    (Status.RUNNING, "drawing"),
    (Status.UPLOADING, "drawing"),
    (Status.SUCCEEDED, "done"),
    (Status.FAILED, "failed"),
    (Status.CANCELED, "failed"),
)
ASKED = Fields(
    Field("prompt", "text"),
    Field("model", "model"),
    Field("width", "width", INTEGER),
    Field("height", "height", INTEGER),
    Field("count", "count", INTEGER),
)
_MODEL = "gradient"  # where none is named
_SAID = frozenset({*(field.ours for field in ASKED.fields), "kind", "extra", "idempotency_key"})


class Plain(Dialect):
    name = "plain"
    title = "A plain wire"
    url = "https://plain.example"
    docs = "https://plain.example/docs"
    curl = (
        'curl {base}/pictures -H "Authorization: Bearer $SAFELIGHT_KEY" '
        '-d \'{"text": "navy, orange"}\''
    )
    key_variables = ("PLAIN_API_KEY",)
    prefixes = ("/pictures",)
    kinds = frozenset({Kind.IMAGE})
    routes = (
        Route("create", "POST", "/pictures"),
        Route("show", "GET", "/pictures/{id}"),
    )

    def read_request(self, op: str, params: Mapping[str, str], request: Request) -> Command:
        if op == "show":
            return Fetch(id=params["id"], kind=Kind.IMAGE)
        values = ASKED.read(Reading(request.json()))
        if not values.get("prompt"):
            raise MissingParameter("text: required", parameter="text")
        return Submit(**{"model": _MODEL, **values})

    def write_request(self, command: Command) -> Request:
        match command:
            case Submit():
                _refuse_unsaid(command)
                return json_request("POST", self.path("create"), ASKED.write(command))
            case Fetch(id=id) if command.kind is not Kind.VIDEO:
                return Request(method="GET", path=self.path("show", id=id))
            case _:
                raise Unsupported(f"plain has no way to {deed(command)}")

    def write_reply(self, op: str, reply: Reply, context: Context) -> Response:
        if not isinstance(reply, Task):
            raise TypeError(f"{op} does not answer {type(reply).__name__}")
        problem = reply.failure.message if reply.failure else None
        if reply.status is Status.CANCELED:
            problem = "The task was canceled"
        return json_response(
            {
                "id": reply.id,
                "state": STATES.write(reply.status),
                "pictures": [artifact.url for artifact in reply.artifacts if artifact.url],
                "problem": problem,
            }
        )

    def read_reply(self, command: Command, response: Response) -> Reply:
        said = Reading(response.json())
        if response.status != 200:
            raise fault_of_status(response.status, said.echo("problem", TEXT, ""), response)
        if isinstance(command, Submit):
            return Task(id=said.text("id"), status=Status.QUEUED, submit=command)
        if not isinstance(command, Fetch):
            raise Unsupported(f"plain has no way to {deed(command)}")
        status = STATES.read(said.text("state"))
        artifacts = tuple(Artifact(url=url) for url in said.texts("pictures", ()))
        values = {"id": said.text("id"), "artifacts": artifacts}
        if status is Status.FAILED:
            problem = said.echo("problem", TEXT) or "The task failed"
            values["failure"] = Failure(code=FailureCode.PROVIDER_ERROR, message=problem)
        return build_task(values, status=status, submit=Submit(kind=Kind.IMAGE))

    def write_fault(self, op: str | None, fault: Fault, context: Context) -> Response:
        return json_response(
            {"problem": fault.message, "parameter": fault.parameter},
            fault.status,
            headers=retry_after_header(fault),
        )

    def parameter_name(self, op: str, name: str, submit: Submit) -> str:
        return {field.ours: field.theirs for field in ASKED.fields}.get(name, name)


def _refuse_unsaid(submit: Submit) -> None:
    """Raise `Unsupported` for what has no word here, by its name: nothing asked is dropped."""
    refuse_demands(submit, "plain")
    if submit.kind is not Kind.IMAGE:
        raise Unsupported("plain makes pictures", parameter="kind")
    plain = Submit(model=submit.model)
    for name in submit.__struct_fields__:
        if name not in _SAID and getattr(submit, name) != getattr(plain, name):
            raise Unsupported(f"plain cannot say {name}", parameter=name)


DIALECTS = (Plain(),)
