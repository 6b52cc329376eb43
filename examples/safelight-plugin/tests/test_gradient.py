"""The engine keeps the contracts, and draws what is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from safelight_plugin.gradient import build

from safelight.contracts import check_engine
from safelight.errors import InvalidValue
from safelight.task import Submit

ASKED = Submit(model="gradient", prompt="black, white", width=64, height=32)


async def test_it_keeps_the_contracts(tmp_path: Path) -> None:
    (made,) = await check_engine(build({}), ASKED, tmp_path)

    with Image.open(made.path) as picture:
        assert picture.size == (64, 32)
        left, right = picture.getpixel((0, 0)), picture.getpixel((63, 0))
        assert isinstance(left, tuple) and isinstance(right, tuple)
        assert left[0] < 40 and right[0] > 215


def test_a_prompt_without_colours_is_refused_by_name() -> None:
    with pytest.raises(InvalidValue) as refused:
        build({}).check(Submit(prompt="a lighthouse"), {})

    assert refused.value.parameter == "prompt"
    build({}).check(Submit(prompt="a lighthouse"), {"always": ["navy"]})


@pytest.mark.parametrize("options", [{"never": 1}, {"always": ["mauve"]}])
def test_options_that_are_none_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        build({}).check_options(options)
