"""Cursors: where to go on in a list, for the server alone to read.

One says its version, the last place that was told, and a digest of what was asked: with other
filters it would lead anywhere.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import Any

import msgspec

from safelight.errors import Malformed

_VERSION = 1
_MOST = 400  # characters
_DIGEST = 12  # bytes
_LARGEST = 2**62
_ID = re.compile(r"[0-9a-f]{24}|g|")  # g is after all of them

_decoder = msgspec.json.Decoder(tuple[int, int, str, str])


def digest_of(asked: Any) -> str:
    """What tells one question from another."""
    said = msgspec.json.encode(asked, order="deterministic")
    return hashlib.sha256(said).hexdigest()[: 2 * _DIGEST]


def write_cursor(place: tuple[int, str], digest: str = "") -> str:
    """The cursor of a place: a number and an id."""
    said = msgspec.json.encode((_VERSION, *place, digest))
    return base64.urlsafe_b64encode(said).rstrip(b"=").decode()


def read_cursor(text: str, digest: str = "", ids: re.Pattern[str] = _ID) -> tuple[int, str]:
    """The place that a cursor says, with an id like those. Raises `Malformed`."""
    place, asked = read_cursor_of_any(text, ids)
    if asked != digest:
        raise Malformed("cursor", "given for a list with other filters")
    return place


def read_cursor_of_any(text: str, ids: re.Pattern[str] = _ID) -> tuple[tuple[int, str], str]:
    """The place that a cursor says, and the digest of what was asked. Raises `Malformed`."""
    try:
        if len(text) > _MOST:
            raise ValueError(text[:_MOST])
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        said = base64.b64decode(padded, altchars=b"-_", validate=True)
        version, number, id, asked = _decoder.decode(said)
    except (ValueError, binascii.Error, msgspec.DecodeError):
        raise Malformed("cursor", "not one that was given here") from None
    if version != _VERSION:
        raise Malformed("cursor", "of another version of the server: begin without one")
    if not 0 <= number <= _LARGEST or not ids.fullmatch(id):
        raise Malformed("cursor", "not one that was given here")
    return (number, id), asked
