"""Safelight's own wire: every word in both directions, and what it refuses by which name."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from safelight.dialects import named
from safelight.dialects.safelight import task_object
from safelight.dialects.safelight.document import OPERATIONS, write_document
from safelight.dialects.safelight.reading import read_asked, read_said, read_time, write_time
from safelight.dialects.safelight.records import Output, TaskRequest, TaskSaid
from safelight.dialects.safelight.schemas import input_schema
from safelight.dialects.safelight.submits import parameter_name
from safelight.errors import (
    BadRequest,
    Conflict,
    Fault,
    Internal,
    InvalidValue,
    Malformed,
    NotFound,
    RateLimited,
    StillRunning,
    Unauthenticated,
    Unavailable,
    UnknownOperation,
    UnknownParameter,
    Unsupported,
)
from safelight.task import (
    Artifact,
    Balance,
    Callback,
    Cancel,
    Catalogue,
    Changed,
    Changes,
    Command,
    Delete,
    Deleted,
    Events,
    Failure,
    FailureCode,
    Fetch,
    FetchMany,
    History,
    Kind,
    List,
    ModelCard,
    Models,
    Operation,
    Outlook,
    Page,
    Reply,
    Retry,
    Role,
    Several,
    Source,
    Status,
    Submit,
    Task,
    TaskEvent,
    Upload,
    Uploaded,
)
from safelight.wire import Context, Part, Request, Response, Route, json_request, write_form
from wire_cases import request_of

WIRE = named("safelight")
API = "/api/safelight/v1"
ID = "0190a1b2c3d4e5f60718293a"
NOW = 1769774400000
PICTURE = "https://a.example/1.png"

ASKED = Submit(
    kind=Kind.VIDEO,
    model="sketch-video",
    prompt="a lighthouse",
    negative="fog",
    sources=(
        Source(role=Role.FIRST_FRAME, url=PICTURE),
        Source(role=Role.MASK, data=b"\x89PNG", name="mask.png"),
    ),
    count=2,
    width=64,
    height=32,
    seed=7,
    format="webp",
    quality="high",
    duration=2.5,
    fps=24,
    audio=True,
    operations=(Operation(name="encode", options={"format": "PNG", "deep": [{"a": 1}]}),),
    labels=("mine",),
    metadata={"order": "17"},
    start_within=5.0,
    cancel_after=60.0,
    priority=3,
    callback=Callback(url="https://a.example/hook", events=("task.ended",), secret="s" * 24),
)
TASK = Task(
    id=ID,
    status=Status.SUCCEEDED,
    submit=msgspec.structs.replace(
        ASKED, sources=(Source(role=Role.MASK, url=PICTURE),), callback=None,
        start_within=None, cancel_after=None, parent="1" * 24,
    ),
    revision=5,
    dialect="safelight",
    seed=7,
    attempt=1,
    progress=100,
    artifacts=(Artifact(url=PICTURE, media_type="image/png", size=9, width=64, height=32),),
    created=NOW - 9000,
    started=NOW - 8000,
    finished=NOW,
    updated=NOW,
)  # fmt: skip


def context(request: Request | None = None, **more: Any) -> Context:
    asked = request or Request(method="GET", path=f"{API}/tasks")
    return Context(request=asked, request_id="a-request", now=NOW, **more)


def read(request: Request) -> Command:
    match = WIRE.match(request)
    return WIRE.read_request(match.op, match.params, request)


def tell(command: Command, reply: Reply, **more: Any) -> Response:
    request = WIRE.write_request(command)
    return WIRE.write_reply(WIRE.match(request).op, reply, context(request, **more))


def refused(request: Request) -> tuple[type, str | None]:
    """How a request is refused, and by which name."""
    with pytest.raises((Malformed, BadRequest)) as refusal:
        read(request)
    problem = refusal.value
    if isinstance(problem, Malformed):
        problem = problem.as_fault()
    assert isinstance(problem, BadRequest)
    return type(problem), problem.parameter


# ------------------------------------------------------------------------------- what is asked

COMMANDS: list[Command] = [
    ASKED,
    Submit(prompt="a", ratio="16:9", resolution="2K"),
    Submit(sources=(Source(data=b"a"),)),
    Fetch(id=ID),
    FetchMany(ids=(ID, "x")),
    Changes(limit=7),
    Changes(since=(7, ID)),
    Events(id=ID, after=3),
    Retry(id=ID),
    Retry(id=ID, same_seed=True, words={"model": "m", "prompt": "b", "priority": 2}),
    Retry(id=ID, words={"seed": 5}),
    Cancel(id=ID, again=True),
    Delete(ids=(ID,), kind=Kind.IMAGE, force=False),
    Delete(ids=(ID,)),
    List(),
    List(
        kind=Kind.IMAGE, statuses=frozenset({Status.FAILED, Status.QUEUED}), model="m",
        dialect="kie", parent=ID, labels=("a", "b"), metadata={"x": "1", "y": "2"},
        since=NOW - 5, until=NOW, ended_since=1, limit=200, counted=False,
    ),
    List(by_change=True),
    List(before=ID),
    Models(),
    Models(kind=Kind.VIDEO, editing=True),
    Models(editing=None),
    Models(name="a/b", editing=None),
    Upload(name="a.png", folder="pictures", data=b"a"),
    Upload(data=b"a"),
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
def test_what_is_said_is_read(command: Command) -> None:
    request = WIRE.write_request(command)

    assert WIRE.claims(request)
    assert read(request) == command


UNSAID: list[Command] = [
    Submit(prompt="a", demands={"LogoAdd": 1}),
    Submit(prompt="a", named=True),
    Submit(prompt="a", parent=ID),
    Submit(prompt="a", sources=(Source(blob="x"),)),
    Submit(prompt="a", callback=Callback(url=PICTURE, format="kie")),
    List(offset=3),
    Retry(id=ID, words={"sources": ()}),
    Balance(),
    Upload(url=PICTURE),
]


@pytest.mark.parametrize("command", UNSAID, ids=str)
def test_what_it_has_no_words_for_is_refused(command: Command) -> None:
    with pytest.raises(Unsupported):
        WIRE.write_request(command)


def test_what_the_client_never_asks_is_no_answer() -> None:
    with pytest.raises(Unsupported):
        WIRE.read_reply(Balance(), Response(body=b"{}"))


def test_a_data_uri_and_any_seed_are_read() -> None:
    uri = "data:image/png;base64," + base64.b64encode(b"\x89PNG").decode()
    body = {"input": {"prompt": "a", "seed": -1, "sources": [{"url": uri}]}}

    asked = read(json_request("POST", f"{API}/tasks", body))

    assert isinstance(asked, Submit)
    assert asked.seed is None
    assert asked.sources == (Source(data=b"\x89PNG", media_type="image/png"),)


def test_a_retry_says_a_size_in_one_way() -> None:
    path = f"{API}/tasks/{ID}/retry"

    asked = read(json_request("POST", path, {"seed": "new", "input": {"ratio": "16:9"}}))

    sizes = {"ratio": "16:9", "width": None, "height": None, "resolution": None}
    assert asked == Retry(id=ID, words=sizes)
    again = read(WIRE.write_request(asked))
    assert again == asked
    assert read(Request(method="POST", path=path)) == Retry(id=ID)


DEEP: Any = 1
for _ in range(70):
    DEEP = [DEEP]
BODIES: list[tuple[Any, str | None]] = [
    ([], None),
    ({"colour": 1}, "colour"),
    ({"input": {"colour": 1}}, "input.colour"),
    ({"input": {"sources": [{"url": 1}]}}, "input.sources.0.url"),
    ({"input": {"sources": [{}]}}, "input.sources.0"),
    ({"input": {"sources": [{"url": PICTURE, "part": "a"}]}}, "input.sources.0"),
    ({"input": {"sources": [{"part": "a"}]}}, "input.sources.0.part"),
    ({"input": {"operations": [{}]}}, "input.operations.0.name"),
    (
        {"input": {"operations": [{"name": "a", "options": {"a": DEEP}}]}},
        "input.operations.0.options",
    ),
    ({"input": {"height": 3, "prompt": "a"}}, "input.width"),
    ({"metadata": {"a" * 65: "b"}}, "metadata"),
    ({"callback": {"url": "a"}}, "callback.url"),
    ({}, "input.prompt"),
]


@pytest.mark.parametrize(("body", "parameter"), BODIES)
def test_what_is_wrong_in_a_body_is_named(body: Any, parameter: str | None) -> None:
    assert refused(json_request("POST", f"{API}/tasks", body))[1] == parameter


FORMS = [
    ([["task", "{}"], ["task", "{}"]], "task"),
    ([["a", "b"]], "task"),
    ([["task", '{"input": {"prompt": "a"}}'], ["a", "b"]], "a"),
]


@pytest.mark.parametrize(("form", "parameter"), FORMS)
def test_what_is_wrong_in_a_form_is_named(form: Any, parameter: str) -> None:
    request = request_of({"method": "POST", "path": f"{API}/tasks", "form": form})

    assert refused(request)[1] == parameter


def upload(form: Any) -> Request:
    return request_of({"method": "POST", "path": f"{API}/uploads", "form": form})


def test_a_file_is_sent_plainly_or_in_a_form() -> None:
    plain = Request(method="POST", path=f"{API}/uploads", query="name=a", body=b"a")

    assert read(plain) == Upload(name="a", data=b"a")
    assert refused(msgspec.structs.replace(plain, body=b""))[1] is None
    assert refused(msgspec.structs.replace(plain, query="colour=a"))[1] == "colour"
    assert refused(upload([["folder", "a"]]))[1] == "file"
    assert refused(upload([["file", "a"], ["colour", "a"]]))[1] == "colour"
    assert refused(upload([["file", ""]]))[1] == "file"


def forged(*said: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(said).encode()).decode().rstrip("=")


QUERIES = [
    ("colour=1", "colour", UnknownParameter),
    ("limit=x", "limit", BadRequest),
    ("limit=201", "limit", BadRequest),
    ("limit=1&limit=1", "limit", BadRequest),
    ("kind=sound", "kind", BadRequest),
    ("count=1", "count", BadRequest),
    ("parent=x", "parent", BadRequest),
    ("created_after=x", "created_after", BadRequest),
    ("model=" + "a" * 256, "model", BadRequest),
    ("label=", "label", BadRequest),
    ("&".join(["label=a", *(f"label=a{n}" for n in range(16))]), "label", BadRequest),
    ("metadata.=1", "metadata.", BadRequest),
    ("metadata.a=" + "a" * 513, "metadata.a", BadRequest),
    ("&".join(f"metadata.a{n}=1" for n in range(17)), "metadata", BadRequest),
    (f"before={ID}&cursor=x", "before", BadRequest),
    (f"before={ID}&order=changed", "before", BadRequest),
    ("before=x", "before", BadRequest),
    ("cursor=x", "cursor", BadRequest),
    ("cursor=" + "A" * 300, "cursor", BadRequest),
    ("cursor=" + "A" * 401, "cursor", BadRequest),
    (f"cursor={forged(2, 1, ID, '')}", "cursor", BadRequest),
    (f"cursor={forged(1, 1, ID, 'other')}", "cursor", BadRequest),
]


@pytest.mark.parametrize(("query", "parameter", "kind"), QUERIES)
def test_what_is_wrong_in_a_query_is_named(query: str, parameter: str, kind: type) -> None:
    found, name = refused(Request(method="GET", path=f"{API}/tasks", query=query))

    assert issubclass(found, kind)
    assert name == parameter


def test_a_query_of_too_many_parts_is_refused() -> None:
    query = "&".join("a=1" for _ in range(300))

    assert refused(Request(method="GET", path=f"{API}/tasks", query=query)) == (BadRequest, None)


@pytest.mark.parametrize("number", [-1, 2**63])
def test_a_cursor_that_leads_nowhere_is_refused(number: int) -> None:
    query = f"cursor={forged(1, number, ID, '')}"

    assert refused(Request(method="GET", path=f"{API}/changes", query=query))[1] == "cursor"


@pytest.mark.parametrize("asked", [List(labels=("a",), limit=1), List(by_change=True, limit=1)])
def test_a_page_says_where_to_go_on(asked: List) -> None:
    change = 9 if asked.by_change else None
    page = Page(tasks=(TASK,), total=3, following=ID, following_change=change)

    answer = tell(asked, page, base="http://here")
    heard = WIRE.read_reply(asked, answer)

    assert isinstance(heard, Page)
    assert heard.total == 3
    link = answer.header("link") or ""
    assert link.startswith(f"<http://here{API}/tasks?")
    assert f"cursor={heard.cursor}" in link
    following = read(WIRE.write_request(msgspec.structs.replace(asked, cursor=heard.cursor)))
    assert isinstance(following, List)
    assert (following.before, following.before_change) == (ID, change)


# ------------------------------------------------------------------------------- what is told


def test_a_task_crosses_whole() -> None:
    answer = tell(Fetch(id=ID), TASK, base="http://here", retention=1000)

    assert WIRE.read_reply(Fetch(id=ID), answer) == TASK
    assert answer.json()["expires_at"] == write_time(NOW + 1000)
    plain = msgspec.json.encode(task_object(TASK, "http://here", 1000))
    assert answer.json() == msgspec.json.decode(plain)
    assert answer.json()["urls"]["self"] == f"http://here{API}/tasks/{ID}"


def test_what_is_foreseen_crosses() -> None:
    outlook = Outlook(engine="sketch", ahead=2, end=NOW, progress=40, again=1.5)
    waiting = Task(id=ID, status=Status.QUEUED, outlook=outlook)

    heard = WIRE.read_reply(Fetch(id=ID), tell(Fetch(id=ID), waiting))

    assert isinstance(heard, Task)
    assert heard.outlook == outlook
    none = msgspec.structs.replace(waiting, outlook=Outlook())
    told = tell(Fetch(id=ID), none)
    assert "queue" not in told.json()


def test_a_failure_crosses() -> None:
    failure = Failure(code=FailureCode.TIMEOUT, message="Late.", provider_code="408")
    failed = Task(id=ID, status=Status.FAILED, failure=failure)

    heard = WIRE.read_reply(Fetch(id=ID), tell(Fetch(id=ID), failed))

    assert isinstance(heard, Task)
    assert heard.failure == failure


OTHERS: list[tuple[Command, Reply]] = [
    (FetchMany(ids=(ID, "x")), Several(tasks=(TASK,), missing=("x",))),
    (Events(id=ID), History(
        events=(TaskEvent(number=1, at=NOW, what="queued"),
                TaskEvent(number=2, at=NOW, what="log", attempt=1, note="a")), last=2)),
    (Models(kind=Kind.IMAGE), Catalogue(models=(ModelCard(name="a", kind=Kind.IMAGE),))),
    (Upload(data=b"a"), Uploaded(id=ID, name="a", url=PICTURE, size=1, expires=NOW)),
    (Delete(ids=(ID,)), Deleted(ids=(ID,))),
    (Retry(id=ID), TASK),
    (Cancel(id=ID), TASK),
]  # fmt: skip


@pytest.mark.parametrize(("command", "reply"), OTHERS, ids=lambda one: type(one).__name__)
def test_what_else_is_told_crosses(command: Command, reply: Reply) -> None:
    assert WIRE.read_reply(command, tell(command, reply)) == reply


def test_changes_say_where_to_go_on() -> None:
    heard = WIRE.read_reply(
        Changes(), tell(Changes(), Changed(tasks=(TASK,), after=(7, ID), more=True))
    )

    assert isinstance(heard, Changed)
    assert (heard.tasks, heard.more) == ((TASK,), True)
    assert read(WIRE.write_request(Changes(cursor=heard.cursor))) == Changes(since=(7, ID))


def test_a_new_task_says_where_it_is() -> None:
    answer = tell(ASKED, TASK)

    assert (answer.status, answer.header("location")) == (201, f"{API}/tasks/{ID}")
    heard = WIRE.read_reply(ASKED, answer)
    assert isinstance(heard, Task)
    assert heard.submit == ASKED


def test_nothing_answers_what_it_is_not() -> None:
    with pytest.raises(TypeError, match="get does not answer Page"):
        WIRE.write_reply("get", Page(tasks=(), total=0), context())


def changed(name: str, value: Any) -> Response:
    said = tell(Fetch(id=ID), TASK).json() | {name: value}
    return Response(body=msgspec.json.encode(said))


@pytest.mark.parametrize(
    ("name", "value"),
    [("created_at", "x"), ("created_at", 1), ("input", 1), ("kind", "sound"), ("labels", 1),
     ("input", {"sources": [1], "operations": [{"options": {}}]}), ("queue", 1)],
)  # fmt: skip
def test_a_strange_echo_loses_no_task(name: str, value: Any) -> None:
    heard = WIRE.read_reply(Fetch(id=ID, kind=Kind.VIDEO), changed(name, value))

    assert isinstance(heard, Task)
    assert heard.artifacts == TASK.artifacts


def test_a_strange_word_is_no_end() -> None:
    heard = WIRE.read_reply(Fetch(id=ID), changed("status", "done?"))

    assert isinstance(heard, Task)
    assert (heard.status, heard.status_word) == (Status.RUNNING, "done?")
    plain = WIRE.read_reply(Fetch(id=ID), changed("status", "failed"))
    assert isinstance(plain, Task)
    assert plain.failure == Failure(code=FailureCode.PROVIDER_ERROR, message="The task failed")


def test_an_answer_that_is_none_is_malformed() -> None:
    for command, body in (
        (List(), b"{}"),
        (Models(), b"{}"),
        (Models(), b'{"models": [{"name": "a"}]}'),
        (Delete(ids=(ID,)), b"{}"),
    ):
        with pytest.raises(Malformed):
            WIRE.read_reply(command, Response(body=body))
    strange = Response(body=b'{"last": 1, "events": [{"event": "status"}, {"revision": 1}]}')
    assert WIRE.read_reply(Events(id=ID), strange) == History(events=(), last=1)


def test_several_are_deleted_one_after_the_other() -> None:
    ids = (ID, "2" * 24, "3" * 24)
    call = WIRE.call(Delete(ids=ids))
    request = next(call)
    with pytest.raises(StopIteration) as end:
        while True:
            id = request.path.rpartition("/")[2]
            gone = Deleted(ids=() if id == ids[1] else (id,))
            request = call.send(WIRE.write_reply("delete", gone, context(request)))

    assert end.value.value == Deleted(ids=(ids[0], ids[2]))


def test_a_last_page_has_none_following() -> None:
    answer = tell(List(), Page(tasks=(TASK,), total=1))

    assert answer.json()["total"] == 1
    assert answer.header("link") is None
    heard = WIRE.read_reply(List(), answer)
    assert isinstance(heard, Page)
    assert heard.cursor is None


def test_what_is_asked_at_once_is_one_request() -> None:
    call = WIRE.call(FetchMany(ids=(ID,)))
    request = next(call)
    with pytest.raises(StopIteration) as end:
        call.send(WIRE.write_reply("query", Several(tasks=(TASK,)), context(request)))

    assert end.value.value == Several(tasks=(TASK,))


def test_a_wire_tells_nothing_unless_it_says_so() -> None:
    with pytest.raises(Unsupported, match="Safelight tells nothing"):
        WIRE.write_callback(TASK, "", context())


def test_many_are_asked_for_one_by_one_where_a_wire_knows_no_better() -> None:
    wire = named("tencent")
    call = wire.call(FetchMany(ids=(ID, "x")))
    request = next(call)
    task = Task(id=ID, status=Status.QUEUED)
    op = wire.match(request).op
    request = call.send(wire.write_reply(op, task, context(request)))
    with pytest.raises(StopIteration) as end:
        call.send(wire.write_fault(op, NotFound(), context(request)))

    assert end.value.value.missing == ("x",)


def test_what_is_listed_elsewhere_has_fewer_filters() -> None:
    for name in ("aitoearn", "tencent"):
        with pytest.raises(Unsupported, match="cannot list tasks by labels"):
            named(name).write_request(List(labels=("a",)))


def test_what_is_streamed_is_the_server_s() -> None:
    stream = (("accept", "text/event-stream"),)
    for path, headers, own in (
        (f"{API}/tasks/{ID}/events", (), True),
        (f"{API}/tasks/{ID}/events", stream, False),
        (f"{API}/tasks/{ID}/preview", (), False),
        (f"{API}/me", (), False),
        (f"{API}/changes", (), True),
    ):
        assert WIRE.claims(Request(method="GET", path=path, headers=headers)) is own


# ------------------------------------------------------------------------------------- problems

FAULTS: list[tuple[Fault, int, str]] = [
    (InvalidValue("no", parameter="input.a/b"), 400, "invalid_value"),
    (Unauthenticated(), 401, "unauthenticated"),
    (UnknownOperation(), 404, "unknown_operation"),
    (Conflict("no"), 409, "conflict"),
    (Conflict("no", parameter="Idempotency-Key"), 422, "conflict"),
    (RateLimited(retry_after=6.5), 429, "rate_limited"),
    (Internal(incident="ab"), 500, "internal"),
    (Unavailable(retry_after=2), 503, "unavailable"),
    (StillRunning(task_id=ID), 504, "still_running"),
]


@pytest.mark.parametrize(("fault", "status", "code"), FAULTS, ids=lambda one: str(one))
def test_a_fault_is_a_problem(fault: Fault, status: int, code: str) -> None:
    answer = WIRE.write_fault("create", fault, context())
    said = answer.json()

    assert answer.header("content-type") == "application/problem+json"
    assert (answer.status, said["status"], said["code"]) == (status, status, code)
    assert said["instance"] == "a-request"
    if isinstance(fault, InvalidValue):
        assert said["errors"] == [{"pointer": "#/input/a~1b", "detail": "no"}]
    else:
        assert "errors" not in said
    with pytest.raises(Fault) as heard:
        WIRE.read_reply(Fetch(id=ID), answer)
    known = not isinstance(fault, StillRunning)
    assert (type(heard.value) is type(fault)) is known
    if isinstance(fault, Internal):
        assert isinstance(heard.value, Internal)
        assert heard.value.incident == "ab"


def test_an_answer_of_a_proxy_is_a_fault() -> None:
    with pytest.raises(Unavailable):
        WIRE.read_reply(Fetch(id=ID), Response(status=502, body=b"<html>"))


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("model", "model"),
        ("width", "input.width"),
        ("sources.0", "input.sources.0.url"),
        ("sources.1", "input.sources.1"),
        ("sources.9", "input.sources.9"),
        ("encode.format", "input.operations.0.options.format"),
        ("Idempotency-Key", "Idempotency-Key"),
    ],
)
def test_parameters_are_called_as_the_caller_does(name: str, theirs: str) -> None:
    assert WIRE.parameter_name("create", name, ASKED) == theirs
    assert parameter_name(name, ASKED) == theirs


# -------------------------------------------------------------------------------------- reading


def test_times_are_read_with_or_without_a_zone() -> None:
    assert read_time("2026-01-30T12:00:00.5Z", "a") == NOW + 500
    assert read_time("2026-01-30 12:00", "a") == NOW
    assert read_time("2026-01-30T14:00:00+02:00", "a") == NOW
    assert write_time(NOW + 7) == "2026-01-30T12:00:00.007Z"


def test_a_record_is_read_strictly_or_as_far_as_it_goes() -> None:
    assert read_said(Output, 1) == {}
    assert read_said(Output, {"url": "a", "size": "b"}) == {"url": "a"}
    assert read_said(TaskSaid, {"id": None}) == {}
    with pytest.raises(Malformed, match=r"a\.b\.model: expected str, got int"):
        read_asked(TaskRequest, {"model": 1}, "a.b")


# ------------------------------------------------------------------------------------- documents


def test_a_schema_says_what_a_model_takes() -> None:
    film = ModelCard(
        name="a", kind=Kind.VIDEO, max_sources=2, needs_source=True, ratios=("16:9",),
        default_ratio="16:9", durations=(5,), default_duration=5,
    )  # fmt: skip
    schema = input_schema(film)

    assert schema["required"] == ["sources"]
    assert schema["properties"]["sources"]["minItems"] == 1
    assert schema["properties"]["ratio"]["examples"] == ["16:9"]
    assert schema["properties"]["duration"]["default"] == 5
    picture = input_schema(ModelCard(name="a", kind=Kind.IMAGE))
    assert picture["properties"]["sources"]["maxItems"] == 0
    assert "fps" not in picture["properties"]


def test_the_document_is_valid_and_has_every_route() -> None:
    more = Route("queue", "GET", f"{API}/queue", open=True)
    document = write_document((*WIRE.routes, more, Route("x", "GET", "/x")), "1")

    OpenAPIV31SpecValidator(document).validate()
    assert {route.op for route in WIRE.routes} <= OPERATIONS.keys()
    for route in WIRE.routes:
        assert route.method.lower() in document["paths"][route.path]
    assert document["paths"][more.path]["get"]["security"] == []
    assert "/x" not in document["paths"]


def test_a_part_of_a_form_is_a_source_once() -> None:
    task = {"input": {"sources": [{"part": "a"}, {"part": "a"}]}}
    form = [Part(name="task", data=msgspec.json.encode(task)), Part(name="a", data=b"a")]
    content_type, body = write_form(form)
    headers = (("content-type", content_type),)

    assert refused(Request(method="POST", path=f"{API}/tasks", headers=headers, body=body)) == (
        InvalidValue,
        "input.sources.1.part",
    )
