"""The things that stand in a scene: trees, houses, boats, flowers, planets, people.

Each is a function that gives a layer or layers; positions and sizes are pixels of the canvas
unless the name of an argument says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from safelight.engines._drawing.layers import (
    Chance,
    Floats,
    Layer,
    Size,
    as_mask,
    disc,
    drawn,
    flat,
    gradient,
    noise,
    polygon,
    rgb,
    smooth,
    tint,
)
from safelight.engines._drawing.palettes import Colour, mix

Pen: TypeAlias = ImageDraw.ImageDraw
Points: TypeAlias = Sequence[tuple[float, float]]

_TAU = 2 * np.pi


def _band(
    size: Size, top: float, bottom: float, shade: Colour, depth: float, shapes: Sequence[Points]
) -> Layer:
    """A layer of one colour with polygons between two rows of the canvas."""
    first = int(np.clip(top, 0, size[1] - 1))
    last = int(np.clip(bottom, first + 1, size[1]))

    def draw(pen: Pen, scale: float) -> None:
        for shape in shapes:
            polygon(pen, [(x, y - first) for x, y in shape], scale)

    mask = drawn((size[0], last - first), draw)
    return Layer(flat(mask, shade), mask, depth=depth, top=first)


def _cut(image: Image.Image, masks: Sequence[tuple[Image.Image, Colour]]) -> Image.Image:
    for mask, shade in masks:
        tint(image, shade, mask)
    return image


# --- trees


def tree_line(
    size: Size, heights: Floats, tone: Colour, tall: float, depth: float, chance: Chance
) -> Layer:
    """Small firs along the crest `heights` (shares of the height), in groves."""
    width, height = size
    step = max(2.0, tall * height * 0.32)
    shapes: list[Points] = []
    groves = np.sin(_TAU * (np.linspace(0, 3, 64) * chance.uniform(0.6, 1.4) + chance.random()))
    for x in np.arange(0, width, step):
        if groves[int(x / width * 63)] < -0.1:
            continue
        at = x + float(chance.normal(0, step * 0.4))
        foot = float(heights[int(np.clip(at, 0, width - 1))]) * height + tall * height * 0.15
        shapes.append(_fir(at, foot, tall * height * float(chance.uniform(0.5, 1.15)), chance, 3))
    top = (float(heights.min()) - tall * 1.4) * height
    bottom = (float(heights.max()) + tall * 0.3) * height
    return _band(size, top, bottom, tone, depth, shapes)


def conifers(
    size: Size, heights: Floats, tone: Colour, tall: float, depth: float, chance: Chance
) -> Layer:
    """A wall of firs that stand on `heights`."""
    width, height = size
    step = tall * height * 0.26
    shapes: list[Points] = []
    for x in np.arange(-step, width + step, step):
        at = x + float(chance.normal(0, step * 0.35))
        foot = float(heights[int(np.clip(at, 0, width - 1))]) * height + height * 0.02
        shapes.append(_fir(at, foot, tall * height * float(chance.uniform(0.55, 1.2)), chance, 7))
    top = (float(heights.min()) - tall * 1.3) * height
    return _band(size, top, (float(heights.max()) + 0.04) * height, tone, depth, shapes)


def _fir(x: float, foot: float, tall: float, chance: Chance, tiers: int) -> Points:
    half = tall * float(chance.uniform(0.17, 0.23))
    left: list[tuple[float, float]] = []
    right: list[tuple[float, float]] = []
    for tier in range(tiers):
        share = (tier + 1) / tiers
        y = foot - tall + tall * 0.93 * share
        reach = half * (0.12 + 0.88 * share)
        droop = tall * 0.035
        for side, edge in ((-1, left), (1, right)):
            out = reach * float(chance.uniform(0.8, 1.12))
            edge.append((x + side * out, y + droop * float(chance.uniform(0.2, 1))))
            edge.append((x + side * out * 0.5, y - droop * 0.4))
    trunk = half * 0.13
    return [(x, foot - tall), *right, (x + trunk, foot), (x - trunk, foot), *reversed(left)]


def round_trees(
    size: Size, heights: Floats, tone: Colour, tall: float, depth: float, chance: Chance
) -> Layer:
    """Leafy trees: trunks with crowns of many round clumps."""
    width, height = size
    step = tall * height * 0.5
    top = max(0, int((float(heights.min()) - tall * 1.25) * height))
    bottom = min(height, int((float(heights.max()) + 0.04) * height) + 1)
    places = np.arange(-step, width + step, step)
    places = places + chance.normal(0, step * 0.3, len(places))
    talls = tall * height * chance.uniform(0.6, 1.1, len(places))

    def draw(pen: Pen, scale: float) -> None:
        for x, high in zip(places.tolist(), talls.tolist(), strict=True):
            foot = float(heights[int(np.clip(x, 0, width - 1))]) * height + height * 0.02 - top
            _leafy(pen, scale, (x, foot), high, chance)

    mask = drawn((width, max(1, bottom - top)), draw)
    return Layer(flat(mask, tone), mask, depth=depth, top=top)


def _leafy(pen: Pen, scale: float, foot: tuple[float, float], tall: float, chance: Chance) -> None:
    x, y = foot
    trunk = tall * 0.028
    polygon(
        pen,
        [
            (x - trunk, y),
            (x - trunk * 0.6, y - tall * 0.6),
            (x + trunk * 0.6, y - tall * 0.6),
            (x + trunk, y),
        ],
        scale,
    )
    for _ in range(26):
        away = chance.normal(0, 1, 2).clip(-1.6, 1.6) * (tall * 0.14, tall * 0.11)
        radius = tall * float(chance.uniform(0.05, 0.12))
        disc(pen, (x + float(away[0]), y - tall * 0.7 + float(away[1])), radius, scale)


# --- land and water


def pyramids(size: Size, shade: Colour, light: Colour, chance: Chance) -> Layer:
    """Two or three pyramids, lit from one side."""
    width, height = size
    foot = height * 0.57
    mask = Image.new("L", size)
    image = Image.new("RGB", size, rgb(shade))
    for _ in range(int(chance.integers(2, 4))):
        x, tall = (
            width * float(chance.uniform(0.1, 0.9)),
            height * float(chance.uniform(0.14, 0.27)),
        )
        half = tall * 0.85
        whole = [(x - half, foot), (x, foot - tall), (x + half, foot)]
        lit = [(x - half, foot), (x, foot - tall), (x + half * 0.25, foot)]
        body = drawn(size, lambda pen, scale, points=whole: polygon(pen, points, scale))  # type: ignore[misc]
        face = drawn(size, lambda pen, scale, points=lit: polygon(pen, points, scale))  # type: ignore[misc]
        _cut(image, [(body, shade), (face, mix(shade, light, 0.45))])
        mask = ImageChops.lighter(mask, body)
    return Layer(image, mask, depth=0.18)


def boat(size: Size, place: tuple[float, float], tall: float, dark: Colour, sail: Colour) -> Layer:
    """A small sailing boat; `place` is where its hull floats, in shares of the canvas."""
    x, y = tall * 0.6, tall * 1.02
    hull = [
        (x - tall * 0.36, y - tall * 0.16),
        (x + tall * 0.42, y - tall * 0.16),
        (x + tall * 0.28, y),
        (x - tall * 0.24, y),
    ]
    main = [
        (x + tall * 0.02, y - tall),
        (x + tall * 0.4, y - tall * 0.22),
        (x + tall * 0.02, y - tall * 0.22),
    ]
    jib = [
        (x - tall * 0.03, y - tall * 0.92),
        (x - tall * 0.03, y - tall * 0.22),
        (x - tall * 0.34, y - tall * 0.22),
    ]
    box = (max(4, int(tall * 1.2)), max(4, int(tall * 1.05)))
    hull_mask = drawn(box, lambda pen, scale: polygon(pen, hull, scale))

    def draw_sails(pen: Pen, scale: float) -> None:
        polygon(pen, main, scale)
        polygon(pen, jib, scale)

    sails = drawn(box, draw_sails)
    image = _cut(Image.new("RGB", box), [(hull_mask, dark), (sails, sail)])
    left, top = int(place[0] * size[0] - x), int(place[1] * size[1] - y)
    return Layer(image, ImageChops.lighter(hull_mask, sails), 0.4, top, left, 0.03, 0.006, 0.2)


def birds(size: Size, place: float, shade: Colour, chance: Chance) -> Layer:
    """A flock, at `place` (a share of the height)."""
    width, height = size
    unit = min(size)
    count = int(chance.integers(5, 12))
    centre = chance.uniform(0.25, 0.75) * width
    xs = centre + chance.normal(0, 0.09 * unit, count)
    ys = height * (place - 0.14) + chance.normal(0, 0.05 * unit, count)
    spans = unit * chance.uniform(0.008, 0.022, count)
    shapes: list[Points] = []
    for x, y, span in zip(xs.tolist(), ys.tolist(), spans.tolist(), strict=True):
        flap = float(chance.uniform(0.25, 0.6)) * span
        thick = span * 0.16
        shapes.append(
            [
                (x - span, y - flap),
                (x - span * 0.4, y - flap * 1.05),
                (x, y),
                (x + span * 0.4, y - flap * 1.05),
                (x + span, y - flap),
                (x + span * 0.4, y - flap * 0.7),
                (x, y + thick),
                (x - span * 0.4, y - flap * 0.7),
            ]
        )
    return _moved(_band(size, min(ys) - unit * 0.05, max(ys) + unit * 0.05, shade, 0.3, shapes))


def _moved(layer: Layer) -> Layer:
    return Layer(layer.image, layer.mask, layer.depth, layer.top, 0, 0.03, 0.01, 0.4)


def balloon(size: Size, shade: Colour, light: Colour, chance: Chance) -> Layer:
    """A hot-air balloon with stripes."""
    radius = min(size) * float(chance.uniform(0.09, 0.14))
    box = (int(radius * 2.2) + 2, int(radius * 3.1) + 2)
    x, y = box[0] / 2, radius * 1.1

    def draw_body(pen: Pen, scale: float) -> None:
        disc(pen, (x, y), radius, scale)
        polygon(
            pen,
            [
                (x - radius * 0.93, y + radius * 0.36),
                (x + radius * 0.93, y + radius * 0.36),
                (x + radius * 0.2, y + radius * 1.4),
                (x - radius * 0.2, y + radius * 1.4),
            ],
            scale,
        )

    def draw_stripes(pen: Pen, scale: float) -> None:
        disc(pen, (x, y + radius * 0.1), (radius * 0.66, radius * 1.3), scale)
        disc(pen, (x, y + radius * 0.1), (radius * 0.3, radius * 1.4), scale, 0)

    def draw_basket(pen: Pen, scale: float) -> None:
        polygon(
            pen,
            [
                (x - radius * 0.2, y + radius * 1.55),
                (x + radius * 0.2, y + radius * 1.55),
                (x + radius * 0.16, y + radius * 1.85),
                (x - radius * 0.16, y + radius * 1.85),
            ],
            scale,
        )

    body, basket = drawn(box, draw_body), drawn(box, draw_basket)
    stripes = ImageChops.multiply(drawn(box, draw_stripes), body)
    image = _cut(
        Image.new("RGB", box, rgb(mix(shade, np.zeros(3, np.float32), 0.5))),
        [(body, shade), (stripes, mix(shade, light, 0.75))],
    )
    left = int(size[0] * float(chance.uniform(0.12, 0.75)))
    top = int(size[1] * float(chance.uniform(0.08, 0.22)))
    return Layer(image, ImageChops.lighter(body, basket), 0.35, top, left, 0.02, 0.015, 0.1)


# --- towns


def skyline(
    size: Size,
    ground: float,
    tall: float,
    share: float,
    tones: tuple[Colour, Colour],
    lights: tuple[Colour, Colour],
    chance: Chance,
) -> Layer:
    """A row of houses that ends at `ground`, hazy at its foot, some of its windows lit.

    `ground` and `tall` are shares of the height; `share` is how near it is.
    """
    width, height = size
    unit = min(size)
    bottom = int(ground * height)
    blocks = _blocks(width, unit, bottom, tall * height, share, chance)
    top = max(0, int(min(block[1] for block in blocks) - unit * 0.08))
    box = (width, max(1, bottom - top))

    def draw(pen: Pen, scale: float) -> None:
        for left, roof, wide, kind in blocks:
            _house(pen, scale, (left, roof - top, wide, bottom - roof), kind)

    mask = drawn(box, draw)
    tone, foot = tones
    image = gradient(box, [(0, tone), (0.35, tone), (1, foot)])
    if share > 0.25:
        panes, others = _panes(
            box,
            [(left, roof - top, wide) for left, roof, wide, _ in blocks],
            unit * (0.007 + 0.008 * share),
            chance,
        )
        _cut(image, [(panes, lights[0]), (others, mix(lights[0], lights[1], 0.7))])
    return Layer(image, mask, depth=0.2 + 0.75 * share, top=top)


def _blocks(
    width: int, unit: float, bottom: int, tall: float, share: float, chance: Chance
) -> list[tuple[float, float, float, int]]:
    """Left, roof, width and kind of each house of a row."""
    blocks: list[tuple[float, float, float, int]] = []
    left = -unit * 0.05
    centre = width * float(chance.uniform(0.25, 0.75))
    while left < width:
        wide = unit * float(chance.uniform(0.05, 0.12)) * (0.7 + 0.7 * share)
        near = float(np.exp(-(((left - centre) / (width * 0.35)) ** 2)))
        high = tall * (0.3 + 0.5 * near) * float(chance.uniform(0.55, 1.25))
        blocks.append((left, bottom - high, wide, int(chance.integers(6))))
        left += wide * float(chance.uniform(0.85, 1.12))
    return blocks


def _house(pen: Pen, scale: float, box: tuple[float, float, float, float], kind: int) -> None:
    left, roof, wide, high = box
    right, foot = left + wide, roof + high
    polygon(pen, [(left, roof), (right, roof), (right, foot), (left, foot)], scale)
    middle = (left + right) / 2
    if kind == 1:  # a mast
        polygon(
            pen,
            [
                (middle - wide * 0.03, roof),
                (middle, roof - wide * 0.9),
                (middle + wide * 0.03, roof),
            ],
            scale,
        )
    elif kind == 2:  # a slanting roof
        polygon(pen, [(left, roof), (right, roof - wide * 0.45), (right, roof)], scale)
    elif kind == 3:  # steps
        polygon(
            pen,
            [
                (left + wide * 0.2, roof - wide * 0.3),
                (right - wide * 0.2, roof - wide * 0.3),
                (right - wide * 0.2, roof),
                (left + wide * 0.2, roof),
            ],
            scale,
        )
        polygon(
            pen,
            [
                (left + wide * 0.38, roof - wide * 0.65),
                (right - wide * 0.38, roof - wide * 0.65),
                (right - wide * 0.38, roof),
                (left + wide * 0.38, roof),
            ],
            scale,
        )
    elif kind == 4:  # a dome
        disc(pen, (middle, roof), (wide * 0.5, wide * 0.3), scale)


def _panes(
    size: Size, houses: Sequence[tuple[float, float, float]], step: float, chance: Chance
) -> tuple[Image.Image, Image.Image]:
    """The lit windows in two colours."""
    masks = (Image.new("L", size), Image.new("L", size))
    pens = tuple(ImageDraw.Draw(mask) for mask in masks)
    step = max(2.0, step)
    for left, roof, wide in houses:
        share = float(chance.choice([0.08, 0.25, 0.5]))
        xs = np.arange(left + step * 0.8, left + wide - step, step * 1.25)
        ys = np.arange(roof + step, size[1] - step, step * 1.7)
        lit = chance.random((len(ys), len(xs)))
        for row, column in zip(*np.nonzero(lit < share), strict=True):
            x, y = xs[column], ys[row]
            light = int(150 + 105 * chance.random())
            pens[int(lit[row, column] < share * 0.2)].rectangle(
                (x, y, x + step * 0.55, y + step * 0.75), fill=light
            )
    return masks


# --- plants


def plants(
    size: Size,
    row: int,
    tones: Sequence[Colour],
    blooms: Sequence[Colour],
    light: Colour,
    chance: Chance,
) -> list[Layer]:
    """One row (0 the farthest) of stems with leaves and flowers."""
    width, height = size
    layers = []
    count = max(2, round(width / min(size) * (3, 3, 4)[row]))
    for at in range(count):
        x = width * (at + 0.5 + float(chance.normal(0, 0.28))) / count
        tall = height * (0.74, 0.6, 0.36)[row] * float(chance.uniform(0.72, 1.12))
        bloom = blooms[int(chance.integers(len(blooms)))]
        tone = mix(tones[row], bloom, float(chance.uniform(0, 0.12)))
        kind = int(chance.integers(4))
        phase = float(chance.random())
        layer = _plant(size, (x, tall), kind, (tone, bloom, light), chance)
        layers.append(
            Layer(
                layer.image,
                layer.mask,
                0.35 + 0.25 * row,
                layer.top,
                layer.left,
                0.008 + 0.004 * row,
                0.0,
                phase,
            )
        )
    return layers


def _plant(
    size: Size, place: tuple[float, float], kind: int, tones: Sequence[Colour], chance: Chance
) -> Layer:
    """One stem: its leaves in pairs, and a flower, a round seed head or a leaf at its end."""
    x, tall = place
    half = tall * 0.42
    box = (max(4, int(half * 2)), max(4, int(tall * 1.16)))
    lean = tall * float(chance.normal(0, 0.09))
    stem = _stem(half, box[1], tall, lean)
    thick = max(0.8, tall * 0.006)
    leaves = _leaves(stem, tall, kind, chance)

    def draw(pen: Pen, scale: float) -> None:
        line = [(px * scale, py * scale) for px, py in stem]
        pen.line(line, fill=255, width=max(1, round(thick * scale * 1.6)), joint="curve")
        for leaf in leaves:
            polygon(pen, leaf, scale)

    body = drawn(box, draw)
    veins = drawn(box, lambda pen, scale: _draw_veins(pen, scale, leaves, thick * 0.5))
    image = flat(body, tones[0])
    tint(image, mix(tones[0], tones[2], 0.35), veins)
    mask = body
    if kind < 3:
        petals, heart = _bloom(
            box, stem[-1], tall * float(chance.uniform(0.08, 0.13)), kind, chance
        )
        _cut(image, [(petals, tones[1]), (heart, mix(tones[1], tones[0], 0.65))])
        mask = ImageChops.lighter(ImageChops.lighter(body, petals), heart)
    return Layer(image, mask, top=size[1] - box[1], left=int(x - half))


def _stem(x: float, foot: float, tall: float, lean: float) -> list[tuple[float, float]]:
    shares = np.linspace(0, 1, 24)
    return [(float(x + lean * share**2), float(foot - tall * share)) for share in shares]


def _leaves(stem: Points, tall: float, kind: int, chance: Chance) -> list[Points]:
    pairs = int(chance.integers(3, 6)) if kind != 3 else 9
    leaves: list[Points] = []
    for at in np.linspace(0.14, 0.78 if kind != 3 else 0.98, pairs):
        x, y = stem[int(at * (len(stem) - 1))]
        long = tall * (0.24 if kind != 3 else 0.2) * (1.1 - 0.75 * at)
        for side in (-1, 1):
            angle = -0.5 * np.pi + side * float(chance.uniform(0.75, 1.15))
            fat = 0.24 if kind != 3 else 0.15
            leaves.append(_leaf((x, y), angle, long * float(chance.uniform(0.8, 1.15)), fat))
    if kind == 3:
        leaves.append(_leaf(stem[-2], -0.5 * np.pi, tall * 0.1, 0.15))
    return leaves


def _leaf(root: tuple[float, float], angle: float, long: float, fat: float) -> Points:
    shares = np.linspace(0, 1, 14)
    bulge = np.sin(np.pi * shares**0.8) * fat * long
    bend = 0.35 * shares**2 * np.sign(np.cos(angle))
    directions = angle + bend
    xs = root[0] + np.cumsum(np.cos(directions)) * long / 14
    ys = root[1] + np.cumsum(np.sin(directions)) * long / 14
    nx, ny = -np.sin(directions) * bulge, np.cos(directions) * bulge
    one = list(zip((xs + nx).tolist(), (ys + ny).tolist(), strict=True))
    other = list(zip((xs - nx).tolist(), (ys - ny).tolist(), strict=True))
    return [*one, *reversed(other)]


def _draw_veins(pen: Pen, scale: float, leaves: Sequence[Points], thick: float) -> None:
    for leaf in leaves:
        half = len(leaf) // 2
        middle = [
            (
                (leaf[at][0] + leaf[-1 - at][0]) / 2 * scale,
                (leaf[at][1] + leaf[-1 - at][1]) / 2 * scale,
            )
            for at in range(half - 2)
        ]
        pen.line(middle, fill=255, width=max(1, round(thick * scale)))


def _bloom(
    size: Size, at: tuple[float, float], radius: float, kind: int, chance: Chance
) -> tuple[Image.Image, Image.Image]:
    """Petals and heart: a daisy, a tulip or a ball."""
    x, y = at
    count = int(chance.integers(6, 12))
    turn = float(chance.random())

    def draw_petals(pen: Pen, scale: float) -> None:
        if kind == 0:
            for petal in range(count):
                polygon(pen, _leaf(at, _TAU * (petal + turn) / count, radius * 1.25, 0.26), scale)
        elif kind == 1:
            for lean in (-0.42, 0.42, 0.0):
                root = (x, y + radius * 0.6)
                polygon(pen, _leaf(root, -0.5 * np.pi + lean, radius * 1.9, 0.3), scale)
        else:
            for ray in range(26):
                angle = _TAU * (ray + turn) / 26
                end = (x + radius * np.cos(angle), y + radius * np.sin(angle))
                pen.line(
                    [(x * scale, y * scale), (end[0] * scale, end[1] * scale)],
                    fill=255,
                    width=max(1, round(radius * 0.035 * scale)),
                )
                disc(pen, end, radius * 0.1, scale)

    heart = radius * (0.34, 0.0, 0.2)[kind]
    return drawn(size, draw_petals), drawn(
        size, lambda pen, scale: disc(pen, at, heart, scale) if heart else None
    )


# --- abstract


def tiles(size: Size, tones: Sequence[Colour], light: Colour, chance: Chance) -> Layer:
    """A wall of square tiles, each with one figure of circles."""
    width, height = size
    count = int(chance.integers(4, 8))
    side = max(4.0, min(size) / count)
    scale = 2
    sheet = Image.new("RGB", (width * scale, height * scale), rgb(light))
    pen = ImageDraw.Draw(sheet)
    columns, rows = int(np.ceil(width / side)), int(np.ceil(height / side))
    for row in range(rows):
        for column in range(columns):
            ground, figure, dot = (tones[at] for at in chance.choice(len(tones), 3, False))
            box = (column * side * scale, row * side * scale, side * scale)
            _tile(
                pen,
                box,
                (rgb(ground), rgb(figure), rgb(dot)),
                int(chance.integers(8)),
                int(chance.integers(4)),
            )
    return Layer(sheet.reduce(scale), depth=0.5)


def _tile(
    pen: Pen,
    box: tuple[float, float, float],
    shades: Sequence[tuple[int, int, int]],
    kind: int,
    turn: int,
) -> None:
    x, y, side = box
    ground, figure, dot = shades
    frame = (x, y, x + side, y + side)
    pen.rectangle(frame, fill=ground)
    if kind < 3:
        corners = ((x, y), (x + side, y), (x + side, y + side), (x, y + side))
        _tile_rounds(pen, frame, kind, (corners[turn], corners[(turn + 2) % 4]), shades)
    elif kind == 3:  # a half
        pen.pieslice(frame, turn * 90, turn * 90 + 180, fill=figure)
    elif kind == 4:
        _circle(pen, (x + side / 2, y + side / 2), side * 0.42, figure)
        _circle(pen, (x + side / 2, y + side / 2), side * 0.2, dot)
    elif kind == 5:
        middle = (x + side / 2, y + side / 2)
        pen.polygon([(x, y), middle, (x, y + side)], fill=figure)
        pen.polygon([(x + side, y), middle, (x + side, y + side)], fill=dot if turn else figure)
    elif kind == 6:
        for line in range(4):
            top = y + side * line / 4
            pen.rectangle((x, top, x + side, top + side / 8), fill=figure)
    else:
        for at in range(9):
            centre = (x + side * (at % 3 + 0.5) / 3, y + side * (at // 3 + 0.5) / 3)
            _circle(pen, centre, side * 0.1, figure)


def _tile_rounds(
    pen: Pen,
    frame: tuple[float, float, float, float],
    kind: int,
    corners: Points,
    shades: Sequence[tuple[int, int, int]],
) -> None:
    """A quarter of a circle (0), quarters within each other (1), or one against another (2)."""
    ground, figure, dot = shades
    side = frame[2] - frame[0]
    _round(pen, frame, corners[0], side, figure)
    if kind == 1:
        _round(pen, frame, corners[0], side * 0.66, ground)
        _round(pen, frame, corners[0], side * 0.33, dot)
    if kind == 2:
        _round(pen, frame, corners[1], side * 0.45, dot)


def _round(
    pen: Pen,
    frame: tuple[float, float, float, float],
    corner: tuple[float, float],
    radius: float,
    shade: tuple[int, int, int],
) -> None:
    """The quarter of a circle around a corner of a tile that lies within the tile."""
    x, y = corner
    start = {(True, True): 0, (False, True): 90, (False, False): 180, (True, False): 270}[
        (x == frame[0], y == frame[1])
    ]
    box = (x - radius, y - radius, x + radius, y + radius)
    pen.pieslice(box, start, start + 90, fill=shade)


def _circle(pen: Pen, at: tuple[float, float], radius: float, shade: tuple[int, int, int]) -> None:
    pen.ellipse((at[0] - radius, at[1] - radius, at[0] + radius, at[1] + radius), fill=shade)


def orbits(size: Size, tones: Sequence[Colour], chance: Chance) -> list[Layer]:
    """Large rings, discs and bars that overlap."""
    width, height = size
    unit = min(size)
    layers: list[Layer] = []
    for at in range(int(chance.integers(6, 10))):
        tone = tones[at % len(tones)]
        centre = (float(chance.normal(0.5, 0.2)) * width, float(chance.normal(0.5, 0.2)) * height)
        radius = unit * float(chance.uniform(0.34, 0.42) if at == 0 else chance.uniform(0.06, 0.26))
        kind = "disc" if at == 0 else str(chance.choice(["disc", "ring", "bar", "half"]))
        layers.append(_orbit(size, kind, centre, radius, tone, chance, 0.25 + 0.08 * at))
    return layers


def _orbit(
    size: Size,
    kind: str,
    centre: tuple[float, float],
    radius: float,
    tone: Colour,
    chance: Chance,
    depth: float,
) -> Layer:
    side = int(radius * 2.2) + 4
    middle = (side / 2, side / 2)
    turn = float(chance.uniform(0, _TAU))
    thin = float(chance.uniform(0.04, 0.3))

    def draw(pen: Pen, scale: float) -> None:
        if kind == "bar":
            dx, dy = np.cos(turn) * radius, np.sin(turn) * radius
            ends = [
                ((side / 2 - dx) * scale, (side / 2 - dy) * scale),
                ((side / 2 + dx) * scale, (side / 2 + dy) * scale),
            ]
            pen.line(ends, fill=255, width=max(1, int(radius * thin * scale)))
            return
        disc(pen, middle, radius, scale)
        if kind == "ring":
            disc(pen, middle, radius * (1 - thin), scale, 0)
        if kind == "half":
            far = [
                (
                    side / 2 + np.cos(turn + bend) * side * 1.5,
                    side / 2 + np.sin(turn + bend) * side * 1.5,
                )
                for bend in (-1.57, -0.7, 0.7, 1.57)
            ]
            pen.polygon([(x * scale, y * scale) for x, y in far], fill=0)

    mask = drawn((side, side), draw)
    image = gradient((side, side), [(0, mix(tone, np.full(3, 255, np.float32), 0.14)), (1, tone)])
    if kind == "disc":
        mask = mask.point([round(value * 0.92) for value in range(256)])
    left, top = int(centre[0] - side / 2), int(centre[1] - side / 2)
    return Layer(image, mask, depth, top, left, 0.012, 0.012, float(chance.random()))


def arches(size: Size, tones: Sequence[Colour], chance: Chance) -> list[Layer]:
    """Rainbow-like arches beside and before each other, and a disc above."""
    width, height = size
    unit = min(size)
    layers = [
        _orbit(
            size,
            "disc",
            (width * float(chance.uniform(0.2, 0.8)), height * 0.27),
            unit * 0.14,
            tones[0],
            chance,
            0.2,
        )
    ]
    count = max(3, round(3.2 * width / unit))
    for at in range(count):
        wide = unit * float(chance.uniform(0.3, 0.5))
        tall = height * float(chance.uniform(0.35, 0.72))
        x = width * (at + 0.5 + float(chance.normal(0, 0.15))) / count
        layers.append(
            _arch(size, x, wide, tall, chance.permutation(len(tones)), tones, 0.3 + 0.1 * (at % 4))
        )
    return layers


def _arch(
    size: Size,
    x: float,
    wide: float,
    tall: float,
    order: Sequence[int] | np.typing.NDArray[np.int64],
    tones: Sequence[Colour],
    depth: float,
) -> Layer:
    box = (int(wide) + 2, max(int(tall), int(wide)) + 2)
    image, outline = Image.new("RGB", box), Image.new("L", box)
    for band in range(4):
        half = wide / 2 * (1 - band * 0.24)

        def draw(pen: Pen, scale: float, half: float = half) -> None:
            disc(pen, (box[0] / 2, wide / 2), half, scale)
            left, right = box[0] / 2 - half, box[0] / 2 + half
            polygon(
                pen, [(left, wide / 2), (right, wide / 2), (right, box[1]), (left, box[1])], scale
            )

        mask = drawn(box, draw)
        tint(image, tones[int(order[band])], mask)
        outline = outline if band else mask
    return Layer(image, outline, depth, size[1] - box[1] + 1, int(x - wide / 2))


def stream(size: Size, row: int, tones: Sequence[Colour], chance: Chance) -> Layer:
    """Ribbons that follow one field of flow; the nearer the row, the fewer and the wider."""
    width, height = size
    scale = 2 if width * height < 600_000 else 1
    colours, mask = (
        Image.new("RGB", (width * scale, height * scale)),
        Image.new("L", (width * scale, height * scale)),
    )
    number, wide = ((70, 0.012), (44, 0.026), (18, 0.055))[row]
    paths = _paths(size, number, chance)
    pen, pen_mask = ImageDraw.Draw(colours), ImageDraw.Draw(mask)
    for path in paths:
        shade = mix(tones[int(chance.integers(len(tones)))], tones[0], 0.45 - 0.2 * row)
        line = [(float(x) * scale, float(y) * scale) for x, y in path]
        broad = max(1, round(wide * min(size) * float(chance.uniform(0.35, 1.2)) * scale))
        pen.line(
            line,
            fill=rgb(mix(shade, np.zeros(3, np.float32), 0.45)),
            width=broad + 2 * scale,
            joint="curve",
        )
        pen.line(line, fill=rgb(shade), width=broad, joint="curve")
        pen_mask.line(line, fill=120 + 60 * row, width=broad + 2 * scale, joint="curve")
    if scale > 1:
        colours, mask = colours.reduce(scale), mask.reduce(scale)
    return Layer(colours, mask, 0.1 + 0.3 * row, sway=0.015 * row, phase=row / 6)


def _paths(size: Size, count: int, chance: Chance) -> list[Floats]:
    """Lines traced through a field of directions."""
    width, height = size
    field = noise((64, 64), chance, (2.2, 2.2), 2)
    steps = 60
    step = width * 1.9 / steps
    # From beyond the left edge, and always on to the right: no ribbon is seen to end.
    spread = chance.normal(0.5, 0.42, count) * height
    places = np.stack([np.full(count, -0.15 * width), spread], axis=1)
    turn = float(chance.uniform(-0.25, 0.25))
    lines = [places]
    for _ in range(steps):
        columns = np.clip(places[:, 0] / width * 63, 0, 63).astype(int)
        rows = np.clip(places[:, 1] / height * 63, 0, 63).astype(int)
        angles = np.clip((field[rows, columns] - 0.5) * 3.6, -1.3, 1.3) + turn
        places = places + np.stack([np.cos(angles), np.sin(angles)], axis=1) * step
        lines.append(places)
    paths = np.stack(lines, axis=1).astype(np.float32)
    return list(paths)


# --- above


def planet(size: Size, tones: Sequence[Colour], chance: Chance) -> list[Layer]:
    """A planet with bands and a shadow, perhaps with a ring, and a moon."""
    width, height = size
    unit = min(size)
    radius = unit * float(chance.uniform(0.2, 0.32))
    at = (width * float(chance.uniform(0.3, 0.7)), height * float(chance.uniform(0.36, 0.55)))
    ringed = chance.random() < 0.6
    body = _ball(radius, at, tones, chance, 0.3)
    layers = [
        _ball(
            unit * 0.05,
            (at[0] + radius * 1.7, at[1] - radius * 1.1),
            (tones[3], tones[1], tones[2], tones[3]),
            chance,
            0.2,
        ),
        body,
    ]
    if ringed:
        back, front = _ring(
            radius, at, mix(tones[1], tones[3], 0.4), float(chance.uniform(-0.5, 0.5))
        )
        layers = [layers[0], back, body, front]
    return layers


def _ball(
    radius: float, at: tuple[float, float], tones: Sequence[Colour], chance: Chance, depth: float
) -> Layer:
    side = int(radius * 2) + 4
    middle = side / 2
    axis = (np.arange(side, dtype=np.float32) + 0.5 - middle) / np.float32(radius)
    x, y = axis[None, :], axis[:, None]
    z = np.sqrt(np.clip(1 - x * x - y * y, 0, 1))
    swirl = noise((side, side), chance, (3, 6), 4) - np.float32(0.5)
    bands = 0.5 + 0.5 * np.sin((y * 1.0 + x * 0.25 + swirl * 0.55) * 9)
    light = np.clip(-0.6 * x - 0.45 * y + 0.66 * z, 0, 1)
    image = Image.new("RGB", (side, side), rgb(tones[0]))
    tint(image, tones[1], as_mask(smooth(bands.astype(np.float32), 0.2, 0.9), image.size), 0.75)
    tint(image, tones[3], as_mask((light**6).astype(np.float32), image.size), 0.4)
    tint(
        image,
        tones[2],
        as_mask((1 - light.astype(np.float32)) ** np.float32(1.4), image.size),
        0.93,
    )
    mask = drawn((side, side), lambda pen, scale: disc(pen, (middle, middle), radius, scale))
    return Layer(image, mask, depth, int(at[1] - middle), int(at[0] - middle), 0.006, 0.004)


def _ring(radius: float, at: tuple[float, float], tone: Colour, turn: float) -> tuple[Layer, Layer]:
    """A ring in two parts: the one behind the planet, and the one before it."""
    side = int(radius * 4.6) + 4
    middle = (side / 2, side / 2)

    def draw(pen: Pen, scale: float) -> None:
        for share, light in ((2.15, 150), (1.95, 225), (1.72, 120), (1.6, 190), (1.38, 0)):
            disc(pen, middle, (radius * share, radius * share * 0.27), scale, light)

    whole = drawn((side, side), draw)
    halves = []
    for first, last in ((0, side // 2), (side // 2, side)):
        half = Image.new("L", (side, side))
        half.paste(whole.crop((0, first, side, last)), (0, first))
        half = half.rotate(np.degrees(turn), Image.Resampling.BICUBIC)
        halves.append(
            Layer(
                flat(half, tone),
                half,
                0.3,
                int(at[1] - side / 2),
                int(at[0] - side / 2),
                0.006,
                0.004,
            )
        )
    return halves[0], halves[1]


# --- people


_SKINS = [
    np.array(tone, np.float32)
    for tone in ((243, 205, 172), (226, 172, 128), (188, 124, 82), (132, 84, 58), (98, 60, 44))
]


def bust(size: Size, tones: Sequence[Colour], chance: Chance) -> list[Layer]:
    """Head and shoulders in flat colours, with half of the face in the shade."""
    _, middle, horizon, light, far, near, accent = tones
    width, height = size
    unit = min(width, height * 0.95)
    x, y = width * float(chance.uniform(0.44, 0.56)), height - unit * 0.55
    face = unit * float(chance.uniform(0.15, 0.175))
    skin = mix(_SKINS[int(chance.integers(len(_SKINS)))], mix(horizon, light, 0.3), 0.22)
    dark = mix(skin, near, 0.42)
    hair = mix(near, accent, float(chance.uniform(0, 0.3)))
    cloth = mix(accent, far, float(chance.uniform(0, 0.7)))
    long = float(chance.choice([0.6, 1.0, 2.1]))
    side = int(chance.choice([-1, 1]))
    halo = drawn(size, lambda pen, scale: disc(pen, (x, y), unit * 0.34, scale))
    layers = [Layer(flat(halo, mix(accent, horizon, 0.35)), halo, depth=0.15)]
    layers += _frond(size, (x, y, unit), (mix(far, middle, 0.2), light), chance)
    layers.append(
        _shape(size, hair, 0.55, lambda pen, scale: _hair_back(pen, scale, x, y, face, long))
    )
    layers.append(
        _shape(size, cloth, 0.55, lambda pen, scale: _shoulders(pen, scale, x, y, face, size[1]))
    )
    head = _shape(size, skin, 0.55, lambda pen, scale: _head(pen, scale, x, y, face))
    shade = drawn(size, lambda pen, scale: _half(pen, scale, x, y, face, side))
    assert head.mask
    _cut(head.image, [(ImageChops.multiply(shade, head.mask), dark)])
    _features(head.image, (x, y, face), side, (near, accent, dark), chance)
    layers.append(head)
    layers.append(
        _shape(size, hair, 0.55, lambda pen, scale: _fringe(pen, scale, x, y, face, side))
    )
    ear = (x - side * face * 1.02, y + face * 0.72)
    layers.append(_shape(size, light, 0.55, lambda pen, scale: disc(pen, ear, face * 0.11, scale)))
    return layers


def _shape(size: Size, shade: Colour, depth: float, draw: Callable[[Pen, float], None]) -> Layer:
    mask = drawn(size, draw)
    return Layer(flat(mask, shade), mask, depth=depth)


def _hair_back(pen: Pen, scale: float, x: float, y: float, face: float, long: float) -> None:
    disc(pen, (x, y - face * 0.25), (face * 1.32, face * 1.45), scale)
    if long > 0.8:
        disc(pen, (x, y + face * (long - 0.7)), (face * 1.38, face * (0.9 + 0.5 * long)), scale)
    else:
        disc(pen, (x, y - face * 1.75), face * 0.52, scale)  # a bun


def _shoulders(pen: Pen, scale: float, x: float, y: float, face: float, foot: int) -> None:
    top = y + face * 1.75
    disc(pen, (x, top + face * 1.1), (face * 2.35, face * 1.15), scale)
    polygon(
        pen,
        [
            (x - face * 2.35, top + face * 1.1),
            (x + face * 2.35, top + face * 1.1),
            (x + face * 2.6, foot),
            (x - face * 2.6, foot),
        ],
        scale,
    )


def _head(pen: Pen, scale: float, x: float, y: float, face: float) -> None:
    polygon(
        pen,
        [
            (x - face * 0.42, y + face * 0.7),
            (x + face * 0.42, y + face * 0.7),
            (x + face * 0.62, y + face * 1.85),
            (x, y + face * 2.12),
            (x - face * 0.62, y + face * 1.85),
        ],
        scale,
    )
    angles = np.linspace(0, _TAU, 60)
    narrow = 1 - 0.2 * np.clip(np.sin(angles), 0, 1) ** 2
    polygon(
        pen,
        np.stack(
            [x + face * np.cos(angles) * narrow, y + face * 1.3 * np.sin(angles)], axis=1
        ).astype(np.float32),
        scale,
    )


def _half(pen: Pen, scale: float, x: float, y: float, face: float, side: int) -> None:
    """The shaded half of the face, along the line of brow, nose and chin."""
    line = [
        (0.02, -1.5),
        (0.0, -0.35),
        (0.06, -0.1),
        (0.2, 0.42),
        (0.02, 0.5),
        (0.06, 0.72),
        (0.0, 0.9),
        (0.04, 1.3),
        (0.0, 2.6),
        (-1.7, 2.6),
        (-1.7, -1.5),
    ]
    polygon(pen, [(x - side * -1 * px * face, y + py * face) for px, py in line], scale)


def _features(
    image: Image.Image,
    place: tuple[float, float, float],
    side: int,
    tones: Sequence[Colour],
    chance: Chance,
) -> None:
    """Brows, lowered lids and lips: little is enough."""
    x, y, face = place
    near, accent, dark = tones

    def lines(pen: Pen, scale: float) -> None:
        for at in (-0.45, 0.45):
            box = (
                (x + (at - 0.24) * face) * scale,
                (y - 0.28 * face) * scale,
                (x + (at + 0.24) * face) * scale,
                (y + 0.1 * face) * scale,
            )
            pen.arc(box, 20, 160, fill=255, width=max(1, round(face * 0.05 * scale)))
            brow = (
                (x + (at - 0.3) * face) * scale,
                (y - 0.5 * face) * scale,
                (x + (at + 0.3) * face) * scale,
                (y - 0.12 * face) * scale,
            )
            pen.arc(brow, 205, 335, fill=255, width=max(1, round(face * 0.06 * scale)))

    def lips(pen: Pen, scale: float) -> None:
        points = [
            (-0.27, 0.76),
            (-0.1, 0.69),
            (0, 0.72),
            (0.1, 0.69),
            (0.27, 0.76),
            (0.1, 0.87),
            (-0.1, 0.87),
        ]
        polygon(pen, [(x + px * face, y + py * face) for px, py in points], scale)

    _cut(
        image,
        [
            (drawn(image.size, lines), near),
            (drawn(image.size, lips), mix(accent, dark, float(chance.uniform(0, 0.35)))),
        ],
    )


def _fringe(pen: Pen, scale: float, x: float, y: float, face: float, side: int) -> None:
    """Hair parted at one side, down to the temples."""
    part = [
        (0.35, -1.55),
        (0.3, -0.98),
        (-0.2, -0.72),
        (-0.75, -0.5),
        (-0.98, 0.05),
        (-1.16, 0.3),
        (-1.3, -0.4),
        (-1.0, -1.2),
        (-0.4, -1.62),
    ]
    other = [
        (0.28, -1.55),
        (0.3, -0.98),
        (0.62, -0.68),
        (0.95, -0.1),
        (1.12, 0.3),
        (1.3, -0.4),
        (1.02, -1.2),
    ]
    for points in (part, other):
        polygon(pen, [(x + side * px * face, y + py * face) for px, py in points], scale)


def _frond(
    size: Size, place: tuple[float, float, float], tones: Sequence[Colour], chance: Chance
) -> list[Layer]:
    """Leaves that frame the head."""
    x, y, unit = place
    shapes: list[Points] = []
    for side in (-1, 1):
        for angle in np.linspace(-0.3, 1.2, 5):
            turn = -0.5 * np.pi + side * (0.55 + float(angle))
            root = (x + side * unit * 0.18, y + unit * 0.2)
            long = unit * float(chance.uniform(0.36, 0.5))
            shapes.append(_leaf(root, turn, long, 0.085))
    leaves = _band(size, 0, size[1], tones[0], 0.3, shapes)
    veins = drawn(size, lambda pen, scale: _draw_veins(pen, scale, shapes, unit * 0.004))
    tint(leaves.image, mix(tones[0], tones[1], 0.5), veins)
    return [leaves]


# --- in the foreground


def foreground(size: Size, names: Sequence[str], shade: Colour, chance: Chance) -> list[Layer]:
    """The figures that stand before everything else."""
    makers = {"cat": _cat, "house": _cottage, "lone tree": _lone_tree, "lighthouse": _lighthouse}
    chosen = [name for name in names if name in makers][:2]
    layers = []
    for at, name in enumerate(chosen):
        place = (at + 0.5 + float(chance.uniform(-0.18, 0.18))) / len(chosen)
        layers.append(makers[name](size, place * size[0], shade, chance))
    return layers


def _standing(
    size: Size, x: float, box: Size, shade: Colour, draw: Callable[[Pen, float], None]
) -> Layer:
    mask = drawn(box, draw)
    return Layer(flat(mask, shade), mask, 1.0, size[1] - box[1], int(x - box[0] / 2))


def _cat(size: Size, x: float, shade: Colour, chance: Chance) -> Layer:
    """A cat that sits with its back to us and looks at the view."""
    tall = min(size) * float(chance.uniform(0.34, 0.42))
    box = (int(tall * 1.1), int(tall))
    middle = box[0] * 0.45
    side = tall

    def draw(pen: Pen, scale: float) -> None:
        body = [
            (0.0, 0.44),
            (0.13, 0.47),
            (0.21, 0.62),
            (0.27, 0.82),
            (0.26, 1.0),
            (-0.26, 1.0),
            (-0.27, 0.82),
            (-0.21, 0.62),
            (-0.13, 0.47),
        ]
        polygon(pen, [(middle + px * side, py * side) for px, py in body], scale)
        disc(pen, (middle, side * 0.84), (side * 0.275, side * 0.2), scale)
        disc(pen, (middle, side * 0.6), (side * 0.18, side * 0.24), scale)
        disc(pen, (middle, side * 0.33), (side * 0.185, side * 0.16), scale)
        for ear in (-1, 1):
            points = [(ear * 0.18, 0.31), (ear * 0.165, 0.06), (ear * 0.03, 0.2)]
            polygon(pen, [(middle + px * side, py * side) for px, py in points], scale)
        tail = np.linspace(0, 1, 30)
        xs = middle + side * (0.18 + 0.3 * np.sin(tail * 2.2))
        ys = side * (0.97 - 0.5 * tail + 0.06 * np.sin(tail * 9))
        for px, py in zip(xs.tolist(), ys.tolist(), strict=True):
            disc(pen, (px, py), side * 0.035, scale)

    return _standing(size, x, box, shade, draw)


def _cottage(size: Size, x: float, shade: Colour, chance: Chance) -> Layer:
    """A house with a lit window and smoke-less chimney."""
    tall = min(size) * float(chance.uniform(0.2, 0.27))
    box = (int(tall * 1.6), int(tall))
    side = tall

    def draw(pen: Pen, scale: float) -> None:
        for points in (
            [(0.2, 1.0), (0.2, 0.5), (1.4, 0.5), (1.4, 1.0)],
            [(0.08, 0.54), (0.5, 0.12), (1.1, 0.12), (1.52, 0.54)],
            [(1.05, 0.3), (1.05, 0.0), (1.2, 0.0), (1.2, 0.3)],
        ):
            polygon(pen, [(px * side, py * side) for px, py in points], scale)

    def draw_windows(pen: Pen, scale: float) -> None:
        for left in (0.4, 0.98):
            points = [(left, 0.62), (left + 0.2, 0.62), (left + 0.2, 0.82), (left, 0.82)]
            polygon(pen, [(px * side, py * side) for px, py in points], scale)

    house = _standing(size, x, box, shade, draw)
    _cut(house.image, [(drawn(box, draw_windows), np.array([255, 214, 130], np.float32))])
    return house


def _lone_tree(size: Size, x: float, shade: Colour, chance: Chance) -> Layer:
    tall = min(size) * float(chance.uniform(0.5, 0.62))
    box = (int(tall * 1.1), int(tall))
    foot = (box[0] / 2, float(box[1]))
    layer = _standing(
        size, x, box, shade, lambda pen, scale: _grown(pen, scale, foot, tall, chance)
    )
    return Layer(layer.image, layer.mask, 1.0, layer.top, layer.left, 0.0, 0.0)


def _grown(pen: Pen, scale: float, foot: tuple[float, float], tall: float, chance: Chance) -> None:
    """A tree that forks again and again, with leaves where it ends."""
    branches = [(foot, -0.5 * np.pi, tall * 0.24, tall * 0.032)]
    while branches:
        (x, y), angle, long, thick = branches.pop()
        end = (x + float(np.cos(angle)) * long, y + float(np.sin(angle)) * long)
        pen.line(
            [(x * scale, y * scale), (end[0] * scale, end[1] * scale)],
            fill=255,
            width=max(1, round(thick * scale * 2)),
        )
        disc(pen, end, thick * 0.95, scale)
        if long < tall * 0.06:
            disc(pen, end, tall * float(chance.uniform(0.03, 0.06)), scale)
            continue
        for turn in (-1, 1):
            bend = turn * float(chance.uniform(0.25, 0.6))
            branches.append(
                (end, angle + bend, long * float(chance.uniform(0.68, 0.82)), thick * 0.66)
            )


def _lighthouse(size: Size, x: float, shade: Colour, chance: Chance) -> Layer:
    tall = min(size) * float(chance.uniform(0.5, 0.6))
    box = (int(tall * 0.9), int(tall))
    middle, side = box[0] / 2, tall

    def draw(pen: Pen, scale: float) -> None:
        for points in (
            [(-0.09, 0.22), (0.09, 0.22), (0.14, 0.95), (-0.14, 0.95)],
            [(-0.12, 0.2), (0.12, 0.2), (0.12, 0.24), (-0.12, 0.24)],
            [(-0.065, 0.08), (0.065, 0.08), (0.065, 0.22), (-0.065, 0.22)],
            [(-0.085, 0.09), (0, 0.0), (0.085, 0.09)],
            [(-0.45, 1.0), (-0.25, 0.9), (0.2, 0.88), (0.45, 1.0)],
        ):
            polygon(pen, [(middle + px * side, py * side) for px, py in points], scale)

    def draw_light(pen: Pen, scale: float) -> None:
        disc(pen, (middle, side * 0.15), side * 0.042, scale)
        for top in (0.36, 0.6, 0.82):
            polygon(
                pen,
                [
                    (middle - side * 0.105, side * top),
                    (middle + side * 0.105, side * top),
                    (middle + side * 0.115, side * (top + 0.09)),
                    (middle - side * 0.115, side * (top + 0.09)),
                ],
                scale,
            )

    tower = _standing(size, x, box, shade, draw)
    assert tower.mask
    lit = ImageChops.multiply(drawn(box, draw_light), tower.mask)
    _cut(tower.image, [(lit, np.array([255, 232, 176], np.float32))])
    return tower
