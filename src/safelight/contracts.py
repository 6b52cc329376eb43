"""What every dialect and every engine owes, as checks that an author of one can call.

`check_dialect` and `check_engine` raise `Broken`, which says what is owed. They are for tests, and
need nothing but what the dialect or the engine itself does. Our own are held to more than this, in
`tests/contracts`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from safelight.dialects import problem_of
from safelight.engines import Engine, File, Job, Progress, Traits
from safelight.errors import (
    Conflict,
    Fault,
    Internal,
    InvalidValue,
    Malformed,
    NotFound,
    RateLimited,
    Unauthenticated,
    Unavailable,
    UnknownModel,
    UnknownOperation,
    Unsupported,
)
from safelight.media_types import media_type_of
from safelight.task import (
    Artifact,
    Cancel,
    Command,
    Delete,
    Failure,
    FailureCode,
    Fetch,
    Kind,
    List,
    Models,
    Reply,
    Source,
    Status,
    Submit,
    Task,
    bare_id,
)
from safelight.wire import Context, Credential, Dialect, Key, Request, Response

_NOW = 1_769_774_400_000  # 2026-01-30 12:00:00 UTC
_ID = "0190a1b2c3d4e5f60718293a"
_KEY = Key(id="AKIDexample0123456789", secret="s3cr3t-0123456789")  # noqa: S106
_LINK = "https://files.example/1.png"
_FAULTS = (
    *(InvalidValue, Unauthenticated, NotFound, UnknownOperation, Conflict, UnknownModel),
    *(RateLimited, Internal, Unavailable),
)
# What no service of the wire sends, and no client.
_GARBAGE = (
    *(b"", b"null", b"[]", b"{}", b"{", b"0", b"\xff\xfe", b"<html>Bad Gateway</html>"),
    *(b'{"a":' * 5000, b'{"id": {"a": []}, "data": 1, "state": [], "code": "x"}'),
)


class Broken(AssertionError):
    """A contract is broken; the message says what is owed."""


# ----------------------------------------------------------------------------------- a dialect


def check_dialect(dialect: Dialect, submits: Sequence[Submit] = ()) -> None:
    """Raise `Broken` unless both directions agree, and nothing is told of what is none.

    `submits` are tasks that it can say; without any, plain ones are tried.
    """
    _owe(problem_of(dialect, ()) is None, problem_of(dialect, ()) or "")
    _owe(dialect.title and dialect.key_variables, "it says its title, and where its key comes from")
    _owe(dialect.polls_per_second > 0 and dialect.kinds, "it says how often it is asked, and kinds")
    said = [submit for submit in submits or _plain_submits() if _can_say(dialect, submit)]
    _owe(said, "it can say a task")
    for submit in said:
        _check_task(dialect, submit)
        for command in (submit, _fetch(dialect, submit)):
            _check_key(dialect, command)
            _check_faults(dialect, command)
            _check_garbage(dialect, command)
    for other in (Delete(ids=(_ID,)), Cancel(id=_ID), List(), Models()):
        _can_say(dialect, other)
    _check_unknown_routes(dialect)


def _plain_submits() -> Iterator[Submit]:
    source = (Source(url="https://a.example/1.png"),)
    for kind, model in ((Kind.IMAGE, "sketch"), (Kind.VIDEO, "sketch-video")):
        yield Submit(kind=kind, model=model, prompt="a bridge, 橋")
        yield Submit(kind=kind, model=model, prompt="a", sources=source)


def _can_say(dialect: Dialect, command: Command) -> bool:
    with _only("what it has no words for is Unsupported", Malformed):
        try:
            dialect.write_request(command)
        except (Unsupported, UnknownModel):
            return False
    return True


def _check_task(dialect: Dialect, submit: Submit) -> None:
    """The task is read as it was asked for, and each of its statuses crosses."""
    request = dialect.write_request(submit)
    _owe(dialect.claims(request), "it claims what its own client sends")
    match = dialect.match(request)
    read = dialect.read_request(match.op, match.params, request)
    _owe(isinstance(read, Submit), "a submission is read as one")
    assert isinstance(read, Submit)
    _owe((read.kind, read.prompt) == (submit.kind, submit.prompt), "it is read as it was said")
    created = _cross(dialect, submit, _task(Status.QUEUED, read, dialect))
    _owe(isinstance(created, Task) and bare_id(created.id) == _ID, "a new task is told by its id")
    asked = _fetch(dialect, submit)
    for status in Status:
        task = _task(status, read, dialect)
        heard = _cross(dialect, asked, task)
        assert isinstance(heard, Task)
        success = (heard.status is Status.SUCCEEDED) == (status is Status.SUCCEEDED)
        _owe(success, f"success alone reads as success: {status}")
        _owe(heard.ended == task.ended, f"{status} is an end, or none, on both sides")
        links = [artifact.url for artifact in heard.artifacts]
        _owe(links == [artifact.url for artifact in task.artifacts], "the links of its files cross")
        if status is Status.FAILED:
            _owe(heard.failure and heard.failure.message, "a failed task says why")


def _check_key(dialect: Dialect, command: Command) -> None:
    """A request is judged by its head, and by the secret alone."""
    bare = dialect.write_request(command)
    request = dialect.write_key(bare, _KEY, _NOW)
    head = msgspec.structs.replace(request, body=b"")
    if not dialect.told_in_body(head):
        _owe(dialect.match(head) == dialect.match(request), "the head alone says what is asked")
        _owe(_accepts(dialect.read_key(head, _NOW), _KEY, request), "its key is accepted")
    other = Key(id=_KEY.id, secret="another")  # noqa: S106
    _owe(not _accepts(dialect.read_key(request, _NOW), other, request), "another key is refused")
    try:
        dialect.read_key(bare, _NOW)
    except Unauthenticated:
        return
    raise Broken("without a key a request is Unauthenticated")


def _accepts(credential: Credential, key: Key, request: Request) -> bool:
    if credential.check is None:
        return credential.secret == key.secret
    try:
        credential.check(key.secret, request)
    except Unauthenticated:
        return False
    return credential.id == key.id


def _check_faults(dialect: Dialect, command: Command) -> None:
    """A fault is heard as one, and says something."""
    request = dialect.write_request(command)
    op = dialect.match(request).op
    for kind in _FAULTS:
        try:
            response = dialect.write_fault(op, kind("It rains."), _context(request))
            _converse(dialect, command, partial(_same, response))
        except Fault as heard:
            _owe(heard.message, "a fault has a message")
            continue
        raise Broken(f"{kind.__name__} is heard as a fault")


def _check_garbage(dialect: Dialect, command: Command) -> None:
    """Whatever comes from outside raises nothing but `Malformed`, or a `Fault`."""
    request = dialect.write_request(command)
    match = dialect.match(request)
    for body in _GARBAGE:
        with _only("nonsense in a request is Malformed, or a Fault"):
            asked = msgspec.structs.replace(request, body=body)
            dialect.read_request(match.op, match.params, asked)
        for status in (200, 404, 502):
            with _only("nonsense in an answer is Malformed, or a Fault"):
                dialect.read_reply(command, Response(status=status, body=body))
                raise Broken(f"no service answers {body[:40]!r}, and it is taken for an answer")


def _check_unknown_routes(dialect: Dialect) -> None:
    for prefix in dialect.prefixes:
        request = Request(method="POST", path=f"{prefix.rstrip('/')}/no/such/route/as/this")
        try:
            dialect.match(request)
        except UnknownOperation as fault:
            told = dialect.write_fault(None, fault, _context(request))
            with _only("an unknown route is told as a Fault"):
                dialect.read_reply(Fetch(id=_ID), told)
                raise Broken("an unknown route is no answer") from None
        else:
            raise Broken("a route that it does not have is an UnknownOperation")


@contextmanager
def _only(owed: str, *never: type[Exception]) -> Iterator[None]:
    try:
        yield
    except Broken:
        raise
    except (Malformed, Fault) as problem:
        if isinstance(problem, never):
            raise Broken(f"{owed}, not {problem!r}") from problem
    except Exception as problem:
        raise Broken(f"{owed}, not {problem!r}") from problem


def _cross(dialect: Dialect, command: Command, reply: Reply) -> Reply:
    """`reply` as a client has it that asked `command` of a server."""

    def answer(request: Request) -> Response:
        match = dialect.match(request)
        dialect.read_request(match.op, match.params, request)
        return dialect.write_reply(match.op, reply, _context(request))

    return _converse(dialect, command, answer)


def _converse(dialect: Dialect, command: Command, answer: Callable[[Request], Response]) -> Reply:
    call = dialect.call(command)
    request = next(call)
    while True:
        try:
            request = call.send(answer(request))
        except StopIteration as end:
            reply: Reply = end.value
            return reply


def _same(response: Response, request: Request) -> Response:
    return response


def _fetch(dialect: Dialect, submit: Submit) -> Fetch:
    created = _cross(dialect, submit, _task(Status.QUEUED, submit, dialect))
    assert isinstance(created, Task)
    return Fetch(id=created.id, kind=submit.kind)


def _context(request: Request) -> Context:
    return Context(request=request, request_id="a-request", now=_NOW)


def _task(status: Status, submit: Submit, dialect: Dialect) -> Task:
    failed = Failure(code=FailureCode.TIMEOUT, message="It took too long.")
    made = (Artifact(url=_LINK, media_type="image/png", size=9, width=640, height=480),)
    return Task(
        id=_ID,
        status=status,
        submit=submit,
        dialect=dialect.name,
        failure=failed if status is Status.FAILED else None,
        artifacts=made if status is Status.SUCCEEDED else (),
        created=_NOW,
        updated=_NOW,
    )


# ----------------------------------------------------------------------------------- an engine


async def check_engine(
    engine: Engine, submit: Submit, folder: Path, options: Mapping[str, Any] | None = None
) -> list[File]:
    """Raise `Broken` unless `engine` does what it is asked as engines do; else, what it made.

    `submit` is a task that it can do with `options`, and `folder` an empty folder. For engines
    that do the work themselves; one that `waits` needs its service.
    """
    options = dict(options or {})
    _owe(engine.name and isinstance(engine.traits, Traits), "it has a name, and traits")
    engine.check_options(options)
    cards = engine.cards(options)
    _owe(all(card.kind in Kind for card in cards), "it says what it makes")
    engine.check(submit, options)
    engine.prepare()
    try:
        await _check_leaving(engine, _job(submit, folder, "left", options))
        return await _check_run(engine, _job(submit, folder, "run", options))
    finally:
        await engine.close()


def _job(submit: Submit, folder: Path, name: str, options: dict[str, Any]) -> Job:
    own = folder / name
    own.mkdir()
    task = Task(id=_ID, status=Status.RUNNING, submit=submit)
    return Job(task=task, folder=own, options=options)


async def _check_run(engine: Engine, job: Job) -> list[File]:
    files = []
    async for event in engine.run(job):
        if isinstance(event, Progress):
            _owe(0 <= event.percent <= 99, "progress is 0 to 99 percent")
        if isinstance(event, File):
            _owe(event.path.parent == job.folder, "files are in the folder of the job")
            with event.path.open("rb") as file:
                found = media_type_of(file.read(32))
            _owe(found == event.media_type, f"a file is what it is said to be, not {found}")
            files.append(event)
    _owe(files, "it makes a file")
    return files


async def _check_leaving(engine: Engine, job: Job) -> None:
    """A run may be left at its first event, and then writes nothing more."""
    run = engine.run(job)
    _owe(hasattr(run, "aclose"), "run is a generator, which can be left")
    async with aclosing(run) as events:  # type: ignore[type-var]
        async for _ in events:
            break
    before = sorted(job.folder.iterdir())
    for path in before:
        path.unlink()
    _owe(not list(job.folder.iterdir()), "nothing is written after a run was left")


def _owe(kept: object, owed: str) -> None:
    if not kept:
        raise Broken(owed)


__all__ = ["Broken", "check_dialect", "check_engine"]
