"""The program: its commands, each by where it is, and how it ends.

A command is loaded when it is asked for, and its help stands here, so that what one command needs
no other waits for. Whoever edits this imports nothing that a server or a client is made of.
"""

from __future__ import annotations

import os
import sys
from difflib import get_close_matches

import cyclopts

import safelight
from safelight.cli.consoles import err
from safelight.cli.exits import FAILED, SUCCEEDED, USAGE, CannotOpen, UsageError, code_of_fault
from safelight.errors import Fault, Malformed

app = cyclopts.App(
    name="safelight",
    help="Image and video tasks in five published dialects: a server, and a client for all five.",
    help_format="plaintext",  # with Markdown it would take half as long again
    version=lambda: safelight.__version__,  # asked for only where it is shown
)
# By name: where the command is, and its help.
_COMMANDS = {
    "keys": ("keys:keys", "The keys of a server, also while it runs."),
    "provider-keys": (
        "keys:provider_keys",
        "Keys of your own at other services, for models that run there.",
    ),
    "serve": (
        "serving:serve",
        "Run the server until SIGTERM or SIGINT, which drain it.",
    ),
    "work": (
        "serving:work",
        "Run tasks of a PostgreSQL database, without an API, until SIGTERM or SIGINT drain it.",
    ),
    "migrate": (
        "serving:migrate",
        "Bring the database to this version's schema; servers and workers also do so at their "
        "start.\n\nAny number may do it at once. A database that a newer version wrote is refused.",
    ),
    "fake": (
        "faking:fake",
        "Run a fake provider, for tests: it draws nothing, and does what its script says.",
    ),
    "submit": (
        "asking:submit",
        "Submit a task and print its id. With --wait or --download, also wait for its end.",
    ),
    "show": ("asking:show", "Show a task as it is now."),
    "wait": ("asking:wait", "Wait for tasks, all at once, and show how each ended."),
    "upload": (
        "asking:upload",
        "Have files kept for a while and print their links, which may be sources of tasks.",
    ),
    "log": (
        "asking:log",
        "Show what happened to a task: its statuses, and its engine's log.",
    ),
    "retry": (
        "asking:retry",
        "Ask for a task that ended once more, as a new one, and print its id.",
    ),
    "watch": (
        "asking:watch",
        "Show each of one's own tasks as it changes, from now on, until interrupted.",
    ),
    "cancel": ("asking:cancel", "Ask that a task end."),
    "delete": ("asking:delete", "Remove tasks and their files."),
    "list": (
        "asking:list_tasks",
        "List one's own tasks, the newest first, where the wire can.",
    ),
    "webhooks": (
        "webhooks:webhooks",
        "Where a server tells of your tasks, what it told, and hearing of it behind a NAT.",
    ),
    "dialects": (
        "asking:show_dialects",
        "List the dialects: their addresses and where they find their keys.",
    ),
    "models": ("asking:models", "List the models of a service, where the wire tells them."),
}
for _name, (_place, _help) in _COMMANDS.items():
    app.command(f"safelight.cli.{_place}", name=_name, help=_help)


# Where the commands are that need what `safelight[server]` brings.
_OF_THE_SERVER = ("serving", "faking", "keys")


def run(arguments: list[str] | None = None) -> int:
    """Carry out a command line; returns the exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        code = app(words, exit_on_error=False, print_error=False, result_action="return_value")
    except cyclopts.CycloptsError as problem:
        _tell_usage(problem)
        return USAGE
    except (UsageError, Malformed, LookupError) as problem:
        err.print(str(problem), style="red")
        return USAGE
    except CannotOpen as problem:
        err.print(str(problem), style="red")
        return FAILED
    except Fault as fault:
        err.print(fault.message, style="red")
        return code_of_fault(fault)
    except ImportError as problem:
        err.print(_say_missing(problem, words), style="red")
        return FAILED
    except KeyboardInterrupt:
        return FAILED
    return code if isinstance(code, int) else SUCCEEDED


def _tell_usage(problem: cyclopts.CycloptsError) -> None:
    unknown = isinstance(problem, cyclopts.UnknownCommandError)
    said = _say_unknown(problem) if unknown else problem
    app.error_console.print(cyclopts.CycloptsPanel(said))


def _say_unknown(problem: cyclopts.CycloptsError) -> str:
    """What is said of a command that there is not; Cyclopts would load them all to say it."""
    word = problem.unused_tokens[0] if problem.unused_tokens else ""
    names = [name for name in problem.app or app if not name.startswith("-")]
    close = get_close_matches(word, names, n=1)
    meant = f' Did you mean "{close[0]}"?' if close else ""
    return f'Unknown command "{word}".{meant} There are: {", ".join(names)}.'


def _say_missing(problem: ImportError, words: list[str]) -> str:
    """What is said of a command whose libraries are not here.

    Raises the problem again where it is another: a library that is broken, or a module of ours.
    """
    name = next((word for word in words if not word.startswith("-")), "")
    module = _COMMANDS[name][0].partition(":")[0] if name in _COMMANDS else ""
    missing = problem.__cause__  # Cyclopts tells it by an error of its own
    if not isinstance(missing, ModuleNotFoundError) or module not in _OF_THE_SERVER:
        raise problem
    if (missing.name or safelight.__name__).partition(".")[0] == safelight.__name__:
        raise problem
    return (
        f"safelight {name} needs the server: pip install 'safelight[server]' "
        f"(there is no module {missing.name})"
    )


def main() -> None:
    """The program `safelight`."""
    code = run()
    if "granian" not in sys.modules:
        sys.exit(code)
    # A thread of the HTTP server that still holds a connection, and finds the interpreter going,
    # aborts the process. All that matters is on disk by now.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
