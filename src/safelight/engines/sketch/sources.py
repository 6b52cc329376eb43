"""Pictures that the caller gave: opened with care, fitted, painted anew, and put together.

Nothing is decoded before its size and its kind are known, because the bytes are a stranger's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps, UnidentifiedImageError

from safelight.engines import Failed
from safelight.engines.sketch.layers import Chance, Size, as_mask, coarse, noise, smooth
from safelight.engines.sketch.palettes import Palette, colour
from safelight.task import FailureCode

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
MAX_SIDE = 32768


def measure(path: Path, max_pixels: int) -> Size:
    """Width and height as the picture is to be seen. Raises `Failed` as `read` does."""
    with _opened(path, max_pixels) as image:
        turned = image.getexif().get(0x0112, 1) >= 5
        return (image.height, image.width) if turned else image.size


def read(path: Path, max_pixels: int, mode: str = "RGB") -> Image.Image:
    """The picture, upright, in `mode` ("RGB": on white where it is transparent, or "RGBA").

    Raises `Failed` where it is none, is of a kind that is not read here, is broken, or has more
    than `max_pixels`.
    """
    with _opened(path, max_pixels) as image:
        image.seek(0)
        whole = ImageOps.exif_transpose(image).convert("RGBA")
    if mode == "RGBA":
        return whole
    ground = Image.new("RGB", whole.size, (255, 255, 255))
    ground.paste(whole, (0, 0), whole.getchannel("A"))
    return ground


@contextmanager
def _opened(path: Path, max_pixels: int) -> Iterator[Image.Image]:
    try:
        with Image.open(path, formats=FORMATS) as image:
            _check_size(image.size, max_pixels)
            yield image
    except UnidentifiedImageError:
        kinds = ", ".join(FORMATS)
        raise _refused(f"A source is not a picture that can be read; they are {kinds}.") from None
    except Image.DecompressionBombError:
        raise _refused("A source picture has far too many pixels.") from None
    except (Failed, MemoryError):
        raise
    except Exception as error:  # a broken file makes its reader stumble in any way there is
        raise _refused(f"A source picture is broken: {error}.") from error


def _check_size(size: Size, max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels or max(size) > MAX_SIDE:
        raise _refused(
            f"A source picture is {width}x{height} pixels; at most {max_pixels} pixels are read."
        )


def _refused(text: str) -> Failed:
    return Failed(FailureCode.INVALID_INPUT, text)


def cover(image: Image.Image, size: Size) -> Image.Image:
    """`image` scaled and cropped about its middle, so that it fills `size` and keeps its form."""
    return image if image.size == size else ImageOps.fit(image, size, Image.Resampling.LANCZOS)


def painting(image: Image.Image, palette: Palette, chance: Chance) -> Image.Image:
    """`image` (already of its final size) as if painted with a brush, in light of the palette."""
    canvas = image.filter(ImageFilter.GaussianBlur(min(image.size) / 60))
    unit = min(image.size)
    small = image.resize(coarse(image.size, max(1, unit // 340)), Image.Resampling.BOX)
    for radius, share in ((unit / 26, 1.0), (unit / 52, 0.75), (unit / 105, 0.5)):
        _brush(canvas, small, max(1.2, radius), share, chance)
    graded = Image.blend(canvas, _graded(canvas, palette), 0.38)
    edges = ImageOps.invert(
        image.convert("L").filter(ImageFilter.SMOOTH_MORE).filter(ImageFilter.CONTOUR)
    )
    ink = edges.point([min(120, max(0, value - 60)) for value in range(256)])
    graded.paste(_ink(palette), (0, 0), ink)
    return _canvas_weave(graded, chance)


def _brush(
    canvas: Image.Image, small: Image.Image, radius: float, share: float, chance: Chance
) -> None:
    """Strokes across the light's slope; the finer ones only where there is something to see."""
    scale = canvas.width / small.width
    blurred = small.filter(ImageFilter.GaussianBlur(max(0.6, radius / scale / 2.2)))
    light = np.asarray(blurred.convert("L")).astype(np.float32)
    down, across = np.gradient(light, axis=0), np.gradient(light, axis=1)
    detail = np.hypot(down, across)
    limit = float(np.quantile(detail, 1 - share)) if share < 1 else -1.0
    colours = np.asarray(blurred)
    pen = ImageDraw.Draw(canvas)
    spacing = radius * 1.25
    count = min(16_000, int(canvas.width * canvas.height / spacing**2))
    for x, y, turn in chance.random((count, 3)).tolist():
        column, row = int(x * small.width), int(y * small.height)
        if detail[row, column] < limit:
            continue
        angle = math.atan2(across[row, column], -down[row, column]) + (turn - 0.5) * 0.7
        long = radius * (1.6 + turn)
        dx, dy = math.cos(angle) * long, math.sin(angle) * long
        shade = colours[row, column].astype(np.int16) + int((turn - 0.5) * 14)
        red, green, blue = (int(value) for value in shade.clip(0, 255))
        at = (x * canvas.width, y * canvas.height)
        ends = [(at[0] - dx, at[1] - dy), (at[0] + dx, at[1] + dy)]
        pen.line(ends, fill=(red, green, blue), width=max(1, round(radius)))


