"""Safelight's own wire."""

from safelight.dialects.safelight.dialect import DIALECTS
from safelight.dialects.safelight.writing import task_object

__all__ = ["DIALECTS", "task_object"]
