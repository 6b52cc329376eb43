"""What peers need, in a folder that git ignores and that is kept between runs: `.peers`.

Each has a virtual environment of its own: nothing here is among Safelight's dependencies, and what
one peer pins is no matter of another's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parents[2] / ".peers"
_SECONDS = 300.0
_FRONT = ("granian>=2.5", "starlette>=0.45", "uvloop")


class NotInstalled(Exception):
    """What is needed cannot be had here; it says why."""


def python(name: str, *packages: str) -> Path:
    """A Python that has those packages, and what a front needs."""
    folder = _FOLDER / name
    wanted = " ".join((*packages, *_FRONT))
    done = folder / "installed"  # with these; a run that was broken off did not write it
    if not done.exists() or done.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        _call(sys.executable, "-m", "venv", str(folder))
        pip = (str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet")
        _call(*pip, "--disable-pip-version-check", *packages, *_FRONT)
        done.write_text(wanted)
    return folder / "bin" / "python"


def version(python: Path, package: str) -> str:
    """The version of an installed package."""
    return _call(
        str(python), "-c", f"import importlib.metadata as m; print(m.version({package!r}))"
    ).strip()


@cache
def redis() -> tuple[str, dict[str, str]]:
    """The command of a Redis server, and the environment that it needs."""
    if found := shutil.which("redis-server"):
        return found, dict(os.environ)
    unpacked = _FOLDER / "redis" / "unpacked"
    if not unpacked.exists():
        _unpack_redis(_FOLDER / "redis")
    libraries = sorted({str(path.parent) for path in unpacked.rglob("*.so*")})
    environment = {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(libraries)}
    return str(unpacked / "usr/bin/redis-server"), environment


def _unpack_redis(folder: Path) -> None:
    """Debian's package and what it needs, beside the system's own: so it takes no root."""
    if not shutil.which("apt-get"):
        raise NotInstalled("no redis-server here, and no apt-get to fetch one")
    shutil.rmtree(folder, ignore_errors=True)
    for place in ("state/lists/partial", "cache/archives/partial"):
        (folder / place).mkdir(parents=True)
    apt = ["apt-get", "-qq", "-o", f"Dir::State={folder / 'state'}"]
    apt += ["-o", f"Dir::Cache={folder / 'cache'}", "-o", "Debug::NoLocking=1"]
    apt += ["-o", "APT::Sandbox::User="]  # the folder may be one that no other user can enter
    _call(*apt, "update")
    _call(*apt, "install", "--download-only", "--yes", "--no-install-recommends", "redis-server")
    partly = folder / "partly"
    for package in sorted((folder / "cache/archives").glob("*.deb")):
        _call("dpkg-deb", "-x", str(package), str(partly))
    partly.rename(folder / "unpacked")


def _call(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise NotInstalled(str(problem)) from problem
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no word"]
        raise NotInstalled(f"{Path(command[0]).name}: {last[0]}")
    return done.stdout
