"""The command `fake`: a provider for tests."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from safelight.cli.consoles import out
from safelight.cli.exits import SUCCEEDED, CannotOpen, UsageError
from safelight.server.fake import ScriptError
from safelight.server.fake import serve as run_fake


def fake(
    *,
    dialect: Annotated[str, Parameter(help="What it speaks; see safelight dialects.")],
    script: Annotated[
        Path | None, Parameter(help="What it does, in TOML [default: all goes well, at once].")
    ] = None,
    host: Annotated[str, Parameter(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, Parameter(help="Port to listen on; 0: a free one.")] = 0,
    key: Annotated[
        str | None, Parameter(help="The one secret, or ID:SECRET, it takes [default: any].")
    ] = None,
) -> int:
    """Run a fake provider, for tests: it draws nothing, and does what its script says."""
    try:
        asyncio.run(run_fake(dialect, script or "", _tell_fake, host=host, port=port, key=key))
    except ScriptError as problem:
        raise UsageError(str(problem)) from None
    except OSError as problem:
        raise CannotOpen(f"{host}:{port}: {problem.strerror or problem}") from None
    return SUCCEEDED


def _tell_fake(url: str) -> None:
    out.print(f"The fake provider listens on {url}")
    sys.stdout.flush()
