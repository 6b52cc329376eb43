"""What a fake provider counts."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What a fake provider was asked, and what it did. Tasks go by their bare ids.

    `answers` counts by `ok`, `lost`, `refused`, `garbage` and the codes of the faults;
    `downloads` by the names of the files.
    """

    received: int  # submissions that it read
    accepted: int  # of them, those that made a task, or got the id of one
    repeated: int  # of these, those whose idempotency key was known
    duplicated: int  # and those that were given another task's id
    keys: dict[str, int]  # submissions by idempotency key
    queries: dict[str, int]
    downloads: dict[str, int]
    cancels: dict[str, int]
    answers: dict[str, int]


class Tally:
    """The counters themselves."""

    def __init__(self) -> None:
        self.received = self.accepted = self.repeated = self.duplicated = 0
        self.keys: Counter[str] = Counter()
        self.queries: Counter[str] = Counter()
        self.downloads: Counter[str] = Counter()
        self.cancels: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()

    def counts(self) -> Counts:
        """How they stand now."""
        values: dict[str, Any] = {}
        for name in Counts.__struct_fields__:
            value = getattr(self, name)
            values[name] = dict(value) if isinstance(value, Counter) else value
        return Counts(**values)
