"""How often a key may call an operation: the `rates` of the settings, each in a moving window."""

from __future__ import annotations

import time
from collections.abc import Mapping

import limits
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from safelight.errors import RateLimited


class Rates:
    """Rates by `dialect.operation`, such as `tencent.DescribeImageTaskDetail`."""

    def __init__(self, rates: Mapping[str, str]) -> None:
        self._rates = {name: limits.parse(text) for name, text in rates.items()}
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def spend(self, dialect: str, op: str, who: str) -> None:
        """Count a call of that key. Raises `RateLimited`."""
        name = f"{dialect}.{op}"
        rate = self._rates.get(name)
        if rate is None or self._limiter.hit(rate, name, who):
            return
        window = rate.get_expiry()
        until = self._limiter.get_window_stats(rate, name, who).reset_time
        raise RateLimited(
            retry_after=max(0.05, until - time.time()),
            limit=rate.amount,
            used=rate.amount + 1,
            window=window,
        )
