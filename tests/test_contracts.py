"""The contracts that authors of plug-ins can call: ours keep them, and what breaks them is told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from doubles import Play, Player, one_picture, write_picture
from safelight.contracts import Broken, check_dialect, check_engine
from safelight.dialects import found
from safelight.dialects.tensorslab import TensorsLab
from safelight.engines import Event, File, Job, Progress
from safelight.engines.sketch.engine import Sketch
from safelight.errors import Fault
from safelight.task import Command, Kind, Operation, Reply, Source, Status, Submit, Task
from safelight.wire import Context, Dialect, Key, Request, Response, json_response

# What the wires can say, each of them some.
SUBMITS = (
    Submit(model="seedreamv4", prompt="a bridge, 橋"),
    Submit(model="sketch", prompt="a", sources=(Source(url="https://a.example/1.png"),)),
    Submit(kind=Kind.VIDEO, model="seedancev2", prompt="a", duration=5),
    Submit(
        operations=(Operation(name="encode", options={"format": "PNG"}),),
        sources=(Source(url="https://a.example/1.png"),),
    ),
)
ASKED = Submit(model="still", prompt="a", width=32, height=32)


@pytest.mark.parametrize("wire", found().values(), ids=list(found()))
def test_every_dialect_keeps_the_contracts(wire: Dialect) -> None:
    check_dialect(wire, SUBMITS)


class Nameless(TensorsLab):
    name = ""


class Optimist(TensorsLab):
    def read_reply(self, command: Command, response: Response) -> Reply:
        heard = super().read_reply(command, response)
        assert isinstance(heard, Task)
        return msgspec.structs.replace(heard, status=Status.SUCCEEDED)


class Open(TensorsLab):
    def write_key(self, request: Request, key: Key, now: int) -> Request:
        return request.with_headers(("authorization", "Bearer everybody"))


class Deaf(TensorsLab):
    def write_fault(self, op: str | None, fault: Fault, context: Context) -> Response:
        return json_response({"code": 1000, "msg": "OK", "data": {"taskid": "1", "url": []}})


class Trusting(TensorsLab):
    def read_request(self, op: str, params: Mapping[str, str], request: Request) -> Command:
        if op.endswith("infobytaskid"):
            request.json()["taskid"]
        return super().read_request(op, params, request)


@pytest.mark.parametrize(
    ("broken", "owed"),
    [
        (Nameless, "is no name"),
        (Optimist, "success alone"),
        (Open, "its key is accepted"),
        (Deaf, "is heard as a fault"),
        (Trusting, "nonsense in a request is Malformed"),
    ],
)
def test_a_dialect_that_breaks_one_is_told_what_it_owes(broken: type[Dialect], owed: str) -> None:
    wire = broken()

    with pytest.raises(Broken, match=owed):
        check_dialect(wire, [Submit(model="seedreamv4", prompt="a bridge")])


@pytest.mark.parametrize("engine", [Sketch(), Player()], ids=["sketch", "player"])
async def test_engines_keep_the_contracts(engine: Any, tmp_path: Path) -> None:
    (made,) = await check_engine(engine, ASKED, tmp_path)

    assert made.path.is_file()


async def nothing(job: Job) -> AsyncIterator[Event]:
    yield Progress(percent=1)


async def beside(job: Job) -> AsyncIterator[Event]:
    made = write_picture(job)
    yield File(path=made.path.rename(job.folder.parent / "out.png"), media_type="image/png")


async def misnamed(job: Job) -> AsyncIterator[Event]:
    made = write_picture(job)
    yield File(path=made.path, media_type="image/jpeg")


async def beyond(job: Job) -> AsyncIterator[Event]:
    yield Progress(percent=100)
    async for event in one_picture(job):
        yield event


@pytest.mark.parametrize(
    ("play", "owed"),
    [
        (nothing, "it makes a file"),
        (beside, "in the folder of the job"),
        (misnamed, "is what it is said to be, not image/png"),
        (beyond, "0 to 99"),
    ],
)
async def test_an_engine_that_breaks_one_is_told_what_it_owes(
    play: Play, owed: str, tmp_path: Path
) -> None:
    with pytest.raises(Broken, match=owed):
        await check_engine(Player(play), ASKED, tmp_path)
