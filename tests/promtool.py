"""Prometheus' own tool, where there is one: it reads metrics, rules and their tests."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from documents import ROOT

_FETCHED = ROOT / ".venv" / "promtool"
_SECONDS = 60


def check(*arguments: str | Path, given: str = "", folder: Path | None = None) -> str:
    """What `promtool` says, which finds nothing wrong. Skips the test where there is none."""
    tool = shutil.which("promtool") or (str(_FETCHED) if _FETCHED.is_file() else None)
    if tool is None:
        pytest.skip("there is no promtool here; scripts/promtool fetches it")
    done = subprocess.run(
        [tool, *map(str, arguments)],
        input=given, cwd=folder, capture_output=True, text=True, timeout=_SECONDS,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said
