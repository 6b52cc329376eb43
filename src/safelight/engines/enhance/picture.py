"""A picture between its file and its pixels: reads any of the accepted kinds, writes five of them.

In between every picture is RGB or RGBA with eight bits a channel, upright, and without any
metadata but its colour profile.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from safelight.engines import Failed, File
from safelight.task import FailureCode, Record

# The kinds of file that are read, and the kind that each is written as where none is named.
_WRITTEN_AS: Mapping[str, str] = {
    "JPEG": "jpeg",
    "MPO": "jpeg",  # several JPEGs in one file, the first of which is the picture
    "PNG": "png",
    "WEBP": "webp",
    "AVIF": "avif",
    "BMP": "bmp",
    "GIF": "png",
    "TIFF": "png",
}
_PAGES = ("MPO", "TIFF")  # where more than one frame is no animation
_GRAY = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N")
_DEEP = tuple(mode for mode in _GRAY if mode.startswith("I"))
# What turns a picture upright, by its EXIF orientation.
_TURNS: Mapping[int | None, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SPACES: Mapping[str, bytes] = {"L": b"GRAY", "LA": b"GRAY", "RGB": b"RGB ", "RGBA": b"RGB "}


class Picture(Record, frozen=True, kw_only=True):
    """The pixels of a picture, RGB or RGBA, and what its file said about them.

    `format` is the kind of file to write where none is named; with `gray` the colours hold none,
    and are written as grays. `profile` is the ICC profile that the colours are meant in; without
    one they are sRGB.
    """

    image: Image.Image
    format: str
    gray: bool = False
    profile: bytes | None = None


class _Kind(Record, frozen=True, kw_only=True):
    """A kind of file that can be written. `longest` is the longest side it allows, in pixels."""

    name: str
    media_type: str
    longest: int
    modes: tuple[str, ...]  # Pillow's, of those that a picture here can have
    profile: bool  # it can hold an ICC profile
    settings: Callable[[int], dict[str, Any]]  # for Pillow, from a quality of 1 to 100

    @property
    def alpha(self) -> bool:
        return "RGBA" in self.modes


_KINDS: Mapping[str, _Kind] = {
    "jpeg": _Kind(
        name="JPEG",
        media_type="image/jpeg",
        longest=65500,
        modes=("L", "RGB"),
        profile=True,
        # From 90 on the colours are kept at full resolution too.
        settings=lambda quality: {"quality": quality, "subsampling": 0 if quality >= 90 else 2},
    ),
    "png": _Kind(
        name="PNG",
        media_type="image/png",
        longest=2**31 - 1,
        modes=("L", "LA", "RGB", "RGBA"),
        profile=True,
        settings=lambda _: {},  # without loss at any quality
    ),
    "webp": _Kind(
        name="WebP",
        media_type="image/webp",
        longest=16383,
        modes=("RGB", "RGBA"),
        profile=True,
        settings=lambda quality: {"quality": quality},
    ),
    "avif": _Kind(
        name="AVIF",
        media_type="image/avif",
        longest=65536,
        modes=("RGB", "RGBA"),
        profile=True,
        # More threads are no faster for one picture; the metadata is dropped as everywhere.
        settings=lambda quality: {"quality": quality, "max_threads": 1},
    ),
    "bmp": _Kind(
        name="BMP",
        media_type="image/bmp",
        longest=2**31 - 1,
        modes=("L", "RGB"),
        profile=False,
        settings=lambda _: {},
    ),
}
DEFAULT_QUALITY = 90


def with_alpha(picture: Picture) -> Picture:
    """`picture`, to be written as a kind that keeps transparency where none is named."""
    kind = picture.format if _KINDS[picture.format].alpha else "png"
    return msgspec.structs.replace(picture, format=kind)


def read_picture(path: Path, max_pixels: int) -> Picture:
    """The picture in the file at `path`. Raises `Failed` where it is none that can be worked on."""
    with warnings.catch_warnings():
        # What Pillow warns of (size, odd metadata, palettes) is told as a failure here, or no harm.
        warnings.simplefilter("ignore")
        try:
            with Image.open(path, formats=tuple(set(_WRITTEN_AS) - {"MPO"})) as opened:
                _admit(opened, max_pixels)
                opened.load()
                return _normalize(opened)
        except Image.DecompressionBombError:
            raise _refusal(_too_large(max_pixels)) from None
        except (Failed, FileNotFoundError, MemoryError):
            raise
        except UnidentifiedImageError:
            kinds = "JPEG, PNG, WebP, AVIF, BMP, GIF, TIFF"
            text = f"The source is not a picture that can be read: {kinds}."
            raise _refusal(text) from None
        except Exception as error:  # a decoder may raise anything over a file that is broken
            raise _refusal("The source picture is broken or truncated.") from error


def write_picture(picture: Picture, folder: Path, form: str | None, quality: int | None) -> File:
    """Write `picture` into `folder` as `form`, or as the kind it was; `quality` is 1 to 100."""
    form = {"jpg": "jpeg"}.get(form or "", form) or picture.format
    kind = _KINDS[form]
    if max(picture.image.size) > kind.longest:
        text = f"A {kind.name} picture has at most {kind.longest} pixels a side."
        raise _refusal(text)
    image, profile = _suit(picture, kind)
    path = folder / f"picture.{form}"
    settings = kind.settings(quality or DEFAULT_QUALITY)
    if profile:
        settings["icc_profile"] = profile
    image.save(path, kind.name, **settings)
    return File(path=path, media_type=kind.media_type, width=image.width, height=image.height)


def _admit(opened: Image.Image, max_pixels: int) -> None:
    """Refuse, before anything is decoded, what is too large or moves."""
    if opened.width * opened.height > max_pixels:
        size = f"{opened.width} x {opened.height}"
        raise _refusal(f"The source picture is {size} pixels. {_too_large(max_pixels)}")
    if getattr(opened, "n_frames", 1) > 1 and opened.format not in _PAGES:
        raise _refusal("The source picture is an animation; only still pictures are processed.")


def _normalize(opened: Image.Image) -> Picture:
    profile = opened.info.get("icc_profile") or None
    image, gray = _upright(opened), opened.mode in _GRAY
    if image.mode == "CMYK":
        image, profile = _to_srgb(image, profile, b"CMYK"), None
    elif image.mode in _DEEP:
        image = _eight_bits(image)
    elif image.mode == "F":
        raise _refusal("The source picture has floating-point pixels, which are not processed.")
    clear = image.has_transparency_data
    image = image.convert("RGBA" if clear else "RGB")
    image.info = {}  # or the writers would put it into the result
    form = _WRITTEN_AS[opened.format or "PNG"]
    return Picture(image=image, format=form, gray=gray, profile=profile)


def _upright(opened: Image.Image) -> Image.Image:
    """The picture turned as its metadata says; broken metadata turns nothing."""
    try:
        orientation = opened.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # as from any decoder, but the pixels are good
        orientation = None
    turn = _TURNS.get(orientation)
    return opened.copy() if turn is None else opened.transpose(turn)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grays of sixteen bits as grays of eight."""
    deep = np.asarray(image).astype(np.int64).clip(0, 65535)
    return Image.fromarray(((deep + 128) // 257).astype(np.uint8))


def _suit(picture: Picture, kind: _Kind) -> tuple[Image.Image, bytes | None]:
    """The pixels in a mode that the kind of file can hold, and the profile they are meant in."""
    image, profile = picture.image, picture.profile
    if image.mode == "RGBA" and not kind.alpha:
        image = _flatten(image)
    if picture.gray:
        image = image.convert(image.mode.replace("RGB", "L"))
    space = _SPACES[image.mode]
    if profile and profile[16:20] == space and kind.profile and image.mode in kind.modes:
        return image, profile
    image = _to_srgb(image, profile, space)
    if image.mode not in kind.modes:  # WebP knows no grays
        image = image.convert("RGBA" if image.mode == "LA" else "RGB")
    return image, None


def _flatten(image: Image.Image) -> Image.Image:
    """The picture laid on white."""
    ground = Image.new("RGB", image.size, "white")
    ground.paste(image, mask=image.getchannel("A"))
    return ground


def _to_srgb(image: Image.Image, profile: bytes | None, space: bytes) -> Image.Image:
    """The colours as sRGB; without a profile, or with one of another space, as they are."""
    if not profile or profile[16:20] != space:
        return image
    opaque = image.convert(image.mode.removesuffix("A"))
    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        srgb = ImageCms.createProfile("sRGB")
        result = ImageCms.profileToProfile(opaque, given, srgb, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):  # a broken profile
        return image
    assert result is not None
    if opaque.mode != image.mode:
        result.putalpha(image.getchannel("A"))
    return result


def _too_large(max_pixels: int) -> str:
    return f"At most {max_pixels} pixels are allowed."


def _refusal(text: str) -> Failed:
    return Failed(FailureCode.INVALID_INPUT, text)
