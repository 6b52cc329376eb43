"""Engines and dialects of other packages: how they are found, and what broken ones keep from whom.

Each is looked for by a process of its own, for what is installed is read once.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from installed import DIALECT, ENGINE, beside, install, install_list, run
from safelight import dialects, engines

FOUND = """
import json, sys
from safelight import dialects, engines
print(json.dumps({
    "dialects": list(dialects.found()), "not these": dialects.problems(),
    "engines": engines.found(), "nor these": engines.problems(),
}))
"""
OURS = {"dialects": list(dialects.own()), "engines": list(engines.own())}


def test_without_plugins_there_is_what_there_was(tmp_path: Path) -> None:
    said = run(tmp_path, FOUND)

    assert sorted(said["dialects"]) == sorted(OURS["dialects"])
    assert sorted(said["engines"]) == sorted(OURS["engines"])
    assert (said["not these"], said["nor these"]) == ([], [])


def test_what_another_package_brings_is_found(tmp_path: Path) -> None:
    morse = DIALECT.format(name="morse", prefix="/morse")
    files = {"morse": morse, "dots": ENGINE.format(name="dots")}
    entries = {"safelight.dialects": {"any": "morse"}, "safelight.engines": {"dots": "dots"}}
    install(tmp_path, "telegraphy", files, entries)

    said = run(tmp_path, FOUND)

    assert set(said["dialects"]) - set(OURS["dialects"]) == {"morse"}
    assert set(said["engines"]) - set(OURS["engines"]) == {"dots"}
    assert (said["not these"], said["nor these"]) == ([], [])


NO_DIALECTS = {
    "no_such_module": (None, "No module named 'no_such_module'"),
    "raising": ("raise RuntimeError('it\\nrains')", "RuntimeError: it rains"),
    "leaving": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "no_python": ("def (", "SyntaxError"),
    "without": ("", "no tuple DIALECTS"),
    "empty": ("DIALECTS = ()", "no tuple DIALECTS"),
    "text": ("DIALECTS = ('morse',)", "'morse' is no object of a subclass of Dialect"),
    "a_class": (f"{DIALECT.format(name='morse', prefix='/m')}\nDIALECTS = (morse,)", "no object"),
    "nameless": (DIALECT.format(name="morse", prefix="/m").replace('"morse"', '""'), "is no name"),
    "a_path": (DIALECT.format(name="m", prefix="/m").replace('"m"', '"../m"'), "is no name"),
    "a_number": (DIALECT.format(name="m", prefix="/m").replace('"m"', "7"), "7 is no name"),
    "ours": (
        DIALECT.format(name="tencent", prefix="/m"),
        "there is another dialect tencent",
    ),
    "open_path": (DIALECT.format(name="m", prefix="m"), "can begin with 'm'"),
    "slashed": (DIALECT.format(name="m", prefix="/m/"), "can begin with '/m/'"),
    "stray": (
        DIALECT.format(name="m", prefix="/m").replace('("/m",)', '("/n",)'),
        "lies under none of its prefixes",
    ),
    "unasked": (
        DIALECT.format(name="m", prefix="/m") + "\nm.name = property(lambda self: 1 / 0)",
        "ZeroDivisionError",
    ),
}


def test_a_dialect_that_is_none_names_itself_and_is_left_out(tmp_path: Path) -> None:
    for name, (text, _) in NO_DIALECTS.items():
        files = {} if text is None else {name: text}
        install(tmp_path, f"package-{name}", files, {"safelight.dialects": {name: name}})
    good = {"good": DIALECT.format(name="good", prefix="/good")}
    install(tmp_path, "zz-the-last", good, {"safelight.dialects": {"good": "good"}})

    said = run(tmp_path, FOUND)

    assert set(said["dialects"]) == {*OURS["dialects"], "good"}
    assert len(said["not these"]) == len(NO_DIALECTS)
    for name, (_, problem) in NO_DIALECTS.items():
        (told,) = (one for one in said["not these"] if f"plug-in {name} " in one)
        assert f"package-{name}" in told
        assert problem in told
        assert "\n" not in told


def test_of_two_dialects_of_one_name_the_first_package_s_is_taken(tmp_path: Path) -> None:
    for package in ("b", "a"):
        text = DIALECT.format(name="morse", prefix=f"/{package}")
        install(tmp_path, package, {package: text}, {"safelight.dialects": {package: package}})

    said = run(
        tmp_path,
        "import json\nfrom safelight.dialects import named, problems\n"
        "print(json.dumps([named('morse').prefixes, problems()]))",
    )

    assert said[0] == ["/a"]
    assert "(of the package b) is left out: there is another dialect morse" in said[1][0]


DOORS = """
import json
from safelight.config import Settings, SettingsError
from safelight.server.doors import Doors

