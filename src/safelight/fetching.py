"""Fetching what callers, and other services, tell us to fetch, and never from inside.

The address of a source is checked when it is given, so that the caller hears of it. Each is checked
for every connection that is made, redirects included: the name is resolved here, every address it
has must be public, and the connection goes to the address that was checked, so that a name that
changes its mind between the two gains nothing. How much is taken, and how long, has a limit.
"""

from __future__ import annotations

import asyncio
import copy
import re
import socket
import ssl
from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx

from safelight.config import Settings
from safelight.errors import InvalidValue
from safelight.names import Names
from safelight.networks import is_public

_MOST_REDIRECTS = 5
_CONNECT_SECONDS = 10.0  # to one address: another one may be better
_STALL_SECONDS = 60.0  # that nothing may come
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# Names are no longer than this, and have none of the characters that programs differ about.
_HOST = re.compile(r'[^\x00-\x20\x7f"#%<>?@\\^`{|}]{1,253}')


class Inside(Exception):
    """The address is none, or leads to where callers may not send us."""


class FetchError(Exception):
    """A file could not be fetched; `passing` says whether it may be had another time."""

    def __init__(self, message: str, *, passing: bool) -> None:
        super().__init__(message)
        self.passing = passing


class FileTooLarge(FetchError):
    """The file has more bytes than may be fetched."""


class Fetcher:
    """Fetches files of at most `most_bytes`, each within `seconds`.

    The addresses of `trusted` (scheme, host and port: our own bucket's, which asks for a signature
    itself) may be private ones. What `names` resolves is named by strangers: it is no place for
    other names. A check waits for `check_seconds` for all the names that it is asked about.
    """

    def __init__(
        self,
        most_bytes: int,
        seconds: float,
        private: bool = False,
        trusted: Collection[str] = (),
        names: Names | None = None,
        check_seconds: float = 5.0,
    ) -> None:
        self._most_bytes = most_bytes
        self._seconds = seconds
        self._private = private
        self._trusted = frozenset(map(_origin, trusted))
        self._names = names or Names()
        self._check_seconds = check_seconds
        self._who = ""

    @classmethod
    def of_sources(cls, settings: Settings, trusted: Collection[str]) -> Fetcher:
        """Fetches what callers name, and what lies at addresses that are `trusted`."""
        return cls(settings.max_source, settings.source_timeout, settings.private_sources, trusted)

    @classmethod
    def of_results(cls, settings: Settings) -> Fetcher:
        """Fetches what was made elsewhere."""
        return cls(settings.max_result, settings.result_timeout)

    def on_behalf(self, who: str) -> Fetcher:
        """The same one, for what that key names: its names leave places for those of others."""
        other = copy.copy(self)
        other._who = who
        return other

    def trusting(self, urls: Collection[str]) -> Fetcher:
        """The same one, for which what has the scheme, host and port of these may be private."""
        other = copy.copy(self)
        other._trusted = self._trusted.union(map(_origin, urls))
        return other

    async def check(self, sources: Sequence[tuple[str, str]]) -> None:
        """Raise `InvalidValue` where an address is none, or leads inside.

        `sources` are addresses with the names of their parameters; all are resolved at once.

        A name that does not resolve now, or not in time, passes. Nobody gains by that, for it is
        checked again for each connection; and it may well resolve when the task runs, which will
        tell. To refuse it would make every outage of a name server one of ours, and let strangers
        who fill the place of names have everybody else refused.
        """
        until = asyncio.get_running_loop().time() + self._check_seconds
        problems = await asyncio.gather(*(self._problem(url, until) for url, _ in sources))
        for problem, (_, parameter) in zip(problems, sources, strict=True):
            if problem:
                raise InvalidValue(f"{parameter}: {problem}", parameter=parameter)

    async def _problem(self, url: str, until: float) -> str:
        """What is wrong with an address, as far as that is known by then; "" for nothing."""
        try:
            async with asyncio.timeout_at(until):
                await self._resolve(url)
        except Inside as problem:
            return str(problem)
        except OSError:  # `TimeoutError` is one
            return ""
        return ""

    async def fetch(self, url: str, path: Path) -> None:
        """Fetch `url` into the file at `path`. Raises `FetchError`, which does not name it."""
        try:
            async with asyncio.timeout(self._seconds):
                await self._fetch(url, path)
        except Inside as problem:
            raise FetchError(str(problem), passing=False) from None
        except TimeoutError:
            raise _unavailable(f"not fetched within {self._seconds:g} seconds") from None
        except (OSError, ValueError, httpx.HTTPError, httpx.InvalidURL) as problem:
            raise _unavailable(f"cannot be fetched ({type(problem).__name__})") from None

    async def _fetch(self, url: str, path: Path) -> None:
        headers = {"accept-encoding": "identity"}
        stall, connect = min(self._seconds, _STALL_SECONDS), min(self._seconds, _CONNECT_SECONDS)
        async with httpx.AsyncClient(
            verify=_tls(),
            trust_env=False,
            timeout=httpx.Timeout(stall, connect=connect),
            headers=headers,
        ) as client:
            for _ in range(_MOST_REDIRECTS + 1):
                following = await self._save_or_follow(client, url, path)
                if following is None:
                    return
                url = following
        raise _unavailable("too many redirects")

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
                raise _unavailable(f"answered with status {response.status_code}")
            if response.headers.get("content-encoding", "identity") != "identity":
                # Not asked for, and a few bytes may unpack to more than fits into memory.
                raise _unavailable("answered with a content encoding")
            await self._write(response, path)
        return None

    async def _write(self, response: httpx.Response, path: Path) -> None:
        size = 0
        with path.open("wb") as file:
            async for chunk in response.aiter_bytes():
                size += len(chunk)
                if size > self._most_bytes:
                    raise FileTooLarge(f"larger than {self._most_bytes} bytes", passing=False)
                file.write(chunk)

    async def _resolve(self, url: str) -> list[str]:
        """The addresses of a host, all of which are public. Raises `Inside`, `OSError`."""
        host, port = _split(url)
        try:
            found = await self._names.look_up(host, port, type=socket.SOCK_STREAM, who=self._who)
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
    return host, port or _port(parts.scheme)


def _origin(url: str) -> tuple[str, str | None, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _port(parts.scheme)


def _port(scheme: str) -> int:
    return 443 if scheme == "https" else 80


def _unavailable(problem: str) -> FetchError:
    return FetchError(problem, passing=True)
