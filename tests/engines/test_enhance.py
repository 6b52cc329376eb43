"""The engine `enhance`: each operation does its work, by number; and each refusal."""

from __future__ import annotations

import asyncio
import io
import os
import struct
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageDraw

from safelight.engines import Failed, File, Given, Job, Progress, build, found
from safelight.engines.enhance.engine import Enhance, process
from safelight.engines.enhance.options import Choice
from safelight.engines.enhance.steps import OPERATIONS, plan, ruled
from safelight.engines.enhance.weights import Weights, find
from safelight.errors import (
    BadRequest,
    InvalidType,
    InvalidValue,
    MissingParameter,
    UnknownParameter,
    Unsupported,
)
from safelight.task import FailureCode, Kind, Operation, Role, Source, Status, Submit, Task

Run = Callable[..., Image.Image]
# What each operation needs to be asked for at all.
NEEDED: dict[str, dict[str, Any]] = {
    "sharp_enhance": {"intensity": 0.5},
    "image_erase_logo": {"image_area_boxes": [{"bounding_box": [0.3, 0.2, 0.6, 0.7]}]},
    "ai_expansion": {"aspect_ratio": "1:1"},
}
PLAIN = sorted(OPERATIONS.keys() - {"encode", "ai_cutout"})  # done with Pillow and NumPy alone
SOURCE = (Source(url="https://example.com/picture.png"),)


