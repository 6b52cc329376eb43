"""Local models: tiny real pipelines, loaded and run by the real code, in a device's own process."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, cast

import av
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from safelight.client import AsyncClient
from safelight.config import ModelRule, Settings
from safelight.engines import Event, Failed, File, Given, Job, Log, Preview, Progress, Waiting
from safelight.engines.diffusion.engine import Diffusion, build
from safelight.models import ModelMap
from safelight.server.opening import open_app
from safelight.task import FailureCode, Kind, Role, Source, Status, Submit, Task

if find_spec("diffusers") is None or find_spec("torch") is None:
    pytest.skip('needs the extra: pip install "safelight[diffusion]"', allow_module_level=True)

SETTINGS = {"devices": ["cpu"], "offline": True, "threads": 1}
LONG = 900  # steps, of a dozen milliseconds or so
SIDE = 64  # what the tiny picture model was made for
Pixels = NDArray[np.int16]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of the tiny pipelines; made by another process, which keeps PyTorch to itself."""
    folder = tmp_path_factory.mktemp("models")
    program = Path(__file__).parents[1] / "pipelines.py"
    quiet = {**os.environ, "TRANSFORMERS_VERBOSITY": "error", "DIFFUSERS_VERBOSITY": "error"}
    subprocess.run([sys.executable, program, folder], check=True, env=quiet)
    return folder


@pytest.fixture(scope="module")
def engine() -> Iterator[Diffusion]:
    """One for most tests, so that its process loads each model once."""
    one = build(SETTINGS)
    yield one
    asyncio.run(one.close())


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sources") / "photo.png"
    image = Image.new("RGB", (80, 64), (190, 40, 40))
    ImageDraw.Draw(image).rectangle((40, 0, 80, 64), fill=(40, 60, 180))
    image.save(path)
    return path


@pytest.fixture(scope="module")
def mask(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Open on the right half."""
    path = tmp_path_factory.mktemp("sources") / "mask.png"
    image = Image.new("RGBA", (80, 64), (0, 0, 0, 255))
    ImageDraw.Draw(image).rectangle((40, 0, 80, 64), fill=(0, 0, 0, 0))
    image.save(path)
    return path


class Run:
    """Tasks of one model in the folder of a test."""

    def __init__(self, engine: Diffusion, folder: Path, pipeline: Path, **options: Any) -> None:
        self.engine = engine
        self.folder = folder
        self.options: Mapping[str, Any] = {"pipeline": str(pipeline), "steps": 4, **options}

    def but(self, **options: Any) -> Run:
        """The same with other options."""
        return Run(self.engine, self.folder, **{**self.options, **options})

    def job(self, submit: Submit, *sources: Given, seed: int = 7) -> Job:
        self.engine.check(submit, self.options)
        folder = Path(mkdtemp(dir=self.folder))
        task = Task(id="0" * 24, status=Status.RUNNING, submit=submit, seed=seed)
        return Job(task=task, folder=folder, sources=sources, options=dict(self.options))

    async def events(self, submit: Submit, *sources: Given, seed: int = 7) -> list[Event]:
        return [event async for event in self.engine.run(self.job(submit, *sources, seed=seed))]

    async def files(self, submit: Submit, *sources: Given, seed: int = 7) -> list[File]:
        events = await self.events(submit, *sources, seed=seed)
        return [event for event in events if isinstance(event, File)]

    async def bytes(self, submit: Submit, *sources: Given, seed: int = 7) -> bytes:
        [file] = await self.files(submit, *sources, seed=seed)
        return file.path.read_bytes()


@pytest.fixture
def pictures(engine: Diffusion, models: Path, tmp_path: Path) -> Run:
    return Run(engine, tmp_path, models / "pictures")


@pytest.fixture
def films(engine: Diffusion, models: Path, tmp_path: Path) -> Run:
    return Run(engine, tmp_path, models / "films", fps=8, steps=2)


def small(prompt: str = "a lighthouse", **more: Any) -> Submit:
    return Submit(**{"model": "tiny", "prompt": prompt, "width": SIDE, "height": SIDE, **more})


def film(**more: Any) -> Submit:
    wanted = {"kind": Kind.VIDEO, "prompt": "waves", "width": 100, "height": 80, "duration": 1.0}
    return Submit(**{**wanted, **more})


def editing(*roles: Role, **more: Any) -> Submit:
    sources = tuple(Source(role=role, blob="x") for role in roles)
    return Submit(prompt="a lighthouse", sources=sources, **more)


def lines(events: list[Event]) -> str:
    return "\n".join(event.text for event in events if isinstance(event, Log))


def decoded(path: Path) -> Pixels:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(np.int16)


def device_process() -> int:
    """The process of ours that has loaded PyTorch."""
    task = Path(f"/proc/{os.getpid()}/task")
    children = [pid for thread in task.iterdir() for pid in _children(thread)]
    [process] = [pid for pid in children if "libtorch" in Path(f"/proc/{pid}/maps").read_text()]
    return process


def memory_of(process: int) -> int:
    """The address space that a process has, in bytes."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmSize:")[2].split()[0]) * 1024


