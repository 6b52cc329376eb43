"""Rates: by key and by operation, in a moving window."""

from __future__ import annotations

import asyncio
import time

import pytest

from safelight.errors import RateLimited
from safelight.server.rates import Rates


def test_so_many_and_no_more() -> None:
    rates = Rates({"tencent.ProcessImage": "3/minute"})
    for _ in range(3):
        rates.spend("tencent", "ProcessImage", "alice")

    with pytest.raises(RateLimited) as told:
        rates.spend("tencent", "ProcessImage", "alice")

    fault = told.value
    assert (fault.limit, fault.used, fault.window) == (3, 4, 60)
    assert fault.retry_after is not None
    assert 50 < fault.retry_after <= 60


def test_each_key_and_each_operation_has_its_own() -> None:
    rates = Rates({"tencent.ProcessImage": "1/hour", "kie.ProcessImage": "1/hour"})
    rates.spend("tencent", "ProcessImage", "alice")

    rates.spend("tencent", "ProcessImage", "bob")
    rates.spend("kie", "ProcessImage", "alice")
    rates.spend("tencent", "DescribeImageTaskDetail", "alice")
    with pytest.raises(RateLimited):
        rates.spend("tencent", "ProcessImage", "alice")


def test_without_a_rate_there_is_no_end() -> None:
    rates = Rates({})
    for _ in range(1000):
        rates.spend("tencent", "ProcessImage", "alice")


async def test_what_is_refused_does_not_count_and_the_window_moves() -> None:
    rates = Rates({"a.b": "2/second"})
    began = time.monotonic()
    rates.spend("a", "b", "alice")
    rates.spend("a", "b", "alice")
    waited = 0
    while True:
        try:
            rates.spend("a", "b", "alice")
            break
        except RateLimited as fault:
            waited += 1
            assert fault.retry_after is not None
            await asyncio.sleep(min(0.1, fault.retry_after))

    assert waited >= 2
    assert 0.5 < time.monotonic() - began < 3