@cache
def scene(width: int = 192, height: int = 128) -> Image.Image:
    """A picture with what photographs have: soft light, edges, fine lines, texture."""
    wide, high = width * 3, height * 3
    down, across = np.mgrid[0:high, 0:wide]
    u, v = across / wide, down / high
    red = 120 + 50 * np.sin(3 * u + 2 * v)
    green = 110 + 50 * v + 20 * np.sin(9 * u)
    blue = 150 - 70 * v + 15 * np.cos(6 * v)
    colors = np.stack([red, green, blue], axis=-1)
    colors[(u - 0.3) ** 2 + (v - 0.4) ** 2 < 0.03] = (170, 100, 80)
    colors[(abs(u - 0.7) < 0.13) & (abs(v - 0.55) < 0.2)] = (90, 120, 95)
    weave = 14 * np.sin(across * 0.4) * np.cos(down * 0.3)
    colors += np.where(v > 0.75, weave, 0)[..., None]
    picture = Image.fromarray(colors.clip(0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    for number in range(9):
        start, ink = (30 + number * 55, 25), (235, 230, 210) if number % 2 else (40, 40, 60)
        pen.line([start, (start[0] + 80, 130)], fill=ink, width=2 + number)
    return picture.resize((width, height), Image.Resampling.BOX)


def noisy(picture: Image.Image, deviation: float) -> Image.Image:
    values = np.asarray(picture).astype(float)
    noise = np.random.default_rng(7).normal(0, deviation, values.shape)
    return Image.fromarray((values + noise).clip(0, 255).round().astype(np.uint8))


def numbers(picture: Image.Image) -> NDArray[np.float64]:
    return np.asarray(picture.convert("RGB")).astype(np.float64)


def psnr(picture: Image.Image, original: Image.Image) -> float:
    """How near two pictures are, in decibels."""
    error = float(((numbers(picture) - numbers(original)) ** 2).mean())
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def energy(picture: Image.Image) -> float:
    """How steep a picture is, on the average."""
    down, across = np.gradient(numbers(picture).mean(axis=2))
    return float((down**2 + across**2).mean())


def saturation(picture: Image.Image) -> float:
    return float((numbers(picture).max(axis=2) - numbers(picture).min(axis=2)).mean())


def a_job(folder: Path, source: Path, *operations: Operation, **fields: Any) -> Job:
    limits = {name: fields.pop(name) for name in ("max_pixels", "options") if name in fields}
    submit = Submit(model="enhance", sources=SOURCE, operations=operations, **fields)
    task = Task(id="0" * 24, status=Status.RUNNING, submit=submit)
    return Job(task=task, folder=folder, sources=(Given(path=source),), **limits)


def result(job: Job) -> File:
    files = [event for event in process(job, 0) if isinstance(event, File)]
    assert len(files) == 1
    return files[0]


def opened(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        picture.load()
        return picture


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Carries out one operation on a picture, without loss before or after it."""

    def carry_out(picture: Image.Image, name: str, **options: Any) -> Image.Image:
        source = tmp_path / "source.png"
        picture.save(source)
        operation = Operation(name=name, options=options)
        file = result(a_job(tmp_path, source, operation))
        after = opened(file.path)
        assert (file.width, file.height) == after.size
        return after

    return carry_out


# --- what each operation does ---


@pytest.mark.parametrize(("deviation", "gain"), [(5, 3), (12, 5), (25, 6)])
@pytest.mark.parametrize("strength", ["weak", "strong"])
def test_denoise_comes_nearer_to_the_original(
    run: Run, strength: str, deviation: float, gain: float
) -> None:
    before = noisy(scene(), deviation)
    after = run(before, "denoise", type=strength)
    assert psnr(after, scene()) > psnr(before, scene()) + gain


def test_denoise_leaves_a_clean_picture_nearly_as_it_is(run: Run) -> None:
    assert psnr(run(scene(), "denoise"), scene()) > 45


def test_strong_denoise_leaves_less_noise(run: Run) -> None:
    flat = noisy(Image.new("RGB", (96, 96), (90, 120, 150)), 10)
    weak, strong = (
        numbers(run(flat, "denoise", type=one)).std(axis=(0, 1)).mean()
        for one in ("weak", "strong")
    )
    assert strong < weak < 3


@pytest.mark.parametrize("strength", ["lq", "hq"])
def test_super_resolution_doubles_and_beats_the_nearest_neighbour(run: Run, strength: str) -> None:
    original = scene(256, 192)
    small = original.resize((128, 96), Image.Resampling.LANCZOS)
    after = run(small, "super_resolution", type=strength, size=2)
    assert after.size == (256, 192)
    nearest = small.resize(after.size, Image.Resampling.NEAREST)
    assert psnr(after, original) > psnr(nearest, original) + 0.5


@pytest.mark.parametrize("strength", ["standard", "super", "ultra"])
def test_advanced_super_resolution_beats_the_nearest_neighbour(run: Run, strength: str) -> None:
    original = scene(256, 192)
    small = original.resize((128, 96), Image.Resampling.LANCZOS)
    after = run(small, "advanced_super_resolution", type=strength)
    nearest = small.resize(after.size, Image.Resampling.NEAREST)
    assert psnr(after, original) > psnr(nearest, original) + 0.5


def test_the_higher_types_of_super_resolution_keep_more_detail(run: Run) -> None:
    small = scene(128, 96)
    plain, twice = (energy(run(small, "super_resolution", type=one)) for one in ("lq", "hq"))
    assert twice > plain
    kinds = ("standard", "super", "ultra")
    steps = [energy(run(small, "advanced_super_resolution", type=one)) for one in kinds]
    assert steps == sorted(steps)


def test_sharpen_raises_the_gradients(run: Run) -> None:
    energies = [energy(run(scene(), "sharp_enhance", intensity=one)) for one in (0, 0.3, 1)]
    assert energies[0] == energy(scene())
    assert energies[1] > energies[0] * 1.1
    assert energies[2] > energies[1] * 1.1


def test_low_light_is_lifted_without_clipping(run: Run) -> None:
    dark = Image.eval(scene(), lambda value: value // 7)
    after = run(dark, "low_light_enhance", type="normal")
    assert numbers(after).mean() > numbers(dark).mean() * 2.5
    assert numbers(after).max() < 255
    shadow, light = numbers(dark).mean(axis=2) < 12, numbers(dark).mean(axis=2) > 20
    gain = numbers(after).mean(axis=2) / numbers(dark).mean(axis=2).clip(1)
    assert gain[shadow].mean() > gain[light].mean()


def test_a_bright_or_black_picture_is_not_lifted(run: Run) -> None:
    assert psnr(run(scene(), "low_light_enhance"), scene()) > 60
    black = Image.new("RGB", (32, 32))
    assert numbers(run(black, "low_light_enhance")).max() == 0


def test_color_enhance_makes_colors_fuller_by_strength(run: Run) -> None:
    degrees = [saturation(scene())]
    degrees += [
        saturation(run(scene(), "color_enhance", type=one)) for one in ("weak", "normal", "strong")
    ]
    assert degrees == sorted(set(degrees))
    assert degrees[3] > degrees[0] * 1.2


def test_color_enhance_takes_out_part_of_a_cast(run: Run) -> None:
    cast = Image.fromarray((numbers(scene()) * (1, 0.95, 0.6)).astype(np.uint8))
    red, _, blue = numbers(cast).mean(axis=(0, 1))
    after_red, _, after_blue = numbers(run(cast, "color_enhance")).mean(axis=(0, 1))
    assert after_blue / after_red > blue / red


def test_image_quality_widens_the_contrast_by_strength(run: Run) -> None:
    dull = noisy(Image.eval(scene(), lambda value: 60 + value // 2), 2)
    spreads = [numbers(dull).std()]
    spreads += [
        numbers(run(dull, "image_quality_enhance", type=one)).std()
        for one in ("weak", "normal", "strong")
    ]
    assert spreads == sorted(set(spreads))
    assert spreads[1] > spreads[0] * 1.15


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({}, (192, 128)),
        ({"percent": 0.5}, (96, 64)),
        ({"percent": 0.1}, (19, 13)),
        ({"mode": "percent", "percent": 1.5, "width": 7}, (288, 192)),
        ({"mode": "mfit", "width": 96, "height": 96}, (144, 96)),
        ({"mode": "lfit", "width": 96, "height": 96}, (96, 64)),
        ({"mode": "lfit", "width": 300, "height": 300}, (300, 200)),
        ({"mode": "fill", "width": 90, "height": 100}, (90, 100)),
        ({"mode": "pad", "width": 90, "height": 100}, (90, 100)),
        ({"mode": "fixed", "width": 33, "height": 99}, (33, 99)),
        ({"mode": "fixed", "width": 96}, (96, 64)),
        ({"mode": "fixed", "height": 32}, (48, 32)),
        ({"mode": "fixed", "long_side": 100, "short_side": 20}, (100, 20)),
        ({"mode": "fixed", "long_side": 96}, (96, 64)),
        ({"mode": "lfit", "short_side": 64}, (96, 64)),
        ({"mode": "fixed", "width": 96, "long_side": 10, "short_side": 10}, (96, 64)),
    ],
)
def test_resize_in_every_mode(run: Run, options: dict[str, Any], size: tuple[int, int]) -> None:
    assert run(scene(), "image_resize", **options).size == size


def test_long_and_short_side_follow_the_picture(run: Run) -> None:
    upright = scene().rotate(90, expand=True)
    after = run(upright, "image_resize", mode="fixed", long_side=96, short_side=64)
    assert after.size == (64, 96)


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({}, (384, 256)),
        ({"percent": 1.5}, (288, 192)),
        ({"mode": "aspect", "width": 300, "height": 300}, (450, 300)),
        ({"mode": "fixed", "width": 300, "height": 300}, (300, 300)),
        ({"mode": "aspect", "long_side": 288}, (288, 192)),
        ({"mode": "fixed", "width": 96}, (96, 64)),
    ],
)
def test_advanced_super_resolution_in_every_mode(
    run: Run, options: dict[str, Any], size: tuple[int, int]
) -> None:
    assert run(scene(), "advanced_super_resolution", **options).size == size


def test_fill_cuts_from_the_middle_and_pad_lays_on_white(run: Run) -> None:
    bands = Image.new("RGB", (90, 30), "red")
    bands.paste("blue", (30, 0, 60, 30))
    filled = numbers(run(bands, "image_resize", mode="fill", width=24, height=24))
    assert (filled[:, 2:-2].mean(axis=(0, 1)) == (0, 0, 255)).all()
    padded = run(bands, "image_resize", mode="pad", width=90, height=90)
    assert padded.getpixel((45, 5)) == padded.getpixel((45, 85)) == (255, 255, 255)
    assert padded.getpixel((45, 45)) == (0, 0, 255)


def test_pad_leaves_a_clear_picture_clear_around(run: Run) -> None:
    clear = Image.new("RGBA", (90, 30), (255, 0, 0, 128))
    padded = run(clear, "image_resize", mode="pad", width=90, height=90)
    assert padded.getpixel((45, 5)) == (255, 255, 255, 0)
    assert padded.getpixel((45, 45)) == (255, 0, 0, 128)


def unlike(picture: Image.Image, original: Image.Image) -> NDArray[np.bool_]:
    """Where two pictures differ in any channel."""
    differs: NDArray[np.bool_] = (numbers(picture) != numbers(original)).any(axis=2)
    return differs


def marked(picture: Image.Image) -> Image.Image:
    """A picture with a mark over its middle: letters, in white on black."""
    result = picture.copy()
    pen = ImageDraw.Draw(result)
    for across in range(72, 120, 12):
        pen.line([(across, 50), (across, 68)], fill="white", width=3)
        pen.line([(across, 50), (across + 8, 60)], fill="white", width=3)
    return result


MARK = (66, 46, 134, 74)


@pytest.mark.parametrize("kind", ["logo", "text"])
@pytest.mark.parametrize("strength", ["low", "mid", "high"])
def test_what_is_erased_is_gone_and_the_rest_untouched(run: Run, strength: str, kind: str) -> None:
    area = {"type": kind, "area_coord_set": list(MARK)}
    options = {"image_area_boxes": [area], "erase_strength": strength}
    after = run(marked(scene()), "image_erase_logo", **options)
    outside = np.ones((128, 192), bool)
    outside[MARK[1] : MARK[3], MARK[0] : MARK[2]] = False
    assert not unlike(after, marked(scene()))[outside].any()
    assert (
        psnr(after.crop(MARK), scene().crop(MARK))
        > psnr(marked(scene()).crop(MARK), scene().crop(MARK)) + 4
    )


@pytest.mark.parametrize(
    ("area", "box"),
    [
        ({"bounding_box": [0.25, 0.25, 0.5, 0.75]}, (48, 32, 96, 96)),
        ({"bounding_box": [48, 32, 96, 96]}, (48, 32, 96, 96)),
        ({"bounding_box": [0.25, 0.25, 0.5, 0.75], "bounding_box_unit_type": 1}, (48, 32, 96, 96)),
        ({"bounding_box": [0, 0, 1, 1], "bounding_box_unit_type": 2}, (0, 0, 1, 1)),
        ({"bounding_box": [0, 0, 9, 9], "area_coord_set": [10, 12, 14, 16]}, (10, 12, 14, 16)),
        ({"area_coord_set": [180, 120, 400, 400]}, (180, 120, 192, 128)),
        ({"area_coord_set": [300, 300, 400, 400]}, None),
    ],
)
def test_areas_in_pixels_and_in_shares(
    run: Run, area: dict[str, Any], box: tuple[int, int, int, int] | None
) -> None:
    grainy = noisy(scene(), 20)
    changed = unlike(run(grainy, "image_erase_logo", image_area_boxes=[area]), grainy)
    expected = np.zeros_like(changed)
    if box:
        expected[box[1] : box[3], box[0] : box[2]] = True
        assert changed[expected].mean() > 0.8
    assert not changed[~expected].any()


def test_a_picture_that_is_erased_as_a_whole_stays_a_picture(run: Run) -> None:
    whole = [{"bounding_box": [0, 0, 1, 1]}]
    assert run(scene(), "image_erase_logo", image_area_boxes=whole).size == (192, 128)


@pytest.mark.parametrize(
    ("options", "size", "place"),
    [
        ({"aspect_ratio": "1:1"}, (192, 192), (0, 32)),
        ({"aspect_ratio": "2:1"}, (256, 128), (32, 0)),
        ({"aspect_ratio": "3:2"}, (192, 128), (0, 0)),
        ({"width": 300, "height": 200}, (300, 200), (54, 36)),
        ({"width": 300}, (300, 128), (54, 0)),
        ({"aspect_ratio": "1:1", "width": 200, "height": 300}, (200, 300), (4, 86)),
    ],
)
def test_expansion_leaves_the_picture_as_it_is(
    run: Run, options: dict[str, Any], size: tuple[int, int], place: tuple[int, int]
) -> None:
    after = run(scene(), "ai_expansion", **options)
    assert after.size == size
    left, top = place
    inside = after.crop((left, top, left + 192, top + 128))
    assert not unlike(inside, scene()).any()
    assert numbers(after).std() < numbers(scene()).std() * 1.3  # the ground is of the picture


def test_expansion_to_less_makes_the_picture_smaller(run: Run) -> None:
    after = run(scene(), "ai_expansion", width=96, height=96)
    assert after.size == (96, 96)
    small = scene().resize((96, 64), Image.Resampling.LANCZOS)
    assert psnr(after.crop((0, 16, 96, 80)), small) > 40


@pytest.mark.parametrize("size", [2, 3, 4])
def test_super_resolution_by_more_than_two(run: Run, size: int) -> None:
    assert run(scene(48, 32), "super_resolution", size=size).size == (48 * size, 32 * size)


# --- what the rule of a model adds ---


def test_a_rule_may_name_the_operations(tmp_path: Path) -> None:
    scene().save(tmp_path / "source.png")
    rule = {"operations": [{"name": "super_resolution", "size": 4}, {"name": "sharp_enhance"}]}
    Enhance().check(submit(), rule)
    file = result(a_job(tmp_path, tmp_path / "source.png", options=rule))
    assert (file.width, file.height) == (768, 512)
    own = Operation(name="super_resolution", options={"size": 2})
    assert result(a_job(tmp_path, tmp_path / "source.png", own, options=rule)).width == 384


def test_a_rule_says_what_a_task_leaves_out() -> None:
    rule = {"operations": [{"name": "super_resolution", "type": "hq", "size": 4}]}

    def planned(**options: Any) -> dict[str, Any]:
        asked = submit(("super_resolution", options))
        return plan(asked, ruled(rule))[0].options

    assert planned() == {"type": "hq", "size": 4}
    assert planned(type="lq") == {"type": "lq", "size": 4}
    assert planned(size=3) == {"type": "lq", "size": 3}  # the sizes of two are none


@pytest.mark.parametrize(
    ("operations", "parameter"),
    [
        ("super_resolution", "model"),
        (["super_resolution"], "model"),
        ([{"size": 4}], "model"),
        ([{"name": "magic"}], "magic"),
        ([{"name": "super_resolution", "size": 9}], "super_resolution.size"),
        ([{"name": "ai_cutout"}], "ai_cutout"),
    ],
)
def test_a_rule_that_cannot_be_met_is_told(operations: Any, parameter: str) -> None:
    with pytest.raises(BadRequest) as told:
        Enhance().check(submit(), {"operations": operations})
    assert told.value.parameter == parameter


# --- encoding, and what the source may be ---


@pytest.mark.parametrize(
    ("word", "form", "media_type"),
    [
        ("JPEG", "JPEG", "image/jpeg"),
        ("jpeg", "JPEG", "image/jpeg"),
        ("PNG", "PNG", "image/png"),
        ("WebP", "WEBP", "image/webp"),
        ("BMP", "BMP", "image/bmp"),
        ("avif", "AVIF", "image/avif"),
    ],
)
def test_every_format_reads_back_as_itself(
    tmp_path: Path, word: str, form: str, media_type: str
) -> None:
    scene().save(tmp_path / "source.png")
    encode = Operation(name="encode", options={"format": word})
    file = result(a_job(tmp_path, tmp_path / "source.png", encode))
    assert file.media_type == media_type
    assert opened(file.path).format == form
    assert psnr(opened(file.path), scene()) > 33


@pytest.mark.parametrize("form", ["jpeg", "webp", "avif"])
def test_quality_is_paid_in_bytes(tmp_path: Path, form: str) -> None:
    scene().save(tmp_path / "source.png")
    lengths = []
    for quality in (20, 60, 100):
        encode = Operation(name="encode", options={"format": form, "quality": quality})
        lengths.append(result(a_job(tmp_path, tmp_path / "source.png", encode)).path.stat().st_size)
    assert lengths[0] < lengths[1] < lengths[2]


@pytest.mark.parametrize(
    ("source", "media_type"),
    [
        ("JPEG", "image/jpeg"),
        ("PNG", "image/png"),
        ("WEBP", "image/webp"),
        ("AVIF", "image/avif"),
        ("BMP", "image/bmp"),
        ("GIF", "image/png"),
        ("TIFF", "image/png"),
    ],
)
def test_without_operations_the_picture_is_encoded_as_it_was(
    tmp_path: Path, source: str, media_type: str
) -> None:
    scene().save(tmp_path / "source", source)
    for operations in ((), (Operation(name="encode", options={"format": ""}),)):
        file = result(a_job(tmp_path, tmp_path / "source", *operations))
        assert file.media_type == media_type
        assert opened(file.path).size == scene().size


def test_size_format_and_quality_of_other_wires(tmp_path: Path) -> None:
    source = tmp_path / "source.png"
    scene().save(source)
    high = result(a_job(tmp_path, source, width=60, height=70, format="jpeg", quality="high"))
    assert (high.media_type, high.width, high.height) == ("image/jpeg", 60, 70)
    length = high.path.stat().st_size
    low = result(a_job(tmp_path, source, width=60, height=70, format="jpeg", quality="10"))
    assert low.path.stat().st_size < length
    assert result(a_job(tmp_path, source, width=96)).height == 64
    square = result(a_job(tmp_path, source, ratio="1:1", resolution="240p"))
    assert (square.width, square.height) == (240, 240)
    assert result(a_job(tmp_path, source, ratio="auto", quality="auto")).width == 192


def test_operations_win_over_the_size_and_format_of_other_wires(tmp_path: Path) -> None:
    source = tmp_path / "source.png"
    scene().save(source)
    resize = Operation(name="image_resize", options={"percent": 0.5})
    encode = Operation(name="encode", options={"format": "BMP"})
    file = result(a_job(tmp_path, source, resize, encode, width=7, format="png"))
    assert (file.width, file.media_type) == (96, "image/bmp")


def clear_scene() -> Image.Image:
    picture = scene().convert("RGBA")
    ramp = np.tile(np.linspace(0, 255, picture.width).astype(np.uint8), (picture.height, 1))
    picture.putalpha(Image.fromarray(ramp))
    return picture


@pytest.mark.parametrize("name", PLAIN)
def test_alpha_survives_every_operation(run: Run, name: str) -> None:
    after = run(clear_scene(), name, **NEEDED.get(name, {}))
    assert after.mode == "RGBA"
    alpha = np.asarray(after.getchannel("A")).astype(float)
    middle = alpha[alpha.shape[0] // 2]
    assert middle[0] < 3 < 252 < middle[-1]


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (9, 1)])
def test_the_smallest_pictures(run: Run, name: str, size: tuple[int, int]) -> None:
    after = run(Image.new("RGB", size, (20, 30, 40)), name, **NEEDED.get(name, {}))
    assert after.width in (size[0], 2 * size[0])


@pytest.mark.parametrize("name", PLAIN)
def test_grays_stay_gray(run: Run, name: str) -> None:
    assert run(scene().convert("L"), name, **NEEDED.get(name, {})).mode == "L"


@pytest.mark.parametrize("form", ["JPEG", "BMP"])
def test_alpha_is_laid_on_white_where_the_format_has_none(tmp_path: Path, form: str) -> None:
    Image.new("RGBA", (16, 16), (255, 0, 0, 0)).save(tmp_path / "source.png")
    encode = Operation(name="encode", options={"format": form})
    after = opened(result(a_job(tmp_path, tmp_path / "source.png", encode)).path)
    assert after.mode == "RGB"
    assert after.getpixel((8, 8)) == (255, 255, 255)


def test_the_orientation_is_applied_and_other_metadata_dropped(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned to the right
    exif[0x010F] = "A camera"
    scene().save(tmp_path / "source.jpg", quality=95, exif=exif, comment=b"private")
    after = opened(result(a_job(tmp_path, tmp_path / "source.jpg")).path)
    assert after.size == (128, 192)
    assert psnr(after, scene().rotate(-90, expand=True)) > 30
    assert not after.getexif()
    assert "comment" not in after.info


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "TIFF", "WEBP", "PNG", "AVIF"])
def test_every_orientation_in_every_format(tmp_path: Path, form: str, orientation: int) -> None:
    corner = Image.new("RGB", (32, 16), "white")
    corner.paste("black", (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    corner.save(tmp_path / "source", form, exif=exif)
    after = numbers(opened(result(a_job(tmp_path, tmp_path / "source")).path)).mean(axis=2)
    # Where the first row and the first column are to be seen, by the EXIF standard.
    row_first = orientation <= 4
    assert after.shape == ((16, 32) if row_first else (32, 16))
    bottom = orientation in (3, 4, 7, 8)
    right = orientation in (2, 3, 6, 7)
    assert after[-4 if bottom else 3, -4 if right else 3] < 60
    assert after[3 if bottom else -4, 3 if right else -4] > 200


@pytest.mark.parametrize("exif", [b"II*\0\xff\xff\xff\x7f", b"garbage", b"MM\0*"])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_broken_metadata_is_no_broken_picture(tmp_path: Path, form: str, exif: bytes) -> None:
    scene().save(tmp_path / "source", form, exif=b"Exif\0\0" + exif)
    assert result(a_job(tmp_path, tmp_path / "source")).width == 192


def deep(picture: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)


@pytest.mark.parametrize(
    ("convert", "form"),
    [
        (lambda picture: picture.quantize(256), "PNG"),
        (lambda picture: picture.quantize(256), "GIF"),
        (lambda picture: picture.convert("CMYK"), "JPEG"),
        (lambda picture: picture.convert("CMYK"), "TIFF"),
        (lambda picture: picture.convert("LA"), "PNG"),
        (deep, "PNG"),
        (deep, "TIFF"),
    ],
)
def test_other_kinds_of_pixels(
    tmp_path: Path, convert: Callable[[Image.Image], Image.Image], form: str
) -> None:
    source = convert(scene())
    source.save(tmp_path / "source", form)
    encode = Operation(name="encode", options={"format": "png"})
    after = opened(result(a_job(tmp_path, tmp_path / "source", encode)).path)
    gray = source.mode in ("LA", "I;16")
    assert psnr(after, scene().convert("L") if gray else scene()) > 27


def test_bilevel_and_clear_palette_pictures(tmp_path: Path) -> None:
    Image.new("1", (8, 8), 1).save(tmp_path / "bits.png")
    assert opened(result(a_job(tmp_path, tmp_path / "bits.png")).path).getpixel((1, 1)) == 255
    Image.new("P", (8, 8), 0).save(tmp_path / "clear.gif", transparency=0)
    after = opened(result(a_job(tmp_path, tmp_path / "clear.gif")).path)
    assert after.getchannel("A").getextrema() == (0, 0)


@cache  # it holds the time of its making
def a_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize(
    ("form", "kept"),
    [("jpeg", True), ("png", True), ("webp", True), ("avif", True), ("bmp", False)],
)
def test_the_colour_profile_is_kept_where_there_is_room(
    tmp_path: Path, form: str, kept: bool
) -> None:
    scene().save(tmp_path / "source.png", icc_profile=a_profile())
    operations = Operation(name="denoise"), Operation(name="encode", options={"format": form})
    after = opened(result(a_job(tmp_path, tmp_path / "source.png", *operations)).path)
    assert (after.info.get("icc_profile") == a_profile()) is kept


def test_a_profile_of_other_colours_is_not_kept(tmp_path: Path) -> None:
    scene().convert("L").save(tmp_path / "source.png", icc_profile=a_profile())
    after = opened(result(a_job(tmp_path, tmp_path / "source.png")).path)
    assert after.mode == "L"
    assert "icc_profile" not in after.info


def a_linear_gray_profile() -> bytes:
    """The smallest ICC profile of grays whose values are in proportion to light."""
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)
    curve = b"curv\0\0\0\0" + struct.pack(">I", 0)
    tags = struct.pack(">I", 2) + b"wtpt" + struct.pack(">2I", 156, 20)
    tags += b"kTRC" + struct.pack(">2I", 176, 12)
    head = struct.pack(">I4sI12s", 188, bytes(4), 0x02400000, b"mntrGRAYXYZ ") + bytes(12)
    head += b"acsp" + bytes(28) + struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)
    return head.ljust(128, b"\0") + tags + white + curve


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_grays_with_a_profile_become_standard_colours_for_webp(tmp_path: Path, mode: str) -> None:
    gray = Image.new(mode, (16, 16), 55 if mode == "L" else (55, 128))
    gray.save(tmp_path / "source.png", icc_profile=a_linear_gray_profile())
    encode = Operation(name="encode", options={"format": "webp", "quality": 100})
    after = opened(result(a_job(tmp_path, tmp_path / "source.png", encode)).path)
    assert after.mode == {"L": "RGB", "LA": "RGBA"}[mode]
    assert abs(numbers(after).mean() - 128) < 4  # what a light of 55 / 255 is in sRGB
    kept = opened(result(a_job(tmp_path, tmp_path / "source.png")).path)
    assert (kept.mode, kept.info.get("icc_profile")) == (mode, a_linear_gray_profile())


def test_plain_grays_become_webp(tmp_path: Path) -> None:
    scene().convert("L").save(tmp_path / "source.png")
    encode = Operation(name="encode", options={"format": "webp"})
    after = opened(result(a_job(tmp_path, tmp_path / "source.png", encode)).path)
    assert psnr(after, scene().convert("L")) > 33


def test_a_broken_profile_is_no_broken_picture(tmp_path: Path) -> None:
    profile = b"\0" * 16 + b"RGB " + b"\0" * 200
    clear_scene().save(tmp_path / "source.png", icc_profile=profile)
    encode = Operation(name="encode", options={"format": "bmp"})
    assert result(a_job(tmp_path, tmp_path / "source.png", encode)).width == 192


# --- what cannot be done ---


def refusal(job: Job) -> str:
    with pytest.raises(Failed) as told:
        result(job)
    assert told.value.failure.code is FailureCode.INVALID_INPUT
    return told.value.failure.message


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "AVIF", "BMP", "GIF", "TIFF"])
def test_truncated_files_are_refused(tmp_path: Path, form: str) -> None:
    sentence = "not a picture" if form == "AVIF" else "broken or truncated"  # as its end is missed
    whole = io.BytesIO()
    noisy(scene(), 20).save(whole, form)
    (tmp_path / "source").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    assert sentence in refusal(a_job(tmp_path, tmp_path / "source"))


@pytest.mark.parametrize("content", [b"", b"no picture", b"<svg xmlns='s'/>", b"P6 1 1 255 abc"])
def test_what_is_no_accepted_picture_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "source").write_bytes(content)
    assert "not a picture that can be read" in refusal(a_job(tmp_path, tmp_path / "source"))


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    Image.new("F", (8, 8), 0.5).save(tmp_path / "source.tif")
    assert "floating-point" in refusal(a_job(tmp_path, tmp_path / "source.tif"))


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "AVIF"])
def test_animations_are_refused(tmp_path: Path, form: str) -> None:
    frames = [scene(32, 32), scene(32, 32).rotate(90)]
    frames[0].save(tmp_path / "source", form, save_all=True, append_images=frames[1:])
    assert "animation" in refusal(a_job(tmp_path, tmp_path / "source"))


def test_the_first_page_of_several_is_the_picture(tmp_path: Path) -> None:
    pages = [scene(), scene(32, 32)]
    pages[0].save(tmp_path / "source", "TIFF", save_all=True, append_images=pages[1:])
    assert result(a_job(tmp_path, tmp_path / "source")).width == 192


def a_bomb(width: int, height: int) -> bytes:
    """A small PNG file that says that it is a very large picture."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("side", [5000, 12_000, 60_000])
def test_bombs_are_refused_before_they_are_decoded(tmp_path: Path, side: int) -> None:
    (tmp_path / "source").write_bytes(a_bomb(side, side))
    assert "At most 16777216 pixels" in refusal(a_job(tmp_path, tmp_path / "source"))


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("super_resolution", {}, "super_resolution would make 384 x 256 pixels; at most 25000"),
        ("image_resize", {"percent": 10}, "1920 x 1280"),
        ("advanced_super_resolution", {"mode": "aspect", "height": 4096}, "4096 pixels a side"),
    ],
)
def test_results_that_are_too_large_are_refused(
    tmp_path: Path, name: str, options: dict[str, Any], sentence: str
) -> None:
    scene().save(tmp_path / "source.png")
    operation = Operation(name=name, options=options)
    job = a_job(tmp_path, tmp_path / "source.png", operation, max_pixels=25_000)
    assert sentence in refusal(job)


def test_a_side_that_the_format_cannot_hold_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "source.webp")
    resize = Operation(name="image_resize", options={"mode": "fixed", "width": 16384, "height": 2})
    assert "16383 pixels a side" in refusal(a_job(tmp_path, tmp_path / "source.webp", resize))


