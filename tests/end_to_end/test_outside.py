"""What others make of our document: schemathesis asks by it, and a client that it is enough for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx

from end_to_end.running import Running

CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
    *("response_schema_conformance", "response_headers_conformance", "negative_data_rejection"),
)
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


def test_every_answer_fits_the_document(server: Running, tmp_path: Path) -> None:
    said = carry_out(
        *("-m", "schemathesis.cli", "run", f"{server.url}/api/safelight/v1/openapi.json"),
        *("-H", f"Authorization: Bearer {server.key.secret}", "--no-color"),
        *("--max-examples", "10", "--checks", ",".join(CHECKS), "--seed", "1"),
        *("--phases", "coverage,fuzzing,stateful"),
        folder=tmp_path,
    )

    assert "Tested: 14" in said
    assert "request_broke" not in server.log.read_text(encoding="utf-8")


def test_a_client_is_made_of_the_document_alone(server: Running, tmp_path: Path) -> None:
    document = httpx.get(f"{server.url}/api/safelight/v1/openapi.json", trust_env=False)
    (tmp_path / "openapi.json").write_bytes(document.content)
    (tmp_path / "made.yml").write_text("post_hooks: []\n")
    carry_out(
        *("-m", "openapi_python_client", "generate", "--path", "openapi.json", "--meta", "none"),
        *("--output-path", "safelight_client", "--config", "made.yml", "--fail-on-warning"),
        folder=tmp_path,
    )
    (tmp_path / "use.py").write_text(USE)

    said = carry_out("use.py", server.url, server.key.secret, folder=tmp_path)

    assert said.split() == ["succeeded", "1"]
