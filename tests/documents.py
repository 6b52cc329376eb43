"""The parts of the docs that are made from the code: `scripts/docs` writes them, a test compares.

A part stands between `<!-- made: NAME -->` and `<!-- end -->` in a page of `docs`.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cyclopts
from rich.console import Console

from safelight import dialects
from safelight.cli.program import app
from safelight.task import STEPS, Status
from safelight.wire import Dialect

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
_PART = re.compile(r"(<!-- made: ([a-z]+)[^\n]*-->\n)(.*?)(<!-- end -->)", re.DOTALL)
_WIDTH = 88


def commands() -> Iterator[tuple[str, ...]]:
    """Every command of the command line, the program itself first."""
    yield ()
    for name in _subcommands(app):
        yield (name,)
        for inner in _subcommands(app[name]):
            yield name, inner


def _subcommands(parent: cyclopts.App) -> list[str]:
    return [name for name in parent if not name.startswith("-")]


def help_text(command: tuple[str, ...]) -> str:
    """What `safelight COMMAND --help` prints in a window of 88 columns."""
    printed = io.StringIO()
    console = Console(
        file=printed, width=_WIDTH, no_color=True, force_terminal=False, legacy_windows=False
    )
    app.help_print(list(command), console=console)
    return "\n".join(line.rstrip() for line in printed.getvalue().strip().splitlines())


def write_help() -> str:
    """The help of every command."""
    parts = []
    for command in commands():
        name = " ".join(("safelight", *command))
        parts.append(f"### `{name}`\n\n```text\n{help_text(command)}\n```\n")
    return "\n".join(parts)


def write_steps() -> str:
    """The statuses, and where each may go."""
    lines = ["| status | may become |", "|---|---|"]
    for status, following in STEPS.items():
        names = [f"`{other}`" for other in Status if other in following]
        lines.append(f"| `{status}` | {', '.join(names) or 'nothing: it is an end'} |")
    return "\n".join(lines) + "\n"


def write_states() -> str:
    """Each wire's words for our statuses."""
    lines = [
        f"| dialect | asked by | {' | '.join(f'`{status}`' for status in Status)} |",
        f"|---|---|{'---|' * len(Status)}",
    ]
    for dialect in dialects.own().values():
        for what, states in dialect.states.items():
            words = " | ".join(_word(states.write(status)) for status in Status)
            lines.append(f"| `{dialect.name}` | {what} | {words} |")
    return "\n".join(lines) + "\n"


def _word(word: Any) -> str:
    """A word as the wire writes it; a pair is a status and how its parts came out."""
    if not isinstance(word, tuple):
        return f"`{word}`"
    said = [str(part).lower() if isinstance(part, bool) else part for part in word]
    return " + ".join(f"`{part}`" for part in said if part is not None)


def write_operations() -> str:
    """What each dialect answers, and where."""
    lines = ["| dialect | operation | method and path |", "|---|---|---|"]
    for dialect in dialects.found().values():
        lines += [
            f"| `{dialect.name}` | `{route.op}` | `{route.method} {route.path}` |"
            for route in dialect.routes
        ]
    return "\n".join(lines) + "\n"


def write_headers() -> str:
    """What a dialect takes for an idempotency key, and how often its client asks."""
    lines = ["| dialect | idempotency header | polls a second |", "|---|---|---|"]
    lines += [_habits(dialect) for dialect in dialects.found().values()]
    return "\n".join(lines) + "\n"


def _habits(dialect: Dialect) -> str:
    names = " or ".join(f"`{name}`" for name in dialect.idempotency_headers)
    return f"| `{dialect.name}` | {names} | {dialect.polls_per_second:g} |"


PARTS = {
    "help": write_help,
    "steps": write_steps,
    "states": write_states,
    "operations": write_operations,
    "headers": write_headers,
}


def pages() -> list[Path]:
    """Every page that people read."""
    return [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]


def parts(page: Path) -> dict[str, str]:
    """The made parts of a page as they stand there."""
    return {found[2]: found[3] for found in _PART.finditer(page.read_text(encoding="utf-8"))}


def write(page: Path) -> None:
    """Write the made parts of a page anew."""
    text = page.read_text(encoding="utf-8")
    made = _PART.sub(lambda found: f"{found[1]}{PARTS[found[2]]()}{found[4]}", text)
    if made != text:
        page.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    for page in pages():
        write(page)
