"""The program: what its list of commands says of each is what the command says of itself."""

from __future__ import annotations

from inspect import cleandoc

import pytest

from safelight.cli.exits import SUCCEEDED, USAGE
from safelight.cli.program import app, run

COMMANDS = [name for name in app if not name.startswith("-")]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_says_the_same_in_the_list_and_of_itself(name: str) -> None:
    command = app[name]

    if command.default_command is not None:
        assert command.help == cleandoc(command.default_command.__doc__ or "")
    else:
        assert command.help


@pytest.mark.parametrize(
    ("words", "code"),
    [(["dialects", "--json"], SUCCEEDED), (["--version"], SUCCEEDED), (["wait"], USAGE)],
)
def test_the_code_comes_back_and_the_caller_ends_the_process(words: list[str], code: int) -> None:
    assert run(words) == code
