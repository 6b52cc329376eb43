"""Attacks by one who has no key, or a key of his own: each is a line of `ATTACKS`.

They go at what a server does for a caller before it knows him, or does without a bound. All that
is asked for costs engines nothing: it is the door that is attacked.
"""

from __future__ import annotations

import base64
import binascii
import struct
import time
import zlib
from collections.abc import Mapping
from typing import NamedTuple

from benchmarks import ground
from benchmarks.attacker import Attack, Body, Heard, Target, break_off, drip, exchange, in_chunks
from benchmarks.with_slow_names import SLOW
from safelight.dialects import named
from safelight.errors import Fault, Malformed
from safelight.task import Fetch, Kind, Submit, Task
from safelight.wire import Key, Request, Response

MODEL = "siege"  # tasks of it, and of the two that TensorsLab has for it, cost their engine nothing
TENSORSLAB_MODELS = ("zimage", "seedancev1")

_MB = 1_000_000
_BIG = 60 * _MB
_TEXT = 30 * _MB
_HEAD, _ADDRESS = 380_000, 65_000  # what the HTTP server still takes of them


# ---------------------------------------------------------------------------------- what is sent

JSON, FORM = "application/json", "application/x-www-form-urlencoded"
_BOUNDARY = b"0123456789abcdef"
MULTIPART = f"multipart/form-data; boundary={_BOUNDARY.decode()}"


def _part(name: str, more: bytes = b"") -> bytes:
    line = f'Content-Disposition: form-data; name="{name}"'.encode()
    return b"--%b\r\n%b%b\r\n\r\n" % (_BOUNDARY, line, more)


_LAST = b"\r\n--%b--\r\n" % _BOUNDARY


def _form(values: Mapping[str, str]) -> bytes:
    """A form with these values and no end."""
    return b"".join(_part(name) + text.encode() + b"\r\n" for name, text in values.items())


_FILE = b'; filename="picture.png"\r\nContent-Type: image/png'


def _upload(data: Body, values: Mapping[str, str]) -> Body:
    """TensorsLab's form with these values and a picture."""
    start = _form(values) + _part("sourceImage", _FILE)
    return Body(start + data.start, data.unit, data.times, data.end + _LAST)


def _in_base64(data: Body) -> Body:
    """A body whose parts have lengths that three divides, in base64."""
    start, unit, end = (base64.b64encode(part) for part in (data.start, data.unit, data.end))
    return Body(start, unit, data.times, end)


class Route(NamedTuple):
    """Where in a dialect something is asked for."""

    dialect: str
    op: str
    content_type: str = JSON
    chunked: bool = False


def _request(route: Route, target: Target, key: Key | None, query: str = "") -> Request:
    """The head of a request; signed so that Tencent's signature does not cover the body."""
    wire = named(route.dialect)
    place = wire.route(route.op)
    headers = [("host", f"127.0.0.1:{target.port}"), ("content-type", route.content_type)]
    if route.dialect == "tencent":
        headers += [("x-tc-action", route.op), ("x-tc-version", "2019-06-12")]
        headers += [("x-tc-content-sha256", "UNSIGNED-PAYLOAD")]
    request = Request(method=place.method, path=place.path, query=query, headers=tuple(headers))
    return request if key is None else wire.write_key(request, key, int(time.time() * 1000))


def _send(
    route: Route, body: Body, target: Target, key: Key | None = None, *more: tuple[str, str]
) -> Heard:
    """Send a body there, and hear what is answered."""
    request = _request(route, target, key).with_headers(*more)
    if route.chunked:
        request = request.with_headers(("transfer-encoding", "chunked"))
        return exchange(target.port, ground.raw(request), in_chunks(body.pieces()))
    request = request.with_headers(("content-length", str(body.size)))
    return exchange(target.port, ground.raw(request), body.pieces())


# ------------------------------------------------------------------------------- the places to go

_CREATES = (
    Route("tensorslab", "images.zimage", MULTIPART),
    Route("aigptimage", "createTask"),
    Route("aitoearn", "image.edit"),
    Route("tencent", "CreateAigcImageTask"),
)
_QUERIES = (
    Route("tensorslab", "images.infobytaskid"),
    Route("tencent", "DescribeAigcImageTask"),
)
_FILM = Route("tensorslab", "video.seedancev1", MULTIPART)
_WRONG_KEY = Key(id="AKID" + "0" * 24, secret="sk-" + "0" * 48)


