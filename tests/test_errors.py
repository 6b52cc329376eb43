"""The faults: each has a code of its own, a status, and a sentence; the drawing shows them all."""

from __future__ import annotations

import http
import inspect
import re
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import pytest

from safelight import errors
from safelight.errors import (
    BadRequest,
    Fault,
    Internal,
    InvalidType,
    InvalidValue,
    Malformed,
    MissingParameter,
    RateLimited,
    StillRunning,
    SubmissionUnknown,
    Unauthenticated,
    Unavailable,
    UnknownOperation,
    UnknownParameter,
    Unreachable,
    Unsupported,
)


def tree(fault: type[Fault]) -> Iterator[type[Fault]]:
    yield fault
    for child in fault.__subclasses__():
        yield from tree(child)


FAULTS = [fault for fault in tree(Fault) if fault.__module__ == errors.__name__]


def test_the_drawing_names_every_fault_below_its_parent() -> None:
    drawing = (errors.__doc__ or "").partition("\n\n")[2].rpartition("\n\n")[0]
    parents: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for branch, name in re.findall(r"^([ │├└─]*)(\(?\w+)", drawing, re.MULTILINE):
        above = [(depth, parent) for depth, parent in above if depth < len(branch)]
        parent = above[-1][1] if above else ""
        if name.startswith("("):  # a heading among the faults: its children are its parent's
            name = parent
        else:
            parents[name] = parent
        above.append((len(branch), name))

    assert set(parents) == {"Exception", "Malformed"} | {fault.__name__ for fault in FAULTS}
    for fault in FAULTS:
        assert parents[fault.__name__] == fault.__mro__[1].__name__


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_has_a_status_and_a_sentence(fault: type[Fault]) -> None:
    message = fault().message

    assert http.HTTPStatus(fault.status).value >= 400
    assert message == str(fault())
    assert message.endswith(".")
    assert "\n" not in message


def test_no_two_faults_share_a_code() -> None:
    codes = [fault.code for fault in FAULTS]

    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_says_what_it_was_given(fault: type[Fault]) -> None:
    assert fault("It rains.").message == "It rains."
    assert str(fault("It rains.")) == "It rains."


@pytest.mark.parametrize(
    ("fault", "more"),
    [
        (BadRequest, {"parameter": "prompt"}),
        (Unauthenticated, {"reason": "expired", "parameter": "authorization"}),
        (UnknownOperation, {"what": "action", "name": "Fly"}),
        (RateLimited, {"retry_after": 2.5, "limit": 10, "used": 11, "window": 60}),
        (Internal, {"incident": "f00d"}),
        (Unavailable, {"retry_after": 3}),
        (StillRunning, {"task_id": "0190a1b2c3d4e5f60718293a"}),
    ],
)
def test_a_fault_carries_what_its_reader_needs(fault: type[Fault], more: dict[str, Any]) -> None:
    made = fault(None, **more)

    assert {name: getattr(made, name) for name in more} == more


def test_a_fault_without_a_docstring_is_called_by_its_name() -> None:
    class Rain(Fault):
        pass

    assert Rain().message == "Rain"


def test_what_still_runs_says_how_to_find_it_again() -> None:
    assert "0190a1" in StillRunning(task_id="0190a1").message


def test_a_lost_answer_is_one_that_did_not_come() -> None:
    assert issubclass(SubmissionUnknown, Unreachable)
    assert issubclass(Unsupported, BadRequest)


def test_malformed_words_are_of_a_known_kind() -> None:
    assert set(get_args(get_type_hints(Malformed.__init__)["kind"])) == {
        "missing",
        "type",
        "value",
        "unknown",
        "syntax",
    }


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("missing", MissingParameter),
        ("type", InvalidType),
        ("value", InvalidValue),
        ("unknown", UnknownParameter),
        ("syntax", BadRequest),
    ],
)
def test_malformed_words_of_a_caller_are_its_fault(kind: Any, fault: type[Fault]) -> None:
    told = Malformed("input.size", "not a size", kind).as_fault()

    assert type(told) is fault
    assert told.message == "input.size: not a size"
    assert told.parameter == "input.size"


def test_malformed_words_without_a_place_are_told_without_one() -> None:
    assert Malformed("", "no JSON", "syntax").as_fault().parameter is None
    assert str(Malformed("", "no JSON", "syntax")) == "no JSON"
    assert Malformed("a", "wrong").kind == "value"


def test_nothing_else_is_defined_there() -> None:
    classes = [found for _, found in inspect.getmembers(errors, inspect.isclass)]

    assert {found for found in classes if found.__module__ == errors.__name__} == {
        Malformed,
        *FAULTS,
    }
