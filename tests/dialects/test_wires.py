"""Every case in tests/wires, in both directions: its README says what a case holds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from safelight import errors
from safelight.dialects import named
from safelight.errors import Fault
from safelight.task import Command, Reply
from safelight.wire import (
    Context,
    Request,
    Response,
    json_response,
)
from wire_cases import part_of, request_of

WIRES = Path(__file__).parent.parent / "wires"
COMMANDS = {record.__name__: record for record in get_args(Command)}
REPLIES = {record.__name__: record for record in get_args(Reply)}
NAMES = {
    *("documented", "op", "command", "request", "reply", "response", "fault"),
    *("request_directions", "response_directions", "volatile"),
}
MIDDAY = 1769774400000  # 2026-01-30 12:00:00 UTC


def cases(side: str, direction: str) -> list[Any]:
    """The cases that have that side and run it in that direction; its path is the id of each."""
    return [
        pytest.param(path.parent.name, case, id=path.relative_to(WIRES).with_suffix("").as_posix())
        for path in sorted(WIRES.glob("*/*.json"))
        for case in [json.loads(path.read_text(encoding="utf-8"))]
        if side in case and direction in case.get(f"{side}_directions", ["read", "write"])
    ]


# --------------------------------------------------------------------------- what the cases say


def record(said: Mapping[str, Any], classes: Mapping[str, type]) -> Any:
    values = {name: value for name, value in said.items() if name != "type"}
    made: Any = msgspec.convert(values, classes[said["type"]])
    check_names(values, made)
    return made


def check_names(said: Any, made: Any) -> None:
    """A name that the record does not have would be dropped: it is a mistake in the case."""
    if isinstance(made, msgspec.Struct):
        assert set(said) <= set(made.__struct_fields__)
        for name, value in said.items():
            check_names(value, getattr(made, name))
    elif isinstance(made, tuple):
        for value, part in zip(said, made, strict=True):
            check_names(value, part)


def fault_of(said: Mapping[str, Any]) -> Fault:
    more = {name: value for name, value in said.items() if name not in ("type", "message")}
    fault: Fault = getattr(errors, said["type"])(said["message"], **more)
    return fault


def response_of(said: Mapping[str, Any]) -> Response:
    headers = tuple(said.get("headers", {}).items())
    return json_response(said["json"], said.get("status", 200), headers=headers)


def context_of(case: Mapping[str, Any]) -> Context:
    said = case.get("request")
    request = request_of(said) if said else Request(method="POST", path="/")
    return Context(request=request, request_id="a-request", now=MIDDAY)


def settled(value: Any, volatile: Sequence[str]) -> Any:
    """`value` without what is made anew each time."""
    value = json.loads(json.dumps(value))
    for path in volatile:
        *above, name = path.split(".")
        found = value
        for step in above:
            found = found[int(step)] if isinstance(found, list) else found[step]
        del found[name]
    return value


# ------------------------------------------------------------------------------- the directions


@pytest.mark.parametrize(("dialect", "case"), cases("request", "read"))
def test_the_server_reads_the_request(dialect: str, case: dict[str, Any]) -> None:
    wire, request = named(dialect), request_of(case["request"])

    match = wire.match(request)

    assert wire.claims(request)
    assert match.op == case["op"]
    read = wire.read_request(match.op, match.params, request)
    assert read == record(case["command"], COMMANDS)


@pytest.mark.parametrize(("dialect", "case"), cases("request", "write"))
def test_the_client_writes_the_request(dialect: str, case: dict[str, Any]) -> None:
    said = case["request"]

    written = named(dialect).write_request(record(case["command"], COMMANDS))

    assert (written.method, written.path) == (said["method"], said["path"])
    assert written.arguments() == said.get("query", {})
    for name, value in said.get("headers", {}).items():
        assert written.header(name.lower()) == value
    if "json" in said:
        assert written.json() == said["json"]
    elif "form" in said:
        assert sorted(map(repr, written.form())) == sorted(repr(part_of(p)) for p in said["form"])
    else:
        assert written.body == b""


@pytest.mark.parametrize(("dialect", "case"), cases("response", "read"))
def test_the_client_reads_the_answer(dialect: str, case: dict[str, Any]) -> None:
    wire, response = named(dialect), response_of(case["response"])
    command = record(case["command"], COMMANDS)

    if "fault" not in case:
        assert wire.read_reply(command, response) == record(case["reply"], REPLIES)
        return
    told = fault_of(case["fault"])
    with pytest.raises(Fault) as heard:
        wire.read_reply(command, response)
    assert type(heard.value) is type(told)
    for name in case["fault"].keys() - {"type"}:
        assert getattr(heard.value, name) == getattr(told, name)


@pytest.mark.parametrize(("dialect", "case"), cases("response", "write"))
def test_the_server_writes_the_answer(dialect: str, case: dict[str, Any]) -> None:
    wire, said = named(dialect), case["response"]

    if "fault" in case:
        written = wire.write_fault(case["op"], fault_of(case["fault"]), context_of(case))
    else:
        written = wire.write_reply(case["op"], record(case["reply"], REPLIES), context_of(case))

    volatile = case.get("volatile", ())
    assert written.status == said.get("status", 200)
    assert settled(written.json(), volatile) == settled(said["json"], volatile)
    for name, value in said.get("headers", {}).items():
        assert written.header(name) == value


@pytest.mark.parametrize("path", sorted(WIRES.glob("*/*.json")), ids=lambda path: path.stem)
def test_a_case_says_what_a_case_may_say(path: Path) -> None:
    case = json.loads(path.read_text(encoding="utf-8"))

    assert set(case) <= NAMES
    assert case["documented"]
    assert {"request", "response"} & set(case)
    assert "command" in case or "fault" in case
