"""The learned models of the engine `enhance`: each does its work by number, where it is installed.

They come with the extra `enhance`; what is not installed is skipped by its name. What the engine
does without them is tested in `test_enhance.py`.
"""

from __future__ import annotations

import io
from collections.abc import AsyncGenerator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from test_enhance import (
    MARK,
    a_job,
    clear_scene,
    marked,
    noisy,
    numbers,
    opened,
    psnr,
    scene,
    unlike,
)

from safelight.engines import Event, File, Job, Log
from safelight.engines.enhance import learned_scale
from safelight.engines.enhance.engine import Enhance, build, process
from safelight.engines.enhance.tiles import tiled
from safelight.engines.enhance.weights import Weights, find
from safelight.task import Operation

HERE = find({})
LANCZOS = Image.Resampling.LANCZOS


def needs(what: str) -> pytest.MarkDecorator:
    """Skips a test where this is not installed, and says what."""
    return pytest.mark.skipif(not getattr(HERE, what), reason=f"not installed: {what}")


@cache
def leaves(width: int = 256, height: int = 192) -> Image.Image:
    """Leaves that have fallen over each other: statistically, what a photograph is like."""
    chance = np.random.default_rng(3)
    picture = Image.new("RGB", (width * 3, height * 3))
    pen = ImageDraw.Draw(picture)
    for _ in range(1500):
        radius = 9 * chance.pareto(2.0) + 9
        x, y = chance.uniform(0, width * 3), chance.uniform(0, height * 3)
        turns = chance.uniform(0, 6.28) + np.linspace(0, 6.28, 12, endpoint=False)
        away = radius * chance.uniform(0.7, 1.3, 12)
        edge = [(x + r * np.cos(t), y + r * np.sin(t)) for r, t in zip(away, turns, strict=True)]
        green, light = chance.uniform(0, 1), chance.uniform(0.3, 1)
        ink = tuple(int(light * value) for value in (230 - 90 * green, 90 + 110 * green, 70))
        pen.polygon(edge, fill=ink)
    return picture.resize((width, height), Image.Resampling.BOX)


