"""How often a key may call an operation: the `rates` of the settings, each in a moving window."""

from __future__ import annotations

import math
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

    def look(self, dialect: str, op: str, who: str) -> None:
        """See whether that key may call, and count nothing. Raises `RateLimited`."""
        name = f"{dialect}.{op}"
        rate = self._rates.get(name)
        if rate is not None and not self._limiter.test(rate, name, who):
            raise self._limited(rate, name, who)

    def spend(self, dialect: str, op: str, who: str) -> None:
        """Count a call of that key. Raises `RateLimited`."""
        name = f"{dialect}.{op}"
        rate = self._rates.get(name)
        if rate is not None and not self._limiter.hit(rate, name, who):
            raise self._limited(rate, name, who)

    def headers(self, dialect: str, op: str, who: str) -> tuple[tuple[str, str], ...]:
        """What is left of a key's rate, by draft-ietf-httpapi-ratelimit-headers-11."""
        name = f"{dialect}.{op}"
        rate = self._rates.get(name)
        if rate is None:
            return ()
        reset, left = self._limiter.get_window_stats(rate, name, who)
        seconds = max(0, math.ceil(reset - time.time()))
        return (
            ("ratelimit-policy", f'"{op}";q={rate.amount};w={rate.get_expiry()}'),
            ("ratelimit", f'"{op}";r={left};t={seconds}'),
        )

    def _limited(self, rate: limits.RateLimitItem, name: str, who: str) -> RateLimited:
        window = rate.get_expiry()
        until = self._limiter.get_window_stats(rate, name, who).reset_time
        return RateLimited(
            retry_after=max(0.05, until - time.time()),
            limit=rate.amount,
            used=rate.amount + 1,
            window=window,
        )
