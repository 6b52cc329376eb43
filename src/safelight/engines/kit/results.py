"""What another service has made: whether the bytes are what was asked for."""

from __future__ import annotations

from pathlib import Path

from safelight.engines import Unfetched
from safelight.media import FIRST_BYTES, FORMATS, NoPicture, TooManyPixels, picture_size
from safelight.media_types import media_type_of
from safelight.task import Kind

_READ = frozenset(f"image/{name.lower()}" for name in FORMATS)


class Strange(Unfetched):
    """What came is no picture, or no film: a page that says sign in, an error with status 200."""

    def __init__(self, message: str) -> None:
        super().__init__(message, passing=True)


def read_media_type(path: Path, kind: Kind) -> str:
    """The media type of a file that is to be of that kind. Raises `Strange`, `OSError`."""
    with path.open("rb") as file:
        head = file.read(FIRST_BYTES)
        whole = not file.read(1)
    media_type = media_type_of(head[:32])
    if kind is Kind.IMAGE and _is_drawing(head):
        return media_type
    sort = "picture" if kind is Kind.IMAGE else "film"
    if not _is(media_type, kind):
        raise Strange(f"what came is no {sort} (it begins with {head[:24]!r})")
    if media_type in _READ and whole:
        _check_picture(head)
    return media_type


def _is(media_type: str, kind: Kind) -> bool:
    if kind is Kind.IMAGE:
        return media_type.startswith("image/")
    return media_type.startswith("video/") or media_type == "image/gif"


def _is_drawing(head: bytes) -> bool:
    """Whether it is an SVG, which some models draw, and no page that has one in it."""
    words = head[:1024].lower()
    return b"<svg" in words and b"<html" not in words


def _check_picture(data: bytes) -> None:
    try:
        picture_size(data)
    except TooManyPixels:
        pass  # it is one
    except NoPicture:
        raise Strange("what came begins like a picture, and is none") from None
