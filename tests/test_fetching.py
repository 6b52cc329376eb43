"""Fetching what callers name: from real servers here, and never from inside unless allowed."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from safelight.errors import InvalidValue
from safelight.fetching import Fetcher, FetchError, FileTooLarge
from safelight.outgoing import Outgoing

MOST = 1000
Answer = Callable[[str, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(answer: Answer, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[int]:
    """An HTTP server that hands the head of every request to `answer`; gives its port."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer((await reader.readuntil(b"\r\n\r\n")).decode("latin-1"), writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(handle, host, port)
    async with listening:
        yield listening.sockets[0].getsockname()[1]


def answering(body: bytes, status: str = "200 OK", *headers: str) -> Answer:
    async def answer(head: str, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close"]
        writer.write("\r\n".join([*lines, *headers, "", ""]).encode("latin-1") + body)

    return answer


def fetcher(private: bool = True, seconds: float = 5) -> Fetcher:
    return Fetcher(MOST, seconds, private)


def sending(outgoing: Outgoing) -> Fetcher:
    """A fetcher that goes where that one lets it."""
    made = Fetcher(MOST, 5)
    made._outgoing = outgoing
    return made


async def failure(url: str, path: Path, **options: Any) -> tuple[type[FetchError], str]:
    with pytest.raises(FetchError) as told:
        await fetcher(**options).fetch(url, path)
    return told.type, str(told.value)


# ------------------------------------------------------------------------------- where it works


async def test_a_file_is_fetched(tmp_path: Path) -> None:
    heads = []

    async def answer(head: str, writer: asyncio.StreamWriter) -> None:
        heads.append(head)
        await answering(b"a picture")(head, writer)

    async with server(answer) as port:
        url = f"http://localhost:{port}/a%20b.png?signature=x%2Fy"
        await fetcher().check([(url, "source 1")])
        await fetcher().fetch(url, tmp_path / "f")

    assert (tmp_path / "f").read_bytes() == b"a picture"
    # The name it was asked by, and not the address that was connected to.
    assert heads[0].startswith("GET /a%20b.png?signature=x%2Fy HTTP/1.1\r\n")
    assert f"host: localhost:{port}\r\n" in heads[0].lower()
    assert "authorization" not in heads[0].lower()
    assert "cookie" not in heads[0].lower()


async def test_a_file_is_fetched_over_ipv6(tmp_path: Path) -> None:
    async with server(answering(b"a picture"), "::1") as port:
        await fetcher().fetch(f"http://[::1]:{port}/", tmp_path / "f")

    assert (tmp_path / "f").read_bytes() == b"a picture"


async def test_redirects_are_followed(tmp_path: Path) -> None:
    async def answer(head: str, writer: asyncio.StreamWriter) -> None:
        steps = {"/a": "/b", "/b": "../c?x=1", "/c?x=1": f"http://127.0.0.1:{port}/d"}
        path = head.split(" ")[1]
        if path in steps:
            await answering(b"", "302 Found", f"Location: {steps[path]}")(head, writer)
        else:
            await answering(path.encode())(head, writer)

    async with server(answer) as port:
        await fetcher().fetch(f"http://127.0.0.1:{port}/a", tmp_path / "f")

    assert (tmp_path / "f").read_bytes() == b"/d"


# -------------------------------------------------------------------------------- where it fails


async def test_a_file_of_just_the_limit_is_fetched_and_one_more_byte_is_not(
    tmp_path: Path,
) -> None:
    async with server(answering(b"x" * MOST)) as port:
        await fetcher().fetch(f"http://127.0.0.1:{port}/", tmp_path / "f")
    async with server(answering(b"x" * (MOST + 1))) as port:
        kind, message = await failure(f"http://127.0.0.1:{port}/?secret=1", tmp_path / "g")

    assert kind is FileTooLarge
    assert "larger than 1000 bytes" in message
    assert "secret" not in message


async def test_a_stream_without_an_end_is_cut(tmp_path: Path) -> None:
    async def answer(head: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        while True:
            writer.write(b"x" * 500)
            await writer.drain()

    async with server(answer) as port:
        kind, _ = await failure(f"http://127.0.0.1:{port}/", tmp_path / "f")

    assert kind is FileTooLarge


async def test_a_server_that_is_too_slow_is_left(tmp_path: Path) -> None:
    async def answer(head: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        while True:  # a byte now and then, so that no read times out
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with server(answer) as port:
        kind, message = await failure(f"http://127.0.0.1:{port}/", tmp_path / "f", seconds=0.15)

    assert kind is FetchError
    assert "within 0.15 seconds" in message


async def test_a_server_that_says_nothing_is_left(tmp_path: Path) -> None:
    async def answer(head: str, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.5)

    async with server(answer) as port:
        kind, _ = await failure(f"http://127.0.0.1:{port}/", tmp_path / "f", seconds=0.1)

    assert kind is FetchError


@pytest.mark.parametrize("status", ["404 Not Found", "500 Oops", "204 No Content", "206 Part"])
async def test_another_status_is_told(tmp_path: Path, status: str) -> None:
    async with server(answering(b"", status)) as port:
        kind, message = await failure(f"http://127.0.0.1:{port}/a?b", tmp_path / "f")

    assert kind is FetchError
    assert message == f"answered with status {status[:3]}"


async def test_an_answer_that_would_have_to_be_unpacked_is_refused(tmp_path: Path) -> None:
    async with server(answering(b"\x1f\x8b", "200 OK", "Content-Encoding: gzip")) as port:
        _, message = await failure(f"http://127.0.0.1:{port}/", tmp_path / "f")

    assert "content encoding" in message


BROKEN = [
    b"no http\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
    b"HTTP/1.1 302 Found\r\nLocation: http://[::1/\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: http://a\x00b/\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: ftp://127.0.0.1/\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: /\xff\xfe\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
]


@pytest.mark.parametrize("raw", BROKEN)
async def test_a_broken_answer_is_a_source_that_cannot_be_had(tmp_path: Path, raw: bytes) -> None:
    async def answer(head: str, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)

    async with server(answer) as port:
        kind, message = await failure(f"http://127.0.0.1:{port}/", tmp_path / "f")

    assert kind is FetchError
    assert "Traceback" not in message


async def test_nobody_there_is_told(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        port = taken.getsockname()[1]
        kind, message = await failure(f"http://127.0.0.1:{port}/", tmp_path / "f")

    assert kind is FetchError
    assert "cannot be fetched" in message


async def test_a_message_does_not_name_the_address(tmp_path: Path) -> None:
    _, message = await failure(f"http://{'a' * 300}.example/x?token=secret", tmp_path / "f")

    assert "secret" not in message
    assert "aaa" not in message


# ------------------------------------------------------------------------------ what is inside

INSIDE = [
    "http://127.0.0.1/",
    "http://127.1/",
    "http://127.8.8.8:8080/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.1/",
    "http://0177.0.0.1/",
    "http://017700000001/",
    "http://0/",
    "http://0.0.0.0/",
    "http://localhost/",
    "http://LOCALHOST/",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.168.1.1/",
    "http://100.64.0.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://0xa9fea9fe/",
    "http://2852039166/",
    "http://224.0.0.1/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    "http://192.0.2.1/",
    "http://198.18.0.1/",
    "http://[::1]/",
    "http://[::]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://[::127.0.0.1]/",
    "http://[64:ff9b::127.0.0.1]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[64:ff9b:1::1]/",
    "http://[2002:7f00:1::1]/",
    "http://[2002:a9fe:a9fe::1]/",
    "http://[2001:0:4136:e378:8000:63bf:80ff:fffe]/",  # Teredo, of 127.0.0.1
    "http://[fe80::1]/",
    "http://[fec0::1]/",
    "http://[fc00::1]/",
    "http://[fd00:ec2::254]/",
    "http://[ff02::1]/",
    "http://[2001:db8::1]/",
    "http://127.0.0.1:80@127.0.0.1/",
]


@pytest.mark.parametrize("url", INSIDE)
async def test_an_address_that_leads_inside_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue) as told:
        await fetcher(private=False).check([(url, "source 1")])
    assert told.value.parameter == "source 1"

    kind, _ = await failure(url, tmp_path / "f", private=False)
    assert kind is FetchError
    assert not (tmp_path / "f").exists()


@pytest.mark.parametrize("host", ["localhost.", "[fe80::1%25lo]", "[fe80::1%lo]", "127.0.0.1."])
async def test_what_some_resolvers_take_for_the_inside_is_not_fetched(
    host: str, tmp_path: Path
) -> None:
    await failure(f"http://{host}/", tmp_path / "f", private=False)


NO_ADDRESS = [
    "",
    "picture.png",
    "//example.com/a.png",
    "ftp://example.com/a.png",
    "file:///etc/passwd",
    "gopher://127.0.0.1/",
    "data:image/png;base64,AAAA",
    "javascript:alert(1)",
    "http://",
    "http:///a.png",
    "http://[::1/",
    "http://example.com:99999/",
    "http://example.com:port/",
    "http://user@example.com/",
    "http://user:password@example.com/",
    "http://:@example.com/",
    f"http://{'a' * 64}.example/",
    "http://a..b/",
    "http://a\x00b/",
    "http://\udcff/",
]


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("url", NO_ADDRESS)
async def test_what_is_no_address_is_refused(url: str, private: bool, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue):
        await fetcher(private).check([(url, "source 1")])
    await failure(url, tmp_path / "f", private=private)


class Names:
    """What the names of a test resolve to, one answer after the other; the last one stays."""

    def __init__(self, **answers: list[list[str]]) -> None:
        self.answers = answers
        self.asked = 0
        self._numbers = socket.getaddrinfo

    def __call__(
        self, host: str, port: int, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> list[Any]:
        if flags & socket.AI_NUMERICHOST:
            return self._numbers(host, port, family, type, proto, flags)
        self.asked += 1
        if host not in self.answers:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        found = self.answers[host]
        addresses = found.pop(0) if len(found) > 1 else found[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in addresses]


@pytest.fixture
async def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """The resolver of this test: a name is outside, so its answers are made up here."""
    made = Names()
    monkeypatch.setattr(socket, "getaddrinfo", made)
    return made


async def test_a_name_is_refused_by_where_it_leads(names: Names, tmp_path: Path) -> None:
    names.answers = {"inside": [["127.0.0.1"]], "both": [["8.8.8.8", "10.0.0.1"]]}

    for host in names.answers:
        with pytest.raises(InvalidValue, match="private"):
            await fetcher(private=False).check([(f"http://{host}/", "source 1")])


async def test_a_name_that_does_not_resolve_now_may_when_the_task_runs(
    names: Names, tmp_path: Path
) -> None:
    await fetcher(private=False).check([("http://later/", "source 1")])

    kind, _ = await failure("http://later/", tmp_path / "f", private=False)
    assert kind is FetchError


async def test_a_public_name_passes_the_check(names: Names) -> None:
    names.answers = {"pictures": [["8.8.8.8", "2606:4700::1111"]]}

    await fetcher(private=False).check([("https://pictures/", "source 1")])


async def test_a_name_that_changes_its_mind_gains_nothing(names: Names, tmp_path: Path) -> None:
    reached = []

    async def answer(head: str, writer: asyncio.StreamWriter) -> None:
        reached.append(head)

    async with server(answer) as port:
        names.answers = {"fickle": [["8.8.8.8"], ["127.0.0.1"]]}
        await fetcher(private=False).check([(f"http://fickle:{port}/", "source 1")])
        _, message = await failure(f"http://fickle:{port}/", tmp_path / "f", private=False)

    assert "private" in message
    assert reached == []


async def test_a_name_is_resolved_once_for_a_connection(names: Names, tmp_path: Path) -> None:
    # Would the connection resolve the name again, it would go elsewhere than what was checked.
    async with server(answering(b"a picture")) as port:
        names.answers = {"fickle": [["127.0.0.1"], ["127.0.0.2"]]}
        await fetcher().fetch(f"http://fickle:{port}/", tmp_path / "f")

    assert names.asked == 1
    assert (tmp_path / "f").read_bytes() == b"a picture"


async def test_every_address_of_a_name_is_tried(names: Names, tmp_path: Path) -> None:
    async with server(answering(b"a picture")) as port:
        names.answers = {"pictures": [["127.0.0.2", "127.0.0.3", "127.0.0.1"]]}
        await fetcher().fetch(f"http://pictures:{port}/", tmp_path / "f")

    assert (tmp_path / "f").read_bytes() == b"a picture"


async def test_a_redirect_to_the_inside_is_not_followed(tmp_path: Path) -> None:
    # The first server stands for a public one: only the second address is checked for real.
    reached = []

    class Once(Outgoing):
        """Lets the first server pass, as if it were public."""

        checks = 0

        async def resolve(self, url: str) -> list[str]:
            Once.checks += 1
            self._private = Once.checks == 1
            return await super().resolve(url)

    async def answer(head: str, writer: asyncio.StreamWriter) -> None:
        reached.append(head.split(" ")[1])
        location = f"Location: http://127.0.0.1:{port}/inside"
        await answering(b"", "302 Found", location)(head, writer)

    async with server(answer) as port:
        with pytest.raises(FetchError, match="private"):
            await sending(Once()).fetch(f"http://127.0.0.1:{port}/first", tmp_path / "f")

    assert reached == ["/first"]


# ------------------------------------------------------------------------- where our own files are


@pytest.mark.parametrize(
    ("trusted", "url"),
    [
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000/bucket/a.png?X-Amz-Signature=1"),
        ("https://127.0.0.1", "https://127.0.0.1/bucket/a.png"),
        ("http://[::1]:9000", "http://[::1]:9000/a"),
    ],
)
async def test_a_trusted_origin_may_be_inside(trusted: str, url: str) -> None:
    await Fetcher(MOST, 5, trusted=frozenset({trusted})).check([(url, "source 1")])


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1:9000/a",  # another scheme
        "http://127.0.0.1:9001/a",  # another port
        "http://127.0.0.1/a",
        "http://127.0.0.2:9000/a",  # another host
        "http://localhost:9000/a",  # the same one, by a name that was not said
        "http://[::ffff:127.0.0.1]:9000/a",
        "http://127.0.0.1:9000@127.0.0.1:9001/a",
        "http://127.0.0.1:9000@10.0.0.1/a",
        "http://10.0.0.1/http://127.0.0.1:9000/a",
        "http://10.0.0.1/?http://127.0.0.1:9000",
        "http://10.0.0.1#http://127.0.0.1:9000",
        "http://127.0.0.1:90000/a",
    ],
)
async def test_nothing_else_inside_is_trusted_with_it(url: str, tmp_path: Path) -> None:
    trusting = Fetcher(MOST, 5, trusted=frozenset({"http://127.0.0.1:9000"}))

    with pytest.raises(InvalidValue):
        await trusting.check([(url, "source 1")])
    with pytest.raises(FetchError):
        await trusting.fetch(url, tmp_path / "f")
    assert not (tmp_path / "f").exists()


async def test_a_file_is_fetched_from_a_trusted_origin(tmp_path: Path) -> None:
    async with server(answering(b"a picture")) as port:
        origin = f"http://127.0.0.1:{port}"
        await Fetcher(MOST, 5, trusted=frozenset({origin})).fetch(f"{origin}/a", tmp_path / "f")

    assert (tmp_path / "f").read_bytes() == b"a picture"


async def test_what_is_trusted_sends_nobody_further_inside(tmp_path: Path) -> None:
    reached = []

    async def answer(head: str, writer: asyncio.StreamWriter) -> None:
        reached.append(head)

    async with server(answer) as other:
        location = f"Location: http://127.0.0.1:{other}/inside"
        async with server(answering(b"", "302 Found", location)) as port:
            origin = f"http://127.0.0.1:{port}"
            with pytest.raises(FetchError, match="private"):
                await Fetcher(MOST, 5, trusted=frozenset({origin})).fetch(origin, tmp_path / "f")

    assert reached == []


@pytest.mark.parametrize("trusted", [True, False])
async def test_a_redirect_from_elsewhere_is_followed_by_the_same_rule(
    tmp_path: Path, trusted: bool
) -> None:
    class Outside(Outgoing):
        """Takes one name, which leads to a server of this test, for a public one."""

        async def resolve(self, url: str) -> list[str]:
            return ["127.0.0.1"] if "//outside:" in url else await super().resolve(url)

    async with server(answering(b"a picture")) as bucket:
        location = f"Location: http://127.0.0.1:{bucket}/a.png"
        async with server(answering(b"", "302 Found", location)) as port:
            origins = frozenset({f"http://127.0.0.1:{bucket if trusted else bucket + 1}"})
            saving = sending(Outside(trusted=origins)).fetch(
                f"http://outside:{port}/", tmp_path / "f"
            )
            if trusted:
                await saving
                assert (tmp_path / "f").read_bytes() == b"a picture"
            else:
                with pytest.raises(FetchError, match="private"):
                    await saving


async def test_a_name_beyond_ascii_is_asked_for_as_it_is_registered(
    names: Names, tmp_path: Path
) -> None:
    heads = []

    async def answer(head: str, writer: asyncio.StreamWriter) -> None:
        heads.append(head.lower())
        await answering(b"x")(head, writer)

    async with server(answer) as port:
        names.answers = {"bücher.example": [["127.0.0.1"]]}
        await fetcher().fetch(f"http://bücher.example:{port}/", tmp_path / "f")

    assert f"host: xn--bcher-kva.example:{port}\r\n" in heads[0]
