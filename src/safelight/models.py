"""Which engine runs what a caller asks for: the configured map from model names to engines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import msgspec

from safelight import engines
from safelight.config import ModelRule, SettingsError
from safelight.engines import Engine
from safelight.errors import UnknownModel
from safelight.task import Catalogue, ModelCard, Models, Submit

# Without a rule of their own: whatever is to be made, and whatever is to be processed.
_MAKING, _PROCESSING = "sketch", "enhance"
_WILD = frozenset("*?[")


class Place(NamedTuple):
    """Where a task runs: an engine, and the options of its model."""

    engine: Engine
    options: Mapping[str, Any]


class ModelMap:
    """The rules, in order: the first whose name fits decides."""

    def __init__(self, rules: Sequence[ModelRule], found: Mapping[str, Engine]) -> None:
        self._rules = rules
        self._engines = found

    @classmethod
    def build(
        cls, rules: Sequence[ModelRule], settings: Mapping[str, Mapping[str, Any]]
    ) -> ModelMap:
        """Build the engines that the rules name. Raises `SettingsError` where one cannot be."""
        wanted = {rule.engine for rule in rules} | {_MAKING, _PROCESSING}
        for name in settings:
            if name not in engines.found():
                raise SettingsError(f"engines.{name}: no such engine")
        built: dict[str, Engine] = {}
        for name in sorted(wanted):
            try:
                engine = engines.build(name, settings.get(name, {}))
            except LookupError as problem:
                raise SettingsError(f"models: {problem}") from None
            if engine is None:
                raise SettingsError(f"models: the engine {name} is not configured")
            built[name] = engine
        return cls(rules, built)

    @property
    def engines(self) -> tuple[str, ...]:
        """The names of the engines that run anything."""
        return tuple(sorted(engine.name for engine in set(self._engines.values())))

    def find(self, submit: Submit) -> Place:
        """Where `submit` runs. Raises `UnknownModel`.

        Image processing names no model of its own accord, so a wildcard does not mean it: only a
        rule with its very name does.
        """
        for rule in self._rules:
            named = rule.name == submit.model
            if named or (not submit.operations and fnmatchcase(submit.model, rule.name)):
                return Place(self._engines[rule.engine], rule.options)
        if submit.operations:
            return Place(self._engines[_PROCESSING], {})
        if not self._rules:
            return Place(self._engines[_MAKING], {})
        raise UnknownModel(f"model is not supported: {submit.model[:100]!r}", parameter="model")

    def catalogue(self, asked: Models) -> Catalogue:
        """The models that can be named, without those that only a wildcard covers."""
        cards = [card for card in self._cards() if asked.kind in (None, card.kind)]
        if asked.editing:
            cards = [card for card in cards if card.max_sources]
        else:
            cards = [card for card in cards if not card.needs_source]
        return Catalogue(models=tuple(cards))

    def _cards(self) -> list[ModelCard]:
        if not self._rules:
            return [card for engine in self._engines.values() for card in engine.models]
        return [
            msgspec.structs.replace(card, name=rule.name)
            for rule in self._rules
            if not _WILD & set(rule.name)
            for card in self._engines[rule.engine].models
        ]
