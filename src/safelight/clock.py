"""The time, as everything here says it."""

from __future__ import annotations

import time


def now_millis() -> int:
    """The time: milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000
