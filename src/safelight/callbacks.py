"""Addresses at which callers want to be told of their tasks: judged, and made ready to be kept.

What is judged here is what a caller says: an address that does not lead inside, events that there
are, a secret that signs. Endpoints and the addresses of single tasks are judged alike.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import secrets
from collections.abc import Callable, Sequence
from typing import Protocol

from safelight.config import Settings
from safelight.errors import InvalidValue
from safelight.outgoing import Outgoing, origin
from safelight.store.hooks import CallbackRow
from safelight.task import Callback, Status

STANDARD = "standard"  # the format of Standard Webhooks
ENDED, PROGRESS, TEST, DISABLED = "task.ended", "task.progress", "webhook.test", "endpoint.disabled"
EVENTS = (*(f"task.{status.value}" for status in Status), ENDED, PROGRESS)
_PREFIX = "whsec_"
_LEAST_SECRET, _MOST_SECRET = 24, 64  # bytes: of Standard Webhooks
_MOST_URL = 2048
# Neither blanks nor control characters, which some programs drop from an address and others keep.
_PLAIN = re.compile(r"[^\s\x00-\x20\x7f-\x9f\ud800-\udfff\\]+")
_CHECK_SECONDS = 5.0


class Sealing(Protocol):
    """What is made of secrets, so that they can be kept."""

    def encrypt(self, secret: str) -> str:
        """The secret as it is kept."""

    def decrypt(self, encrypted: str) -> str:
        """The secret that is kept so."""


class Callbacks:
    """Judges what callers say of where they want to be told."""

    def __init__(
        self, outgoing: Outgoing, vault: Sealing, draw: Callable[[int], bytes] = secrets.token_bytes
    ) -> None:
        self._outgoing = outgoing
        self._vault = vault
        self._draw = draw

    @classmethod
    def build(cls, settings: Settings, vault: Sealing) -> Callbacks:
        """Those for which the settings say whether they may lead inside."""
        return cls(Outgoing(settings.private_callbacks), vault)

    async def check(self, who: str, callback: Callback) -> None:
        """Raise `InvalidValue` where a task cannot be told so."""
        check_events(callback.events, "callback.events")
        if callback.secret is not None and callback.format == STANDARD:
            check_secret(callback.secret, "callback.secret")
        await self.check_url(who, callback.url, "callback.url")

    async def check_url(self, who: str, url: str, parameter: str) -> None:
        """Raise `InvalidValue` where an address is none, or leads inside."""
        if len(url) > _MOST_URL:
            problem = f"longer than {_MOST_URL} characters"
            raise InvalidValue(f"{parameter}: {problem}", parameter=parameter)
        if not _PLAIN.fullmatch(url):
            problem = "has blanks, or characters that no address has"
            raise InvalidValue(f"{parameter}: {problem}", parameter=parameter)
        until = asyncio.get_running_loop().time() + _CHECK_SECONDS
        if problem := await self._outgoing.on_behalf(who).problem(url, until):
            raise InvalidValue(f"{parameter}: {problem}", parameter=parameter)

    def row(self, callback: Callback) -> CallbackRow:
        """A checked address as it is kept, its secret encrypted."""
        scheme, host, port = origin(callback.url)
        return CallbackRow(
            origin=f"{scheme}://{host}:{port}",
            url=callback.url,
            events=write_events(callback.events),
            secret=self._vault.encrypt(callback.secret) if callback.secret is not None else None,
            format=callback.format,
        )

    def unseal(self, sealed: str) -> str:
        """A secret that is kept. Raises `WrongSecret`."""
        return self._vault.decrypt(sealed)

    def new_secret(self) -> str:
        """A secret that signs."""
        return _PREFIX + base64.b64encode(self._draw(32)).decode()

    def new_id(self) -> str:
        """An id for an endpoint."""
        return f"ep_{self._draw(12).hex()}"

    def seal(self, secret: str) -> str:
        """A secret as it is kept."""
        return self._vault.encrypt(secret)


def check_events(events: Sequence[str], parameter: str) -> None:
    """Raise `InvalidValue` for events that there are not."""
    for event in events:
        if event not in EVENTS:
            raise InvalidValue(
                f"{parameter}: {event[:100]!r} is none of {', '.join(EVENTS)}", parameter=parameter
            )


def write_events(events: Sequence[str]) -> str:
    """Events as they are kept; where none is named those are the ends."""
    return " ".join(dict.fromkeys(events)) or ENDED


def check_secret(secret: str, parameter: str) -> None:
    """Raise `InvalidValue` for a secret that is none of Standard Webhooks."""
    try:
        if not secret.startswith(_PREFIX):
            raise ValueError
        size = len(base64.b64decode(secret.removeprefix(_PREFIX), validate=True))
    except (ValueError, binascii.Error):
        size = 0
    if not _LEAST_SECRET <= size <= _MOST_SECRET:
        raise InvalidValue(
            f"{parameter}: must be {_PREFIX} and then {_LEAST_SECRET} to {_MOST_SECRET} bytes in "
            "base64",
            parameter=parameter,
        )
