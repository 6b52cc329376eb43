"""The arrows of the design: imports go down only, and nothing jumps over a box."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import safelight

ROOT = Path(safelight.__file__).parent
NAME = safelight.__name__

# From the bottom to the top: what stands in a line imports from the lines above it here only.
LAYERS = (
    {
        "clock",
        "counts",
        "durations",
        "errors",
        "media_types",
        "networks",
        "pauses",
        "plugins",
        "task",
        "webhooks",
    },
    {"blob_names", "sizes", "wire", "postgres"},
    {"dialects"},
    {"blobs", "config", "media", "names", "secrets", "store"},
    {"client", "links", "lists", "outgoing", "queue", "turns"},
    {"engines"},
    {"fetching", "inspection", "linked", "models"},
    {"callbacks", "uploads", "contracts"},
    {"service"},
    {"worker"},
    {"server"},
    {"cli"},
    {"__init__", "__main__"},
)
HEIGHTS = {box: height for height, layer in enumerate(LAYERS) for box in layer}

# Where a box may see less than lies below it: all that it may see.
ALLOWED = {
    "errors": set(),
    "task": set(),
    "networks": set(),
    "blob_names": {"media_types"},
    "fetching": {"config", "errors", "names", "outgoing"},
    "outgoing": {"names", "networks"},
    "sizes": {"task", "errors"},
    "wire": {"task", "errors"},
    "plugins": set(),
    "dialects": {"wire", "task", "errors", "sizes", "plugins"},
    "engines": {"task", "errors", "sizes", "media", "media_types", "pauses", "plugins"},
    "store": {"task", "errors", "postgres", "durations"},
    "queue": {"postgres", "store"},
    "turns": {"store"},
    "counts": set(),
    "durations": set(),
    "lists": {"counts", "store", "task"},
    "pauses": set(),
    "postgres": {"pauses"},
    "names": set(),
    "webhooks": set(),
    "client": {"dialects", "wire", "task", "errors", "media_types", "pauses"},
}
# Only these see the wire formats: everything else speaks our words.
SPEAKERS = {"client", "cli", "contracts", "server"}
# The one engine that runs its tasks on another server, through the client in its dialect.
UPSTREAM, FOR_UPSTREAM = "engines.upstream", {"client", "dialects", "wire"}

# What `pip install safelight` without extras is for, and what of it needs the server all the same.
ASKING = {"__init__", "__main__", "cli", "client", "dialects", "webhooks"}
FOR_THE_SERVER = {"cli.faking", "cli.installation", "cli.keys", "cli.serving"}

# What would be I/O, a clock or a second thread in the pure half.
IMPURE = {
    *("aiofiles", "anyio", "apsw", "asyncio", "asyncpg", "granian", "httpx", "multiprocessing"),
    *("obstore", "os", "pathlib", "random", "requests", "shutil", "socket", "sqlite3", "ssl"),
    *("starlette", "subprocess", "tempfile", "threading", "time"),
}
PURE = {"blob_names", "errors", "networks", "task", "sizes", "wire", "dialects"}


def module_of(path: Path) -> str:
    """The name of a module below the package: `dialects.tencent`, `store`, `__init__`."""
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


SOURCES = {module_of(path): path for path in sorted(ROOT.rglob("*.py"))}


@cache
def imports(module: str) -> frozenset[str]:
    """The full names of the modules that `module` imports, wherever in it that is."""
    return frozenset(_imports(module))


def _imports(module: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(SOURCES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written in full"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                is_module = inner.removeprefix(f"{NAME}.") in SOURCES
                yield inner if is_module else str(node.module)


def arrows(module: str) -> set[str]:
    """The modules of ours that `module` imports."""
    found = {name for name in imports(module) if name.partition(".")[0] == NAME}
    return {name.removeprefix(NAME).removeprefix(".") or "__init__" for name in found}


def box(module: str) -> str:
    return module.partition(".")[0]


everywhere = pytest.mark.parametrize("module", SOURCES)


def test_the_arrows_are_seen() -> None:
    assert arrows("wire.sorts") == {"errors"}
    assert "wire" in arrows("dialects.tensorslab")


def test_every_box_has_its_place() -> None:
    assert {box(module) for module in SOURCES} <= set(HEIGHTS), "say in LAYERS where it belongs"


@everywhere
def test_imports_only_go_down(module: str) -> None:
    ours = box(module)

    for other in map(box, arrows(module)):
        version = other == "__init__" and ours == "cli"
        assert other == ours or HEIGHTS[other] < HEIGHTS[ours] or version, other


@everywhere
def test_a_box_sees_no_more_than_it_may(module: str) -> None:
    ours = box(module)
    seen = set(map(box, arrows(module))) - {ours}

    if ours in ALLOWED:
        allowed = ALLOWED[ours] | (FOR_UPSTREAM if module == UPSTREAM else set())
        assert seen <= allowed
    if ours not in SPEAKERS and module != UPSTREAM:
        assert "dialects" not in seen


# A language, which several dialects speak, and no dialect.
LANGUAGES = {"dialects.chinese"}


def family(module: str) -> str:
    """The folder or the file of a dialect: `dialects.tencent` of `dialects.tencent.tasks`."""
    return ".".join(module.split(".")[:2])


def test_a_dialect_sees_no_other_dialect() -> None:
    for module in SOURCES:
        if box(module) == "dialects" and module != "dialects":
            for other in arrows(module) - LANGUAGES:
                assert box(other) != "dialects" or family(other) == family(module)
    for module in LANGUAGES:
        assert not arrows(module)


def client_side() -> set[str]:
    """All that the client and its commands load, whatever is asked: also the folders around it."""
    found: set[str] = set()
    left = {module for module in SOURCES if box(module) in ASKING} - FOR_THE_SERVER
    while left:
        module = left.pop()
        found.add(module)
        around = {module.rpartition(".")[0], "__init__"} - {""}
        left |= (arrows(module) | around) - found
    return found


def test_who_asks_carries_no_server() -> None:
    assert set(map(box, client_side())) == ASKING | {
        "errors",
        "media_types",
        "pauses",
        "plugins",
        "sizes",
        "task",
        "wire",
    }
    assert not client_side() & FOR_THE_SERVER
    assert set(SOURCES) >= FOR_THE_SERVER


def test_who_asks_needs_the_bare_package_alone() -> None:
    """The dependencies without extras are what the client side imports: no more, and no less."""
    project = tomllib.loads((ROOT.parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
    base = {canonicalize_name(Requirement(line).name) for line in project["dependencies"]}
    owners = packages_distributions()

    used = {root(name) for module in client_side() for name in imports(module)}
    foreign = used - sys.stdlib_module_names - {NAME}

    assert {canonicalize_name(owners[name][0]) for name in foreign} == base


def root(name: str) -> str:
    return name.partition(".")[0]


def test_nothing_imports_in_a_circle() -> None:
    TopologicalSorter({module: arrows(module) - {"__init__"} for module in SOURCES}).prepare()


@everywhere
def test_the_pure_half_touches_nothing(module: str) -> None:
    if box(module) in PURE:
        assert not {name.partition(".")[0] for name in imports(module)} & IMPURE


@everywhere
def test_a_module_is_named_for_what_it_is(module: str) -> None:
    vague = {"base", "common", "core", "helpers", "misc", "util", "utils"}

    assert not {part.strip("_") for part in module.split(".")} & vague
