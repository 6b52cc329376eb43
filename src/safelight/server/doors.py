"""Which dialect answers at which path: at its published ones, and under its own name.

Under `/tencent`, `/kie` and so on every dialect is always there, so that the settings need choose
only between those whose published paths are the same. What leads to a dialect by its name is taken
off before it sees the request: its routes, its signatures and its faults are those of its pages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import NamedTuple

from safelight import dialects
from safelight.config import Settings, SettingsError
from safelight.links import FILES
from safelight.wire import Dialect

# What the server itself answers, by the first word of a path.
OWN = frozenset({FILES.strip("/"), "healthz", "readyz", "metrics"})


class Entry(NamedTuple):
    """A dialect, as a request comes to it: by the path inside, and whether by its own name."""

    dialect: Dialect
    path: str
    by_name: bool


class _Door(NamedTuple):
    """Paths that begin so are a dialect's, without so many characters; it ends with a slash."""

    beginning: str
    dialect: Dialect
    taken_off: int = 0


class Doors:
    """The doors of a server, and who is behind each.

    `published` are the dialects at their published paths, `named` those under their own names, and
    `problems` says of plug-ins why they are not where they would be.
    """

    def __init__(
        self,
        published: Sequence[Dialect],
        named: Sequence[Dialect],
        problems: Sequence[str] = (),
    ) -> None:
        self.published = tuple(published)
        self.named = tuple(named)
        self.problems = tuple(problems)
        self._doors: dict[str, list[_Door]] = {}
        prefixes = [(prefix, one) for one in published for prefix in one.prefixes]
        self._root = next((Entry(one, "/", False) for path, one in prefixes if path == "/"), None)
        at_published = [_Door(f"{path}/", one) for path, one in prefixes if path != "/"]
        taken = {door.beginning for door in at_published}
        by_name = [door for one in named for door in _doors_by_name(one)]
        doors = at_published + [door for door in by_name if door.beginning not in taken]
        # The longest first, for it says most.
        for door in sorted(doors, key=lambda door: -len(door.beginning)):
            self._doors.setdefault(_first_word(door.beginning), []).append(door)
        self._published = [(path.split("/")[1:], one) for path, one in prefixes]

    @classmethod
    def build(cls, settings: Settings) -> Doors:
        """Those that the settings say. Raises `SettingsError`."""
        found = dialects.found().values()
        named = [dialect for dialect in found if dialect.name not in OWN]
        problems = [f"no dialect can be called {d.name} here" for d in found if d not in named]
        published: list[Dialect] = []
        for dialect in _chosen(settings.dialects) or _usual(named):
            problem = _problem_of(dialect, published, named)
            if problem is None:
                published.append(dialect)
            elif settings.dialects:
                raise SettingsError(f"dialects: {problem}; name one: each is under its own name")
            else:
                problems.append(f"{problem}, and so it is under its own name alone")
        return cls(published, named, problems)

    def find(self, path: str) -> Entry | None:
        """Who answers for `path`; None where it is nobody's."""
        if path == "/":
            return self._root
        inside = f"{path}/"
        for beginning, dialect, off in self._doors.get(_first_word(path), ()):
            if inside.startswith(beginning):
                return Entry(dialect, path[off:] or "/", off > 0)
        return None

    def nearest(self, path: str) -> Entry | None:
        """Whose published paths begin as this one, which is nobody's: its clients ask for it."""
        asked = path.split("/")[1:]
        shared = [(_common(words, asked), dialect) for words, dialect in self._published]
        most, nearest = max(shared, key=lambda pair: pair[0], default=(0, None))
        return Entry(nearest, path, False) if nearest is not None and most else None

    def base_of(self, dialect: Dialect, url: str) -> str:
        """The address of a dialect at a server of that address, as its clients are told it."""
        return url if dialect in self.published else f"{url}/{dialect.name}"


def _doors_by_name(dialect: Dialect) -> Iterator[_Door]:
    own = f"/{dialect.name}"
    yield _Door(f"{own}/", dialect, len(own))
    for prefix in dialect.prefixes:
        if dialects.lies_under(prefix, own):  # at home on its name, and there under it too
            yield _Door(f"{own}{prefix}/", dialect, len(own))


def _chosen(names: Sequence[str]) -> list[Dialect]:
    """The dialects that the settings name. Raises `SettingsError`."""
    try:
        return [dialects.named(name) for name in names]
    except LookupError as problem:
        raise SettingsError(f"dialects: {problem}") from None


def _usual(found: Sequence[Dialect]) -> list[Dialect]:
    """Those that are at their published paths unless the settings say otherwise, ours first."""
    served = [dialect for dialect in found if dialect.served]
    return sorted(served, key=lambda dialect: dialect.name not in dialects.own())


def _problem_of(
    dialect: Dialect, others: Sequence[Dialect], named: Sequence[Dialect]
) -> str | None:
    """Why a dialect cannot be at its published paths beside the others."""
    for prefix in dialect.prefixes:
        word = _first_word(prefix)
        if word in OWN:
            return f"{dialect.name} is at home on {prefix}, where the server answers itself"
        if any(word == other.name != dialect.name for other in named):
            return f"{dialect.name} is at home on {prefix}, which is another's by its name"
        for other in others:
            if any(dialects.lies_under(prefix, theirs) for theirs in other.prefixes):
                return f"{other.name} and {dialect.name} are both at home on {prefix}"
    return None


def _first_word(path: str) -> str:
    return path[1:].partition("/")[0]


def _common(first: Sequence[str], second: Sequence[str]) -> int:
    """How many words two paths begin with alike."""
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False))
    return sum(1 for _ in alike)
