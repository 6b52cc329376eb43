"""Sources as the wires name them: by an address, or as data in base64."""

from __future__ import annotations

import binascii
import io

from safelight.errors import Malformed
from safelight.task import Role, Source
from safelight.wire.json import PIECE

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


_BLANKS = b" \t\r\n\f\v"


def read_base64(text: str, path: str, start: int = 0) -> bytes:
    """The data of base64 text from `start` on: a piece at a time, for all of it may be large.

    Raises `Malformed`.
    """
    data, left = io.BytesIO(), b""
    try:
        for begin in range(start, len(text), PIECE):
            piece = left + text[begin : begin + PIECE].encode("ascii").translate(None, _BLANKS)
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
