"""Pictures that callers send: what their files say of themselves."""

from __future__ import annotations

import io
import threading
import warnings
from pathlib import Path

from PIL import Image

# The formats that are opened at all; Pillow knows more, and each is more to attack.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
FIRST_BYTES = 256 * 1024  # in which nearly every picture says its size
_WARNINGS = threading.Lock()  # which warnings are heard is set for the whole process


class NoPicture(Exception):
    """What was looked at is no picture of a known format, or not as far as it is there."""


class TooManyPixels(Exception):
    """It is a picture, and larger than any that may be read."""


def picture_size(file: bytes | Path) -> tuple[int, int]:
    """The width and height of a picture, in pixels. Raises `NoPicture`, `TooManyPixels`.

    `file` is the file, or its path. Only the header is read, so that a decompression bomb is known
    for what it is before it is decompressed; but a header may be as long as the file.
    """
    source = io.BytesIO(file) if isinstance(file, bytes) else file
    try:
        with _WARNINGS, warnings.catch_warnings():
            # Pillow warns at a limit of its own; ours is the one that is set.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(source, formats=FORMATS) as picture:
                return picture.size
    except Image.DecompressionBombError:
        raise TooManyPixels from None
    except Exception:  # whatever a broken file makes Pillow's readers raise
        raise NoPicture from None
