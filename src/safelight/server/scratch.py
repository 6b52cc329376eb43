"""A folder for the files of running tasks, which is nobody's once its process is gone."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from safelight.config import Settings
from safelight.server import folder

_LOCK = ".lock"


class Scratch:
    """One process's folder below `root`; those of processes that died are removed."""

    def __init__(self, root: Path, name: str) -> None:
        self.folder = root / name
        self._root = root
        self._lock: IO[str] | None = None

    @property
    def name(self) -> str:
        """The name of the process, which no other has or had."""
        return self.folder.name

    @classmethod
    def build(cls, settings: Settings) -> Scratch:
        """The folder of this process below the data folder."""
        name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        return cls(settings.data / folder.SCRATCH, name)

    def open(self) -> None:
        """Make the folder, and keep others from removing it. Blocks: not for the loop."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._alone():
            self.folder.mkdir(mode=0o700)
            self._lock = _locked(self.folder)
            for other in self._root.iterdir():
                if other != self.folder and (lock := _locked(other)) is not None:
                    shutil.rmtree(other, ignore_errors=True)
                    lock.close()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        # A folder that is there and not locked yet would look to others as if its process had died.
        with (self._root / _LOCK).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def close(self) -> None:
        """Remove the folder. Blocks: not for the loop."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _locked(folder: Path) -> IO[str] | None:
    """The lock of a folder; None where its process lives."""
    try:
        file = (folder / _LOCK).open("w")
    except OSError:  # somebody else has removed it
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file
