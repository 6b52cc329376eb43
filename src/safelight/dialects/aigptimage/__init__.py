"""aigptimage and its relative kie."""

from safelight.dialects.aigptimage.dialect import DIALECTS

__all__ = ["DIALECTS"]
