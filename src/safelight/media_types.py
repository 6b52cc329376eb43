"""Media types: told by a file's first bytes, for nobody's filename or header is believed."""

from __future__ import annotations

import mimetypes

# What `mimetypes` does not know, or knows by another name on another machine.
_SUFFIXES = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
    "image/bmp": ".bmp",
    "image/avif": ".avif",
    "video/mp4": ".mp4",
}
_UNKNOWN = "application/octet-stream"


def media_type_of(data: bytes) -> str:
    """The media type of a picture, film or sound that begins with `data` (32 bytes suffice)."""
    for prefix, media_type in _PREFIXES:
        if data.startswith(prefix):
            return media_type
    if data[:4] == b"RIFF":
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav"}.get(data[8:12], _UNKNOWN)
    if data[4:8] == b"ftyp":
        return "video/quicktime" if data[8:10] == b"qt" else "video/mp4"
    return _UNKNOWN


_PREFIXES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"\x1aE\xdf\xa3", "video/webm"),
    (b"ID3", "audio/mpeg"),
    (b"\xff\xfb", "audio/mpeg"),
)


def suffix_of(media_type: str | None) -> str:
    """The file name suffix that fits a media type, with its dot; empty where none is known."""
    if media_type is None:
        return ""
    return _SUFFIXES.get(media_type) or mimetypes.guess_extension(media_type) or ""
