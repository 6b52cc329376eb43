"""What is sent to an endpoint: a letter of Standard Webhooks, or one in a dialect's own words.

It is written from rows when it is sent, so that links in it work whenever that is. Every letter has
the headers of Standard Webhooks, also where a dialect signs in its own manner beside.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import msgspec
from standardwebhooks import Webhook

from safelight.callbacks import PROGRESS, STANDARD
from safelight.dialects.safelight.reading import write_time
from safelight.links import Links
from safelight.secrets import Vault
from safelight.server.posting import Letter
from safelight.store.hooks import Due, Taken
from safelight.task import Task
from safelight.wire import Context, Dialect, Request

_AGENT = f"safelight/{version('safelight')}"
_THIN = ("id", "status", "progress", "revision")  # what is told of a task that is on its way


class Telling:
    """Writes letters. `describe` says a task, whose files have links, as JSON values.

    Links begin with `base`. Where a task's own address has no secret the installation's signs,
    which is another for each key.
    """

    def __init__(
        self,
        vault: Vault,
        links: Links,
        dialects: Mapping[str, Dialect],
        base: str,
        describe: Callable[[Task], Any],
    ) -> None:
        self._vault = vault
        self._links = links
        self._dialects = dialects
        self._base = base
        self._describe = describe

    def write(self, endpoint: Taken, due: Due, now: int) -> Letter:
        """The letter for a delivery, signed at `now`. Raises `WrongSecret`."""
        url = endpoint.url if due.url is None else due.url
        secrets = list(self._secrets(endpoint, due, now))
        own: tuple[tuple[str, str], ...] = (("content-type", "application/json"),)
        dialect = self._dialects.get(due.format or STANDARD)
        if due.task is not None and dialect is not None:
            task = self._links.dress(due.task, self._base)
            empty = Request(method="GET", path="/")
            said = dialect.write_callback(task, secrets[0], Context(request=empty, now=now))
            own, body = said.headers, said.body
        else:
            body = self._write_body(due)
        return Letter(url, (*own, *_sign(due.id, body, secrets, now)), body)

    def _secrets(self, endpoint: Taken, due: Due, now: int) -> Iterator[str]:
        """What signs: an old secret too, while those who verify may not have the new one yet."""
        kept = endpoint.secret if due.url is None else due.secret
        if kept is None:
            yield self._vault.webhook_secret(endpoint.owner)
            return
        yield self._vault.decrypt(kept)
        if due.url is None and endpoint.old_secret and (endpoint.old_until or 0) > now:
            yield self._vault.decrypt(endpoint.old_secret)

    def _write_body(self, due: Due) -> bytes:
        if due.task is None:
            return (due.body or "{}").encode()
        if due.type == PROGRESS:
            said: Any = {name: getattr(due.task, name) for name in _THIN}
        else:
            said = self._describe(self._links.dress(due.task, self._base))
        return write_event(due.type, due.created, said)


def write_event(type: str, at: int, said: Any) -> bytes:
    """The body of an event."""
    return msgspec.json.encode({"type": type, "timestamp": write_time(at), "data": said})


def _sign(id: str, body: bytes, secrets: list[str], now: int) -> tuple[tuple[str, str], ...]:
    # The library takes any time for one of UTC.
    at = datetime.fromtimestamp(now // 1000, UTC)
    signed = [Webhook(secret).sign(id, at, body.decode()) for secret in secrets]
    return (
        ("webhook-id", id),
        ("webhook-timestamp", str(now // 1000)),
        ("webhook-signature", " ".join(signed)),
        ("user-agent", _AGENT),
        ("accept-encoding", "identity"),
        ("accept", "*/*"),
    )
