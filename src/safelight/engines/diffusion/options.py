"""What can be set of `diffusion`: for the whole engine, and for each model. Light to load."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from safelight.task import Kind, Record

Natural = Annotated[int, msgspec.Meta(ge=1)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Name = Annotated[str, msgspec.Meta(min_length=1)]
Dtype = Literal["auto", "float32", "float16", "bfloat16"]
T = TypeVar("T")


class Settings(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[engines.diffusion]`."""

    devices: tuple[Name, ...] = ()  # none: every CUDA device, or else the processor
    memory_gb: Positive | None = None  # for the weights of warm models, on each device
    dtype: Dtype = "auto"
    offline: bool = False  # whether nothing is ever fetched from a hub
    patience: Annotated[int, msgspec.Meta(ge=0)] = 8  # tasks of warm models that overtake another
    stop_seconds: Positive = 5.0  # that a cancelled task gets to stop, before its process is killed
    idle_seconds: Positive = 86_400.0  # after which an idle device gives up all its models
    threads: Natural | None = None  # of each device's process; none: as PyTorch likes


class Lora(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A LoRA: a folder, a file or a hub id, and how strong it is to be."""

    path: Name
    weight: float = 1.0
    file: str | None = None  # which of several in the folder


class Options(
    Record, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"cls": "class"}
):
    """The options of one model."""

    pipeline: Name  # a folder, or a hub id
    kind: Kind | None = None  # what it makes; none: pictures and films may be tried
    cls: Name | None = None  # the name of a diffusers class, where the folder's own is not wanted
    variant: str | None = None
    revision: str | None = None
    dtype: Dtype | None = None
    offload: Literal["none", "model", "sequential"] = "none"
    tiling: bool = False
    lora: tuple[Lora | str, ...] = ()
    steps: Natural | None = None
    guidance: float | None = None
    strength: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    negative: str | None = None  # where the task has none
    resolution: str | None = None  # where the task names none
    max_pixels: Natural | None = None  # that the pipeline makes; a larger size is scaled up to
    multiple: Natural | None = None  # of which the pipeline's sides are
    fps: Natural | None = None  # at which the pipeline's films play
    max_frames: Natural | None = None
    max_sources: Natural = 1
    batch: Natural = 1  # pictures at once
    preview: bool = True
    arguments: dict[str, Any] = msgspec.field(default_factory=dict)  # of the pipeline's call

    @property
    def key(self) -> str:
        """What tells one loaded model from another. LoRAs come and go on the same one."""
        parts = (self.pipeline, self.cls, self.variant, self.revision, self.dtype, self.offload)
        return "|".join(str(part or "") for part in (*parts, self.tiling))

    @property
    def loras(self) -> tuple[Lora, ...]:
        return tuple(Lora(path=one) if isinstance(one, str) else one for one in self.lora)


def read_settings(settings: Mapping[str, Any]) -> Settings:
    """Raises `ValueError`."""
    return _read(settings, Settings)


def read_options(options: Mapping[str, Any]) -> Options:
    """The options of a model. Raises `ValueError`."""
    return _read(options, Options)


def _read(values: Mapping[str, Any], kind: type[T]) -> T:
    try:
        return msgspec.convert(dict(values), kind)
    except msgspec.ValidationError as problem:
        raise ValueError(str(problem)) from None


def find_devices(
    environment: Mapping[str, str] = os.environ, nodes: Path = Path("/dev")
) -> Sequence[str]:
    """The devices to compute on where none are set, found without loading PyTorch."""
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        count = len([one for one in visible.split(",") if one.strip() not in ("", "-1")])
    else:
        count = len([*nodes.glob("nvidia[0-9]*")])
    if count:
        return [f"cuda:{number}" for number in range(count)]
    return ["mps"] if sys.platform == "darwin" else ["cpu"]
