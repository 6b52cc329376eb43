"""The engine that takes next to no time: each task gets the same picture of one pixel.

What is measured with it is everything but the engine. With the option `seconds` it waits so long
first, as one does that asks another server, and uses no processor meanwhile; where that is
`"prompt"`, as long as the prompt says.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping
from typing import Any

from safelight.engines import Engine, Event, File, Job
from safelight.task import Kind, ModelCard

_PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)


class Blank(Engine):
    """The engine."""

    name = "blank"
    models = (ModelCard(name="blank", kind=Kind.IMAGE, description="One pixel."),)

    async def run(self, job: Job) -> AsyncIterator[Event]:
        """Write the pixel to the job's folder."""
        seconds = job.options.get("seconds", 0)
        await asyncio.sleep(float(job.submit.prompt if seconds == "prompt" else seconds))
        path = job.folder / "pixel.png"
        path.write_bytes(_PIXEL)
        yield File(path=path, media_type="image/png", width=1, height=1)


def build(settings: Mapping[str, Any]) -> Blank:
    """The engine; it needs no settings."""
    return Blank()
