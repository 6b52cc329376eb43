"""OpenCV, where it is installed: loaded in the child process alone, and looked at before use."""

from __future__ import annotations

from typing import Any


def load() -> Any:
    """The module `cv2`. Raises `ImportError` where it is not the whole of it.

    OpenCV is packaged under several names that share one folder; of those without the contributed
    modules the one that was installed last counts.
    """
    import cv2

    if not (hasattr(cv2, "xphoto") and hasattr(cv2, "ximgproc")):
        raise ImportError("this OpenCV has no contributed modules")
    return cv2
