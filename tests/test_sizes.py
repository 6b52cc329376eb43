"""From the words of a size to pixels: exact ratios, even sides, never more than was asked."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from safelight.errors import InvalidValue
from safelight.sizes import pixels
from safelight.task import Kind, Submit

SIDES = st.integers(1, 32)  # of the ratios that people write


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        ({}, (1024, 1024)),
        ({"resolution": "2K"}, (2048, 2048)),
        ({"resolution": "2K", "ratio": "16:9"}, (2720, 1530)),
        ({"resolution": "4K", "ratio": "1:1"}, (4096, 4096)),
        ({"ratio": "9:16"}, (756, 1344)),
        ({"ratio": "auto"}, (1024, 1024)),
        ({"resolution": "720p", "ratio": "3:4"}, (720, 960)),
        ({"kind": Kind.VIDEO}, (1280, 720)),
        ({"kind": Kind.VIDEO, "ratio": "9:16"}, (720, 1280)),
        ({"kind": Kind.VIDEO, "resolution": "1080p", "ratio": "21:9"}, (2520, 1080)),
        ({"kind": Kind.VIDEO, "resolution": "480p"}, (854, 480)),
        ({"width": 333, "height": 77, "ratio": "1:1", "resolution": "4K"}, (333, 77)),
        ({"width": 333, "resolution": "1K"}, (1024, 1024)),  # one side alone is no size
    ],
)
def test_a_size_in_words(asked: dict[str, Any], size: tuple[int, int]) -> None:
    assert pixels(Submit(**asked)) == size


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        ({}, (641, 481)),
        ({"ratio": "auto"}, (641, 481)),
        ({"ratio": "1:1"}, (1024, 1024)),
        ({"resolution": "720p", "ratio": "auto"}, (960, 720)),
        ({"width": 64, "height": 64}, (64, 64)),
        ({"kind": Kind.VIDEO}, (960, 720)),
        ({"kind": Kind.VIDEO, "ratio": "16:9"}, (1280, 720)),
    ],
)
def test_a_source_gives_what_was_not_asked(asked: dict[str, Any], size: tuple[int, int]) -> None:
    assert pixels(Submit(**asked), source=(641, 481)) == size


@given(SIDES, SIDES, st.integers(1, 8))
def test_at_a_level_a_ratio_is_met_exactly_with_even_sides(
    across: int, down: int, level: int
) -> None:
    area = (level * 1024) ** 2

    width, height = pixels(Submit(ratio=f"{across}:{down}", resolution=f"{level}K"))

    assert width * down == height * across
    assert width % 2 == height % 2 == 0
    assert width * height <= area
    # The next larger size of that ratio would be too large.
    step = 2 * across // math.gcd(across, down), 2 * down // math.gcd(across, down)
    assert (width + step[0]) * (height + step[1]) > area


@given(st.integers(1, 20_000), st.integers(1, 20_000), st.integers(1, 4))
def test_a_source_of_any_measure_is_followed_as_near_as_may_be(
    across: int, down: int, level: int
) -> None:
    submit = Submit(ratio="auto", resolution=f"{level}K")

    width, height = pixels(submit, source=(across, down))

    assert width % 2 == height % 2 == 0
    assert min(width, height) >= 2
    assume(min(width, height) >= 64)  # a strip is as near as two pixels allow
    assert width / height == pytest.approx(across / down, rel=0.04)
    assert width * height == pytest.approx((level * 1024) ** 2, rel=0.1)


@given(SIDES, SIDES, st.integers(50, 1080).map(lambda half: 2 * half))
def test_lines_are_the_shorter_side(across: int, down: int, lines: int) -> None:
    width, height = pixels(Submit(ratio=f"{across}:{down}", resolution=f"{lines}p"))

    assert min(width, height) == lines
    assert width % 2 == height % 2 == 0
    assert abs(width * down - height * across) <= max(across, down)


def test_an_odd_number_of_lines_is_made_even() -> None:
    assert pixels(Submit(ratio="1:1", resolution="721p")) == (720, 720)


@pytest.mark.parametrize(
    "ratio", ["16/9", "16", "0:9", "16:0", "²:1", "-1:1", "1:1:1", "1.5:1", "9" * 5000 + ":1"]
)
def test_what_is_no_ratio_is_refused(ratio: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        pixels(Submit(ratio=ratio))

    assert refused.value.parameter == "ratio"


def test_a_source_of_an_odd_ratio_does_not_cost_half_of_the_pixels() -> None:
    assert pixels(Submit(ratio="auto", resolution="1K"), source=(1990, 1500)) == (1180, 890)


@pytest.mark.parametrize("resolution", ["0K", "000p", "huge", "2k", "K", "100K", "12p", "²K"])
def test_what_is_no_resolution_is_refused(resolution: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        pixels(Submit(resolution=resolution, ratio="1:1"))

    assert refused.value.parameter == "resolution"


def test_zeros_before_a_ratio_do_not_count() -> None:
    assert pixels(Submit(ratio="016:09")) == pixels(Submit(ratio="16:9"))
