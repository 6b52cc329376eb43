"""The example package, installed as any package is: its engine and its dialect, end to end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from end_to_end.running import Running, environment, program
from installed import beside, install

EXAMPLE = Path(__file__).parents[2] / "examples" / "safelight-plugin"
BY_NAME = """
[[models]]
name = "gradient"
engine = "gradient"
"""
BY_MODULE = """
[[models]]
name = "always-teal"
engine = "safelight_plugin.gradient"
options = { always = ["teal"] }
time_limit = 60
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example in it, and with a package that is broken."""
    folder = tmp_path_factory.mktemp("installed")
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet")
    command = (sys.executable, "-m", "pip", "install", *options, "--target", folder, EXAMPLE)
    subprocess.run(list(map(str, command)), check=True, timeout=120, capture_output=True)
    groups = ("safelight.engines", "safelight.dialects")
    files = {"wet": "raise RuntimeError('it rains')"}
    install(folder, "weather", files, {group: {"wet": "wet"} for group in groups})
    return folder


@pytest.fixture
def here(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What this test starts finds what is installed there."""
    monkeypatch.setenv("PYTHONPATH", beside(installed)["PYTHONPATH"])
    yield installed


def said(*arguments: str) -> str:
    """What the command line prints."""
    done = subprocess.run(
        program(*arguments), env=environment(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def reach(server: Running) -> tuple[str, ...]:
    return ("--dialect", "plain", "--url", server.url, "--key", server.key.secret, "--json")


def test_a_task_runs_through_a_dialect_and_an_engine_from_elsewhere(
    here: Path, tmp_path: Path
) -> None:
    server = Running.start(tmp_path / "data", BY_NAME)
    try:
        asked = ("submit", "navy, orange", "--model", "gradient", "--size", "64x32")
        told = said(*asked, *reach(server), "--download", str(tmp_path / "out"))
    finally:
        server.stop()

    assert json.loads(told.splitlines()[-1])["status"] == "succeeded"
    (file,) = (tmp_path / "out").iterdir()
    assert file.read_bytes().startswith(b"\x89PNG")
    log = server.log.read_text()
    assert log.count("plugin_left_out") == 2
    assert "the plug-in wet (of the package weather) is left out: RuntimeError: it rains" in log


def test_a_rule_may_name_the_module(here: Path, tmp_path: Path) -> None:
    server = Running.start(tmp_path / "data", BY_MODULE)
    try:
        asked = ("submit", "a lighthouse", "--model", "always-teal", "--size", "64x32", "--wait")
        told = said(*asked, *reach(server))
    finally:
        server.stop()

    assert json.loads(told.splitlines()[-1])["status"] == "succeeded"


def test_a_server_whose_rule_needs_what_is_broken_does_not_start(
    here: Path, tmp_path: Path
) -> None:
    settings = tmp_path / "wet.toml"
    settings.write_text('[[models]]\nname = "a"\nengine = "wet"')

    done = subprocess.run(
        program("serve", "--data", str(tmp_path / "data"), "--config", str(settings)),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 2
    assert "the plug-in wet (of the package weather) is left out" in " ".join(done.stderr.split())


def test_the_command_line_lists_what_was_brought(here: Path) -> None:
    names = [one["name"] for one in json.loads(said("dialects", "--json"))]

    assert "plain" in names
    assert "wet" not in names


def test_its_own_tests_pass(here: Path) -> None:
    """As its author runs them: from its folder, with what is installed."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
        cwd=EXAMPLE,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout
