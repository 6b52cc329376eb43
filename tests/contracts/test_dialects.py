"""What every wire format owes: both directions agree, nothing reads as success but success, and
whatever comes from outside raises nothing but `Malformed` or a `Fault`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from safelight import errors
from safelight.dialects import found, named
from safelight.dialects.tensorslab import IMAGE_MODELS, VIDEO_MODELS
from safelight.errors import (
    BadRequest,
    Conflict,
    Fault,
    Internal,
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
from safelight.sizes import pixels
from safelight.task import (
    Artifact,
    Balance,
    Cancel,
    Catalogue,
    Changed,
    Changes,
    Command,
    Confirm,
    Credits,
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
    Locate,
    Located,
    ModelCard,
    Models,
    Operation,
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
    Template,
    TemplatePage,
    Templates,
    Upload,
    Uploaded,
    bare_id,
    drop_data,
)
from safelight.wire import (
    Context,
    Credential,
    Dialect,
    Key,
    Part,
    Request,
    Response,
    json_response,
    write_form,
)

NOW = 1769774400000  # 2026-01-30 12:00:00 UTC
ID = "0190a1b2c3d4e5f60718293a"
KEY = Key(id="AKIDexample0123456789", secret="s3cr3t-0123456789")
PICTURE = "https://a.example/1.png"

wires = pytest.mark.parametrize("wire", found().values(), ids=list(found()))

# ---------------------------------------------------------------------------------- what is asked

# The models of a wire whose models are paths; elsewhere a name is a name.
MODELS: dict[str, dict[Kind, tuple[str, ...]]] = {
    "tensorslab": {Kind.IMAGE: IMAGE_MODELS[:-1], Kind.VIDEO: VIDEO_MODELS}  # but quickedit
}
ANY_MODEL = {Kind.IMAGE: ("sketch",), Kind.VIDEO: ("sketch-video",)}

FILES: tuple[Command, ...] = (
    Upload(name="a.png", folder="pictures", data=b"\x89PNG"),
    Upload(name="a.png", folder="pictures", url=PICTURE),
    Upload(name="a.png", folder="pictures", size=4),
    Confirm(id=ID),
    Locate(url=PICTURE),
    Balance(),
)


HEARING: tuple[Command, ...] = (
    FetchMany(ids=(ID,)),
    Changes(limit=7),
    Changes(since=(7, ID)),
    Events(id=ID, after=3),
    Retry(id=ID),
    Retry(id=ID, same_seed=True, words={"prompt": "b", "labels": ("mine",)}),
    Models(name="sketch", editing=None),
    List(
        statuses=frozenset({Status.FAILED, Status.CANCELED}),
        model="sketch",
        dialect="kie",
        parent=ID,
        labels=("mine", "a=b&c"),
        metadata={"order": "17"},
        since=NOW - 1,
        until=NOW,
        ended_since=NOW - 1,
        counted=False,
    ),
    List(by_change=True, counted=False),
)


def submits(wire: Dialect) -> list[Submit]:
    """What may be asked for, in one wire or another."""
    models = MODELS.get(wire.name, ANY_MODEL)
    image, video = models[Kind.IMAGE][0], models[Kind.VIDEO][0]
    first = Source(role=Role.FIRST_FRAME, url=PICTURE)
    return [
        Submit(model=image, prompt="a bridge, 橋"),
        Submit(model=image, prompt="a", count=2, ratio="16:9", seed=7),
        Submit(model=image, prompt="a", sources=(Source(url=PICTURE),)),
        Submit(model=image, prompt="a", sources=(Source(data=b"\x89PNG", name="a.png"),)),
        Submit(kind=Kind.VIDEO, model=video, prompt="a", ratio="16:9", resolution="720p"),
        Submit(kind=Kind.VIDEO, model=video, prompt="a", duration=5, sources=(first,)),
        Submit(
            operations=(Operation(name="encode", options={"format": "PNG"}),),
            sources=(Source(url=PICTURE),),
        ),
    ]


@cache
def commands(wire: Dialect) -> list[Command]:
    """Commands of every sort, as far as this wire can say them."""
    others: list[Command] = [
        *(Fetch(id=ID, kind=kind) for kind in sorted(wire.kinds)),
        *(Delete(ids=(ID,), kind=kind) for kind in sorted(wire.kinds)),
        *(Models(kind=kind) for kind in sorted(wire.kinds)),
        Models(kind=Kind.IMAGE, editing=True),
        Cancel(id=ID),
        *HEARING,
        List(),
        List(kind=Kind.VIDEO),
        List(kind=Kind.IMAGE, statuses=frozenset({Status.QUEUED})),
        *FILES,
        Templates(numbers=(7,), name="a", preset=False, by_number=True, offset=2),
    ]
    return [command for command in (*submits(wire), *others) if can_say(wire, command)]


def can_say(wire: Dialect, command: Command) -> bool:
    try:
        wire.write_request(command)
    except (Unsupported, UnknownModel):
        return False
    return True


def submits_of(wire: Dialect) -> list[Submit]:
    return [command for command in commands(wire) if isinstance(command, Submit)]


# ----------------------------------------------------------------------------- a server in a line


def serve(wire: Dialect, request: Request, reply: Reply) -> Response:
    match = wire.match(request)
    wire.read_request(match.op, match.params, request)
    return wire.write_reply(match.op, reply, context(request))


def context(request: Request) -> Context:
    return Context(request=request, request_id="a-request", now=NOW)


def converse(wire: Dialect, command: Command, answer: Callable[[Request], Response]) -> Reply:
    call = wire.call(command)
    request = next(call)
    while True:
        try:
            request = call.send(answer(request))
        except StopIteration as end:
            reply: Reply = end.value
            return reply


def cross(wire: Dialect, command: Command, reply: Reply) -> Reply:
    """`reply` as the client has it that asked `command` of a server."""
    return converse(wire, command, lambda request: serve(wire, request, reply))


def read(wire: Dialect, request: Request) -> Command:
    match = wire.match(request)
    return wire.read_request(match.op, match.params, request)


def task_of(status: Status, submit: Submit, wire: Dialect) -> Task:
    """A task as the server has it when an answer is written."""
    made = status is Status.SUCCEEDED
    address = f"https://files.example/1.{'mp4' if submit.kind is Kind.VIDEO else 'png'}"
    media_type = "video/mp4" if submit.kind is Kind.VIDEO else "image/png"
    artifact = Artifact(url=address, media_type=media_type, size=9, width=640, height=480)
    sources = tuple(
        msgspec.structs.replace(source, data=None, url=source.url or PICTURE)
        for source in submit.sources
    )
    return Task(
        id=ID,
        status=status,
        submit=msgspec.structs.replace(submit, sources=sources),
        dialect=wire.name,
        seed=7,
        progress=100 if made else 40,
        failure=Failure(code=FailureCode.TIMEOUT, message="It took too long.")
        if status is Status.FAILED
        else None,
        artifacts=(artifact,) if made else (),
        created=NOW - 9000,
        started=None if status is Status.QUEUED else NOW - 8000,
        finished=NOW if status in (Status.SUCCEEDED, Status.FAILED, Status.CANCELED) else None,
        updated=NOW,
    )


def fetch_of(wire: Dialect, submit: Submit) -> Fetch:
    """The query of a task, by the id that its creation was answered with."""
    created = cross(wire, submit, task_of(Status.QUEUED, submit, wire))
    assert isinstance(created, Task)
    return Fetch(id=created.id, kind=submit.kind)


# ------------------------------------------------------------------------------------------- data


@wires
def test_a_wire_says_what_it_is(wire: Dialect) -> None:
    assert named(wire.name) is wire
    assert wire.title
    assert wire.polls_per_second > 0
    assert wire.kinds
    for address in filter(None, (wire.url, wire.docs)):
        assert urlsplit(address).scheme == "https"
    assert wire.docs
    assert bool(wire.url) is (wire.name != "safelight")  # which is wherever anybody runs it
    assert all(name == name.lower() for name in wire.idempotency_headers)


@wires
def test_the_tests_run_without_its_keys(wire: Dialect, plain_environment: tuple[str, ...]) -> None:
    assert wire.key_variables
    assert all(name.startswith(plain_environment) for name in wire.key_variables)


@wires
def test_its_routes_lie_under_its_prefixes(wire: Dialect) -> None:
    assert wire.prefixes
    for route in wire.routes:
        below = [p for p in wire.prefixes if route.path.startswith(f"{p.rstrip('/')}/")]
        assert below or route.path in wire.prefixes
        assert wire.route(route.op) == route


def test_no_two_wires_that_are_served_answer_for_one_path() -> None:
    prefixes = [prefix for wire in found().values() if wire.served for prefix in wire.prefixes]

    assert len(set(prefixes)) == len(prefixes)


def test_a_wire_that_is_not_there_is_not_found() -> None:
    with pytest.raises(LookupError, match=r"no dialect 'moon'; there are .*tensorslab"):
        named("moon")


# --------------------------------------------------------------------------------------- statuses


@wires
@pytest.mark.parametrize("status", Status)
def test_every_status_crosses(wire: Dialect, status: Status) -> None:
    assert {submit.kind for submit in submits_of(wire)} == wire.kinds
    for submit in submits_of(wire):
        task = task_of(status, submit, wire)

        heard = cross(wire, fetch_of(wire, submit), task)

        assert isinstance(heard, Task)
        assert bare_id(heard.id) == ID
        assert heard.kind is submit.kind
        assert (heard.status is Status.SUCCEEDED) is (status is Status.SUCCEEDED)
        assert heard.ended is task.ended
        assert heard.status_word is None
        assert [one.url for one in heard.artifacts] == [one.url for one in task.artifacts]
        if status is Status.FAILED:
            assert heard.failure is not None
            assert heard.failure.message
        if status is Status.SUCCEEDED:
            assert heard.failure is None


@wires
@pytest.mark.parametrize("status", Status)
def test_an_answer_can_be_written_of_any_task(wire: Dialect, status: Status) -> None:
    """A task with nothing but what every task has; one from another wire; one with every word."""
    extra: dict[str, Any] = {name: [{"a": None}] for name in ("body", "input", "param", "category")}
    bare = [Submit(kind=kind) for kind in Kind]
    full = [
        Submit(
            kind=kind,
            model="of another wire",
            prompt="a",
            negative="b",
            sources=tuple(Source(role=role, blob="sources/1") for role in Role),
            count=3,
            width=33,
            height=77,
            ratio="auto",
            resolution="8K",
            seed=2**63 - 1,
            format="bmp",
            quality="best",
            duration=4.5,
            fps=30,
            audio=True,
            operations=(Operation(name="nothing that exists", options={"a": [1]}),),
            extra={**extra, **{name: extra for name in found()}},
        )
        for kind in Kind
    ]
    for submit in (*bare, *full):
        for route in wire.routes:
            task = Task(id=ID, status=status, submit=submit, dialect="of another wire")
            request = Request(method=route.method, path=route.path)
            try:
                response = wire.write_reply(route.op, task, context(request))
            except TypeError as mistake:
                assert "does not answer Task" in str(mistake)
            else:
                assert isinstance(response.json(), dict)


@wires
def test_a_fresh_task_is_told_with_an_id_that_can_be_asked_for(wire: Dialect) -> None:
    for submit in submits_of(wire):
        created = cross(wire, submit, task_of(Status.QUEUED, submit, wire))

        assert isinstance(created, Task)
        assert bare_id(created.id) == ID
        assert not created.ended
        assert created.submit == submit
        asked = read(wire, wire.write_request(Fetch(id=created.id, kind=submit.kind)))
        assert isinstance(asked, Fetch)
        assert bare_id(asked.id) == ID


@wires
def test_the_other_replies_cross(wire: Dialect) -> None:
    card = ModelCard(name="sketch", kind=Kind.IMAGE, max_sources=2)
    film = ModelCard(name="sketch-video", kind=Kind.VIDEO, max_sources=1)
    replies: dict[type, Any] = {
        Delete: Deleted(ids=(ID,)),
        Models: Catalogue(models=(card, film)),
        Templates: TemplatePage(templates=(Template(number=7, name="a"),), total=3),
        Cancel: Task(id=ID, status=Status.CANCELED),
        Retry: Task(id=ID, status=Status.QUEUED),
        FetchMany: Several(tasks=(Task(id=ID, status=Status.QUEUED),), missing=("x",)),
        Changes: Changed(tasks=(Task(id=ID, status=Status.QUEUED),), after=(7, ID), more=True),
        Events: History(
            events=(
                TaskEvent(number=1, at=NOW, what="queued"),
                TaskEvent(number=2, at=NOW, what="log", attempt=1, note="a line"),
            ),
            last=2,
        ),
        Locate: Located(url=PICTURE),
        Balance: Credits(left=60.5),
    }
    for command in commands(wire):
        if isinstance(command, List):
            heard = cross(wire, command, pages(wire, command))
            assert isinstance(heard, Page)
            assert [bare_id(task.id) for task in heard.tasks] == [ID]
            assert not heard.tasks[0].ended
        elif isinstance(command, Upload | Confirm):
            kept = Uploaded(id=ID, name="a.png", url=PICTURE, upload_url=PICTURE, size=4)
            heard = cross(wire, command, kept)
            assert isinstance(heard, Uploaded)
            assert (heard.name or "a.png", heard.url) == (kept.name, kept.url)
        elif type(command) in replies:
            heard = cross(wire, command, replies[type(command)])
            assert type(heard) is type(replies[type(command)])
            check_heard(command, heard, replies[type(command)])
            if isinstance(heard, Catalogue):
                assert isinstance(command, Models)
                kinds = [command.kind] if command.kind else [card.kind, film.kind]
                assert [model.kind for model in heard.models] == kinds


def check_heard(command: Command, heard: Reply, told: Reply) -> None:
    if isinstance(heard, Deleted):
        assert heard.ids == (ID,)
    if isinstance(heard, TemplatePage | History):
        assert heard == told
    if isinstance(heard, Several | Changed):
        assert [task.id for task in heard.tasks] == [ID]
    if isinstance(heard, Several):
        assert heard.missing == ("x",)
    if isinstance(heard, Changed):
        assert heard.more
        assert heard.cursor


def pages(wire: Dialect, asked: List) -> Page:
    submit = next(one for one in submits_of(wire) if asked.kind in (None, one.kind))
    return Page(tasks=(task_of(Status.QUEUED, submit, wire),), total=1)


# ----------------------------------------------------------------------------------------- faults


def tree(fault: type[Fault]) -> Iterator[type[Fault]]:
    yield fault
    for child in fault.__subclasses__():
        yield from tree(child)


FAULTS = [fault for fault in tree(Fault) if fault.__module__ == errors.__name__]
# A fault for which a wire has no word of its own is heard as one of these, or as a parent of it.
NEAREST: dict[type[Fault], tuple[type[Fault], ...]] = {
    Unsupported: (BadRequest,),
    UnknownOperation: (NotFound,),
    Conflict: (BadRequest,),
    TooLarge: (BadRequest,),
    UnknownModel: (BadRequest,),
    Fault: (Internal,),
    errors.Upstream: (Internal, Unavailable),
    errors.Unreachable: (Internal, Unavailable),
    errors.SubmissionUnknown: (Internal, Unavailable),
    errors.StillRunning: (Internal, Unavailable),
}


@wires
@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_crosses(wire: Dialect, fault: type[Fault]) -> None:
    for command in commands(wire):
        for told in (fault(), fault("It rains.")):
            with pytest.raises(Fault) as raised:
                converse(wire, command, partial(refuse, wire, told))

            heard = type(raised.value)
            allowed = (*fault.__mro__[: fault.__mro__.index(Fault)], *NEAREST.get(fault, ()))
            assert heard in allowed, (command, told)
            assert raised.value.message


def refuse(wire: Dialect, fault: Fault, request: Request) -> Response:
    return wire.write_fault(wire.match(request).op, fault, context(request))


@wires
def test_a_limit_says_when_to_come_back(wire: Dialect) -> None:
    for command in commands(wire):
        fault = RateLimited(retry_after=6.5, limit=10, used=11, window=60)
        with pytest.raises(RateLimited) as raised:
            converse(wire, command, partial(refuse, wire, fault))

        assert raised.value.retry_after == 7


@wires
@pytest.mark.parametrize("path", ["", "no-such-route", "%ff/..", "a" * 3000])
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "nonsense"])
def test_an_unknown_route_is_told_in_the_wire_s_own_words(
    wire: Dialect, method: str, path: str
) -> None:
    for prefix in set(wire.prefixes) - {route.path for route in wire.routes if path == ""} | {"/"}:
        request = Request(method=method, path=f"{prefix.rstrip('/')}/{path}")
        with pytest.raises(Fault) as raised:
            wire.match(request)
        if request.path != "/":
            assert isinstance(raised.value, UnknownOperation)

        response = wire.write_fault(None, raised.value, context(request))

        media_type = (response.header("content-type") or "").partition(";")[0]
        assert media_type in ("application/json", "application/problem+json")
        usual = wire.write_fault(wire.routes[0].op, Internal(), context(request))
        assert set(response.json()) == set(usual.json())
        with pytest.raises(Fault):
            wire.read_reply(Fetch(id=ID, kind=Kind.IMAGE), response)


# ------------------------------------------------------------------------------------------- keys

SECRETS = st.text("abcXYZ0189-_.~+/=", min_size=16, max_size=64)


@given(secret=SECRETS, other=SECRETS)
@wires
def test_a_key_is_known_by_its_secret_alone(wire: Dialect, secret: str, other: str) -> None:
    assume(secret != other)
    for command in commands(wire):
        key = Key(id="AKID" + "x" * 32, secret=secret)
        request = wire.write_key(wire.write_request(command), key, NOW)

        credential = wire.read_key(request, NOW)

        assert accepts(credential, key, request)
        assert not accepts(credential, Key(id=key.id, secret=other), request)
        assert read(wire, request) == read(wire, wire.write_request(command))


def accepts(credential: Credential, key: Key, request: Request) -> bool:
    """What the server does with a credential."""
    if credential.check is None:
        assert credential.secret is not None
        return credential.secret == key.secret
    assert credential.id == key.id
    try:
        credential.check(key.secret, request)
    except Unauthenticated as refused:
        assert key.secret not in refused.message
        return False
    return True


@wires
def test_a_request_is_judged_by_its_head(wire: Dialect) -> None:
    """Nothing of a body is received before it is known who sends it, and for what."""
    for command in commands(wire):
        request = wire.write_key(wire.write_request(command), KEY, NOW)
        head = msgspec.structs.replace(request, body=b"")

        assert not wire.told_in_body(head)
        assert wire.match(head) == wire.match(request)
        assert accepts(wire.read_key(head, NOW), KEY, request)


@wires
def test_only_what_carries_files_may_be_large(wire: Dialect) -> None:
    for command in commands(wire):
        match = wire.match(wire.write_request(command))
        carries = isinstance(command, Submit) and any(
            source.data is not None for source in command.sources
        )
        carries = carries or (isinstance(command, Upload) and command.data is not None)
        assert match.files or not carries
        assert isinstance(command, Submit) or carries or not match.files


@wires
def test_a_request_without_a_key_is_not_authenticated(wire: Dialect) -> None:
    for command in commands(wire):
        with pytest.raises(Unauthenticated):
            wire.read_key(wire.write_request(command), NOW)


HEADERS = ("authorization", "x-api-key", "x-tc-timestamp", "content-type", "x-tc-action", "host")
TEXTS = st.text(st.characters(codec="latin-1"), max_size=40)


@given(data=st.data())
@wires
def test_arbitrary_headers_are_read_or_refused(wire: Dialect, data: st.DataObject) -> None:
    for command in commands(wire)[:4]:
        request = wire.write_key(wire.write_request(command), KEY, NOW)
        name = data.draw(st.sampled_from(HEADERS))
        value = request.header(name) or ""
        at = data.draw(st.integers(0, len(value)))
        noise = data.draw(TEXTS)
        changed = data.draw(st.sampled_from([noise, value[:at], value[:at] + noise + value[at:]]))

        survives(wire, request.with_headers((name, changed)))


@given(data=st.data())
@wires
def test_no_secret_is_told_back(wire: Dialect, data: st.DataObject) -> None:
    command = data.draw(st.sampled_from(commands(wire)))
    name = data.draw(st.sampled_from(HEADERS[:2]))
    value = data.draw(st.sampled_from(["{}", "Bearer {}", "TC3-HMAC-SHA256 {}", "Basic {}"]))
    request = wire.write_request(command).with_headers((name, value.format(KEY.secret)))

    for fault in refusals(wire, request):
        told = wire.write_fault(None, fault, context(request))
        assert KEY.secret not in str(fault)
        assert KEY.secret.encode() not in told.body


def refusals(wire: Dialect, request: Request) -> Iterator[Fault]:
    for attempt in (
        lambda: wire.match(request),
        lambda: wire.read_key(request, NOW),
        lambda: read(wire, request),
    ):
        try:
            attempt()
        except Fault as fault:
            yield fault
        except Malformed as malformed:
            yield malformed.as_fault()


# ------------------------------------------------------------------------------- commands, crossing

SIZES = st.sampled_from([None, 64, 512, 1024, 2048])
FEW_TEXTS = st.sampled_from(["a", "a bridge, 橋", ' "quoted" \\ & <b> ', "line\nline", "a" * 900])


@st.composite
def a_submit(draw: st.DrawFn, wire: Dialect) -> Submit:
    kind = draw(st.sampled_from(sorted(wire.kinds)))
    film = kind is Kind.VIDEO
    models = MODELS.get(wire.name, ANY_MODEL)[kind]
    side = draw(SIZES)
    roles = [Role.FIRST_FRAME, Role.LAST_FRAME] if film else [Role.IMAGE, Role.IMAGE]
    return Submit(
        kind=kind,
        model=draw(st.sampled_from(models)),
        prompt=draw(FEW_TEXTS),
        negative=draw(rarely(FEW_TEXTS)),
        sources=tuple(
            draw(a_source(role, address))
            for role, address in zip(roles, ADDRESSES, strict=True)
            if draw(st.booleans())
        ),
        count=draw(st.sampled_from([1, 1, 2, 4])),
        width=side,
        height=side,
        ratio=draw(rarely(st.sampled_from(["16:9", "1:1", "9:16", "auto"]))),
        resolution=draw(rarely(st.sampled_from(["2K", "720p", "1080p"]))),
        seed=draw(rarely(st.integers(0, 2**31 - 1))),
        format=draw(rarely(st.sampled_from(["png", "jpeg", "webp"]))),
        quality=draw(rarely(st.sampled_from(["high", "low"]))),
        duration=draw(rarely(st.sampled_from([5, 10]))) if film else None,
        fps=draw(rarely(st.sampled_from([24, 30]))) if film else None,
        audio=draw(rarely(st.booleans())) if film else None,
    )


def rarely(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 4).flatmap(lambda drawn: st.none() if drawn else values)


ADDRESSES = (PICTURE, "https://b.example/2.png?a=1,2&b=%C3%A9")


def a_source(role: Role, url: str) -> st.SearchStrategy[Source]:
    address = st.just(Source(role=role, url=url))
    file = st.builds(Source, role=st.just(role), data=st.binary(min_size=1, max_size=40))
    return address | address | file


WORDS = (
    *("kind", "model", "prompt", "negative", "count", "seed", "format", "quality", "duration"),
    *("fps", "audio", "operations"),
)


@given(data=st.data())
@wires
def test_a_submit_is_read_as_it_was_said(wire: Dialect, data: st.DataObject) -> None:
    asked = data.draw(a_submit(wire))
    try:
        request = wire.write_request(asked)
    except Unsupported:
        return

    heard = read(wire, request)

    assert isinstance(heard, Submit)
    for word in WORDS:
        if getattr(asked, word) is not None:
            assert getattr(heard, word) == getattr(asked, word), word
    assert [(one.role, one.url, one.data) for one in heard.sources] == [
        (one.role, one.url, one.data) for one in asked.sources
    ]
    if asked.width or (asked.ratio and asked.ratio != "auto"):
        wanted = pixels(asked)
        if asked.kind is Kind.IMAGE or asked.width or asked.resolution:
            assert pixels(heard) == wanted
        else:  # a wire may have a resolution of its own for films
            assert heard.ratio == asked.ratio


@given(data=st.data())
@wires
def test_what_was_read_is_said_again_in_the_same_words(wire: Dialect, data: st.DataObject) -> None:
    asked = data.draw(a_submit(wire))
    if not can_say(wire, asked):
        return
    heard = read(wire, wire.write_request(asked))

    assert isinstance(heard, Submit)
    again = read(wire, wire.write_request(heard))

    assert isinstance(again, Submit)
    assert msgspec.structs.replace(again, extra=heard.extra) == heard


@wires
def test_every_other_command_is_read_as_it_was_said(wire: Dialect) -> None:
    for command in commands(wire):
        heard = read(wire, wire.write_request(command))

        assert type(heard) is type(command)
        if isinstance(heard, Fetch | Cancel):
            assert bare_id(heard.id) == ID
        if not isinstance(heard, Submit | Fetch | Cancel):
            assert heard == command


@wires
def test_every_route_is_asked_by_some_command(wire: Dialect) -> None:
    asked = {wire.match(wire.write_request(command)).op for command in commands(wire)}
    asked |= {f"images.{model}" for model in IMAGE_MODELS}
    asked |= {f"video.{model}" for model in VIDEO_MODELS}
    # Our client submits and then asks, and never waits for one answer: these are for others.
    asked |= {route.op for route in wire.routes if route.waits}
    asked |= {"upload.base64", "credits"}  # other words for the same: we say it in one way
    asked |= {"DescribeAigcImageTask", "DescribeAigcTaskStatus"}  # by the id alone
    # What Tencent's clients ask of us, and where the service knows none of the tasks that ours ask.
    asked |= {"DescribeTaskDetail", "DescribeTasks", "DescribeAigcTaskList"}

    assert {route.op for route in wire.routes} <= asked


@wires
def test_what_no_wire_says_is_refused(wire: Dialect) -> None:
    unsaid = [command for command in commands_of_every_sort() if not can_say(wire, command)]

    for command in unsaid:
        with pytest.raises(Unsupported):
            wire.write_request(command)
        with pytest.raises((Malformed, Fault)):
            wire.read_reply(command, json_response({"code": 0, "msg": "OK", "data": {}}))


def commands_of_every_sort() -> list[Command]:
    hearing = [command for command in HEARING if not isinstance(command, List | Models)]
    more: list[Command] = [Delete(ids=(ID,)), Cancel(id=ID), List(), Models(), Templates()]
    return [*more, *hearing, *FILES]


@wires
def test_a_seed_of_minus_one_is_any_seed(wire: Dialect) -> None:
    asked = 0
    for submit in submits_of(wire):
        seeded = msgspec.structs.replace(submit, seed=-1)
        if can_say(wire, seeded):
            asked += 1
            heard = read(wire, wire.write_request(seeded))
            assert isinstance(heard, Submit)
            assert heard.seed is None
    assert asked


# ------------------------------------------------------------------------------------------ fuzzing

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9)
    | st.sampled_from(["", " ", "0", "-1", "1e999", "²", "auto", "16:9", "data:", "https://", ID]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)


def survives(wire: Dialect, request: Request) -> Command | None:
    """The command in `request`, if any; what is no command is refused in words that cross."""
    command = None
    for fault in refusals(wire, request):
        assert isinstance(wire.write_fault(None, fault, context(request)).json(), dict)
    try:
        credential = wire.read_key(request, NOW)
        if credential.check is not None:
            credential.check(KEY.secret, request)
    except (Malformed, Fault):
        pass
    try:
        command = read(wire, request)
    except (Malformed, Fault):
        return None
    if isinstance(command, Submit):
        can_be_kept_and_told(wire, command)
    return command


def can_be_kept_and_told(wire: Dialect, submit: Submit) -> None:
    """What was accepted is stored as JSON and told in every later answer: neither may fail."""
    kept = drop_data(submit)
    assert msgspec.json.decode(msgspec.json.encode(kept), type=Submit) == kept
    for status in (Status.QUEUED, Status.SUCCEEDED, Status.FAILED):
        task = task_of(status, kept, wire)
        heard = cross(wire, fetch_of_kept(wire, task), task)
        assert isinstance(heard, Task)
        assert (heard.status is Status.SUCCEEDED) is (status is Status.SUCCEEDED)


def fetch_of_kept(wire: Dialect, task: Task) -> Fetch:
    """As `fetch_of`, for a task that perhaps only another client could have asked for."""
    op = next(
        wire.match(wire.write_request(submit)).op
        for submit in submits_of(wire)
        if submit.kind is task.kind
    )
    response = wire.write_reply(op, task, context(Request(method="POST", path="/")))
    created = wire.read_reply(Submit(kind=task.kind), response)
    assert isinstance(created, Task)
    return Fetch(id=created.id, kind=task.kind)


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    changed = dict(value) if isinstance(value, dict) else list(value)
    changed[path[0]] = replaced(value[path[0]], path[1:], new)
    return changed


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for name, inner in items:
        yield from places(inner, (*path, name))


def bodied(request: Request, body: bytes) -> Request:
    return msgspec.structs.replace(request, body=body)


# What tells of a task that it has succeeded, and where its result is: with nonsense in the place of
# these an answer is nonsense. Everything else that it says is an echo.
ESSENTIAL = {
    "tensorslab": {"code", "data", "image_status", "task_status", "url"},
    "aigptimage": {"code", "data", "state", "resultJson"},
    "kie": {"code", "data", "state", "resultJson"},
    "aitoearn": {"code", "data", "status", "images", "videoUrl", "coverUrl"},
    "safelight": {"id", "status", "outputs", "url"},
    "tencent": {
        *("Response", "Status", "ImageUrls", "VideoUrls", "ImageProcessTaskResultSet"),
        *("ErrMsg", "ErrCode"),
    },
}
STRANGE: tuple[Any, ...] = (
    "24",
    "45%",
    "2026-01-30T12:00:00+02:00",
    "x",
    "",
    24,
    0.5,
    True,
    [],
    {},
)


@wires
@pytest.mark.parametrize("new", STRANGE, ids=repr)
def test_no_finished_task_is_lost_to_a_strange_echo(wire: Dialect, new: Any) -> None:
    for submit in submits_of(wire):
        fetch = fetch_of(wire, submit)
        task = task_of(Status.SUCCEEDED, submit, wire)
        response = serve(wire, wire.write_request(fetch), task)
        body = response.json()
        for place in places(body):
            if place and place[-1] not in ESSENTIAL[wire.name] and not inside(wire, place):
                changed = replaced(body, place, new)
                heard = wire.read_reply(fetch, json_response(changed, response.status))
                assert isinstance(heard, Task), place
                assert heard.status is Status.SUCCEEDED, place
                assert [one.url for one in heard.artifacts] == [task.artifacts[0].url], place


def inside(wire: Dialect, place: tuple[Any, ...]) -> bool:
    """Whether a place is part of what says where the result is."""
    results = {"url", "outputs", "images", "ImageUrls", "VideoUrls", "ImageProcessTaskResultSet"}
    return bool(results & {name for name in place[:-1] if isinstance(name, str)})


@given(data=st.data(), value=JSON)
@wires
def test_a_wrong_value_anywhere_in_a_request_is_refused_or_read(
    wire: Dialect, data: st.DataObject, value: Any
) -> None:
    for command in commands(wire):
        request = wire.write_request(command)
        if request.body[:1] == b"{":
            said = request.json()
            changed = replaced(said, data.draw(st.sampled_from(list(places(said)))), value)
            survives(wire, bodied(request, msgspec.json.encode(changed)))
        elif request.body:
            survives(wire, with_part(request, data, value))
        else:
            survives(wire, with_argument(request, data, value))


def with_part(request: Request, data: st.DataObject, value: Any) -> Request:
    parts = list(request.form())
    at = data.draw(st.integers(0, len(parts) - 1))
    text = value if isinstance(value, str) else json.dumps(value)
    filename = data.draw(st.none() | st.text(max_size=5))
    parts[at] = Part(name=parts[at].name, data=text.encode(), filename=filename)
    content_type, body = write_form(parts)
    return bodied(request.with_headers(("content-type", content_type)), body)


def with_argument(request: Request, data: st.DataObject, value: Any) -> Request:
    text = value if isinstance(value, str) else json.dumps(value)
    query = data.draw(
        st.sampled_from([text, f"{request.query}&{text}", f"taskId={text}", "page=x"])
    )
    return msgspec.structs.replace(request, query=query)


@given(value=JSON | st.dictionaries(st.sampled_from(["model", "input", "prompt", "taskid"]), JSON))
@wires
def test_arbitrary_json_is_refused_or_read(wire: Dialect, value: Any) -> None:
    for command in commands(wire):
        request = wire.write_request(command).with_headers(("content-type", "application/json"))
        survives(wire, bodied(request, msgspec.json.encode(value)))


@given(body=st.binary(max_size=100), at=st.integers(0, 200))
@wires
def test_arbitrary_bytes_are_refused_or_read(wire: Dialect, body: bytes, at: int) -> None:
    for command in commands(wire):
        request = wire.write_request(command)
        survives(wire, bodied(request, body))
        survives(wire, bodied(request, request.body[:at] + body + request.body[at:]))


@given(path=st.text(max_size=20), method=st.sampled_from(["GET", "POST", "PUT", "", "get"]))
@wires
def test_arbitrary_paths_are_refused_or_read(wire: Dialect, path: str, method: str) -> None:
    for prefix in wire.prefixes:
        survives(wire, Request(method=method, path=f"{prefix}{path}"))
    for route in wire.routes:
        survives(wire, Request(method=route.method, path=f"{route.path}{path}"))
        if "{" in route.path:
            filled = f"{route.path.partition('{')[0]}{path}"
            survives(wire, Request(method=route.method, path=filled))


@wires
@pytest.mark.parametrize("depth", [50, 400, 950, 5000, 100_000])
def test_deep_nesting_is_refused_or_read(wire: Dialect, depth: int) -> None:
    deep = b'{"a":' * depth + b"1" + b"}" * depth
    for command in commands(wire):
        request = wire.write_request(command)
        survives(wire, bodied(request, deep))
        survives(wire, bodied(request, b"[" * depth))
        if request.body[:1] == b"{":
            survives(wire, bodied(request, b'{"deep":' + deep + b"," + request.body[1:]))
            for name in request.json():
                said = request.json() | {name: "\0deep"}
                body = msgspec.json.encode(said).replace(b'"\\u0000deep"', deep)
                survives(wire, bodied(request, body))


@given(data=st.data(), value=JSON)
@wires
def test_a_wrong_value_anywhere_in_an_answer_is_malformed_or_read(
    wire: Dialect, data: st.DataObject, value: Any
) -> None:
    for submit in submits_of(wire):
        status = data.draw(st.sampled_from(Status))
        task = task_of(status, submit, wire)
        for command in (submit, fetch_of(wire, submit)):
            said = serve(wire, wire.write_request(command), task)
            path = data.draw(st.sampled_from(list(places(said.json()))))
            changed = replaced(said.json(), path, value)
            heard = hears(wire, command, json_response(changed, said.status))
            if status not in (Status.SUCCEEDED,) and isinstance(heard, Task):
                assert heard.status is not Status.SUCCEEDED


@given(value=JSON, status=st.sampled_from([200, 201, 302, 400, 404, 429, 500, 599]))
@wires
def test_an_arbitrary_answer_is_malformed_or_read(wire: Dialect, value: Any, status: int) -> None:
    for command in (*commands(wire), *commands_of_every_sort()):
        hears(wire, command, json_response(value, status))
        for name in ("code", "data", "Response", "msg"):
            hears(wire, command, json_response({"code": 0, name: value}, status))


@given(body=st.binary(max_size=60), status=st.sampled_from([200, 204, 301, 401, 429, 502]))
@wires
def test_arbitrary_bytes_for_an_answer_are_malformed(
    wire: Dialect, body: bytes, status: int
) -> None:
    for command in commands(wire):
        headers = (("retry-after", body.decode("latin-1")),)
        hears(wire, command, Response(status=status, headers=headers, body=body))


def hears(wire: Dialect, command: Command, response: Response) -> Reply | None:
    try:
        heard = wire.read_reply(command, response)
    except (Malformed, Fault):
        return None
    assert type(heard) in (
        Task, Page, Deleted, Catalogue, TemplatePage, Several, Changed, History
    )  # fmt: skip
    return heard


@wires
@pytest.mark.parametrize("status", [200, 204, 302, 400, 401, 404, 500, 503])
@pytest.mark.parametrize("body", [b"", b"<html>Bad Gateway</html>", b"null", b"[]", b"{}", b"0"])
def test_an_answer_that_is_not_the_service_s_is_no_success(
    wire: Dialect, status: int, body: bytes
) -> None:
    for command in commands(wire):
        with pytest.raises((Malformed, Fault)):
            wire.read_reply(command, Response(status=status, body=body))


# The names under which the wires tell how a task is.
STATUS_NAMES = frozenset({"image_status", "task_status", "state", "status", "Status"})


@wires
@pytest.mark.parametrize(
    "strange", ["EXPLODED", "Succeeded?", 4711, -1, True, 1.5, ["x"], {"a": 1}]
)
def test_an_unknown_word_for_a_status_reads_as_still_running(wire: Dialect, strange: Any) -> None:
    for submit in submits_of(wire):
        command = fetch_of(wire, submit)
        done = serve(wire, wire.write_request(command), task_of(Status.SUCCEEDED, submit, wire))
        words = [path for path in places(done.json()) if path and path[-1] in STATUS_NAMES]
        assert words
        for path in words:
            heard = hears(wire, command, json_response(replaced(done.json(), path, strange)))
            if heard is not None:
                assert isinstance(heard, Task)
                assert not heard.ended
