"""JSON Schemas of what a model takes, made from its card and from the record of all models."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec

from safelight.dialects.safelight.records import Input
from safelight.task import Kind, ModelCard

_OF_FILMS = ("duration", "fps", "audio")


def input_schema(card: ModelCard) -> dict[str, Any]:
    """What `input` may be for that model, as a JSON Schema that stands by itself.

    What a model prefers is given as examples: an engine may do more than its card says.
    """
    schema: dict[str, Any] = msgspec.json.schema(Input)
    described: dict[str, Any] = schema["$defs"]
    for part in described.values():
        part["description"] = inspect.cleandoc(part.get("description", ""))
    own = dict(described.pop("Input"))
    properties = dict(own["properties"])
    if card.kind is Kind.IMAGE:
        for name in _OF_FILMS:
            del properties[name]
    _suggest(properties, "ratio", card.ratios, card.default_ratio)
    _suggest(properties, "resolution", card.resolutions, card.default_resolution)
    _suggest(properties, "quality", card.qualities, None)
    if card.kind is Kind.VIDEO:
        _suggest(properties, "duration", card.durations, card.default_duration)
    sources = {**properties["sources"], "maxItems": card.max_sources}
    own["required"] = []
    if card.needs_source:
        sources["minItems"] = 1
        own["required"] = ["sources"]
    properties["sources"] = sources
    return {**own, "properties": properties, "$defs": described}


def _suggest(
    properties: dict[str, Any], name: str, examples: tuple[Any, ...], default: Any
) -> None:
    said = dict(properties[name])
    if examples:
        said["examples"] = list(examples)
    if default is not None:
        said["default"] = default
    properties[name] = said
