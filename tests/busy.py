"""A server that has done some of everything, and what it then tells of itself at `/metrics`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

from doubles import Play, Player, Serving, StartApp, one_picture
from receiver import receiving, status
from safelight.engines import Event, Failed, Job
from safelight.engines.kit.asked import Asked
from safelight.task import FailureCode

V1 = "/api/safelight/v1"


class Gate:
    """Plays what the prompt says, and holds tasks up while it is shut."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.asked = Asked()

    async def play(self, job: Job) -> AsyncIterator[Event]:
        """Ask a service that is none, wait, and make a picture or fail."""
        await self.asked.count("elsewhere", asyncio.sleep(0))
        if job.submit.prompt == "fail":
            raise Failed(FailureCode.CONTENT_POLICY, "not that")
        if job.submit.prompt == "wait":
            await self.open.wait()
        async for event in one_picture(job):
            yield event


class Asking(Player):
    """An engine that asks other services, and counts how often."""

    def __init__(self, play: Play, asked: Asked) -> None:
        super().__init__(play)
        self._asked = asked

    @property
    def requests(self) -> Mapping[tuple[str, str], int]:
        return self._asked.counts


async def scrape(serving: Serving) -> str:
    """What `/metrics` tells."""
    answer = await serving.http.get("/metrics")
    assert answer.status_code == 200
    return answer.text


def samples(text: str) -> dict[str, float]:
    """What is told, by the name with its labels."""
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


async def submit(serving: Serving, prompt: str, **more: object) -> str:
    """Have a task accepted; its id."""
    said = {"model": "still", "input": {"prompt": prompt}, **more}
    answer = await serving.post(f"{V1}/tasks", json=said)
    assert answer.status_code < 300, answer.text
    id: str = answer.json()["id"]
    return id


async def everything(start_app: StartApp) -> tuple[Serving, Gate]:
    """A server that has done some of everything, with one task that runs and one that waits."""
    gate = Gate()
    engine = Asking(gate.play, gate.asked)
    serving = await start_app(engine=engine, concurrency=1, private_callbacks=True)
    async with receiving() as receiver:
        receiver.answers["/gone"] = [status(410)]
        for path in ("/", "/gone"):
            said = {"url": receiver.url(path), "events": ["task.ended"]}
            assert (await serving.post(f"{V1}/webhooks/endpoints", json=said)).status_code == 201
        for prompt in ("a lighthouse", "fail"):
            await serving.ended(await submit(serving, prompt))
        await receiver.until(2, "/")
    running, waits = await submit(serving, "wait"), await submit(serving, "wait")
    late = await submit(serving, "wait", start_within=0.001)
    canceled = await submit(serving, "wait")
    assert (await serving.post(f"{V1}/tasks/{canceled}/cancel")).status_code < 300
    await serving.ended(late)
    async with asyncio.timeout(10):
        while (await serving.task(running)).status.value != "running":  # noqa: ASYNC110
            await asyncio.sleep(0.002)
    assert (await serving.task(waits)).status.value == "queued"
    return serving, gate


def names_of(text: str) -> set[str]:
    """The names of all samples, as expressions have them."""
    return {name.partition("{")[0] for name in samples(text)}
