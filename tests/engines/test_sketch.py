"""The drawing engine: exactly what was asked for, worth looking at, and the same every time."""

from __future__ import annotations

import asyncio
import os
import struct
import time
import zlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from safelight import engines
from safelight.engines import Event, Failed, File, Given, Job, Log, Progress
from safelight.engines.sketch.engine import Sketch, build
from safelight.engines.sketch.palettes import PALETTES, SCENES, generator, imagine
from safelight.engines.sketch.scenes import PAINTERS
from safelight.errors import Fault, InvalidValue, Unsupported
from safelight.task import FailureCode, Kind, Operation, Role, Source, Status, Submit, Task

Pixels = NDArray[np.int16]


@pytest.fixture(scope="module")
def sketch() -> Sketch:
    return build({})


def job(folder: Path, submit: Submit, *sources: Given, seed: int = 7, **rest: Any) -> Job:
    task = Task(id="0" * 24, status=Status.RUNNING, submit=submit, seed=seed)
    folder.mkdir(exist_ok=True)
    return Job(task=task, folder=folder, sources=sources, **rest)


async def events(sketch: Sketch, work: Job) -> list[Event]:
    return [event async for event in sketch.run(work)]


async def files(sketch: Sketch, work: Job) -> list[File]:
    return [event for event in await events(sketch, work) if isinstance(event, File)]


def decoded(path: Path) -> Pixels:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(np.int16)


def as_image(path: Path, role: Role = Role.IMAGE) -> Given:
    return Given(path=path, role=role, media_type="image/png")


def small(prompt: str = "the sea at sunset", **more: Any) -> Submit:
    return Submit(**{"model": "sketch", "prompt": prompt, "width": 96, "height": 64, **more})


def film(**more: Any) -> Submit:
    wanted = {"kind": Kind.VIDEO, "prompt": "hills", "width": 160, "height": 90, "fps": 10}
    return Submit(**{**wanted, "duration": 1.0, **more})