def ssim(picture: Image.Image, original: Image.Image) -> float:
    """How alike two pictures look, up to 1: in brightness, contrast and structure, by place."""
    one, other = (
        np.asarray(given.convert("L")).astype(np.float64) for given in (picture, original)
    )

    def soft(values: NDArray[np.float64]) -> NDArray[np.float64]:
        plane = Image.fromarray(values.astype(np.float32))
        small = plane.resize((plane.width // 4, plane.height // 4), Image.Resampling.BOX)
        return np.asarray(small).astype(np.float64)

    mean, other_mean = soft(one), soft(other)
    spread, other_spread = soft(one * one) - mean**2, soft(other * other) - other_mean**2
    shared = soft(one * other) - mean * other_mean
    bright = (2 * mean * other_mean + 6.5) / (mean**2 + other_mean**2 + 6.5)
    return float((bright * (2 * shared + 58.5) / (spread + other_spread + 58.5)).mean())


class Done(msgspec.Struct):
    """What came of an operation: the picture, and what was logged."""

    picture: Image.Image
    log: str
    media_type: str


def carry_out(
    folder: Path, picture: Image.Image, name: str, weights: Weights = HERE, **options: Any
) -> Done:
    picture.save(folder / "source.png")
    job = a_job(folder, folder / "source.png", Operation(name=name, options=options))
    events = list(process(job, 0, weights))
    file = next(event for event in events if isinstance(event, File))
    log = " ".join(event.text for event in events if isinstance(event, Log))
    return Done(opened(file.path), log, file.media_type)


def as_jpeg(picture: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    with Image.open(file) as decoded:
        return decoded.convert("RGB")


# --- super-resolution ---


@needs("waifu2x")
@pytest.mark.parametrize("times", [2, 4])
def test_waifu2x_is_nearer_to_the_original_than_resampling(tmp_path: Path, times: int) -> None:
    original = leaves()
    small = original.resize((256 // times, 192 // times), Image.Resampling.BOX)
    done = carry_out(tmp_path, small, "super_resolution", type="hq", size=times)
    assert "waifu2x, photo" in done.log
    plain = max(
        (small.resize(original.size, way) for way in (Image.Resampling.BICUBIC, LANCZOS)),
        key=lambda picture: psnr(picture, original),
    )
    assert psnr(done.picture, original) > psnr(plain, original) + 0.7
    assert ssim(done.picture, original) > ssim(plain, original)
    classical = carry_out(tmp_path, small, "super_resolution", Weights(), type="hq", size=times)
    assert "Lanczos" in classical.log
    assert psnr(done.picture, original) > psnr(classical.picture, original)


@needs("waifu2x")
@pytest.mark.parametrize(
    ("spoilt", "network"),
    [(lambda one: as_jpeg(one, 40), "noise"), (lambda one: noisy(one, 8), "noise 3")],
    ids=["compressed", "noisy"],
)
def test_poor_sources_are_cleaned_while_they_grow(
    tmp_path: Path, spoilt: Any, network: str
) -> None:
    original = leaves()
    poor = spoilt(original.resize((128, 96), Image.Resampling.BOX))
    done = carry_out(tmp_path, poor, "super_resolution", type="lq")
    assert network in done.log
    plain = poor.resize(original.size, LANCZOS)
    assert psnr(done.picture, original) > psnr(plain, original) + 0.5
    assert ssim(done.picture, original) > ssim(plain, original)


@needs("realesrgan")
@pytest.mark.parametrize(
    "spoilt", [lambda one: as_jpeg(one, 40), lambda one: noisy(one, 8)], ids=["jpeg", "noise"]
)
def test_real_esrgan_looks_more_like_the_original_than_resampling(
    tmp_path: Path, spoilt: Any
) -> None:
    original = leaves()
    poor = spoilt(original.resize((128, 96), Image.Resampling.BOX))
    done = carry_out(tmp_path, poor, "advanced_super_resolution", type="super")
    assert "Real-ESRGAN, animevideov3" in done.log
    plain = poor.resize(original.size, LANCZOS)
    assert ssim(done.picture, original) > ssim(plain, original) + 0.03


@needs("realesrgan")
def test_the_slow_network_is_kept_for_small_sources(tmp_path: Path) -> None:
    tiny = scene(32, 24)
    options: dict[str, Any] = {"type": "ultra", "mode": "fixed", "width": 128, "height": 96}
    done = carry_out(tmp_path, tiny, "advanced_super_resolution", **options)
    assert "Real-ESRGAN, x4plus" in done.log
    assert psnr(done.picture, scene(128, 96)) > 17  # it draws, but it draws this
    few = msgspec.structs.replace(HERE, slow_pixels=32 * 24 - 1)
    again = carry_out(tmp_path, tiny, "advanced_super_resolution", few, **options)
    assert "Real-ESRGAN, animevideov3" in again.log


@needs("waifu2x")
@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"percent": 1.5}, (72, 48)),
        ({"percent": 5}, (240, 160)),
        ({"mode": "aspect", "width": 100, "height": 100}, (150, 100)),
        ({"mode": "fixed", "width": 100, "height": 40}, (100, 40)),
    ],
)
def test_any_size_is_met(tmp_path: Path, options: dict[str, Any], size: tuple[int, int]) -> None:
    done = carry_out(tmp_path, scene(48, 32), "advanced_super_resolution", **options)
    assert done.picture.size == size
    assert "waifu2x" in done.log


@needs("waifu2x")
def test_what_is_not_to_grow_is_resampled(tmp_path: Path) -> None:
    done = carry_out(tmp_path, scene(), "advanced_super_resolution", percent=0.5)
    assert done.picture.size == (96, 64)
    assert "nothing to enlarge" in done.log


@needs("waifu2x")
def test_pieces_of_a_picture_join_without_a_seam() -> None:
    assert HERE.waifu2x
    colors = np.asarray(noisy(scene(), 10))
    network = learned_scale._FAITHFUL
    loaded = learned_scale._loaded(str(HERE.waifu2x / network.file))

    def run(values: Any) -> Any:
        return learned_scale._run(loaded, network, values)

    pieces = tiled(colors, run, side=50, margin=network.margin, scale=2)
    whole = tiled(colors, run, side=999, margin=network.margin, scale=2)
    assert pieces.shape == (256, 384, 3)
    assert np.abs(pieces.astype(int) - whole).max() <= 1


@needs("waifu2x")
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (9, 1)])
def test_the_smallest_pictures_grow(tmp_path: Path, size: tuple[int, int]) -> None:
    done = carry_out(tmp_path, Image.new("RGB", size, (20, 30, 40)), "super_resolution", size=4)
    assert done.picture.size == (4 * size[0], 4 * size[1])
    assert abs(numbers(done.picture) - (20, 30, 40)).max() < 12


@needs("waifu2x")
def test_clear_pixels_do_not_bleed_into_those_that_are_seen(tmp_path: Path) -> None:
    badge = Image.new("RGBA", (64, 64), (0, 255, 0, 0))
    ImageDraw.Draw(badge).ellipse((8, 8, 56, 56), fill=(200, 40, 40, 255))
    done = carry_out(tmp_path, badge, "super_resolution", type="hq")
    values = np.asarray(done.picture).astype(int)
    seen = values[..., 3] > 128
    assert values.shape == (128, 128, 4)
    assert 0.4 < seen.mean() < 0.5
    assert values[seen][:, 1].max() < 70  # no green from where nothing was


