"""What every store does, whatever its database: the scripts, carried out."""

from __future__ import annotations

import asyncio
import gc
import re
import time
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from backends import PostgresServer
from doubles import ID, NOW, OpenStores, task, until
from safelight.postgres import Database
from safelight.store import Store, scripts
from safelight.store.postgres import PostgresStore
from safelight.store.queries import query_text
from safelight.store.scripts import (
    CHANGED,
    ENDED,
    KEYS,
    Accepted,
    AnyScript,
    Change,
    Changed,
    DifferentBody,
    Enqueue,
    EventRow,
    Query,
    Script,
    Single,
    Tell,
    UploadRow,
)
from safelight.store.sqlite import SQLiteStore
from safelight.task import (
    ENDS,
    STEPS,
    UNFINISHED,
    Artifact,
    Failure,
    FailureCode,
    Kind,
    List,
    Source,
    Status,
    Task,
    new_id,
)

FAILURE = Failure(code=FailureCode.PROVIDER_ERROR, message="no", provider_code="E7")
ARTIFACT = Artifact(blob="tasks/x/1-0.png", media_type="image/png", size=9, width=3, height=2)
OTHER = new_id(NOW + 1, b"\x00\x00\x00\x00\x00\x02")
THIRD = new_id(NOW + 1, b"\x00\x00\x00\x00\x00\x03")


