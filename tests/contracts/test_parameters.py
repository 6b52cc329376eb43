"""What every wire owes for what it documents: nothing that is asked is ignored in silence, and
what is wrong is told by the name that the caller gave it.

The documented parameters are in tests/parameters; its README says how.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from safelight.dialects import found, named
from safelight.dialects.aitoearn.bodies import FORMS
from safelight.dialects.aitoearn.openai import PATHS
from safelight.dialects.tencent.commands import CREATE
from safelight.dialects.tensorslab import IMAGE_MODELS, VIDEO_MODELS
from safelight.errors import Fault, Malformed
from safelight.task import Submit
from safelight.wire import Dialect, Request
from wire_cases import request_of

PARAMETERS = Path(__file__).parent.parent / "parameters"
# Where a caller is told of what he asked for by the names of `Submit`.
WORDS = (
    *("model", "prompt", "negative", "count", "width", "height", "ratio", "resolution", "seed"),
    *("format", "quality", "duration", "fps", "audio"),
)

CREATING = {
    "tensorslab": {
        *(f"images.{model}" for model in IMAGE_MODELS),
        *(f"video.{model}" for model in VIDEO_MODELS),
    },
    "aigptimage": {"createTask"},
    "kie": {"createTask"},
    "aitoearn": {*FORMS, *PATHS},
    "safelight": {"create"},
    "tencent": {"ProcessImage", *CREATE.values()},
}


class Operation(NamedTuple):
    """An operation that creates a task, as its page documents it."""

    wire: Dialect
    said: Mapping[str, Any]

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self.said["parameters"])

    def read(self, values: Mapping[str, Any] | None = None) -> Submit:
        """What the operation's request asks for with these parameters set."""
        request = self.request(values or {})
        match = self.wire.match(request)
        assert match.op == self.said["op"]
        command = self.wire.read_request(match.op, match.params, request)
        assert isinstance(command, Submit)
        return command

    def request(self, values: Mapping[str, Any]) -> Request:
        said = copy.deepcopy(dict(self.said["request"]))
        for name, value in values.items():
            if "form" in said:
                said["form"] = [pair for pair in said["form"] if pair[0] != name] + [[name, value]]
            else:
                _put(said["json"], name.split("."), value)
        return request_of(said)


def _put(tree: Any, path: list[str], value: Any) -> None:
    for step, following in pairwise(path):
        empty: Any = [] if following.isdecimal() else {}
        if isinstance(tree, list):
            if int(step) == len(tree):
                tree.append(empty)
            tree = tree[int(step)]
        else:
            tree = tree.setdefault(step, empty)
    if isinstance(tree, list):
        tree[int(path[-1]) :] = [value]
    else:
        tree[path[-1]] = value


def operations() -> Iterator[Any]:
    for path in sorted(PARAMETERS.glob("*.json")):
        for said in json.loads(path.read_text(encoding="utf-8"))["operations"]:
            id = "-".join(filter(None, (path.stem, said["op"], said.get("of"))))
            yield pytest.param(Operation(named(path.stem), said), id=id)


def common(submit: Submit) -> Submit:
    """What `submit` asks for in words that every engine knows."""
    return msgspec.structs.replace(submit, extra={}, demands={})


@pytest.mark.parametrize("operation", list(operations()))
def test_what_is_asked_is_read_or_refused(operation: Operation, subtests: pytest.Subtests) -> None:
    for name, said in operation.said["parameters"].items():
        with subtests.test(name):
            check_value(operation, name, said)


def check_value(operation: Operation, name: str, said: Mapping[str, Any]) -> None:
    beside = said.get("with", {})
    plain, then = operation.read(beside), said.get("then", "read")

    if then == "refused":
        with pytest.raises((Malformed, Fault)) as refusal:
            operation.read({**beside, name: said["value"]})
        problem = refusal.value
        assert name == (
            problem.path if isinstance(problem, Malformed) else getattr(problem, "parameter", None)
        )
        return
    asked = operation.read({**beside, name: said["value"]})
    if then == "read":
        assert common(asked) != common(plain)
    elif then == "demanded":
        assert asked.demands[name] != plain.demands.get(name)  # which has it where it is required
    else:
        assert then == "kept"
        assert said["why"]
        assert common(asked) == common(plain)
        assert asked.demands == plain.demands
        assert asked.extra != plain.extra


@pytest.mark.parametrize("operation", list(operations()))
def test_a_documented_default_asks_for_nothing(
    operation: Operation, subtests: pytest.Subtests
) -> None:
    for name, said in operation.said["parameters"].items():
        if "default" in said:
            with subtests.test(name):
                check_default(operation, name, said)


def check_default(operation: Operation, name: str, said: Mapping[str, Any]) -> None:
    asked = operation.read({**said.get("with", {}), name: said["default"]})

    plain = operation.read(said.get("with", {}))
    assert asked.demands == plain.demands
    if said.get("then", "read") != "read":
        assert common(asked) == common(plain)


@pytest.mark.parametrize("operation", list(operations()))
def test_what_is_wrong_is_told_by_the_caller_s_own_names(operation: Operation) -> None:
    for name, said in {"": {}, **operation.said["parameters"]}.items():
        if said.get("then", "read") == "refused":
            continue
        submit = operation.read({**said.get("with", {}), **({name: said["value"]} if name else {})})
        sent = json.dumps(operation.said["request"]) + json.dumps(said) + name
        for ours in told(submit):
            theirs = operation.wire.parameter_name(operation.said["op"], ours, submit)

            assert theirs in operation.names or ours in operation.said.get("path_names", ())
            if ours.partition(".")[0] == "sources":
                assert (
                    next(part for part in theirs.split(".")[::-1] if not part.isdecimal()) in sent
                )


def told(submit: Submit) -> Iterator[str]:
    """The parameters that a fault about `submit` may name: those that it sets."""
    plain = Submit()
    for word in WORDS:
        if getattr(submit, word) != getattr(plain, word):
            yield word
    yield from (f"sources.{index}" for index in range(len(submit.sources)))


@pytest.mark.parametrize("wire", found().values(), ids=list(found()))
def test_every_operation_that_creates_is_documented(wire: Dialect) -> None:
    said = json.loads((PARAMETERS / f"{wire.name}.json").read_text(encoding="utf-8"))

    assert said["documented"]
    assert {one["op"] for one in said["operations"]} == CREATING[wire.name]
