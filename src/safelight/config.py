"""The settings: read once at the edge, from a file and the environment, and handed down frozen.

What is given on the command line wins over `SAFELIGHT_*` in the environment, which wins over the
file. A name that is not a setting is refused, so that a typing error is not a silent default.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import limits
import platformdirs
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings import SettingsError as EnvironmentSettingsError

DEFAULT_FILE = Path("safelight.toml")
_PREFIX = "SAFELIGHT_"
# What else the environment may say of Safelight: the secret of the installation, and what the
# command line's client reads.
_NO_SETTINGS = frozenset({"SECRET", "KEY", "URL", "DIALECT"})


class SettingsError(Exception):
    """The settings are not valid; the message says which, and why."""


class ModelRule(BaseModel):
    """Which engine runs a model. `name` may hold the wildcards `*`, `?` and `[...]`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    engine: str
    options: dict[str, Any] = Field(default_factory=dict)  # the engine's own
    # Seconds that one run may take; strict, for text is no number.
    time_limit: float | None = Field(default=None, gt=0, allow_inf_nan=False, strict=True)

    @field_validator("options")
    @classmethod
    def _check_options(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if "time_limit" in value:
            name = info.data.get("name", "")
            raise ValueError(f"{name}: time_limit belongs beside options, in the rule itself")
        return value


class DefinitionRule(BaseModel):
    """A template of image processing: a number for an ImageTask of Tencent's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int = Field(ge=1, lt=2**63)
    name: str = Field(default="", max_length=64)
    comment: str = Field(default="", max_length=256)
    image_task: dict[str, Any]


class Settings(BaseSettings):
    """Everything that can be set. `docs/configuration.md` explains each."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid"
    )

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    public_url: str | None = None  # what links begin with; the listen address when not set
    data: Path = Field(default_factory=lambda: Path(platformdirs.user_data_dir("safelight")))
    dialects: tuple[str, ...] = ()  # none: all that are served by default
    processes: int = Field(default=1, ge=1)  # that share the port; more than one on PostgreSQL only

    database: str | None = None  # a postgresql:// address; SQLite in the data folder when not set
    connections: int = Field(default=10, ge=2)  # to PostgreSQL, of each process, and one to listen
    files: str | None = None  # s3://bucket/prefix and its kin; the data folder when not set
    files_options: dict[str, str] = Field(default_factory=dict)  # endpoint, region, keys ...
    files_links: Literal["signed", "own"] = "signed"  # by the bucket where it can, or through us
    files_public_endpoint: str | None = None  # under which callers reach the bucket, if another
    link_hours: float = Field(default=24, gt=0, le=168)  # that a signed link is good for

    models: tuple[ModelRule, ...] = ()  # none: every model on `sketch`, processing on `enhance`
    engines: dict[str, dict[str, Any]] = Field(default_factory=dict)  # by engine, its settings
    definitions: tuple[DefinitionRule, ...] = ()  # templates: what Tencent's `Definition` means

    workers: bool = True  # whether this process runs tasks
    run_engines: tuple[str, ...] = ()  # of which engines; none: of all there are
    heartbeat: float = Field(default=30, ge=1)  # seconds until a silent worker counts as dead
    patience: float = Field(default=600, gt=0)  # seconds that a worker waits for what is away
    concurrency: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)
    time_limit: float = Field(default=900, gt=0)  # seconds that one run of a task may take
    most_deaths: int = Field(default=3, ge=1)  # workers that may die of a task before it fails
    grace: float = Field(default=20, ge=0)  # seconds that running tasks get when told to stop
    retention_days: float = Field(default=7, gt=0)
    upload_days: float = Field(default=3, gt=0)  # that an uploaded file is kept
    upload_quota: int = Field(default=2**30, ge=0)  # bytes of such files that one key keeps

    max_connections: int = Field(default=2048, ge=16)  # to one process; more wait to be taken
    max_body: int = Field(default=64 * 2**20, gt=0)  # bytes of a request that carries files
    max_bodies: int | None = None  # bytes of all requests under way; three times max_body, if unset
    body_timeout: float = Field(default=60, gt=0)  # seconds that a request's body may take
    wait_timeout: float = Field(default=300, gt=0)  # seconds that a request waits for its task
    max_waiting: int = Field(default=256, ge=1)  # requests that do so at once, in each process
    max_wait: float = Field(default=60, gt=0)  # seconds that whoever prefers to wait may
    max_long_polls: int = Field(default=1000, ge=1)  # who do so at once, in each process
    max_text: int = Field(default=256 * 1024, ge=1024)  # bytes of what a task is asked with
    max_source: int = Field(default=32 * 2**20, gt=0)  # bytes of one source file
    max_pixels: int = Field(default=4096 * 4096, gt=0)  # of a picture, read or made
    cors_origins: tuple[str, ...] = ("*",)  # whose pages browsers let ask; none: nobody's
    rates: dict[str, str] = Field(
        default_factory=lambda: {"tencent.DescribeImageTaskDetail": "20/second"}
    )  # by dialect and operation, for each key
    private_sources: bool = False  # whether source addresses may be private or loopback ones
    private_callbacks: bool = False  # whether tasks may be told to private or loopback addresses
    sender: bool | None = None  # whether this process sends webhooks; if it runs tasks, when unset
    source_timeout: float = Field(default=60, gt=0)  # seconds to fetch one source
    max_result: int = Field(default=2 * 2**30, gt=0)  # bytes of one file made at another service
    result_timeout: float = Field(default=900, gt=0)  # seconds to fetch one such file

    log_level: str = "info"
    log_json: bool = False

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return value.rstrip("/") if value else None

    @field_validator("database")
    @classmethod
    def _check_database(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("postgresql://", "postgres://")):
            raise ValueError("must begin with postgresql://")
        return value or None

    @field_validator("files")
    @classmethod
    def _check_files(cls, value: str | None) -> str | None:
        if value is not None and "://" not in value:
            raise ValueError("must be an address, like s3://bucket/prefix")
        return value

    @model_validator(mode="after")
    def _check_together(self) -> Settings:
        if self.room_for_bodies < 2 * self.max_body:
            raise ValueError("max_bodies: must be twice max_body at least, for a caller gets half")
        if self.database is None:
            if self.processes > 1:
                raise ValueError("processes: more than one need a PostgreSQL database")
            if not self.workers:
                raise ValueError("workers: a server without them needs a PostgreSQL database")
        return self

    @field_validator("definitions")
    @classmethod
    def _check_definitions(cls, value: tuple[DefinitionRule, ...]) -> tuple[DefinitionRule, ...]:
        numbers = [rule.number for rule in value]
        for number in numbers:
            if numbers.count(number) > 1:
                raise ValueError(f"{number} is there twice")
        return value

    @field_validator("log_level")
    @classmethod
    def _check_log_level(cls, value: str) -> str:
        if value.lower() not in ("debug", "info", "warning", "error"):
            raise ValueError("must be debug, info, warning or error")
        return value.lower()

    @field_validator("rates")
    @classmethod
    def _check_rates(cls, value: dict[str, str]) -> dict[str, str]:
        for text in value.values():
            limits.parse(text)
        return value

    @property
    def room_for_bodies(self) -> int:
        """The bytes that all requests under way may have together."""
        return self.max_bodies if self.max_bodies is not None else 3 * self.max_body

    @property
    def uploads_kept(self) -> int:
        """How long an uploaded file is kept, in milliseconds."""
        return int(self.upload_days * 86_400_000)

    @property
    def retention(self) -> int:
        """How long an ended task is kept, in milliseconds."""
        return int(self.retention_days * 86_400_000)


