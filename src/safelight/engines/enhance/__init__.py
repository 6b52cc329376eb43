"""How the engine `enhance` edits: what may be asked, files, sizes, and the work."""

from safelight.engines.enhance.engine import build

__all__ = ["build"]
