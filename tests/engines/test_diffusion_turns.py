"""What `diffusion` decides without a model: settings, what is refused at once, whose turn it is."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from safelight.config import ModelRule, SettingsError
from safelight.engines import Failed, Job
from safelight.engines.diffusion.devices import Devices
from safelight.engines.diffusion.engine import EXTRA, Diffusion, build
from safelight.engines.diffusion.options import find_devices
from safelight.errors import BadRequest
from safelight.models import ModelMap
from safelight.task import Kind, Models, Operation, Role, Source, Status, Submit, Task

OPTIONS: Mapping[str, Any] = {"pipeline": "/models/any"}


@pytest.fixture
def engine() -> Diffusion:
    return build({"devices": ["cpu"]})


def sources(*roles: Role) -> tuple[Source, ...]:
    return tuple(Source(role=role, blob="x") for role in roles)


# --- settings


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({}, "pipeline"),
        ({**OPTIONS, "step": 3}, "step"),
        ({**OPTIONS, "steps": 0}, "steps"),
        ({**OPTIONS, "kind": "sound"}, "sound"),
        ({**OPTIONS, "dtype": "int8"}, "int8"),
        ({**OPTIONS, "lora": [{"path": "x", "scale": 1}]}, "scale"),
    ],
)
def test_wrong_options_are_refused_when_the_settings_are_read(
    options: dict[str, Any], word: str
) -> None:
    rule = ModelRule(name="tiny", engine="diffusion", options=options)
    with pytest.raises(SettingsError, match=f"tiny.*{word}"):
        ModelMap.build((rule,), {})


@pytest.mark.parametrize("settings", [{"device": "cpu"}, {"memory_gb": 0}, {"patience": -1}])
def test_wrong_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=r"engines\.diffusion.*" + next(iter(settings))):
        rule = ModelRule(name="tiny", engine="diffusion", options=dict(OPTIONS))
        ModelMap.build((rule,), {"diffusion": settings})


def test_the_catalogue_says_what_each_model_makes() -> None:
    still = ModelRule(
        name="still", engine="diffusion", options={**OPTIONS, "kind": "image"}, time_limit=5
    )
    moving = ModelRule(name="moving", engine="diffusion", options={**OPTIONS, "kind": "video"})
    models = ModelMap.build((still, moving), {})

    cards = models.catalogue(Models()).models
    assert [(card.name, card.kind) for card in cards] == [
        ("still", Kind.IMAGE),
        ("moving", Kind.VIDEO),
    ]


def test_devices_are_found_by_what_there_is(tmp_path: Path) -> None:
    none = ["mps"] if sys.platform == "darwin" else ["cpu"]
    assert find_devices({}, tmp_path) == none
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert find_devices({}, tmp_path) == ["cuda:0", "cuda:1"]
    assert find_devices({"CUDA_VISIBLE_DEVICES": "3"}, tmp_path) == ["cuda:0"]
    assert find_devices({"CUDA_VISIBLE_DEVICES": ""}, tmp_path) == none


async def test_without_the_extra_it_says_what_to_install(
    engine: Diffusion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)  # as if it were not there
    submit = Submit(prompt="x")
    task = Task(id="0" * 24, status=Status.RUNNING, submit=submit)
    engine.check(submit, OPTIONS)
    with pytest.raises(Failed) as caught:
        async for _ in engine.run(Job(task=task, folder=tmp_path, options=dict(OPTIONS))):
            pass
    assert EXTRA in caught.value.failure.message


# --- what is refused before a task is accepted


FILM = {"kind": Kind.VIDEO, "prompt": "x"}


@pytest.mark.parametrize(
    ("parameter", "submit", "options"),
    [
        ("operations", {"operations": (Operation(name="denoise"),)}, {}),
        ("model", {}, {"kind": "video"}),
        ("count", {"count": 17}, {}),
        ("format", {"format": "tiff"}, {}),
        ("format", {**FILM, "format": "png"}, {}),
        ("sources", {"sources": sources(Role.IMAGE, Role.IMAGE)}, {}),
        ("sources", {"sources": sources(Role.VIDEO)}, {}),
        ("sources", {"sources": sources(Role.MASK)}, {}),
        ("sources", {**FILM, "sources": sources(Role.IMAGE, Role.MASK)}, {}),
        ("sources", {**FILM, "sources": sources(Role.LAST_FRAME)}, {}),
        ("width", {"width": 8, "height": 64}, {}),
        ("height", {**FILM, "width": 64, "height": 63}, {}),
        ("resolution", {"resolution": "16K"}, {}),
        ("ratio", {"ratio": "1000:1"}, {}),
        ("fps", {**FILM, "fps": 100}, {}),
        ("duration", {**FILM, "duration": 90}, {}),
        ("duration", {**FILM, "duration": 5}, {"fps": 8, "max_frames": 16}),
    ],
)
def test_what_cannot_be_done_is_refused_by_its_name(
    engine: Diffusion, parameter: str, submit: dict[str, Any], options: dict[str, Any]
) -> None:
    with pytest.raises(BadRequest) as caught:
        engine.check(Submit(**submit), {**OPTIONS, **options})
    assert caught.value.parameter == parameter


@pytest.mark.parametrize(
    ("submit", "options"),
    [
        ({"prompt": "x", "count": 16, "ratio": "auto", "format": "webp"}, {"kind": "image"}),
        ({"sources": sources(Role.IMAGE, Role.MASK)}, {}),
        ({"sources": sources(Role.IMAGE, Role.IMAGE)}, {"max_sources": 2}),
        ({**FILM, "sources": sources(Role.FIRST_FRAME, Role.LAST_FRAME)}, {}),
        ({**FILM, "duration": 2, "audio": True}, {"fps": 8, "max_frames": 16}),
    ],
)
def test_what_may_be_possible_is_let_pass(
    engine: Diffusion, submit: dict[str, Any], options: dict[str, Any]
) -> None:
    engine.check(Submit(**submit), {**OPTIONS, **options})


# --- whose turn it is


class Hall:
    """Tasks that wait for devices, take their turns, and are done when they are told so."""

    def __init__(self, devices: Devices) -> None:
        self.devices = devices
        self.began: list[tuple[str, str]] = []  # task and device, in the order of their turns
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def arrive(self, name: str) -> None:
        """A task whose model is its first letter."""
        self._ends[name] = asyncio.Event()
        self._tasks[name] = asyncio.create_task(self._work(name))
        await _settled()

    async def _work(self, name: str) -> None:
        async with self.devices.turn(name[0]) as device:
            self.began.append((name, device.name))
            device.warm = (name[0],)  # there is room for one
            await self._ends[name].wait()

    async def finish(self, name: str) -> None:
        self._ends[name].set()
        await self._tasks.pop(name)
        await _settled()

    async def cancel(self, name: str) -> None:
        self._tasks[name].cancel()
        await asyncio.wait([self._tasks.pop(name)])
        await _settled()

    async def finish_all(self) -> list[str]:
        """Finish whoever has the turn until nobody waits; the names in their order."""
        while self._tasks:
            await self.finish(next(name for name, _ in self.began if name in self._tasks))
        return [name for name, _ in self.began]

    async def close(self) -> None:
        for name in list(self._tasks):
            await self.cancel(name)


async def _settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@asynccontextmanager
async def hall(*names: str, patience: int = 8) -> AsyncIterator[Hall]:
    async with AsyncExitStack() as stack:
        one = Hall(Devices(names or ("cpu",), patience))
        stack.push_async_callback(one.close)
        yield one


async def test_one_computes_at_a_time_on_each_device() -> None:
    async with hall("cuda:0", "cuda:1") as one:
        for name in ("a1", "b1", "c1"):
            await one.arrive(name)
        assert one.began == [("a1", "cuda:0"), ("b1", "cuda:1")]
        await one.finish("b1")
        assert one.began[2:] == [("c1", "cuda:1")]


async def test_a_warm_model_goes_first_but_not_for_ever() -> None:
    async with hall(patience=2) as one:
        for name in ("a1", "b1", "a2", "b2", "a3", "a4", "a5", "b3"):
            await one.arrive(name)
        order = await one.finish_all()
    assert order == ["a1", "a2", "a3", "b1", "b2", "b3", "a4", "a5"]


async def test_two_models_in_turn_are_not_loaded_for_each_task() -> None:
    async with hall(patience=8) as one:
        for number in range(40):
            await one.arrive(f"a{number}")
            await one.arrive(f"b{number}")
        order = [name[0] for name in await one.finish_all()]
    changes = sum(before != after for before, after in pairwise(order))
    assert changes <= 80 / 8


async def test_without_patience_it_is_first_come_first_served() -> None:
    async with hall(patience=0) as one:
        names = ["a1", "b1", "a2", "b2"]
        for name in names:
            await one.arrive(name)
        assert await one.finish_all() == names


async def test_a_task_goes_where_its_model_is() -> None:
    async with hall("cuda:0", "cuda:1") as one:
        for name in ("a1", "b1"):
            await one.arrive(name)
        await one.finish("a1")
        await one.finish("b1")
        await one.arrive("b2")
        await one.arrive("a2")
        assert one.began[2:] == [("b2", "cuda:1"), ("a2", "cuda:0")]


async def test_who_gives_up_waiting_keeps_nobody_else_waiting() -> None:
    async with hall() as one:
        for name in ("a1", "b1", "c1"):
            await one.arrive(name)
        await one.cancel("b1")
        await one.cancel("a1")
        assert [name for name, _ in one.began] == ["a1", "c1"]


async def test_a_turn_given_to_one_who_has_just_gone_is_given_on() -> None:
    devices = Devices(["cpu"], 8)
    async with devices.turn("a"):
        waiting = asyncio.ensure_future(devices.turn("b").__aenter__())
        await _settled()
    waiting.cancel()  # after it was given the turn, and before it could take it
    with pytest.raises(asyncio.CancelledError):
        await waiting
    async with asyncio.timeout(1), devices.turn("c") as device:
        assert device.busy
