"""Tencent Cloud's two signatures: TC3-HMAC-SHA256, and the older HmacSHA1 and HmacSHA256.

Signing and checking use the same canonical forms, so they cannot drift apart. Nothing here does
I/O or reads a clock: the time is an argument. Facts marked [doc] are on the published pages,
[client] are what the official SDKs put on the wire.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date as day
from datetime import timedelta
from functools import lru_cache
from urllib.parse import unquote_plus

from safelight.errors import Unauthenticated
from safelight.wire import Credential, Key, Request

TC3 = "TC3-HMAC-SHA256"
UNSIGNED = "UNSIGNED-PAYLOAD"  # in X-TC-Content-SHA256: the body is not part of the signature [doc]
TOLERANCE = 300  # seconds that the clocks may be apart, either way [doc]
FORM = "application/x-www-form-urlencoded"
REQUIRED = ("content-type", "host")  # the headers that have to be signed [doc]

_MOST_SIGNED = 32  # headers: nobody is known yet while they are looked up

# The digests of the older signature; the first is meant where none is named [doc].
DIGESTS = {"HmacSHA1": "sha1", "HmacSHA256": "sha256"}

_AUTHORIZATION = re.compile(
    rf"{TC3}\s+Credential=([^/,]+)/([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}})/([^/,\s]+)/tc3_request"
    r"\s*,\s*SignedHeaders=([^,\s]+)\s*,\s*Signature=([0-9a-f]{64})\s*"
)
# In a form that is not read yet: clients write these letters as they are.
_SECRET_ID = re.compile(rb"(?:^|&)SecretId=([^&]{1,128})(?:&|\Z)")
_SECONDS = re.compile(r"[0-9]{1,12}")
_SCHEME = re.compile(r"\A[a-z]+://", re.IGNORECASE)
_PORT = re.compile(r":[0-9]+\Z")

Headers = Sequence[tuple[str, str]]


# ---------------------------------------------------------------------------------------- TC3


def canonical_request(method: str, query: str, headers: Headers, payload: str) -> str:
    """What stands for the request: `headers` are the signed ones in order, `payload` a hash."""
    lines = "".join(f"{name}:{value}\n" for name, value in headers)
    names = ";".join(name for name, _ in headers)
    return "\n".join((method, "/", query, lines, names, payload))


def string_to_sign(timestamp: str, scope: str, canonical: str) -> str:
    """The text that is signed; `scope` is `<UTC date>/<service>/tc3_request`."""
    return "\n".join((TC3, timestamp, scope, _sha256(_bytes(canonical))))


@lru_cache(maxsize=1024)
def tc3_key(secret: str, date: str, service: str) -> bytes:
    """The key of one day and one service; remembered, for it is three quarters of the work."""
    key = _bytes(f"TC3{secret}")
    for part in (date, service, "tc3_request"):
        key = hmac.digest(key, _bytes(part), "sha256")
    return key


def tc3_signature(key: bytes, text: str) -> str:
    """The signature of `text` with a `tc3_key`."""
    # Not `hmac.digest`, which gives up the interpreter lock for what takes two microseconds.
    return hmac.new(key, _bytes(text), "sha256").hexdigest()


def payload_hash(request: Request) -> str:
    """The hash of the body, or of what stands for it where the body is not signed."""
    if request.header("x-tc-content-sha256") == UNSIGNED:
        return _sha256(UNSIGNED.encode())
    return _sha256(request.body)


def sign_tc3(request: Request, key: Key, now: int, service: str) -> Request:
    """`request`, which carries its host, signed at `now` (ms)."""
    if request.header("content-type") is None:
        request = request.with_headers(("content-type", FORM))
    timestamp = str(now // 1000)
    date = utc_date(now // 1000)
    scope = f"{date}/{service}/tc3_request"
    headers = [(name, (request.header(name) or "").strip()) for name in REQUIRED]
    canonical = canonical_request(request.method, _query(request), headers, payload_hash(request))
    text = string_to_sign(timestamp, scope, canonical)
    signature = tc3_signature(tc3_key(key.secret, date, service), text)
    signed = ";".join(REQUIRED)
    return request.with_headers(
        ("x-tc-timestamp", timestamp),
        (
            "authorization",
            f"{TC3} Credential={key.id}/{scope}, SignedHeaders={signed}, Signature={signature}",
        ),
    )


def read_tc3(request: Request, authorization: str, now: int) -> Credential:
    """Who says to have signed `request`, and how to check it. Raises `Unauthenticated`."""
    found = _AUTHORIZATION.fullmatch(authorization.strip())
    if not found:
        raise Unauthenticated(
            f"The Authorization header is not of the form of {TC3}", reason="malformed"
        )
    secret_id, date, service, signed, signature = found.groups()
    timestamp = request.header("x-tc-timestamp")
    if date != utc_date(_check_clock(timestamp, now)):
        raise Unauthenticated(
            "The date in the credential is not the UTC date of X-TC-Timestamp", reason="signature"
        )
    headers = _signed_headers(request, signed.lower().split(";", _MOST_SIGNED))
    scope = f"{date}/{service}/tc3_request"

    def check(secret: str, request: Request) -> None:
        # The service is the one that was signed: the SDKs for Node name it after the host, be it
        # `127` or `localhost:8000` [client].
        key = tc3_key(secret, date, service)
        payload = payload_hash(request)
        texts = (
            string_to_sign(
                timestamp or "",
                scope,
                canonical_request(request.method, _query(request), variant, payload),
            )
            for variant in _variants(headers)
        )
        _compare(signature, (tc3_signature(key, text) for text in texts))

    return Credential(id=secret_id, check=check)


def utc_date(seconds: int) -> str:
    """The UTC date of a Unix time."""
    return _date_of_day(seconds // 86_400)


@lru_cache(maxsize=16)
def _date_of_day(days: int) -> str:
    return (day(1970, 1, 1) + timedelta(days)).isoformat()


def _query(request: Request) -> str:
    # Empty for POST, whatever is sent.
    return request.query if request.method in ("GET", "HEAD") else ""


def _signed_headers(request: Request, names: list[str]) -> Headers:
    if len(names) > _MOST_SIGNED:
        raise Unauthenticated(f"More than {_MOST_SIGNED} headers are signed", reason="malformed")
    headers = [(name, request.header(name)) for name in names]
    absent = [name for name, value in headers if value is None]
    absent += [name for name in REQUIRED if name not in names]
    if absent:
        raise Unauthenticated(
            f"The header `{absent[0][:100]}` has to be sent and signed", reason="malformed"
        )
    return [(name, value.strip()) for name, value in headers if value is not None]


def _variants(headers: Headers) -> Iterator[Headers]:
    """The forms in which clients sign these headers, the most common first.

    The SDKs sign values as they send them, the pages say to put them in lower case first; some
    leave out the port of the host [client].
    """
    yield headers
    for host in _hosts(dict(headers)["host"]):
        said = [(name, host if name == "host" else value) for name, value in headers]
        yield said
        yield [(name, value.lower()) for name, value in said]


def _hosts(host: str) -> list[str]:
    # An endpoint that is written as an address is sent, and signed, with its scheme [client].
    bare = _SCHEME.sub("", host)
    return list(dict.fromkeys((host, bare, _PORT.sub("", bare))))


# --------------------------------------------------------------------------- the older signature


def v1_text(method: str, host: str, parameters: Mapping[str, str]) -> str:
    """The text that is signed: every parameter but the signature, in order, not URL-encoded."""
    pairs = "&".join(
        f"{name}={parameters[name]}" for name in sorted(parameters) if name != "Signature"
    )
    return f"{method}{host}/?{pairs}"


def v1_signature(secret: str, text: str, method: str) -> str:
    """The signature of `text`; `method` is one of `DIGESTS`."""
    return base64.b64encode(hmac.digest(_bytes(secret), _bytes(text), DIGESTS[method])).decode()


def sign_v1(
    parameters: Mapping[str, str],
    key: Key,
    now: int,
    *,
    host: str,
    nonce: int,
    method: str = "POST",
    digest: str = "HmacSHA256",
) -> dict[str, str]:
    """`parameters` with the ones that sign them; `method` is that of HTTP, `now` in ms."""
    signed = {
        **parameters,
        "SecretId": key.id,
        "Timestamp": str(now // 1000),
        "Nonce": str(nonce),
        "SignatureMethod": digest,
    }
    signed["Signature"] = v1_signature(key.secret, v1_text(method, host, signed), digest)
    return signed


def find_v1(request: Request, flat: Callable[[Request], Mapping[str, str]], now: int) -> Credential:
    """Who says to have signed a form, found without reading the form. Raises `Unauthenticated`.

    `flat` reads it: once it is known that whoever is named has a key.
    """
    found = _SECRET_ID.search(request.body)
    if found is None:
        raise Unauthenticated("SecretId: required", reason="missing", parameter="SecretId")
    id = unquote_plus(found[1].decode("latin-1"))

    def check(secret: str, request: Request) -> None:
        credential = read_v1(request, flat(request), now)
        if credential.id != id or credential.check is None:
            raise Unauthenticated("SecretId: more than one", reason="malformed")
        credential.check(secret, request)

    return Credential(id=id, check=check)


def read_v1(request: Request, parameters: Mapping[str, str], now: int) -> Credential:
    """Who says to have signed `parameters`, and how to check it. Raises `Unauthenticated`."""
    for name in ("SecretId", "Signature", "Timestamp", "Nonce"):
        if not parameters.get(name):
            raise Unauthenticated(f"{name}: required", reason="missing", parameter=name)
    _check_clock(parameters["Timestamp"], now)
    method = parameters.get("SignatureMethod") or next(iter(DIGESTS))
    if method not in DIGESTS:
        raise Unauthenticated(
            f"SignatureMethod: not one of {', '.join(DIGESTS)}", reason="malformed"
        )
    hosts = _hosts((request.header("host") or "").strip())

    def check(secret: str, request: Request) -> None:
        texts = (
            v1_text(request.method, host, variant)
            for host in hosts
            for variant in _spellings(parameters)
        )
        _compare(parameters["Signature"], (v1_signature(secret, text, method) for text in texts))

    return Credential(id=parameters["SecretId"], check=check)


def _spellings(parameters: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """The parameters as sent, and as the SDK for Python signs them: `.` for `_` [client]."""
    yield parameters
    if any("_" in name for name in parameters):
        yield {name.replace("_", "."): value for name, value in parameters.items()}


# --------------------------------------------------------------------------------------- shared


def _check_clock(timestamp: str | None, now: int) -> int:
    """The seconds that `timestamp` says. Raises `Unauthenticated` where it is not about `now`."""
    if not timestamp:
        raise Unauthenticated("Timestamp: required", reason="missing", parameter="Timestamp")
    if not _SECONDS.fullmatch(timestamp):
        raise Unauthenticated("Timestamp: not a Unix time in seconds", reason="malformed")
    seconds = int(timestamp)
    if abs(now // 1000 - seconds) > TOLERANCE:
        raise Unauthenticated(
            f"The timestamp is more than {TOLERANCE} seconds away from the server's time",
            reason="expired",
        )
    return seconds


def _compare(signature: str, expected: Iterable[str]) -> None:
    given = _bytes(signature)
    if not any(hmac.compare_digest(given, _bytes(one)) for one in expected):
        raise Unauthenticated("The signature does not match", reason="signature")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _bytes(text: str) -> bytes:
    return text.encode(errors="replace")
