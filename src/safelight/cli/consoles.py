"""Where it is printed: what is asked for on standard output, all else on standard error.

Nothing that is printed is markup: names, prompts and messages come from elsewhere.
"""

from __future__ import annotations

import sys

from rich.console import Console

# Another program wants the words of a table whole.
_WIDTH = None if sys.stdout.isatty() else 1000
out = Console(soft_wrap=True, highlight=False, markup=False, width=_WIDTH)
err = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