def submit(*operations: tuple[str, dict[str, Any]], **fields: Any) -> Submit:
    named = tuple(Operation(name=name, options=options) for name, options in operations)
    return Submit(**{"model": "enhance", "sources": SOURCE, "operations": named, **fields})


UNSUPPORTED = (
    "face_enhance",
    "ai_poster_suite",
    "ai_storyboard",
    "understand_image",
    "image_quality",
    "ai_compose",
    "ai_decompose",
    "blind_watermark",
    "beauty",
    "ai_try_on",
    "create_image",
    "",
)


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_operations_it_does_not_have_are_refused(name: str) -> None:
    with pytest.raises(Unsupported) as told:
        Enhance().check(submit(("denoise", {}), (name, {"intensity": 1})), {})
    assert told.value.parameter == name


@pytest.mark.parametrize(
    ("name", "option", "value", "fault"),
    [
        ("encode", "format", "GIF", InvalidValue),
        ("encode", "format", 3, InvalidType),
        ("encode", "quality", 0, InvalidValue),
        ("encode", "quality", 101, InvalidValue),
        ("encode", "quality", 50.5, InvalidValue),
        ("encode", "quality", "90", InvalidType),
        ("encode", "quality", True, InvalidType),
        ("super_resolution", "type", "HQ", InvalidValue),
        ("super_resolution", "type", "", InvalidValue),
        ("super_resolution", "size", 5, InvalidValue),
        ("advanced_super_resolution", "type", "mega", InvalidValue),
        ("advanced_super_resolution", "mode", "pad", InvalidValue),
        ("advanced_super_resolution", "percent", 11, InvalidValue),
        ("advanced_super_resolution", "width", 4097, InvalidValue),
        ("advanced_super_resolution", "long_side", 0, InvalidValue),
        ("denoise", "type", "normal", InvalidValue),
        ("denoise", "level", 3, UnknownParameter),
        ("image_quality_enhance", "type", "best", InvalidValue),
        ("color_enhance", "type", "best", InvalidValue),
        ("sharp_enhance", "intensity", 1.1, InvalidValue),
        ("sharp_enhance", "intensity", float("nan"), InvalidValue),
        ("sharp_enhance", "intensity", "1", InvalidType),
        ("low_light_enhance", "type", "strong", InvalidValue),
        ("image_resize", "mode", "crop", InvalidValue),
        ("image_resize", "mode", "shape", InvalidValue),
        ("image_resize", "percent", 0.05, InvalidValue),
        ("image_resize", "width", 16385, InvalidValue),
        ("image_resize", "height", 1.5, InvalidValue),
        ("image_resize", "switch", "ON", UnknownParameter),
        ("image_erase_logo", "erase_strength", "most", InvalidValue),
        ("image_erase_logo", "watermark_type", "tiled_watermark", InvalidValue),
        ("image_erase_logo", "detect_types", ["watermark"], Unsupported),
        ("image_erase_logo", "image_area_boxes", {}, InvalidType),
        ("image_erase_logo", "image_area_boxes", [{}] * 17, InvalidValue),
        ("ai_expansion", "aspect_ratio", "wide", InvalidValue),
        ("ai_expansion", "aspect_ratio", 2, InvalidType),
        ("ai_expansion", "width", 2049, InvalidValue),
        ("ai_cutout", "type", "pattern", InvalidValue),
        ("ai_cutout", "pattern_config", {"edge_sampling_step": 5}, Unsupported),
        ("ai_cutout", "model", "cutout-2", InvalidValue),
    ],
)
def test_options_that_are_not_defined_are_refused(
    name: str, option: str, value: Any, fault: type[BadRequest]
) -> None:
    with pytest.raises(fault) as told:
        Enhance().check(submit((name, {option: value})), {})
    assert told.value.parameter == f"{name}.{option}"


