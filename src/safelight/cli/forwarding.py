"""Hearing of tasks where nobody can send: what changes is asked for, and posted as webhooks.

The cursor goes on only behind what was handed on, so that nothing is lost while either side is
away; it is kept in memory alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

import httpx
import msgspec

from safelight.pauses import Pauses
from safelight.webhooks import sign

_WAIT_SECONDS, _SLACK_SECONDS = 50, 20.0
_SECONDS, _HELD_SECONDS = 15.0, 1.0
_TRIES = 5  # to hand one thing on
_ENDS = ("succeeded", "failed", "canceled")


class Forwarder:
    """Reads the changes at `source`, and posts those of `events` to `target`, signed.

    Each is told by `tell`, in a line.
    """

    def __init__(
        self,
        source: str,
        headers: Mapping[str, str],
        target: str,
        secret: str,
        events: Collection[str],
        tell: Callable[[str], object],
        pauses: tuple[float, float] = (0.5, 30.0),
    ) -> None:
        self._source = source
        self._headers = {**headers, "prefer": f"wait={_WAIT_SECONDS}"}
        self._target = target
        self._secret = secret
        self._events = frozenset(events)
        self._tell = tell
        self._pauses = pauses

    async def run(self) -> None:
        """Hand on what changes from now on, until cancelled."""
        async with httpx.AsyncClient(timeout=_WAIT_SECONDS + _SLACK_SECONDS) as http:
            said = await self._ask(http, None)
            self._tell(f"listening; what changes is posted to {self._target}")
            while True:
                for task in said["tasks"]:
                    await self._hand_on(http, task)
                asked = time.monotonic()
                said = await self._ask(http, said["cursor"])
                if not said["tasks"] and time.monotonic() - asked < _HELD_SECONDS:
                    await asyncio.sleep(self._pauses[0])  # too many wait there: it held nothing

    async def _ask(self, http: httpx.AsyncClient, cursor: str | None) -> Any:
        """The next part of what changed, however long the server is away."""
        pauses = Pauses(*self._pauses)
        query = {} if cursor is None else {"cursor": cursor}
        while True:
            try:
                answer = await http.get(self._source, params=query, headers=self._headers)
                if answer.is_success:
                    return msgspec.json.decode(answer.content)
                problem = f"{answer.status_code} {answer.text[:200]}"
                if answer.status_code in (400, 401, 404):
                    raise SystemExit(f"{self._source}: {problem}")
            except (httpx.HTTPError, msgspec.DecodeError) as failed:
                problem = str(failed) or type(failed).__name__
            pause = pauses.next()
            self._tell(f"the server does not answer ({problem}); again in {pause:.0f} s")
            await asyncio.sleep(pause)

    async def _hand_on(self, http: httpx.AsyncClient, task: Mapping[str, Any]) -> None:
        kind = f"task.{task['status']}"
        ended = task["status"] in _ENDS and "task.ended" in self._events
        if not ended and kind not in self._events:
            return
        said = {"type": kind, "timestamp": task.get("updated_at", ""), "data": task}
        id, body = f"msg_{task['id']}_{task['revision']}_listen", msgspec.json.encode(said)
        pauses = Pauses(*self._pauses)
        for number in range(1, _TRIES + 1):
            outcome = await self._post(http, id, body)
            self._tell(f"{kind} {task['id']}: {outcome}")
            if outcome.startswith("2") or number == _TRIES:
                return
            await asyncio.sleep(pauses.next())

    async def _post(self, http: httpx.AsyncClient, id: str, body: bytes) -> str:
        stamp = int(time.time())
        headers = {
            "content-type": "application/json",
            "webhook-id": id,
            "webhook-timestamp": str(stamp),
            "webhook-signature": sign(id, stamp, body, self._secret),
        }
        try:
            answer = await http.post(self._target, content=body, headers=headers, timeout=_SECONDS)
        except (httpx.HTTPError, httpx.InvalidURL) as problem:
            return str(problem) or type(problem).__name__
        return str(answer.status_code)
