"""Forms, multipart and urlencoded, read and written."""

from __future__ import annotations

import io
import re
import secrets
from collections.abc import Iterable, Iterator
from itertools import chain
from urllib.parse import parse_qsl, unquote

from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from safelight.errors import Malformed
from safelight.task import Record
from safelight.wire.json import PIECE


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
MOST_PARTS = 256
_MOST_FIELD = 2**20


def _read_urlencoded(body: bytes) -> tuple[Part, ...]:
    if len(body) > _MOST_FIELD:
        raise Malformed("", f"the form is longer than {_MOST_FIELD} bytes", "syntax")
    try:
        found = parse_qsl(
            body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MOST_PARTS
        )
    except UnicodeDecodeError:
        raise Malformed("", "the form is not UTF-8 text", "syntax") from None
    except ValueError:
        raise Malformed("", f"the form has more than {MOST_PARTS} parts", "syntax") from None
    return tuple(Part(name=name, data=value.encode()) for name, value in found)


def _read_multipart(boundary: str, body: bytes) -> tuple[Part, ...]:
    parts: list[Part] = []
    try:
        with PushMultipartParser(
            boundary,
            content_length=len(body),
            max_segment_count=MOST_PARTS,
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
    if len(body) <= PIECE:
        yield body
        return
    for start in range(0, len(body), PIECE):
        yield body[start : start + PIECE]


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
