"""Fetching what callers, and other services, tell us to fetch, and never from inside.

The address of a source is checked when it is given, so that the caller hears of it, and each for
every connection that is made, redirects included: see `safelight.outgoing`. How much is taken, and
how long, has a limit.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Collection, Sequence
from pathlib import Path
from urllib.parse import urljoin

import httpx

from safelight.config import Settings
from safelight.errors import InvalidValue
from safelight.names import Names
from safelight.outgoing import Inside, Outgoing, place, tls

_MOST_REDIRECTS = 5
_CONNECT_SECONDS = 10.0  # to one address: another one may be better
_STALL_SECONDS = 60.0  # that nothing may come
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class FetchError(Exception):
    """A file could not be fetched; `passing` says whether it may be had another time."""

    def __init__(self, message: str, *, passing: bool) -> None:
        super().__init__(message)
        self.passing = passing


class FileTooLarge(FetchError):
    """The file has more bytes than may be fetched."""


class Fetcher:
    """Fetches files of at most `most_bytes`, each within `seconds`.

    Where `private`, and at the addresses of `trusted`, that may be inside, and `names` resolves
    them: see `Outgoing`. A check waits for `check_seconds` for all the names it is asked about.
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
        self._outgoing = Outgoing(private, trusted, names)
        self._check_seconds = check_seconds

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
        other._outgoing = self._outgoing.on_behalf(who)
        return other

    def trusting(self, urls: Collection[str]) -> Fetcher:
        """The same one, for which what has the scheme, host and port of these may be private."""
        other = copy.copy(self)
        other._outgoing = self._outgoing.trusting(urls)
        return other

    async def check(self, sources: Sequence[tuple[str, str]]) -> None:
        """Raise `InvalidValue` where an address is none, or leads inside.

        `sources` are addresses with the names of their parameters; all are resolved at once. A
        name that does not resolve now, or not in time, passes.
        """
        until = asyncio.get_running_loop().time() + self._check_seconds
        problems = await asyncio.gather(*(self._outgoing.problem(url, until) for url, _ in sources))
        for problem, (_, parameter) in zip(problems, sources, strict=True):
            if problem:
                raise InvalidValue(f"{parameter}: {problem}", parameter=parameter)

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
            verify=tls(),
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
        addresses = await self._outgoing.resolve(url)
        for address in addresses[:-1]:
            try:
                return await self._save_from(client, url, address, path)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
        return await self._save_from(client, url, addresses[-1], path)

    async def _save_from(
        self, client: httpx.AsyncClient, url: str, address: str, path: Path
    ) -> str | None:
        to = place(url, address)
        async with client.stream(
            "GET",
            to.url,
            headers=to.headers,
            extensions=to.extensions,
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


def _unavailable(problem: str) -> FetchError:
    return FetchError(problem, passing=True)
