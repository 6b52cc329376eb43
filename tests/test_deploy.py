"""What is in `deploy`: every name in it exists, and its commands run, as processes of this machine.

The image and the services of others are not started here.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from backends import PostgresServer, S3Server
from documents import DOCS, ROOT
from end_to_end.running import environment, program, until
from safelight import Client, config
from safelight.cli import serving
from safelight.cli.program import app
from safelight.config import Settings
from safelight.server.addresses import free_port

DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service["image"] == "safelight"]
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
EXAMPLE = (DEPLOY / ".env.example").read_text()

_VARIABLE = re.compile(r"\$\{(\w+):\?[^}]*\}")
_FILLED = {"SAFELIGHT_SECRET": "a" * 64, "POSTGRES_PASSWORD": "b" * 48}
_FILLED |= {"BUCKET_KEY": "c" * 48, "BUCKET_SECRET": "d" * 48}


def example() -> dict[str, str]:
    """`.env.example`, filled in."""
    lines = (line.partition("=") for line in EXAMPLE.splitlines() if "=" in line and line[0] != "#")
    return {name: value or _FILLED[name] for name, _, value in lines}


def environment_of(service: str) -> dict[str, str]:
    """What compose gives the processes of a service."""
    given = SERVICES[service]["environment"]
    return {
        name: _VARIABLE.sub(lambda found: example()[found[1]], value)
        for name, value in given.items()
    }


def test_the_services_are_there() -> None:
    assert sorted(SERVICES) == ["api", "bucket", "database", "worker"]
    assert sorted(OURS) == ["api", "worker"]
    for service in SERVICES.values():
        assert service["restart"] == "unless-stopped"
        assert service["stop_grace_period"]


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting_and_its_value_can_be(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    given = environment_of(name)
    assert all(variable.startswith("SAFELIGHT_") for variable in given)
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)

    settings = config.load()

    assert settings.database == f"postgresql://safelight:{'b' * 48}@database:5432/safelight"
    assert settings.files == f"s3://{SERVICES['bucket']['environment']['S3_BUCKET']}/files"
    assert set(settings.files_options) == {
        *("endpoint", "region", "access_key_id", "secret_access_key")
    }
    assert settings.files_public_endpoint == "http://localhost:8333"


@pytest.mark.parametrize("name", OURS)
def test_every_command_is_one_of_ours(name: str) -> None:
    command, bound, _ = app.parse_args(
        SERVICES[name]["command"], exit_on_error=False, print_error=False
    )

    assert command is (serving.serve if name == "api" else serving.work)
    assert bound.arguments


def test_the_images_own_command_is_one_of_ours() -> None:
    found = re.search(r"^CMD \[(.*)\]$", DOCKERFILE, re.MULTILINE)
    assert found
    words = [word.strip().strip('"') for word in found[1].split(",")]

    assert app.parse_args(words, exit_on_error=False, print_error=False)[0] is serving.serve


def test_the_image_has_what_its_commands_need() -> None:
    assert re.search(r"^RUN pip install .*'\.\[server\]'$", DOCKERFILE, re.MULTILINE)


def test_the_image_runs_as_nobody_special_and_says_how_it_is() -> None:
    assert re.search(r"^USER safelight$", DOCKERFILE, re.MULTILINE)
    assert "/healthz" in DOCKERFILE
    for copied in re.findall(r"^COPY (.*) \S+$", DOCKERFILE, re.MULTILINE):
        for name in copied.split():
            assert (ROOT / name).exists()
            assert f"!{name}" in (ROOT / ".dockerignore").read_text().splitlines()


def test_what_has_to_be_filled_in_is_in_the_example() -> None:
    wanted = set(_VARIABLE.findall((DEPLOY / "compose.yaml").read_text()))

    assert wanted == set(example())
    assert not re.search(r"\$\{\w+\}", (DEPLOY / "compose.yaml").read_text())


def test_services_wait_for_what_they_need() -> None:
    for name in OURS:
        for needed, how in SERVICES[name]["depends_on"].items():
            assert how == {"condition": "service_healthy"}
            assert SERVICES[needed]["healthcheck"]["test"]


def test_volumes_that_are_used_are_there() -> None:
    used = [volume for service in SERVICES.values() for volume in service.get("volumes", ())]

    assert sorted(volume.partition(":")[0] for volume in used) == sorted(COMPOSE["volumes"])


def test_there_is_time_to_stop() -> None:
    for name in OURS:
        assert int(SERVICES[name]["stop_grace_period"].rstrip("s")) > Settings().grace


# --------------------------------------------------------------------------------- the page


def shell_lines() -> Iterator[str]:
    """The commands of the page, one each."""
    text = (DOCS / "deploy.md").read_text(encoding="utf-8")
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        yield from block.replace("\\\n", " ").splitlines()


def test_every_command_of_the_page_is_one_of_ours() -> None:
    lines = [line for line in shell_lines() if re.match(r"(\w+=\S+ )*safelight ", line)]
    assert lines

    for line in lines:
        words = shlex.split(line, comments=True)
        while words[0] != "safelight":
            words.pop(0)
        app.parse_args(words[1:], exit_on_error=False, print_error=False)


def test_every_variable_of_the_page_is_a_setting() -> None:
    text = (DOCS / "deploy.md").read_text(encoding="utf-8")
    known = {f"SAFELIGHT_{name.upper()}" for name in Settings.model_fields} | {"SAFELIGHT_SECRET"}

    assert {name.partition("__")[0] for name in re.findall(r"SAFELIGHT_\w+", text)} <= known


# --------------------------------------------------------------------------------- it runs


@contextmanager
def started(words: list[str], folder: Path, given: dict[str, str]) -> Iterator[Path]:
    """A process of ours, with that environment; gives the file of its output."""
    folder.mkdir()
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            program(*words),
            cwd=folder,
            env={**environment(), **given, "SAFELIGHT_DATA": str(folder / "data")},
            stdout=output,
            stderr=output,
        )
    try:
        yield log
        process.terminate()
        assert process.wait(60) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()


def on_port(words: list[str], port: int) -> list[str]:
    """A command as it stands in compose, on a port that is free here."""
    if "--port" in words:
        at = words.index("--port")
        words = [*words[:at], *words[at + 2 :]]
    return [*words, "--port", str(port)]


def test_the_commands_and_their_environment_do_the_work(
    postgres: PostgresServer, s3: S3Server, tmp_path: Path
) -> None:
    bucket = s3.bucket()
    given = {
        **environment_of("api"),
        "SAFELIGHT_DATABASE": postgres.create(migrated=False),
        "SAFELIGHT_FILES": bucket.url,
        "SAFELIGHT_FILES_OPTIONS__ENDPOINT": s3.endpoint,
        "SAFELIGHT_FILES_OPTIONS__ACCESS_KEY_ID": s3.KEY,
        "SAFELIGHT_FILES_OPTIONS__SECRET_ACCESS_KEY": s3.SECRET,
        "SAFELIGHT_FILES_PUBLIC_ENDPOINT": f"http://localhost:{s3.port}",
    }
    with (
        httpx.Client(trust_env=False) as http,
        running(http, "api", tmp_path, given) as (port, log),
    ):
        # The address comes first, and the secret of the first key a moment after it.
        secret = until(lambda: re.search(r"sk-\w+(?=\n)", log.read_text()))
        assert given["SAFELIGHT_PUBLIC_URL"] in log.read_text()
        with (
            running(http, "worker", tmp_path, given),
            Client("tensorslab", f"http://127.0.0.1:{port}", secret[0]) as client,
        ):
            task = client.wait(client.submit(model="seedreamv4", prompt="a", ratio="1:1"))
        link = task.artifacts[0].url or ""
        assert link.startswith(f"http://localhost:{s3.port}/")
        assert http.get(link).headers["content-type"] == "image/png"
    assert not (tmp_path / "api" / "data" / "safelight.db").exists()


@contextmanager
def running(
    http: httpx.Client, name: str, folder: Path, given: dict[str, str]
) -> Iterator[tuple[int, Path]]:
    """A service of the composition, once it is ready; gives its port and the file of its output."""
    port = free_port("127.0.0.1")
    with started(on_port(SERVICES[name]["command"], port), folder / name, given) as log:
        until(partial(ready, http, port))
        yield port, log


def ready(http: httpx.Client, port: int) -> bool:
    """Whether a process answers that it is ready."""
    try:
        return http.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
    except httpx.TransportError:
        return False
