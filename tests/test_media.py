"""Pictures that callers send: what their files say, and nothing that a broken one raises."""

from __future__ import annotations

import io
import random
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from doubles import picture
from safelight.media import FORMATS, NoPicture, TooManyPixels, picture_size


@pytest.mark.parametrize("format", FORMATS)
def test_a_picture_of_every_known_format_says_its_size(format: str, tmp_path: Path) -> None:
    data = picture(50, 20, format=format)
    (tmp_path / "file").write_bytes(data)

    assert picture_size(data) == picture_size(tmp_path / "file") == (50, 20)


@pytest.mark.parametrize(
    "data", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"<svg></svg>", b"%PDF-1.7"]
)
def test_what_is_no_picture_is_none(data: bytes) -> None:
    with pytest.raises(NoPicture):
        picture_size(data)


def test_a_format_that_is_not_opened_is_none() -> None:
    with pytest.raises(NoPicture):
        picture_size(picture(format="PPM"))


@pytest.mark.parametrize("side", [20_000, 2**31 - 1])
def test_a_bomb_is_known_by_its_header(side: int) -> None:
    with pytest.raises(TooManyPixels):
        picture_size(square(side))


def square(side: int) -> bytes:
    """The beginning of a picture of that side."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"")


def chunk(name: bytes, data: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(name + data))
    return struct.pack(">I", len(data)) + name + data + checksum


@pytest.mark.parametrize("format", FORMATS)
def test_a_broken_picture_raises_nothing_else(format: str) -> None:
    whole = bytearray(picture(format=format))
    chance = random.Random(format)
    for _ in range(150):
        broken = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        try:
            picture_size(bytes(broken[: chance.randint(1, len(broken))]))
        except (NoPicture, TooManyPixels):
            continue


def test_only_the_header_is_read() -> None:
    file = io.BytesIO()
    Image.effect_noise((30, 30), 50).save(file, "PNG")

    assert picture_size(file.getvalue()[:60]) == (30, 30)


def test_threads_that_look_at_once_take_no_warning_for_a_broken_picture() -> None:
    """What Pillow warns of is an error in these tests, and said for the whole process."""
    large = square(10_000)  # where Pillow warns, and reads it all the same
    before = list(warnings.filters)

    with ThreadPoolExecutor(8) as threads:
        sizes = set(threads.map(picture_size, [large] * 2000))

    assert sizes == {(10_000, 10_000)}
    assert warnings.filters == before
