"""Headers as they come and go."""

from __future__ import annotations

from safelight.server.heads import read_headers, write_headers
from safelight.wire import Response


def test_headers_are_read_whatever_bytes_are_in_them() -> None:
    lines = [(b"host", b"x"), (b"x-name", b"caf\xe9\xff"), (b"x-name", b"")]

    assert read_headers(lines) == (("host", "x"), ("x-name", "caf\xe9\xff"), ("x-name", ""))


def test_an_answer_says_how_long_it_is_and_is_not_kept() -> None:
    written = write_headers(Response(headers=(("content-type", "a/b"),), body=b"1234"))

    assert written == [
        (b"content-type", b"a/b"),
        (b"content-length", b"4"),
        (b"cache-control", b"no-store"),
    ]


def test_what_may_be_kept_says_so_once() -> None:
    written = write_headers(Response(headers=(("cache-control", "max-age=1"),)))

    assert [value for name, value in written if name == b"cache-control"] == [b"max-age=1"]


def test_what_was_echoed_begins_no_header_of_its_own() -> None:
    written = dict(write_headers(Response(headers=(("x-echo", "a\r\nset-cookie: b\u20ac"),))))

    assert written[b"x-echo"] == b"aset-cookie: b?"
