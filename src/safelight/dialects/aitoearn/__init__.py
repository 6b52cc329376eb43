"""AiToEarn."""

from safelight.dialects.aitoearn.dialect import DIALECTS

__all__ = ["DIALECTS"]
