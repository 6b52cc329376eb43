"""The program: its list of commands, exit codes, and what is said where a command cannot be."""

from __future__ import annotations

import subprocess
import sys
from inspect import cleandoc

import pytest

from end_to_end.running import environment
from safelight.cli.exits import FAILED, SUCCEEDED, USAGE
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


def carried_out(before: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A command line, after that code, in a process of its own."""
    code = f"import sys\n{before}\nfrom safelight.cli.program import run\nsys.exit(run({words!r}))"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment()
    )


def test_a_library_of_the_servers_that_is_missing_is_named() -> None:
    done = carried_out("sys.modules['av'] = None", "fake", "--dialect", "kie")

    assert (done.returncode, done.stderr) == (
        FAILED,
        "safelight fake needs the server: pip install 'safelight[server]' "
        "(there is no module av)\n",
    )


@pytest.mark.parametrize(
    ("before", "words", "told"),
    [
        ("sys.modules['safelight.server.fake.script'] = None", ("fake",), "safelight.server.fake"),
        ("sys.modules['httpx'] = None", ("dialects",), "httpx"),
        ("sys.modules['granian.http'] = sys", ("serve",), "cannot import name"),
    ],
    ids=["ours", "the client's", "broken"],
)
def test_what_is_broken_is_no_missing_server(
    before: str, words: tuple[str, ...], told: str
) -> None:
    done = carried_out(before, *words)

    assert done.returncode == FAILED
    assert "needs the server" not in done.stderr
    assert told in done.stderr
