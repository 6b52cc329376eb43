"""What every store does about webhooks: what is to be told is written with the change."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from doubles import ID, NOW, OpenStores, task
from safelight.store import Store, hooks, scripts
from safelight.store.hooks import CallbackRow, DeliveryRow, Due, Taken, TooMany, Try
from safelight.store.scripts import DELIVERY
from safelight.task import Artifact, Callback, Failure, FailureCode, Submit, Task, new_id

OTHER = new_id(NOW + 1, b"\x00\x00\x00\x00\x00\x02")
ARTIFACT = Artifact(blob="tasks/x/1-0.png", media_type="image/png", size=9)
FAILURE = Failure(code=FailureCode.PROVIDER_ERROR, message="no", provider_code="E7")
CALLBACK = CallbackRow("https://a.example:443", "https://a.example/x", "task.ended", "sealed", "f")


@pytest.fixture
async def store(open_stores: OpenStores) -> Store:
    return await open_stores()


async def endpoint(
    store: Store, id: str = "ep_1", events: str = "task.ended", owner: str = "alice"
) -> None:
    await store.write(hooks.add_endpoint(id, owner, f"https://{id}/", events, "", "secret", NOW))


async def finish(store: Store, id: str = ID, now: int = NOW + 30) -> None:
    claimed = await store.write(scripts.claim(id, "w", NOW + 10))
    assert claimed is not None
    await store.write(scripts.upload(id, claimed.attempt, NOW + 20))
    await store.write(scripts.succeed(id, claimed.attempt, (ARTIFACT,), now))


async def due(store: Store, id: str = "ep_1", now: int = NOW + 1000) -> tuple[Due, ...]:
    return await store.read(hooks.due(id, now, 100))


async def told(store: Store, id: str = "ep_1") -> list[str]:
    return [each.type for each in await due(store, id)]


async def listed(store: Store, owner: str = "alice") -> tuple[DeliveryRow, ...]:
    return await store.read(hooks.list_deliveries(owner, None, None, None, None, 100))


async def add(store: Store, *tasks: Task) -> None:
    for each in tasks:
        await store.write(scripts.add(each, ""))


def tried(delivery: str, number: int = 1, state: str = "delivered", **more: int) -> Try:
    return Try(
        delivery=delivery,
        number=number,
        step=more.get("step", 0),
        at=NOW + 100,
        millis=5,
        status=200,
        problem=None,
        answer="ok",
        state=state,
        next=more.get("next", 0),
    )


# ------------------------------------------------------------------ what is to be told, and to whom


async def test_nothing_is_told_where_nobody_asks(store: Store) -> None:
    await endpoint(store, owner="bob")
    await add(store, task())
    await finish(store)

    assert await listed(store) == await listed(store, "bob") == ()


async def test_an_end_is_told_as_it_was_then(store: Store) -> None:
    await endpoint(store)
    await add(store, task())
    await finish(store)

    (each,) = await due(store)
    assert each.id == f"msg_{ID}_4_ep_1"
    assert (each.type, each.created, each.body, each.over) == (
        "task.succeeded",
        NOW + 30,
        None,
        True,
    )
    found = await store.read(scripts.get_any(ID))
    assert each.task == found


async def test_each_change_is_told_to_who_asks_for_it(store: Store) -> None:
    every = "task.queued task.running task.uploading task.succeeded task.failed task.canceled"
    await endpoint(store, "ep_1", every)
    await endpoint(store, "ep_2", "task.failed task.ended")
    await add(store, task(), task(OTHER))
    await finish(store)
    await store.write(scripts.cancel(OTHER, "alice", NOW + 40))

    # By the times of the changes.
    assert await told(store, "ep_1") == [
        *("task.queued", "task.queued", "task.running"),
        *("task.uploading", "task.succeeded", "task.canceled"),
    ]
    assert await told(store, "ep_2") == ["task.succeeded", "task.canceled"]


async def test_what_changes_later_does_not_change_what_is_told(store: Store) -> None:
    await endpoint(store, events="task.running")
    await add(store, task())
    await finish(store)

    (each,) = await due(store)
    assert each.task is not None
    assert (each.task.status, each.task.revision, each.task.artifacts) == ("running", 2, ())
    assert (each.task.finished, each.task.updated, each.over) == (None, NOW + 10, True)


async def test_a_task_that_waits_elsewhere_is_told_to_be_queued_once(store: Store) -> None:
    await endpoint(store, events="task.queued task.running task.failed")
    await add(store, task())
    claimed = await store.write(scripts.claim(ID, "w", NOW + 10, waits=True))
    assert claimed is not None
    await store.write(scripts.log(ID, claimed.attempt, "a line is no change", NOW + 11))
    await store.write(scripts.start(ID, claimed.attempt, NOW + 12))
    await store.write(scripts.fail(ID, claimed.attempt, FAILURE, NOW + 13))

    assert await told(store) == ["task.queued", "task.running", "task.failed"]
    assert (await due(store))[-1].task == await store.read(scripts.get_any(ID))


async def test_an_endpoint_that_is_off_is_told_nothing(store: Store) -> None:
    await endpoint(store)
    await store.write(hooks.disable("ep_1", "gone", NOW, ("endpoint.disabled", "{}"), "x"))
    await add(store, task())
    await finish(store)

    assert await listed(store) == ()


async def test_what_is_to_be_told_is_gone_with_its_task(store: Store) -> None:
    await endpoint(store)
    await add(store, task())
    await finish(store)
    (each,) = await due(store)
    await store.write(hooks.note_success(tried(each.id, state="pending"), "ep_1", 0))
    await store.write(scripts.delete((ID,), "alice", None))

    assert await listed(store) == ()
    assert await store.read(hooks.tries(each.id)) == ()


async def test_every_process_is_woken(open_stores: OpenStores) -> None:
    stores = [await open_stores(), await open_stores()]
    heard: list[str] = []
    both = asyncio.Event()

    def hear(id: str) -> None:
        heard.append(id)
        both.set()

    for each in stores:
        each.listen(DELIVERY, hear)
    await endpoint(stores[0])
    await add(stores[0], task())
    assert heard == []
    await finish(stores[0])

    async with asyncio.timeout(5):
        await both.wait()
    assert set(heard) == {"ep_1"}


async def test_progress_is_told_to_who_asks_for_it_and_the_newest_alone(store: Store) -> None:
    await endpoint(store, "ep_1", "task.progress task.ended")
    await endpoint(store, "ep_2")
    await add(store, task())
    claimed = await store.write(scripts.claim(ID, "w", NOW + 10))
    assert claimed is not None
    for percent in (10, 20, 30):
        await store.write(scripts.progress(ID, claimed.attempt, percent, NOW + percent))

    (each,) = await due(store)
    assert each.type == "task.progress" and each.task is not None
    assert (each.task.progress, each.task.revision, each.over) == (30, 5, False)
    assert await told(store, "ep_2") == []


# --------------------------------------------------------------------------- a task's own address


async def add_with(store: Store, each: Task, callback: CallbackRow = CALLBACK) -> None:
    also = hooks.add_callback(each.id, each.owner, callback, f"ep_of_{each.id}", NOW)
    await store.write(scripts.add(each, "", also=also))


async def test_a_task_is_told_to_its_own_address(store: Store) -> None:
    await add_with(store, task())
    await add_with(store, task(OTHER), CALLBACK._replace(url="https://a.example/y"))
    await finish(store)
    await finish(store, OTHER)

    told_to = await due(store, f"ep_of_{ID}")
    assert [(each.url, each.secret, each.format) for each in told_to] == [
        ("https://a.example/x", "sealed", "f"),
        ("https://a.example/y", "sealed", "f"),
    ]
    assert await store.read(hooks.list_endpoints("alice")) == ()
    assert await store.read(hooks.get_endpoint(f"ep_of_{ID}", "alice")) is None


async def test_also_that_it_was_accepted(store: Store) -> None:
    await add_with(store, task(), CALLBACK._replace(events="task.queued task.progress"))

    assert await told(store, f"ep_of_{ID}") == ["task.queued"]


async def test_a_repeated_submission_has_one_address(store: Store) -> None:
    submit = msgspec.structs.replace(task().submit, idempotency_key="once")
    first = msgspec.structs.replace(task(), submit=submit)
    again = msgspec.structs.replace(task(OTHER), submit=submit)
    await add_with(store, first)
    await add_with(store, again)
    await finish(store)

    assert len(await listed(store)) == 1


async def test_a_secret_is_no_part_of_a_task(store: Store) -> None:
    submit = Submit(prompt="x", callback=Callback(url="https://a.example/x", secret="whsec_abc"))
    await add_with(store, msgspec.structs.replace(task(), submit=submit))

    found = await store.read(scripts.get_any(ID))
    assert found is not None
    assert found.submit.callback == Callback(url="https://a.example/x")


async def test_a_caller_names_so_many_hosts_and_no_more(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "MOST_ORIGINS", 2)
    ids = [new_id(NOW, bytes([0, 0, 0, 0, 1, number])) for number in range(4)]
    for number in (0, 1):
        await add_with(store, task(ids[number]), CALLBACK._replace(origin=f"http://{number}:80"))
    with pytest.raises(TooMany):
        await add_with(store, task(ids[2]), CALLBACK._replace(origin="http://2:80"))
    await add_with(store, task(ids[3]), CALLBACK._replace(origin="http://1:80"))

    assert await store.read(scripts.get_any(ids[2])) is None
    assert await store.read(scripts.get_any(ids[3])) is not None


async def test_a_host_is_forgotten_once_no_task_names_it(store: Store) -> None:
    await add_with(store, task())
    await finish(store)
    await store.write(hooks.sweep(0, NOW + 1))
    assert len(await due(store, f"ep_of_{ID}")) == 1
    assert await store.write(hooks.take(f"ep_of_{ID}", "p", NOW, NOW + 1)) is not None

    await store.write(scripts.remove((ID,)))
    await store.write(hooks.sweep(0, NOW))
    assert await store.write(hooks.take(f"ep_of_{ID}", "p", NOW + 2, NOW + 3)) is not None
    await store.write(hooks.sweep(0, NOW + 1))
    assert await store.write(hooks.take(f"ep_of_{ID}", "p", NOW + 4, NOW + 5)) is None


# ---------------------------------------------------------------------------------------- sending


async def take(store: Store, now: int = NOW + 1000, holder: str = "p") -> Taken | None:
    return await store.write(hooks.take("ep_1", holder, now, now + 60))


async def test_one_process_sends_to_an_endpoint(store: Store) -> None:
    await endpoint(store)
    assert await take(store, NOW) is not None
    assert await take(store, NOW + 59, "q") is None
    assert await store.write(hooks.keep("ep_1", "p", NOW + 100))
    assert not await store.write(hooks.keep("ep_1", "q", NOW + 100))
    assert await take(store, NOW + 60, "q") is None
    await store.write(hooks.leave("ep_1", "q"))
    assert await take(store, NOW + 61, "q") is None
    await store.write(hooks.leave("ep_1", "p"))
    assert await take(store, NOW + 62, "q") is not None


async def test_who_waits_is_known_and_when_that_is_due(store: Store) -> None:
    for name in ("ep_1", "ep_2", "ep_3"):
        await endpoint(store, name)
    await add(store, task())
    await finish(store)
    await store.write(hooks.take("ep_3", "p", NOW, NOW + 500))
    first = (await due(store))[0]
    later = tried(first.id, state="pending", next=NOW + 300)
    since = await store.write(hooks.note_failure(later, "ep_1", 1, NOW + 200, NOW + 100))
    assert since == NOW + 100

    waiting = await store.read(hooks.waiting(10))
    assert [each[:3] for each in waiting] == [
        ("ep_2", "alice", 0),
        ("ep_1", "alice", NOW + 300),
        ("ep_3", "alice", NOW + 500),
    ]
    # Before that time nobody takes it.
    assert await take(store, NOW + 199) is None
    assert await take(store, NOW + 200) is not None


async def test_a_try_is_written_down_once(store: Store) -> None:
    await endpoint(store)
    await add(store, task())
    await finish(store)
    (each,) = await due(store)
    assert await store.write(hooks.note(tried(each.id)))
    assert not await store.write(hooks.note(tried(each.id)))

    assert await due(store) == ()
    found = await store.read(hooks.get_delivery(each.id, "alice"))
    assert found is not None
    assert (found.state, found.tries, found.ended) == ("delivered", 1, NOW + 105)
    assert [row.answer for row in await store.read(hooks.tries(each.id))] == ["ok"]
    assert await store.read(hooks.get_delivery(each.id, "bob")) is None


async def test_failures_at_the_same_time_are_one(store: Store) -> None:
    await endpoint(store)
    await add(store, task(), task(OTHER))
    await finish(store)
    await finish(store, OTHER)
    for each in await due(store):
        failed = tried(each.id, state="pending", step=1, next=NOW + 300)
        await store.write(hooks.note_failure(failed, "ep_1", 1, NOW + 200, NOW + 100))

    taken = await take(store)
    assert taken is not None and (taken.failures, taken.failing_since) == (1, NOW + 100)
    await store.write(hooks.note_success(tried("none"), "ep_1", 1))
    await store.write(hooks.leave("ep_1", "p"))
    taken = await take(store)
    assert taken is not None and (taken.failures, taken.failing_since) == (0, None)


async def test_an_endpoint_is_turned_off_and_the_others_are_told(store: Store) -> None:
    for name in ("ep_1", "ep_2"):
        await endpoint(store, name)
    await endpoint(store, "ep_3", owner="bob")
    await add(store, task())
    await finish(store)
    said = ("endpoint.disabled", '{"a": 1}')
    assert await store.write(hooks.disable("ep_1", "it is gone", NOW + 50, said, "s")) == 1
    assert await store.write(hooks.disable("ep_1", "it is gone", NOW + 50, said, "s")) is None

    found = await store.read(hooks.get_endpoint("ep_1", "alice"))
    assert found is not None and (found.state, found.reason) == ("off", "it is gone")
    assert [(each.id, each.body) for each in await due(store, "ep_2")][1:] == [
        ("msg_s_ep_2", '{"a": 1}')
    ]
    assert await due(store, "ep_1") == await due(store, "ep_3") == ()
    assert await store.read(hooks.counts()) == (2, 1, NOW + 30)
    # What was not sent then may be had once it is on again.
    assert await store.write(hooks.enable_endpoint("ep_1", "alice")) is not None
    assert await store.write(hooks.recover("ep_1", "alice", NOW + 31)) == 0
    assert await store.write(hooks.recover("ep_1", "alice", NOW + 30)) == 1
    assert await told(store) == ["task.succeeded"]


async def test_what_was_delivered_may_be_had_again(store: Store) -> None:
    await endpoint(store)
    await add(store, task())
    await finish(store)
    (each,) = await due(store)
    await store.write(hooks.note(tried(each.id)))
    assert await store.write(hooks.redeliver(each.id, "bob")) is None
    again = await store.write(hooks.redeliver(each.id, "alice"))

    assert again is not None and (again.state, again.tries) == ("pending", 1)
    assert await store.write(hooks.note(tried(each.id, 2)))
    assert [row.number for row in await store.read(hooks.tries(each.id))] == [1, 2]


async def test_endpoints_are_their_owners(store: Store) -> None:
    await endpoint(store)
    assert await store.read(hooks.get_endpoint("ep_1", "bob")) is None
    assert await store.write(hooks.change_endpoint("ep_1", "bob", "x", None, None)) is None
    assert await store.write(hooks.rotate_endpoint("ep_1", "bob", "x", 1)) is None
    assert await store.write(hooks.enable_endpoint("ep_1", "bob")) is None
    assert await store.write(hooks.add_message("m", "ep_1", "bob", "t", "{}", NOW)) is None
    assert not await store.write(hooks.remove_endpoint("ep_1", "bob"))

    changed = await store.write(hooks.change_endpoint("ep_1", "alice", None, "task.failed", "d"))
    assert changed is not None
    assert (changed.url, changed.events, changed.description) == (
        "https://ep_1/",
        "task.failed",
        "d",
    )
    rotated = await store.write(hooks.rotate_endpoint("ep_1", "alice", "new", NOW + 9))
    assert rotated is not None
    assert (rotated.secret, rotated.old_secret, rotated.old_until) == ("new", "secret", NOW + 9)


async def test_a_removed_endpoint_takes_what_was_told_to_it(store: Store) -> None:
    await endpoint(store)
    await add(store, task())
    await finish(store)
    assert await store.write(hooks.remove_endpoint("ep_1", "alice"))

    assert await listed(store) == ()
    assert await store.read(hooks.waiting(10)) == ()


async def test_a_caller_makes_so_many_endpoints_and_no_more(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "MOST_ENDPOINTS", 1)
    await endpoint(store)
    with pytest.raises(TooMany):
        await endpoint(store, "ep_2")
    await endpoint(store, "ep_3", owner="bob")


async def test_what_is_old_is_swept(store: Store) -> None:
    await endpoint(store)
    await add(store, task())
    await finish(store)
    assert await store.write(hooks.sweep(NOW + 30, 0)) == 0
    assert await store.write(hooks.sweep(NOW + 31, 0)) == 1

    assert await listed(store) == ()


async def test_deliveries_are_listed_a_page_at_a_time(store: Store) -> None:
    await endpoint(store)
    ids = [new_id(NOW, bytes([0, 0, 0, 0, 1, number])) for number in range(5)]
    for id in ids:
        await add(store, task(id))
        await finish(store, id)
    first = await store.read(hooks.list_deliveries("alice", "ep_1", "pending", None, None, 3))
    last = first[-1]
    rest = await store.read(
        hooks.list_deliveries("alice", None, None, None, (last.created, last.id), 3)
    )

    assert [each.task_id for each in (*first, *rest)] == ids[::-1]
    of_one = await store.read(hooks.list_deliveries("alice", None, None, ids[2], None, 3))
    assert [each.task_id for each in of_one] == [ids[2]]
    assert await store.read(hooks.list_deliveries("alice", None, "failed", None, None, 3)) == ()
