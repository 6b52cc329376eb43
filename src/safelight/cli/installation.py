"""Where an installation keeps what it keeps, and what may keep that from being opened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from safelight import config
from safelight.cli.exits import CannotOpen, UsageError
from safelight.config import Settings, SettingsError
from safelight.secrets import WrongSecret
from safelight.server.addresses import AddressInUse
from safelight.server.running import Broken, DataInUse
from safelight.store import SchemaTooNew, StoreUnavailable

Data = Annotated[
    Path | None, Parameter(help="Folder for everything [default: the platform's data folder].")
]
DatabaseUrl = Annotated[
    str | None, Parameter(help="postgresql:// address [default: SQLite in the data folder].")
]
ConfigFile = Annotated[
    Path | None, Parameter(name="--config", help="Settings file [default: ./safelight.toml].")
]


@Parameter(name="*")
@dataclass(frozen=True)
class Installation:
    """Where an installation keeps what it keeps."""

    data: Data = None
    database: DatabaseUrl = None
    file: ConfigFile = None

    def load(self) -> Settings:
        """The settings of it. Raises `UsageError`."""
        return load(self.file, data=self.data, database=self.database)


HERE = Installation()


def load(file: Path | None = None, **given: Any) -> Settings:
    """The settings, as `config.load` has them. Raises `UsageError`."""
    try:
        return config.load(file, **given)
    except SettingsError as problem:
        raise UsageError(str(problem)) from None


@contextmanager
def opening() -> Iterator[None]:
    """Turn what may keep a server or a data folder from opening into `CannotOpen`.

    What the settings alone forbid is a `UsageError`.
    """
    try:
        yield
    except SettingsError as problem:
        raise UsageError(str(problem)) from None
    except (AddressInUse, Broken, DataInUse, WrongSecret, OSError) as problem:
        raise CannotOpen(str(problem)) from None
    except (SchemaTooNew, StoreUnavailable) as problem:
        raise CannotOpen(str(problem)) from None
