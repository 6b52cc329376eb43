"""JSON bodies: read with an end to what they may cost, and written without blanks."""

from __future__ import annotations

import codecs
import re
from typing import Any

import msgspec

from safelight.errors import Malformed

_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}(?:\\u[dD][c-fC-F][0-9a-fA-F]{2})?"
    rb"|u[dD][c-fC-F][0-9a-fA-F]{2}|.)",
    re.DOTALL,
)
_REPLACED, _MOST_ESCAPES = rb"\ufffd", 200_000

# How many values a JSON body may have. A byte of JSON may be a list of 60 bytes here, so its size
# alone bounds neither the memory nor the time that it costs; a list of a thousand tasks has some
# 50,000 values.
MOST_ASKED, MOST_ANSWERED = 50_000, 500_000


_NO_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def read_json(body: bytes, most_values: int = MOST_ASKED) -> Any:
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
    for start in range(0, len(body), PIECE):
        count += sum(body.count(sign, start, start + PIECE) for sign in (b",", b"[", b"{"))
        if count > most:
            return True
    return False


def compact_json(value: Any) -> str:
    """`value` as JSON text without blanks, as the wires that carry JSON in a string write it."""
    return msgspec.json.encode(value).decode()


PIECE = 2**20  # bytes
