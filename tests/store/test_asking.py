"""Tasks that are asked for one by one, and read together."""

from __future__ import annotations

import asyncio

import pytest

from doubles import ID, NOW
from safelight.store import StoreUnavailable
from safelight.store.asking import Asked, Asking, answer, refuse
from safelight.task import Status, Task, new_id

OTHER, ABSENT = new_id(NOW, b"other."), new_id(NOW, b"absent")
FOUND = {
    ID: Task(id=ID, status=Status.QUEUED, owner="me"),
    OTHER: Task(id=OTHER, owner="me", status=Status.CANCELED, finished=NOW),
}


class Reader:
    """Answers what is asked, up to `most` at once."""

    def __init__(self, most: int | None = None) -> None:
        self.asking = Asking(self._read)
        self.reads: list[list[str]] = []
        self._most = most

    def _read(self) -> None:
        while asked := self.asking.take(self._most):
            self.reads.append([id for id, _ in asked])
            answer(asked, FOUND)

    async def get(self, *ids: str, owner: str = "me", oldest: int = 0) -> list[Task | None]:
        return await asyncio.gather(*(self.asking.get(id, owner, oldest) for id in ids))


async def test_what_is_asked_for_in_one_turn_is_read_together() -> None:
    reader = Reader()

    assert await reader.get(ID, OTHER, ABSENT, ID) == [FOUND[ID], FOUND[OTHER], None, FOUND[ID]]
    assert await reader.get(OTHER) == [FOUND[OTHER]]
    assert reader.reads == [[ID, OTHER, ABSENT, ID], [OTHER]]


async def test_no_more_is_taken_than_may_be() -> None:
    reader = Reader(most=2)

    assert await reader.get(ID, OTHER, ID, OTHER, ID) == [
        FOUND[ID],
        FOUND[OTHER],
        FOUND[ID],
        FOUND[OTHER],
        FOUND[ID],
    ]
    assert list(map(len, reader.reads)) == [2, 2, 1]


async def test_tasks_of_others_and_old_ones_are_not_there() -> None:
    reader = Reader()

    assert await reader.get(ID, OTHER, owner="other") == [None, None]
    assert await reader.get(ID, OTHER, oldest=NOW) == [FOUND[ID], None]
    assert await reader.get(ID, OTHER, oldest=NOW - 1) == [FOUND[ID], FOUND[OTHER]]


async def test_all_are_refused_each_with_a_problem_of_its_own() -> None:
    kept: list[Asked] = []

    def read() -> None:
        kept.append(asking.take())
        refuse(kept[0], StoreUnavailable("away"))

    asking = Asking(read)
    ends = await asyncio.gather(
        *(asking.get(ID, "me", 0) for _ in range(2)), return_exceptions=True
    )

    assert [type(end) for end in ends] == [StoreUnavailable] * 2
    assert ends[0] is not ends[1]
    assert kept == [[]]


@pytest.mark.parametrize("refused", [False, True])
async def test_who_went_away_is_told_nothing(refused: bool) -> None:
    told = asyncio.Event()

    def read() -> None:
        asked = asking.take()
        first.cancel()
        asyncio.get_running_loop().call_soon(finish, asked)

    def finish(asked: Asked) -> None:
        if refused:
            refuse(asked, StoreUnavailable("away"))
        else:
            answer(asked, FOUND)
        told.set()

    asking = Asking(read)
    first = asyncio.ensure_future(asking.get(ID, "me", 0))
    second = asyncio.ensure_future(asking.get(ID, "me", 0))
    ends = await asyncio.gather(first, second, return_exceptions=True)
    await told.wait()

    assert isinstance(ends[0], asyncio.CancelledError)
    assert isinstance(ends[1], StoreUnavailable) if refused else ends[1] == FOUND[ID]
