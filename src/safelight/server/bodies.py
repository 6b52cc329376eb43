"""What callers send, received: each body bounded in size and in time, and all of them together.

The rule for whoever edits it: nothing is received before there is room for it, and the room is
given back when its request is answered. Whoever is not known shares one caller's part of the room.
"""

from __future__ import annotations

import asyncio
import io
import zlib
from collections import Counter, deque
from typing import NamedTuple

from starlette.types import Receive

from safelight.errors import BadRequest, TooLarge, Unavailable
from safelight.wire import Request, Response

_STEP = 2**20  # bytes that are reserved at first for a body whose length nobody says
_WAIT_SECONDS = 5.0  # for room, which others give back any moment
_MOST_WAITING = 1000
# Of whoever is refused by his head: some clients hear no answer before they have sent all.
_MOST_SKIPPED, _SKIP_SECONDS = 2**20, 1.0
_MOST_DIGITS = 20


class Bodies:
    """The bodies of all requests under way: at most `most` bytes, half of them of one caller.

    A body arrives within `seconds`, or is given up.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._share = most // 2
        self._seconds = seconds
        self._total = 0
        self._held: Counter[str] = Counter()  # bytes by caller
        self._waiting: deque[_Waiting] = deque()

    def room(self, who: str, head: Request) -> Room:
        """Room for the body of `head`, sent by the key of that id; none is taken yet."""
        return Room(self, who, head, self._seconds)

    async def take(self, room: Room, size: int) -> None:
        """Take so many bytes for `room`. Raises `Unavailable` where they are not free soon."""
        if self._fits(room, size):
            self._give(room, size)
            return
        if len(self._waiting) >= _MOST_WAITING:
            raise _crowded()
        waiting = _Waiting(room, size, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                await waiting.given
        except TimeoutError:
            raise _crowded() from None
        finally:
            if waiting in self._waiting:
                self._waiting.remove(waiting)

    def give_back(self, room: Room) -> None:
        """Give back all that was taken for `room`, to those who wait for it."""
        if not room.size:
            return
        self._total -= room.size
        self._held[room.who] -= room.size
        room.size = 0
        if not self._held[room.who]:
            del self._held[room.who]
        for waiting in tuple(self._waiting):
            if not waiting.given.done() and self._fits(waiting.room, waiting.size):
                self._give(waiting.room, waiting.size)
                waiting.given.set_result(None)

    def _fits(self, room: Room, size: int) -> bool:
        return self._total + size <= self._most and self._held[room.who] + size <= self._share

    def _give(self, room: Room, size: int) -> None:
        self._total += size
        self._held[room.who] += size
        room.size += size


class Room:
    """Room for one body. `unread` says whether there is one that was not received to its end."""

    def __init__(self, bodies: Bodies, who: str, head: Request, seconds: float) -> None:
        self.who = who
        self.size = 0  # bytes that are taken
        self._bodies = bodies
        self._seconds = seconds
        self._length = _announced(head)
        self.unread = self._length != 0

    async def receive(self, receive: Receive, most: int) -> bytes:
        """The body. Raises `TooLarge`, as soon as that is known, `BadRequest`, `Unavailable`."""
        if not self.unread:
            return b""
        if self._length is not None and self._length > most:
            raise _too_large(most)
        await self._bodies.take(self, min(most, _STEP) if self._length is None else self._length)
        try:
            async with asyncio.timeout(self._seconds):
                body = await self._receive(receive, most)
        except TimeoutError:
            sentence = f"The body did not arrive within {self._seconds:g} seconds"
            raise BadRequest(sentence) from None
        self.unread = False
        return body

    async def _receive(self, receive: Receive, most: int) -> bytes:
        # Each `receive` is a journey to the HTTP server's thread and back: none is made once all
        # is here.
        # And what has come is kept in one block: many small ones would be twice as much memory, and
        # stay where they were.
        body = io.BytesIO()
        while body.tell() != self._length:
            message = await receive()
            if message["type"] == "http.disconnect":
                # Its caller went away, or sent what is no chunk, and waits to hear so.
                raise BadRequest("The body broke off")
            body.write(message.get("body", b""))
            size = body.tell()
            if size > most:
                raise _too_large(most)
            if size > self.size:
                await self._bodies.take(self, min(most, max(size, 2 * self.size)) - self.size)
            if not message.get("more_body"):
                break
        return body.getvalue()

    async def take(self, most: int) -> None:
        """Take room for a body of so many bytes, where there is less. Raises `Unavailable`."""
        if most > self.size:
            await self._bodies.take(self, most - self.size)

    async def skip(self, receive: Receive) -> None:
        """Receive a small body that nobody reads, so that its connection may be used again."""
        if self._length is None or self._length > _MOST_SKIPPED:
            return
        left = self._length
        try:
            async with asyncio.timeout(_SKIP_SECONDS):
                while left > 0:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return
                    left -= len(message.get("body", b""))
        except TimeoutError:
            return
        self.unread = False

    async def close(self, receive: Receive, response: Response) -> Response:
        """`response` as it is to be sent, whatever of the body was not received."""
        if self.unread:
            await self.skip(receive)
        # Where it is unread still, nothing more can come on this connection.
        return response.with_headers(("connection", "close")) if self.unread else response

    def leave(self) -> None:
        """Give the room back."""
        self._bodies.give_back(self)


class _Waiting(NamedTuple):
    room: Room
    size: int
    given: asyncio.Future[None]


def inflate(body: bytes, most: int) -> bytes:
    """A gzip body unpacked. Raises `TooLarge` as soon as that is known, or `BadRequest`."""
    unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        plain = unpacking.decompress(body, most + 1)
    except zlib.error:
        raise BadRequest("The body is not gzip, as its Content-Encoding says") from None
    if len(plain) > most:
        raise _too_large(most)
    if not unpacking.eof or unpacking.unused_data:
        raise BadRequest("The body is not whole, or more than one")
    return plain


def _announced(head: Request) -> int | None:
    """How long the body is to be; None where nobody says. As RFC 9112 has it, section 6.3."""
    length = head.header("content-length")
    if length is None:
        return None if head.header("transfer-encoding") else 0
    # Python reads no thousands of digits.
    return int(length[:_MOST_DIGITS]) if length.isdecimal() else None


def _too_large(most: int) -> TooLarge:
    return TooLarge(f"The body is larger than {most} bytes")


def _crowded() -> Unavailable:
    return Unavailable(
        "The server receives as much as it has room for just now; please try again",
        retry_after=_WAIT_SECONDS,
    )
