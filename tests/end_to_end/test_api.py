"""The session in docs/api.md, as it stands there, with curl and a server."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from end_to_end.running import Running
from end_to_end.words import png

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
_BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)
_CALL = re.compile(r"^curl .*(?:\\\n.*|\n +.*)*", re.MULTILINE)


def calls() -> list[str]:
    """The calls of the session, in their order."""
    found = _BLOCK.search(PAGE.read_text(encoding="utf-8"))
    assert found is not None
    return _CALL.findall(found[1])


def test_the_session_in_the_docs_goes_as_it_says(server: Running, tmp_path: Path) -> None:
    (tmp_path / "dusk.png").write_bytes(png())
    said = {
        "api": f"{server.url}/api/safelight/v1",
        "auth": f"Authorization: Bearer {server.key.secret}",
    }
    told: list[Any] = []
    for call in calls():
        id = told[0]["id"] if told else ""
        line = call.replace("/ID", f"/{id}")
        done = subprocess.run(
            ["bash", "-ec", line],
            env={"PATH": "/usr/bin:/bin:/usr/local/bin", **said},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=90,
            check=True,
        )
        told.append(json.loads(done.stdout) if done.stdout else None)

    made, waited, with_file, listed, history, retried, deleted = told
    assert made["labels"] == ["posters"]
    assert (waited["id"], waited["status"]) == (made["id"], "succeeded")
    assert len(with_file["input"]["sources"]) == 1
    assert [task["id"] for task in listed["tasks"]] == [made["id"]]
    assert [event["status"] for event in history["events"] if event["event"] == "status"][-1:] == [
        "succeeded"
    ]
    assert retried["parent"] == made["id"]
    assert deleted is None