def _turn(routes: tuple[Route, ...], number: int) -> Route:
    return routes[number % len(routes)]


def _stranger(number: int) -> Key | None:
    """No key, or a wrong one."""
    return _WRONG_KEY if number // len(_CREATES) % 2 else None


# ------------------------------------------------------------------------------------ the attacks


def _send_keyless(target: Target, number: int, until: float) -> str:
    body = Body.filled(b"", b"x" * 1024, _BIG)
    return _send(_turn(_CREATES, number), body, target, _stranger(number)).word


def _send_keyless_chunks(target: Target, number: int, until: float) -> str:
    body = Body.filled(b"", b"x" * 1024, _BIG)
    route = _turn(_CREATES, number)._replace(chunked=True)
    return _send(route, body, target, _stranger(number)).word


def _break_off(target: Target, number: int, until: float) -> str:
    """Announce a body, send half of it, and reset the connection."""
    key = target.key if number % 2 else None
    request = _request(_turn(_CREATES, number), target, key)
    head = ground.raw(request.with_headers(("content-length", str(_BIG))))
    return break_off(target, Body.filled(head, b"x" * 1024, _BIG // 2))


def _drip_body(target: Target, number: int, until: float) -> str:
    return _drip_body_with(None, target, number, until)


def _drip_body_with_key(target: Target, number: int, until: float) -> str:
    return _drip_body_with(target.key, target, number, until)


def _drip_body_with(key: Key | None, target: Target, number: int, until: float) -> str:
    """Announce a body, send half of it, and then a byte now and then."""
    request = _request(_turn(_CREATES, number), target, key)
    head = ground.raw(request.with_headers(("content-length", str(_BIG))))
    return drip(target, Body.filled(head, b"x" * 1024, _BIG // 2), until, b"x")


def _drip_head(target: Target, number: int, until: float) -> str:
    start = b"POST /v1/images/infobytaskid HTTP/1.1\r\nhost: 127.0.0.1\r\n"
    return drip(target, Body(start), until, b"x-a: b\r\n")


_COMMON = b"Action=ProcessImage&Version=2019-06-12&Region=x&Prompt="
_BARE = Request(method="POST", path="/", headers=(("host", "localhost"), ("content-type", FORM)))


def _send_form(target: Target, number: int, until: float) -> str:
    """What the head could say is in the body, among 15 MB of a value in escapes."""
    body = Body.filled(_COMMON, b"%41", 15 * _MB)
    head = ground.raw(_BARE.with_headers(("content-length", str(body.size))))
    return exchange(target.port, head, body.pieces()).word


def _send_lists(target: Target, number: int, until: float) -> str:
    body = Body.filled(b"[", b"[],", _BIG, b"[]]")
    return _send(_turn(_QUERIES, number), body, target, _stranger(number)).word


def _send_lists_with_key(target: Target, number: int, until: float) -> str:
    body = Body.filled(b"[", b"[],", _BIG, b"[]]")
    return _send(_turn(_QUERIES, number), body, target, target.key).word


def _send_long_id(target: Target, number: int, until: float) -> str:
    """In a body where the dialect has it there, and else in the address."""
    where = number % 4
    if where < 2:
        name = (b"taskid", b"TaskId")[where]
        body = Body.filled(b'{"%b":"' % name, b"a-", _BIG, b'"}')
        return _send(_QUERIES[where], body, target, target.key).word
    start = (b"/api/ai/image/task/", b"/api/v1/jobs/recordInfo?taskId=")[where - 2]
    route = (Route("aitoearn", "image.task"), Route("aigptimage", "recordInfo"))[where - 2]
    lines = ground.raw(_request(route, target, target.key)).partition(b"\r\n")[2]
    line = Body.filled(b"GET " + start, b"a-", _BIG, b" HTTP/1.1\r\n" + lines)
    return exchange(target.port, b"", line.pieces()).word


def _delete_many(target: Target, number: int, until: float) -> str:
    unit = b'"%024x",' % (2**80 + number)
    body = Body(b'{"taskids":[', unit, 400_000, b'"%024x"]}' % 0)
    routes = (Route("tensorslab", "images.delete"), Route("tensorslab", "video.delete"))
    return _send(_turn(routes, number), body, target, target.key).word


def _send_digits(target: Target, number: int, until: float) -> str:
    """A number of 48,000 digits that is none, in three dialects that read numbers out of text."""
    key, digits = target.key, b"1" * 48
    match number % 3:
        case 0:
            start = _form({"prompt": "a lighthouse"}) + _part("duration")
            return _send(_FILM, Body(start, digits, 1000, b"x" + _LAST), target, key).word
        case 1:
            start = b'{"model":"%b","input":{"prompt":"x","duration":"' % MODEL.encode()
            return _send(_CREATES[1], Body(start, digits, 1000, b'x"}}'), target, key).word
        case _:
            box = "ImageTask.EraseConfig.ImageEraseLogo.ImageAreaBoxes.0.BoundingBox.0"
            body = Body(f"{box}=".encode(), digits, 1000, b"x")
            return _send(Route("tencent", "ProcessImage", FORM), body, target, key).word


def _send_long_text(target: Target, number: int, until: float) -> str:
    """A task with 30 MB of text in it, and, where it is accepted, two looks at it."""
    route = _turn(
        (_CREATES[0], _CREATES[1], Route("aitoearn", "video.create"), _CREATES[3]), number
    )
    model = MODEL.encode()
    start, end = {
        "tensorslab": (_part("prompt"), _LAST),
        "aigptimage": (b'{"model":"%b","input":{"prompt":"x","note":"' % model, b'"}}'),
        "aitoearn": (b'{"model":"%b","prompt":"x","metadata":{"note":"' % model, b'"}}'),
        "tencent": (b'{"ModelName":"%b","Prompt":"' % model, b'"}'),
    }[route.dialect]
    heard = _send(route, Body.filled(start, b"dusk ", _TEXT, end), target, target.key)
    kind = Kind.VIDEO if route.dialect == "aitoearn" else Kind.IMAGE
    for request in _queries_of(route.dialect, kind, heard, target) * 2:
        exchange(target.port, request)
    return heard.word


def _queries_of(dialect: str, kind: Kind, heard: Heard, target: Target) -> list[bytes]:
    """The request for the state of a task that was accepted; none where none was."""
    response = Response(status=heard.status, headers=heard.headers, body=heard.body)
    try:
        task = named(dialect).read_reply(Submit(kind=kind), response)
    except (Fault, Malformed):
        return []
    if not isinstance(task, Task):
        return []
    wire = named(dialect)
    host = ("host", f"127.0.0.1:{target.port}")
    request = wire.write_request(Fetch(id=task.id, kind=kind)).with_headers(host)
    return [ground.raw(wire.write_key(request, target.key, int(time.time() * 1000)))]


def _chunk(kind: bytes, data: bytes = b"") -> bytes:
    """A chunk of a PNG."""
    return (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", binascii.crc32(kind + data))
    )


def _head(width: int, height: int) -> bytes:
    """The beginning of a PNG of that size, in grey: 33 bytes."""
    return b"\x89PNG\r\n\x1a\n" + _chunk(
        b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    )


_PIXELS = _chunk(b"IDAT", zlib.compress(b"\0" * 17 * 16)) + _chunk(b"IEND")
_EMPTY = Body(_head(16, 16), _chunk(b"zzZz"), 2_700_000, _PIXELS)
_PADDED = Body(_head(16, 16) + _PIXELS, b"\0" * 1024, 30_000)
_ASKED = {"prompt": "a lighthouse"}
_EDIT = b'{"model":"%b","prompt":"x","image":"data:image/png;base64,' % MODEL.encode()


def _send_chunks(target: Target, number: int, until: float) -> str:
    if number % 2:
        data = _in_base64(_EMPTY)
        body = data._replace(start=_EDIT + data.start, end=data.end + b'"}')
        return _send(_CREATES[2], body, target, target.key).word
    return _send(_CREATES[0], _upload(_EMPTY, _ASKED), target, target.key).word


_BOMBS = (
    _head(65_000, 65_000) + _PIXELS,
    b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b"\x3b",
    b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 65_000, 65_000, 1, 24, 0, 0, 0, 0, 0, 0),
    # A megabyte of text in each chunk, in a thousand bytes.
    _head(16, 16) + _chunk(b"zTXt", b"a\0\0" + zlib.compress(b" " * 2**20)) * 60 + _PIXELS,
)


def _send_bomb(target: Target, number: int, until: float) -> str:
    body = _upload(Body(_BOMBS[number % len(_BOMBS)]), _ASKED)
    return _send(_CREATES[0], body, target, target.key).word


def _repeat_upload(target: Target, number: int, until: float) -> str:
    header = ("idempotency-key", "the same every time")
    return _send(_CREATES[0], _upload(_PADDED, _ASKED), target, target.key, header).word


def _repeat_otherwise(target: Target, number: int, until: float) -> str:
    header = ("idempotency-key", "of another request each time")
    asked = {"prompt": f"a lighthouse, view {number}"}
    return _send(_CREATES[0], _upload(_PADDED, asked), target, target.key, header).word


def _name_slowly(target: Target, number: int, until: float) -> str:
    """Four sources, each under a name of its own that the resolver hangs on."""
    urls = [f"http://n{number}-{index}{SLOW}/a.png" for index in range(4)]
    texts = ",".join(f'"{url}"' for url in urls).encode()
    model = MODEL.encode()
    infos = ",".join(f'{{"ImageUrl":"{url}"}}' for url in urls).encode()
    route = _turn(_CREATES, number)
    text = {
        "tensorslab": _form({**_ASKED, "imageUrl": ",".join(urls)}) + _LAST[2:],
        "aigptimage": b'{"model":"%b","input":{"prompt":"x","image_urls":[%b]}}' % (model, texts),
        "aitoearn": b'{"model":"%b","prompt":"x","image":[%b]}' % (model, texts),
        "tencent": b'{"ModelName":"%b","Prompt":"x","ImageInfos":[%b]}' % (model, infos),
    }[route.dialect]
    return _send(route, Body(text), target, target.key).word


def _send_parts(target: Target, number: int, until: float) -> str:
    """A form of a million parts, or of twenty million fields."""
    key = target.key if number % 4 < 2 else None
    if number % 2:
        body = Body.filled(b"", b"a=&", _BIG)
        return _send(Route("tencent", "ProcessImage", FORM), body, target, key).word
    return _send(_CREATES[0], Body.filled(b"", _part("a") + b"\r\n", _BIG, _LAST), target, key).word


def _nest(target: Target, number: int, until: float) -> str:
    units = (b"[", b'{"a":', b'{"model":"x","input":')
    routes = (_CREATES[1], _CREATES[2], _CREATES[3], *_QUERIES)
    body = Body.filled(b"", units[number % len(units)], _BIG)
    return _send(_turn(routes, number), body, target, target.key).word


def _send_head(target: Target, number: int, until: float) -> str:
    """A head that does not fit: one long header, many short ones, or a long address."""
    first = b"GET /api/v1/jobs/recordInfo?taskId=1 HTTP/1.1\r\nhost: a\r\n"
    match number % 4:
        case 0:
            head = Body.filled(first + b"x-a: ", b"a" * 64, _BIG, b"\r\n\r\n")
        case 1:
            head = Body.filled(first, b"x-a: b\r\n", _BIG, b"\r\n")
        case 2:
            head = Body.filled(b"GET /?Action=", b"a&b=", _BIG, b" HTTP/1.1\r\nhost: a\r\n\r\n")
        case _:  # just as much as the HTTP server takes
            head = Body.filled(
                b"GET /?Action=", b"%C3%A9&a=", _ADDRESS, b" HTTP/1.1\r\nhost: a\r\n\r\n"
            )
    return exchange(target.port, b"", head.pieces()).word


def _name_headers(target: Target, number: int, until: float) -> str:
    """A signature by nobody that says to be over 180,000 headers, of which there are 60."""
    date = time.strftime("%Y-%m-%d", time.gmtime())
    start = f"authorization: TC3-HMAC-SHA256 Credential=AKID/{date}/mps/tc3_request, SignedHeaders="
    lines = [
        "POST / HTTP/1.1",
        *(f"x-{index}: y" for index in range(60)),
        "a: b",
        "host: a",
        "content-type: application/json",
        "x-tc-action: ProcessImage",
        "x-tc-version: 2019-06-12",
        f"x-tc-timestamp: {time.time():.0f}",
        "content-length: 0",
        f"{start}content-type;host",
    ]
    end = f", Signature={'0' * 64}\r\n\r\n".encode()
    head = Body.filled("\r\n".join(lines).encode(), b";a", _HEAD, end)
    return exchange(target.port, b"", head.pieces()).word


def _send_data_uri(target: Target, number: int, until: float) -> str:
    """A picture in a data URI of nothing but options, or in base64 of nothing but blanks."""
    start = b'{"model":"%b","prompt":"x","image":"data:' % MODEL.encode()
    if number % 2:
        body = Body.filled(start + b"x;base64,", b"QQQQ ", _BIG, b'QQ=="}')
    else:
        body = Body.filled(start, b";", _BIG, b'base64,QQ=="}')
    return _send(_CREATES[2], body, target, target.key).word


def _send_addresses(target: Target, number: int, until: float) -> str:
    """Three million sources in a list, or as many as fit into 39 MB of a form's field."""
    model = MODEL.encode()
    start, unit, end = (
        (_form(_ASKED) + _part("imageUrl"), b",http://a", _LAST),
        (b'{"model":"%b","input":{"prompt":"x","image_urls":["' % model, b'http://a","', b'"]}}'),
        (b'{"model":"%b","prompt":"x","image":["' % model, b'http://a","', b'http://a"]}'),
    )[number % 3]
    route = _turn(_CREATES[:3], number)
    return _send(route, Body.filled(start, unit, 39 * _MB, end), target, target.key).word


_SINGLE = (
    Attack("bodies without a key", "60 MB to a create of each dialect", _send_keyless, 4, 20),
    Attack("the same in chunks", "of no announced length", _send_keyless_chunks, 4, 20),
    Attack("uploads broken off", "after 30 of 60 MB, with a key and without", _break_off, 4, 20),
    Attack("slow bodies without a key", "30 of 60 MB, then two bytes a second", _drip_body, 40, 40),
    Attack("slow bodies", "the same with a key", _drip_body_with_key, 40, 40),
    Attack("slow heads", "200 connections, two header lines a second each", _drip_head, 200, 400),
    Attack("forms without a key", "15 MB urlencoded to /", _send_form, 1, 2),
    Attack("lists without a key", "60 MB of [],[], to a status query", _send_lists, 1, 2),
    Attack("lists", "the same with a key", _send_lists_with_key, 1, 2),
    Attack("a long id", "of 60 MB, asked for in each dialect", _send_long_id, 1, 2),
    Attack("many ids", "400,000 in a delete", _delete_many, 1, 4),
    Attack("digits", "48,000 in a field that is a number", _send_digits, 1, 4),
    Attack("long texts", "30 MB in a create, asked for again", _send_long_text, 2, 4),
    Attack("empty chunks", "2,700,000 in a PNG of 31 MB", _send_chunks, 1, 4),
    Attack("bombs", "pictures whose head unpacks, or says 65,000 x 65,000", _send_bomb, 4, 40),
    Attack("an upload repeated", "30 MB under one idempotency key", _repeat_upload, 2, 10),
    Attack("keys in conflict", "other 30 MB under one idempotency key", _repeat_otherwise, 2, 10),
    Attack("slow names", "four sources each under names that take 5 to 10 s", _name_slowly, 12, 12),
    Attack("many parts", "60 MB of them in a form", _send_parts, 2, 10),
    Attack("many sources", "3,000,000 addresses in a create", _send_addresses, 1, 4),
    Attack("data URIs", "60 MB of options, or of blanks in base64", _send_data_uri, 1, 4),
    Attack("deep nesting", "60 MB of [ and of objects in objects", _nest, 2, 10),
    Attack("long heads", "60 MB, or 65 kB of a query, without a key", _send_head, 4, 40),
    Attack("signed headers", "180,000 names in a signature, without a key", _name_headers, 1, 10),
)


def _do_all(target: Target, number: int, until: float) -> str:
    attack = _SINGLE[number % len(_SINGLE)]
    return attack.strike(target, number // len(_SINGLE), until)


ATTACKS = (*_SINGLE, Attack("all at once", "each of these in turn", _do_all, 48, 12))
