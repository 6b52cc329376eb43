"""A wire format in both directions, and what is asked of one."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from typing import NamedTuple
from urllib.parse import quote, unquote

from safelight.errors import Fault, NotFound, Unauthenticated, UnknownOperation, Unsupported
from safelight.task import (
    HANDLING,
    Changes,
    Command,
    Events,
    Fetch,
    FetchMany,
    Kind,
    List,
    Models,
    Record,
    Reply,
    Several,
    Submit,
    Task,
    Templates,
)
from safelight.wire.fields import States
from safelight.wire.messages import Request, Response, read_bearer


class Credential(Record, frozen=True, kw_only=True):
    """What a request says of its key: a secret, or the id of one and how to check it.

    `check(secret, request)` raises `Unauthenticated` where the request, which has its body by then,
    was not signed with that secret.
    """

    secret: str | None = None
    id: str | None = None
    check: Callable[[str, Request], None] | None = None


class Key(Record, frozen=True, kw_only=True):
    """An id and a secret. The secret is the bearer or API key; both together are Tencent's pair."""

    id: str = ""
    secret: str = ""


class Context(Record, frozen=True, kw_only=True):
    """What an answer needs beside what it answers: the request, the time (ms), and an id.

    `base` is the address that links to this server begin with, and `retention` how many
    milliseconds a task is kept after its end; 0 where that is not known.
    """

    request: Request
    request_id: str = ""
    now: int = 0
    base: str = ""
    retention: int = 0


class Route(NamedTuple):
    """An operation and where it lies. `{name}` in the path is a parameter.

    `open` routes answer without a key. Requests of those that take `files` may be large. A
    submission to one that `waits` is answered once its task is at its end.
    """

    op: str
    method: str
    path: str
    open: bool = False
    files: bool = False
    waits: bool = False


class Match(NamedTuple):
    """An operation that was found, and the parameters in its path."""

    op: str
    params: Mapping[str, str]
    open: bool = False
    files: bool = False
    waits: bool = False


_NOTHING: Mapping[str, str] = {}


class Router:
    """Finds among routes the one that a request is for."""

    def __init__(self, routes: Iterable[Route]) -> None:
        given = tuple(routes)
        self._exact = {(r.method, r.path): r for r in given if "{" not in r.path}
        self.patterns = [
            (r, re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(r.path))))
            for r in given
            if "{" in r.path
        ]

    def match(self, request: Request) -> Match:
        """The operation that `request` asks for. Raises `UnknownOperation`.

        A path means the same with a slash at its end, and HEAD what GET does.
        """
        method = "GET" if request.method == "HEAD" else request.method
        path = request.path.rstrip("/") or "/"
        route = self._exact.get((method, path))
        if route is not None:
            return Match(route.op, _NOTHING, route.open, route.files, route.waits)
        for route, pattern in self.patterns:
            found = pattern.fullmatch(path)
            if found and route.method == method:
                params = {name: unquote(value) for name, value in found.groupdict().items()}
                return Match(route.op, params, route.open, route.files, route.waits)
        raise UnknownOperation(f"There is no {request.method} {request.path}", name=request.path)


