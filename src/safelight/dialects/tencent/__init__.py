"""Tencent Cloud MPS."""

from safelight.dialects.tencent.dialect import DIALECTS

__all__ = ["DIALECTS"]