@needs("waifu2x")
@needs("denoiser")
@pytest.mark.parametrize("name", ["super_resolution", "denoise"])
def test_grays_and_alpha_survive(tmp_path: Path, name: str) -> None:
    assert carry_out(tmp_path, scene().convert("L"), name).picture.mode == "L"
    alpha = np.asarray(carry_out(tmp_path, clear_scene(), name).picture.getchannel("A"))
    assert alpha[:, 0].max() < 3 < 252 < alpha[:, -1].min()


# --- denoising ---


@needs("denoiser")
@pytest.mark.parametrize(("deviation", "gain"), [(12, 6), (25, 8), (40, 9)])
def test_denoise_is_nearer_than_the_cosine_transform(
    tmp_path: Path, deviation: float, gain: float
) -> None:
    original = leaves()
    before = noisy(original, deviation)
    done = carry_out(tmp_path, before, "denoise")
    assert "Open Image Denoise" in done.log
    classical = carry_out(tmp_path, before, "denoise", Weights()).picture
    assert psnr(done.picture, original) > psnr(before, original) + gain
    assert ssim(done.picture, original) > max(ssim(classical, original), ssim(before, original))
    assert psnr(done.picture, original) > psnr(classical, original) + 0.5


@needs("denoiser")
def test_little_noise_is_left_to_the_cosine_transform(tmp_path: Path) -> None:
    before = noisy(scene(), 4)
    done = carry_out(tmp_path, before, "denoise")
    assert "cosine" in done.log
    assert not unlike(done.picture, carry_out(tmp_path, before, "denoise", Weights()).picture).any()


# --- erasing ---


@needs("vision")
@pytest.mark.parametrize("kind", ["logo", "text"])
def test_what_is_erased_is_gone_and_the_rest_untouched(tmp_path: Path, kind: str) -> None:
    area = {"type": kind, "area_coord_set": list(MARK)}
    before = marked(scene())
    done = carry_out(tmp_path, before, "image_erase_logo", image_area_boxes=[area])
    assert "OpenCV" in done.log
    outside = np.ones((128, 192), bool)
    outside[MARK[1] : MARK[3], MARK[0] : MARK[2]] = False
    assert not unlike(done.picture, before)[outside].any()
    was, now = (psnr(one.crop(MARK), scene().crop(MARK)) for one in (before, done.picture))
    assert now > was + 5
    smooth = carry_out(tmp_path, before, "image_erase_logo", Weights(), image_area_boxes=[area])
    assert "smooth" in smooth.log


@needs("vision")
def test_a_texture_goes_on_where_something_was_erased(tmp_path: Path) -> None:
    down, across = np.mgrid[0:128, 0:160]
    weave = 128 + 50 * np.sin(across * 0.5) + 30 * np.cos(down * 0.4)
    ground = Image.fromarray(np.repeat(weave[..., None], 3, axis=2).astype(np.uint8))
    box = (60, 50, 90, 72)
    before = ground.copy()
    before.paste("white", box)
    area = [{"area_coord_set": list(box)}]
    learned = carry_out(tmp_path, before, "image_erase_logo", image_area_boxes=area).picture
    smooth = carry_out(
        tmp_path, before, "image_erase_logo", Weights(), image_area_boxes=area
    ).picture
    far, near = (psnr(one.crop(box), ground.crop(box)) for one in (smooth, learned))
    assert near > far + 6


@needs("vision")
def test_a_large_hole_is_filled_in_bounded_time(tmp_path: Path) -> None:
    large = scene(900, 300)
    area = [{"bounding_box": [0.05, 0.4, 0.95, 0.6]}]
    done = carry_out(tmp_path, large, "image_erase_logo", image_area_boxes=area)
    assert unlike(done.picture, large)[125:175, 50:850].mean() > 0.9


# --- cutting out ---


def a_subject() -> tuple[Image.Image, NDArray[np.bool_]]:
    """A ball on a table, and where it is."""
    down, across = np.mgrid[0:240, 0:320]
    ground = np.stack([150 + across * 0.1, 160 - down * 0.1, 150 + down * 0.15], axis=-1)
    ground[down > 170] = (120, 90, 70)
    away = np.hypot(across - 150, down - 120)
    light = 1 - np.hypot(across - 125, down - 90) / 160
    ball = away < 70
    ground[ball] = (light[..., None] * (230, 60, 40))[ball]
    return noisy(Image.fromarray(ground.clip(0, 255).astype(np.uint8)), 3), ball


