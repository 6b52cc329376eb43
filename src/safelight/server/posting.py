"""One try to tell something: a request to an address that a stranger named, and what came of it.

The rule for whoever edits it: nothing that is at the other end may cost more than so many seconds
and bytes. No redirect is followed, no cookie kept, no proxy of the environment asked, and no
connection used twice, for each is made to an address that was checked just then.
"""

from __future__ import annotations

import asyncio
import math
import ssl
import time
from contextlib import suppress
from typing import Any, NamedTuple

import httpx

from safelight.outgoing import Inside, Outgoing, place, tls
from safelight.server.schedule import Answer

CONNECT_SECONDS, SECONDS = 5.0, 15.0
_READ_SECONDS = 2.0  # for the rest of an answer, whose status is known
_MOST_ANSWER = 4096  # bytes of an answer that are kept, and read
_MOST_PROBLEM = 300


class Letter(NamedTuple):
    """What is sent, and to where."""

    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Post:
    """Sends letters, each within `seconds`."""

    def __init__(self, outgoing: Outgoing, seconds: float = SECONDS) -> None:
        self._outgoing = outgoing
        self._seconds = seconds
        self._transport = httpx.AsyncHTTPTransport(
            verify=tls(),
            trust_env=False,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        )

    async def send(self, who: str, letter: Letter) -> Answer:
        """Send a letter on behalf of a key. Whatever goes wrong there is an answer too."""
        began = time.perf_counter()

        def answer(status: int | None, problem: str | None, text: str = "") -> Answer:
            millis = round((time.perf_counter() - began) * 1000)
            return Answer(status, problem and problem[:_MOST_PROBLEM], text or None, None, millis)

        try:
            async with asyncio.timeout(self._seconds):
                response = await self._reach(who, letter)
                try:
                    text = await _read(response)
                finally:
                    await response.aclose()
        except Inside as problem:
            return answer(None, str(problem))
        except TimeoutError:
            return answer(None, f"not answered within {self._seconds:g} seconds")
        except httpx.TimeoutException as problem:
            return answer(None, f"not reached in time ({type(problem).__name__})")
        except (OSError, ValueError, httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as problem:
            said = " ".join(str(problem).split())
            return answer(None, f"{type(problem).__name__}: {said}" if said else "no answer")
        retry = _retry_after(response)
        return answer(response.status_code, None, text)._replace(retry_after=retry)

    async def _reach(self, who: str, letter: Letter) -> httpx.Response:
        addresses = await self._outgoing.on_behalf(who).resolve(letter.url)
        for address in addresses[:-1]:
            with suppress(httpx.ConnectError, httpx.ConnectTimeout):
                return await self._send(letter, address)
        return await self._send(letter, addresses[-1])

    async def _send(self, letter: Letter, address: str) -> httpx.Response:
        to = place(letter.url, address)
        timeout = dict.fromkeys(("read", "write", "pool"), self._seconds)
        extensions: dict[str, Any] = {
            **to.extensions,
            "timeout": {**timeout, "connect": min(CONNECT_SECONDS, self._seconds)},
        }
        request = httpx.Request(
            "POST",
            to.url,
            headers=[*to.headers.items(), *letter.headers, ("connection", "close")],
            content=letter.body,
            extensions=extensions,
        )
        return await self._transport.handle_async_request(request)

    async def close(self) -> None:
        """Close what is open yet."""
        await self._transport.aclose()


async def _read(response: httpx.Response) -> str:
    """The beginning of an answer, as far as it comes soon: its status is known already."""
    read = bytearray()
    with suppress(TimeoutError, httpx.HTTPError):
        async with asyncio.timeout(_READ_SECONDS):
            async for chunk in response.stream:  # type: ignore[union-attr]
                read += chunk
                if len(read) >= _MOST_ANSWER:
                    break
    text = read[:_MOST_ANSWER].decode(errors="replace")
    return text.replace("\0", "\ufffd")


def _retry_after(response: httpx.Response) -> float | None:
    try:
        seconds = float(response.headers.get("retry-after", ""))
    except ValueError:  # a date, which some other clock has made, or nothing
        return None
    return seconds if math.isfinite(seconds) else None
