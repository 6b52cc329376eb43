"""The command line."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import cyclopts

from safelight import config
from safelight.server import logs
from safelight.server.app import App, free_port, local_url
from safelight.server.app import serve as run_server
from safelight.server.keys import NewKey

app = cyclopts.App(name="safelight", help="Image and video tasks: a server, and a client.")


@app.command
def serve(
    *,
    host: str | None = None,
    port: int | None = None,
    data: Path | None = None,
    config_file: Path | None = None,
) -> int:
    """Run the server."""
    settings = config.load(config_file, host=host, port=port, data=data)
    if settings.port == 0:
        settings = settings.model_copy(update={"port": free_port(settings.host)})
    logs.configure(settings.log_level, settings.log_json)
    asyncio.run(run_server(settings, _told))
    return 0


def _told(server: App, key: NewKey | None) -> None:
    print(f"Safelight listens on {local_url(server.settings)}", flush=True)
    if key:
        print(f"key id {key.id}\nsecret {key.secret}", flush=True)


def main() -> None:
    sys.exit(app())
