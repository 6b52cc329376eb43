"""Looking at the pictures that callers send, before a task is accepted: apart from the loop.

The rule for whoever edits it: a stranger's file is read within bounds. Its first bytes, in which
nearly every picture says its size, are looked at by a thread of their own; where they do not say
it, a child process reads the whole file, and is killed when it takes too long.
"""

from __future__ import annotations

import asyncio
import tempfile
import warnings
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

from safelight.engines import Failed
from safelight.engines.kit.children import Children
from safelight.errors import InvalidValue, Unavailable
from safelight.media import FIRST_BYTES, FORMATS, NoPicture, TooManyPixels, picture_size

# Of either kind one at a time.
_LOOKS = 1
_WAIT_SECONDS = 10.0  # for one's turn
_SECONDS = 10.0  # that the whole file may take


class Inspector:
    """Looks at pictures of at most `most_pixels`."""

    def __init__(self, most_pixels: int, seconds: float = _SECONDS) -> None:
        self._most_pixels = most_pixels
        self._seconds = seconds
        self._threads = ThreadPoolExecutor(_LOOKS, "safelight-look")
        self._children = Children(_LOOKS)
        self._turns = asyncio.Semaphore(_LOOKS)
        self._whole_turns = asyncio.Semaphore(_LOOKS)

    async def check(self, data: bytes, parameter: str) -> None:
        """Raise `InvalidValue` unless `data` begins as a picture of so many pixels.

        Raises `Unavailable` where there are too many to look at just now.
        """
        try:
            width, height = await self._size(data)
        except TooManyPixels:
            raise _wrong(parameter, "the picture is too large") from None
        except NoPicture:
            known = ", ".join(FORMATS)
            raise _wrong(parameter, f"not a picture of a known format ({known})") from None
        except TimeoutError:
            sentence = f"its header was not read within {self._seconds:g} seconds"
            raise _wrong(parameter, sentence) from None
        if width * height > self._most_pixels:
            sentence = f"{width}x{height} is more than {self._most_pixels} pixels"
            raise _wrong(parameter, sentence)

    def close(self) -> None:
        """End the threads and the child."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._children.close()

    async def _size(self, data: bytes) -> tuple[int, int]:
        try:
            async with _turn(self._turns):
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._threads, picture_size, data[:FIRST_BYTES])
        except NoPicture:
            if len(data) <= FIRST_BYTES:
                raise
        async with _turn(self._whole_turns):
            with tempfile.NamedTemporaryFile(prefix="safelight-look-") as file:
                await asyncio.to_thread(_write, Path(file.name), data)
                return await self._size_of(file.name)

    async def _size_of(self, path: str) -> tuple[int, int]:
        """The size of a picture in a file, as a child process reads it. Raises `TimeoutError`."""
        try:
            async with (
                asyncio.timeout(self._seconds),
                aclosing(self._children.run(_look, path)) as sizes,
            ):
                async for size in sizes:
                    if size is None:
                        raise TooManyPixels
                    return size
        except Failed:  # it died of it
            pass
        raise NoPicture


def _look(path: str) -> Iterator[tuple[int, int] | None]:
    """In the child: the size of a picture, None for one that is too large, nothing for none."""
    warnings.simplefilter("ignore")
    try:
        yield picture_size(Path(path))
    except TooManyPixels:
        yield None
    except NoPicture:
        return


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


@asynccontextmanager
async def _turn(turns: asyncio.Semaphore) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(_WAIT_SECONDS):
            await turns.acquire()
    except TimeoutError:
        raise Unavailable(
            "Too many pictures are being looked at just now; please try again",
            retry_after=_WAIT_SECONDS,
        ) from None
    try:
        yield
    finally:
        turns.release()


def _wrong(parameter: str, problem: str) -> InvalidValue:
    return InvalidValue(f"{parameter}: {problem}", parameter=parameter)
