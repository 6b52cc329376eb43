"""The wire formats. A dialect is found by being here: a module with a tuple `DIALECTS`.

So are those of other packages: modules with such a tuple, which entry points of the group
`safelight.dialects` lead to. They are loaded where a name is none of ours, and once.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Collection, Mapping
from functools import cache

from safelight.plugins import Brought, Plugin, bring, said
from safelight.wire import Dialect

GROUP = "safelight.dialects"
# It is a part of paths, of settings and of metrics.
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")


def found() -> dict[str, Dialect]:
    """Every dialect, by name."""
    return dict(sorted({**own(), **_brought().by_name}.items()))


@cache
def own() -> Mapping[str, Dialect]:
    """The dialects of this package, by name."""
    dialects: dict[str, Dialect] = {}
    for module in pkgutil.iter_modules(__path__):
        loaded = importlib.import_module(f"{__name__}.{module.name}")
        for dialect in getattr(loaded, "DIALECTS", ()):
            dialects[dialect.name] = dialect
    return dialects


def problems() -> tuple[str, ...]:
    """What is wrong with dialects of other packages that are left out: a sentence for each."""
    return _brought().problems


def named(name: str) -> Dialect:
    """The dialect of that name. Raises `LookupError`, naming the ones there are."""
    dialect = own().get(name) or _brought().by_name.get(name)
    if dialect is None:
        known = f"no dialect {name!r}; there are {', '.join(found())}"
        raise LookupError("; ".join((known, *problems())))
    return dialect


@cache
def _brought() -> Brought[Dialect]:
    return bring(GROUP, own(), read_plugin)


def read_plugin(plugin: Plugin, taken: Collection[str]) -> Mapping[str, Dialect]:
    """The dialects of a plug-in, by name: all of them, or none. Raises `Unusable`."""
    given = getattr(plugin.load(), "DIALECTS", None)
    if not isinstance(given, tuple | list) or not given:
        raise plugin.unusable(f"{plugin.module} has no tuple DIALECTS")
    dialects: dict[str, Dialect] = {}
    for dialect in given:
        try:
            problem = problem_of(dialect, {*taken, *dialects})
        except Exception as broken:  # an attribute may be anything
            problem = said(broken)
        if problem is not None:
            raise plugin.unusable(problem)
        dialects[dialect.name] = dialect
    return dialects


def problem_of(dialect: object, taken: Collection[str]) -> str | None:
    """What is wrong with an object that is said to be a dialect."""
    if not isinstance(dialect, Dialect):
        return f"{dialect!r:.100} is no object of a subclass of Dialect"
    name = dialect.name
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return f"{name!r:.100} is no name: small letters, digits, - and _"
    if name in taken:
        return f"there is another dialect {name}"
    if not dialect.routes:
        return f"the dialect {name} has no routes"
    if len({route.op for route in dialect.routes}) < len(dialect.routes):
        return f"the dialect {name} has two routes of one operation"
    for prefix in dialect.prefixes:
        if not prefix.startswith("/") or (prefix != "/" and prefix.endswith("/")):
            return f"no paths of the dialect {name} can begin with {prefix!r:.100}"
    for route in dialect.routes:
        if not any(lies_under(route.path, prefix) for prefix in dialect.prefixes):
            return f"{route.path!r:.100} of the dialect {name} lies under none of its prefixes"
    return None


def lies_under(path: str, prefix: str) -> bool:
    """Whether a path is one of those that begin so; of "/" that is the root alone."""
    return path == prefix or (prefix != "/" and path.startswith(f"{prefix}/"))
