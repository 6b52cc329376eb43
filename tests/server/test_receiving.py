"""The receivers of docs/webhooks.md: they take what a server sends, and refuse everything else."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from safelight.webhooks import sign

PAGE = Path(__file__).parents[2] / "docs" / "webhooks.md"
OLD, NEW = "whsec_" + "b2xk" * 11, "whsec_" + "bmV3" * 11
BODY = '{"type":"task.succeeded","timestamp":"x","data":{"id":"ü","revision":4}}'.encode()


def code(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    return str(found)


@asynccontextmanager
async def running(command: Sequence[str]) -> AsyncIterator[tuple[str, asyncio.StreamReader]]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = {**os.environ, "PORT": str(port), "WEBHOOK_SECRETS": f"{OLD} {NEW}"}
    process = await asyncio.create_subprocess_exec(
        *command,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(20):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    break
                except ConnectionRefusedError:
                    await asyncio.sleep(0.02)
        writer.close()
        assert process.stdout is not None
        yield f"http://127.0.0.1:{port}/hooks", process.stdout
    finally:
        process.kill()
        await process.wait()


@pytest.mark.parametrize("language", ["python", "js"])
async def test_the_receivers_of_the_page(language: str, tmp_path: Path) -> None:
    if language == "js" and shutil.which("node") is None:
        pytest.skip("there is no Node here")
    name, program = {"python": ("r.py", sys.executable), "js": ("r.mjs", "node")}[language]
    file = tmp_path / name
    file.write_text(code(language), "utf-8")
    now = int(time.time())

    def headers(id: str, secret: str, at: int = now, more: str = "") -> dict[str, str]:
        signed = sign(id, at, BODY, secret)
        return {
            "webhook-id": id,
            "webhook-timestamp": str(at),
            "webhook-signature": f"v1a,AAAA {more}{signed}",
        }

    async with running([program, str(file)]) as (url, said), httpx.AsyncClient() as http:

        async def send(given: dict[str, str], body: bytes = BODY) -> int:
            return (await http.post(url, content=body, headers=given)).status_code

        assert await send(headers("msg_1", OLD)) == 204
        assert await send(headers("msg_1", NEW, more="v1,AAAA ")) == 204  # the second time
        assert await send(headers("msg_2", NEW)) == 204
        assert await send(headers("msg_3", "whsec_" + "ZmFs" * 11)) == 401
        assert await send(headers("msg_3", NEW, now - 301)) == 401
        assert await send(headers("msg_3", NEW), BODY + b" ") == 401
        assert await send({}) == 401
        assert await send({**headers("msg_3", NEW), "webhook-timestamp": "nan"}) == 401
        assert await send(headers("msg_4", NEW)) == 204
        lines = [await asyncio.wait_for(said.readline(), 20) for _ in range(3)]
    assert lines == ["task.succeeded ü 4\n".encode()] * 3
