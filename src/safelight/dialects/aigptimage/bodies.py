"""The create bodies of the jobs wire as the client writes them, and what they call things.

A body says what is asked by the names that its model goes by, which
`safelight.dialects.aigptimage.models` knows; what one was read from is written back by the names
that came. `parameter_name` tells those names to whoever has a fault to tell.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from safelight.dialects.aigptimage.input import (
    FACTORS,
    INPUT,
    KNOWN,
    OTHER_INPUT,
    Asked,
    factor_said,
    frames_said,
    locate_sources,
    names_of,
    open_body,
    values_of,
)
from safelight.dialects.aigptimage.models import RATIO_WORDS, SOURCES, Model, Usual, model_of
from safelight.errors import Malformed, Unsupported
from safelight.task import Role, Submit
from safelight.wire import NAMED_SIZES, Frame, Reading, refuse_demands

# ----------------------------------------------------------------------------------------- writing


def write_body(submit: Submit, usual: Usual) -> dict[str, Any]:
    """The create body that asks for `submit`, by the names that its model goes by."""
    model = model_of(usual, submit.model, submit.kind)
    input = {name: value for name, value in INPUT.write(submit).items() if value != ""}
    input |= _sources(submit, model) | _frame(submit, model) | _write_factor(submit, model)
    if submit.format is not None:
        input["output_format"] = model.jpeg if submit.format == "jpeg" else submit.format
    if submit.count != 1:
        input[model.number] = submit.count
    if submit.duration is not None:
        input[model.duration] = _whole(submit.duration)
    if submit.fps is not None:
        input[model.fps] = submit.fps
    if submit.audio is not None:
        input[model.audio] = submit.audio
    if submit.quality is not None:
        input.setdefault(model.quality, submit.quality)
    for name in model.texts:
        if name in input:
            input[name] = str(input[name])
    return {"model": submit.model, "input": input}


_ONCE = (Role.FIRST_FRAME, Role.LAST_FRAME, Role.MASK)
_OWN = "input."  # what every parameter of a model begins with


def refuse_unsaid(submit: Submit, usual: Usual) -> None:
    """Raise `Unsupported` where `submit` asks for what has no field on this wire."""
    own = [name for name in submit.demands if name.startswith(_OWN)]
    refuse_demands(submit, "This wire", [*own, "callback"])
    model = model_of(usual, submit.model, submit.kind)
    if submit.operations and not _is_doing(submit, model):
        raise Unsupported(
            f"The model {submit.model[:100]!r} does not do that", parameter="operations"
        )
    roles: set[Role] = set()
    for index, source in enumerate(submit.sources):
        name = f"sources.{index}"
        if not source.url:
            raise Unsupported("This wire takes sources by public address alone", parameter=name)
        if source.role in _ONCE and source.role in roles:
            raise Unsupported(f"This wire takes one {source.role} at most", parameter=name)
        roles.add(source.role)


def beyond(submit: Submit, usual: Usual) -> dict[str, Any]:
    """What a create body said in words that only a model of this wire knows."""
    body = submit.extra.get("body")
    demanded = {
        name.removeprefix(_OWN): value
        for name, value in submit.demands.items()
        if name.startswith(_OWN)
    }
    try:
        input = values_of(Reading(body))
    except Malformed:
        return demanded
    model = model_of(usual, submit.model, submit.kind)
    said = {*KNOWN, *(FACTORS if submit.operations else ())}
    if submit.resolution is not None:
        said.add(model.resolution)
    return {name: value for name, value in input.items() if name not in said} | demanded


def _is_doing(submit: Submit, model: Model) -> bool:
    """Whether what `submit` wants done is what `model` does."""
    does = model.operation
    if does is None or len(submit.operations) != 1:
        return False
    return submit.operations[0] == does or (bool(model.factor) and _factor(submit) is not None)


def _factor(submit: Submit) -> float | None:
    """How many times as long the sides become, where `submit` asks for nothing but that."""
    (operation,) = submit.operations
    name = {"super_resolution": "size", "advanced_super_resolution": "percent"}.get(operation.name)
    if name is None or not operation.options.keys() <= {name}:
        return None
    factor = operation.options.get(name, 2)
    return factor if isinstance(factor, int | float) else None


def _write_factor(submit: Submit, model: Model) -> dict[str, Any]:
    if not model.factor or len(submit.operations) != 1:
        return {}
    factor = _factor(submit)
    return {} if factor is None else {model.factor: f"{factor:g}"}


def _sources(submit: Submit, model: Model) -> dict[str, Any]:
    urls: dict[Role, list[str]] = {role: [] for role in Role}
    for source in submit.sources:
        if source.url:
            urls[source.role].append(source.url)
    fields: dict[Role, list[str]] = {role: [] for role in Role}
    for field in model.takes:
        fields[SOURCES[field.removesuffix("[]")]].append(field)
    if not fields[Role.FIRST_FRAME]:  # it leads the pictures
        leading = [Role.FIRST_FRAME]
        if model.pair and urls[Role.FIRST_FRAME]:
            leading.append(Role.LAST_FRAME)
        urls[Role.IMAGE] = [url for role in (*leading, Role.IMAGE) for url in urls[role]]
        for role in leading:
            urls[role] = []
    else:
        urls[Role.IMAGE] = urls[Role.FIRST_FRAME][1:] + urls[Role.IMAGE]
        del urls[Role.FIRST_FRAME][1:]
    input: dict[str, Any] = {}
    for role, given in urls.items():
        input |= _spread(given, fields[role] or [_USUAL.get(role, model.images)])
    return input


# What most models call them.
_USUAL: Mapping[Role, str] = {
    Role.LAST_FRAME: "last_frame_url",
    Role.MASK: "mask_url",
    Role.VIDEO: "video_url",
    Role.AUDIO: "audio_url",
}


def _spread(urls: list[str], fields: list[str]) -> dict[str, Any]:
    """`urls` over `fields`: one for each that is no list, the rest for the first that is one."""
    input: dict[str, Any] = {}
    left = list(urls)
    for field in fields:
        if not left:
            return input
        if field.endswith("[]"):
            return input | {field.removesuffix("[]"): left}
        input[field] = left.pop(0)
    if not left:
        return input
    # None takes so many; by the plural of the only one, where it has one, some are understood.
    name = fields[0]
    return {"image_urls" if name == "image" else f"{name.removesuffix('_url')}_urls": urls}


_SIZE_WORDS = {size: word for word, size in NAMED_SIZES.items()}


def _frame(submit: Submit, model: Model) -> dict[str, Any]:
    if submit.width and submit.height:
        word = _SIZE_WORDS.get((submit.width, submit.height))
        if word and model.ratio_words == "named":
            return {model.ratio: word}
        shared = math.gcd(submit.width, submit.height)
        # Few models heed pixels; the ratio keeps the rest from making a square in silence.
        return {
            "aspect_ratio": f"{submit.width // shared}:{submit.height // shared}",
            "image_size": f"{submit.width}x{submit.height}",
        }
    input = {}
    if submit.ratio is not None:
        words = RATIO_WORDS[model.ratio_words]
        input[model.ratio] = words.get(submit.ratio, submit.ratio)
    if submit.resolution is not None:
        input[model.resolution] = submit.resolution.replace("p", model.lines)
    return input


def _whole(number: float) -> float:
    return int(number) if number == int(number) else number


# ------------------------------------------------------------------------------------------- names


# Our names for what `OTHER_INPUT` and `_frame` write, and which of `Model` says what it is called.
_CALLED = {
    "count": "number",
    "width": "ratio",
    "height": "ratio",
    **{name: name for name in ("ratio", "resolution", "duration", "fps", "audio", "quality")},
}


def parameter_name(ours: str, submit: Submit, usual: Usual) -> str:
    """What the body that asked for `submit` calls what we call `ours`."""
    body = submit.extra.get("body")
    body = body if isinstance(body, dict) else write_body(submit, usual)
    asked = open_body(Reading(body), usual)
    head, _, rest = ours.partition(".")
    if head in ("kind", "model", "operations"):
        return "model"
    if head == "callback":
        return "callBackUrl"
    if head in ("extra", "demands"):
        return "input"
    if head == "sources":
        return _source_name(asked, rest)
    if head in Frame._fields and (said := _frame_name(asked, head)) is not None:
        return said
    if head in {operation.name for operation in submit.operations}:
        factor = factor_said(asked) if rest in ("size", "percent") else None
        return "model" if factor is None else asked.input.at(factor)
    named = [field for field in reversed(INPUT.fields + OTHER_INPUT.fields) if field.ours == head]
    for _, theirs, sort in named:
        if asked.input.value(theirs, sort, None) is not None:
            return asked.input.at(theirs)
    if head in _CALLED:
        return asked.input.at(getattr(asked.model, _CALLED[head]))
    return asked.input.at(named[0].theirs) if named else ours


def _source_name(asked: Asked, index: str) -> str:
    paths = [path for path, _ in locate_sources(asked)]
    if index.isdecimal() and int(index) < len(paths):
        return paths[int(index)]
    if not paths:
        return asked.input.at(names_of(asked.model)[0])
    field, _, last = paths[0].rpartition(".")  # of all of them, that of the first
    return field if last.isdecimal() else paths[0]


def _frame_name(asked: Asked, word: str) -> str | None:
    """The first field that says `width`, `height`, `ratio` or `resolution`."""
    for name, frame in frames_said(asked):
        if getattr(frame, word) is not None:
            return asked.input.at(name)
    return None
