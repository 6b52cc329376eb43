"""Which engine runs what a caller asks for: the configured map from model names to engines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import msgspec

from safelight import engines
from safelight.config import ModelRule, SettingsError
from safelight.engines import Engine
from safelight.errors import UnknownModel
from safelight.plugins import Unusable
from safelight.task import Catalogue, ModelCard, Models, Submit

# Without a rule of their own: whatever is to be made, and whatever is to be processed.
_MAKING, _PROCESSING = "sketch", "enhance"
_WILD = frozenset("*?[")


class Place(NamedTuple):
    """Where a task runs: an engine, the options of its model, and the time that one run may take.

    No time means that the model's rule says none.
    """

    engine: Engine
    options: Mapping[str, Any]
    time_limit: float | None = None


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
            if name not in wanted and name not in engines.known():
                raise SettingsError(f"engines.{name}: no such engine")
        built = {name: _build(name, settings.get(name, {})) for name in sorted(wanted)}
        _check_names(built)
        for rule in rules:
            _check_options(rule, built[rule.engine])
        return cls(rules, built)

    @property
    def engines(self) -> tuple[str, ...]:
        """The names of the engines that run anything."""
        return tuple(sorted(engine.name for engine in set(self._engines.values())))

    def engine(self, name: str) -> Engine:
        """The engine of that name, one of `engines`."""
        return next(engine for engine in self._engines.values() if engine.name == name)

    def waits(self, name: str) -> bool:
        """Whether the tasks of that engine, if there is one, are done elsewhere."""
        return name in self.engines and self.engine(name).traits.waits

    def find(self, submit: Submit) -> Place:
        """Where `submit` runs. Raises `UnknownModel`.

        Where something is done to a source, a wildcard means it only if there is some of the name
        in it: whoever says `*` has what is made in mind.
        """
        rule = self._rule(submit)
        if rule is not None:
            return Place(self._engines[rule.engine], rule.options, rule.time_limit)
        if submit.operations:
            return Place(self._engines[_PROCESSING], {})
        if not self._rules and not submit.named:
            return Place(self._engines[_MAKING], {})
        raise UnknownModel(f"model is not supported: {submit.model[:100]!r}", parameter="model")

    def _rule(self, submit: Submit) -> ModelRule | None:
        doing = submit.named or bool(submit.operations)
        for rule in self._rules:
            if doing and not _tells(rule.name):
                continue
            if rule.name == submit.model or fnmatchcase(submit.model, rule.name):
                return rule
        return None

    def rule_of(self, submit: Submit) -> tuple[str, str]:
        """The name of the rule that `submit` runs by, empty where it is none, and its engine's.

        For what is kept by model: names that callers give are without number, rules are few.
        """
        rule = self._rule(submit)
        if rule is not None:
            return rule.name, self._engines[rule.engine].name
        return "", self._engines[_PROCESSING if submit.operations else _MAKING].name

    def catalogue(self, asked: Models) -> Catalogue:
        """The models that answer when they are named, without those only a wildcard covers."""
        cards = [
            card
            for card in self._cards()
            if asked.kind in (None, card.kind) and asked.name in (None, card.name)
        ]
        if asked.editing is None:
            return Catalogue(models=tuple(cards))
        if asked.editing:
            cards = [card for card in cards if card.max_sources]
        else:
            cards = [card for card in cards if not card.needs_source]
        return Catalogue(models=tuple(cards))

    def requests(self) -> Mapping[tuple[str, str], int]:
        """How often other services were asked, by service and outcome."""
        asked: Counter[tuple[str, str]] = Counter()
        for engine in set(self._engines.values()):
            asked.update(engine.requests)
        return asked

    def prepare(self, names: Sequence[str]) -> None:
        """See that these engines can run. Raises `SettingsError` where one is not installed."""
        for name in names:
            try:
                self.engine(name).prepare()
            except ImportError as problem:
                raise SettingsError(f"the engine {name} cannot run here: {problem}") from None

    async def close(self) -> None:
        """Have the engines give up what they hold open."""
        for engine in set(self._engines.values()):
            await engine.close()

    def _cards(self) -> list[ModelCard]:
        if not self._rules:
            # Whatever is named: the other engines are for tasks with operations.
            return list(self._engines[_MAKING].models)
        return [
            msgspec.structs.replace(card, name=rule.name)
            for rule in self._rules
            if not _WILD & set(rule.name) and self._rule(Submit(model=rule.name)) is rule
            for card in self._engines[rule.engine].cards(rule.options)
        ]


def _tells(rule: str) -> bool:
    """Whether there is anything of a name in that of a rule, and not wildcards alone."""
    return any(sign.isalnum() for sign in rule)


def _build(name: str, settings: Mapping[str, Any]) -> Engine:
    try:
        engine = engines.build(name, settings)
    except (LookupError, Unusable) as problem:
        raise SettingsError(f"models: {problem}") from None
    except ValueError as problem:
        raise SettingsError(f"engines.{name}: {problem}") from None
    if engine is None:
        raise SettingsError(f"models: the engine {name} is not configured")
    return engine


def _check_names(built: Mapping[str, Engine]) -> None:
    """Engines are known by the names they call themselves: no two have one."""
    rules: dict[str, str] = {}
    for rule, engine in built.items():
        if engine.name in rules:
            both = f"{rules[engine.name]} and {rule}"
            raise SettingsError(f"models: the engines {both} both call themselves {engine.name}")
        rules[engine.name] = rule


def _check_options(rule: ModelRule, engine: Engine) -> None:
    try:
        engine.check_options(rule.options)
        engine.cards(rule.options)
    except (LookupError, ValueError) as problem:
        raise SettingsError(f"models: {rule.name}: options: {problem}") from None
