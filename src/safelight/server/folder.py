"""The data folder: what lies where in it, and that its owner alone reads it.

Prompts, pictures and keys are nobody else's business, whatever the umask says and whoever made the
folder. The rule for whoever edits it: what is ours is closed to others. A folder in which somebody
else has things too (a home, `/tmp`) is theirs as well and stays as it is, and so does what belongs
to another user or lies behind a link; that it is open is told.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import IO

import structlog

_log = structlog.get_logger("safelight.server")

DATABASE, FILES, SCRATCH, LOCK = "safelight.db", "files", "scratch", "lock"
_SECRET = "secret"  # noqa: S105 - the name of a file; `secrets.py` makes it
_OURS = frozenset(
    {DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", f"{DATABASE}-journal", FILES, SCRATCH, LOCK}
    | {_SECRET}
)
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def prepare(data: Path) -> None:
    """Make the folder if need be, and close it, and what is ours in it, to other users."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    names = {name for name in os.listdir(data) if not name.startswith(f"{_SECRET}.")}
    _close(data, ours=names <= _OURS)
    for name in sorted(names & _OURS):
        _close(data / name)


def database(data: Path) -> Path:
    """Where the database is. SQLite gives all that it puts beside it the same permissions."""
    path = data / DATABASE
    if not path.exists():
        path.touch(mode=0o600)
    return path


def open_lock(data: Path) -> IO[str]:
    """The file to lock for whoever works here alone."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    return open(data / LOCK, "w", opener=_open_closed)


def _open_closed(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _close(path: Path, ours: bool = True) -> None:
    try:
        found = path.stat()
        if not found.st_mode & _OTHERS:
            return
        if ours and found.st_uid == os.geteuid() and not path.is_symlink():
            path.chmod(stat.S_IMODE(found.st_mode) & ~_OTHERS)
            _log.warning("closed_to_others", path=str(path), mode=f"{found.st_mode & 0o7777:o}")
        else:
            _log.warning("open_to_others", path=str(path), mode=f"{found.st_mode & 0o7777:o}")
    except FileNotFoundError:  # another process has removed it since: a log of SQLite's
        return
