"""One task in a device's process: load, compute step by step, and hand over the pixels.

The computation runs in a thread of its own, so that this process hears at once that it is to
stop; then the next module of the network that is called ends it.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from queue import SimpleQueue
from typing import Any

import diffusers
import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from safelight.engines import Event, Failed, Log, Preview, Progress
from safelight.engines.diffusion import calls
from safelight.engines.diffusion.calls import Plan
from safelight.engines.diffusion.options import Settings
from safelight.engines.diffusion.orders import COMPUTED, Made, Order, Warm
from safelight.engines.diffusion.pipelines import Shelf, is_memory, sweep
from safelight.engines.diffusion.previews import Previews
from safelight.engines.kit.children import STOP_SIGNAL
from safelight.task import FailureCode, Kind

Telling = Event | Warm | Made
Pixels = NDArray[np.uint8]


class Stopped(Exception):
    """The server wants no more of it."""


class Stop:
    """Whether the computation is to stop."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._hook: Any = None

    @property
    def wanted(self) -> bool:
        return self._event.is_set()

    def want(self, *signal: object) -> None:
        """Let the next module that is called, or the next step that ends, raise `Stopped`."""
        self._event.set()
        if self._hook is None:
            module = torch.nn.modules.module
            self._hook = module.register_module_forward_pre_hook(lambda *_: self.check())

    def check(self) -> None:
        """Raises `Stopped` where it is wanted."""
        if self.wanted:
            raise Stopped

    def close(self) -> None:
        """Let modules be called again."""
        signal.signal(STOP_SIGNAL, signal.SIG_IGN)
        if self._hook is not None:
            self._hook.remove()


class Station:
    """A device's process: its models, and the one thread that computes."""

    def __init__(self, device: str, settings: Settings) -> None:
        self.shelf = Shelf(device, settings)
        self.thread = ThreadPoolExecutor(1)


@cache
def _station(device: str, settings: Settings) -> Station:
    """One for the life of the process."""
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()
    if device.startswith("cuda") and not torch.cuda.is_available():
        text = f"This server's PyTorch cannot use {device}; [engines.diffusion] says what to use."
        raise Failed(FailureCode.INTERNAL, text)
    if device.startswith("cuda:"):
        torch.cuda.set_device(device)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    return Station(device, settings)


def compute(order: Order) -> Iterator[Telling]:
    """Do the work, and yield what is to be told of it, as it comes. Raises `Failed`."""
    station = _station(order.device, order.settings)
    told: SimpleQueue[Telling | None] = SimpleQueue()
    stop = Stop()
    signal.signal(STOP_SIGNAL, stop.want)
    try:
        run = station.thread.submit(_carry_out, order, station.shelf, told.put, stop)
        run.add_done_callback(lambda _: told.put(None))
        while (telling := told.get()) is not None:
            yield telling
        run.result()
    finally:
        stop.close()


def _carry_out(order: Order, shelf: Shelf, tell: Callable[[Telling], None], stop: Stop) -> None:
    def say(text: str) -> None:
        tell(Log(text=text))

    try:
        try:
            _make(order, shelf, tell, stop)
        except Exception as problem:
            if stop.wanted or not is_memory(problem):
                raise
            if not shelf.give_up_others(order.options.key, say):
                raise
            say("The memory did not suffice beside other models; once more without them.")
            problem.__traceback__ = None  # it holds on to what was computed
            sweep(order.device)
            _make(order, shelf, tell, stop)
    except Failed:
        raise
    except Exception as problem:
        problem.__traceback__ = None if is_memory(problem) else problem.__traceback__
        sweep(order.device)
        raise _as_failed(problem, stop) from None
    finally:
        tell(Warm(models=shelf.warm))


def _as_failed(problem: Exception, stop: Stop) -> Exception:
    """What the caller is told; a mistake of ours stays one."""
    if stop.wanted:
        return Failed(FailureCode.CANCELED, "The task was stopped.")
    if is_memory(problem):
        text = "The device's memory did not suffice for the task."
        return Failed(FailureCode.OUT_OF_MEMORY, text)
    if isinstance(problem, ValueError):
        return Failed(FailureCode.INVALID_INPUT, f"The model refused the task: {problem}")
    return problem


def _make(order: Order, shelf: Shelf, tell: Callable[[Telling], None], stop: Stop) -> None:
    job, options = order.job, order.options
    model = shelf.take(options, lambda text: tell(Log(text=text)))
    stop.check()
    model.adapt(options, order.settings.offline)
    given = calls.read_given(job)
    pipe = model.choose(job.submit.kind, given)
    plan = calls.plan(job, options, pipe, given)
    steps = Steps(order, pipe, plan, tell, stop)
    tell(Log(text=_summary(order, pipe, plan)))
    kept = 0
    for start in range(0, job.submit.count, steps.batch):
        for pixels in steps.run(start):
            tell(_keep(order, plan, pixels, kept))
            kept += 1
    if not kept:
        text = "The model's own filter let none of the pictures pass."
        raise Failed(FailureCode.CONTENT_POLICY, text)


