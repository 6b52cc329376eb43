"""What a wire format is made of: pairs of inverses over plain records, and no I/O.

A dialect reads and writes with the same tables: `Fields` pairs our names with the wire's, `States`
our statuses with the wire's words, and `Reading` asks what came from outside for values by name
and kind. The rule that binds whoever edits a dialect: nothing from outside is indexed plainly, and
whatever is wrong with it is raised as `Malformed` with the path to it.
"""

from __future__ import annotations

import binascii
import codecs
import io
import math
import re
import secrets
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from operator import attrgetter
from typing import Any, NamedTuple, NoReturn
from urllib.parse import parse_qsl, quote, unquote, urlencode

import msgspec
from multipart import (
    MultipartError,
    MultipartSegment,
    PushMultipartParser,
    parse_options_header,
)

from safelight.errors import (
    BadRequest,
    Conflict,
    Fault,
    InsufficientCredits,
    Internal,
    InvalidValue,
    Malformed,
    NotFound,
    RateLimited,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnknownModel,
    UnknownOperation,
    Unsupported,
    Upstream,
)
from safelight.task import (
    Command,
    Kind,
    Models,
    Record,
    Reply,
    Role,
    Source,
    Status,
    Submit,
    Task,
    Templates,
)

# ------------------------------------------------------------------------------ request, response


class Part(Record, frozen=True, kw_only=True):
    """One part of a form: a value, or, where it has a filename, a file."""

    name: str
    data: bytes
    filename: str | None = None
    media_type: str | None = None

    @property
    def text(self) -> str:
        """The part as text. Raises `Malformed` where it is not UTF-8."""
        try:
            return self.data.decode()
        except UnicodeDecodeError:
            raise Malformed(self.name, "not UTF-8 text", "type") from None


class _Body(NamedTuple):
    """What a body was read as, or what is wrong with it."""

    value: Any = None
    problem: str | None = None

    def open(self) -> Any:
        if self.problem is not None:
            raise Malformed("", self.problem, "syntax")
        return self.value


def _read_once(read: Callable[..., Any], *arguments: Any) -> _Body:
    try:
        return _Body(read(*arguments))
    except Malformed as problem:
        return _Body(problem=problem.problem)


class Request(Record, frozen=True, kw_only=True, dict=True):
    """An HTTP request as plain data. Header names are lower case, header values as sent.

    `query` is the raw text after `?`; `target` joins it to the path again. A body is parsed once,
    however often it is asked for.
    """

    method: str
    path: str
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """The first header of that (lower-case) name."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    @property
    def target(self) -> str:
        return f"{self.path}?{self.query}" if self.query else self.path

    def with_headers(self, *headers: tuple[str, str]) -> Request:
        """This request with these headers added, or set where they were there before."""
        names = {name for name, _ in headers}
        kept = tuple(pair for pair in self.headers if pair[0] not in names)
        return msgspec.structs.replace(self, headers=kept + headers)

    def arguments(self) -> dict[str, str]:
        """The values of the query string; of a repeated name the last one. Raises `Malformed`."""
        try:
            return dict(parse_qsl(self.query, keep_blank_values=True, max_num_fields=_MOST_PARTS))
        except ValueError:
            problem = f"the query string has more than {_MOST_PARTS} parts"
            raise Malformed("", problem, "syntax") from None

    def json(self) -> Any:
        """The body as JSON. Raises `Malformed` where it is none."""
        return self._json.open()

    def form(self) -> tuple[Part, ...]:
        """The body's form parts, in their order, multipart or urlencoded. Raises `Malformed`."""
        parts: tuple[Part, ...] = self._form.open()
        return parts

    @cached_property
    def _json(self) -> _Body:
        return _read_once(read_json, self.body, _MOST_ASKED)

    @cached_property
    def _form(self) -> _Body:
        return _read_once(read_form, self.header("content-type") or "", self.body)


class Response(Record, frozen=True, kw_only=True):
    """An HTTP response as plain data. Header names are lower case."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """The first header of that (lower-case) name."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    def json(self) -> Any:
        """The body as JSON. Raises `Malformed` where it is none."""
        return read_json(self.body, _MOST_ANSWERED)


_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}(?:\\u[dD][c-fC-F][0-9a-fA-F]{2})?"
    rb"|u[dD][c-fC-F][0-9a-fA-F]{2}|.)",
    re.DOTALL,
)
_REPLACED, _MOST_ESCAPES = rb"\ufffd", 200_000

