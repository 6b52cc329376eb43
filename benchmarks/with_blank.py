"""Safelight's command line, where the engine `blank` is found too: `python -m` this, `serve` ..."""

from __future__ import annotations

from pathlib import Path

from safelight import engines
from safelight.cli import main

if __name__ == "__main__":
    # An engine is found by being in this package; its path may name more than one folder.
    engines.__path__.append(str(Path(__file__).with_name("engines")))
    main()