def _summary(order: Order, pipe: Any, plan: Plan) -> str:
    size = "{}x{}".format(*plan.size) if plan.size else "its own size"
    frames = f", {plan.computed} frames" if plan.computed else ""
    return f"{type(pipe).__name__}: {size}{frames}, seed {order.job.task.seed or 0}."


class Steps:
    """The calls of a pipeline for one task, and what is told at each of their steps."""

    def __init__(
        self, order: Order, pipe: Any, plan: Plan, tell: Callable[[Telling], None], stop: Stop
    ) -> None:
        self._order = order
        self._pipe = pipe
        self._plan = plan
        self._tell = tell
        self._stop = stop
        self._known = calls.takes(pipe)
        film = order.job.submit.kind is Kind.VIDEO
        many = not film and "num_images_per_prompt" in self._known
        self.batch = order.options.batch if many else 1
        wanted = order.options.preview and order.options.offload == "none"
        self._previews = Previews(order.job.folder, wanted)
        self._done = 0

    def run(self, start: int) -> list[Pixels]:
        """The pictures or the film from number `start` on, as bytes, without what is filtered."""
        job = self._order.job
        count = min(self.batch, job.submit.count - start)
        said = calls.arguments(job, self._order.options, self._pipe, self._plan, count)
        said |= self._own(start, count)
        output = self._pipe(**said)
        self._stop.check()
        self._done = start + count
        if job.submit.kind is Kind.VIDEO:
            return [np.stack([_as_bytes(frame) for frame in output.frames[0]])]
        flags = getattr(output, "nsfw_content_detected", None) or [False] * count
        if any(flags):
            self._tell(Log(text=f"The model's own filter kept back {sum(flags)} of {count}."))
        return [_as_bytes(one) for one, bad in zip(output.images, flags, strict=False) if not bad]

    def _own(self, start: int, count: int) -> dict[str, Any]:
        """The generators, of which each picture has its own, and the way to hear of the steps."""
        seed = self._order.job.task.seed or 0
        # On the processor, so that every device draws the same.
        numbers = range(seed + start, seed + start + count)
        drawn = [torch.Generator("cpu").manual_seed(one % 2**63) for one in numbers]
        said: dict[str, Any] = {}
        if "generator" in self._known:
            said["generator"] = drawn if count > 1 else drawn[0]
        if "callback_on_step_end" in self._known:
            said["callback_on_step_end"] = self._step
        else:
            self._pipe.progress_bar = self._bar
        return said

    def _step(self, pipe: Any, step: int, time: Any, values: dict[str, Any]) -> dict[str, Any]:
        total = getattr(pipe, "num_timesteps", None) or self._order.options.steps or step + 1
        self._took(step + 1, int(total))
        path = self._previews.take(pipe, values.get("latents"), self._plan.size)
        if path is not None:
            self._tell(Preview(path=path))
        return {}

    def _took(self, steps: int, total: int) -> None:
        """So many steps are done of those of one call."""
        self._stop.check()
        count = self._order.job.submit.count
        share = (self._done + min(1.0, steps / max(1, total)) * min(self.batch, count)) / count
        self._tell(Progress(percent=min(COMPUTED, int(share * COMPUTED))))

    def _bar(self, iterable: Any = None, total: int | None = None) -> Bar:
        return Bar(self._took, iterable, total)


class Bar:
    """In the place of the progress bar of a pipeline that tells of its steps in no other way."""

    def __init__(self, took: Callable[[int, int], None], iterable: Any, total: int | None) -> None:
        self._took = took
        self._iterable = iterable
        self._total = len(iterable) if total is None else total
        self._steps = 0

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *problem: object) -> None: ...

    def __iter__(self) -> Iterator[Any]:
        for one in self._iterable:
            yield one
            self.update()

    def update(self, steps: int = 1) -> None:
        """As the bar's own."""
        self._steps += steps
        self._took(self._steps, self._total)

    def set_postfix(self, *words: object, **more: object) -> None:
        """Nobody reads it."""


def _as_bytes(picture: Any) -> Pixels:
    """A picture as height x width x 3 bytes, whether it is one of Pillow's or an array of 0..1."""
    if hasattr(picture, "convert"):
        return np.asarray(picture.convert("RGB"))
    if isinstance(picture, torch.Tensor):
        picture = picture.float().cpu().permute(1, 2, 0).numpy()
    scaled: Pixels = (np.clip(picture, 0, 1) * 255).round().astype(np.uint8)
    return scaled


def _keep(order: Order, plan: Plan, pixels: Pixels, number: int) -> Made:
    path = order.job.folder / f"pixels-{number:02d}.npy"
    np.save(path, pixels)
    height, width = pixels.shape[-3:-1]
    film = order.job.submit.kind is Kind.VIDEO
    seconds = plan.seconds or (len(pixels) / plan.native if film else 0)
    masked = plan.given.mask is not None
    return Made(
        path=path,
        size=plan.target or (width, height),
        fps=plan.fps if film else None,
        native=plan.native if film else None,
        frames=max(1, round(seconds * plan.fps)) if film else 1,
        under=plan.given.pictures[0] if masked else None,
        mask=plan.given.mask,
    )