class Dialect:
    """One wire format, both directions. Subclasses translate; nothing here sends or stores.

    To add one: a module in `safelight.dialects` with a tuple `DIALECTS` of objects of a subclass.
    """

    name: str = ""
    title: str = ""
    url: str = ""  # where the real service is
    docs: str = ""  # where its wire is published
    curl: str = ""  # a line to try it with; `{base}` and `$SAFELIGHT_KEY` stand in it
    key_variables: tuple[str, ...] = ()  # environment: the secret last, Tencent's id before it
    prefixes: tuple[str, ...] = ()  # the paths it answers for; "/" means the root alone
    routes: tuple[Route, ...] = ()
    served: bool = True  # whether it is at its published paths unless the settings say otherwise
    # The headers whose value makes a repeated submission the same task; the client sends the first.
    idempotency_headers: tuple[str, ...] = ("idempotency-key",)
    polls_per_second: float = 1.0  # what its service allows, or what its clients do
    repeats_safely: bool = False  # whether its service documents those headers, or some like them
    # For how many seconds they make it so; few where it is not said how long they are remembered.
    repeats_seconds: float = 300.0
    uploads: bool = False  # whether sources may come with the request, and not by address alone
    keeps_files: bool = False  # whether they may be uploaded before it, to be named by their links
    files_url: str = ""  # where that is, for the real service, if it is elsewhere
    fetches_many: bool = False  # whether many tasks can be asked for at once
    foretells: bool = False  # whether its answers say what is foreseen of a task
    kinds: frozenset[Kind] = frozenset(Kind)
    states: Mapping[str, States] = {}  # its words for our statuses, by what is asked by

    def __init__(self) -> None:
        self._router = Router(self.routes)

    # request: the server reads what the client writes

    def claims(self, request: Request) -> bool:
        """Whether `request`, which lies under one of `prefixes`, is meant for this dialect.

        Cheap, and asked before `match`: what nobody claims is the server's own to answer.
        """
        return True

    def told_in_body(self, head: Request) -> bool:
        """Whether the body of `head` alone tells who asks, or for what.

        Where it is not, `match` and `read_key` are asked before there is a body.
        """
        return False

    def match(self, request: Request) -> Match:
        """The operation that `request` asks for. Raises `UnknownOperation`.

        A path means the same with a slash at its end, and HEAD what GET does.
        """
        return self._router.match(request)

    def read_request(self, op: str, params: Mapping[str, str], request: Request) -> Command:
        """What `request` asks for. Raises `Malformed`, or a `Fault`."""
        raise NotImplementedError

    def write_request(self, command: Command) -> Request:
        """The request that asks for `command`. Raises `Unsupported` where the wire has no words."""
        raise NotImplementedError

    # reply

    def write_reply(self, op: str, reply: Reply, context: Context) -> Response:
        """The answer to operation `op`."""
        raise NotImplementedError

    def read_reply(self, command: Command, response: Response) -> Reply:
        """What `response` says. Raises `Malformed`, or the `Fault` that it tells."""
        raise NotImplementedError

    # callback

    def write_callback(self, task: Task, secret: str, context: Context) -> Request:
        """The request that tells `task` to the address that it was given for itself.

        Its headers and its body count; `secret` signs, at `context.now`, where the wire does. Asked
        for only of wires whose `Submit` has a `Callback` in their own format.
        """
        raise Unsupported(f"{self.title} tells nothing")

    # fault

    def write_fault(self, op: str | None, fault: Fault, context: Context) -> Response:
        """The answer that tells `fault`; `op` is None where none was found."""
        raise NotImplementedError

    def parameter_name(self, op: str, name: str, submit: Submit) -> str:
        """What this wire calls the parameter that a fault of operation `op` names.

        `name` is a field of `Submit`, with what lies in it behind dots: `width`, `sources.0` for
        the first source of `submit`, `denoise.type` for an option of an operation. What is no name
        of ours is left as it is.
        """
        return name

    def carries_files(self, op: str, submit: Submit) -> bool:
        """Whether the answer to a submission that is waited for is to hold the files themselves.

        Then `Artifact.data` is set in `write_reply`, unless they are too large together.
        """
        return False

    # key

    def read_key(self, request: Request, now: int) -> Credential:
        """What `request` says of its key; `now` in ms. Raises `Unauthenticated`.

        Most wires carry the secret in `Authorization`, as a bearer or bare.
        """
        secret = read_bearer(request)
        if secret is None:
            raise Unauthenticated("The Authorization header carries no key", reason="missing")
        return Credential(secret=secret)

    def write_key(self, request: Request, key: Key, now: int) -> Request:
        """`request` with what proves that it was made with `key`; `now` in ms."""
        return request.with_headers(("authorization", f"Bearer {key.secret}"))

    # what most wires do alike

    def call(self, command: Command) -> Exchange:
        """The exchange that carries out `command`: yields requests, is sent responses."""
        if isinstance(command, FetchMany) and not self.fetches_many:
            return (yield from call_each(self, command))
        response = yield self.write_request(command)
        return self.read_reply(command, response)

    def route(self, op: str) -> Route:
        """The route of that operation."""
        return next(route for route in self.routes if route.op == op)

    def path(self, op: str, **params: str) -> str:
        """The path of that operation with its parameters filled in."""
        path = self.route(op).path
        for name, value in params.items():
            path = path.replace(f"{{{name}}}", quote(value, safe=""))
        return path

    def __repr__(self) -> str:
        return f"<dialect {self.name}>"


Exchange = Generator[Request, Response, Reply]


CANNOT = "this server cannot do that"


def refuse_demands(submit: Submit, title: str, known: Collection[str] = ()) -> None:
    """Raise `Unsupported` for what the wire of that title cannot say.

    That is a demand of another wire, or how the task is to be handled, unless it is `known`.
    """
    handled = (name for name, unsaid in HANDLING.items() if getattr(submit, name) != unsaid)
    for name in (*submit.demands, *handled):
        if name not in known:
            raise Unsupported(f"{title} cannot say {name}", parameter=name)


_FILTERS = (
    *("model", "dialect", "parent", "labels", "metadata", "ended_since", "by_change", "cursor"),
)
_ANY = List()


def refuse_filters(asked: List, title: str) -> None:
    """Raise `Unsupported` for what of a list the wire of that title cannot say."""
    for name in _FILTERS:
        if getattr(asked, name) != getattr(_ANY, name):
            raise Unsupported(f"{title} cannot list tasks by {name}", parameter=name)


def call_each(dialect: Dialect, command: FetchMany) -> Exchange:
    """Ask for many tasks one after the other, on a wire that knows one at a time."""
    found, missing = [], []
    for id in command.ids:
        try:
            reply = yield from dialect.call(Fetch(id=id))
        except NotFound:
            missing.append(id)
        else:
            assert isinstance(reply, Task)
            found.append(reply)
    return Several(tasks=tuple(found), missing=tuple(missing))


def deed(command: Command) -> str:
    """What `command` asks for, in the words of a sentence that says that a wire cannot."""
    name = type(command).__name__.lower()
    if isinstance(command, Models | Templates | Changes | Events):
        return f"list {name}"
    return f"{name} tasks"
