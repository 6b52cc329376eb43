"""Models on a device: loaded once, kept warm, given up in the order in which they were used.

Only a device's own process loads this module, and PyTorch with it.
"""

from __future__ import annotations

import gc
import inspect
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import diffusers
import torch

from safelight.engines import Failed
from safelight.engines.diffusion.calls import Given, requires, takes
from safelight.engines.diffusion.options import Lora, Options, Settings
from safelight.task import FailureCode, Kind

GB = 10**9
_CUDA_SHARE, _RAM_SHARE = 0.8, 0.5  # of a device's memory that weights may take if nothing is set
# Films from pictures with the same weights; other pairs of classes have weights of their own.
_FILMS_FROM_PICTURES = {"LTXPipeline": "LTXImageToVideoPipeline"}


class Model:
    """A loaded pipeline, and its siblings that do other tasks with the same weights."""

    def __init__(self, name: str, pipe: Any, options: Options, device: str) -> None:
        self.name = name
        self.bytes = sum(map(_bytes_of, _modules(pipe)))
        self._pipe = pipe
        self._offload = options.offload
        self._device = device
        self._siblings: dict[str, Any] = {}
        self._adapters: dict[Lora, str] = {}

    def choose(self, kind: Kind, given: Given) -> Any:
        """The pipeline for what is asked for. Raises `Failed` where there is none."""
        pipe = self._film(given) if kind is Kind.VIDEO else self._picture(given)
        if self._offload == "model":
            pipe.enable_model_cpu_offload(device=self._device)
        elif self._offload == "sequential":
            pipe.enable_sequential_cpu_offload(device=self._device)
        return pipe

    def _film(self, given: Given) -> Any:
        if "num_frames" not in takes(self._pipe):
            raise _cannot("The model makes pictures, not films.")
        pipe = self._pipe
        if given.pictures and "image" not in takes(pipe):
            name = _FILMS_FROM_PICTURES.get(type(pipe).__name__)
            if name is None:
                raise _cannot("The model makes films from words only, not from pictures.")
            pipe = self._sibling(name, lambda: _derive(getattr(diffusers, name), pipe))
        if not given.pictures and requires(pipe, "image"):
            raise _cannot("The model makes films from a picture, and there is none.")
        if given.last and "last_image" not in takes(pipe):
            raise _cannot("The model takes no last frame.")
        return pipe

    def _picture(self, given: Given) -> Any:
        known = takes(self._pipe)
        if "num_frames" in known:
            raise _cannot("The model makes films, not pictures.")
        edits = "image" in known and ("strength" in known or requires(self._pipe, "image"))
        if given.mask is not None:
            fits, auto = "mask_image" in known, "AutoPipelineForInpainting"
        elif given.pictures:
            fits = "image" in known and "mask_image" not in known
            auto = "AutoPipelineForImage2Image"
        else:
            fits, auto = not edits, "AutoPipelineForText2Image"
        if fits:
            return self._pipe
        return self._sibling(auto, lambda: getattr(diffusers, auto).from_pipe(self._pipe))

    def _sibling(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self._siblings:
            try:
                self._siblings[name] = quiet(make())
            except ValueError:
                words = {"Inpainting": "edit a part of a picture", "Image2Image": "edit pictures"}
                what = words.get(name.removeprefix("AutoPipelineFor"), "work without a picture")
                raise _cannot(f"The model cannot {what}.") from None
        return self._siblings[name]

    def adapt(self, options: Options, offline: bool) -> None:
        """Put on the LoRAs of `options`, and no others."""
        loras = options.loras
        if not loras:
            if self._adapters:
                self._pipe.disable_lora()
            return
        if not hasattr(self._pipe, "load_lora_weights"):
            raise Failed(FailureCode.INTERNAL, "The model's pipeline takes no LoRA.")
        for lora in loras:
            if lora not in self._adapters:
                self._load_lora(lora, offline)
        self._pipe.enable_lora()
        self._pipe.set_adapters(
            [self._adapters[one] for one in loras], [one.weight for one in loras]
        )

    def _load_lora(self, lora: Lora, offline: bool) -> None:
        name = f"lora{len(self._adapters)}"
        more = {} if lora.file is None else {"weight_name": lora.file}
        try:
            self._pipe.load_lora_weights(
                lora.path, adapter_name=name, local_files_only=offline, **more
            )
        except Exception as problem:
            if is_memory(problem):
                raise
            traceback.print_exc()
            raise Failed(FailureCode.INTERNAL, "A LoRA of the model could not be loaded.") from None
        self._adapters[lora] = name


class Shelf:
    """The models of one device."""

    def __init__(self, device: str, settings: Settings) -> None:
        self._device = device
        self._settings = settings
        self._models: dict[str, Model] = {}  # the most recently used last
        self._sizes: dict[str, int] = {}  # of all that were ever loaded
        self._limit = int((settings.memory_gb or 0) * GB) or _default_limit(device)

    @property
    def warm(self) -> tuple[str, ...]:
        """The keys of the models, the most recently used last."""
        return tuple(self._models)

    def take(self, options: Options, say: Callable[[str], None]) -> Model:
        """The model of `options`, loaded if it is not. Raises `Failed`."""
        key = options.key
        if (model := self._models.pop(key, None)) is None:
            self._make_room(self._sizes.get(key) or _estimate(options), say)
            model = self._load(options, say)
            self._sizes[key] = model.bytes
            self._make_room(model.bytes, say)
        self._models[key] = model
        return model

    def give_up_others(self, key: str, say: Callable[[str], None]) -> bool:
        """Give up all models but one; whether there were any."""
        others = [other for other in self._models if other != key]
        for other in others:
            self._give_up(other, say)
        return bool(others)

    def _make_room(self, wanted: int, say: Callable[[str], None]) -> None:
        while self._models and wanted + sum(one.bytes for one in self._models.values()) > (
            self._limit
        ):
            self._give_up(next(iter(self._models)), say)

    def _give_up(self, key: str, say: Callable[[str], None]) -> None:
        say(f"Gives up the model {self._models.pop(key).name}: others need the memory.")
        sweep(self._device)

    def _load(self, options: Options, say: Callable[[str], None]) -> Model:
        began = time.perf_counter()
        name = Path(options.pipeline).name
        say(f"Loads the model {name} on {self._device}.")
        try:
            model = Model(name, self._pipe(options), options, self._device)
        except Failed:
            raise
        except Exception as problem:
            if not is_memory(problem):
                traceback.print_exc()
                text = "The model could not be loaded; the server's log says why."
                raise Failed(FailureCode.INTERNAL, text) from None
            problem.__traceback__ = None  # it holds on to what was loaded
            if not self._models:
                raise
            self.give_up_others("", say)
            model = Model(name, self._pipe(options), options, self._device)
        seconds = time.perf_counter() - began
        say(f"Loaded {name} in {seconds:.1f} s, {model.bytes / GB:.2f} GB of weights.")
        return model

    def _pipe(self, options: Options) -> Any:
        kind = diffusers.DiffusionPipeline if options.cls is None else _class(options.cls)
        local = self._settings.offline or Path(options.pipeline).is_dir()
        more = {"variant": options.variant, "revision": options.revision}
        pipe = kind.from_pretrained(
            options.pipeline,
            dtype=_dtype(options.dtype or self._settings.dtype, self._device),
            local_files_only=local,
            **{name: value for name, value in more.items() if value is not None},
        )
        if options.offload == "none":
            pipe = pipe.to(self._device)
        if options.tiling and hasattr(getattr(pipe, "vae", None), "enable_tiling"):
            pipe.vae.enable_tiling()
        return quiet(pipe)


def quiet(pipe: Any) -> Any:
    """The pipeline without its progress bars."""
    pipe.set_progress_bar_config(disable=True)
    return pipe


def sweep(device: str) -> None:
    """Give back the memory that nobody uses any more."""
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()


def is_memory(problem: BaseException) -> bool:
    """Whether the device's or the machine's memory did not suffice."""
    if isinstance(problem, MemoryError | torch.OutOfMemoryError):
        return True
    words = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")
    return isinstance(problem, RuntimeError | OSError) and any(
        word in str(problem).lower() for word in words
    )


def _cannot(text: str) -> Failed:
    return Failed(FailureCode.INVALID_INPUT, text)


def _derive(kind: Any, pipe: Any) -> Any:
    """A pipeline of another class with the parts of `pipe`, which stay as they are."""
    names = inspect.signature(kind.__init__).parameters
    config = {name: value for name, value in pipe.config.items() if name in names}
    parts = {name: part for name, part in pipe.components.items() if name in names}
    return kind(**{**config, **parts})


def _class(name: str) -> Any:
    kind = getattr(diffusers, name, None)
    if not (inspect.isclass(kind) and issubclass(kind, diffusers.DiffusionPipeline)):
        raise Failed(FailureCode.INTERNAL, f"diffusers has no pipeline {name!r}.")
    return kind


def _dtype(name: str, device: str) -> Any:
    if name != "auto":
        return getattr(torch, name)
    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.float16 if device == "mps" else torch.float32


def _modules(pipe: Any) -> Iterator[torch.nn.Module]:
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            yield part


def _bytes_of(module: torch.nn.Module) -> int:
    tensors = (*module.parameters(), *module.buffers())
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _estimate(options: Options) -> int:
    """About how much a model will take, by its files; 0 where they are not here yet."""
    folder = Path(options.pipeline)
    files = [path for path in folder.rglob("*.safetensors") if path.is_file()]
    files = files or [path for path in folder.rglob("*.bin") if path.is_file()]
    if options.variant is not None:
        files = [path for path in files if f".{options.variant}" in path.name] or files
    return sum(path.stat().st_size for path in files)


def _default_limit(device: str) -> int:
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(device)[1] * _CUDA_SHARE)
    if sys.platform == "win32":
        return 8 * GB
    return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * _RAM_SHARE)
