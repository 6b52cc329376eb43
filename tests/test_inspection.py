"""Pictures that callers send are looked at apart from the loop, within bounds."""

from __future__ import annotations

import asyncio
import io
import random
import struct
import time
import zlib
from collections.abc import AsyncIterator

import pytest
from PIL import Image

from doubles import longest_holdup, picture
from safelight.errors import InvalidValue
from safelight.inspection import Inspector
from safelight.media import FORMATS

MOST = 100_000


@pytest.fixture
async def inspector() -> AsyncIterator[Inspector]:
    made = Inspector(MOST)
    yield made
    made.close()


def chunk(name: bytes, data: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(name + data))
    return struct.pack(">I", len(data)) + name + data + checksum


def png(chunks: int, width: int = 40, height: int = 30) -> bytes:
    """A picture without pixels, with so many empty chunks where they would begin."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            chunk(b"teSt", b"") * chunks,
            chunk(b"IDAT", zlib.compress(b"")),
            chunk(b"IEND", b""),
        )
    )


def large(format: str) -> bytes:
    """A large file of a format."""
    file = io.BytesIO()
    options = {"lossless": True} if format == "WEBP" else {}
    drawn = random.Random(format).randbytes(330 * 300 * 3)
    noise = Image.frombytes("RGB", (330, 300), drawn)
    noise.save(file, format, quality=100, **options)
    return file.getvalue()


@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize("format", FORMATS)
async def test_pictures_of_every_format_and_size_pass(
    inspector: Inspector, format: str, size: str
) -> None:
    """A large file may say its size anywhere."""
    data = large(format) if size == "large" else picture(50, 20, format=format)
    await inspector.check(data, "source 1")

    small = Inspector(999)
    with pytest.raises(InvalidValue, match=r"source 1: \d+x\d+ is more than 999 pixels") as told:
        await small.check(data, "source 1")
    assert told.value.parameter == "source 1"
    small.close()


@pytest.mark.parametrize("data", [b"", b"no picture", b"<svg></svg>", bytes(2**20)])
async def test_what_is_no_picture_is_refused_by_its_parameter(
    inspector: Inspector, data: bytes
) -> None:
    with pytest.raises(InvalidValue, match="source 2: not a picture") as told:
        await inspector.check(data, "source 2")
    assert told.value.parameter == "source 2"


async def test_a_bomb_is_refused_wherever_it_says_its_size(inspector: Inspector) -> None:
    for chunks in (0, 50_000):
        for side in (20_000, 2**31 - 1):
            with pytest.raises(InvalidValue, match=r"source 1: .*(too large|more than)"):
                await inspector.check(png(chunks, side, side), "source 1")


async def test_a_header_of_megabytes_holds_nobody_up() -> None:
    patient = Inspector(MOST, seconds=60)
    data = png(1_000_000)
    assert len(data) > 11 * 2**20
    await patient.check(png(50_000), "source 1")  # its child is there

    async with longest_holdup() as seen:
        await patient.check(data, "source 1")

    assert seen.seconds < 0.5  # on the loop it were 2 seconds, or more
    patient.close()


async def test_what_takes_too_long_is_given_up_with_its_process() -> None:
    inspector = Inspector(MOST, seconds=0.3)
    with pytest.raises(InvalidValue, match=r"its header was not read within 0\.3 seconds"):
        await inspector.check(png(2_500_000), "source 1")
    began = time.perf_counter()
    await inspector.check(picture(), "source 1")
    assert time.perf_counter() - began < 5
    inspector.close()


async def test_many_at_once_take_turns(inspector: Inspector) -> None:
    await asyncio.gather(*(inspector.check(picture(50, 20), "source 1") for _ in range(200)))
