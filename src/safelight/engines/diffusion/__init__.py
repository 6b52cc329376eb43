"""The engine `diffusion`: pipelines of models, their options, their devices, and the work."""

from safelight.engines.diffusion.engine import build

__all__ = ["build"]