@pytest.mark.parametrize(
    ("area", "at", "fault"),
    [
        (7, "", InvalidType),
        ({}, ".area_coord_set", MissingParameter),
        ({"type": "face", "area_coord_set": [1, 2, 3, 4]}, ".type", InvalidValue),
        ({"area_coord_set": [1, 2, 3]}, ".area_coord_set", InvalidValue),
        ({"area_coord_set": "1234"}, ".area_coord_set", InvalidType),
        ({"area_coord_set": [1, 2, 1, 4]}, ".area_coord_set", InvalidValue),
        ({"area_coord_set": [1, 2, 3, 5000]}, ".area_coord_set.3", InvalidValue),
        ({"area_coord_set": [1, 2, "3", 4]}, ".area_coord_set.2", InvalidType),
        (
            {"bounding_box": [1, 2, 3, 4], "bounding_box_unit_type": 1},
            ".bounding_box",
            InvalidValue,
        ),
        (
            {"bounding_box": [0, 0, 1, 1], "bounding_box_unit_type": 3},
            ".bounding_box_unit_type",
            InvalidValue,
        ),
        ({"area_coord_set": [1, 2, 3, 4], "color": "red"}, ".color", UnknownParameter),
    ],
)
def test_areas_that_cannot_be_read_are_refused(area: Any, at: str, fault: type[BadRequest]) -> None:
    good = {"area_coord_set": [1, 2, 3, 4]}
    with pytest.raises(fault) as told:
        Enhance().check(submit(("image_erase_logo", {"image_area_boxes": [good, area]})), {})
    assert told.value.parameter == f"image_erase_logo.image_area_boxes.1{at}"


