"""Which engine runs what: the rules, the defaults, and the list of models."""

from __future__ import annotations

import pytest

from doubles import Player, models_of
from safelight.config import ModelRule, SettingsError
from safelight.errors import UnknownModel
from safelight.models import ModelMap
from safelight.task import Kind, ModelCard, Models, Operation, Submit


class Film(Player):
    name = "film"
    models: tuple[ModelCard, ...] = (ModelCard(name="film", kind=Kind.VIDEO),)


MAKING, PROCESSING = Player(), Film()
ENGINES = {"sketch": MAKING, "enhance": PROCESSING}


def rule(name: str, engine: str = "sketch", **options: object) -> ModelRule:
    return ModelRule(name=name, engine=engine, options=options)


def test_without_rules_everything_is_made_or_processed() -> None:
    models = ModelMap((), ENGINES)

    assert models.find(Submit(model="anything")).engine is MAKING
    assert models.find(Submit(model="")).engine is MAKING
    assert models.find(Submit(operations=(Operation(name="x"),))).engine is PROCESSING
    assert models.find(Submit()).options == {}


def test_the_first_rule_that_fits_decides() -> None:
    rules = (rule("dream-1", a=1), rule("dream-*", "enhance", a=2), rule("*", a=3))
    models = ModelMap(rules, ENGINES)

    assert models.find(Submit(model="dream-1")) == (MAKING, {"a": 1})
    assert models.find(Submit(model="dream-2")) == (PROCESSING, {"a": 2})
    assert models.find(Submit(model="else")) == (MAKING, {"a": 3})


def test_the_engines_are_named_once_each() -> None:
    assert ModelMap((), ENGINES).engines == ("film", "player")
    assert models_of(MAKING).engines == ("player",)


def test_a_name_is_its_case_too() -> None:
    with pytest.raises(UnknownModel):
        ModelMap((rule("dream"),), ENGINES).find(Submit(model="Dream"))


def test_with_rules_what_none_fits_is_unknown_but_processing() -> None:
    models = ModelMap((rule("dream"),), ENGINES)

    with pytest.raises(UnknownModel) as told:
        models.find(Submit(model="x" * 500))

    assert len(told.value.message) < 200
    assert models.find(Submit(operations=(Operation(name="x"),))).engine is PROCESSING


def test_the_engines_models_are_listed_where_there_are_no_rules() -> None:
    def names(**asked: object) -> list[str]:
        cards = ModelMap((), ENGINES).catalogue(Models(**asked)).models  # type: ignore[arg-type]
        return [card.name for card in cards]

    assert names() == ["still", "edit", "film", "film"]
    assert names(kind=Kind.IMAGE) == ["still", "edit"]
    assert names(editing=True, kind=Kind.IMAGE) == ["edit"]


def test_the_rules_names_are_listed_but_wildcards() -> None:
    models = ModelMap((rule("dream", "enhance"), rule("dream-*"), rule("d[12]")), ENGINES)

    assert models.catalogue(Models()).models == (ModelCard(name="dream", kind=Kind.VIDEO),)


def test_the_engines_that_rules_name_are_built() -> None:
    models = ModelMap.build((rule("a", "enhance"),), {})

    assert models.find(Submit(model="a")).engine.name == "enhance"


def test_engines_that_are_none_are_refused() -> None:
    with pytest.raises(SettingsError, match="painter"):
        ModelMap.build((rule("a", "painter"),), {})
    with pytest.raises(SettingsError, match=r"engines\.painter"):
        ModelMap.build((), {"painter": {}})


def test_every_model_may_be_one_engines() -> None:
    engine = Player()

    assert models_of(engine).find(Submit(operations=(Operation(name="x"),))).engine is engine


def test_a_wildcard_does_not_mean_processing_but_its_name_does() -> None:
    processing = Submit(model="process-image", operations=(Operation(name="x"),))

    assert ModelMap((rule("*"),), ENGINES).find(processing).engine is PROCESSING
    assert ModelMap((rule("process-image", a=1),), ENGINES).find(processing) == (MAKING, {"a": 1})
