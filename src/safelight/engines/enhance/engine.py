"""The engine `enhance`: processes a picture, with learned models where the extra brings them.

`steps` says what can be asked for, and in which order it is done; whatever else is asked
is refused before the task is accepted. `weights` finds what is installed; without any of
it Pillow and NumPy do the work. See docs/engines/enhance.md.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from typing import Any

import anyio

from safelight.engines import Engine, Event, Job, Progress
from safelight.engines.enhance.steps import plan, read, ruled
from safelight.engines.enhance.weights import Weights, find
from safelight.engines.kit.children import Children
from safelight.engines.kit.numbers import check_number
from safelight.errors import Fault, MissingParameter, Unsupported
from safelight.task import Kind, ModelCard, Role, Submit

CARD = ModelCard(
    name="enhance",
    kind=Kind.IMAGE,
    description="Enlarges, denoises, corrects, erases, cuts out, resizes, converts a picture.",
    max_sources=1,
    needs_source=True,
)

_PAUSES = 10  # steps of the option `seconds`


class Enhance(Engine):
    """Carries out a task's operations on its one source picture. The same task, the same bytes.

    `weights` is what it may work with beside Pillow and NumPy.
    """

    name = "enhance"
    models = (CARD,)

    def __init__(self, weights: Weights = Weights()) -> None:  # noqa: B008 - it is frozen
        self._weights = weights
        self._children = Children()

    def check(self, submit: Submit, options: Mapping[str, Any]) -> None:
        """Raise the `BadRequest` that names what this engine cannot do.

        The `operations` of `options` are done too, where the task does not ask for the same. A
        prompt is let pass unread, because some wires cannot leave it out.
        """
        if submit.kind is not Kind.IMAGE:
            raise Unsupported("This engine processes pictures, not films.", parameter="kind")
        if submit.count != 1:
            raise Unsupported("This engine makes one picture of one.", parameter="count")
        if not any(source.role is Role.IMAGE for source in submit.sources):
            raise MissingParameter("A picture to process is missing.", parameter="sources")
        if len(submit.sources) > 1:
            raise Unsupported("This engine takes one picture at a time.", parameter="sources")
        steps = plan(submit, ruled(options))
        if not self._weights.vision and any(step.name == "ai_cutout" for step in steps):
            text = "ai_cutout: needs the extra `enhance`, which is not installed here"
            raise Unsupported(text, parameter="ai_cutout")

    def cards(self, options: Mapping[str, Any]) -> tuple[ModelCard, ...]:
        """The model, where its rule says what it does: of itself it does nothing to a picture."""
        return (CARD,) if ruled(options) else ()

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Raise `ValueError` for an option of a model that is not valid."""
        check_number(options, "seconds", least=0)
        try:
            for operation in ruled(options):
                read(operation)
        except Fault as fault:
            raise ValueError(fault.message) from None

    async def run(self, job: Job) -> AsyncGenerator[Event]:
        """Process the source in a child process. `seconds` of `job.options` are waited before."""
        done = 0
        if seconds := float(job.options.get("seconds") or 0):
            for _ in range(_PAUSES):
                await anyio.sleep(seconds / _PAUSES)
                done += 9
                yield Progress(percent=done)
        async with aclosing(self._children.run(process, job, done, self._weights)) as events:
            async for event in events:
                yield event


def process(job: Job, done: int, weights: Weights = Weights()) -> Iterator[Event]:  # noqa: B008
    """What the child does."""
    # Loaded there and not in the server, which has no use for NumPy.
    from safelight.engines.enhance import work

    yield from work.process(job, done, weights)


def build(settings: Mapping[str, Any]) -> Enhance:
    """The engine; it needs no settings. See `weights` for those that it knows."""
    return Enhance(find(settings))