def overlap(alpha: Image.Image, place: NDArray[np.bool_]) -> float:
    """What the two have in common, of all that either has."""
    found = np.asarray(alpha) > 127
    return float((found & place).sum() / (found | place).sum())


@needs("subject")
def test_the_subject_is_cut_out(tmp_path: Path) -> None:
    picture, ball = a_subject()
    done = carry_out(tmp_path, picture, "ai_cutout", model="cutout-1.0-lite")
    assert "U2-Net" in done.log
    assert done.picture.mode == "RGBA"
    assert overlap(done.picture.getchannel("A"), ball) > 0.93
    assert not unlike(done.picture, picture).any()  # the colours stay


@needs("vision")
def test_without_the_network_the_colours_tell_the_subject(tmp_path: Path) -> None:
    picture, ball = a_subject()
    few = msgspec.structs.replace(HERE, subject=None)
    done = carry_out(tmp_path, picture, "ai_cutout", few)
    assert "GrabCut" in done.log
    assert overlap(done.picture.getchannel("A"), ball) > 0.85


@needs("vision")
def test_what_is_cut_out_is_written_with_its_alpha(tmp_path: Path) -> None:
    picture, _ = a_subject()
    picture.save(tmp_path / "source.jpg", quality=95)
    cut = Operation(name="ai_cutout")
    for form, expected in ((None, "image/png"), ("webp", "image/webp"), ("avif", "image/avif")):
        encode = (Operation(name="encode", options={"format": form}),) if form else ()
        job = a_job(tmp_path, tmp_path / "source.jpg", cut, *encode)
        file = next(event for event in process(job, 0, HERE) if isinstance(event, File))
        assert file.media_type == expected
        assert opened(file.path).getchannel("A").getextrema() == (0, 255)


@needs("vision")
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (9, 1), (40, 30)])
def test_a_plain_picture_is_cut_out_somehow(tmp_path: Path, size: tuple[int, int]) -> None:
    for weights in (HERE, msgspec.structs.replace(HERE, subject=None)):
        done = carry_out(tmp_path, Image.new("RGB", size, "gray"), "ai_cutout", weights)
        assert (done.picture.mode, done.picture.size) == ("LA", size) or done.picture.mode == "RGBA"


@needs("vision")
def test_what_was_clear_stays_clear(tmp_path: Path) -> None:
    picture, _ = a_subject()
    picture.putalpha(Image.new("L", picture.size, 0))
    done = carry_out(tmp_path, picture, "ai_cutout")
    assert done.picture.getchannel("A").getextrema() == (0, 0)


# --- the engine with them ---


async def test_a_run_names_in_its_log_what_did_the_work(tmp_path: Path) -> None:
    noisy(scene(), 25).save(tmp_path / "source.png")
    steps = Operation(name="denoise"), Operation(name="super_resolution")
    job = a_job(tmp_path, tmp_path / "source.png", *steps)
    for settings, words in (({"learned": False}, "not installed"), ({}, "")):
        engine = build(settings)
        log = [event.text async for event in run(engine, job) if isinstance(event, Log)]
        assert [line.partition(":")[0] for line in log] == ["denoise", "super_resolution"]
        assert all(words in line for line in log)


@needs("waifu2x")
async def test_the_same_task_makes_the_same_bytes(tmp_path: Path) -> None:
    noisy(scene(), 10).save(tmp_path / "source.png")
    job = a_job(tmp_path, tmp_path / "source.png", Operation(name="super_resolution"))
    engine, written = build({}), []
    for _ in range(2):
        (file,) = [event async for event in run(engine, job) if isinstance(event, File)]
        written.append(file.path.read_bytes())
    assert written[0] == written[1]


async def run(engine: Enhance, job: Job) -> AsyncGenerator[Event]:
    async for event in engine.run(job):
        yield event


@needs("vision")
def test_weights_of_the_operator_are_found_first(tmp_path: Path) -> None:
    (tmp_path / "u2netp.onnx").write_bytes(b"")
    assert find({"weights": str(tmp_path)}).subject == tmp_path / "u2netp.onnx"
    assert find({"weights": str(tmp_path / "nowhere")}).subject == HERE.subject


@needs("waifu2x")
def test_a_network_that_cannot_be_read_is_told_and_done_without(tmp_path: Path) -> None:
    broken = Weights(waifu2x=tmp_path)  # there is no such network in it
    done = carry_out(tmp_path, scene(48, 32), "super_resolution", broken)
    assert "cannot be read" in done.log
    assert done.picture.size == (96, 64)