# How many values a JSON body may have. A byte of JSON may be a list of 60 bytes here, so its size
# alone bounds neither the memory nor the time that it costs; a list of a thousand tasks has some
# 50,000 values.
_MOST_ASKED, _MOST_ANSWERED = 50_000, 500_000


_NO_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def read_json(body: bytes, most_values: int = _MOST_ASKED) -> Any:
    """`body` as a JSON value, with numbers as int or float. Raises `Malformed`."""
    if len(body) > most_values and _has_more_values(body, most_values):
        raise Malformed("", f"the body has more than {most_values} values", "syntax")
    body = body.removeprefix(codecs.BOM_UTF8)
    try:
        return msgspec.json.decode(body)
    except _NO_JSON:
        mended = _mend_surrogates(body)
    try:
        if mended != body:  # else it would be read twice for nothing
            return msgspec.json.decode(mended)
    except _NO_JSON:
        pass
    raise Malformed("", "the body is not valid JSON", "syntax")


def _mend_surrogates(body: bytes) -> bytes:
    """JSON in which half a surrogate pair, as a text that was cut in two has it, is replaced."""
    if body.count(b"\\") > _MOST_ESCAPES:
        return body
    # Only halves have the length of one escape: pairs are longer, all others shorter.
    return _ESCAPE.sub(lambda found: _REPLACED if len(found[0]) == 6 else found[0], body)


def _has_more_values(body: bytes, most: int) -> bool:
    # Commas and brackets in texts count too: whoever has so many is no caller of ours either.
    count = 0
    for start in range(0, len(body), _PIECE):
        count += sum(body.count(sign, start, start + _PIECE) for sign in (b",", b"[", b"{"))
        if count > most:
            return True
    return False


def json_response(
    value: Any,
    status: int = 200,
    content_type: str = "application/json",
    headers: Iterable[tuple[str, str]] = (),
) -> Response:
    """An answer whose body is `value` as JSON."""
    return Response(
        status=status,
        headers=(("content-type", content_type), *headers),
        body=msgspec.json.encode(value),
    )


def json_request(method: str, path: str, value: Any) -> Request:
    """A request whose body is `value` as JSON."""
    return Request(
        method=method,
        path=path,
        headers=(("content-type", "application/json"),),
        body=msgspec.json.encode(value),
    )


def compact_json(value: Any) -> str:
    """`value` as JSON text without blanks, as the wires that carry JSON in a string write it."""
    return msgspec.json.encode(value).decode()


def query_string(values: Mapping[str, Any]) -> str:
    """`values` as a query string; those that are None are left out."""
    return urlencode({name: value for name, value in values.items() if value is not None})


# ------------------------------------------------------------------------------------------ forms


def write_form(parts: Iterable[Part], boundary: str | None = None) -> tuple[str, bytes]:
    """The content type and the multipart/form-data body (RFC 7578) that say `parts`."""
    boundary = boundary or secrets.token_hex(16)
    lines = bytearray()
    for part in parts:
        disposition = f'form-data; name="{_escape(part.name)}"'
        if part.filename is not None:
            disposition += f'; filename="{_escape(part.filename)}"'
        lines += f"--{boundary}\r\nContent-Disposition: {disposition}\r\n".encode()
        if part.media_type is not None:
            lines += f"Content-Type: {_CONTROLS.sub('', part.media_type)}\r\n".encode()
        lines += b"\r\n" + part.data + b"\r\n"
    lines += f"--{boundary}--\r\n".encode()
    return f"multipart/form-data; boundary={boundary}", bytes(lines)


def read_form(content_type: str, body: bytes) -> tuple[Part, ...]:
    """The parts of a form body, multipart or urlencoded. Raises `Malformed` where it is neither."""
    media_type, options = parse_options_header(content_type)
    if media_type == "application/x-www-form-urlencoded":
        return _read_urlencoded(body)
    if media_type != "multipart/form-data":
        raise Malformed("", "the body is not multipart/form-data", "syntax")
    boundary = options.get("boundary")
    if not boundary:
        raise Malformed("", "the multipart form names no boundary", "syntax")
    return _read_multipart(boundary, body)


# A form has a dozen fields; a thousand parts is an attack on our memory, not a task. Only a file
# may be long: a text is taken apart and searched through.
_MOST_PARTS = 256
_MOST_FIELD = 2**20
_PIECE = 2**20  # bytes


