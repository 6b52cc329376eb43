"""What other packages bring: modules named by entry points, or by the settings.

The rule that binds whoever edits it: what is wrong with a plug-in is said with its name, and is
nobody else's trouble. Modules are loaded because of what is installed, and of what the settings
say; nothing that a caller sends gets here.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_T = TypeVar("_T")

_LIST = "entry_points.txt"  # of each package that is installed


class Unusable(Exception):
    """A plug-in that cannot be used; the message names it, and says why."""


class Plugin(NamedTuple):
    """An entry point: its name, the package that brings it, and the module that it leads to.

    Or, with a problem, a package whose entry points cannot be read.
    """

    name: str
    package: str
    module: str
    problem: str = ""

    def __str__(self) -> str:
        return f"the plug-in {self.name} (of the package {self.package})"

    def unusable(self, why: object) -> Unusable:
        return Unusable(f"{self} is left out: {why}")

    def load(self) -> ModuleType:
        """Its module. Raises `Unusable`."""
        if self.problem:
            raise self.unusable(self.problem)
        try:
            return importlib.import_module(self.module)
        # Whatever a module does when it is imported: one that ends the program is broken too.
        except (Exception, SystemExit) as problem:
            raise self.unusable(said(problem)) from None


@cache
def plugins(group: str) -> tuple[Plugin, ...]:
    """The entry points of that group, by package and name. Looked for once."""
    found = set(_read(group))
    return tuple(sorted(found, key=lambda plugin: (plugin.package, plugin.name)))


class Brought(NamedTuple, Generic[_T]):
    """What plug-ins bring, by name, and what is wrong with those that are left out."""

    by_name: Mapping[str, _T]
    problems: tuple[str, ...]


def bring(
    group: str,
    own: Collection[str],
    read: Callable[[Plugin, Collection[str]], Mapping[str, _T]],
) -> Brought[_T]:
    """What the plug-ins of a group bring, as `read` reads each of them, or raises `Unusable`.

    It is told the names that are taken: our own, and those of the plug-ins before.
    """
    brought: dict[str, _T] = {}
    problems: list[str] = []
    for plugin in plugins(group):
        try:
            brought |= read(plugin, {*own, *brought})
        except Unusable as problem:
            problems.append(str(problem))
    return Brought(brought, tuple(problems))


def load_module(name: str) -> ModuleType:
    """The module of that full name, which the settings say. Raises `Unusable`."""
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as problem:
        raise Unusable(f"the module {name} cannot be used: {said(problem)}") from None


def said(problem: BaseException) -> str:
    """What an exception says, with its kind, on one line."""
    return " ".join(f"{type(problem).__name__}: {problem}".split())[:300]


def _read(group: str) -> Iterator[Plugin]:
    # Loaded here: whoever asks in a dialect of ours needs none of it.
    metadata = importlib.import_module("importlib.metadata")
    try:
        yield from map(_plugin, metadata.entry_points(group=group))
        return
    except Exception:  # noqa: S110 - the list of one package is none: see which
        pass
    for package in metadata.distributions():
        try:
            yield from map(_plugin, package.entry_points.select(group=group))
        except Exception as problem:
            if group in (package.read_text(_LIST) or ""):
                yield Plugin(_LIST, package.name, "", said(problem))


def _plugin(entry: EntryPoint) -> Plugin:
    package = entry.dist.name if entry.dist is not None else "?"
    return Plugin(entry.name, package, entry.value.strip())
