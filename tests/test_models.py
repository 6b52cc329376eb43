"""Which engine runs what: the rules, the defaults, and the list of models."""

from __future__ import annotations

from typing import Any

import pytest

from doubles import Player, models_of
from safelight.config import ModelRule, SettingsError
from safelight.errors import UnknownModel
from safelight.models import ModelMap, Place
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

    assert models.find(Submit(model="dream-1")) == Place(MAKING, {"a": 1})
    assert models.find(Submit(model="dream-2")) == Place(PROCESSING, {"a": 2})
    assert models.find(Submit(model="else")) == Place(MAKING, {"a": 3})


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

    # Not those of the engine for operations: in its name the other one would answer.
    assert names() == ["still", "edit", "film"]
    assert names(kind=Kind.IMAGE) == ["still", "edit"]
    assert names(editing=True, kind=Kind.IMAGE) == ["edit"]


def test_the_rules_names_are_listed_but_wildcards() -> None:
    models = ModelMap((rule("dream", "enhance"), rule("dream-*"), rule("d[12]")), ENGINES)

    assert models.catalogue(Models()).models == (ModelCard(name="dream", kind=Kind.VIDEO),)


def test_a_rule_that_never_decides_is_not_listed() -> None:
    rules = (rule("dream"), rule("d*", "enhance"), rule("dawn"), rule("dream", "enhance"))
    models = ModelMap(rules, ENGINES)

    listed = models.catalogue(Models()).models

    assert {card.name for card in listed} == {"dream"}
    assert {card.kind for card in listed} == {Kind.IMAGE, Kind.VIDEO}


def test_what_processes_is_listed_where_its_rule_says_what_it_does() -> None:
    cutting = rule("cut", "enhance", operations=[{"name": "image_resize", "width": 64}])
    models = ModelMap.build((rule("process-image", "enhance"), cutting), {})

    assert [card.name for card in models.catalogue(Models(editing=True)).models] == ["cut"]
    assert models.catalogue(Models()).models == ()


def test_an_image_api_s_card_has_what_its_rule_says() -> None:
    rules = (rule("a", "openai", sizes=["64x64"]), rule("b", "openai", ignore=["quality"]))
    first, second = ModelMap.build(rules, {}).catalogue(Models()).models

    assert (first.name, first.sizes, first.qualities[0]) == ("a", ("64x64",), "auto")
    assert (len(second.sizes), second.qualities) == (3, ())


@pytest.mark.parametrize("rules", [(), (rule("a"), rule("*", "enhance"), rule("b"))])
def test_a_model_that_is_listed_is_the_one_that_answers(rules: tuple[ModelRule, ...]) -> None:
    models = ModelMap.build(rules, {})
    for asked in (Models(), Models(editing=True)):
        for card in models.catalogue(asked).models:
            engine = models.find(Submit(kind=card.kind, model=card.name)).engine
            assert card.kind in {own.kind for own in engine.models}
            assert card.description in {own.description for own in engine.models}


def test_the_engines_that_rules_name_are_built() -> None:
    models = ModelMap.build((rule("a", "enhance"),), {})

    assert models.find(Submit(model="a")).engine.name == "enhance"


def test_engines_that_are_none_are_refused() -> None:
    with pytest.raises(SettingsError, match="painter"):
        ModelMap.build((rule("a", "painter"),), {})
    with pytest.raises(SettingsError, match=r"engines\.painter"):
        ModelMap.build((), {"painter": {}})


NOT_VALID = [
    ("sketch", {"seconds": -1}, "seconds: must be at least 0"),
    ("sketch", {"max_pixels": "many"}, "max_pixels: must be a whole number"),
    ("sketch", {"max_pixels": 1.5}, "max_pixels: must be a whole number"),
    ("enhance", {"seconds": "1"}, "seconds: must be a number"),
    ("enhance", {"operations": "ai_cutout"}, "operations that are no tables"),
    ("enhance", {"operations": [{"name": "paint"}]}, "paint: this engine has no such operation"),
]


@pytest.mark.parametrize(("engine", "options", "said"), NOT_VALID)
def test_options_that_are_not_valid_are_refused_by_the_rule(
    engine: str, options: dict[str, Any], said: str
) -> None:
    bad = ModelRule(name="dream-*", engine=engine, options=options)

    with pytest.raises(SettingsError, match=r"models: dream-\*: options: ") as refused:
        ModelMap.build((rule("still", "sketch"), bad), {})

    assert said in str(refused.value)
    assert len(str(refused.value)) < 200


def test_options_that_are_valid_are_taken() -> None:
    options = {"seconds": 0, "max_pixels": 1}
    processing = {"operations": [{"name": "denoise", "type": "strong"}]}
    rules = (rule("a", "sketch", **options), rule("b", "enhance", **processing))

    assert ModelMap.build(rules, {}).find(Submit(model="a")).options == options


def test_a_place_has_the_time_limit_of_its_rule() -> None:
    timed = ModelRule(name="film", engine="sketch", options={"a": 1}, time_limit=60)
    models = ModelMap((timed, rule("*")), ENGINES)

    assert models.find(Submit(model="film")) == Place(MAKING, {"a": 1}, 60)
    assert models.find(Submit(model="else")).time_limit is None


def test_every_model_may_be_one_engines() -> None:
    engine = Player()

    assert models_of(engine).find(Submit(operations=(Operation(name="x"),))).engine is engine


def test_a_bare_wildcard_does_not_mean_processing_but_some_of_its_name_does() -> None:
    processing = Submit(model="process-image", operations=(Operation(name="x"),))

    for bare in ("*", "?*", "*-*"):
        assert ModelMap((rule(bare),), ENGINES).find(processing).engine is PROCESSING
    for name in ("process-image", "process-*", "*image"):
        assert ModelMap((rule("*"), rule(name, a=1)), ENGINES).find(processing).options == {"a": 1}


def test_what_no_engine_does_is_run_by_a_rule_of_its_name_alone() -> None:
    submit = Submit(model="layers/split", named=True)

    for rules in ((), (rule("*"),), (rule("layer-*"),)):
        with pytest.raises(UnknownModel) as told:
            ModelMap(rules, ENGINES).find(submit)
        assert told.value.parameter == "model"
    for name in ("layers/split", "layers/*"):
        assert ModelMap((rule("*"), rule(name, a=1)), ENGINES).find(submit).options == {"a": 1}
