"""Lists of tasks: at once what is there, off the loop, and one caller's no burden to another's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from doubles import NOW, OpenStores, Serving, task
from safelight.lists import Lists
from safelight.store import Store, StoreUnavailable, scripts
from safelight.store.sqlite import SQLiteStore, connect
from safelight.task import List, Status, new_id

MANY = 300_000
NONE = List(statuses=frozenset({Status.FAILED}))  # which has to look at all tasks
FAR = List(offset=MANY - 5, limit=10)

_FILL = """
with recursive numbers(n) as (select 1 union all select n + 1 from numbers where n < ?)
insert into tasks (id, owner, kind, dialect, status, submit, created, updated, finished)
select printf('%024x', n), ?, 'image', 'tensorslab', 'succeeded', '{}', n, n, 1 << 50 from numbers
"""


def fill(path: Path, owner: str, number: int = MANY) -> None:
    """Give somebody many tasks that have ended."""
    connection = connect(path)
    connection.execute(_FILL, (number, owner))
    connection.close()


@dataclass
class Held:
    """How long the loop was held up at most."""

    seconds: float = 0.0

    async def watch(self) -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            self.seconds, last = max(self.seconds, now - last), now


async def held_by(act: Callable[[], Awaitable[object]]) -> float:
    held = Held()
    watching = asyncio.create_task(held.watch())
    await asyncio.sleep(0.01)
    await act()
    await asyncio.sleep(0.01)
    watching.cancel()
    return held.seconds


@pytest.fixture
async def large(tmp_path: Path) -> AsyncIterator[Store]:
    """A store in which Alice has many tasks."""
    store = SQLiteStore.open(tmp_path / "db")
    await asyncio.to_thread(fill, tmp_path / "db", "alice")
    yield store
    await store.close()


# -------------------------------------------------------------------------------- what they say


async def add(store: Store, number: int, first: int = 0) -> None:
    for n in range(first, first + number):
        await store.write(scripts.add(task(new_id(NOW + n, bytes(6)), now=NOW + n), ""))


async def test_a_page_is_new_and_its_total_no_less_than_what_it_shows(
    open_stores: OpenStores,
) -> None:
    store, now = await open_stores(), 0.0
    lists = Lists(store, clock=lambda: now)

    async def total(**asked: int) -> tuple[int, int]:
        page = await lists.page("alice", List(**asked), 0)  # type: ignore[arg-type]
        return len(page.tasks), page.total

    assert await total(limit=2) == (0, 0)
    await add(store, 1)
    assert await total(limit=2) == (1, 1)  # it is whole: nothing has to be counted
    await add(store, 4, 1)
    assert await total(limit=2) == (2, 5)
    await add(store, 4, 5)
    assert await total(limit=2) == (2, 5)  # as of some seconds ago
    assert await total(limit=2, offset=5) == (2, 8)  # these, and one more at least
    assert await total(limit=2, offset=8) == (1, 9)  # the last page says it all
    assert await total(limit=100) == (9, 9)
    now = 6.0
    assert await total(limit=2) == (2, 9)
    assert await total(limit=2, offset=50) == (0, 9)


async def test_the_pages_after_an_id_have_the_total_of_the_whole_list(
    open_stores: OpenStores,
) -> None:
    store = await open_stores()
    lists = Lists(store)
    await add(store, 5)

    first = await lists.page("alice", List(limit=3), 0)
    last = await lists.page("alice", List(limit=3, before=first.following), 0)

    assert (len(last.tasks), last.total, last.following) == (2, 5, None)


async def test_counts_are_by_who_asks_and_for_what(open_stores: OpenStores) -> None:
    store = await open_stores()
    lists = Lists(store)
    await add(store, 5)

    assert (await lists.page("alice", List(limit=1), 0)).total == 5
    assert (await lists.page("bob", List(limit=1), 0)).total == 0
    assert (await lists.page("alice", List(limit=1, since=NOW + 3), 0)).total == 2


# --------------------------------------------------------------------- that they hold nobody up


async def test_lists_and_counts_do_not_hold_up_the_loop(large: Store) -> None:
    lists = Lists(large)

    async def on_the_loop() -> None:
        for asked in (FAR, NONE):
            await large.read(scripts.list_tasks("alice", asked, 0))
        await large.read(scripts.count("alice", List(), 0))

    async def aside() -> None:
        asked = [lists.page("alice", each, 0) for each in (List(), FAR, NONE) * 3]
        assert {page.total for page in await asyncio.gather(*asked)} == {0, MANY}

    assert await held_by(aside) < await held_by(on_the_loop) / 2


async def test_scrapes_of_many_tasks_share_one_count(serving: Serving) -> None:
    await asyncio.to_thread(fill, serving.app.settings.data / "safelight.db", "alice")

    async def scrape() -> None:
        answers = await asyncio.gather(*(serving.http.get("/metrics") for _ in range(100)))
        told = f'safelight_tasks{{status="succeeded"}} {MANY}.0'
        assert all(told in answer.text for answer in answers)

    alone = await _seconds(lambda: serving.app.store.read_aside(scripts.count_by_status()))
    assert await _seconds(scrape) < 20 * alone


async def _seconds(act: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await act()
    return time.perf_counter() - began


async def test_a_caller_with_many_tasks_keeps_no_other_waiting(large: Store) -> None:
    lists = Lists(large)
    many = [asyncio.create_task(lists.page("alice", NONE, 0)) for _ in range(8)]
    await asyncio.sleep(0)

    assert (await lists.page("bob", List(), 0)).tasks == ()

    assert sum(each.done() for each in many) < 8
    assert [page.total for page in await asyncio.gather(*many)] == [0] * 8


async def test_who_would_wait_too_long_is_told_so(
    large: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safelight.lists._WAIT_SECONDS", 0.01)
    lists = Lists(large)
    many = [lists.page("alice", NONE, 0) for _ in range(4)]

    first, *others = await asyncio.gather(*many, return_exceptions=True)

    assert not isinstance(first, BaseException)
    assert [type(other) for other in others] == [StoreUnavailable] * 3


async def test_a_list_that_nobody_waits_for_keeps_its_place_until_it_is_read(
    large: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safelight.lists._WAIT_SECONDS", 0.01)
    lists = Lists(large)
    left = asyncio.create_task(lists.page("alice", NONE, 0))
    await asyncio.sleep(0.001)
    left.cancel()

    with pytest.raises(StoreUnavailable):
        await lists.page("alice", NONE, 0)

    monkeypatch.setattr("safelight.lists._WAIT_SECONDS", 60)
    assert (await lists.page("alice", NONE, 0)).total == 0
