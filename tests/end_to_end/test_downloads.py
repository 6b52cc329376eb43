"""Downloads from a real server that nobody waits for the end of."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from doubles import picture
from end_to_end.conftest import Start
from end_to_end.running import Running, until

LARGE = 300_000_000
ABORTED = 40


@pytest.fixture
def server(start: Start) -> Running:
    return start()


@pytest.fixture
def large(server: Running, http: httpx.Client) -> str:
    """The link to a source of a task that was made large (a hole: it takes no room)."""
    answer = http.post(
        f"{server.url}/v1/images/seedreamv4",
        headers={"authorization": f"Bearer {server.key.secret}"},
        data={"prompt": "a"},
        files={"sourceImage": ("a.png", picture(64, 64))},
    )
    id = answer.json()["data"]["taskid"]
    until(lambda: server.rows("select 1 from tasks where finished is not null"))
    os.truncate(server.data / "files" / "tasks" / id / "source-0", LARGE)
    told = http.post(
        f"{server.url}/v1/images/infobytaskid",
        headers={"authorization": f"Bearer {server.key.secret}"},
        json={"taskid": id},
    )
    link: str = told.json()["data"]["images"][0]
    return link


def open_files(server: Running) -> int:
    """How many of the descriptors of the server are of files that it keeps."""
    found, kept = 0, str(server.data / "files")
    for path in Path(f"/proc/{server.process.pid}/fd").iterdir():
        try:
            found += os.readlink(path).startswith(kept)
        except OSError:  # closed meanwhile
            continue
    return found


def begin(link: str, part: str) -> socket.socket:
    """Ask for a file, and take no more of it than its beginning."""
    parts = urlsplit(link)
    asking = socket.create_connection((parts.hostname, parts.port), timeout=10)
    head = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nRange: {part}\r\n\r\n"
    asking.sendall(head.encode())
    assert asking.recv(1000).startswith(b"HTTP/1.1 20")
    return asking


@pytest.mark.parametrize("part", ["none", "bytes=1000-"])
@pytest.mark.parametrize("rudely", [False, True])
def test_a_download_that_is_broken_off_leaves_no_file_open(
    server: Running, large: str, part: str, rudely: bool
) -> None:
    asking = [begin(large, part) for _ in range(ABORTED)]
    assert until(lambda: open_files(server)) <= ABORTED

    for each in asking:
        if rudely:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        each.close()

    until(lambda: not open_files(server), 5)
