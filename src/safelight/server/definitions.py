"""The templates of `[[definitions]]`: numbers for what a task does to a picture.

They are written in the words of the one wire that has such numbers, Tencent's, and checked with its
own table when the settings are read. The rule for whoever edits this: what a caller says beside a
number wins, member by member, and what is switched off stays off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from safelight.config import DefinitionRule, SettingsError
from safelight.dialects.tencent import parameters
from safelight.dialects.tencent.commands import AS_IT_IS
from safelight.errors import InvalidValue, Malformed, NotFound
from safelight.service import DEFINITION
from safelight.task import Operation, Submit, Template, TemplatePage, Templates

_IMAGE_TASK = "ImageTask"


class Definitions:
    """The templates of the settings, in their order."""

    def __init__(self, rules: Sequence[DefinitionRule] = ()) -> None:
        """Raises `SettingsError` where one is no template."""
        self._tasks = {rule.number: _read(rule) for rule in rules}
        self._templates = tuple(
            Template(
                number=rule.number,
                name=rule.name,
                comment=rule.comment,
                operations=_operations(self._tasks[rule.number]),
            )
            for rule in rules
        )

    def expand(self, submit: Submit) -> Submit:
        """`submit` with the operations of its template, and without the demand for it."""
        number = submit.demands[DEFINITION]
        if not self._tasks:
            raise InvalidValue(f"{DEFINITION}: there are no templates here", parameter=DEFINITION)
        if number not in self._tasks:
            raise NotFound(f"there is no template {number}", parameter=DEFINITION)
        said = _merge(self._tasks[number], submit.extra.get(_IMAGE_TASK, {}))
        others = {name: value for name, value in submit.demands.items() if name != DEFINITION}
        return msgspec.structs.replace(submit, operations=_operations(said), demands=others)

    def page(self, asked: Templates) -> TemplatePage:
        """The templates that `asked` fits."""
        found = [one for one in self._templates if _fits(one, asked)]
        if asked.by_number:
            found.sort(key=lambda one: one.number, reverse=asked.descending)
        shown = found[asked.offset : asked.offset + asked.limit]
        return TemplatePage(templates=tuple(shown), total=len(found))


def _fits(template: Template, asked: Templates) -> bool:
    return (
        (not asked.numbers or template.number in asked.numbers)
        and asked.name in (None, template.name)
        and asked.preset in (None, template.preset)
    )


def _read(rule: DefinitionRule) -> dict[str, Any]:
    try:
        read = parameters.IMAGE_TASK.read(rule.image_task, "image_task", parameters.Manner())
    except Malformed as problem:
        raise SettingsError(f"definitions: {rule.number}: {problem}") from None
    if not parameters.read_operations(read):
        raise SettingsError(f"definitions: {rule.number}: image_task: it asks for nothing")
    return read


def _operations(image_task: Mapping[str, Any]) -> tuple[Operation, ...]:
    return parameters.read_operations(image_task) or AS_IT_IS


def _merge(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """What both say; where they differ, what the second says."""
    return {
        **first,
        **{
            name: _merge(first[name], value)
            if isinstance(value, Mapping) and isinstance(first.get(name), Mapping)
            else value
            for name, value in second.items()
        },
    }