def watch(path: Path) -> list[Pixels]:
    """The frames of a film."""
    with av.open(str(path)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return [picture.astype(np.int16) for picture in pictures]


def difference(one: Pixels, other: Pixels) -> float:
    return float(np.abs(one - other).mean())


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source with large parts that can be told apart: red, green, blue, and a white disc."""
    path = tmp_path_factory.mktemp("sources") / "photo.png"
    image = Image.new("RGB", (160, 90), (190, 40, 40))
    pen = ImageDraw.Draw(image)
    pen.rectangle((54, 0, 106, 90), fill=(40, 160, 60))
    pen.rectangle((107, 0, 160, 90), fill=(40, 60, 180))
    pen.ellipse((60, 25, 100, 65), fill=(250, 250, 250))
    image.save(path)
    return path


@pytest.fixture(scope="module")
def other_photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sources") / "other.png"
    Image.new("RGB", (90, 90), (230, 200, 30)).save(path)
    return path


# --- pictures


def test_it_is_found_and_needs_no_setting() -> None:
    engine = engines.build("sketch", {})
    assert engine is not None
    assert [card.name for card in engine.models] == ["sketch", "sketch-video"]
    assert [card.kind for card in engine.models] == [Kind.IMAGE, Kind.VIDEO]


@pytest.mark.parametrize(
    ("format", "pillow", "media_type"),
    [
        (None, "PNG", "image/png"),
        ("png", "PNG", "image/png"),
        ("jpeg", "JPEG", "image/jpeg"),
        ("JPG", "JPEG", "image/jpeg"),
        ("webp", "WEBP", "image/webp"),
        ("bmp", "BMP", "image/bmp"),
    ],
)
async def test_size_count_and_format_are_those_asked_for(
    sketch: Sketch, tmp_path: Path, format: str | None, pillow: str, media_type: str
) -> None:
    made = await files(sketch, job(tmp_path, small(format=format, count=3, width=97)))
    assert len({file.path for file in made}) == 3
    for file in made:
        assert (file.media_type, file.width, file.height) == (media_type, 97, 64)
        assert file.path.parent == tmp_path
        with Image.open(file.path) as image:
            image.load()
            assert (image.format, image.size) == (pillow, (97, 64))
    assert len({file.path.read_bytes() for file in made}) == 3


async def test_a_size_by_words(sketch: Sketch, tmp_path: Path) -> None:
    [file] = await files(sketch, job(tmp_path, Submit(prompt="x", ratio="9:16", resolution="180p")))
    assert decoded(file.path).shape == (320, 180, 3)


async def test_the_same_seed_makes_the_same_bytes(sketch: Sketch, tmp_path: Path) -> None:
    made = [
        await files(sketch, job(tmp_path / name, small(count=2), seed=seed))
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    one, again, other = ([file.path.read_bytes() for file in run] for run in made)
    assert one == again
    assert not set(one) & set(other)


async def test_other_words_make_another_picture(sketch: Sketch, tmp_path: Path) -> None:
    prompts = ["a city at night", "a city at dawn", "zyxw", "wxyz", ""]
    made = [
        (await files(sketch, job(tmp_path / str(at), small(prompt))))[0]
        for at, prompt in enumerate(prompts)
    ]
    pictures = [decoded(file.path) for file in made]
    for at, one in enumerate(pictures):
        assert all(difference(one, other) > 5 for other in pictures[at + 1 :])


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("seed", [1, 2])
async def test_a_picture_is_neither_flat_nor_noise(
    sketch: Sketch, tmp_path: Path, scene: str, seed: int
) -> None:
    word = {"garden": "flower", "shapes": "abstract", "hills": "hill", "ribbons": "music"}
    submit = small(word.get(scene, scene), width=160, height=160)
    [file] = await files(sketch, job(tmp_path, submit, seed=seed))
    grey = decoded(file.path).mean(axis=2)
    assert grey.std() > 12
    assert 3.5 < _entropy(grey) < 8
    neighbours = np.corrcoef(grey[:, 1:].ravel(), grey[:, :-1].ravel())[0, 1]
    assert neighbours > 0.75


def _entropy(grey: NDArray[np.floating[Any]]) -> float:
    counts = np.bincount(grey.astype(int).ravel(), minlength=256) / grey.size
    counts = counts[counts > 0]
    return float(-(counts * np.log2(counts)).sum())


@pytest.mark.parametrize(
    ("prompt", "scene", "palette"),
    [
        ("The Sea at sunset", "sea", "sunset"),
        ("mountains, winter morning", "hills", "winter"),
        ("neon cyberpunk city", "city", "neon"),
        ("a golden portrait", "portrait", None),
        ("夜晚的城市", "city", "night"),
        ("two tulips, pink", "garden", "rose"),
    ],
)
def test_words_choose_scene_and_colours(prompt: str, scene: str, palette: str | None) -> None:
    idea = imagine(prompt, None, generator(1))
    assert idea.scene == scene
    assert palette in (None, idea.palette)


def test_unknown_words_choose_by_themselves_and_not_by_chance() -> None:
    scenes = {
        word: {imagine(word, None, generator(seed)).scene for seed in range(5)}
        for word in ("qwertz", "asdfg", "yxcvb", "poiuz", "lkjhg")
    }
    assert all(len(found) == 1 for found in scenes.values())
    assert len(set.union(*scenes.values())) > 1


def test_what_is_unwanted_is_not_drawn() -> None:
    assert imagine("a city by the sea", None, generator(1)).scene == "city"
    assert imagine("a city by the sea", "city", generator(1)).scene == "sea"


def test_every_scene_has_a_painter_and_every_figure_a_place() -> None:
    assert set(PAINTERS) == set(SCENES)
    for seed in range(20):
        assert imagine("", None, generator(seed)).palette in PALETTES


@pytest.mark.parametrize("figure", ["cat", "bird", "boat", "balloon", "house", "oak", "lighthouse"])
async def test_figures_change_the_picture(sketch: Sketch, tmp_path: Path, figure: str) -> None:
    prompt = f"{figure} sea snow"
    [file] = await files(sketch, job(tmp_path, small(prompt, width=200, height=120)))
    assert decoded(file.path).std() > 12


async def test_progress_is_true_and_leaves_the_end_to_the_worker(
    sketch: Sketch, tmp_path: Path
) -> None:
    said = await events(sketch, job(tmp_path, small(count=4)))
    percents = [event.percent for event in said if isinstance(event, Progress)]
    assert percents == sorted(percents)
    assert len(percents) >= 4
    assert percents[0] > 0
    assert percents[-1] == 99


async def test_the_option_seconds_stretches_a_task(sketch: Sketch, tmp_path: Path) -> None:
    started = time.monotonic()
    said = await events(sketch, job(tmp_path, small(), options={"seconds": 0.2}))
    assert time.monotonic() - started >= 0.2
    percents = [event.percent for event in said if isinstance(event, Progress)]
    assert percents[:10] == [5, 10, 15, 20, 25, 30, 35, 40, 45, 50]
    assert percents == sorted(percents)
    assert percents[-1] == 99


# --- pictures from pictures


async def test_a_source_keeps_its_size_and_can_be_told(
    sketch: Sketch, tmp_path: Path, photo: Path
) -> None:
    [file] = await files(sketch, job(tmp_path, Submit(prompt="gold"), as_image(photo)))
    picture, source = decoded(file.path), decoded(photo)
    assert picture.shape == source.shape
    assert difference(picture, source) > 3
    grey, was = picture.mean(axis=2).ravel(), source.mean(axis=2).ravel()
    assert np.corrcoef(grey, was)[0, 1] > 0.7


async def test_several_sources_are_composed(
    sketch: Sketch, tmp_path: Path, photo: Path, other_photo: Path
) -> None:
    given = [as_image(photo), as_image(other_photo)]
    [file] = await files(sketch, job(tmp_path, small(), *given))
    picture = decoded(file.path)
    left, right = picture[20:44, 8:24].mean((0, 1)), picture[20:44, 72:88].mean((0, 1))
    assert left[0] > left[1] * 1.2  # red, of the one
    assert right[1] > right[2] * 1.2  # yellow, of the other


@pytest.mark.parametrize("mode", ["RGBA", "L"])
async def test_a_mask_says_what_is_repainted(
    sketch: Sketch, tmp_path: Path, photo: Path, mode: str
) -> None:
    mask = Image.new(mode, (160, 90), (0, 0, 0, 255) if mode == "RGBA" else 0)
    mask.paste((0, 0, 0, 0) if mode == "RGBA" else 255, (0, 0, 80, 90))
    mask.save(tmp_path / "mask.png")
    given = [as_image(photo), as_image(tmp_path / "mask.png", Role.MASK)]
    [file] = await files(sketch, job(tmp_path, Submit(prompt="sea"), *given))
    picture, source = decoded(file.path), decoded(photo)
    assert np.array_equal(picture[:, 80:], source[:, 80:])
    assert difference(picture[:, :76], source[:, :76]) > 20


async def test_sources_are_seen_upright_and_on_white(sketch: Sketch, tmp_path: Path) -> None:
    clear = Image.new("RGBA", (40, 80), (0, 0, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    clear.save(tmp_path / "clear.png", exif=exif)
    [file] = await files(sketch, job(tmp_path, Submit(prompt=""), as_image(tmp_path / "clear.png")))
    picture = decoded(file.path)
    assert picture.shape == (40, 80, 3)
    assert picture.mean() > 150


# --- films


async def test_a_film_is_what_was_asked_for(sketch: Sketch, tmp_path: Path) -> None:
    submit = film(duration=1.5, fps=12, count=2)
    made = await files(sketch, job(tmp_path, submit))
    assert len({file.path.read_bytes() for file in made}) == 2
    for file in made:
        assert (file.media_type, file.width, file.height) == ("video/mp4", 160, 90)
        assert file.duration == 1.5
        with av.open(str(file.path)) as container:
            stream = container.streams.video[0]
            assert stream.codec_context.name == "h264"
            assert stream.pix_fmt == "yuv420p"
            assert (stream.width, stream.height) == (160, 90)
            assert stream.average_rate == Fraction(12)
            assert container.duration == 1.5 * av.time_base
            assert not container.streams.audio
        assert len(watch(file.path)) == 18


async def test_a_film_moves_smoothly(sketch: Sketch, tmp_path: Path) -> None:
    [file] = await files(sketch, job(tmp_path, film(prompt="the sea", duration=2.0)))
    frames = watch(file.path)
    steps = [difference(one, other) for one, other in pairwise(frames)]
    assert difference(frames[0], frames[-1]) > 4
    assert max(steps) < difference(frames[0], frames[-1])
    assert sum(step > 0.05 for step in steps) > len(steps) * 0.9


async def test_a_film_plays_before_it_is_whole(sketch: Sketch, tmp_path: Path) -> None:
    [file] = await files(sketch, job(tmp_path, film(duration=0.5)))
    content = file.path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


async def test_the_same_seed_makes_the_same_film(sketch: Sketch, tmp_path: Path) -> None:
    submit = film(audio=True, prompt="snow forest")
    one = await files(sketch, job(tmp_path / "a", submit))
    again = await files(sketch, job(tmp_path / "b", submit))
    assert one[0].path.read_bytes() == again[0].path.read_bytes()


async def test_a_film_sounds_if_asked_to(sketch: Sketch, tmp_path: Path) -> None:
    said = await events(sketch, job(tmp_path, film(audio=True)))
    [file] = [event for event in said if isinstance(event, File)]
    assert any(isinstance(event, Log) for event in said)
    with av.open(str(file.path)) as container:
        stream = container.streams.audio[0]
        assert stream.codec_context.name == "aac"
        sound = np.concatenate([frame.to_ndarray() for frame in container.decode(stream)], axis=1)
    assert abs(sound.shape[1] / 44_100 - 1.0) < 0.1
    assert 0.005 < float(np.abs(sound).mean()) < 0.5


async def test_a_film_begins_with_its_first_frame(
    sketch: Sketch, tmp_path: Path, photo: Path
) -> None:
    for role in (Role.FIRST_FRAME, Role.IMAGE):
        [file] = await files(sketch, job(tmp_path, film(), as_image(photo, role)))
        frames = watch(file.path)
        assert difference(frames[0], decoded(photo)) < 8
        assert difference(frames[-1], decoded(photo)) > 10


async def test_a_film_ends_with_its_last_frame(
    sketch: Sketch, tmp_path: Path, photo: Path, other_photo: Path
) -> None:
    ends = as_image(photo, Role.FIRST_FRAME), as_image(other_photo, Role.LAST_FRAME)
    yellow = np.full((90, 160, 3), (230, 200, 30), np.int16)
    for given in (ends, ends[1:]):
        [file] = await files(sketch, job(tmp_path, film(), *given))
        frames = watch(file.path)
        assert difference(frames[-1], yellow) < 8
        assert difference(frames[0], yellow) > 20


async def test_a_film_takes_the_ratio_of_its_source(sketch: Sketch, tmp_path: Path) -> None:
    Image.new("RGB", (61, 91)).save(tmp_path / "odd.png")
    submit = Submit(kind=Kind.VIDEO, ratio="auto", resolution="100p", duration=0.2, fps=5)
    [file] = await files(sketch, job(tmp_path, submit, as_image(tmp_path / "odd.png")))
    assert watch(file.path)[0].shape == (150, 100, 3)


async def test_a_film_too_large_by_its_source_is_refused(sketch: Sketch, tmp_path: Path) -> None:
    Image.new("RGB", (300, 30)).save(tmp_path / "wide.png")
    submit = Submit(kind=Kind.VIDEO, resolution="720p", duration=60, fps=60)
    sketch.check(submit, {})
    with pytest.raises(Failed, match="too much"):
        await files(sketch, job(tmp_path, submit, as_image(tmp_path / "wide.png")))


# --- leaving


async def test_cancelling_leaves_nothing_behind(sketch: Sketch, tmp_path: Path) -> None:
    processes = _children()
    began = asyncio.Event()

    async def work() -> None:
        submit = film(duration=60, width=640, height=360, fps=10)
        run = cast("AsyncGenerator[Event]", sketch.run(job(tmp_path, submit)))
        async with aclosing(run) as said:
            async for _ in said:
                began.set()

    task = asyncio.create_task(work())
    await began.wait()
    assert len(_children()) >= len(processes)
    started = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - started < 1
    assert _children() <= processes
    size = _bytes_in(tmp_path)
    [file] = await files(sketch, job(tmp_path / "next", small()))
    assert file.path.exists()
    assert size == _bytes_in(tmp_path)  # nothing wrote on


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def _children() -> set[int]:
    """The processes that this one has, dead and unreaped ones too."""
    found: set[int] = set()
    for thread in Path(f"/proc/{os.getpid()}/task").iterdir():
        with suppress(FileNotFoundError):  # a thread that has just ended
            found |= {int(word) for word in (thread / "children").read_text().split()}
    return found


# --- refusing


def _png(width: int, height: int) -> bytes:
    """A picture that says it is large, and has next to no bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (_png(30_000, 30_000), "pixels"),
        (_png(5000, 5000), "pixels"),
        (_png(64, 64), "broken"),
        (b"", "not a picture"),
        (b"GIF89a", "not a picture|broken"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not a picture"),
        (b"P6 4 4 255\n" + b"\0" * 48, "not a picture"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00", "not a picture|broken"),
    ],
)
async def test_bombs_and_garbage_are_refused(
    sketch: Sketch, tmp_path: Path, content: bytes, sentence: str
) -> None:
    path = tmp_path / "source"
    path.write_bytes(content)
    for submit in (small(), film()):
        with pytest.raises(Failed, match=sentence) as caught:
            await events(sketch, job(tmp_path, submit, as_image(path)))
        assert caught.value.failure.code is FailureCode.INVALID_INPUT
        assert str(tmp_path) not in caught.value.failure.message


def _first_half(path: Path) -> bytes:
    content = path.read_bytes()
    return content[: len(content) // 2]


async def test_a_truncated_picture_is_refused(sketch: Sketch, tmp_path: Path, photo: Path) -> None:
    path = tmp_path / "half.png"
    path.write_bytes(_first_half(photo))
    with pytest.raises(Failed, match="broken"):
        await events(sketch, job(tmp_path, small(), as_image(path)))


async def test_pixels_are_limited_by_the_job(sketch: Sketch, tmp_path: Path, photo: Path) -> None:
    with pytest.raises(Failed, match="at most 1000 pixels"):
        await events(sketch, job(tmp_path, small(), as_image(photo), max_pixels=1000))
    with pytest.raises(Failed, match="96x64"):
        await events(sketch, job(tmp_path, small(), max_pixels=1000))


@pytest.mark.parametrize(
    ("submit", "parameter", "fault"),
    [
        (Submit(width=8200, height=100), "width", InvalidValue),
        (Submit(width=100, height=15), "height", InvalidValue),
        (Submit(width=-5), "width", InvalidValue),
        (Submit(width=8000, height=8000), "width", InvalidValue),
        (Submit(resolution="8K"), "resolution", InvalidValue),
        (Submit(resolution="big"), "resolution", InvalidValue),
        (Submit(ratio="wide"), "ratio", InvalidValue),
        (Submit(ratio="1000:1"), "ratio", InvalidValue),
        (Submit(count=0), "count", InvalidValue),
        (Submit(count=17), "count", InvalidValue),
        (Submit(format="tiff"), "format", InvalidValue),
        (Submit(format="mp4"), "format", InvalidValue),
        (film(format="png"), "format", InvalidValue),
        (film(duration=0), "duration", InvalidValue),
        (film(duration=60.5), "duration", InvalidValue),
        (film(duration=float("nan")), "duration", InvalidValue),
        (film(fps=0), "fps", InvalidValue),
        (film(fps=61), "fps", InvalidValue),
        (film(width=161), "width", InvalidValue),
        (film(width=3840, height=2160, duration=60, fps=60), "duration", InvalidValue),
        (Submit(operations=(Operation(name="upscale"),)), "operations", Unsupported),
        (Submit(sources=(Source(role=Role.VIDEO, url="x"),)), "sources.0", Unsupported),
        (Submit(sources=(Source(role=Role.MASK, url="x"),)), "sources.0", Unsupported),
        (Submit(sources=(Source(url="x"),) * 5), "sources", InvalidValue),
        (
            Submit(sources=(Source(role=Role.FIRST_FRAME, url="x"),) * 2),
            "sources",
            InvalidValue,
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused_by_name(
    sketch: Sketch, submit: Submit, parameter: str, fault: type[Fault]
) -> None:
    with pytest.raises(fault) as caught:
        sketch.check(submit, {})
    assert caught.value.parameter == parameter
    assert caught.value.message.startswith(parameter)


def test_the_largest_size_is_an_option(sketch: Sketch) -> None:
    sketch.check(Submit(width=4096, height=4096), {})
    with pytest.raises(InvalidValue):
        sketch.check(Submit(width=1024, height=1024), {"max_pixels": 1_000_000})


@pytest.mark.parametrize("submits", [[Submit(), small(count=16), film(), film(duration=None)]])
def test_what_can_be_drawn_is_accepted(sketch: Sketch, submits: Sequence[Submit]) -> None:
    options: Mapping[str, Any] = {}
    for submit in submits:
        sketch.check(submit, options)
