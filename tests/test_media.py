"""Pictures that callers send: what is refused before it is accepted."""

from __future__ import annotations

import io
import random
import struct
import zlib

import pytest
from PIL import Image

from doubles import picture
from safelight.errors import InvalidValue
from safelight.media import FORMATS, check_picture

MOST = 1000


@pytest.mark.parametrize("format", FORMATS)
def test_a_picture_of_every_known_format_passes(format: str) -> None:
    check_picture(picture(format=format), MOST, "source 1")


@pytest.mark.parametrize(
    "data", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"<svg></svg>", b"%PDF-1.7"]
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidValue, match="source 1: not a picture") as told:
        check_picture(data, MOST, "source 1")
    assert told.value.parameter == "source 1"


def test_a_format_that_is_not_opened_is_refused() -> None:
    with pytest.raises(InvalidValue, match="PNG"):
        check_picture(picture(format="PPM"), MOST, "source 1")


def test_the_limit_is_met_exactly() -> None:
    check_picture(picture(50, 20), MOST, "source 1")
    with pytest.raises(InvalidValue, match="51x20 is more than 1000 pixels"):
        check_picture(picture(51, 20), MOST, "source 1")


@pytest.mark.parametrize("side", [20_000, 2**31 - 1])
def test_a_bomb_is_refused_by_its_header(side: int) -> None:
    def chunk(name: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + checksum

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"")

    with pytest.raises(InvalidValue, match=r"too large|more than"):
        check_picture(bomb, 10**8, "source 1")


@pytest.mark.parametrize("format", FORMATS)
def test_a_broken_picture_raises_nothing_else(format: str) -> None:
    whole = bytearray(picture(format=format))
    chance = random.Random(format)
    for _ in range(150):
        broken = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        try:
            check_picture(bytes(broken[: chance.randint(1, len(broken))]), MOST, "source 1")
        except InvalidValue:
            continue


def test_only_the_header_is_read() -> None:
    file = io.BytesIO()
    Image.effect_noise((30, 30), 50).save(file, "PNG")

    check_picture(file.getvalue()[:60], MOST, "source 1")
