"""Pictures that callers send: looked at before they are accepted."""

from __future__ import annotations

import io
import warnings

from PIL import Image

from safelight.errors import InvalidValue

# The formats that are opened at all; Pillow knows more, and each is more to attack.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")


def check_picture(data: bytes, most_pixels: int, parameter: str) -> None:
    """Raise `InvalidValue` unless `data` begins as a picture of at most that many pixels.

    Only the header is read: a decompression bomb is refused before it is decompressed.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns at a limit of its own; ours is the one that is set.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
                width, height = picture.size
    except Image.DecompressionBombError:
        raise InvalidValue(f"{parameter}: the picture is too large", parameter=parameter) from None
    except Exception:  # whatever a broken file makes Pillow's readers raise
        known = ", ".join(FORMATS)
        raise InvalidValue(
            f"{parameter}: not a picture of a known format ({known})", parameter=parameter
        ) from None
    if width * height > most_pixels:
        raise InvalidValue(
            f"{parameter}: {width}x{height} is more than {most_pixels} pixels",
            parameter=parameter,
        )
