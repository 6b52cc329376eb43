"""The plain page at `/`: what this server speaks, with a line to try each."""

from __future__ import annotations

from html import escape

from starlette.responses import HTMLResponse, Response

from safelight.server.doors import Doors
from safelight.wire import Dialect

_HEAD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Safelight</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 56rem; margin: 3rem auto; padding: 0 1rem;
       background: #1b0505; color: #f3d9d2 }
h1 { color: #ff5a36 } h2 { margin-top: 2rem; color: #ff9a7a } a { color: #ffb59e }
pre { background: #2a0a0a; padding: .8rem; white-space: pre-wrap; overflow-wrap: anywhere;
      border-radius: .4rem }
</style>
<h1>Safelight</h1>
<p>Leave image and video tasks here, and look at them while they develop.
One task, one id, every dialect. This server speaks:</p>
"""


def landing_page(doors: Doors, base: str) -> Response:
    """The page, for a server that is called `base`."""
    sections = [_section(dialect, doors.base_of(dialect, base), base) for dialect in doors.named]
    footer = (
        "<p>Also: <a href=/healthz>/healthz</a>, <a href=/readyz>/readyz</a>, "
        "<a href=/metrics>/metrics</a>.</p></html>"
    )
    return HTMLResponse(_HEAD + "".join(sections) + footer)


def _section(dialect: Dialect, address: str, base: str) -> str:
    curl = dialect.curl.replace("{base}", address)
    own = f"{base}/{dialect.name}"
    return (
        f"<h2>{escape(dialect.title)}</h2>"
        f'<p><a href="{escape(dialect.docs)}">published here</a>, '
        f"and always answered under {escape(own)}</p>"
        f"<pre>{escape(curl)}</pre>"
    )