@asynccontextmanager
async def open_sqlite(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    folder: Path = request.getfixturevalue("tmp_path")
    store = SQLiteStore.open(folder / "store.db")
    yield store
    await store.close()


@asynccontextmanager
async def open_postgres(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    server: PostgresServer = request.getfixturevalue("postgres")
    async with server.lent() as url:
        store = await PostgresStore.open(await Database.open(url))
        yield store
        await store.close()


# The stores there are, each with what opens it in an empty place.
STORES: dict[str, Callable[[pytest.FixtureRequest], AbstractAsyncContextManager[Store]]] = {
    "sqlite": open_sqlite,
    "postgres": open_postgres,
}


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    async with STORES[request.param](request) as opened:
        yield opened


@pytest.fixture
async def on_postgres(request: pytest.FixtureRequest) -> AsyncIterator[PostgresStore]:
    async with open_postgres(request) as opened:
        assert isinstance(opened, PostgresStore)
        yield opened


async def add(store: Store, *tasks: Task) -> None:
    for each in tasks:
        await store.write(scripts.add(each, ""))


async def get(store: Store, id: str = ID) -> Task:
    found = await store.read(scripts.get_any(id))
    assert found is not None
    return found


async def claim(
    store: Store, id: str = ID, worker: str = "w", now: int = NOW + 10, waits: bool = False
) -> Task:
    claimed = await store.write(scripts.claim(id, worker, now, waits=waits))
    assert claimed is not None
    return claimed


async def events(store: Store, id: str = ID) -> list[tuple[str, int]]:
    return [(row.what, row.attempt) for row in await store.read(scripts.events(id))]


# ---------------------------------------------------------------------------- added and read


async def test_a_task_is_read_back_as_it_was_added(store: Store) -> None:
    given = task(sources=[Source(url="https://example.com/a.png"), Source(blob="tasks/x/source-1")])

    accepted = await store.write(scripts.add(given, ""))

    assert accepted == Accepted(given, True)
    assert await store.get(ID, "alice", 0) == given
    assert await store.read(scripts.get_any(ID)) == given
    assert await store.read_aside(scripts.get_any(ID)) == given


async def test_bytes_that_came_with_the_request_are_not_stored(store: Store) -> None:
    await add(store, task(sources=[Source(data=b"much", blob="tasks/x/source-0")]))

    assert (await get(store)).submit.sources == (Source(blob="tasks/x/source-0"),)


async def test_an_id_that_was_never_given_is_none(store: Store) -> None:
    assert await store.get(ID, "alice", 0) is None
    assert await store.read(scripts.get_any(ID)) is None
    assert await store.read(scripts.events(ID)) == ()
    assert await store.write(scripts.claim(ID, "w", NOW)) is None


async def test_a_task_is_its_owners_alone(store: Store) -> None:
    await add(store, task())

    assert await store.get(ID, "bob", 0) is None
    assert await store.write(scripts.cancel(ID, "bob", NOW)) is None
    assert await store.write(scripts.delete((ID,), "bob", None)) == ()
    assert (await store.read(scripts.list_tasks("bob", List(), 0))).total == 0
    assert (await get(store)).status is Status.QUEUED


async def test_a_failed_script_leaves_nothing_behind(store: Store) -> None:
    def half() -> Script[None]:
        yield from scripts.add(task(), "")
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        await store.write(half())

    assert await store.read(scripts.get_any(ID)) is None
    assert await store.read(scripts.events(ID)) == ()


STEPS_OF_WRITES = [Enqueue(ID, "sketch"), Tell(ENDED, ID)]


@pytest.mark.parametrize("step", STEPS_OF_WRITES, ids=lambda step: type(step).__name__)
async def test_a_script_that_only_reads_enqueues_and_tells_nothing(
    store: Store, step: Enqueue | Tell
) -> None:
    def more() -> Script[None]:
        yield Query("list_keys", {})
        yield step

    for read in (store.read, store.read_aside):
        with pytest.raises(RuntimeError, match="only reads"):
            await read(more())

    await store.write(more())


async def test_an_id_is_given_once(store: Store) -> None:
    await add(store, task(prompt="first"))

    with pytest.raises(Exception, match=r"(?i)unique|duplicate"):
        await add(store, task(prompt="second", owner="bob"))

    assert (await get(store)).submit.prompt == "first"
    assert await events(store) == [("queued", 0)]


# -------------------------------------------------------------------------------- idempotency


async def test_the_same_token_and_body_is_the_same_task(store: Store) -> None:
    first = await store.write(scripts.add(task(token="t"), "digest"))

    again = await store.write(scripts.add(task(OTHER, token="t"), "digest"))

    assert first.new
    assert again == Accepted(first.task, False)
    assert await store.read(scripts.get_any(OTHER)) is None


async def test_the_same_token_finds_the_task_as_it_is_now(store: Store) -> None:
    await store.write(scripts.add(task(token="t"), "digest"))
    await claim(store)

    again = await store.write(scripts.add(task(OTHER, token="t"), "digest"))

    assert again.task.status is Status.RUNNING


async def test_the_same_token_with_another_body_is_refused(store: Store) -> None:
    await store.write(scripts.add(task(token="t"), "digest"))

    with pytest.raises(DifferentBody):
        await store.write(scripts.add(task(OTHER, token="t"), "another"))

    assert await store.read(scripts.get_any(OTHER)) is None


async def test_a_token_is_its_owners(store: Store) -> None:
    await store.write(scripts.add(task(token="t"), "digest"))

    others = await store.write(scripts.add(task(OTHER, owner="bob", token="t"), "another"))

    assert others.new


async def test_many_at_once_with_one_token_make_one_task(store: Store) -> None:
    asked = [task(new_id(NOW, bytes(5) + bytes([n])), token="t") for n in range(20)]

    accepted = await asyncio.gather(*(store.write(scripts.add(one, "digest")) for one in asked))

    assert sum(one.new for one in accepted) == 1
    assert len({one.task.id for one in accepted}) == 1
    assert (await store.read(scripts.list_tasks("alice", List(), 0))).total == 1


async def test_a_token_is_forgotten_with_its_task(store: Store) -> None:
    await store.write(scripts.add(task(token="t"), "digest"))
    attempt = await bring_to(store, Status.RUNNING)
    await store.write(scripts.fail(ID, attempt, FAILURE, NOW + 40))

    with pytest.raises(DifferentBody):
        await store.write(scripts.add(task(OTHER, token="t"), "another", NOW + 39))
    anew = await store.write(scripts.add(task(OTHER, token="t"), "another", NOW + 40))
    again = await store.write(scripts.add(task(THIRD, token="t"), "another", NOW + 40))

    assert anew.new
    assert again == Accepted(anew.task, False)
    assert await store.read(scripts.get_any(ID)) is not None  # it is swept when it is time


async def test_many_at_once_use_a_forgotten_token_once(store: Store) -> None:
    await store.write(scripts.add(task(token="t"), "digest"))
    attempt = await bring_to(store, Status.RUNNING)
    await store.write(scripts.fail(ID, attempt, FAILURE, NOW + 40))
    asked = [task(new_id(NOW + 50, bytes(5) + bytes([n])), token="t") for n in range(10)]

    accepted = await asyncio.gather(
        *(store.write(scripts.add(one, "another", NOW + 40)) for one in asked)
    )

    assert sum(one.new for one in accepted) == 1
    assert len({one.task.id for one in accepted}) == 1
    assert (await store.read(scripts.list_tasks("alice", List(), NOW + 40))).total == 1


async def test_a_token_whose_task_is_forgotten_at_that_very_moment_is_taken(store: Store) -> None:
    await add(store, task(OTHER))
    claimed = await claim(store, OTHER)
    await store.write(scripts.fail(OTHER, claimed.attempt, FAILURE, NOW + 40))
    others = {"owner": "alice", "token": "t", "digest": "another", "task_id": OTHER}

    def meanwhile() -> Script[Accepted]:
        """A submission during which another one uses the same key, and is forgotten."""
        script, came = iter(scripts.add(task(token="t"), "digest", NOW + 40)), False
        try:
            step = next(script)
            while True:
                if isinstance(step, Query) and step.name == "add_idempotency" and not came:
                    came = True
                    yield Query("add_idempotency", others)
                step = script.send((yield step))
        except StopIteration as stopped:
            accepted: Accepted = stopped.value
            return accepted

    accepted = await store.write(meanwhile())
    again = await store.write(scripts.add(task(THIRD, token="t"), "digest", NOW + 40))

    assert accepted.new
    assert again == Accepted(accepted.task, False)


async def test_of_many_that_are_added_at_once_a_wrong_one_is_undone_alone(store: Store) -> None:
    asked = [task(new_id(NOW, bytes(5) + bytes([n]))) for n in range(9)]
    await store.write(scripts.add(asked[4], ""))

    told = await asyncio.gather(
        *(store.write(scripts.add(one, "", engine="sketch")) for one in asked),
        return_exceptions=True,
    )

    assert [isinstance(each, Accepted) for each in told] == [n != 4 for n in range(9)]
    assert "unique" in str(told[4]).lower()
    assert all([await store.read(scripts.get_any(one.id)) for one in asked])
    for one in asked:
        assert len(await store.read(scripts.events(one.id))) == 1


async def test_of_many_at_once_one_that_cannot_be_said_at_all_is_refused_alone(
    store: Store,
) -> None:
    asked = [task(new_id(NOW, bytes(5) + bytes([n]))) for n in range(5)]
    asked[2] = task(asked[2].id, now=2**70)  # no number of a database: its driver refuses it

    told = await asyncio.gather(
        *(store.write(scripts.add(one, "", engine="sketch")) for one in asked),
        return_exceptions=True,
    )

    assert [isinstance(each, Accepted) for each in told] == [n != 2 for n in range(5)]


async def test_changes_of_one_task_at_once_are_made_in_their_order(store: Store) -> None:
    await add(store, task(), task(OTHER))
    # Each is possible only after the one before it, and others are written with them.
    told = await asyncio.gather(
        store.write(scripts.claim(ID, "w", NOW + 1)),
        store.write(scripts.claim(OTHER, "w", NOW + 1)),
        store.write(scripts.upload(ID, 1, NOW + 2)),
        store.write(scripts.succeed(ID, 1, (ARTIFACT,), NOW + 3)),
        store.write(scripts.fail(OTHER, 1, FAILURE, NOW + 3)),
        store.write(scripts.succeed(ID, 1, (ARTIFACT,), NOW + 4)),
    )

    assert [bool(each) for each in told] == [True] * 5 + [False]
    seen = [event.what for event in await store.read(scripts.events(ID))]
    assert seen == ["queued", "running", "uploading", "succeeded"]


async def test_of_many_bodies_at_once_with_one_token_one_is_taken(store: Store) -> None:
    asked = [task(new_id(NOW, bytes(5) + bytes([n])), token="t") for n in range(10)]

    told = await asyncio.gather(
        *(store.write(scripts.add(one, f"digest {n}")) for n, one in enumerate(asked)),
        return_exceptions=True,
    )

    assert sorted(type(one) is DifferentBody for one in told) == [False] + [True] * 9
    assert (await store.read(scripts.list_tasks("alice", List(), 0))).total == 1


async def test_a_deleted_task_gives_its_token_back(store: Store) -> None:
    await store.write(scripts.add(task(token="t"), "digest"))
    await store.write(scripts.delete((ID,), "alice", None))

    assert (await store.write(scripts.add(task(OTHER, token="t"), "another"))).new


# ---------------------------------------------------------------------- refused, and forgotten


class Body:
    """What a request holds while it is answered."""


@pytest.fixture
def uncollected() -> Iterator[None]:
    """No garbage is collected: what is held by nobody goes at once, what holds itself stays."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def refused(asked: Callable[[], Coroutine[Any, Any, object]]) -> weakref.ref[Body]:
    """Ask for what is refused, with a body in hand; who asked is through with it by now."""

    async def ask() -> weakref.ref[Body]:
        body = Body()
        with pytest.raises(Exception):  # noqa: B017 - whatever it is, it is forgotten
            await asked()
        return weakref.ref(body)

    body = await asyncio.create_task(ask())
    await asyncio.sleep(0)  # for the callbacks of what has ended
    return body


def broken() -> Script[None]:
    yield Query("add_key", {"id": "K", "name": None, "lookup": "", "secret": "", "created": 0})


@pytest.mark.usefixtures("uncollected")
async def test_a_write_that_is_refused_holds_nothing_of_who_asked(store: Store) -> None:
    await store.write(scripts.add(task(token="t"), "digest"))

    conflict = await refused(
        lambda: store.write(scripts.add(task(OTHER, token="t"), "another digest"))
    )
    mistake = await refused(lambda: store.write(broken()))

    assert (conflict(), mistake()) == (None, None)


@pytest.mark.usefixtures("uncollected")
async def test_what_is_written_holds_nothing_of_who_asked(store: Store) -> None:
    def script(body: Body) -> Script[Body]:
        yield Query("list_keys", {})
        return body

    held = weakref.ref(await store.write(script(Body())))

    await until(lambda: held() is None)


@pytest.mark.usefixtures("uncollected")
async def test_a_read_that_is_refused_holds_nothing_of_who_asked(store: Store) -> None:
    await add(store, task())
    await spoil(store)

    alone = await refused(lambda: store.get(ID, "alice", 0))
    several = await asyncio.gather(
        *(refused(lambda: store.get(ID, "alice", 0)) for _ in range(5)),
        refused(lambda: store.read(scripts.get_any(ID))),
        refused(lambda: store.read_aside(scripts.get_any(ID))),
    )

    # A thread that has read aside lets go a moment after it was heard.
    await until(lambda: [body() for body in (alone, *several)] == [None] * 8)


async def spoil(store: Store) -> None:
    """Write a task that cannot be read."""

    def write() -> Script[None]:
        yield Query("remove_task", {"id": ID})
        adding = scripts.add(task(), "")
        assert isinstance(adding, Single)
        query = adding.change.query
        yield query._replace(parameters={**query.parameters, "submit": "no JSON"})

    await store.write(write())


# --------------------------------------------------------------------------- claims and deaths


async def test_a_claim_starts_the_task_and_raises_the_attempt(store: Store) -> None:
    await add(store, task())

    claimed = await claim(store, now=NOW + 10)

    assert (claimed.status, claimed.attempt, claimed.deaths) == (Status.RUNNING, 1, 0)
    assert (claimed.started, claimed.updated) == (NOW + 10, NOW + 10)
    assert claimed == await get(store)


async def test_a_claim_from_a_worker_that_did_not_release_counts_a_death(store: Store) -> None:
    await add(store, task())
    await claim(store, worker="first")

    again = await claim(store, worker="second", now=NOW + 20)

    assert (again.attempt, again.deaths, again.started) == (2, 1, NOW + 10)


async def test_a_worker_that_got_no_answer_claims_again_and_counts_no_death(store: Store) -> None:
    await add(store, task())
    await claim(store, worker="first")

    own = await store.write(scripts.claim(ID, "first", NOW + 20, again=True))
    others = await store.write(scripts.claim(ID, "second", NOW + 30, again=True))

    assert own is not None
    assert others is not None
    assert [(one.attempt, one.deaths) for one in (own, others)] == [(2, 0), (3, 1)]


async def test_a_claim_whose_answer_was_lost_may_not_have_been_written(store: Store) -> None:
    await add(store, task())

    claimed = await store.write(scripts.claim(ID, "first", NOW + 20, again=True))

    assert claimed is not None
    assert (claimed.attempt, claimed.deaths) == (1, 0)


async def test_of_many_claims_at_once_each_has_its_attempt(store: Store) -> None:
    await add(store, task())

    claimed = await asyncio.gather(*(claim(store, worker=f"w{n}") for n in range(10)))

    assert sorted(one.attempt for one in claimed) == list(range(1, 11))
    assert (await get(store)).deaths == 9
    assert await events(store) == [("queued", 0), *(("running", n) for n in range(1, 11))]


async def test_a_release_is_no_death(store: Store) -> None:
    await add(store, task())
    held = await claim(store)

    assert await store.write(scripts.release(ID, held.attempt, NOW + 20))

    again = await claim(store, worker="second", now=NOW + 30)
    assert (again.attempt, again.deaths) == (2, 0)


async def test_a_task_that_died_while_uploading_can_be_run_to_its_end(store: Store) -> None:
    await add(store, task())
    first = await claim(store)
    assert await store.write(scripts.upload(ID, first.attempt, NOW + 20))

    again = await claim(store, worker="second", now=NOW + 30)

    assert again.status is Status.UPLOADING
    assert await store.write(scripts.progress(ID, again.attempt, 40, NOW + 40))
    assert await store.write(scripts.upload(ID, again.attempt, NOW + 50))
    assert await store.write(scripts.succeed(ID, again.attempt, (ARTIFACT,), NOW + 60))


WRITES: dict[str, Callable[[int], AnyScript[Any]]] = {
    "progress": lambda attempt: scripts.progress(ID, attempt, 50, NOW + 90),
    "upload": lambda attempt: scripts.upload(ID, attempt, NOW + 90),
    "succeed": lambda attempt: scripts.succeed(ID, attempt, (ARTIFACT,), NOW + 90),
    "fail": lambda attempt: scripts.fail(ID, attempt, FAILURE, NOW + 90),
    "release": lambda attempt: scripts.release(ID, attempt, NOW + 90),
    "log": lambda attempt: scripts.log(ID, attempt, "I am still here", NOW + 90),
    "start": lambda attempt: scripts.start(ID, attempt, NOW + 90),
    "remember": lambda attempt: scripts.remember(ID, attempt, {"id": "late"}),
}


@pytest.mark.parametrize("uploading", [False, True])
@pytest.mark.parametrize("name", WRITES)
async def test_a_worker_that_lost_its_claim_changes_nothing(
    store: Store, name: str, uploading: bool
) -> None:
    await add(store, task())
    lost = await claim(store)
    holder = await claim(store, worker="second", now=NOW + 20)
    if uploading:
        await store.write(scripts.upload(ID, holder.attempt, NOW + 30))
    before, told = await get(store), await events(store)

    assert not await store.write(WRITES[name](lost.attempt))

    assert await get(store) == before
    assert await events(store) == told


@pytest.mark.parametrize("end", sorted(ENDS))
@pytest.mark.parametrize("name", WRITES)
async def test_a_worker_changes_nothing_after_the_end(store: Store, name: str, end: Status) -> None:
    await add(store, task())
    attempt = await bring_to(store, end)
    before, told = await get(store), await events(store)

    assert not await store.write(WRITES[name](attempt))

    assert await get(store) == before
    assert await events(store) == told


# ---------------------------------------------------------------------------- waiting elsewhere


async def test_a_task_that_waits_elsewhere_is_claimed_and_stays_queued(store: Store) -> None:
    await add(store, task())

    claimed = await claim(store, waits=True)

    assert (claimed.status, claimed.attempt, claimed.started) == (Status.QUEUED, 1, None)
    assert claimed.updated == NOW + 10
    assert claimed == await get(store)
    assert await events(store) == [("queued", 0), ("queued", 1)]


async def test_a_task_that_waited_is_started_once(store: Store) -> None:
    await add(store, task())
    attempt = (await claim(store, waits=True)).attempt

    started = [await store.write(scripts.start(ID, attempt, NOW + at)) for at in (20, 30)]

    assert started == [True, False]
    running = await get(store)
    assert (running.status, running.started, running.updated) == (
        Status.RUNNING,
        NOW + 20,
        NOW + 20,
    )
    assert await events(store) == [("queued", 0), ("queued", 1), ("running", 1)]


async def test_a_task_that_was_started_is_not_started_by_the_next_attempt(store: Store) -> None:
    await add(store, task())
    first = await claim(store, waits=True)
    await store.write(scripts.start(ID, first.attempt, NOW + 20))
    await store.write(scripts.release(ID, first.attempt, NOW + 30))

    again = await claim(store, worker="second", now=NOW + 40, waits=True)

    assert (again.status, again.started, again.deaths) == (Status.RUNNING, NOW + 20, 0)
    assert not await store.write(scripts.start(ID, again.attempt, NOW + 50))
    assert (await events(store))[2:] == [("running", 1), ("running", 2)]


async def test_a_task_that_waits_is_anothers_after_a_death(store: Store) -> None:
    await add(store, task())
    lost = await claim(store, worker="first", waits=True)

    again = await claim(store, worker="second", waits=True)

    assert (again.status, again.attempt, again.deaths) == (Status.QUEUED, 2, 1)
    for change in (scripts.start, scripts.upload, scripts.release):
        assert not await store.write(change(ID, lost.attempt, NOW + 20))
    assert await get(store) == again


async def test_a_task_that_waits_may_tell_its_progress_fail_and_be_cancelled(store: Store) -> None:
    await add(store, task(), task(OTHER))
    attempt = (await claim(store, waits=True)).attempt
    await claim(store, OTHER, waits=True)

    assert await store.write(scripts.progress(ID, attempt, 5, NOW + 20))
    assert (await get(store)).status is Status.QUEUED
    assert not await store.write(scripts.upload(ID, attempt, NOW + 30))
    assert not await store.write(scripts.succeed(ID, attempt, (ARTIFACT,), NOW + 30))
    assert await store.write(scripts.fail(ID, attempt, FAILURE, NOW + 40))
    assert await store.write(scripts.cancel(OTHER, "alice", NOW + 40)) is not None


MEMORY = {"id": "cgt-ü 1", "at": 1.5, "asking": None, "urls": ["a", {"b": "\0"}]}


async def test_what_was_remembered_is_recalled(store: Store) -> None:
    await add(store, task())
    attempt = (await claim(store, waits=True)).attempt
    before, told = await get(store), await events(store)
    assert await store.read(scripts.recall(ID)) == {}

    assert await store.write(scripts.remember(ID, attempt, {"other": 1}))
    assert await store.write(scripts.remember(ID, attempt, MEMORY))

    assert await store.read(scripts.recall(ID)) == MEMORY
    assert (await get(store), await events(store)) == (before, told)
    assert await store.write(scripts.remember(ID, attempt, {}))
    assert await store.read(scripts.recall(ID)) == {}


async def test_memory_outlives_the_attempt_and_the_lost_attempt_cannot_change_it(
    store: Store,
) -> None:
    await add(store, task())
    lost = await claim(store, worker="first", waits=True)
    await store.write(scripts.remember(ID, lost.attempt, {"id": "1"}))

    again = await claim(store, worker="second", waits=True)

    assert await store.read(scripts.recall(ID)) == {"id": "1"}
    assert not await store.write(scripts.remember(ID, lost.attempt, {"id": "2"}))
    assert await store.read(scripts.recall(ID)) == {"id": "1"}
    assert await store.write(scripts.remember(ID, again.attempt, {"id": "3"}))
    assert await store.read(scripts.recall(ID)) == {"id": "3"}


async def test_nothing_is_recalled_of_a_task_that_is_not_there(store: Store) -> None:
    assert await store.read(scripts.recall(ID)) == {}
    assert not await store.write(scripts.remember(ID, 1, {"id": "1"}))


# -------------------------------------------------------------------------------------- turns

AT = NOW * 1000  # microseconds


async def test_turns_follow_one_another(store: Store) -> None:
    taken = [await store.write(scripts.take_turns("kie", AT, span)) for span in (100, 300, 50)]

    assert taken == [AT, AT + 100, AT + 400]


async def test_turns_that_nobody_took_are_gone(store: Store) -> None:
    await store.write(scripts.take_turns("kie", AT, 100))

    assert await store.write(scripts.take_turns("kie", AT + 1000, 100)) == AT + 1000
    assert await store.write(scripts.take_turns("kie", AT + 1050, 100)) == AT + 1100


async def test_turns_in_a_far_future_are_nobodys(store: Store) -> None:
    hour, most = 3_600_000_000, 50_000_000
    await store.write(scripts.take_turns("kie", AT + hour, 100, most))

    taken = [await store.write(scripts.take_turns("kie", AT, 100, most)) for _ in range(2)]

    assert taken == [AT, AT + 100]


async def test_turns_that_are_not_so_far_ahead_are_others(store: Store) -> None:
    await store.write(scripts.take_turns("kie", AT, 400, 500))

    taken = [await store.write(scripts.take_turns("kie", AT, 100, 500)) for _ in range(2)]

    assert taken == [AT + 400, AT + 500]


async def test_services_have_their_own_turns(store: Store) -> None:
    await store.write(scripts.take_turns("kie", AT, 10**9))

    assert await store.write(scripts.take_turns("kie 2", AT, 100)) == AT


async def test_turns_that_are_taken_at_once_never_overlap(open_stores: OpenStores) -> None:
    stores = [await open_stores() for _ in range(3)]
    spans = [100 + 10 * (n % 7) for n in range(60)]

    firsts = await asyncio.gather(
        *(
            stores[n % 3].write(scripts.take_turns("kie", AT + n % 5, span))
            for n, span in enumerate(spans)
        )
    )

    taken = sorted(zip(firsts, spans, strict=True))
    assert taken[0][0] >= AT
    for (first, span), (following, _) in pairwise(taken):
        assert following >= first + span
    # They are all waited for, so that no time is left unused.
    assert taken[-1][0] + taken[-1][1] <= AT + 5 + sum(spans)


# ------------------------------------------------------------------------ keys at other services


async def test_a_provider_key_is_kept_replaced_listed_and_removed(store: Store) -> None:
    assert await store.read(scripts.get_provider_key("kie")) is None
    await store.write(scripts.keep_provider_key("kie", "encrypted 1", NOW))
    await store.write(scripts.keep_provider_key("azure", "encrypted 2", NOW + 1))
    await store.write(scripts.keep_provider_key("kie", "encrypted 3", NOW + 2))

    assert await store.read(scripts.get_provider_key("kie")) == "encrypted 3"
    assert await store.read(scripts.list_provider_keys()) == (("azure", NOW + 1), ("kie", NOW + 2))
    assert await store.write(scripts.remove_provider_key("kie"))
    assert not await store.write(scripts.remove_provider_key("kie"))
    assert await store.read(scripts.get_provider_key("kie")) is None
    assert await store.read(scripts.list_provider_keys()) == (("azure", NOW + 1),)


# -------------------------------------------------------------------------------------- steps


async def bring_to(store: Store, status: Status) -> int:
    """Bring the task to that status; returns the attempt that holds it."""
    if status is Status.QUEUED:
        return 0
    attempt = (await claim(store)).attempt
    if status in (Status.UPLOADING, Status.SUCCEEDED):
        assert await store.write(scripts.upload(ID, attempt, NOW + 20))
    if status in ENDS:
        await step(store, status, attempt)
    assert (await get(store)).status is status
    return attempt


async def step(store: Store, to: Status, attempt: int) -> None:
    match to:
        case Status.RUNNING:
            await store.write(scripts.claim(ID, "w", NOW + 30))
        case Status.UPLOADING:
            await store.write(scripts.upload(ID, attempt, NOW + 30))
        case Status.SUCCEEDED:
            await store.write(scripts.succeed(ID, attempt, (ARTIFACT,), NOW + 30))
        case Status.FAILED:
            await store.write(scripts.fail(ID, attempt, FAILURE, NOW + 30))
        case Status.CANCELED:
            await store.write(scripts.cancel(ID, "alice", NOW + 30))
        case Status.QUEUED:
            await store.write(scripts.release(ID, attempt, NOW + 30))


@pytest.mark.parametrize("to", Status)
@pytest.mark.parametrize("at", Status)
async def test_every_step_of_the_table_is_possible_and_none_other(
    store: Store, at: Status, to: Status
) -> None:
    await add(store, task())
    attempt = await bring_to(store, at)

    await step(store, to, attempt)

    assert (await get(store)).status is (to if to in STEPS[at] else at)


async def test_the_end_is_written_with_all_that_belongs_to_it(store: Store) -> None:
    await add(store, task())
    attempt = await bring_to(store, Status.UPLOADING)

    await store.write(scripts.succeed(ID, attempt, (ARTIFACT, ARTIFACT), NOW + 40))

    ended = await get(store)
    assert ended.artifacts == (ARTIFACT, ARTIFACT)
    assert (ended.progress, ended.finished, ended.updated) == (100, NOW + 40, NOW + 40)
    assert ended.failure is None


async def test_a_failure_says_why_and_keeps_the_progress(store: Store) -> None:
    await add(store, task())
    attempt = await bring_to(store, Status.RUNNING)
    await store.write(scripts.progress(ID, attempt, 60, NOW + 30))

    await store.write(scripts.fail(ID, attempt, FAILURE, NOW + 40))

    ended = await get(store)
    assert (ended.failure, ended.progress, ended.finished) == (FAILURE, 60, NOW + 40)
    assert ended.artifacts == ()


# --------------------------------------------------------------------------- cancel and delete


@pytest.mark.parametrize("status", sorted(UNFINISHED))
async def test_its_owner_cancels_a_task_wherever_it_is(store: Store, status: Status) -> None:
    await add(store, task())
    await bring_to(store, status)

    canceled = await store.write(scripts.cancel(ID, "alice", NOW + 40))

    assert canceled == await get(store)
    assert (canceled.status, canceled.finished) == (Status.CANCELED, NOW + 40)
    assert canceled.failure is not None
    assert canceled.failure.code is FailureCode.CANCELED


async def test_a_task_of_another_kind_is_not_cancelled(store: Store) -> None:
    await add(store, task())

    assert await store.write(scripts.cancel(ID, "alice", NOW, Kind.VIDEO)) is None
    assert await store.write(scripts.cancel(ID, "alice", NOW, Kind.IMAGE)) is not None


async def test_a_task_has_one_end_whoever_is_first(store: Store) -> None:
    for n in range(10):
        id = new_id(NOW + n, bytes(6))
        await add(store, task(id))
        attempt = (await claim(store, id)).attempt
        canceled, failed = await asyncio.gather(
            store.write(scripts.cancel(id, "alice", NOW + 40)),
            store.write(scripts.fail(id, attempt, FAILURE, NOW + 40)),
        )

        end = Status.FAILED if failed else Status.CANCELED
        assert (canceled is None) is failed
        assert (await get(store, id)).status is end
        assert await events(store, id) == [("queued", 0), ("running", 1), (end.value, 1)]


async def test_the_same_tasks_are_deleted_by_several_at_once(store: Store) -> None:
    ids = tuple(new_id(NOW + n, bytes(6)) for n in range(40))
    await add(store, *(task(id) for id in ids))

    removed = await asyncio.gather(
        store.write(scripts.delete(ids, "alice", None)),
        store.write(scripts.delete(ids[::-1], "alice", None)),
        store.write(scripts.remove((*ids[20:], *ids[:20]))),
    )

    assert not set(removed[0]) & set(removed[1])
    assert (await store.read(scripts.list_tasks("alice", List(), 0))).total == 0


async def test_delete_removes_the_owners_tasks_of_that_kind(store: Store) -> None:
    ids = [new_id(NOW + n, bytes(6)) for n in range(4)]
    await add(
        store,
        task(ids[0]),
        task(ids[1], kind=Kind.VIDEO),
        task(ids[2], owner="bob"),
        task(ids[3]),
    )

    removed = await store.write(scripts.delete((*ids, OTHER, ids[0]), "alice", Kind.IMAGE))

    assert removed == (ids[0], ids[3])
    assert await store.read(scripts.get_any(ids[0])) is None
    assert await store.read(scripts.events(ids[0])) == ()
    assert await store.read(scripts.get_any(ids[1])) is not None
    assert await store.read(scripts.get_any(ids[2])) is not None
    assert await store.write(scripts.delete((ids[1],), "alice", None)) == (ids[1],)


# --------------------------------------------------------------------------------------- tells


async def listen(store: Store, topic: str) -> list[str]:
    """What is heard of a topic from now on."""
    heard: list[str] = []
    store.listen(topic, heard.append)
    # A store that has no version yet does not hear yet what is told.
    await until(lambda: store.version() is not None)
    return heard


async def test_what_is_ended_from_outside_is_told(store: Store) -> None:
    await add(store, task(), task(OTHER), task(THIRD, owner="bob"))
    ended, keys = await listen(store, ENDED), await listen(store, KEYS)

    await store.write(scripts.cancel(ID, "alice", NOW))
    await store.write(scripts.cancel(ID, "alice", NOW))  # it is at its end already
    await store.write(scripts.delete((ID, OTHER, THIRD), "alice", None))
    await store.write(scripts.cancel(THIRD, "bob", NOW))

    await until(lambda: THIRD in ended)
    assert ended == [ID, ID, OTHER, THIRD]
    assert keys == []


async def test_a_revoked_key_is_told_once(store: Store) -> None:
    await store.write(scripts.add_key("K1", "laptop", "one", "1", NOW))
    await store.write(scripts.add_key("K2", "phone", "two", "2", NOW))
    keys = await listen(store, KEYS)

    await store.write(scripts.revoke_key("K1", NOW))
    await store.write(scripts.revoke_key("K1", NOW))
    await store.write(scripts.revoke_key("K2", NOW))

    await until(lambda: "K2" in keys)
    assert keys == ["K1", "K2"]


async def test_what_was_not_written_is_not_told(store: Store) -> None:
    await add(store, task(), task(OTHER))
    ended = await listen(store, ENDED)

    def half() -> Script[None]:
        yield from scripts.cancel(ID, "alice", NOW)
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        await store.write(half())
    await store.write(scripts.cancel(OTHER, "alice", NOW))

    await until(lambda: ended)
    assert ended == [OTHER]


async def test_all_who_listen_hear_it(store: Store) -> None:
    await add(store, task())
    first, second = await listen(store, ENDED), await listen(store, ENDED)

    await store.write(scripts.cancel(ID, "alice", NOW))

    await until(lambda: first and second)
    assert first == second == [ID]


# --------------------------------------------------------------------------------------- lists


@pytest.fixture
async def ten(store: Store) -> list[str]:
    """Ten tasks, the oldest first; 0 to 2 succeeded, 3 failed, 4 runs, odd ones are films."""
    ids = [new_id(NOW + n, bytes(6)) for n in range(10)]
    for n, id in enumerate(ids):
        kind = Kind.VIDEO if n % 2 else Kind.IMAGE
        await add(store, task(id, now=NOW + n, kind=kind))
        if n > 4:
            continue
        attempt = (await claim(store, id)).attempt
        if n < 3:
            await store.write(scripts.upload(id, attempt, NOW + 20))
            await store.write(scripts.succeed(id, attempt, (), NOW + 100 + n))
        if n == 3:
            await store.write(scripts.fail(id, attempt, FAILURE, NOW + 100 + n))
    await add(store, task(OTHER, owner="bob"))
    return ids


async def test_a_list_is_paged_by_the_last_id(store: Store, ten: list[str]) -> None:
    seen: list[str] = []
    before = None
    pages = 0
    while pages == 0 or before is not None:
        page = await store.read(scripts.list_tasks("alice", List(limit=4, before=before), 0))
        seen += [one.id for one in page.tasks]
        assert len(page.tasks) <= page.total <= 10
        before, pages = page.following, pages + 1

    assert seen == ten[::-1]
    assert pages == 3


async def test_a_page_that_ends_with_the_list_has_none_following(
    store: Store, ten: list[str]
) -> None:
    page = await store.read(scripts.list_tasks("alice", List(limit=10), 0))

    assert [one.id for one in page.tasks] == ten[::-1]
    assert page.following is None


async def test_a_long_page_is_whole_and_in_order(store: Store) -> None:
    ids = [new_id(NOW + number, bytes(6)) for number in range(123)]
    for id in ids:
        await store.write(scripts.add(task(id), ""))

    for limit, offset in ((110, 5), (49, 0), (50, 0), (51, 7), (122, 0), (123, 0), (200, 20)):
        page = await store.read(scripts.list_tasks("alice", List(limit=limit, offset=offset), 0))
        wanted = ids[::-1][offset : offset + limit]
        assert [found.id for found in page.tasks] == wanted
        more = offset + limit < len(ids)
        assert page.following == (wanted[-1] if more else None)
        assert page.total >= offset + len(wanted)


async def test_a_page_of_long_texts_has_an_end(store: Store) -> None:
    for number in range(120):
        long = task(new_id(NOW + number, bytes(6)), prompt="x" * 1000)
        await store.write(scripts.add(long, ""))

    page = await store.read(scripts.list_tasks("alice", List(limit=40), 0, 60_000))
    assert len(page.tasks) == 40
    with pytest.raises(scripts.TooLong):
        await store.read(scripts.list_tasks("alice", List(limit=100), 0, 60_000))


async def test_a_list_is_paged_by_offset(store: Store, ten: list[str]) -> None:
    page = await store.read(scripts.list_tasks("alice", List(limit=3, offset=8), 0))

    assert [one.id for one in page.tasks] == [ten[1], ten[0]]
    assert (page.total, page.offset, page.limit, page.following) == (10, 8, 3, None)
    beyond = await store.read(scripts.list_tasks("alice", List(limit=3, offset=50), 0))
    assert (beyond.tasks, beyond.total, beyond.following) == ((), 0, None)
    part = await store.read(scripts.list_tasks("alice", List(limit=3, offset=2), 0))
    assert (part.total, part.following) == (
        6,
        part.tasks[-1].id,
    )  # and more, it is not said how many
    assert await store.read(scripts.count("alice", List(limit=3, offset=50), 0)) == 10


FILTERS = [
    (List(statuses=frozenset({Status.SUCCEEDED})), [2, 1, 0]),
    (List(statuses=frozenset({Status.FAILED, Status.RUNNING})), [4, 3]),
    (List(statuses=frozenset({Status.CANCELED})), []),
    (List(kind=Kind.VIDEO), [9, 7, 5, 3, 1]),
    (List(kind=Kind.VIDEO, statuses=frozenset({Status.SUCCEEDED})), [1]),
    (List(since=NOW + 7), [9, 8, 7]),
    (List(until=NOW + 1), [1, 0]),
    (List(since=NOW + 4, until=NOW + 5), [5, 4]),
]


@pytest.mark.parametrize(("asked", "wanted"), FILTERS)
async def test_a_list_is_filtered_and_counted(
    store: Store, ten: list[str], asked: List, wanted: list[int]
) -> None:
    page = await store.read(scripts.list_tasks("alice", asked, 0))

    assert [one.id for one in page.tasks] == [ten[n] for n in wanted]
    assert page.total == len(wanted)
    assert await store.read(scripts.count("alice", asked, 0)) == len(wanted)


STRANGE = "né\0 𝄞"  # a text that neither database keeps as it is


async def add_called(store: Store) -> list[str]:
    """Five tasks with a model, labels and metadata, of which the last two have changed."""
    ids = [new_id(NOW + number, bytes(6)) for number in range(5)]
    for number, id in enumerate(ids):
        made = task(id, now=NOW + number)
        submit = msgspec.structs.replace(
            made.submit,
            model="even" if number % 2 == 0 else f"odd {STRANGE}",
            labels=("all", STRANGE) if number < 2 else ("all",),
            metadata={"number": str(number), STRANGE: "1"} if number < 3 else {"all": "x"},
            parent=ids[0] if number == 4 else None,
        )
        await add(store, msgspec.structs.replace(made, submit=submit))
    await add(store, task(new_id(NOW, b"others"), owner="bob"))
    for id in (ids[0], ids[3]):
        await store.write(scripts.claim(id, "w", NOW))
    return ids


CALLED = [
    (List(labels=("all",)), [4, 3, 2, 1, 0]),
    (List(labels=(STRANGE, "all")), [1, 0]),
    (List(labels=("number",)), []),
    (List(metadata={"number": "2"}), [2]),
    (List(metadata={"number": "2", STRANGE: "1"}), [2]),
    (List(metadata={"number": "2", "all": "x"}), []),
    (List(labels=(STRANGE,), metadata={"number": "1"}), [1]),
    (List(model="even"), [4, 2, 0]),
    (List(model=f"odd {STRANGE}"), [3, 1]),
    (List(model="even", labels=(STRANGE,)), [0]),
    (List(dialect="tensorslab", model="even"), [4, 2, 0]),
    (List(dialect="kie"), []),
    (List(parent=new_id(NOW, bytes(6))), [4]),
    (List(ended_since=NOW), []),
]


@pytest.mark.parametrize(("asked", "wanted"), CALLED)
async def test_a_list_is_filtered_by_what_tasks_are_called(
    store: Store, asked: List, wanted: list[int]
) -> None:
    ids = await add_called(store)

    page = await store.read(scripts.list_tasks("alice", asked, 0))

    assert [one.id for one in page.tasks] == [ids[n] for n in wanted]
    assert await store.read(scripts.count("alice", asked, 0)) == len(wanted)
    changed = msgspec.structs.replace(asked, by_change=True)
    again = await store.read(scripts.list_tasks("alice", changed, 0))
    order = {0: 1, 3: 2}  # the last that changed; before them none but by their addition
    assert [one.id for one in again.tasks] == [
        ids[n] for n in sorted(wanted, key=lambda n: (order.get(n, 0), n), reverse=True)
    ]


async def test_a_list_by_change_is_paged(store: Store) -> None:
    ids = await add_called(store)
    asked, found = List(by_change=True, limit=2), []

    while True:
        page = await store.read(scripts.list_tasks("alice", asked, 0))
        found += [one.id for one in page.tasks]
        if page.following is None:
            break
        place = {"before": page.following, "before_change": page.following_change}
        asked = msgspec.structs.replace(asked, **place)

    assert found == [ids[n] for n in (3, 0, 4, 2, 1)]


async def test_called_pages_go_on_after_an_id(store: Store) -> None:
    ids = await add_called(store)
    for asked in (List(labels=("all",), limit=2), List(model="even", limit=2)):
        first = await store.read(scripts.list_tasks("alice", asked, 0))
        following = msgspec.structs.replace(asked, before=first.following, limit=9)
        rest = await store.read(scripts.list_tasks("alice", following, 0))
        wanted = ids if asked.labels else ids[::2]
        assert [one.id for one in (*first.tasks, *rest.tasks)] == wanted[::-1]


# ------------------------------------------------------------------------------------- deadlines


async def add_timed(store: Store, **seconds: float) -> None:
    made = task()
    await add(store, msgspec.structs.replace(
        made, submit=msgspec.structs.replace(made.submit, **seconds)
    ))  # fmt: skip


async def end_late(store: Store, now: int) -> list[Task | None]:
    found = await store.read(scripts.late(now, 10))
    return [await store.write(scripts.end_late(each, now)) for each in found]


async def test_what_is_not_begun_in_time_has_failed(store: Store) -> None:
    await add_timed(store, start_within=1.5)

    assert await end_late(store, NOW + 1499) == []
    assert await store.write(scripts.claim(ID, "w", NOW + 1500)) is None  # late: by nobody
    (ended,) = await end_late(store, NOW + 1500)
    assert ended == await get(store)
    assert (ended.status, ended.finished) == (Status.FAILED, NOW + 1500)
    assert ended.failure == Failure(
        code=FailureCode.TIMEOUT, message="The task was not begun within 1.5 seconds"
    )
    events = await store.read(scripts.events(ID))
    assert [(event.what, event.note) for event in events] == [
        ("queued", ""), ("failed", "timeout")
    ]  # fmt: skip
    assert await end_late(store, NOW + 9999) == []


async def test_what_was_begun_in_time_is_not_late(store: Store) -> None:
    await add_timed(store, start_within=1)
    await store.write(scripts.claim(ID, "w", NOW))

    assert await end_late(store, NOW + 5000) == []
    assert await store.write(scripts.claim(ID, "other", NOW + 5000)) is not None


async def test_what_waits_elsewhere_has_not_begun(store: Store) -> None:
    await add_timed(store, start_within=1)
    await store.write(scripts.claim(ID, "w", NOW, waits=True))

    assert await end_late(store, NOW + 1000) == [await get(store)]
    assert not await store.write(scripts.start(ID, 1, NOW + 1000))
    assert (await get(store)).status is Status.FAILED


async def test_what_is_not_at_its_end_in_time_is_canceled(store: Store) -> None:
    told: list[str] = []
    store.listen(scripts.ENDED, told.append)
    await add_timed(store, cancel_after=2)
    await store.write(scripts.claim(ID, "w", NOW))

    assert await end_late(store, NOW + 1999) == []
    (ended,) = await end_late(store, NOW + 2000)
    assert ended == await get(store)
    assert ended.status is Status.CANCELED
    assert ended.failure is not None
    assert ended.failure.message == "The task was not at its end within 2 seconds"
    assert not await store.write(scripts.succeed(ID, 1, (), NOW + 2001))
    await until(lambda: told == [ID])


async def test_what_ended_meanwhile_is_not_late(store: Store) -> None:
    await add_timed(store, start_within=1, cancel_after=1)
    found = await store.read(scripts.late(NOW + 1000, 10))
    assert len(found) == 2
    await store.write(scripts.cancel(ID, "alice", NOW + 1000))

    assert [await store.write(scripts.end_late(each, NOW + 1000)) for each in found] == [
        None, None
    ]  # fmt: skip


# -------------------------------------------------------------------------- expiry and recovery


async def test_what_ended_long_ago_is_gone(store: Store, ten: list[str]) -> None:
    oldest = NOW + 101  # when the second one ended

    assert await store.get(ten[1], "alice", oldest) is None
    assert await store.read(scripts.get_any(ten[1], oldest)) is None
    assert await store.get(ten[2], "alice", oldest) is not None
    assert await store.get(ten[9], "alice", NOW * 2) is not None
    page = await store.read(scripts.list_tasks("alice", List(), oldest))
    assert [one.id for one in page.tasks] == ten[:1:-1]
    assert page.total == await store.read(scripts.count("alice", List(), oldest)) == 8


async def test_what_expired_is_swept(store: Store, ten: list[str]) -> None:
    oldest = NOW + 102

    found = await store.read(scripts.expired(oldest, 2))
    await store.write(scripts.remove(tuple(each.id for each in found)))

    assert found == ((NOW + 100, ten[0]), (NOW + 101, ten[1]))
    assert await store.read(scripts.expired(oldest, 10)) == ((NOW + 102, ten[2]),)
    assert await store.read(scripts.get_any(ten[0])) is None
    assert await store.read(scripts.events(ten[0])) == ()
    assert await store.read(scripts.expired(NOW + 99, 10)) == ()


async def test_what_expired_is_told_in_order_after_any_of_it(store: Store, ten: list[str]) -> None:
    for id in (ten[8], ten[5], ten[6]):  # two of them end at the same moment
        await store.write(scripts.cancel(id, "alice", NOW + 50 if id == ten[8] else NOW + 101))
    oldest, seen, after = NOW + 102, [], scripts.FIRST_ENDED
    while found := await store.read(scripts.expired(oldest, 2, after)):
        seen += [each.id for each in found]
        after = found[-1]

    assert seen == [ten[n] for n in (8, 0, 1, 5, 6, 2)]


async def test_the_unfinished_are_told_in_the_order_of_acceptance(
    store: Store, ten: list[str]
) -> None:
    first = await store.read(scripts.unfinished("", 3))
    rest = await store.read(scripts.unfinished(first[-1], 10))

    # Bob's is among them: a worker serves everybody.
    assert (*first, *rest) == tuple(sorted([*ten[4:], OTHER]))


async def test_tasks_are_counted_by_status(store: Store, ten: list[str]) -> None:
    counts = await store.read(scripts.count_by_status())

    assert counts == {"queued": 6, "running": 1, "succeeded": 3, "failed": 1}


# -------------------------------------------------------------------------------------- events


async def test_every_change_of_status_leaves_an_event(store: Store) -> None:
    await add(store, task())
    attempt = (await claim(store, now=NOW + 10)).attempt
    await store.write(scripts.log(ID, attempt, "half way", NOW + 20))
    await store.write(scripts.upload(ID, attempt, NOW + 30))
    await store.write(scripts.succeed(ID, attempt, (), NOW + 40))

    assert await store.read(scripts.events(ID)) == (
        EventRow(1, NOW, "queued", 0, ""),
        EventRow(2, NOW + 10, "running", 1, ""),
        EventRow(3, NOW + 20, "log", 1, "half way"),
        EventRow(4, NOW + 30, "uploading", 1, ""),
        EventRow(5, NOW + 40, "succeeded", 1, ""),
    )


async def test_each_change_has_the_next_revision_and_its_event_that_number(store: Store) -> None:
    await add(store, task())
    attempt = (await claim(store)).attempt
    revisions = [(await get(store)).revision]
    for change in (
        scripts.log(ID, attempt, "half way", NOW),
        scripts.progress(ID, attempt, 50, NOW),
        scripts.upload(ID, attempt, NOW),
        scripts.succeed(ID, attempt, (), NOW),
    ):
        await store.write(change)
        revisions.append((await get(store)).revision)

    assert revisions == [2, 3, 4, 5, 6]
    assert [row.number for row in await store.read(scripts.events(ID))] == [1, 2, 3, 5, 6]
    assert [row.what for row in await store.read(scripts.events(ID, 3))] == [
        "uploading",
        "succeeded",
    ]


async def test_a_line_and_a_cancel_that_meet_have_numbers_of_their_own(store: Store) -> None:
    await add(store, task())
    attempt = (await claim(store)).attempt
    await asyncio.gather(
        *(store.write(scripts.log(ID, attempt, str(n), NOW)) for n in range(10)),
        store.write(scripts.cancel(ID, "alice", NOW)),
        *(store.write(scripts.log(ID, attempt, str(n), NOW)) for n in range(10)),
    )

    rows = await store.read(scripts.events(ID))
    assert [row.number for row in rows] == list(range(1, len(rows) + 1))
    assert rows[-1].what == "canceled"  # what came after it was written by nobody
    assert (await get(store)).revision == len(rows)


async def test_whoever_listens_hears_of_each_change_and_of_no_line(store: Store) -> None:
    heard = await listen(store, CHANGED)
    await add(store, task())
    attempt = (await claim(store)).attempt
    await store.write(scripts.log(ID, attempt, "half way", NOW))
    await store.write(scripts.succeed(ID, attempt, (), NOW))
    await store.write(scripts.delete((ID,), "alice", None))

    await until(lambda: len(heard) >= 4)
    assert heard == [f"{ID} alice"] * 4


async def feed(store: Store, change: int = 0, id: str = "", limit: int = 100) -> list[Changed]:
    return list(await store.read(scripts.changes("alice", change, id, limit, 0)))


async def test_changes_are_told_in_their_order_and_each_task_once(store: Store) -> None:
    ids = [new_id(NOW + n, bytes(6)) for n in range(3)]
    for id in ids:
        await add(store, task(id))
    await add(store, task(OTHER, owner="bob"))
    assert [each.task.id for each in await feed(store)] == ids

    await claim(store, ids[0])
    after = await feed(store)
    assert [each.task.id for each in after] == [ids[1], ids[2], ids[0]]
    assert after[-1].task.status is Status.RUNNING
    assert [each.change for each in after] == sorted(each.change for each in after)
    assert await feed(store, after[1].change, after[1].task.id) == after[2:]
    assert [each.task.id for each in await feed(store, limit=2)] == [ids[1], ids[2]]


async def test_from_now_on_only_what_is_still_to_come_is_told(store: Store) -> None:
    assert await store.read(scripts.last_change("alice")) == (0, "g")
    await add(store, task())
    now = await store.read(scripts.last_change("alice"))
    assert await feed(store, *now) == []

    await claim(store)
    assert [each.task.id for each in await feed(store, *now)] == [ID]


async def test_progress_is_no_change_that_is_told(store: Store) -> None:
    await add(store, task())
    attempt = (await claim(store)).attempt
    last = (await feed(store))[-1]
    await store.write(scripts.progress(ID, attempt, 50, NOW))

    assert await feed(store, last.change, last.task.id) == []


def test_every_write_of_a_task_raises_its_revision() -> None:
    """What is remembered of it is told to nobody."""
    told = query_text().split("-- name: ")
    writes = [query for query in told if re.search(r"^update tasks", query, re.M)]
    assert len(writes) >= 9
    silent = [query.partition("(")[0] for query in writes if "revision = revision + 1" not in query]
    assert silent == ["remember"]


def test_every_write_of_a_status_says_its_transaction() -> None:
    told = query_text().split("-- name: ")
    writes = [query for query in told if re.search(r"^(update tasks\n)?set status =", query, re.M)]
    assert len(writes) >= 5
    assert all("change = txid_current()" in query for query in writes)


async def test_a_failure_and_a_cancel_leave_events_too(store: Store) -> None:
    await add(store, task(), task(OTHER))
    attempt = (await claim(store)).attempt

    await store.write(scripts.fail(ID, attempt, FAILURE, NOW + 40))
    await store.write(scripts.cancel(OTHER, "alice", NOW + 40))

    assert (await store.read(scripts.events(ID)))[-1].note == "provider_error"
    assert await events(store, OTHER) == [("queued", 0), ("canceled", 0)]


async def test_events_of_one_millisecond_keep_their_order(store: Store) -> None:
    await add(store, task())
    attempt = (await claim(store, now=NOW)).attempt
    lines = [f"line {n}" for n in range(12)]
    for line in lines:
        await store.write(scripts.log(ID, attempt, line, NOW))
    await store.write(scripts.upload(ID, attempt, NOW))
    await store.write(scripts.succeed(ID, attempt, (), NOW))

    told = await store.read(scripts.events(ID))

    assert [row.what for row in told if row.what != "log"] == [
        "queued",
        "running",
        "uploading",
        "succeeded",
    ]
    assert [row.note for row in told[2:-2]] == lines


async def test_what_no_database_keeps_as_text_is_survived(store: Store) -> None:
    given = task(prompt="a\0lighthouse")
    await add(store, given)
    attempt = (await claim(store)).attempt
    failure = msgspec.structs.replace(FAILURE, message="a\0b")

    await store.write(scripts.log(ID, attempt, "half\0 way \udcff", NOW))
    await store.write(scripts.fail(ID, attempt, failure, NOW))

    assert (await store.read(scripts.events(ID)))[2].note == "half\ufffd way ?"
    ended = await get(store)
    assert ended.submit.prompt == "a\0lighthouse"
    assert ended.failure == failure


async def test_a_key_whose_id_has_a_zero_byte_is_none(store: Store) -> None:
    await store.write(scripts.add_key("K1", "laptop", "lookup", "encrypted", NOW))

    assert await store.read(scripts.get_key("K1\0")) is None
    assert await store.read(scripts.get_key("\ud800K1")) is None


CHANGES: dict[str, tuple[Status, Callable[[int], AnyScript[Any]]]] = {
    "claim": (Status.QUEUED, lambda attempt: scripts.claim(ID, "w", NOW)),
    "upload": (Status.RUNNING, lambda attempt: scripts.upload(ID, attempt, NOW)),
    "succeed": (Status.UPLOADING, lambda attempt: scripts.succeed(ID, attempt, (), NOW)),
    "fail": (Status.RUNNING, lambda attempt: scripts.fail(ID, attempt, FAILURE, NOW)),
    "cancel": (Status.RUNNING, lambda attempt: scripts.cancel(ID, "alice", NOW)),
}


@pytest.mark.parametrize("name", CHANGES)
async def test_a_change_and_its_event_are_one_transaction(store: Store, name: str) -> None:
    at, change = CHANGES[name]
    await add(store, task())
    attempt = await bring_to(store, at)
    before, told = await get(store), await events(store)

    step = next(iter(change(attempt)))
    assert isinstance(step, Change)
    wrong = step._replace(event=step.event._replace(note=None))  # type: ignore[arg-type]

    def broken() -> Script[None]:
        yield wrong

    for script in (Single(wrong, bool), broken()):
        with pytest.raises(Exception, match=r"(?i)null"):
            await store.write(script)

    assert await get(store) == before
    assert await events(store) == told


# ---------------------------------------------------------------------------------------- keys


async def test_a_key_is_found_by_its_lookup_and_by_its_id(store: Store) -> None:
    await store.write(scripts.add_key("K1", "laptop", "lookup", "encrypted", NOW))

    assert await store.read(scripts.find_key("lookup")) == ("K1", "encrypted")
    assert await store.read(scripts.get_key("K1")) == ("K1", "encrypted")
    assert await store.read(scripts.find_key("encrypted")) is None
    assert await store.read(scripts.get_key("lookup")) is None


async def test_a_revoked_key_is_found_no_more_but_listed(store: Store) -> None:
    await store.write(scripts.add_key("K1", "laptop", "one", "1", NOW))
    await store.write(scripts.add_key("K2", "phone", "two", "2", NOW + 1))

    assert await store.write(scripts.revoke_key("K1", NOW + 5))

    assert not await store.write(scripts.revoke_key("K1", NOW + 6))
    assert not await store.write(scripts.revoke_key("K3", NOW + 6))
    assert await store.read(scripts.find_key("one")) is None
    assert await store.read(scripts.get_key("K1")) is None
    assert await store.read(scripts.find_key("two")) is not None
    assert await store.read(scripts.list_keys()) == (
        ("K1", "laptop", NOW, NOW + 5),
        ("K2", "phone", NOW + 1, None),
    )


async def test_a_lookup_belongs_to_one_key(store: Store) -> None:
    await store.write(scripts.add_key("K1", "laptop", "one", "1", NOW))

    with pytest.raises(Exception, match=r"(?i)unique|duplicate"):
        await store.write(scripts.add_key("K2", "phone", "one", "2", NOW))


async def test_of_many_first_keys_at_once_one_is_made(store: Store) -> None:
    made = await asyncio.gather(
        *(store.write(scripts.add_first_key(f"K{n}", "first", f"{n}", "", NOW)) for n in range(10))
    )

    assert sorted(made) == [False] * 9 + [True]
    assert [row.id for row in await store.read(scripts.list_keys())] == [f"K{made.index(True)}"]


async def test_a_first_key_is_made_once_for_ever(store: Store) -> None:
    assert await store.write(scripts.add_first_key("K1", "first", "one", "1", NOW))
    assert await store.write(scripts.revoke_key("K1", NOW + 1))

    assert not await store.write(scripts.add_first_key("K2", "first", "two", "2", NOW * 2))


async def test_a_first_key_is_not_made_beside_another(store: Store) -> None:
    await store.write(scripts.add_key("K1", "laptop", "one", "1", NOW))

    assert not await store.write(scripts.add_first_key("K2", "first", "two", "2", NOW))


# --------------------------------------------------------------------------------------- clocks


async def test_the_time_is_that_of_all_processes(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = time.time_ns
    monkeypatch.setattr("time.time_ns", lambda: right() + 86_400 * 10**9)

    ahead = await store.now() / 1e6 - right() / 1e9

    # Of one machine there is one clock, right or wrong; of several the database's is.
    assert abs(ahead - (0 if isinstance(store, PostgresStore) else 86_400)) < 5


# -------------------------------------------------------------------------------------- chores


async def test_a_chore_is_taken_when_it_is_due(store: Store) -> None:
    taken = [
        await store.write(scripts.claim_chore("sweep", NOW + after, 100))
        for after in (0, 1, 99, 100, 150, 200)
    ]

    assert taken == [True, False, False, True, False, True]
    assert await store.read(scripts.last_done("sweep")) == NOW + 200


async def test_a_chore_is_another_than_the_others(store: Store) -> None:
    assert await store.write(scripts.claim_chore("sweep", NOW, 100))
    assert await store.write(scripts.claim_chore("orphans", NOW + 1, 100))

    assert await store.read(scripts.last_done("sweep")) == NOW
    assert await store.read(scripts.last_done("recover")) == 0


async def test_a_chore_that_was_done_in_the_future_is_due(store: Store) -> None:
    """A process whose clock was a day ahead for a moment has not done the work of that day."""
    hour, day = 3_600_000, 86_400_000
    assert await store.write(scripts.claim_chore("sweep", NOW + day, hour))

    taken = [
        await store.write(scripts.claim_chore("sweep", NOW + after, hour))
        for after in (0, 1, hour - 1, hour)
    ]

    assert taken == [True, False, False, True]


async def test_a_chore_that_was_done_a_little_ahead_is_done(store: Store) -> None:
    assert await store.write(scripts.claim_chore("sweep", NOW + 90, 100))

    assert not await store.write(scripts.claim_chore("sweep", NOW, 100))


async def test_of_many_at_once_one_takes_a_chore(store: Store) -> None:
    for now in (NOW, NOW + 100):
        taken = await asyncio.gather(
            *(store.write(scripts.claim_chore("sweep", now, 100)) for _ in range(10))
        )

        assert sorted(taken) == [False] * 9 + [True]


# --------------------------------------------------------------------------------------- queue


async def jobs(store: PostgresStore) -> list[tuple[str, str, str]]:
    """What is in PgQueuer's queue: task, engine, status."""
    text = "select dedupe_key, entrypoint, status::text from pgqueuer order by id"
    return [(row[0], row[1], row[2]) for row in await store.database.fetch(text)]


async def test_a_task_and_its_job_are_one_transaction(on_postgres: PostgresStore) -> None:
    def half() -> Script[None]:
        yield from scripts.add(task(OTHER), "", engine="sketch")
        raise RuntimeError("in the middle")

    await on_postgres.write(scripts.add(task(), "", engine="sketch"))
    with pytest.raises(RuntimeError, match="in the middle"):
        await on_postgres.write(half())

    assert await jobs(on_postgres) == [(ID, "sketch", "queued")]


async def test_a_task_that_is_queued_is_not_queued_again(on_postgres: PostgresStore) -> None:
    await on_postgres.write(scripts.add(task(), "", engine="sketch"))

    await asyncio.gather(
        *(on_postgres.write(scripts.enqueue(ID, engine)) for engine in ("sketch", "enhance") * 5)
    )

    assert await jobs(on_postgres) == [(ID, "sketch", "queued")]


async def test_many_at_once_with_one_token_have_one_job(on_postgres: PostgresStore) -> None:
    asked = [task(new_id(NOW, bytes(5) + bytes([n])), token="t") for n in range(20)]

    accepted = await asyncio.gather(
        *(on_postgres.write(scripts.add(one, "digest", engine="sketch")) for one in asked)
    )

    assert await jobs(on_postgres) == [(accepted[0].task.id, "sketch", "queued")]


# ----------------------------------------------------------------------------------------- uploads

FILE = UploadRow(ID, "alice", "sea.png", "pictures", 100_000, None, NOW)


def files(count: int) -> list[UploadRow]:
    return [FILE._replace(id=new_id(NOW + n, bytes(6)), created=NOW + n) for n in range(count)]


async def test_a_file_is_noted_and_received_once(store: Store) -> None:
    assert await store.write(scripts.add_upload(FILE, 0, 200_000))
    assert await store.read(scripts.get_upload(ID)) == FILE

    assert await store.write(scripts.resize_upload(FILE, 70_000, 0, 200_000))
    assert await store.write(
        scripts.receive_upload(ID, "uploads/x/1", 70_000, "image/png", NOW + 5)
    )
    assert not await store.write(
        scripts.receive_upload(ID, "uploads/x/2", 9, "image/webp", NOW + 6)
    )
    assert not await store.write(scripts.resize_upload(FILE, 80_000, 0, 200_000))

    kept = FILE._replace(size=70_000, media_type="image/png", received=NOW + 5, blob="uploads/x/1")
    assert await store.read(scripts.get_upload(ID)) == kept
    await store.write(scripts.remove_upload(ID))
    assert await store.read(scripts.get_upload(ID)) is None


async def test_an_owner_s_files_have_a_quota_of_their_own(store: Store) -> None:
    first, second, third = files(3)
    assert await store.write(scripts.add_upload(first, 0, 200_000))
    assert await store.write(scripts.add_upload(second._replace(size=1), 0, 200_000))
    assert not await store.write(scripts.add_upload(third._replace(size=1), 0, 200_000))
    assert not await store.write(
        scripts.resize_upload(second._replace(size=1), 100_001, 0, 200_000)
    )

    assert await store.write(scripts.add_upload(third._replace(owner="bob"), 0, 200_000))
    # What is kept no longer counts no more.
    fourth = third._replace(id=THIRD)
    assert await store.write(scripts.add_upload(fourth, first.created, 200_000))


async def test_those_who_add_at_once_do_not_pass_the_quota_together(
    open_stores: OpenStores,
) -> None:
    stores = [await open_stores() for _ in range(2)]
    await stores[0].write(scripts.add_key("alice", "alice", "lookup", "secret", NOW))
    added = await asyncio.gather(
        *(
            stores[n % 2].write(scripts.add_upload(row, 0, 350_000))
            for n, row in enumerate(files(12))
        )
    )

    assert added.count(True) == 3


async def test_old_files_are_found_a_part_at_a_time(store: Store) -> None:
    rows = files(5)
    for row in rows:
        await store.write(scripts.add_upload(row, 0, 10**9))

    found = await store.read(scripts.old_uploads(NOW + 3, 3))
    assert [each.id for each in found] == [row.id for row in rows[:3]]
    rest = await store.read(scripts.old_uploads(NOW + 3, 3, found[-1]))
    assert [each.id for each in rest] == [rows[3].id]