def _graded(image: Image.Image, palette: Palette) -> Image.Image:
    """`image` in the palette's colours alone, by how light it is."""
    stops = (palette.near, palette.far, palette.middle, palette.horizon, palette.light)
    shades = [colour(stop) for stop in stops]
    shades.sort(key=lambda shade: float(shade @ np.array([0.3, 0.59, 0.11], np.float32)))
    places = np.linspace(0, 255, len(shades))
    table: list[int] = []
    for channel in range(3):
        ramp = np.interp(np.arange(256), places, [shade[channel] for shade in shades])
        table += [round(float(value)) for value in ramp]
    grey = image.convert("L")
    return Image.merge("RGB", (grey, grey, grey)).point(table)


def _ink(palette: Palette) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in colour(palette.near))
    return red, green, blue


def _canvas_weave(image: Image.Image, chance: Chance) -> Image.Image:
    width, height = image.size
    bumps = noise(coarse(image.size, 2), chance, (width / 7, height / 7), 2)
    weave = as_mask(0.42 + 0.16 * bumps, image.size)
    return ImageChops.overlay(image, Image.merge("RGB", (weave, weave, weave)))


def together(images: Sequence[Image.Image], size: Size, chance: Chance) -> Image.Image:
    """All the pictures in one, side by side along slanting seams that melt into each other."""
    result = cover(images[0], size)
    lean = float(chance.uniform(-0.18, 0.18))
    small = coarse(size, 2)
    across = np.linspace(0, 1, small[0], dtype=np.float32)[None, :]
    down = np.linspace(-0.5, 0.5, small[1], dtype=np.float32)[:, None]
    wander = (noise(small, chance, (3, 3), 3) - np.float32(0.5)) * np.float32(0.12)
    place = across + np.float32(lean) * down + wander
    for at, image in enumerate(images[1:], start=1):
        seam = at / len(images)
        mask = as_mask(smooth(place, seam - 0.035, seam + 0.035), size)
        result = Image.composite(cover(image, size), result, mask)
    return result


def dream(image: Image.Image, scene: Image.Image, chance: Chance) -> Image.Image:
    """`image` whose outer parts take the light and colours of `scene`."""
    small = coarse(image.size, 4)
    across = np.linspace(-1, 1, small[0], dtype=np.float32)[None, :]
    down = np.linspace(-1, 1, small[1], dtype=np.float32)[:, None]
    wander = (noise(small, chance, (4, 4), 4) - np.float32(0.5)) * np.float32(0.7)
    away = (across**4 + down**4) ** np.float32(0.25) + wander
    mask = as_mask(smooth(away, 0.78, 1.15) * np.float32(0.55), image.size)
    light = scene.filter(ImageFilter.GaussianBlur(min(scene.size) / 25))
    return Image.composite(ImageChops.soft_light(image, light), image, mask)


def opening(mask: Image.Image, size: Size) -> Image.Image:
    """Where `mask` (RGBA) lets us paint: where it is transparent or, if it is nowhere, white."""
    alpha = mask.getchannel("A")
    lowest, _ = alpha.getextrema()
    free = ImageOps.invert(alpha) if lowest == 0 else mask.convert("L")
    sharp = cover(free, size).point([0] * 128 + [255] * 128)
    # Softened inwards only: what is to be kept is kept to the pixel.
    soft = sharp.filter(ImageFilter.GaussianBlur(min(size) / 160))
    inwards = soft.point([max(0, min(255, (value - 128) * 2 + 1)) for value in range(256)])
    return ImageChops.multiply(inwards, sharp)