def load(file: Path | None = None, **given: Any) -> Settings:
    """The settings from `given` (those that are not None), the environment and the file.

    `file` defaults to `safelight.toml` in the current folder, if there is one. Raises
    `SettingsError`.
    """
    if file is not None and not file.is_file():
        raise SettingsError(f"{file}: no such file")
    source = file or DEFAULT_FILE
    _refuse_unknown(os.environ)

    class Loaded(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (
                init_settings,
                env_settings,
                TomlConfigSettingsSource(settings_cls, toml_file=source),
            )

    try:
        return Loaded(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as problem:
        raise SettingsError(_sentences(problem.errors())) from None
    except EnvironmentSettingsError as problem:  # JSON that is none
        raise SettingsError(f"{problem}: {problem.__cause__}") from None
    except ValueError as problem:  # TOML that is none
        raise SettingsError(f"{source}: {problem}") from None


def _refuse_unknown(environment: Iterable[str]) -> None:
    known = {name.upper() for name in Settings.model_fields} | _NO_SETTINGS
    for name in sorted(environment):
        own = name.upper()
        if own.startswith(_PREFIX) and own.removeprefix(_PREFIX).partition("__")[0] not in known:
            raise SettingsError(f"{name}: no such setting")


def _sentences(problems: Any) -> str:
    def sentence(problem: Mapping[str, Any]) -> str:
        return f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"

    return "; ".join(sentence(problem) for problem in problems)
