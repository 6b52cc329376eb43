"""The settings: what wins over what, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydantic
import pytest

from safelight.config import ModelRule, Settings, SettingsError, load


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder without a settings file."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, text: str, name: str = "safelight.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_without_anything_the_defaults_are_safe() -> None:
    settings = load()

    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert not settings.private_sources
    assert settings.concurrency >= 1
    assert settings.retention == 7 * 24 * 3600 * 1000
    assert settings.dialects == ()


def test_without_anything_everything_is_on_this_machine_and_in_one_process() -> None:
    settings = load()

    assert (settings.database, settings.files) == (None, None)
    assert (settings.processes, settings.workers, settings.run_engines) == (1, True, ())
    assert (settings.files_links, settings.files_public_endpoint) == ("signed", None)
    assert settings.heartbeat < settings.patience


def test_the_command_line_wins_over_the_environment_over_the_file(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(elsewhere, "port = 1\ngrace = 1\ntime_limit = 1\n")
    monkeypatch.setenv("SAFELIGHT_PORT", "2")
    monkeypatch.setenv("SAFELIGHT_GRACE", "2")

    settings = load(port=3, host=None)

    assert (settings.port, settings.grace, settings.time_limit) == (3, 2, 1)
    assert settings.host == "127.0.0.1"


def test_a_file_of_another_name_is_read_instead(elsewhere: Path) -> None:
    write(elsewhere, "port = 1")

    assert load(write(elsewhere, "port = 2", "other.toml")).port == 2
    assert load().port == 1


def test_tables_are_read_from_the_file(elsewhere: Path) -> None:
    write(
        elsewhere,
        """
        [[models]]
        name = "seedream*"
        engine = "sketch"
        options = { seconds = 2 }
        [engines.sketch]
        places = 2
        [rates]
        "tencent.ProcessImage" = "5/minute"
        """,
    )

    settings = load()

    assert settings.models == (
        ModelRule(name="seedream*", engine="sketch", options={"seconds": 2}),
    )
    assert settings.engines == {"sketch": {"places": 2}}
    assert settings.rates == {"tencent.ProcessImage": "5/minute"}


def test_tables_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAFELIGHT_DIALECTS", '["tensorslab"]')
    monkeypatch.setenv("SAFELIGHT_ENGINES__SKETCH__PLACES", "2")

    settings = load()

    assert settings.dialects == ("tensorslab",)
    assert settings.engines == {"sketch": {"places": "2"}}


def test_many_machines_are_set_by_the_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "DATABASE": "postgresql://safelight:secret@db:5432/safelight",
        "FILES": "s3://pictures/kept",
        "FILES_OPTIONS__ENDPOINT": "http://minio:9000",
        "FILES_OPTIONS__REGION": "us-east-1",
        "FILES_LINKS": "own",
        "FILES_PUBLIC_ENDPOINT": "https://files.example",
        "LINK_HOURS": "0.5",
        "WORKERS": "false",
        "RUN_ENGINES": '["sketch"]',
        "PROCESSES": "2",
        "CONNECTIONS": "5",
        "HEARTBEAT": "10",
        "PATIENCE": "60",
    }.items():
        monkeypatch.setenv(f"SAFELIGHT_{name}", value)

    settings = load()

    assert settings.database == "postgresql://safelight:secret@db:5432/safelight"
    assert settings.files == "s3://pictures/kept"
    assert settings.files_options == {"endpoint": "http://minio:9000", "region": "us-east-1"}
    assert (settings.files_links, settings.link_hours) == ("own", 0.5)
    assert settings.files_public_endpoint == "https://files.example"
    assert (settings.workers, settings.run_engines, settings.processes) == (False, ("sketch",), 2)
    assert (settings.connections, settings.heartbeat, settings.patience) == (5, 10, 60)


def test_options_of_the_files_may_be_one_table_in_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SAFELIGHT_FILES_OPTIONS", '{"endpoint": "http://minio:9000"}')

    assert load().files_options == {"endpoint": "http://minio:9000"}


def test_what_needs_a_database_of_many_is_refused_without_one() -> None:
    for alone in ({"processes": 2}, {"workers": False}):
        with pytest.raises(SettingsError, match=f"{next(iter(alone))}: .*PostgreSQL"):
            load(**alone)
        assert load(database="postgresql://db/safelight", **alone)


def test_what_else_the_environment_says_of_us_is_no_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("SECRET", "KEY", "URL", "DIALECT"):
        monkeypatch.setenv(f"SAFELIGHT_{name}", "x")
    load()


UNKNOWN = ["prot = 1", "[engine.sketch]\na = 1", "[[models]]\nname = 'a'\nengine = 'b'\nfoo = 1"]


@pytest.mark.parametrize("text", UNKNOWN)
def test_a_name_in_the_file_that_is_no_setting_is_refused(elsewhere: Path, text: str) -> None:
    write(elsewhere, text)

    with pytest.raises(SettingsError, match=r"prot|engine|foo"):
        load()


@pytest.mark.parametrize("name", ["SAFELIGHT_PROT", "safelight_prot", "SAFELIGHT_ENGINE__X"])
def test_a_name_in_the_environment_that_is_no_setting_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "1")

    with pytest.raises(SettingsError, match=name):
        load()


def test_a_name_that_is_given_and_no_setting_is_refused() -> None:
    with pytest.raises(SettingsError, match="prot"):
        load(prot=1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "no number"),
        ("port", 65536),
        ("port", -1),
        ("concurrency", 0),
        ("time_limit", 0),
        ("most_deaths", 0),
        ("grace", -1),
        ("retention_days", 0),
        ("max_body", 0),
        ("max_pixels", -1),
        ("source_timeout", 0),
        ("public_url", "pictures.example"),
        ("public_url", "ftp://pictures.example"),
        ("log_level", "loud"),
        ("rates", {"tencent.ProcessImage": "often"}),
        ("models", [{"name": "a"}]),
        ("database", "mysql://db/safelight"),
        ("database", "safelight.db"),
        ("connections", 1),
        ("processes", 0),
        ("files", "bucket/prefix"),
        ("files", "/srv/files"),
        ("files_links", "public"),
        ("files_options", {"endpoint": 1}),
        ("link_hours", 0),
        ("link_hours", 169),  # no longer than a week: S3 signs for no more
        ("heartbeat", 0),
        ("patience", 0),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_its_name(name: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=name):
        load(**{name: value})


def test_a_value_in_the_environment_that_is_no_json_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SAFELIGHT_DIALECTS", "tensorslab,")

    with pytest.raises(SettingsError, match="dialects") as told:
        load()

    assert "toml" not in str(told.value)


def test_a_file_that_is_not_there_or_no_toml_is_refused_by_its_name(elsewhere: Path) -> None:
    with pytest.raises(SettingsError, match=r"missing\.toml: no such file"):
        load(elsewhere / "missing.toml")
    with pytest.raises(SettingsError, match=r"broken\.toml"):
        load(write(elsewhere, "port = ", "broken.toml"))


@pytest.mark.parametrize("name", ["public_url", "database", "files"])
def test_a_refusal_does_not_repeat_the_value(name: str) -> None:
    given: dict[str, Any] = {name: "sk-very-secret"}
    with pytest.raises(SettingsError) as told:
        load(**given)

    assert "very" not in str(told.value)


def test_settings_do_not_change() -> None:
    with pytest.raises(pydantic.ValidationError):
        load().port = 1


def test_values_are_tidied() -> None:
    settings = Settings(public_url="https://pictures.example/", log_level="INFO")

    assert settings.public_url == "https://pictures.example"
    assert settings.log_level == "info"
    assert Settings(public_url=None).public_url is None
    assert Settings(database="postgres://db/safelight").database == "postgres://db/safelight"


def test_templates_have_a_number_each(elsewhere: Path) -> None:
    write(
        elsewhere,
        """
        [[definitions]]
        number = 7
        name = "large"
        image_task.EnhanceConfig.SuperResolution = { Size = 2 }
        """,
    )
    (rule,) = load().definitions
    assert (rule.number, rule.name, rule.comment) == (7, "large", "")
    assert rule.image_task == {"EnhanceConfig": {"SuperResolution": {"Size": 2}}}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("number = 0\nimage_task = {}", "definitions.0.number"),
        ("number = 1", "definitions.0.image_task"),
        ("number = 1\nimage_task = {}\noperations = []", "definitions.0.operations"),
        (f"number = 1\nimage_task = {{}}\nname = '{'x' * 65}'", "definitions.0.name"),
        (
            "number = 1\nimage_task = {}\n[[definitions]]\nnumber = 1\nimage_task = {}",
            "1 is there twice",
        ),
    ],
)
def test_templates_that_are_none(elsewhere: Path, text: str, problem: str) -> None:
    write(elsewhere, f"[[definitions]]\n{text}")
    with pytest.raises(SettingsError, match=problem):
        load()


@pytest.mark.parametrize(("said", "seconds"), [("60", 60), ("0.5", 0.5), ("1e3", 1000)])
def test_a_model_may_have_a_time_limit(elsewhere: Path, said: str, seconds: float) -> None:
    write(elsewhere, f'[[models]]\nname = "a"\nengine = "sketch"\ntime_limit = {said}')

    assert load().models[0].time_limit == seconds


@pytest.mark.parametrize("said", ["0", "-1", "nan", "inf", "-inf", '"120"', "true", "[1]", "{}"])
def test_a_time_limit_of_a_model_that_is_none_is_refused(elsewhere: Path, said: str) -> None:
    write(elsewhere, f'[[models]]\nname = "a"\nengine = "sketch"\ntime_limit = {said}')

    with pytest.raises(SettingsError, match=r"^models\.0\.time_limit: "):
        load()


def test_a_time_limit_is_no_option(elsewhere: Path) -> None:
    rule = 'name = "film-*"\nengine = "sketch"\noptions = { time_limit = 60 }'
    write(elsewhere, f"[[models]]\n{rule}")

    with pytest.raises(SettingsError) as told:
        load()

    assert "film-*: time_limit belongs beside options" in str(told.value)


def test_a_time_limit_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = '{"name": "a", "engine": "sketch", "time_limit": 60}'
    monkeypatch.setenv("SAFELIGHT_MODELS", f"[{rule}]")

    assert load().models[0].time_limit == 60