@pytest.mark.parametrize(
    ("name", "parameter"),
    [
        ("image_erase_logo", "image_erase_logo.image_area_boxes"),
        ("ai_expansion", "ai_expansion.aspect_ratio"),
    ],
)
def test_operations_that_need_an_option_say_so(name: str, parameter: str) -> None:
    with pytest.raises(MissingParameter) as told:
        Enhance().check(submit((name, {})), {})
    assert told.value.parameter == parameter


def test_what_needs_the_extra_is_refused_without_it() -> None:
    with pytest.raises(Unsupported) as told:
        Enhance().check(submit(("ai_cutout", {})), {})
    assert told.value.parameter == "ai_cutout"
    Enhance(Weights(vision=True)).check(submit(("ai_cutout", {})), {})


@pytest.mark.parametrize("mode", ["mfit", "lfit", "fill", "pad", "fixed"])
def test_a_mode_that_needs_a_size_says_so(mode: str) -> None:
    with pytest.raises(MissingParameter) as told:
        Enhance().check(submit(("image_resize", {"mode": mode, "percent": 2})), {})
    assert told.value.parameter == "image_resize.width"


@pytest.mark.parametrize(
    ("fields", "parameter", "fault"),
    [
        ({"sources": ()}, "sources", MissingParameter),
        ({"sources": (Source(url="u", role=Role.MASK),)}, "sources", MissingParameter),
        ({"sources": SOURCE * 2}, "sources", Unsupported),
        ({"kind": Kind.VIDEO}, "kind", Unsupported),
        ({"count": 2}, "count", Unsupported),
        ({"format": "gif"}, "format", InvalidValue),
        ({"quality": "best"}, "quality", InvalidValue),
        ({"quality": "0"}, "quality", InvalidValue),
        ({"quality": "9" * 9999}, "quality", InvalidValue),
        ({"width": 20_000}, "width", InvalidValue),
        ({"height": -1}, "height", InvalidValue),
        ({"ratio": "wide"}, "ratio", InvalidValue),
        ({"resolution": "big"}, "resolution", InvalidValue),
    ],
)
def test_submits_that_cannot_be_met_are_refused(
    fields: dict[str, Any], parameter: str, fault: type[BadRequest]
) -> None:
    with pytest.raises(fault) as told:
        Enhance().check(submit(**fields), {})
    assert told.value.parameter == parameter


