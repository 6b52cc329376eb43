"""What the engine `enhance` can be asked to do: its operations, their options, their order.

`OPERATIONS` is the whole of it: an operation or an option that is not in the table is refused, and
the order of the table is the order of the work, whatever the order in which it was asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from safelight import sizes
from safelight.engines.enhance.options import Areas, Choice, Domain, Never, Number, Ratio
from safelight.errors import InvalidValue, MissingParameter, UnknownParameter, Unsupported
from safelight.task import Operation, Submit

_STRENGTH = Choice(values=("weak", "normal", "strong"), default="weak")


_FORMAT = Choice(values=("jpeg", "jpg", "png", "webp", "bmp", "avif"), any_case=True)
_QUALITY = Number(low=1, high=100, whole=True)
_SIDE = Number(low=1, high=16384, whole=True)


def _sides(side: Number) -> dict[str, Domain]:
    """The four options that name a size; `width` and `height` win over the other two."""
    return {"width": side, "height": side, "long_side": side, "short_side": side}


OPERATIONS: Mapping[str, Mapping[str, Domain]] = {
    "image_erase_logo": {  # the first, for its areas are those of the source
        "image_area_boxes": Areas(most=16, farthest=4096),
        "erase_strength": Choice(values=("low", "mid", "high"), default="mid"),
        "watermark_type": Choice(values=("selected_watermark",), any_case=True),
        "detect_types": Never(),
    },
    "low_light_enhance": {"type": Choice(values=("normal",), default="normal")},
    "denoise": {"type": Choice(values=("weak", "strong"), default="weak")},
    "color_enhance": {"type": _STRENGTH},
    "image_quality_enhance": {"type": _STRENGTH},
    "super_resolution": {
        "type": Choice(values=("lq", "hq"), default="lq"),
        "size": Number(low=2, high=4, default=2, whole=True),
    },
    "advanced_super_resolution": {
        "type": Choice(values=("standard", "super", "ultra"), default="standard"),
        "mode": Choice(values=("percent", "aspect", "fixed"), default="percent"),
        "percent": Number(low=0.1, high=10, default=2),
        **_sides(Number(low=1, high=4096, whole=True)),
    },
    "ai_expansion": {
        "aspect_ratio": Ratio(),
        "width": Number(low=0, high=2048, default=0, whole=True),
        "height": Number(low=0, high=2048, default=0, whole=True),
    },
    "image_resize": {
        "mode": Choice(
            values=("percent", "mfit", "lfit", "fill", "pad", "fixed"), default="percent"
        ),
        "percent": Number(low=0.1, high=10, default=1),
        **_sides(_SIDE),
    },
    "sharp_enhance": {"intensity": Number(low=0, high=1, default=0)},
    "ai_cutout": {  # after all that would lay it on a ground again
        "type": Choice(values=("foreground",), default="foreground"),
        "pattern_config": Never(),
        "model": Choice(values=("cutout-1.0-lite", "cutout-1.0-flash"), any_case=True),
    },
    "encode": {"format": _FORMAT, "quality": _QUALITY},
}

# The options that say a size together.
_SIZING = frozenset({"mode", "percent", "size", "width", "height", "long_side", "short_side"})

# Of each of these options of an operation one at least must say something.
_NEEDED: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "image_erase_logo": (("image_area_boxes",),),
    "ai_expansion": (("aspect_ratio", "width", "height"),),
}

# The words that other wires use for a quality, in the numbers of `encode`.
QUALITIES: Mapping[str, int] = {
    "low": 60,
    "basic": 80,
    "medium": 80,
    "standard": 80,
    "high": 95,
    "hd": 95,
}


def plan(submit: Submit, ruled: Iterable[Operation] = ()) -> tuple[Operation, ...]:
    """What `submit` asks for, in the order of the work, each option set; `encode` is the last.

    `ruled` is what the rule of the model adds, where the task does not say the same itself.
    `format`, `quality` and the size of `submit` stand for the operations that say the same, where
    those are not given. Raises the `BadRequest` that names what cannot be done.
    """
    own = {operation.name for operation in submit.operations}
    beside = {one.name: one for one in ruled}
    asked = {name: read(one) for name, one in beside.items() if name not in own}
    for operation in submit.operations:
        if operation.name not in own:
            raise InvalidValue(f"{operation.name}: given twice", parameter=operation.name)
        own.remove(operation.name)
        asked[operation.name] = read(_joined(operation, beside.get(operation.name)))
    resize = _implied_resize(submit)
    if resize and "image_resize" not in asked:
        asked["image_resize"] = resize
    if "encode" not in asked:
        asked["encode"] = read(_implied_encode(submit))
    return tuple(asked[name] for name in OPERATIONS if name in asked)


def _joined(operation: Operation, ruled: Operation | None) -> Operation:
    """`operation`, and what the rule says of it beside; but a size is said by one of the two."""
    if ruled is None or not operation.options.keys().isdisjoint(_SIZING):
        return operation
    return Operation(name=operation.name, options={**ruled.options, **operation.options})


def ruled(options: Mapping[str, Any]) -> tuple[Operation, ...]:
    """The operations that the options of a model's rule name, each a table: `name`, and options."""
    said = options.get("operations", ())
    if not isinstance(said, (list, tuple)) or not all(
        isinstance(one, Mapping) and isinstance(one.get("name"), str) for one in said
    ):
        text = "the rule of this model has operations that are no tables with a name"
        raise Unsupported(text, parameter="model")
    return tuple(
        Operation(name=one["name"], options={key: one[key] for key in one if key != "name"})
        for one in said
    )


