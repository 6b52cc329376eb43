"""Packages as pip leaves them in a folder: modules, and the entry points that lead to them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

# A dialect that is like one of ours under another name, and at other paths.
DIALECT = """
from safelight.dialects.tensorslab import TensorsLab
from safelight.wire import Route

class {name}(TensorsLab):
    name = "{name}"
    prefixes = ("{prefix}",)
    routes = (Route("images.zimage", "POST", "{prefix}/images/zimage"),)

DIALECTS = ({name}(),)
"""
ENGINE = """
from safelight.engines import Engine

class It(Engine):
    name = "{name}"

    async def run(self, job):
        yield

def build(settings):
    return It()
"""


def install(
    folder: Path, package: str, files: Mapping[str, str], entries: Mapping[str, Mapping[str, str]]
) -> None:
    """Put a package in `folder`: modules by name, and entry points by group and name."""
    for name, text in files.items():
        folder.joinpath(f"{name}.py").write_text(text)
    lines = []
    for group, found in entries.items():
        lines += [f"[{group}]", *(f"{name} = {module}" for name, module in found.items())]
    install_list(folder, package, "\n".join(lines))


def install_list(folder: Path, package: str, entries: str) -> None:
    """Put a package in `folder` that has no more than a list of entry points."""
    about = folder / f"{package.replace('-', '_')}-1.0.dist-info"
    about.mkdir(parents=True)
    about.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    about.joinpath("entry_points.txt").write_text(f"{entries}\n")


def beside(folder: Path) -> dict[str, str]:
    """This environment, with the packages of `folder` installed too."""
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def run(folder: Path, program: str) -> Any:
    """What a program prints, as JSON, where those packages are installed."""
    done = subprocess.run(
        [sys.executable, "-c", program], env=beside(folder), capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()
    return msgspec.json.decode(done.stdout)
