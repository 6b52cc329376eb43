"""The package without extras: a client and its command line, and nothing of the server's.

The wheel is built and put into an environment of its own, beside what its metadata asks for and
nothing else. Those libraries are linked from the environment of the tests, so that no network is
needed; pip then says whether anything that is asked for is missing.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from documents import ROOT
from end_to_end.running import SERVED, Running, environment, program
from end_to_end.test_cli import FAILED, SUCCEEDED, USAGE, asked, spoken
from end_to_end.words import picture

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
OF_THE_SERVER = (
    ["serve"],
    ["work"],
    ["migrate"],
    ["keys", "list"],
    ["provider-keys", "list"],
    ["fake", "--dialect", "kie"],
)


def closure(wanted: Iterable[str]) -> dict[str, Distribution]:
    """The distributions that these requirements need, directly or not."""
    found: dict[str, Distribution] = {}
    left = [*wanted]
    while left:
        requirement = Requirement(left.pop())
        name = canonicalize_name(requirement.name)
        if name in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        found[name] = distribution(name)
        left += found[name].requires or ()
    return found


BASE = closure(PROJECT["dependencies"])
SERVER = closure(PROJECT["optional-dependencies"]["server"])


@dataclass(frozen=True)
class Alone:
    """An environment with the package and what it asks for."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def run(
        self, *words: str | Path, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of it to its end, away from the sources."""
        given = {**environment(), **(env or {})}
        given.pop("PYTHONPATH", None)
        return subprocess.run(
            [str(self.folder / "bin" / words[0]), *map(str, words[1:])],
            capture_output=True, text=True, timeout=60, env=given, cwd=self.folder,
        )  # fmt: skip

    def pip(self, *words: str | Path) -> None:
        """Have the tests' own pip act on it, without any index."""
        subprocess.run(
            [sys.executable, "-m", "pip", "-q", "--python", str(self.python), *map(str, words)],
            check=True, timeout=60, env=environment(),
        )  # fmt: skip

    def add(self, library: Distribution) -> None:
        """Link the files of a distribution into it."""
        (site,) = self.folder.glob("lib/python*/site-packages")
        tops = {file.parts[0] for file in library.files or ()} - {"..", "__pycache__"}
        for top in tops:
            if not (site / top).exists():
                (site / top).symlink_to(str(library.locate_file(top)))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Alone:
    """The wheel, installed without extras."""
    folder = tmp_path_factory.mktemp("alone")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        check=True, capture_output=True, timeout=60, cwd=ROOT, env=environment(),
    )  # fmt: skip
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "environment")
    made = Alone(folder / "environment")
    for library in BASE.values():
        made.add(library)
    made.pip("install", "--no-index", "--no-deps", wheel)
    made.pip("check")
    return made


def test_nothing_of_the_server_is_there(alone: Alone) -> None:
    owners = packages_distributions()
    absent = {
        name
        for name, given in owners.items()
        if {canonicalize_name(owner) for owner in given} <= set(SERVER) - set(BASE)
    }
    assert {"numpy", "av", "granian", "asyncpg", "cryptography", "apsw", "PIL"} <= absent

    code = (
        "import sys; from importlib.util import find_spec; print(*filter(find_spec, sys.argv[1:]))"
    )
    done = alone.run("python", "-c", code, *sorted(absent))

    assert (done.returncode, done.stdout.split(), done.stderr) == (0, [], "")


def test_all_that_the_package_names_is_there(alone: Alone) -> None:
    code = "from safelight import *; from safelight import dialects; print(*dialects.found())"

    done = alone.run("python", "-W", "error", "-c", code)

    assert {*SERVED, "kie"} == set(done.stdout.split()), done.stderr


@pytest.mark.parametrize("words", [[], ["submit"], ["dialects"]], ids=" ".join)
def test_the_help_is_the_same_as_ever(alone: Alone, words: list[str]) -> None:
    here = subprocess.run(
        program(*words, "--help"), capture_output=True, text=True, env=environment(), timeout=60
    )

    done = alone.run("safelight", *words, "--help")

    assert (done.returncode, done.stderr) == (SUCCEEDED, "")
    assert done.stdout == here.stdout
    assert "--help" in done.stdout or words


@pytest.mark.parametrize("dialect", SERVED)
def test_a_task_is_submitted_waited_for_and_saved(
    alone: Alone, server: Running, tmp_path: Path, dialect: str
) -> None:
    words = asked(dialect, "--download", str(tmp_path))

    done = alone.run("safelight", *words, env=spoken(server, dialect))

    assert done.returncode == SUCCEEDED, done.stderr
    assert [picture(path) for path in tmp_path.iterdir()] == [("PNG", (96, 64))]
    shown = alone.run(
        "safelight", "show", done.stdout.split()[0], "--json", env=spoken(server, dialect)
    )
    assert json.loads(shown.stdout)["status"] == "succeeded"


def test_the_client_in_python(alone: Alone, server: Running, tmp_path: Path) -> None:
    code = """
import sys
from safelight import Client, Submit
with Client("aitoearn", sys.argv[1], sys.argv[2], pace=0.1) as client:
    task = client.wait(client.submit(Submit(model="gpt-image-2", prompt="a", width=96, height=64)))
    print(*client.download(task, sys.argv[3]))
"""

    done = alone.run("python", "-c", code, server.url, server.key.secret, tmp_path)

    assert picture(Path(done.stdout.strip())) == ("PNG", (96, 64)), done.stderr


@pytest.mark.parametrize("words", OF_THE_SERVER, ids=" ".join)
def test_what_needs_the_server_says_so_in_one_sentence(alone: Alone, words: list[str]) -> None:
    done = alone.run("safelight", *words)

    said = f"safelight {words[0]} needs the server: pip install 'safelight[server]' "
    assert done.stderr.startswith(said)
    assert re.fullmatch(r"\(there is no module \w+\)\n", done.stderr.removeprefix(said))
    assert (done.returncode, done.stdout) == (FAILED, "")


def test_a_command_that_there_is_not_is_still_a_mistake_of_the_words(alone: Alone) -> None:
    done = alone.run("safelight", "sevre")

    assert done.returncode == USAGE
    assert 'Did you mean "serve"?' in done.stderr