def _read_urlencoded(body: bytes) -> tuple[Part, ...]:
    if len(body) > _MOST_FIELD:
        raise Malformed("", f"the form is longer than {_MOST_FIELD} bytes", "syntax")
    try:
        found = parse_qsl(
            body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MOST_PARTS
        )
    except UnicodeDecodeError:
        raise Malformed("", "the form is not UTF-8 text", "syntax") from None
    except ValueError:
        raise Malformed("", f"the form has more than {_MOST_PARTS} parts", "syntax") from None
    return tuple(Part(name=name, data=value.encode()) for name, value in found)


def _read_multipart(boundary: str, body: bytes) -> tuple[Part, ...]:
    parts: list[Part] = []
    try:
        with PushMultipartParser(
            boundary,
            content_length=len(body),
            max_segment_count=_MOST_PARTS,
            header_charset="latin-1",  # takes every byte; `_unescape` makes UTF-8 of them
        ) as parser:
            for event in chain.from_iterable(map(parser.parse, _pieces(body))):
                if isinstance(event, MultipartSegment):
                    segment, data = event, io.BytesIO()
                elif event is None:  # the segment is whole
                    parts.append(_read_part(segment, data.getvalue()))
                else:
                    data.write(event)
    except MultipartError as problem:
        # The parser keeps it: with its frames it would keep itself, and the whole body.
        problem.__traceback__ = None
        raise Malformed("", f"the multipart form is broken: {problem}", "syntax") from None
    return tuple(parts)


def _pieces(body: bytes) -> Iterator[bytes]:
    """A body a piece at a time, so that nobody else has to wait for all of it to be read."""
    if len(body) <= _PIECE:
        yield body
        return
    for start in range(0, len(body), _PIECE):
        yield body[start : start + _PIECE]


def _read_part(segment: MultipartSegment, data: bytes) -> Part:
    filename = segment.filename
    if filename is None:
        filename = _extended_filename(segment.header("Content-Disposition") or "")
    if not segment.name:
        raise Malformed("", "a part of the form has no name", "syntax")
    if filename is None and len(data) > _MOST_FIELD:
        raise Malformed("", f"a field of the form is longer than {_MOST_FIELD} bytes", "syntax")
    return Part(
        name=_unescape(segment.name),
        data=data,
        filename=None if filename is None else _unescape(filename),
        media_type=segment.header("Content-Type"),
    )


# `filename*=UTF-8''%E4%B8%AD.png` (RFC 8187), for clients that send no plain one.
_EXTENDED = re.compile(
    r";\s*filename\*\s*=\s*(utf-8|iso-8859-1)'[^';]{0,20}'([^;\s]{1,2000})", re.I
)


def _extended_filename(disposition: str) -> str | None:
    found = _EXTENDED.search(disposition)
    if found is None:
        return None
    # As the plain ones are here: the bytes of UTF-8, each a character.
    return unquote(found[2], found[1], errors="replace").encode().decode("latin-1")


# The HTML standard escapes the quote and the line ends in the names of a form. The backslash and
# the other controls are escaped alike here, for parsers differ about what a backslash does.
_UNSAFE = re.compile(r'["\\\x00-\x1f\x7f]')
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]+")


def _escape(name: str) -> str:
    return _UNSAFE.sub(lambda found: f"%{ord(found[0]):02X}", name)


def _unescape(name: str) -> str:
    plain = name if name.isascii() else name.encode("latin-1").decode(errors="replace")
    return plain.replace("%5C", "\\")  # the parser undoes the others


# ---------------------------------------------------------------------------------------- reading


class Reading:
    """Values from outside, asked for by name and kind.

    `path` is where this object lies in what was read, and stands in front of every name in a
    `Malformed`. With `text` values arrive as text (forms, query strings) and numbers and flags
    are parsed out of it. A name that is absent, or null, is missing: with a default it reads as
    the default, without one it is `Malformed`.
    """

    __slots__ = ("_lenient", "path", "values")

    def __init__(self, value: Any, path: str = "", *, text: bool = False) -> None:
        if not isinstance(value, Mapping):
            raise Malformed(path, "not an object", "type")
        self.values = value
        self.path = path
        self._lenient = text

    def at(self, name: str) -> str:
        """The full path to a name here."""
        return f"{self.path}.{name}" if self.path else name

    def has(self, name: str) -> bool:
        """Whether there is a value (that is not null) of that name."""
        return self.values.get(name) is not None

    def value(self, name: str, kind: Sort, default: Any = ...) -> Any:
        """The value of that name, read as `kind` reads it."""
        raw = self.values.get(name)
        if raw is None:
            if default is ...:
                raise Malformed(self.at(name), "required", "missing")
            return default
        return kind.read(self._untext(name, raw, kind), self.at(name))

    def echo(self, name: str, kind: Sort, default: Any = None) -> Any:
        """The value of that name, or the default where there is none, or nonsense.

        For what an answer tells beside the state and the result: no task is lost to it.
        """
        try:
            return self.value(name, kind, default)
        except Malformed:
            return default

    def text(self, name: str, default: Any = ...) -> Any:
        return self.value(name, TEXT, default)

    def integer(self, name: str, default: Any = ...) -> Any:
        return self.value(name, INTEGER, default)

    def number(self, name: str, default: Any = ...) -> Any:
        return self.value(name, NUMBER, default)

    def flag(self, name: str, default: Any = ...) -> Any:
        return self.value(name, FLAG, default)

    def texts(self, name: str, default: Any = ...) -> Any:
        """A list of texts, as a tuple."""
        return self.value(name, TEXTS, default)

    def object(self, name: str) -> Reading:
        """The object of that name; an absent one reads as empty."""
        raw = self.values.get(name)
        return Reading({} if raw is None else raw, self.at(name))

    def objects(self, name: str) -> list[Reading]:
        """The list of objects of that name; an absent one reads as empty."""
        raw = self.values.get(name)
        if raw is None:
            return []
        if not isinstance(raw, list | tuple):
            raise Malformed(self.at(name), "not a list", "type")
        return [Reading(item, f"{self.at(name)}.{index}") for index, item in enumerate(raw)]

    def _untext(self, name: str, raw: Any, kind: Sort) -> Any:
        if self._lenient and kind.parse is not None and isinstance(raw, str):
            return kind.parse(raw.strip(), self.at(name))
        return raw


# ------------------------------------------------------------------------------------------ sorts


class Sort(NamedTuple):
    """A sort of value: how the wire's is read (with its path), how ours is written.

    `parse` makes the JSON value out of text, for wires whose values all arrive as text.
    """

    name: str
    read: Callable[[Any, str], Any]
    write: Callable[[Any], Any]
    parse: Callable[[str, str], Any] | None = None


def _same(value: Any) -> Any:
    return value


def _wrong(path: str, sort: str) -> NoReturn:
    raise Malformed(path, f"not {sort}", "type")


def _read_text(value: Any, path: str) -> str:
    if not isinstance(value, str):
        _wrong(path, "a string")
    return value


def _read_integer(value: Any, path: str) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        _wrong(path, "an integer")
    if not -(2**63) <= value < 2**63:
        raise Malformed(path, "out of range", "value")
    return value


