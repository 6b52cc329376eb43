"""What is loaded, and when: whoever asks for little does not wait for much."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from importlib import import_module
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import safelight
from end_to_end.running import environment

NAME = "safelight"
_PRINT_LOADED = """
import json, sys
before = set(sys.modules)
{code}
print(json.dumps(sorted(set(sys.modules) - before)), file=sys.stderr)
"""
# What the help needs, and what that needs: everything else can wait.
HELPERS = {"cyclopts", "rich", "attrs", "docstring_parser", "typing_extensions"}


def loaded(code: str, folder: Path) -> set[str]:
    """The modules that a new interpreter loads for that code."""
    done = subprocess.run(
        [sys.executable, "-c", _PRINT_LOADED.format(code=code)],
        capture_output=True, text=True, timeout=60, env=environment(), cwd=folder, check=True,
    )  # fmt: skip
    return set(json.loads(done.stderr.splitlines()[-1]))


def command(*words: str) -> str:
    """The code of a command line."""
    return f"from {NAME}.cli.program import run; run({list(words)!r})"


def ours(modules: set[str]) -> set[str]:
    return {name for name in modules if name.partition(".")[0] == NAME}


def others(modules: set[str]) -> set[str]:
    """The distributions that the modules are of, but for Python's and ours."""
    known = packages_distributions()
    roots = {name.partition(".")[0] for name in modules} - {NAME}
    return {owner.lower().replace("-", "_") for root in roots for owner in known.get(root, ())}


def test_the_package_loads_nothing_else(tmp_path: Path) -> None:
    modules = loaded(f"import {NAME}", tmp_path)

    assert ours(modules) == {NAME}
    assert others(modules) == set()
    assert not modules & {"asyncio", "importlib.metadata"}


@pytest.mark.parametrize("words", [["--help"], [], ["--version"], ["sevre"]])
def test_what_asks_for_no_task_loads_no_client(words: list[str], tmp_path: Path) -> None:
    assert not ours(loaded(command(*words), tmp_path)) & {f"{NAME}.client", f"{NAME}.dialects"}


@pytest.mark.parametrize("words", [["--help"], [], ["sevre"]], ids=" ".join)
def test_the_help_loads_no_command(words: list[str], tmp_path: Path) -> None:
    modules = loaded(command(*words), tmp_path)

    own = {"", ".cli", ".cli.program", ".cli.exits", ".cli.consoles", ".errors"}
    assert ours(modules) == {f"{NAME}{name}" for name in own}
    assert others(modules) <= HELPERS
    assert "asyncio" not in modules
    assert "rich.markdown" not in modules


@pytest.mark.parametrize("words", [["submit", "--help"], ["dialects"], ["show"]], ids=" ".join)
def test_the_clients_commands_load_no_server(words: list[str], tmp_path: Path) -> None:
    modules = loaded(command(*words), tmp_path)

    assert f"{NAME}.client" in modules
    assert not ours(modules) & {
        f"{NAME}.{name}" for name in ("config", "server", "store", "worker")
    }
    assert not others(modules) & {"numpy", "av", "granian", "asyncpg", "apsw", "pydantic_settings"}


def test_a_name_is_what_a_type_checker_takes_it_for() -> None:
    """Names are found by looking through some modules; the checker reads where each is from."""
    (seen,) = [
        node
        for node in ast.parse(Path(str(safelight.__file__)).read_text("utf-8")).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    homes = {
        alias.name: str(node.module)
        for node in seen.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }

    assert sorted(homes) == sorted(safelight.__all__)
    for name, home in homes.items():
        assert getattr(safelight, name) is getattr(import_module(home), name)
    assert set(homes) <= set(dir(safelight))


def test_a_name_that_there_is_not_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Fetcher'"):
        getattr(safelight, "Fetcher")  # noqa: B009 - a checker would refuse it
    with pytest.raises(ImportError):
        exec("from safelight import Fetcher")
