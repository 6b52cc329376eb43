"""The numbers among the options of a model's rule, checked when the settings are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def check_number(
    options: Mapping[str, Any],
    name: str,
    *,
    least: float | None = None,
    whole: bool = False,
) -> None:
    """Raise `ValueError` where the option `name` is given, and is no number in these bounds."""
    if name not in options:
        return
    value = options[name]
    kind = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kind):
        raise ValueError(f"{name}: must be a {'whole ' if whole else ''}number, not {value!r:.50}")
    # What is not a number at all, or without an end, fails here too.
    if least is not None and not least <= value < float("inf"):
        raise ValueError(f"{name}: must be at least {least:g}, not {value!r:.50}")
