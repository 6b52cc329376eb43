"""The docs name everything there is, their made parts are up to date, and their links lead on."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

import documents
from documents import DOCS, PARTS, ROOT
from doubles import Serving
from safelight import config, dialects, engines
from safelight.config import Settings
from safelight.engines.kit.surroundings import KEPT_BACK, PASSED
from safelight.task import FailureCode, Status

README = ROOT / "README.md"
PAGES = documents.pages()
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)
_BLOCK = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
_SCRIPT = re.compile(r"(?<![\w/-])(?:\./)?(scripts/[a-z]+|examples/[a-z]+\.py)\b")
_OPTION = re.compile(r"--[a-z][a-z-]+")


def read(*parts: str) -> str:
    return DOCS.joinpath(*parts).read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    """The blocks of code of a page that are in `language`."""
    found = _BLOCK.findall(page.read_text(encoding="utf-8"))
    return [text for named, text in found if named == language]


# ------------------------------------------------------------------------------------- it is named


@pytest.mark.parametrize("name", [*Settings.model_fields])
def test_every_setting_is_explained(name: str) -> None:
    rows = [line for line in read("configuration.md").splitlines() if line.startswith("| `")]

    assert [row for row in rows if row.startswith(f"| `{name}` | `SAFELIGHT_{name.upper()}` |")]


def test_no_setting_is_explained_that_there_is_not() -> None:
    said = re.findall(r"^\| `(\w+)` \| `SAFELIGHT_", read("configuration.md"), re.MULTILINE)

    assert sorted(said) == sorted(Settings.model_fields)


@pytest.mark.parametrize("command", [*documents.commands()], ids=" ".join)
def test_every_command_is_named(command: tuple[str, ...]) -> None:
    assert f"### `{' '.join(('safelight', *command))}`" in read("cli.md")


@pytest.mark.parametrize("name", [*dialects.found()])
def test_every_dialect_is_explained(name: str) -> None:
    assert f"`{name}`" in README.read_text(encoding="utf-8")
    assert f"\n## `{name}`" in read("dialects.md")
    assert dialects.named(name).states  # which the table there shows


@pytest.mark.parametrize("name", engines.found())
def test_every_engine_has_a_page(name: str) -> None:
    assert f"`{name}`" in read("engines", f"{name}.md")
    assert f"(engines/{name}.md)" in read("configuration.md")
    assert f"(docs/engines/{name}.md)" in README.read_text(encoding="utf-8")


def test_the_readme_calls_nothing_absent_that_is_there() -> None:
    """What an engine is said to be, by its module or in its card, is not among what is missing."""
    readme = README.read_text(encoding="utf-8")
    absent = readme.partition("## What is not there yet")[2].partition("\n## ")[0].lower()

    assert absent
    for name in (*engines.found(), *dialects.found()):
        assert name not in absent
    for built in ("diffusion", "local model", "super-resolution", "restoration", "another service"):
        assert built not in absent


def test_every_variable_that_children_get_is_named() -> None:
    page = read("operations.md")

    for name in (*PASSED, *KEPT_BACK):
        assert f"`{name}`" in page


async def test_every_metric_is_named(serving: Serving) -> None:
    await serving.ended(await serving.create())
    written = (await serving.http.get("/metrics")).text
    names = set(re.findall(r"^# TYPE (\w+) ", written, re.MULTILINE))

    named = re.findall(r"^\| `(\w+)` \|", read("operations.md").partition("| metric |")[2], re.M)
    assert len(names) > 30
    assert sorted(named) == sorted(names)


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(line for extra in extras for line in extra)]
    names = {re.split(r"[<>=~!\[ ]", line)[0] for line in wanted} - {project["name"]}

    said = re.findall(r"^\| `([^`]+)` \|", read("dependencies.md"), re.MULTILINE)
    assert sorted(said) == sorted(names)


@pytest.mark.parametrize("word", [*Status, *FailureCode])
def test_every_status_and_reason_is_named(word: str) -> None:
    assert f"`{word}`" in read("dialects.md")


# --------------------------------------------------------------------------------- it is up to date


def test_every_made_part_stands_somewhere() -> None:
    assert {name for page in PAGES for name in documents.parts(page)} == set(PARTS)


@every_page
def test_the_made_parts_are_up_to_date(page: Path) -> None:
    for name, text in documents.parts(page).items():
        made = PARTS[name]()
        if name == "help" and _other_cyclopts(page):
            # Its layout is the library's own: with another version only the words are ours.
            assert set(_OPTION.findall(text)) == set(_OPTION.findall(made))
        else:
            assert text == made, "run scripts/docs"


def _other_cyclopts(page: Path) -> bool:
    return f"made: help with cyclopts {version('cyclopts')} " not in page.read_text("utf-8")


# -------------------------------------------------------------------------------------- it leads on


@every_page
def test_links_lead_to_what_is_there(page: Path) -> None:
    for target in _LINK.findall(_BLOCK.sub("", page.read_text(encoding="utf-8"))):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        if anchor:
            assert anchor in set(_anchors(file)), target


def _anchors(page: Path) -> Iterator[str]:
    """The names of a page's headings, as they are made on the web."""
    for heading in _HEADING.findall(_BLOCK.sub("", page.read_text(encoding="utf-8"))):
        kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
        yield kept.replace(" ", "-")


@every_page
def test_scripts_that_are_named_are_there(page: Path) -> None:
    for name in _SCRIPT.findall(page.read_text(encoding="utf-8")):
        assert (ROOT / name).is_file(), name


@pytest.mark.parametrize("page", [README, DOCS / "configuration.md"], ids=lambda page: page.name)
def test_the_example_settings_can_be_loaded(page: Path, tmp_path: Path) -> None:
    examples = blocks(page, "toml")
    assert examples

    for text in examples:
        file = tmp_path / "safelight.toml"
        file.write_text(text, encoding="utf-8")
        assert config.load(file)


def test_python_in_the_docs_can_be_compiled() -> None:
    for page in PAGES:
        for text in blocks(page, "python"):
            compile(text, str(page), "exec", flags=0x2000)  # top-level await is let pass


def test_contributing_is_short() -> None:
    assert len((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()) <= 150
