"""Templates of image processing: what DescribeProcessImageTemplates is asked and answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from safelight.dialects.tencent import parameters
from safelight.task import Template, TemplatePage, Templates
from safelight.wire import INTEGER, TEXT, Field, Fields, Reading, pairs, require

_MOST = 100  # that may be asked for at once, by number too [doc]
_PRESET, _CUSTOM = "Preset", "Custom"
_KIND = pairs(TEXT, (True, _PRESET), (False, _CUSTOM))

_ASKED = Fields(
    Field("name", "Name"),
    Field("preset", "Type", _KIND),
    Field("limit", "Limit", INTEGER),
    Field("offset", "Offset", INTEGER),
)
_TOLD = Fields(
    Field("number", "Definition", INTEGER),
    Field("name", "Name"),
    Field("comment", "Comment"),
    Field("preset", "Type", _KIND),
)


def read_asked(values: Mapping[str, Any]) -> Templates:
    """Which templates the action's parameters ask for. Raises `Malformed`, or a `Fault`."""
    numbers = tuple(values.get("Definitions", ()))
    require("Definitions", len(numbers), 0, _MOST)
    require("Limit", values.get("Limit"), 1, _MOST)
    require("Offset", values.get("Offset"), 0, 2**31)
    order = values.get("OrderBy") or ""
    if order:  # by the time at which they were made, where it is not given [doc]
        parameters.choose("OrderBy", order, ("Definition",))
    require("OrderType", values.get("OrderType"), 0, 1)
    given = {name: value for name, value in values.items() if value != ""}
    return Templates(
        numbers=numbers,
        by_number=bool(order),
        descending=bool(order) and values.get("OrderType") == 1,  # with OrderBy alone [doc]
        **_ASKED.read(Reading(given)),
    )


def write_asked(asked: Templates) -> dict[str, Any]:
    """The parameters that ask for these templates."""
    said = _ASKED.write(asked)
    if asked.numbers:
        said["Definitions"] = list(asked.numbers)
    if asked.by_number:
        said |= {"OrderBy": "Definition", "OrderType": int(asked.descending)}
    return said


def write_page(page: TemplatePage) -> dict[str, Any]:
    """What the action answers."""
    return {
        "TotalCount": page.total,
        "ProcessImageTemplateSet": [
            _TOLD.write(one) | {"ProcessImageConfig": parameters.write_echo(one.operations)}
            for one in page.templates
        ],
    }


def read_page(data: Reading) -> TemplatePage:
    """The templates that the action tells. Raises `Malformed`."""
    templates = tuple(_read_template(item) for item in data.objects("ProcessImageTemplateSet"))
    return TemplatePage(templates=templates, total=data.integer("TotalCount", 0))


def _read_template(item: Reading) -> Template:
    told = _TOLD.read_echo(item) | {"number": item.integer("Definition")}
    config = item.values.get("ProcessImageConfig") or {}
    return Template(operations=parameters.read_echo(config), **told)