def _read_number(value: Any, path: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        _wrong(path, "a number")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise Malformed(path, "out of range", "value")
    if isinstance(value, float) and not math.isfinite(value):
        raise Malformed(path, "out of range", "value")
    return value


def _read_flag(value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        _wrong(path, "a boolean")
    return value


def _read_texts(value: Any, path: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        _wrong(path, "a list of strings")
    return tuple(_read_text(item, f"{path}.{index}") for index, item in enumerate(value))


def _read_anything(value: Any, path: str) -> Any:
    return value


_INTEGER_TEXT = re.compile(r"[+-]?[0-9]{1,19}")
_NUMBER_TEXT = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_MOST_NUMBER = 64  # characters of a number: more say nothing that a float could hold
_MOST_IDS = 1000  # that one request may name
_TRUE, _FALSE = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off", ""})


def _parse_integer(text: str, path: str) -> int:
    if not _INTEGER_TEXT.fullmatch(text):
        _wrong(path, "an integer")
    return int(text)


def _parse_number(text: str, path: str) -> float:
    if len(text) > _MOST_NUMBER:
        raise Malformed(path, f"longer than {_MOST_NUMBER} characters", "value")
    if not _NUMBER_TEXT.fullmatch(text):
        _wrong(path, "a number")
    return float(text)


def _parse_flag(text: str, path: str) -> bool:
    lowered = text.lower()
    if lowered not in _TRUE | _FALSE:
        _wrong(path, "a boolean")
    return lowered in _TRUE


TEXT = Sort("string", _read_text, _same)
INTEGER = Sort("integer", _read_integer, _same, _parse_integer)
NUMBER = Sort("number", _read_number, _same, _parse_number)
FLAG = Sort("boolean", _read_flag, _same, _parse_flag)
TEXTS = Sort("list of strings", _read_texts, list)
ANYTHING = Sort("any value", _read_anything, _same)


def _read_seed(value: Any, path: str) -> int | None:
    seed = _read_integer(value, path)
    return None if seed == _ANY_SEED else seed


_ANY_SEED = -1  # on every wire, whether its pages say so or its clients only send it
SEED = INTEGER._replace(read=_read_seed)


def pairs(sort: Sort, *both: tuple[Any, Any]) -> Sort:
    """A sort whose values are ours on the left and the wire's on the right, one for one."""
    to_wire = dict(both)
    from_wire = {theirs: ours for ours, theirs in both}

    def read(value: Any, path: str) -> Any:
        theirs = sort.read(value, path)
        if theirs not in from_wire:
            raise Malformed(path, f"not one of {', '.join(map(str, from_wire))}")
        return from_wire[theirs]

    return Sort(sort.name, read, to_wire.__getitem__, sort.parse)


# ------------------------------------------------------------------------------------------ fields


class Field(NamedTuple):
    """One line of a table: our name (a path of attributes), the wire's, and the sort of value."""

    ours: str
    theirs: str
    sort: Sort = TEXT


class Fields:
    """A table of fields that is read in both directions. None, on our side, is absent on theirs."""

    def __init__(self, *fields: Field) -> None:
        self.fields = fields
        self._writers = [(attrgetter(f.ours), f.theirs, f.sort.write) for f in fields]

    @property
    def names(self) -> frozenset[str]:
        """The wire's names."""
        return frozenset(f.theirs for f in self.fields)

    def write(self, record: Any) -> dict[str, Any]:
        """What the wire says of `record`; values that are None are left out."""
        written = {}
        for get, theirs, write in self._writers:
            value = get(record)
            if value is not None:
                written[theirs] = write(value)
        return written

    def read(self, reading: Reading) -> dict[str, Any]:
        """Our values by our names; what is absent is left out. Raises `Malformed`."""
        values = {}
        for ours, theirs, sort in self.fields:
            value = reading.value(theirs, sort, None)
            if value is not None:
                values[ours] = value
        return values

    def read_echo(self, reading: Reading) -> dict[str, Any]:
        """As `read`, but that what cannot be read is left out too."""
        values = {ours: reading.echo(theirs, sort) for ours, theirs, sort in self.fields}
        return {ours: value for ours, value in values.items() if value is not None}


class States:
    """Our statuses and a wire's words for them; total, or it cannot be built.

    Several of our statuses may share one word: it is read back as the first that was given with
    it. A word that we do not know reads as still running and never as an end, because only an
    end that was said is one.
    """

    def __init__(self, *words: tuple[Status, Any]) -> None:
        self._words = dict(words)
        missing = frozenset(Status) - frozenset(self._words)
        if missing:
            raise ValueError(f"no word for {', '.join(sorted(missing))}")
        self._statuses: dict[Any, Status] = {}
        for status, word in words:
            self._statuses.setdefault(word, status)
        for word in self._statuses:
            sharing = {ours for ours, theirs in words if theirs == word}
            if Status.SUCCEEDED in sharing and sharing != {Status.SUCCEEDED}:
                raise ValueError(f"{word!r} would read as success and mean {sorted(sharing)}")

    def write(self, status: Status) -> Any:
        """The wire's word for `status`."""
        return self._words[status]

    def read(self, word: Any) -> Status:
        """The status that `word` means; RUNNING where it is a word that we do not know."""
        return self._statuses[word] if self.knows(word) else Status.RUNNING

    def knows(self, word: Any) -> bool:
        """Whether `word` is one of this wire's."""
        try:
            return word in self._statuses and not isinstance(word, bool)  # true is not the word 1
        except TypeError:  # not even a word: a list, an object
            return False


# ----------------------------------------------------------------------------------------- dialect


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
    """What an answer needs beside what it answers: the request, the time (ms), and an id."""

    request: Request
    request_id: str = ""
    now: int = 0


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
    served: bool = True  # whether a server speaks it unless told otherwise
    # The headers whose value makes a repeated submission the same task; the client sends the first.
    idempotency_headers: tuple[str, ...] = ("idempotency-key",)
    polls_per_second: float = 1.0  # what its service allows, or what its clients do
    repeats_safely: bool = False  # whether its service documents those headers, or some like them
    uploads: bool = False  # whether sources may come with the request, and not by address alone
    keeps_files: bool = False  # whether they may be uploaded before it, to be named by their links
    files_url: str = ""  # where that is, for the real service, if it is elsewhere
    kinds: frozenset[Kind] = frozenset(Kind)

    def __init__(self) -> None:
        self._exact = {(r.method, r.path): r for r in self.routes if "{" not in r.path}
        self._patterns = [
            (r, re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(r.path))))
            for r in self.routes
            if "{" in r.path
        ]

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
        method = "GET" if request.method == "HEAD" else request.method
        path = request.path.rstrip("/") or "/"
        route = self._exact.get((method, path))
        if route is not None:
            return Match(route.op, _NOTHING, route.open, route.files, route.waits)
        for route, pattern in self._patterns:
            found = pattern.fullmatch(path)
            if found and route.method == method:
                params = {name: unquote(value) for name, value in found.groupdict().items()}
                return Match(route.op, params, route.open, route.files, route.waits)
        raise UnknownOperation(f"There is no {request.method} {request.path}", name=request.path)

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


# -------------------------------------------------------------------------- words shared by wires


class Frame(NamedTuple):
    """How large a picture is to be, in the words of `Submit`."""

    width: int | None = None
    height: int | None = None
    ratio: str | None = None
    resolution: str | None = None


_PIXELS = re.compile(r"([0-9]{1,5})\s*[xX*×]\s*([0-9]{1,5})")
_RATIO = re.compile(r"([0-9]{1,4}):([0-9]{1,4})")
_LEVEL = re.compile(r"([1-9][0-9]?)[kK]|([1-9][0-9]{2,3})[pP]")
# The named sizes of the fal and kie families, in pixels.
NAMED_SIZES: Mapping[str, tuple[int, int]] = {
    "square": (512, 512),
    "square_hd": (1024, 1024),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
    "portrait_3_2": (683, 1024),
    "landscape_3_2": (1024, 683),
    "landscape_21_9": (1024, 439),
    "portrait_21_9": (439, 1024),
}
_AS_SOURCE = frozenset({"auto", "adaptive"})


def read_frame(text: str, path: str) -> Frame:
    """The size that `text` says.

    Read are `1024x1024`, `1024*1024`, `16:9`, `2K`, `720p`, `square_hd` and `auto`.
    Raises `Malformed` where it says none.
    """
    word = text.strip()
    if found := _PIXELS.fullmatch(word):
        width, height = int(found[1]), int(found[2])
        if width and height:
            return Frame(width=width, height=height)
    elif found := _RATIO.fullmatch(word):
        if int(found[1]) and int(found[2]):
            return Frame(ratio=word)
    elif found := _LEVEL.fullmatch(word):
        return Frame(resolution=f"{found[1]}K" if found[1] else f"{found[2]}p")
    elif word.lower() in _AS_SOURCE:
        return Frame(ratio="auto")
    elif word.lower() in NAMED_SIZES:
        width, height = NAMED_SIZES[word.lower()]
        return Frame(width=width, height=height)
    raise Malformed(path, f"{text[:40]!r} is no size", "value")


def merge_frames(frames: Sequence[Frame]) -> dict[str, Any]:
    """The fields of `Submit` that `frames` say together; the first that says one wins."""
    merged: dict[str, Any] = {}
    for frame in frames:
        for name, value in frame._asdict().items():
            if value is not None:
                merged.setdefault(name, value)
    return merged


_MOST_HEAD = 256  # characters of a data URI before its data


def is_address(text: str) -> bool:
    """Whether `text` is an address (http or https), by its beginning."""
    return text[:8].lower().startswith(("http://", "https://"))


def read_source(text: str, path: str, role: Role = Role.IMAGE) -> Source:
    """The source that an address or a data URI (RFC 2397, in base64) names. Raises `Malformed`."""
    if is_address(text):
        return Source(role=role, url=text)
    head, comma, _ = text[:_MOST_HEAD].partition(",")
    media_type, *options = head[5:].split(";")
    if head[:5].lower() != "data:" or not comma or "base64" not in options:
        raise Malformed(path, "neither an http(s) address nor a data URI in base64")
    data = read_base64(text, path, text.index(",") + 1)
    if not data:
        raise Malformed(path, "an empty file")
    return Source(role=role, data=data, media_type=media_type or None)


def build_task(values: Mapping[str, Any], **more: Any) -> Task:
    """A task out of our values by our names; `submit.` begins the names of what was asked."""
    own, asked = dict(more), {}
    for name, value in values.items():
        head, _, rest = name.partition(".")
        if head == "submit" and rest:
            asked[rest] = value
        else:
            own[name] = value
    if asked:
        own["submit"] = msgspec.structs.replace(own["submit"], **asked)
    return Task(**own)


def read_bearer(request: Request) -> str | None:
    """The secret in `Authorization`, with or without the word Bearer; None where there is none."""
    value = (request.header("authorization") or "").strip()
    scheme, blank, rest = value.partition(" ")
    if blank and scheme.lower() == "bearer":
        value = rest.strip()
    elif scheme.lower() == "bearer":
        value = ""
    return value or None


_BLANKS = b" \t\r\n\f\v"


def read_base64(text: str, path: str, start: int = 0) -> bytes:
    """The data of base64 text from `start` on: a piece at a time, for all of it may be large.

    Raises `Malformed`.
    """
    data, left = io.BytesIO(), b""
    try:
        for begin in range(start, len(text), _PIECE):
            piece = left + text[begin : begin + _PIECE].encode("ascii").translate(None, _BLANKS)
            if data.tell() % 3 and piece:
                raise ValueError("more data after its padding")
            whole = len(piece) // 4 * 4
            left = piece[whole:]
            data.write(binascii.a2b_base64(piece[:whole], strict_mode=True))
        if left:
            raise ValueError("no padding")
    except ValueError:  # `binascii.Error` and `UnicodeError` are some
        raise Malformed(path, "not base64") from None
    return data.getvalue()


def fault_of_status(status: int, message: str, response: Response) -> Fault:
    """The fault that an HTTP status, or a code that means the same, tells in an answer."""
    seconds = read_retry_after(response)
    simple: dict[int, type[Fault]] = {
        401: Unauthenticated,
        402: InsufficientCredits,
        403: Unauthenticated,
        404: NotFound,
        409: Conflict,
        413: TooLarge,
    }
    if status in simple:
        return simple[status](message)
    if status == 422:
        return UnknownModel(message) if "model" in message.lower() else BadRequest(message)
    if status == 429:
        return RateLimited(message, retry_after=seconds)
    if status == 500:
        return Internal(message)
    if status in (408, 425) or status > 500:
        return Unavailable(message, retry_after=seconds)
    if status >= 400:
        return BadRequest(message)
    return Upstream(message)


def read_retry_after(response: Response) -> float | None:
    """The seconds that `Retry-After` asks to wait; None where it says none, or a date."""
    try:
        seconds = float(response.header("retry-after") or "")
    except ValueError:
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def retry_after_header(fault: Fault) -> tuple[tuple[str, str], ...]:
    """`Retry-After` in whole seconds (RFC 9110), where the fault knows when to come back."""
    if isinstance(fault, RateLimited | Unavailable) and fault.retry_after is not None:
        return (("retry-after", str(max(1, math.ceil(fault.retry_after)))),)
    return ()


CANNOT = "this server cannot do that"


def refuse_demands(submit: Submit, title: str, known: Collection[str] = ()) -> None:
    """Raise `Unsupported` for a demand of another wire than the one of that title."""
    for name in submit.demands:
        if name not in known:
            raise Unsupported(f"{title} cannot say {name}", parameter=name)


def deed(command: Command) -> str:
    """What `command` asks for, in the words of a sentence that says that a wire cannot."""
    name = type(command).__name__.lower()
    return f"list {name}" if isinstance(command, Models | Templates) else f"{name} tasks"


def read_ids(reading: Reading, name: str) -> tuple[str, ...]:
    """The list of ids of that name, which has an end. Raises `Malformed`."""
    ids: tuple[str, ...] = reading.texts(name)
    if len(ids) > _MOST_IDS:
        raise Malformed(reading.at(name), f"more than {_MOST_IDS} ids")
    return ids


def require(name: str, value: Any, at_least: float, at_most: float) -> None:
    """Raise `InvalidValue` unless `value` is None or lies within both bounds."""
    if value is not None and not at_least <= value <= at_most:
        raise InvalidValue(f"{name}: must be {at_least} to {at_most}", parameter=name)
