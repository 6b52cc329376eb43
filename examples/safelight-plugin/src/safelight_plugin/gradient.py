"""The engine `gradient`: the colours that are named in the prompt run into each other.

What Safelight asks for is `build(settings)`. The rest is as an engine of its own would be.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from typing import Any

from safelight.engines import Engine, Event, File, Job
from safelight.engines.kit.children import Children
from safelight.errors import InvalidValue, Unsupported
from safelight.sizes import pixels
from safelight.task import Kind, ModelCard, Submit

COLOURS = ("black", "gray", "navy", "orange", "purple", "red", "teal", "white", "yellow")
MOST_COUNT, MOST_SIDE = 4, 4096


class Gradient(Engine):
    """The engine. It draws in a child process, so that the server answers meanwhile."""

    name = "gradient"
    models = (ModelCard(name="gradient", kind=Kind.IMAGE, description="Colours, side by side."),)

    def __init__(self) -> None:
        self._children = Children(places=1)

    def check(self, submit: Submit, options: Mapping[str, Any]) -> None:
        """Refuse what is not drawn here, by the parameter that asks for it."""
        unsaid = {
            "kind": submit.kind is not Kind.IMAGE,
            "sources": bool(submit.sources),
            "operations": bool(submit.operations),
        }
        for parameter, asked in unsaid.items():
            if asked:
                raise Unsupported(f"{parameter}: gradient draws from words", parameter=parameter)
        if not 1 <= submit.count <= MOST_COUNT:
            raise InvalidValue(f"count: 1 to {MOST_COUNT} can be had", parameter="count")
        if max(pixels(submit)) > MOST_SIDE:
            raise InvalidValue(f"width: {MOST_SIDE} pixels at most", parameter="width")
        if not colours_of(submit.prompt, options):
            known = ", ".join(COLOURS)
            raise InvalidValue(f"prompt: names none of {known}", parameter="prompt")

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Raise `ValueError`, which keeps the server from starting and says why."""
        if unknown := set(options) - {"always"}:
            raise ValueError(f"{min(unknown)}: gradient has no such option")
        if not set(options.get("always", ())) <= set(COLOURS):
            raise ValueError(f"always: none but {', '.join(COLOURS)}")

    async def run(self, job: Job) -> AsyncGenerator[Event]:
        """Have a child draw, and tell what it tells."""
        async with aclosing(self._children.run(draw, job)) as events:
            async for event in events:
                yield event

    async def close(self) -> None:
        """End the child, if there is one."""
        self._children.close()


def build(settings: Mapping[str, Any]) -> Gradient:
    """The engine. `settings` is `[engines.gradient]`; there is nothing to set."""
    if settings:
        raise ValueError("there is nothing to set")
    return Gradient()


def colours_of(prompt: str, options: Mapping[str, Any]) -> list[str]:
    """The colours that a prompt names, after those of the option `always`."""
    words = prompt.lower().replace(",", " ").split()
    return [*options.get("always", ()), *(word for word in words if word in COLOURS)]


def draw(job: Job) -> Iterator[Event]:
    """What the child does: a file for each picture that is asked for."""
    from PIL import Image, ImageColor  # there, and not in the server, which does not need it

    width, height = pixels(job.submit)
    colours = colours_of(job.submit.prompt, job.options)
    row = Image.new("RGB", (max(len(colours), 2), 1))
    for x in range(row.width):
        row.putpixel((x, 0), ImageColor.getrgb(colours[x % len(colours)])[:3])
    for number in range(job.submit.count):
        path = job.folder / f"{number}.png"
        row.resize((width, height), Image.Resampling.BICUBIC).save(path)
        yield File(path=path, media_type="image/png", width=width, height=height)
