"""What is wrong with a request, in Chinese."""

from __future__ import annotations

import time

import pytest

from safelight.dialects.chinese import _PAIRS, in_chinese
from safelight.engines import enhance, sketch
from safelight.errors import (
    BadRequest,
    Fault,
    Malformed,
    StillRunning,
    Unreachable,
    Upstream,
)
from safelight.task import Kind, Operation, Role, Source, Submit
from safelight.wire import Reading, read_frame, read_json, require

VALUES = {"{n}": "12", "{w}": "word", "{t}": "a, b (c)"}


@pytest.mark.parametrize("english", [english for english, _ in _PAIRS])
def test_each_sentence_is_found_as_its_own(english: str) -> None:
    """No line of the table hides one below it, and what stands in its holes is told back."""
    chinese = dict(_PAIRS)[english]
    said, told, rest = english, "", chinese
    while "{}" in rest:
        hole = min(VALUES, key=lambda one: said.find(one) if one in said else len(said))
        value = VALUES[hole]
        said = said.replace(hole, value, 1)
        before, _, rest = rest.partition("{}")
        told += before + value
    assert in_chinese(said) == told + rest
    assert in_chinese(f"ImageTask.Areas.0.Type: {said}") == f"ImageTask.Areas.0.Type：{told}{rest}"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("prompt: required", "prompt：必填"),
        ("must be 1 to 100", "必须为 1 到 100"),
        ("width: 5 is not from 64 to 4096", "width：5 不在 64 到 4096 之间"),
        ("format: 'gif' is not one of png, jpeg", "format：“gif”不是以下取值之一：png, jpeg"),
        ("sources.0: 99x99 is more than 16 pixels", "sources.0：99x99 超过 16 像素"),
        ("Seedance cannot say LogoAdd", "Seedance 不支持 LogoAdd"),
        # Unknown ones are left, with their names.
        ("the moon is full", "the moon is full"),
        ("prompt: the moon is full", "prompt: the moon is full"),
        ("必填", "必填"),
        ("", ""),
        # What somebody sent is a value, and no sentence and no template.
        ("not one of {}, {0}, %s", "不是以下取值之一：{}, {0}, %s"),
        ("two words: required", "two words: required"),
        ("'a b' is none of x", "'a b' is none of x"),
        ("a: b: required", "a: b: required"),
        ("required\n", "required\n"),
    ],
)
def test_sentences(text: str, told: str) -> None:
    assert in_chinese(text) == told


def test_what_the_readers_say_is_in_the_table() -> None:
    reading = Reading({"a": [], "b": {}, "c": 2**70, "d": "x"})
    for act in (
        lambda: reading.text("x"),
        lambda: reading.text("a"),
        lambda: reading.integer("a"),
        lambda: reading.number("c"),
        lambda: reading.flag("a"),
        lambda: reading.texts("b"),
        lambda: reading.object("a"),
        lambda: reading.objects("b"),
        lambda: read_frame("huge", "size"),
        lambda: read_json(b"{"),
        lambda: require("Limit", 0, 1, 100),
    ):
        with pytest.raises((Malformed, Fault)) as problem:
            act()
        assert not in_chinese(str(problem.value)).isascii()


SOURCE = Source(url="https://a.example/1.png")


@pytest.mark.parametrize(
    "submit",
    [
        Submit(count=99),
        Submit(width=1),
        Submit(format="gif"),
        Submit(ratio="1:4000"),
        Submit(ratio="wide"),
        Submit(resolution="huge"),
        Submit(kind=Kind.VIDEO, duration=99),
        Submit(kind=Kind.VIDEO, fps=999),
        Submit(kind=Kind.VIDEO, width=65, height=64),
        Submit(sources=(SOURCE,) * 99),
        Submit(sources=(Source(url="u", role=Role.VIDEO),)),
        Submit(sources=(Source(url="u", role=Role.MASK),)),
        Submit(operations=(Operation(name="denoise"),)),
    ],
)
def test_what_is_wrong_with_a_drawing_is_in_the_table(submit: Submit) -> None:
    with pytest.raises(Fault) as refused:
        sketch.build({}).check(submit, {})
    assert in_chinese(refused.value.message) != refused.value.message


@pytest.mark.parametrize(
    "operation",
    [
        Operation(name="dream"),
        Operation(name="denoise", options={"type": "soft"}),
        Operation(name="denoise", options={"type": 5}),
        Operation(name="denoise", options={"magic": 5}),
        Operation(name="encode", options={"quality": 0}),
        Operation(name="encode", options={"quality": "x"}),
        Operation(name="image_erase_logo", options={"image_area_boxes": {}}),
        Operation(name="image_erase_logo", options={"image_area_boxes": []}),
        Operation(name="image_erase_logo", options={"image_area_boxes": [{}]}),
        Operation(name="image_erase_logo", options={"image_area_boxes": [{"bounding_box": [1]}]}),
        Operation(name="image_erase_logo", options={"detect_types": ["logo"]}),
    ],
)
def test_what_is_wrong_with_a_processing_is_in_the_table(operation: Operation) -> None:
    with pytest.raises(Fault) as refused:
        enhance.build({}).check(Submit(sources=(SOURCE,), operations=(operation,)), {})
    assert in_chinese(refused.value.message) != refused.value.message


@pytest.mark.parametrize("fault", [*Fault.__subclasses__(), *BadRequest.__subclasses__()])
def test_what_a_fault_says_by_itself_is_in_the_table(fault: type[Fault]) -> None:
    if not issubclass(fault, Upstream | Unreachable | StillRunning):  # heard by clients alone
        assert not in_chinese(fault.default()).isascii()


@pytest.mark.parametrize("unit", ["a", "not one of ", "0", "'", " is ", ": ", "a.", "\n"])
def test_hostile_texts_take_no_time(unit: str) -> None:
    began = time.process_time()
    for length in (1_900, 100_000):
        text = unit * (length // len(unit)) + "!"
        in_chinese(text)
        in_chinese(f"name: {text}")
    assert time.process_time() - began < 0.5
