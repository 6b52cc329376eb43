"""Media types, told by the first bytes of a file."""

from __future__ import annotations

import pytest

from doubles import picture
from safelight.media_types import media_type_of, suffix_of

FILES = [
    (picture(format="PNG"), "image/png", ".png"),
    (picture(format="JPEG"), "image/jpeg", ".jpg"),
    (picture(format="WEBP"), "image/webp", ".webp"),
    (picture(format="BMP"), "image/bmp", ".bmp"),
    (picture(format="GIF"), "image/gif", ".gif"),
    (picture(format="TIFF"), "image/tiff", ".tiff"),
    (picture(format="AVIF"), "image/avif", ".avif"),
    (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "image/heic", ".heic"),
    (b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2", "video/mp4", ".mp4"),
    (b"\x00\x00\x00\x20ftypmp42\x00\x00\x00\x00", "video/mp4", ".mp4"),
    (b"\x00\x00\x00\x14ftypqt  \x00\x00\x02\x00", "video/quicktime", ".mov"),
    (b"\x00\x00\x00\x20ftypM4A \x00\x00\x02\x00", "audio/mp4", ".m4a"),
    (b"\x1aE\xdf\xa3\x9fB\x86\x81\x01", "video/webm", ".webm"),
    (b"RIFF\x24\x00\x00\x00WAVEfmt ", "audio/wav", ".wav"),
    (b"ID3\x04\x00", "audio/mpeg", ".mp3"),
    (b"\xff\xfb\x90\x00", "audio/mpeg", ".mp3"),
]


@pytest.mark.parametrize(("data", "media_type", "suffix"), FILES, ids=[row[1] for row in FILES])
def test_a_file_says_what_it_is_by_its_first_bytes(
    data: bytes, media_type: str, suffix: str
) -> None:
    assert media_type_of(data[:32]) == media_type
    assert suffix_of(media_type) == suffix


@pytest.mark.parametrize(
    "data", [b"", b"RIFF", b"RIFF\x00\x00\x00\x00AVI ", b"<html>", b"<svg ", b"text", b"\x00" * 32]
)
def test_whatever_else_is_unknown(data: bytes) -> None:
    assert media_type_of(data) == "application/octet-stream"


def test_what_has_no_suffix_gets_none() -> None:
    assert suffix_of(None) == ""
    assert suffix_of("nobody/knows") == ""
