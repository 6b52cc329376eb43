"""The dialect keeps the contracts, and says what its pages say."""

from __future__ import annotations

import pytest
from safelight_plugin.plain import Plain

from safelight.contracts import check_dialect
from safelight.errors import MissingParameter, Unsupported
from safelight.task import Submit
from safelight.wire import Request, json_request

WIRE = Plain()


def test_it_keeps_the_contracts() -> None:
    check_dialect(WIRE, [Submit(model="gradient", prompt="navy", width=64, height=32, count=2)])


def test_a_task_is_asked_for_in_its_words() -> None:
    asked = json_request("POST", "/pictures", {"text": "navy, orange", "width": 64, "height": 32})

    said = WIRE.read_request("create", {}, asked)

    assert said == Submit(model="gradient", prompt="navy, orange", width=64, height=32)
    assert WIRE.match(Request(method="GET", path="/pictures/1")).op == "show"


def test_what_it_cannot_say_is_refused_by_name() -> None:
    with pytest.raises(MissingParameter):
        WIRE.read_request("create", {}, json_request("POST", "/pictures", {}))
    with pytest.raises(Unsupported) as refused:
        WIRE.write_request(Submit(prompt="navy", seed=7))

    assert refused.value.parameter == "seed"
