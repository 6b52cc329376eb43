"""Listening behind a NAT: what changes is asked for, and posted as a server would send it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from receiver import Act, hang, receiving, status
from safelight.cli.forwarding import Forwarder
from safelight.webhooks import verify

SECRET = "whsec_" + "c2VjcmV0" * 5


def said(cursor: str, *tasks: tuple[str, str, int]) -> Act:
    told = [{"id": i, "status": s, "revision": r, "updated_at": "t"} for i, s, r in tasks]
    return status(200, body=json.dumps({"tasks": told, "cursor": cursor}).encode())


async def test_what_changes_is_handed_on_in_order_and_nothing_is_lost() -> None:
    lines: list[str] = []
    async with receiving() as server, receiving() as mine:
        server.answers = {
            "/changes": [status(503), said("c1")],
            "/changes?cursor=c1": [
                status(500),
                said("c2", ("a", "running", 2), ("b", "failed", 3), ("c", "succeeded", 4)),
            ],
            "/changes?cursor=c2": [said("c3", ("d", "canceled", 5))],
            "/changes?cursor=c3": [hang],
        }
        mine.answers = {"/hook": [status(500), status(200)]}
        forwarder = Forwarder(
            server.url("/changes"),
            {"authorization": "Bearer k"},
            mine.url("/hook"),
            SECRET,
            ("task.ended",),
            lines.append,
            pauses=(0.01, 0.02),
        )
        running = asyncio.create_task(forwarder.run())
        letters = await mine.until(4)
        await server.until(6)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    events: list[Any] = [verify(each.body, each.headers, SECRET) for each in letters]
    assert [(event.type, event.data["id"]) for event in events] == [
        ("task.failed", "b"),
        ("task.failed", "b"),  # once more, for it was not taken
        ("task.succeeded", "c"),
        ("task.canceled", "d"),
    ]
    assert events[0] == events[1]
    assert events[0].id == "msg_b_3_listen"
    for letter in server.letters:
        assert letter.headers["authorization"] == "Bearer k"
        assert letter.headers["prefer"].startswith("wait=")
    assert "task.canceled d: 200" in lines


@pytest.mark.parametrize("code", [400, 401, 404])
async def test_who_may_not_listen_is_told_so(code: int) -> None:
    async with receiving() as server:
        server.answers = {"/changes": [status(code)]}
        forwarder = Forwarder(server.url("/changes"), {}, server.url("/"), SECRET, (), print)
        with pytest.raises(SystemExit, match=str(code)):
            await forwarder.run()
