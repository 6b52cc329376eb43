"""Safelight's command line where DNS hangs for some names, and with the engine `blank`.

Names under `slow.test` are not answered for 5 to 10 s, and then not found: what a resolver does
whose servers are silent. All other names are resolved as ever.
"""

from __future__ import annotations

import random
import socket
import time
from pathlib import Path
from typing import Any

from safelight import engines
from safelight.cli import main

SLOW = ".slow.test"
_LEAST_SECONDS, _MOST_SECONDS = 5.0, 10.0

_resolve = socket.getaddrinfo


def _resolve_slowly(
    host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
) -> Any:
    """As `socket.getaddrinfo`, which holds the thread that asks until the resolver gives up."""
    asked = not flags & socket.AI_NUMERICHOST  # a number is read here, and nobody is asked
    if asked and isinstance(host, str) and host.lower().endswith(SLOW):
        time.sleep(random.uniform(_LEAST_SECONDS, _MOST_SECONDS))
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    return _resolve(host, port, family, type, proto, flags)


if __name__ == "__main__":
    # As `with_blank` does it.
    engines.__path__.append(str(Path(__file__).with_name("engines")))
    socket.getaddrinfo = _resolve_slowly
    main()