def refusal(name):
    try:
        Doors.build(Settings(dialects=("tensorslab", name)))
    except SettingsError as problem:
        return str(problem)

doors = Doors.build(Settings())
print(json.dumps({
    "published": [dialect.name for dialect in doors.published],
    "named": [dialect.name for dialect in doors.named],
    "problems": doors.problems,
    "refused": {dialect.name: refusal(dialect.name) for dialect in doors.named},
}))
"""
TAKEN = {
    "thief": ("/v1/images", "tensorslab and thief are both at home on /v1/images"),
    "twin": ("/v1", "tensorslab and twin are both at home on /v1"),
    "squatter": ("/tencent/x", "squatter is at home on /tencent/x, which is another's by its name"),
    "probe": ("/healthz", "probe is at home on /healthz, where the server answers itself"),
}


def test_a_dialect_takes_no_path_of_anothers(tmp_path: Path) -> None:
    """It is under its own name alone then, and says so."""
    files = {name: DIALECT.format(name=name, prefix=path) for name, (path, _) in TAKEN.items()}
    files |= {name: DIALECT.format(name=name, prefix=f"/{name}") for name in ("metrics", "morse")}
    install(tmp_path, "many", files, {"safelight.dialects": {name: name for name in files}})

    said = run(tmp_path, DOORS)

    assert set(said["published"]) == {*OURS["dialects"], "morse"} - {"kie"}
    assert set(said["named"]) == {*OURS["dialects"], "morse", *TAKEN}
    assert "no dialect can be called metrics here" in said["problems"]
    for name, (_, problem) in TAKEN.items():
        assert any(told.startswith(problem) for told in said["problems"]), name
        assert problem in said["refused"][name]
    assert said["refused"]["morse"] is None


def test_an_engine_that_is_none_names_itself_and_is_left_out(tmp_path: Path) -> None:
    brought = {
        "raising": ("raise ValueError('no')", "ValueError: no"),
        "without": ("", "no function build"),
        "sketch": (ENGINE.format(name="sketch"), "there is another engine sketch"),
    }
    for name, (text, _) in brought.items():
        files = {f"a_{name}": text}
        install(tmp_path, f"of-{name}", files, {"safelight.engines": {name: f"a_{name}"}})

    said = run(tmp_path, FOUND)

    assert set(said["engines"]) == set(OURS["engines"])
    for name, (_, problem) in brought.items():
        (told,) = (one for one in said["nor these"] if f"plug-in {name} (" in one)
        assert problem in told


def test_a_list_that_is_none_keeps_no_other_from_being_read(tmp_path: Path) -> None:
    install_list(tmp_path, "broken", "[safelight.engines]\nwithout a value")
    install_list(tmp_path, "others", "[console_scripts]\nwithout a value")
    dots = {"dots": ENGINE.format(name="dots")}
    install(tmp_path, "good", dots, {"safelight.engines": {"dots": "dots"}})

    said = run(tmp_path, FOUND)

    assert "dots" in said["engines"]
    (told,) = said["nor these"]
    assert "(of the package broken) is left out" in told


# --------------------------------------------------------------------------------- what is needed

BUILT = """
import json, sys
from safelight.config import ModelRule, SettingsError
from safelight.models import ModelMap
from safelight.task import Submit

def build(names, tables):
    rules = [ModelRule(name=f"m{number}", engine=name) for number, name in enumerate(names)]
    try:
        models = ModelMap.build(rules, {name: {} for name in tables})
    except SettingsError as problem:
        return f"refused: {problem}"
    return models.find(Submit(model="m0")).engine.name

