"""What pictures are made of: layers with a depth, and the brushes that make them.

All brushes take a size in pixels and give Pillow images; edges are smooth at every size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw

from safelight.engines.sketch.palettes import Colour

Size: TypeAlias = tuple[int, int]
Floats: TypeAlias = NDArray[np.floating[Any]]
Chance: TypeAlias = np.random.Generator

_TAU = 2 * np.pi


@dataclass(frozen=True, slots=True)
class Layer:
    """One sheet of the stage. `top` is the row of the canvas at which its first row lies.

    `depth` is how far it goes with the camera: 0 the sky, 1 the foreground. `sway` and `lift` are
    how far it moves to and fro by itself, sideways and up, as a share of the canvas's height.
    """

    image: Image.Image
    mask: Image.Image | None = None
    depth: float = 0.0
    top: int = 0
    left: int = 0
    sway: float = 0.0
    lift: float = 0.0
    phase: float = 0.0

    @property
    def motion(self) -> tuple[float, float, float, float]:
        """Layers with the same motion keep their places to each other."""
        return self.depth, self.sway, self.lift, self.phase


@dataclass(frozen=True, slots=True)
class Motes:
    """Small things in the air: `places` and `speeds` (a second) as shares of the canvas."""

    sprite: Image.Image
    colour: tuple[int, int, int]
    places: Floats
    speeds: Floats


@dataclass(frozen=True, slots=True)
class Stage:
    """A canvas and its layers, the farthest first."""

    size: Size
    layers: tuple[Layer, ...]
    motes: Motes | None = None
    shade: Image.Image | None = field(default=None)


def rgb(shade: Colour) -> tuple[int, int, int]:
    red, green, blue = (round(float(value)) for value in np.clip(shade, 0, 255))
    return red, green, blue


def gradient(size: Size, stops: Sequence[tuple[float, Colour]]) -> Image.Image:
    """Colours from top to bottom, through `stops` (a place from 0 to 1, a colour)."""
    rows = np.linspace(0, 1, size[1], dtype=np.float32)
    places = [place for place, _ in stops]
    channels = [np.interp(rows, places, [shade[at] for _, shade in stops]) for at in range(3)]
    column = np.stack(channels, axis=1)[:, None, :]
    return Image.fromarray(np.rint(np.clip(column, 0, 255)).astype(np.uint8)).resize(
        size, Image.Resampling.NEAREST
    )


def noise(size: Size, chance: Chance, cells: tuple[float, float], octaves: int = 3) -> Floats:
    """Smooth noise from 0 to 1, `cells` bumps across and down; coarse is enough, it is smooth."""
    total = np.zeros((size[1], size[0]), np.float32)
    weight = 0.0
    for octave in range(octaves):
        across, down = (max(2, round(count * 2**octave) + 1) for count in cells)
        bumps = chance.random((down, across), dtype=np.float32)
        grown = Image.fromarray(bumps).resize(size, Image.Resampling.BICUBIC)
        total += np.asarray(grown) * np.float32(0.5**octave)
        weight += 0.5**octave
    scaled: Floats = np.clip(total / np.float32(weight), 0, 1)
    return scaled


def coarse(size: Size, step: int) -> Size:
    """The size of a field that is computed at every `step`th pixel and enlarged."""
    return max(2, size[0] // step), max(2, size[1] // step)


def as_mask(field_: Floats, size: Size) -> Image.Image:
    """A field from 0 to 1 as a mask of `size`."""
    image = Image.fromarray(np.rint(np.clip(field_, 0, 1) * 255).astype(np.uint8))
    return image if image.size == size else image.resize(size, Image.Resampling.BICUBIC)


def smooth(value: Floats, low: float, high: float) -> Floats:
    """0 below `low`, 1 above `high`, and a smooth way between."""
    share = np.clip((value - np.float32(low)) / np.float32(high - low), 0, 1)
    eased: Floats = (share * share * (3 - 2 * share)).astype(np.float32)
    return eased


def ridge(width: int, chance: Chance, bumps: float, rough: float = 0.5, sharp: float = 0) -> Floats:
    """A line of heights from 0 to 1; `sharp` (0 to 1) makes peaks of its round tops."""
    across = np.linspace(0, 1, width, dtype=np.float32)
    line = np.zeros(width, np.float32)
    for octave in range(7):
        waves = bumps * 2**octave
        if waves > width / 4:
            break
        wave = np.sin(_TAU * (waves * across * chance.uniform(0.8, 1.25) + chance.random()))
        peaked = 1 - 2 * np.abs(wave)
        line += ((1 - sharp) * wave + sharp * peaked) * np.float32(rough**octave)
    low, high = float(line.min()), float(line.max())
    return ((line - low) / np.float32(max(high - low, 1e-6))).astype(np.float32)


def below(size: Size, heights: Floats) -> tuple[Image.Image, int]:
    """The mask of all that lies below the line `heights` (rows), and the row that it begins at."""
    width, height = size
    top = int(np.clip(np.floor(heights.min()) - 1, 0, height - 1))
    bottom = int(np.clip(np.ceil(heights.max()) + 1, top + 1, height))
    rows = np.arange(top, bottom, dtype=np.float32)[:, None]
    edge = np.clip((rows - heights[None, :] + 0.5) * 255, 0, 255).astype(np.uint8)
    mask = Image.new("L", (width, height - top), 255)
    mask.paste(Image.fromarray(edge), (0, 0))
    return mask, top


def drawn(size: Size, draw: Callable[[ImageDraw.ImageDraw, float], None]) -> Image.Image:
    """A mask of what `draw` draws in white, in pixels times the scale that it is given."""
    scale = 3 if size[0] * size[1] < 400_000 else 2
    mask = Image.new("L", (size[0] * scale, size[1] * scale))
    draw(ImageDraw.Draw(mask), float(scale))
    return mask.reduce(scale)


def polygon(
    pen: ImageDraw.ImageDraw, points: Floats | Sequence[tuple[float, float]], scale: float
) -> None:
    pen.polygon([(float(x) * scale, float(y) * scale) for x, y in points], fill=255)


def disc(
    pen: ImageDraw.ImageDraw,
    centre: tuple[float, float],
    radius: float | tuple[float, float],
    scale: float,
    fill: int = 255,
) -> None:
    wide, tall = radius if isinstance(radius, tuple) else (radius, radius)
    x, y = centre
    box = ((x - wide) * scale, (y - tall) * scale, (x + wide) * scale, (y + tall) * scale)
    pen.ellipse(box, fill=fill)


def glow(size: Size, centre: tuple[float, float], radius: float, power: float = 2.0) -> Image.Image:
    """A soft light as a mask: full at `centre`, none beyond `radius`."""
    small = coarse(size, 8)
    across = (np.arange(small[0], dtype=np.float32) + 0.5) * size[0] / small[0] - centre[0]
    down = (np.arange(small[1], dtype=np.float32) + 0.5) * size[1] / small[1] - centre[1]
    distance = np.sqrt(across[None, :] ** 2 + down[:, None] ** 2) / np.float32(radius)
    return as_mask(np.clip(1 - distance, 0, 1) ** np.float32(power), size)


def tint(image: Image.Image, shade: Colour, mask: Image.Image, strength: float = 1.0) -> None:
    """Lay a colour over `image`, as strongly as the mask says."""
    if strength < 1:
        mask = mask.point([round(value * strength) for value in range(256)])
    image.paste(rgb(shade), (0, 0), mask)


def flat(mask: Image.Image, shade: Colour) -> Image.Image:
    return Image.new("RGB", mask.size, rgb(shade))


def vignette(size: Size, strength: float) -> Image.Image:
    """What a picture is multiplied by to be darker in its corners."""
    small = coarse(size, 8)
    across = np.linspace(-1, 1, small[0], dtype=np.float32)
    down = np.linspace(-1, 1, small[1], dtype=np.float32)
    away = (across[None, :] ** 2 + down[:, None] ** 2) / 2
    light = as_mask(1 - np.float32(strength) * smooth(away, 0.25, 1.1), size)
    return Image.merge("RGB", (light, light, light))


def grain(image: Image.Image, chance: Chance, strength: float) -> Image.Image:
    """`image` with the tooth of paper, which also hides the steps of a gradient."""
    width, height = image.size
    tooth = chance.normal(0, strength, (min(height, 512), min(width, 512))).astype(np.int16)
    fibre = (noise(coarse(image.size, 3), chance, (width / 24, height / 10), 2) - 0.5) * 4
    broad = Image.fromarray(fibre).resize(image.size, Image.Resampling.BILINEAR)
    rows, columns = -(-height // tooth.shape[0]), -(-width // tooth.shape[1])
    field_ = np.tile(tooth, (rows, columns))[:height, :width]
    field_ = field_ + np.asarray(broad).astype(np.int16)
    pixels = np.asarray(image).astype(np.int16) + field_[:, :, None]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def compose(
    stage: Stage, size: Size, camera: tuple[float, float] = (0, 0), time: float = 0
) -> Image.Image:
    """The picture of `size` that the stage shows at `time` (seconds).

    `camera` is where on the canvas its upper left corner is for a layer of depth 1.
    """
    picture = Image.new("RGB", size)
    for layer in stage.layers:
        _lay(picture, layer, stage.size, camera, time)
    if stage.motes:
        _scatter(picture, stage.motes, time)
    if stage.shade:
        picture = ImageChops.multiply(picture, stage.shade)
    return picture


def fused(stage: Stage) -> Stage:
    """The same stage with the layers that move as one in one: what a film composes more quickly."""
    groups = groupby(stage.layers, lambda layer: layer.motion)
    layers = tuple(_fuse(list(group)) for _, group in groups)
    return replace(stage, layers=layers)


def _fuse(group: Sequence[Layer]) -> Layer:
    first = group[0]
    left, top = min(layer.left for layer in group), min(layer.top for layer in group)
    right = max(layer.left + layer.image.width for layer in group)
    bottom = max(layer.top + layer.image.height for layer in group)
    together = Image.new("RGBA", (right - left, bottom - top))
    ground = Image.new("RGB", together.size)
    for layer in group:
        sheet, place = layer.image.convert("RGBA"), (layer.left - left, layer.top - top)
        ground.paste(layer.image, place)
        if layer.mask:
            sheet.putalpha(layer.mask)
        together.alpha_composite(sheet, place)
    image = _with_colours_unseen(together, ground)
    return _trimmed(replace(first, image=image, mask=None, left=left, top=top))


def _with_colours_unseen(image: Image.Image, ground: Image.Image) -> Image.Image:
    """`image` with colours where it is clear: they come in at the edges when it moves."""
    alpha = image.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return image.convert("RGB")
    filled = Image.composite(image.convert("RGB"), ground, alpha.point([0] + [255] * 255))
    filled.putalpha(alpha)
    return filled


def _trimmed(layer: Layer) -> Layer:
    """The layer without clear rows and columns, unless it reaches an edge of its image there."""
    box = layer.image.getchannel("A").getbbox() if layer.image.mode == "RGBA" else None
    if box is None:
        return layer
    left, top, right, bottom = box
    if left == 0 or right == layer.image.width:
        left, right = 0, layer.image.width
    image = layer.image.crop((left, top, right, bottom))
    return replace(layer, image=image, left=layer.left + left, top=layer.top + top)


def _lay(
    picture: Image.Image, layer: Layer, canvas: Size, camera: tuple[float, float], time: float
) -> None:
    swing = np.sin(_TAU * (time / 7 + layer.phase))
    heave = np.sin(_TAU * (time / 5 + layer.phase))
    x = camera[0] * layer.depth + float(layer.sway * canvas[1] * swing)
    y = camera[1] * layer.depth + float(layer.lift * canvas[1] * heave)
    if layer.image.width == canvas[0]:  # what spans the canvas must not show its ends
        x = min(max(x, 0), canvas[0] - picture.width)
    if layer.image.height + layer.top == canvas[1]:
        y = min(y, canvas[1] - picture.height)
    _lay_at(picture, layer, layer.left - x, layer.top - y)


def _lay_at(picture: Image.Image, layer: Layer, x: float, y: float) -> None:
    """Lay the layer's first pixel at (x, y), which need not be whole: steps would be seen."""
    left, top = int(np.floor(x)), int(np.floor(y))
    box = (
        max(0, -left),
        max(0, -top),
        min(layer.image.width + 1, picture.width - left),
        min(layer.image.height + 1, picture.height - top),
    )
    if box[0] >= box[2] or box[1] >= box[3]:
        return
    shift = (x - left, y - top)
    part = _shifted(layer.image, box, shift)
    mask = part if part.mode == "RGBA" else None
    if layer.mask:
        mask = _shifted(layer.mask, box, shift)
    picture.paste(part, (left + box[0], top + box[1]), mask)


def _shifted(
    image: Image.Image, box: tuple[int, int, int, int], shift: tuple[float, float]
) -> Image.Image:
    """The part `box` of `image`, moved right and down by less than a pixel each."""
    across, down = (part if part > 0.02 else 0.0 for part in shift)
    left, top, right, bottom = box
    over = 1 if down else 0
    part = image.crop((left, top - over, right, bottom))
    if across:
        part = Image.blend(part, image.crop((left - 1, top - over, right - 1, bottom)), across)
    if down:
        height, width = bottom - top, right - left
        rows = part.crop((0, 1, width, height + 1)), part.crop((0, 0, width, height))
        part = Image.blend(rows[0], rows[1], down)
    return part


def _scatter(picture: Image.Image, motes: Motes, time: float) -> None:
    width, height = picture.size
    places = (motes.places + motes.speeds * np.float32(time)) % 1
    sprite = motes.sprite
    for x, y in places.tolist():
        at = (round(x * (width + sprite.width)) - sprite.width, round(y * (height + sprite.height)))
        picture.paste(motes.colour, (at[0], at[1] - sprite.height), sprite)
