"""How the engine `sketch` draws: words to a palette and a scene, scenes to layers, layers to
pictures and films. Pure NumPy, Pillow and PyAV; the same arguments make the same pixels.
"""

from safelight.engines.sketch.engine import build

__all__ = ["build"]
