"""What a caller costs a real server before it knows him, and what one caller may take from others.

The attacks are those that took the server down: each filled gigabytes, or held it up for seconds.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from end_to_end.conftest import Start
from end_to_end.running import SERVED, Running, bugs_in, running, until
from safelight.task import Fetch, Kind
from safelight.wire import Key, Request

MEGABYTE = 2**20
CHUNK = bytes(MEGABYTE)
HEADS = {  # of what a stranger may send much to, in every dialect
    "tensorslab": ("/v1/images/seedreamv4", ("content-type: multipart/form-data; boundary=x",)),
    "aigptimage": ("/api/v1/jobs/createTask", ("content-type: application/json",)),
    "aitoearn": ("/api/ai/image/edit/async", ("content-type: application/json",)),
    "safelight": ("/api/safelight/v1/tasks", ("content-type: application/json",)),
    "tencent": ("/", ("x-tc-action: CreateAigcImageTask", "x-tc-version: 2019-06-12")),
    "tencent form": ("/", ("content-type: application/x-www-form-urlencoded",)),
}
CONFIG = """
body_timeout = 1
max_bodies = 134217728

[[models]]
name = "*"
engine = "sketch"
"""


def resident(server: Running) -> int:
    """The memory of the server's process, in bytes."""
    pages = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1])
    return pages * 4096


def head(server: Running, name: str, *more: str) -> bytes:
    path, headers = HEADS[name]
    host = f"host: {urlsplit(server.url).netloc}"
    return "\r\n".join((f"POST {path} HTTP/1.1", host, *headers, *more, "", "")).encode()


@contextlib.contextmanager
def connected(server: Running) -> Iterator[socket.socket]:
    parts = urlsplit(server.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as connection:
        yield connection


def send_all(server: Running, asked: bytes, megabytes: int) -> bytes:
    """Send that much after the head, or until the server hears no more; the answer's beginning."""
    with connected(server) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(asked)
            for _ in range(megabytes):
                connection.sendall(CHUNK)
        with contextlib.suppress(OSError):
            return connection.recv(4096)
        return b""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("cost") / "data", CONFIG) as shared:
        yield shared
    assert not bugs_in(shared.log), shared.log.read_text(errors="replace")[-8000:]


@pytest.mark.parametrize("name", HEADS)
def test_strangers_fill_no_memory(server: Running, name: str) -> None:
    asked = head(server, name, f"content-length: {60 * MEGABYTE}")
    send_all(server, asked, 60)
    before = resident(server)

    answers = [send_all(server, asked, 60) for _ in range(15)]

    # 15 bodies of 60 MB were 900 MB, and stayed.
    assert resident(server) - before < 60 * MEGABYTE
    assert all(answer.startswith(b"HTTP/1.1 ") for answer in answers)
    assert all(b"connection: close" in answer for answer in answers)


def test_slow_senders_are_given_up_and_cost_others_nothing(
    server: Running, http: httpx.Client
) -> None:
    key = f"authorization: Bearer {server.key.secret}"
    asked = head(server, "tensorslab", key, f"content-length: {2 * MEGABYTE}")
    other = server.make_key("other")
    ended = threading.Event()

    def drip() -> bytes:
        with connected(server) as connection:
            with contextlib.suppress(OSError):
                connection.sendall(asked)
                while not ended.wait(0.05):
                    connection.sendall(b"x")
            with contextlib.suppress(OSError):
                return connection.recv(4096)
            return b""

    before = resident(server)
    with ThreadPoolExecutor(40) as senders:
        # More than one caller's half has room for: some wait for it in vain.
        dripping = [senders.submit(drip) for _ in range(40)]
        began = time.monotonic()
        while time.monotonic() - began < 3:
            answer = server.ask(http, "tensorslab", Fetch(id="0" * 24, kind=Kind.IMAGE), other)
            assert (answer.status_code, answer.elapsed.total_seconds() < 2) == (404, True)
        assert resident(server) - before < 40 * MEGABYTE
        ended.set()
        told = [drop.result() for drop in dripping]

    assert all(b"did not arrive within 1 seconds" in answer for answer in told if answer)
    assert any(told)


def full_of_ones_own(server: Running, count: int) -> Iterator[socket.socket]:
    """Connections whose bodies, together, take all the room that this key has."""
    key = f"authorization: Bearer {server.key.secret}"
    asked = head(server, "tensorslab", key, f"content-length: {32 * MEGABYTE}")
    for _ in range(count):
        parts = urlsplit(server.url)
        connection = socket.create_connection((parts.hostname, parts.port), timeout=20)
        connection.sendall(asked + CHUNK)
        yield connection


def create(dialect: str) -> Request:
    path, lines = HEADS[dialect]
    headers = tuple((name, value) for name, _, value in (line.partition(": ") for line in lines))
    return Request(method="POST", path=path, headers=headers, body=b"{}")


def ask_both(server: Running, other: Key, dialect: str) -> tuple[httpx.Response, httpx.Response]:
    """The answers to a create of the caller who has no room left, and of another."""
    with httpx.Client(trust_env=False, timeout=30) as http:
        his = server.ask(http, dialect, create(dialect))
        return his, server.ask(http, dialect, create(dialect), other)


def test_a_caller_who_takes_all_his_room_is_told_and_no_other_is(
    start: Start, http: httpx.Client
) -> None:
    server = start(config=CONFIG.replace("body_timeout = 1", "body_timeout = 60"))
    other = server.make_key("other")
    with contextlib.ExitStack() as stack:
        for connection in full_of_ones_own(server, 2):
            stack.enter_context(connection)
        with ThreadPoolExecutor(len(SERVED)) as asking:
            for his, others in asking.map(lambda dialect: ask_both(server, other, dialect), SERVED):
                assert his.headers["retry-after"] == "5"
                assert "room" in his.text
                assert "retry-after" not in others.headers
    # And who went away in the middle has given his room back.
    until(lambda: "retry-after" not in server.ask(http, "tencent", create("tencent")).headers)


def test_idle_connections_keep_nobody_out(server: Running, http: httpx.Client) -> None:
    with contextlib.ExitStack() as stack:
        for number in range(600):
            connection = stack.enter_context(connected(server))
            if number % 2:
                connection.sendall(b"POST /v1/images/seedreamv4 HTTP/1.1\r\nhost: a\r\nx-slow: ")
        began = time.monotonic()
        answer = server.ask(http, "tensorslab", Fetch(id="0" * 24, kind=Kind.IMAGE))
        assert (answer.status_code, time.monotonic() - began < 5) == (404, True)  # it was 30 s


def test_a_head_has_an_end(server: Running) -> None:
    with connected(server) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: a\r\nx-long: " + b"x" * 200_000)
        assert connection.recv(100).startswith(b"HTTP/1.1 431")


def test_a_server_full_of_strangers_stops_as_ever(start: Start) -> None:
    server = start(config=CONFIG)
    with contextlib.ExitStack() as stack:
        for name in HEADS:
            connection = stack.enter_context(connected(server))
            connection.sendall(head(server, name, "content-length: 100000"))
        assert server.stop() == 0