def test_an_operation_given_twice_is_refused() -> None:
    with pytest.raises(InvalidValue) as told:
        Enhance().check(submit(("denoise", {}), ("denoise", {"type": "strong"})), {})
    assert told.value.parameter == "denoise"


def test_what_check_lets_pass() -> None:
    engine = Enhance()
    engine.check(submit(), {})
    engine.check(submit(prompt="not read", quality="HD", width=0), {"seconds": 3})
    engine.check(submit(*((name, NEEDED.get(name, {})) for name in [*PLAIN, "encode"])), {})
    erase = NEEDED["image_erase_logo"] | {"watermark_type": "", "detect_types": []}
    engine.check(submit(("image_erase_logo", erase)), {})
    engine.check(submit(("ai_expansion", {"aspect_ratio": "", "width": 9})), {})
    engine.check(submit(("encode", {"format": None, "quality": 80.0})), {})


def test_the_order_is_its_own() -> None:
    names = reversed(list(OPERATIONS))
    asked = submit(*((name, NEEDED.get(name, {})) for name in names))
    assert [step.name for step in plan(asked)] == list(OPERATIONS)


# --- the engine ---


async def events_of(engine: Enhance, job: Job) -> list[Any]:
    return [event async for event in engine.run(job)]


async def test_a_run_in_the_child_process_tells_its_progress(tmp_path: Path) -> None:
    scene().save(tmp_path / "source.png")
    steps = Operation(name="denoise"), Operation(name="super_resolution")
    job = a_job(tmp_path, tmp_path / "source.png", *steps, options={"seconds": 0.01})
    first = await events_of(engine := Enhance(), job)
    percents = [event.percent for event in first if isinstance(event, Progress)]
    assert percents == sorted(percents)
    assert percents[:10] == list(range(9, 91, 9))
    assert percents[-1] <= 99
    file = first[-1]
    assert isinstance(file, File)
    assert (file.width, file.height) == (384, 256)
    before = file.path.read_bytes()
    file.path.unlink()
    assert (await events_of(engine, job))[-1] == file
    assert file.path.read_bytes() == before
    assert result(job).path.read_bytes() == before


