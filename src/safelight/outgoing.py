"""Where strangers may send us: addresses that callers name are reached from here, and no others.

An address is checked for every connection that is made: the name is resolved here, every address it
has must be public, and the connection goes to the address that was checked, so that a name that
changes its mind between the two gains nothing. The name itself goes into the Host header and the
TLS handshake alone.
"""

from __future__ import annotations

import asyncio
import copy
import re
import socket
import ssl
from collections.abc import Collection
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx

from safelight.names import Names
from safelight.networks import is_public

# Names are no longer than this, and have none of the characters that programs differ about.
_HOST = re.compile(r'[^\x00-\x20\x7f"#%<>?@\\^`{|}]{1,253}')


class Inside(Exception):
    """The address is none, or leads to where callers may not send us."""


class Place(NamedTuple):
    """An address that was checked, as it is connected to: what a request to it is made of."""

    url: httpx.URL
    headers: dict[str, str]
    extensions: dict[str, Any]


class Outgoing:
    """Checks addresses that strangers name.

    Where `private` they may lead inside, and those of `trusted` (scheme, host and port: our own
    bucket's, which asks for a signature itself) always may. What `names` resolves is named by
    strangers: it is no place for other names.
    """

    def __init__(
        self, private: bool = False, trusted: Collection[str] = (), names: Names | None = None
    ) -> None:
        self._private = private
        self._trusted = frozenset(map(origin, trusted))
        self._names = names or Names()
        self._who = ""

    def on_behalf(self, who: str) -> Outgoing:
        """The same one, for what that key names: its names leave places for those of others."""
        other = copy.copy(self)
        other._who = who
        return other

    def trusting(self, urls: Collection[str]) -> Outgoing:
        """The same one, for which what has the scheme, host and port of these may be private."""
        other = copy.copy(self)
        other._trusted = self._trusted.union(map(origin, urls))
        return other

    async def problem(self, url: str, until: float) -> str:
        """What is wrong with an address, as far as that is known by then; "" for nothing.

        A name that does not resolve now, or not in time, passes. Nobody gains by that, for it is
        checked again for each connection; and it may well resolve when it is needed, which will
        tell. To refuse it would make every outage of a name server one of ours, and let strangers
        who fill the place of names have everybody else refused.
        """
        try:
            async with asyncio.timeout_at(until):
                await self.resolve(url)
        except Inside as problem:
            return str(problem)
        except OSError:  # `TimeoutError` is one
            return ""
        return ""

    async def resolve(self, url: str) -> list[str]:
        """The addresses of a host, all of which are public. Raises `Inside`, `OSError`."""
        host, port = _split(url)
        try:
            found = await self._names.look_up(host, port, type=socket.SOCK_STREAM, who=self._who)
        except ValueError:  # a label that is too long, a zero byte
            raise Inside("not an address") from None
        addresses = [str(entry[4][0]).partition("%")[0] for entry in found]
        if not self._private and origin(url) not in self._trusted:
            for address in addresses:
                if not is_public(address):
                    raise Inside("the address leads to a private network")
        return addresses


def place(url: str, address: str) -> Place:
    """`url`, at one of the addresses that it was resolved to. Raises `httpx.InvalidURL`."""
    named = httpx.URL(url)
    return Place(
        named.copy_with(host=address),
        {"host": named.netloc.decode("ascii")},
        {"sni_hostname": named.raw_host.decode("ascii")},
    )


@cache
def tls() -> ssl.SSLContext:
    """What every connection is checked by: to read the certificates takes a while."""
    return httpx.create_ssl_context(trust_env=False)


def origin(url: str) -> tuple[str, str | None, int]:
    """The scheme, host and port of an address."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _port(parts.scheme)


def _split(url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise Inside("not an address") from None
    if parts.scheme not in ("http", "https") or not host or not _HOST.fullmatch(host):
        raise Inside("not an http or https address")
    if parts.username is not None or parts.password is not None:
        raise Inside("an address must not carry a password")
    return host, port or _port(parts.scheme)


def _port(scheme: str) -> int:
    return 443 if scheme == "https" else 80
