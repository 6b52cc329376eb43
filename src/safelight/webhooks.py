"""For programs that are told of tasks: whether a webhook is genuine, and what it says.

Needs nothing but the standard library, for what has to be counted and compared is little, and who
receives should not have to install more than who asks.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

TOLERANCE = 300.0  # seconds that the sender's clock may be wrong, and a letter old
_PREFIX = "whsec_"


class NotGenuine(Exception):
    """The webhook was not signed with any of the secrets, or is too old to be taken."""


class Event(NamedTuple):
    """What a webhook says. Of one `id` only the first is news: they may come more than once.

    `data` is the task as the server's own API tells it. Of two events of one task the one with the
    higher `data["revision"]` is the later one, whichever comes first.
    """

    id: str
    type: str
    timestamp: str
    data: dict[str, Any]


def verify(
    body: bytes | str,
    headers: Mapping[str, str] | Iterable[tuple[str, str]],
    secrets: str | Iterable[str],
    *,
    now: float | None = None,
    tolerance: float = TOLERANCE,
) -> Event:
    """The event that a request says, which is as its sender signed it. Raises `NotGenuine`.

    `body` is what came, byte for byte, and not what it was parsed to. `secrets` are one, or several
    of which any may have signed it. `now` is seconds since 1970.
    """
    given, sent = _lower(headers), _bytes(body)
    id, stamp = given.get("webhook-id", ""), given.get("webhook-timestamp", "")
    _check_time(stamp, time.time() if now is None else now, tolerance)
    signed = list(_signatures(given.get("webhook-signature", "")))
    text = f"{id}.{stamp}.".encode() + sent
    if not id or not _is_signed(text, signed, map(_key, _several(secrets))):
        raise NotGenuine("none of the secrets has signed this")
    return _read_event(id, sent)


def verify_kie(
    body: bytes | str,
    headers: Mapping[str, str] | Iterable[tuple[str, str]],
    secrets: str | Iterable[str],
    *,
    now: float | None = None,
    tolerance: float = TOLERANCE,
) -> dict[str, Any]:
    """What a callback of kie's says, where the webhook key signed it. Raises `NotGenuine`.

    Its signature covers the task's id and the time, and nothing else of the body: who can read one
    can send another for the same task. A server of Safelight signs the body too: see `verify`.
    """
    given, sent = _lower(headers), _bytes(body)
    stamp = given.get("x-webhook-timestamp", "")
    _check_time(stamp, time.time() if now is None else now, tolerance)
    said = _read_json(sent)
    data = said.get("data")
    id = (data.get("taskId") or data.get("task_id")) if isinstance(data, dict) else None
    if not isinstance(id, str):
        raise NotGenuine("it names no task")
    signed = [_decode(given.get("x-webhook-signature", ""))]
    keys = (secret.encode() for secret in _several(secrets))
    if not _is_signed(f"{id}.{stamp}".encode(), signed, keys):
        raise NotGenuine("none of the secrets has signed this")
    return said


def sign(id: str, stamp: int, body: bytes, secret: str) -> str:
    """The signature of a webhook that is sent at `stamp`, seconds since 1970."""
    text = f"{id}.{stamp}.".encode() + body
    return f"v1,{base64.b64encode(hmac.digest(_key(secret), text, hashlib.sha256)).decode()}"


def _lower(headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> dict[str, str]:
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return {name.lower(): value for name, value in pairs}


def _bytes(body: bytes | str) -> bytes:
    return body.encode() if isinstance(body, str) else body


def _several(secrets: str | Iterable[str]) -> list[str]:
    return [secrets] if isinstance(secrets, str) else list(secrets)


def _check_time(stamp: str, now: float, tolerance: float) -> None:
    try:
        at = float(stamp)
    except ValueError:
        at = math.nan
    if not abs(now - at) <= tolerance:
        raise NotGenuine("it was signed too long ago, or at no time")


def _signatures(header: str) -> Iterator[bytes]:
    for each in header.split():
        version, _, text = each.partition(",")
        if version == "v1":
            yield _decode(text)


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _key(secret: str) -> bytes:
    """The bytes of a secret. Raises `ValueError` where it is none: that is no fault of a sender."""
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not key:
        raise ValueError("a secret is whsec_ and then base64")
    return key


def _is_signed(text: bytes, signed: list[bytes], keys: Iterable[bytes]) -> bool:
    made = [hmac.digest(key, text, hashlib.sha256) for key in keys]
    return any([hmac.compare_digest(one, other) for one in made for other in signed])


def _read_json(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise NotGenuine("the body is no JSON object")
    return said


def _read_event(id: str, body: bytes) -> Event:
    said = _read_json(body)
    data = said.get("data")
    return Event(
        id=id,
        type=str(said.get("type", "")),
        timestamp=str(said.get("timestamp", "")),
        data=data if isinstance(data, dict) else {},
    )