async def test_a_failure_crosses_from_the_child(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"no picture")
    with pytest.raises(Failed) as told:
        await events_of(Enhance(), a_job(tmp_path, tmp_path / "source"))
    assert told.value.failure.code is FailureCode.INVALID_INPUT


async def test_cancelled_in_the_middle_it_leaves_no_result(tmp_path: Path) -> None:
    source = tmp_path / "source.bmp"
    noisy(Image.new("RGB", (2000, 1500), "gray"), 10).save(source)
    job = a_job(tmp_path / "job", source, Operation(name="denoise"))
    job.folder.mkdir()
    events = Enhance().run(job)
    assert isinstance(await anext(events), Progress)
    following = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)  # it waits for the child now
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
    assert not os.listdir(job.folder)


def test_it_is_found_and_always_built() -> None:
    assert "enhance" in found()
    engine = build("enhance", {})
    assert engine is not None
    assert engine.models[0].name == "enhance"
    assert engine.models[0].max_sources == 1
    assert find({"learned": False}) == Weights()


def test_the_documentation_names_every_operation_option_and_word() -> None:
    text = (Path(__file__).parents[2] / "docs" / "engines" / "enhance.md").read_text("utf-8")
    rows = {line.split("|")[1].strip(" `"): line for line in text.splitlines() if "|" in line}
    for name, options in OPERATIONS.items():
        for option, domain in options.items():
            assert f"`{option}`" in rows[name], name
            if isinstance(domain, Choice):
                assert all(f"`{word}`" in rows[name] for word in domain.values), name
    assert list(OPERATIONS) == [name for name in rows if name in OPERATIONS]
