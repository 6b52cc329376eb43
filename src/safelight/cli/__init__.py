"""The command line: the server, its keys, and a client for all dialects.

What is asked for goes to standard output, everything told along the way to standard error. Exit
codes: 0 succeeded, 1 failed, 2 usage, 3 not found, 4 still running when the time was up.
"""

from safelight.cli.program import main

__all__ = ["main"]
