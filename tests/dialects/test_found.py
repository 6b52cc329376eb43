"""The dialects that there are, and the ones that there are not."""

from __future__ import annotations

import pytest

from safelight.dialects import found, named


def test_a_dialect_is_found_by_its_name() -> None:
    assert list(found()) == ["aigptimage", "aitoearn", "kie", "tencent", "tensorslab"]
    assert all(named(name).name == name for name in found())


def test_what_is_no_dialect_is_told_with_those_that_are() -> None:
    with pytest.raises(LookupError, match=r"no dialect 'telegraph'; there are aigptimage, "):
        named("telegraph")