def read(operation: Operation) -> Operation:
    """`operation` with each of its options checked, the absent ones set to their defaults."""
    table = OPERATIONS.get(operation.name)
    if table is None:
        text = f"{operation.name}: this engine has no such operation"
        raise Unsupported(text, parameter=operation.name)
    for unknown in operation.options.keys() - table.keys():
        name = f"{operation.name}.{unknown}"
        raise UnknownParameter(f"{name}: there is no such option", parameter=name)
    options = {
        name: _option(f"{operation.name}.{name}", domain, operation.options.get(name))
        for name, domain in table.items()
    }
    _need_size(operation.name, options)
    for needed in _NEEDED.get(operation.name, ()):
        if not any(options[name] for name in needed):
            name = f"{operation.name}.{needed[0]}"
            raise MissingParameter(f"{name}: is needed", parameter=name)
    return Operation(name=operation.name, options=options)


def _option(name: str, domain: Domain, value: Any) -> Any:
    return domain.default if value is None else domain.read(name, value)


def _need_size(name: str, options: Mapping[str, Any]) -> None:
    """Every mode but `percent` goes by a size, of which one side at least must be named."""
    if options.get("mode", "percent") == "percent":
        return
    if all(options[side] is None for side in _sides(_SIDE)):
        text = f"{name}.width: the mode {options['mode']!r} needs a width or a height"
        raise MissingParameter(text, parameter=f"{name}.width")


def _implied_resize(submit: Submit) -> Operation | None:
    """The resizing that the size of `submit` stands for: a size is met by force, a ratio by crop.

    The mode `shape`, which nobody can ask for by name, leaves ratio and resolution to be resolved
    when the size of the source is known.
    """
    if submit.width or submit.height:
        given = {"width": submit.width, "height": submit.height}
        sides = {name: _option(name, _SIDE, value) for name, value in given.items()}
        return read(Operation(name="image_resize", options={"mode": "fixed", **sides}))
    if submit.resolution is None and submit.ratio in (None, "auto"):
        return None
    sizes.pixels(submit, (1, 1))  # refuses what it cannot read
    options = {"mode": "shape", "ratio": submit.ratio, "resolution": submit.resolution}
    return Operation(name="image_resize", options=options)


def _implied_encode(submit: Submit) -> Operation:
    form = _option("format", _FORMAT, submit.format)
    return Operation(name="encode", options={"format": form, "quality": _quality(submit.quality)})


def _quality(word: str | None) -> Any:
    """The number from 1 to 100 that a word for the quality, or a number as a word, stands for."""
    word = (word or "auto").lower()
    if word == "auto":
        return None
    if word.isascii() and word.isdigit():
        return _QUALITY.read("quality", int(word[:9]))
    if word not in QUALITIES:
        text = f"quality: {word!r} is none of {', '.join(QUALITIES)}, nor a number from 1 to 100"
        raise InvalidValue(text, parameter="quality")
    return QUALITIES[word]