def _children(thread: Path) -> list[int]:
    return [int(word) for word in (thread / "children").read_text().split()]


# --- pictures


async def test_a_picture_has_the_size_count_and_format_asked_for(pictures: Run) -> None:
    made = await pictures.files(small(width=101, height=70, count=2, format="jpeg"))

    assert [(file.media_type, file.width, file.height) for file in made] == [
        ("image/jpeg", 101, 70)
    ] * 2
    assert [decoded(file.path).shape for file in made] == [(70, 101, 3)] * 2
    assert made[0].path.read_bytes() != made[1].path.read_bytes()


async def test_where_nothing_is_said_the_model_chooses_its_size(pictures: Run) -> None:
    [file] = await pictures.files(Submit(prompt="a lighthouse"))

    assert (file.width, file.height) == (SIDE, SIDE)


async def test_the_same_seed_makes_the_same_bytes(pictures: Run) -> None:
    first = await pictures.bytes(small())

    assert await pictures.bytes(small()) == first
    assert await pictures.bytes(small(), seed=8) != first
    assert await pictures.bytes(small("a fox")) != first
    assert await pictures.bytes(small(negative="a fox")) != first


async def test_options_reach_the_pipeline(pictures: Run) -> None:
    plain = await pictures.bytes(small())
    others: tuple[dict[str, Any], ...] = (
        {"guidance": 2.0},
        {"steps": 3},
        {"negative": "a fox"},
        {"arguments": {"guidance_rescale": 0.7}},
    )
    for options in others:
        assert await pictures.but(**options).bytes(small()) != plain, options


async def test_a_batch_makes_as_many_pictures(pictures: Run) -> None:
    made = await pictures.but(batch=2).files(small(count=3))

    assert len({file.path.read_bytes() for file in made}) == 3


async def test_a_large_picture_is_made_smaller_and_enlarged(pictures: Run) -> None:
    events = await pictures.but(max_pixels=SIDE * SIDE).events(small(width=200, height=200))

    assert f"{SIDE}x{SIDE}" in lines(events)
    [file] = [event for event in events if isinstance(event, File)]
    assert decoded(file.path).shape == (200, 200, 3)


async def test_a_picture_from_a_picture(pictures: Run, photo: Path) -> None:
    events = await pictures.events(editing(Role.IMAGE), Given(path=photo))

    assert "Img2Img" in lines(events)
    [file] = [event for event in events if isinstance(event, File)]
    assert (file.width, file.height) == (80, 64)


async def test_an_edit_keeps_what_the_mask_does_not_open(
    pictures: Run, photo: Path, mask: Path
) -> None:
    sources = Given(path=photo), Given(path=mask, role=Role.MASK)
    [file] = await pictures.files(editing(Role.IMAGE, Role.MASK), *sources)

    before, after = decoded(photo), decoded(file.path)
    assert (before[:, :40] == after[:, :40]).all()
    assert (before[:, 44:] != after[:, 44:]).any()


# --- films


