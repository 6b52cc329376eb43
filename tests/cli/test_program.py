"""The program: what its list of commands says of each is what the command says of itself."""

from __future__ import annotations

from inspect import cleandoc

import pytest

from safelight.cli.program import app

COMMANDS = [name for name in app if not name.startswith("-")]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_says_the_same_in_the_list_and_of_itself(name: str) -> None:
    command = app[name]

    if command.default_command is not None:
        assert command.help == cleandoc(command.default_command.__doc__ or "")
    else:
        assert command.help