said = [build(*case) for case in json.loads(sys.argv[1])]
print(json.dumps([said, sorted(sys.modules)]))
"""
Case = tuple[Sequence[str], Sequence[str]]  # the engines of rules, and of tables of settings


def build(folder: Path, *cases: Case) -> tuple[list[str], set[str]]:
    """The engine of each first rule, or why there is none; and the modules loaded for all that."""
    done = subprocess.run(
        [sys.executable, "-c", BUILT, json.dumps(cases)],
        env=beside(folder),
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()
    said, loaded = json.loads(done.stdout)
    return said, set(loaded)


@pytest.fixture(scope="module")
def telegraphy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Engines of a package: good ones, and ones that break at different times."""
    folder = tmp_path_factory.mktemp("telegraphy")
    refusing = "def build(settings):\n    raise {}('too wet')"
    files = {
        "dots": ENGINE.format(name="dots"),
        "dashes": "raise OSError('no wire')",
        "liar": ENGINE.format(name="dots"),
        "unset": "def build(settings):\n    return None",
        "refusing": refusing.format("ValueError"),
        "breaking": refusing.format("KeyError"),
        "nobody": "def build(settings):\n    return object()",
    }
    install(folder, "telegraphy", files, {"safelight.engines": {name: name for name in files}})
    folder.joinpath("station").mkdir()
    folder.joinpath("station", "__init__.py").touch()
    folder.joinpath("station", "clerk.py").write_text(ENGINE.format(name="clerk"))
    folder.joinpath("station", "thief.py").write_text(ENGINE.format(name="sketch"))
    folder.joinpath("station", "double.py").write_text(ENGINE.format(name="dots"))
    return folder


def test_rules_name_engines_that_were_brought_and_modules(telegraphy: Path) -> None:
    clerk = ["station.clerk"]

    said, _ = build(telegraphy, (["dots"], []), (clerk, []), (clerk, clerk), (clerk, ["dashes"]))

    assert said == ["dots", "clerk", "clerk", "clerk"]


NEEDED = {
    "dashes": "the plug-in dashes (of the package telegraphy) is left out: OSError: no wire",
    "liar": "the engine liar calls itself 'dots'",
    "unset": "the engine unset is not configured",
    "refusing": "engines.refusing: too wet",
    "breaking": "the engine breaking cannot be built: KeyError: 'too wet'",
    "nobody": "which is no Engine",
    "telex": "no engine 'telex'; there are ",
    "station.telex": "the module station.telex cannot be used: ModuleNotFoundError",
    "station.thief": "calls itself 'sketch', as none may",
    "os.path": "the engine os.path cannot be built",
    ".clerk": "the module .clerk cannot be used",
    "station..clerk": "the module station..clerk cannot be used",
    "dots station.double": "dots and station.double both call themselves dots",
}


def test_a_rule_that_needs_what_is_broken_is_told_so(telegraphy: Path) -> None:
    said, _ = build(telegraphy, *((names.split(), []) for names in NEEDED))

    for told, (names, why) in zip(said, NEEDED.items(), strict=True):
        assert told.startswith("refused: "), names
        assert why in told, names


def test_what_nobody_needs_is_not_loaded_and_keeps_nothing_from_its_engine(
    telegraphy: Path,
) -> None:
    said, loaded = build(telegraphy, (["sketch"], []), (["sketch"], ["dashes"]))

    assert said == ["sketch", "sketch"]
    assert not loaded & {"dots", "liar", "station", "station.clerk"}


ASKED = """
import json, sys
from safelight import dialects
from safelight.config import ModelRule
from safelight.errors import UnknownModel
from safelight.models import ModelMap
from safelight.task import Submit

models = ModelMap.build([ModelRule(name="m", engine="sketch")], {})
for ask in (lambda: models.find(Submit(model="station.clerk")),
            lambda: dialects.named("station.clerk")):
    try:
        ask()
    except (UnknownModel, LookupError):
        continue
    raise SystemExit("it was found")
print(json.dumps("station.clerk" in sys.modules))
"""


def test_no_module_is_loaded_for_a_caller(telegraphy: Path) -> None:
    """Settings alone lead to modules: no name of a model does, nor one of a dialect."""
    assert run(telegraphy, ASKED) is False
