"""The dialects that there are, and the ones that there are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from installed import DIALECT
from safelight.dialects import found, named, own, problem_of, problems, read_plugin
from safelight.dialects.tensorslab import TensorsLab
from safelight.plugins import Plugin, Unusable
from safelight.wire import Route


def test_a_dialect_is_found_by_its_name() -> None:
    assert list(own()) == ["aigptimage", "kie", "aitoearn", "safelight", "tencent", "tensorslab"]
    assert list(found()) == sorted(found())
    assert set(own()) <= set(found())
    assert all(named(name).name == name for name in found())
    assert problems() == ()


def test_what_is_no_dialect_is_told_with_those_that_are() -> None:
    with pytest.raises(LookupError, match=r"no dialect 'telegraph'; there are aigptimage, "):
        named("telegraph")


class Morse(TensorsLab):
    """A dialect, but for what a test gives it."""

    name = "morse"

    def __init__(self, **wrong: Any) -> None:
        for name, value in wrong.items():
            setattr(self, name, value)
        super().__init__()


WRONG = [
    ({"name": ""}, "'' is no name"),
    ({"name": "Morse"}, "'Morse' is no name"),
    ({"name": "../morse"}, "'../morse' is no name"),
    ({"name": "m" * 41}, "is no name"),
    ({"name": 7}, "7 is no name"),
    ({"name": "tencent"}, "there is another dialect tencent"),
    ({"routes": ()}, "the dialect morse has no routes"),
    ({"routes": (Route("a", "GET", "/v1/a"), Route("a", "GET", "/v1/b"))}, "two routes of one"),
    ({"prefixes": ("v1",)}, "no paths of the dialect morse can begin with 'v1'"),
    ({"prefixes": ("/v1/",)}, "no paths of the dialect morse can begin with '/v1/'"),
    ({"prefixes": ("/",)}, "'/v1/images/seedreamv4' of the dialect morse lies under none"),
    ({"prefixes": ()}, "lies under none of its prefixes"),
]


@pytest.mark.parametrize(("wrong", "why"), WRONG)
def test_a_dialect_that_is_none_is_told_what_is_wrong(wrong: dict[str, Any], why: str) -> None:
    problem = problem_of(Morse(**wrong), own())

    assert problem is not None
    assert why in problem


@pytest.mark.parametrize("it", [None, "morse", Morse, object()])
def test_what_is_no_object_of_a_dialect_is_none(it: object) -> None:
    assert "is no object of a subclass of Dialect" in (problem_of(it, own()) or "")


def test_every_dialect_is_one() -> None:
    for dialect in (*own().values(), Morse(), Morse(prefixes=("/", "/v1"))):
        assert problem_of(dialect, ()) is None


def test_a_plugin_brings_all_its_dialects_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    dots, dashes = (DIALECT.format(name=name, prefix=f"/{name}") for name in ("dots", "dashes"))
    both = f"{dots}\nFIRST = DIALECTS\n{dashes}\nDIALECTS = FIRST + DIALECTS"
    breaking = f"{dots}\ndots.name = property(lambda self: 1 / 0)"
    for name, text in {"both": both, "none": "", "breaking": breaking}.items():
        tmp_path.joinpath(f"telegraph_{name}.py").write_text(text)

    def read(name: str, *taken: str) -> list[str]:
        return list(read_plugin(Plugin(name, "telegraphy", f"telegraph_{name}"), taken))

    assert read("both") == ["dots", "dashes"]
    with pytest.raises(Unusable, match=r"plug-in both \(of the package telegraphy\) is left out"):
        read("both", "dashes")
    with pytest.raises(Unusable, match="telegraph_none has no tuple DIALECTS"):
        read("none")
    with pytest.raises(Unusable, match="ZeroDivisionError"):
        read("breaking")
    with pytest.raises(Unusable, match="No module named 'telegraph_absent'"):
        read("absent")
