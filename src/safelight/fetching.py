"""Fetching what callers tell us to fetch, and never from inside.

An address is checked when it is given, so that the caller hears of it, and again for every
connection that is made, redirects included: the name is resolved here, every address it has must
be public, and the connection goes to the address that was checked, so that a name that changes its
mind between the two gains nothing.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from functools import cache
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx

from safelight.engines import Failed
from safelight.errors import InvalidValue
from safelight.networks import is_public
from safelight.task import FailureCode

_MOST_REDIRECTS = 5
_RESOLVE_SECONDS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# Names are no longer than this, and have none of the characters that programs differ about.
_HOST = re.compile(r'[^\x00-\x20\x7f"#%<>?@\\^`{|}]{1,253}')


class Inside(Exception):
    """The address is none, or leads to where callers may not send us."""


class Fetcher:
    """Fetches files of at most `most_bytes`, each within `seconds`.

    The addresses of `trusted` (scheme, host and port: our own bucket's, which asks for a signature
    itself) may be private ones.
    """

    def __init__(
        self,
        most_bytes: int,
        seconds: float,
        private: bool = False,
        trusted: frozenset[str] = frozenset(),
    ) -> None:
        self._most_bytes = most_bytes
        self._seconds = seconds
        self._private = private
        self._trusted = trusted

    async def check(self, url: str, parameter: str) -> None:
        """Raise `InvalidValue` where the address is none, or leads inside.

        A name that does not resolve now passes: it may when the task runs, which will tell.
        """
        try:
            await self._resolve(url)
        except Inside as problem:
            raise InvalidValue(f"{parameter}: {problem}", parameter=parameter) from None
        except (OSError, TimeoutError):
            return

    async def save(self, url: str, path: Path) -> None:
        """Fetch `url` into the file at `path`. Raises `Failed`."""
        try:
            async with asyncio.timeout(self._seconds):
                await self._save(url, path)
        except Inside as problem:
            raise Failed(FailureCode.SOURCE_UNAVAILABLE, f"{_shown(url)}: {problem}") from None
        except TimeoutError:
            raise _unavailable(url, f"not fetched within {self._seconds:g} seconds") from None
        except (OSError, ValueError, httpx.HTTPError, httpx.InvalidURL) as problem:
            raise _unavailable(url, f"cannot be fetched ({type(problem).__name__})") from None

    async def _save(self, url: str, path: Path) -> None:
        headers = {"accept-encoding": "identity"}
        async with httpx.AsyncClient(
            verify=_tls(), trust_env=False, timeout=self._seconds, headers=headers
        ) as client:
            for _ in range(_MOST_REDIRECTS + 1):
                following = await self._save_or_follow(client, url, path)
                if following is None:
                    return
                url = following
        raise _unavailable(url, "too many redirects")

    async def _save_or_follow(self, client: httpx.AsyncClient, url: str, path: Path) -> str | None:
        addresses = await self._resolve(url)
        for address in addresses[:-1]:
            try:
                return await self._save_from(client, url, address, path)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
        return await self._save_from(client, url, addresses[-1], path)

    async def _save_from(
        self, client: httpx.AsyncClient, url: str, address: str, path: Path
    ) -> str | None:
        # Connect to the address that was checked; the name goes into Host and the TLS handshake.
        named = httpx.URL(url)
        headers = {"host": named.netloc.decode("ascii")}
        extensions = {"sni_hostname": named.raw_host.decode("ascii")}
        async with client.stream(
            "GET",
            named.copy_with(host=address),
            headers=headers,
            extensions=extensions,
            follow_redirects=False,
        ) as response:
            if response.status_code in _REDIRECTS and "location" in response.headers:
                return urljoin(url, response.headers["location"])
            if response.status_code != 200:
                raise _unavailable(url, f"answered with status {response.status_code}")
            if response.headers.get("content-encoding", "identity") != "identity":
                # Not asked for, and a few bytes may unpack to more than fits into memory.
                raise _unavailable(url, "answered with a content encoding")
            await self._write(response, url, path)
        return None

    async def _write(self, response: httpx.Response, url: str, path: Path) -> None:
        size = 0
        with path.open("wb") as file:
            async for chunk in response.aiter_bytes():
                size += len(chunk)
                if size > self._most_bytes:
                    raise Failed(
                        FailureCode.INVALID_INPUT,
                        f"{_shown(url)}: larger than {self._most_bytes} bytes",
                    )
                file.write(chunk)

    async def _resolve(self, url: str) -> list[str]:
        """The addresses of a host, all of which are public. Raises `Inside`, `OSError`."""
        host, port = _split(url)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(_RESOLVE_SECONDS):
            try:
                found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            except ValueError:  # a label that is too long, a zero byte
                raise Inside("not an address") from None
        addresses = [str(entry[4][0]).partition("%")[0] for entry in found]
        if not self._private and _origin(url) not in self._trusted:
            for address in addresses:
                if not is_public(address):
                    raise Inside("the address leads to a private network")
        return addresses


@cache
def _tls() -> ssl.SSLContext:
    """What every connection is checked by: to read the certificates takes a while."""
    return httpx.create_ssl_context(trust_env=False)


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
    return host, port or (443 if parts.scheme == "https" else 80)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _shown(url: str) -> str:
    # The query may be a signature: it is nobody's business in a message or a log.
    return url.partition("?")[0][:200]


def _unavailable(url: str, problem: str) -> Failed:
    return Failed(FailureCode.SOURCE_UNAVAILABLE, f"{_shown(url)}: {problem}")
