"""What others make of our document: schemathesis asks by it, and a client that it is enough for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from end_to_end.running import Running

CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
    *("response_schema_conformance", "response_headers_conformance", "negative_data_rejection"),
)
V1 = "/api/safelight/v1"
# Ids of what there is, for half of the questions: else schemathesis would be told of nothing.
KNOWN = """
[dictionaries]
tasks = {{ values = {tasks} }}
endpoints = {{ values = {endpoints} }}
deliveries = {{ values = {deliveries} }}

[[operations]]
include-path-regex = "/tasks/.id"
parameters = {{ "path.id" = {{ dictionary = "tasks", probability = 0.5 }} }}

[[operations]]
include-path-regex = "/endpoints/.id"
parameters = {{ "path.id" = {{ dictionary = "endpoints", probability = 0.5 }} }}

[[operations]]
include-path-regex = "/deliveries/.id"
parameters = {{ "path.id" = {{ dictionary = "deliveries", probability = 0.5 }} }}
"""
# A client that nobody here wrote: it submits, and waits.
USE = """
import sys, time
from safelight_client import AuthenticatedClient
from safelight_client.api.default import create, get
from safelight_client.models import Input, TaskRequest

client = AuthenticatedClient(base_url=sys.argv[1], token=sys.argv[2])
asked = TaskRequest(model="sketch", input_=Input(prompt="a red boat", width=96, height=64))
task = create.sync(client=client, body=asked)
while task.status not in ("succeeded", "failed", "canceled"):
    time.sleep(0.1)
    task = get.sync(id=task.id, client=client)
print(task.status, len(task.outputs))
"""


def carry_out(*words: str, folder: Path, **environment: str) -> str:
    """Run a program of another package to its end; what it printed."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def make(server: Running, path: str, body: Any, count: int) -> list[str]:
    """The ids of so many things that were made for schemathesis to ask about."""
    headers = {"authorization": f"Bearer {server.key.secret}"}
    with httpx.Client(trust_env=False, base_url=f"{server.url}{V1}", headers=headers) as client:
        answers = [client.post(path, json=body) for _ in range(count)]
    assert all(answer.is_success for answer in answers), answers[0].text
    return [answer.json()["id"] for answer in answers]


def what_there_is(server: Running) -> str:
    """Ids of tasks, endpoints and deliveries, in the words of schemathesis' settings."""
    asked = {"model": "slow", "input": {"prompt": "a"}}
    tasks = make(server, "/tasks", asked, 3) + make(server, "/tasks", {**asked, "model": "m"}, 15)
    # The address is public, and nobody answers there.
    endpoints = make(server, "/webhooks/endpoints", {"url": "http://93.184.216.34/"}, 10)
    deliveries = make(server, f"/webhooks/endpoints/{endpoints[0]}/test", {}, 5)
    return KNOWN.format(tasks=tasks, endpoints=endpoints, deliveries=deliveries)


def test_every_answer_fits_the_document(server: Running, tmp_path: Path) -> None:
    (tmp_path / "known.toml").write_text(what_there_is(server))
    said = carry_out(
        *("-m", "schemathesis.cli", "--config-file", "known.toml"),
        *("run", f"{server.url}{V1}/openapi.json"),
        *("-H", f"Authorization: Bearer {server.key.secret}", "--no-color"),
        *("--max-examples", "10", "--checks", ",".join(CHECKS), "--seed", "1"),
        *("--phases", "coverage,fuzzing,stateful"),
        *("--exclude-path", f"{V1}/events"),  # which has no end
        folder=tmp_path,
    )

    assert "28 selected / 29 total" in said
    # Operations of what there is were met too, and not only of what nobody has made.
    for operation in (
        *("get", "events", "cancel", "retry", "webhooks.get", "webhooks.edit", "webhooks.rotate"),
        *("webhooks.test", "webhooks.enable", "webhooks.delivery", "webhooks.redeliver"),
    ):
        assert answered_well(server, operation), operation
    assert "request_broke" not in server.log.read_text(encoding="utf-8")


def answered_well(server: Running, operation: str) -> bool:
    """Whether an operation had an answer that was no refusal, since the server was started."""
    told = httpx.get(f"{server.url}/metrics", trust_env=False).text
    lines = [line for line in told.splitlines() if f'operation="{operation}"' in line]
    return any(f'status="{status}"' in line for line in lines for status in (200, 201, 202))


def test_a_client_is_made_of_the_document_alone(server: Running, tmp_path: Path) -> None:
    document = httpx.get(f"{server.url}/api/safelight/v1/openapi.json", trust_env=False)
    (tmp_path / "openapi.json").write_bytes(document.content)
    (tmp_path / "made.yml").write_text(
        "post_hooks: []\ncontent_type_overrides:\n  image/jpeg: application/octet-stream\n"
    )
    carry_out(
        *("-m", "openapi_python_client", "generate", "--path", "openapi.json", "--meta", "none"),
        *("--output-path", "safelight_client", "--config", "made.yml", "--fail-on-warning"),
        folder=tmp_path,
    )
    (tmp_path / "use.py").write_text(USE)

    said = carry_out("use.py", server.url, server.key.secret, folder=tmp_path)

    assert said.split() == ["succeeded", "1"]
