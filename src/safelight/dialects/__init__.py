"""The wire formats. A dialect is found by being here: a module with a tuple `DIALECTS`."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from safelight.wire import Dialect


@cache
def found() -> dict[str, Dialect]:
    """Every dialect, by name."""
    dialects: dict[str, Dialect] = {}
    for module in pkgutil.iter_modules(__path__):
        loaded = importlib.import_module(f"{__name__}.{module.name}")
        for dialect in getattr(loaded, "DIALECTS", ()):
            dialects[dialect.name] = dialect
    return dict(sorted(dialects.items()))


def named(name: str) -> Dialect:
    """The dialect of that name. Raises `LookupError`, naming the ones there are."""
    try:
        return found()[name]
    except KeyError:
        raise LookupError(f"no dialect {name!r}; there are {', '.join(found())}") from None
