"""What an earlier task is asked for again with."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from safelight.dialects.safelight.reading import read_asked
from safelight.dialects.safelight.records import InputChanges, RetryRequest
from safelight.dialects.safelight.submits import TITLE, read_frames
from safelight.dialects.safelight.writing import WORDS
from safelight.errors import Unsupported
from safelight.task import Retry
from safelight.wire import Request, json_request

_INPUT = ("prompt", "count", *(word for word in WORDS if word != "seed"))
_OWN = ("model", "labels", "metadata", "start_within", "cancel_after", "priority")
_SIZES = frozenset({"width", "height", "ratio", "resolution"})


def read_retry(id: str, request: Request) -> Retry:
    """The task that is asked for again; an empty body changes nothing. Raises `Malformed`."""
    asked = read_asked(RetryRequest, request.json() if request.body else {})
    words = {name: value for name in _OWN if (value := getattr(asked, name)) is not UNSET}
    if asked.input is not UNSET:
        words |= _read_input(asked.input)
    if isinstance(asked.seed, int) and asked.seed != -1:
        words["seed"] = asked.seed
    return Retry(id=id, words=words, same_seed=asked.seed == "same")


def _read_input(changes: InputChanges) -> dict[str, Any]:
    words = {name: value for name in _INPUT if (value := getattr(changes, name)) is not UNSET}
    if _SIZES & words.keys():
        # One way to say how large it is takes the place of another.
        words = {**dict.fromkeys(_SIZES), **words}
    return words | read_frames(changes)


def write_retry(asked: Retry, path: str) -> Request:
    """The request that asks for a task again. Raises `Unsupported`."""
    known = {*_OWN, *_INPUT, "seed"}
    for name in asked.words:
        if name not in known:
            raise Unsupported(f"{TITLE} cannot retry a task with another {name}", parameter=name)
    said = {name: value for name, value in asked.words.items() if value is not None}
    changes = {name: said[name] for name in _INPUT if name in said}
    body = RetryRequest(
        seed="same" if asked.same_seed else said.get("seed", UNSET),
        input=InputChanges(**changes) if changes else UNSET,
        **{name: said[name] for name in _OWN if name in said},
    )
    return json_request("POST", path, body)