async def test_a_film_has_the_size_length_and_pace_asked_for(films: Run) -> None:
    [file] = await films.files(film(fps=12))

    assert (file.media_type, file.width, file.height, file.duration) == ("video/mp4", 100, 80, 1.0)
    with av.open(str(file.path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert container.streams.video[0].average_rate == 12
    assert len(frames) == 12
    assert frames[0].shape == (80, 100, 3)
    assert await films.bytes(film(fps=12)) == file.path.read_bytes()


async def test_a_film_from_a_picture(films: Run, photo: Path) -> None:
    sources = (Source(role=Role.FIRST_FRAME, blob="x"),)
    first = Given(path=photo, role=Role.FIRST_FRAME)
    events = await films.events(film(sources=sources), first)

    assert "ImageToVideo" in lines(events)
    assert [event.duration for event in events if isinstance(event, File)] == [1.0]


# --- while it works


async def test_each_step_is_told_and_so_is_what_is_done(pictures: Run) -> None:
    events = await pictures.events(small(count=2))

    percents = [event.percent for event in events if isinstance(event, Progress)]
    assert percents == sorted(percents)
    assert len(percents) >= 2 * 4
    assert percents[-1] == 99
    assert isinstance(events[0], Waiting)
    assert "Runs on cpu" in lines(events)
    assert "seed 7" in lines(events)


async def test_a_pipeline_that_calls_nobody_back_tells_its_steps_too(
    engine: Diffusion, models: Path, tmp_path: Path
) -> None:
    run = Run(engine, tmp_path, models / "noise", steps=5)
    events = await run.events(Submit(prompt="x", width=50, height=40))

    percents = [event.percent for event in events if isinstance(event, Progress)]
    assert percents == sorted(percents)
    assert len(percents) > 5
    assert [(one.width, one.height) for one in events if isinstance(one, File)] == [(50, 40)]


async def test_a_long_task_shows_what_it_has(pictures: Run) -> None:
    run = pictures.but(steps=LONG)
    seen: list[float] = []
    async with aclosing(cast(Any, run.engine.run(run.job(small(count=16))))) as events:
        async for event in events:
            if isinstance(event, Preview):
                seen.append(time.monotonic())
                with Image.open(event.path) as image:
                    assert (image.format, image.size) == ("JPEG", (SIDE, SIDE))
            if len(seen) == 2:
                break

    assert seen[1] - seen[0] >= 0.9


async def test_a_canceled_task_stops_at_once_and_its_model_stays(pictures: Run) -> None:
    await pictures.events(small())
    process = device_process()
    long = pictures.but(steps=LONG)
    began = asyncio.Event()

    async def work() -> None:
        async for event in long.engine.run(long.job(small())):
            if isinstance(event, Progress):
                began.set()

    task = asyncio.create_task(work())
    await began.wait()
    at = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert time.monotonic() - at < 4
    assert "Loads" not in lines(await pictures.events(small()))
    assert device_process() == process


async def test_one_computes_while_others_wait(pictures: Run) -> None:
    order: list[str] = []

    async def work(name: str) -> None:
        async for event in pictures.engine.run(pictures.job(small())):
            if isinstance(event, Log | Progress):
                order.append(name)

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for name in "abc":
            group.create_task(work(name))

    first = [order.index(name) for name in "abc"]
    computed = [name for name in order if name == "a"]
    assert first == sorted(first)
    assert order[: len(computed) - 1] == ["a"] * (len(computed) - 1)


# --- memory


async def test_the_model_used_the_longest_ago_is_given_up(models: Path, tmp_path: Path) -> None:
    engine = build({**SETTINGS, "memory_gb": 0.0065})  # one of 5 MB, and the small one for films
    first, second, third = (
        Run(engine, tmp_path, models / name, steps=1) for name in ("pictures", "others", "films")
    )
    told = [
        lines(await run.events(submit))
        for run, submit in (
            (first, small()),
            (third, film()),
            (first, small()),
            (second, small()),
            (third, film()),
        )
    ]
    await engine.close()

    assert "Gives up" not in "".join(told[:3])
    assert "Loads" not in told[2]
    assert told[3].index("Gives up the model films") < told[3].index("Gives up the model pictures")
    assert "Loads the model films" in told[4]


@pytest.mark.skipif(sys.platform != "linux", reason="limits another process")
async def test_too_little_memory_fails_the_task_and_nothing_else(pictures: Run) -> None:
    before = await pictures.bytes(small())
    process = device_process()
    free = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    little = (memory_of(process) + (32 << 20), free[1])
    resource.prlimit(process, resource.RLIMIT_AS, little)
    try:
        run = pictures.but(max_pixels=4096 * 4096)
        with pytest.raises(Failed) as caught:
            await run.events(small(width=1024, height=1024))
    finally:
        resource.prlimit(process, resource.RLIMIT_AS, free)

    assert caught.value.failure.code is FailureCode.OUT_OF_MEMORY
    assert await pictures.bytes(small()) == before
    assert device_process() == process


async def test_a_killed_process_fails_the_task_and_nothing_else(pictures: Run) -> None:
    before = await pictures.bytes(small())
    long = pictures.but(steps=LONG)
    with pytest.raises(Failed) as caught:
        async for event in long.engine.run(long.job(small())):
            if isinstance(event, Progress):
                os.kill(device_process(), signal.SIGKILL)

    assert caught.value.failure.code is FailureCode.OUT_OF_MEMORY
    assert await pictures.bytes(small()) == before


async def test_loras_come_and_go_on_a_warm_model(pictures: Run, models: Path) -> None:
    lora = str(models / "lora")
    milder = pictures.but(lora=[{"path": lora, "weight": 0.2}])
    first = await pictures.bytes(small())
    events = await pictures.but(lora=[lora]).events(small())
    [file] = [event for event in events if isinstance(event, File)]

    assert "Loads" not in lines(events)
    assert len({first, file.path.read_bytes(), await milder.bytes(small())}) == 3
    assert await pictures.bytes(small()) == first


# --- what it refuses


async def test_what_the_model_cannot_do_fails_the_task(
    pictures: Run, films: Run, photo: Path, mask: Path
) -> None:
    cases: list[tuple[Run, Submit, list[Given]]] = [
        (pictures, film(), []),
        (films, Submit(prompt="x"), []),
        (
            films,
            film(sources=editing(Role.IMAGE, Role.LAST_FRAME).sources),
            [Given(path=photo), Given(path=mask, role=Role.LAST_FRAME)],
        ),
    ]
    for run, submit, given in cases:
        with pytest.raises(Failed) as caught:
            await run.events(submit, *given)
        assert caught.value.failure.code is FailureCode.INVALID_INPUT


async def test_a_model_that_is_not_there_fails_the_task(engine: Diffusion, tmp_path: Path) -> None:
    run = Run(engine, tmp_path, tmp_path / "nothing")
    with pytest.raises(Failed) as caught:
        await run.events(small())

    assert caught.value.failure.code is FailureCode.INTERNAL
    assert str(tmp_path) not in caught.value.failure.message


# --- the whole line


@pytest.fixture
async def client(engine: Diffusion, models: Path, tmp_path: Path) -> AsyncIterator[AsyncClient]:
    """A client of an app whose one model is tiny."""
    options = {"pipeline": str(models / "pictures"), "kind": "image", "steps": 2}
    rule = ModelRule(name="seedreamv4", engine="diffusion", options=options)
    app = await open_app(Settings(data=tmp_path / "data"), ModelMap((rule,), {"diffusion": engine}))
    key = await app.first_key()
    assert key is not None
    await app.start()
    transport = httpx.ASGITransport(app.asgi)
    yield AsyncClient("tensorslab", "http://testserver", key.secret, transport=transport, pace=0.02)
    await app.drain()
    await app.close()


async def test_from_a_call_to_the_picture(client: AsyncClient) -> None:
    async with client:
        task = await client.submit(Submit(model="seedreamv4", prompt="x", ratio="1:1"))
        done = await client.wait(task.id, timeout=60)

    assert done.status is Status.SUCCEEDED
    assert len(done.artifacts) == 1
