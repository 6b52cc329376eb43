"""The service: what it accepts, what it keeps of it, and whom it answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
import pytest

from doubles import NOW, Player, models_of, picture, task, upload
from safelight.blob_names import task_folder
from safelight.blobs import Blobs
from safelight.config import ModelRule
from safelight.engines import Traits
from safelight.errors import Conflict, Fault, InvalidValue, NotFound, UnknownModel, Unsupported
from safelight.fetching import Fetcher
from safelight.inspection import Inspector
from safelight.links import Links, Target
from safelight.queue.memory import MemoryQueue
from safelight.secrets import Vault
from safelight.service import Service
from safelight.store import StoreClosed, scripts
from safelight.store.sqlite import SQLiteStore, connect
from safelight.task import (
    Cancel,
    Catalogue,
    Delete,
    Deleted,
    Fetch,
    Kind,
    List,
    Models,
    Page,
    Role,
    Source,
    Status,
    Submit,
    Task,
    new_id,
)
from safelight.uploads import Uploads

RETENTION, UPLOADS_KEPT = 1000, 500
MOST_BYTES, MOST_PIXELS, MOST_TEXT = 2000, 10_000, 4000


@dataclass
class Bench:
    """A service and what it works with."""

    store: SQLiteStore
    folder: Path
    queue: MemoryQueue
    links: Links
    service: Service
    engine: Player
    stopped: list[str]
    now: list[int] = field(default_factory=lambda: [NOW])

    async def submit(self, who: str = "alice", dialect: str = "tensorslab", **words: Any) -> Task:
        return await self.service.submit(who, dialect, Submit(model="still", **words))

    async def end(self, task: Task, at: int = NOW) -> None:
        claimed = await self.store.write(scripts.claim(task.id, "w", at))
        assert claimed is not None
        await self.store.write(scripts.upload(task.id, claimed.attempt, at))
        assert await self.store.write(scripts.succeed(task.id, claimed.attempt, (), at))

    def files(self) -> list[str]:
        found = (path for path in self.folder.rglob("*") if path.is_file())
        return sorted(path.relative_to(self.folder).as_posix() for path in found)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    queue, links, now = MemoryQueue(), Links(Vault(b"secret")), [NOW]
    store, folder = SQLiteStore.open(tmp_path / "db", queue.put), tmp_path / "files"
    engine, stopped, inspector = Player(), list[str](), Inspector(MOST_PIXELS)
    store.listen(scripts.ENDED, stopped.append)
    blobs, fetcher, clock = Blobs.local(folder), Fetcher(MOST_BYTES, 1), lambda: now[0]
    uploads = Uploads(
        store,
        blobs,
        links,
        fetcher,
        inspector,
        kept=UPLOADS_KEPT,
        quota=MOST_BYTES,
        most=MOST_BYTES,
        clock=clock,
    )
    service = Service(
        store,
        blobs,
        models_of(engine, ModelRule(name="still", engine="sketch", options={"a": 1})),
        fetcher,
        inspector,
        links,
        uploads,
        retention=RETENTION,
        max_source=MOST_BYTES,
        max_text=MOST_TEXT,
        clock=clock,
    )
    yield Bench(store, folder, queue, links, service, engine, stopped, now)
    inspector.close()
    await store.close()


# -------------------------------------------------------------------------------------- submit


async def test_what_nobody_passes_on_is_refused_by_its_name(bench: Bench) -> None:
    with pytest.raises(Unsupported, match=r"ExtraParameters\.LogoAdd") as told:
        await bench.submit(demands={"ExtraParameters.LogoAdd": 1})

    assert told.value.parameter == "ExtraParameters.LogoAdd"


async def test_an_engine_that_passes_demands_on_is_given_them(bench: Bench) -> None:
    bench.engine.traits = Traits(passes_on=True)

    task = await bench.submit(demands={"ExtraParameters.LogoAdd": 1})

    kept = await bench.store.read(scripts.get_any(task.id))
    assert kept is not None
    assert kept.submit.demands == {"ExtraParameters.LogoAdd": 1}


async def test_a_task_is_stored_and_queued_when_it_is_answered(bench: Bench) -> None:
    task = await bench.submit(prompt="a lighthouse", seed=5)

    assert (task.status, task.owner, task.dialect) == (Status.QUEUED, "alice", "tensorslab")
    assert (task.seed, task.created) == (5, NOW)
    assert await bench.service.fetch("alice", Fetch(id=task.id)) == task
    assert bench.queue.holds(task.id)


async def test_a_seed_is_drawn_where_none_is_given(bench: Bench) -> None:
    seeds = {(await bench.submit()).seed for _ in range(5)}

    assert len(seeds) > 1
    assert all(seed is not None and 0 <= seed < 2**31 for seed in seeds)


async def test_a_model_that_is_none_is_refused(bench: Bench) -> None:
    with pytest.raises(UnknownModel):
        await bench.service.submit("alice", "tensorslab", Submit(model="nobody's"))


async def test_what_the_engine_refuses_is_not_accepted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def refuse(submit: Submit, options: Any) -> None:
        asked.append(options)
        raise Unsupported("no such thing", parameter="count")

    monkeypatch.setattr(bench.engine, "check", refuse)

    with pytest.raises(Unsupported):
        await bench.submit(sources=(upload(picture()),))

    assert asked == [{"a": 1}]
    assert bench.files() == []
    assert (await bench.service.list("alice", List())).total == 0


# ------------------------------------------------------------------------------------- sources


async def test_an_upload_is_kept_under_the_tasks_name(bench: Bench) -> None:
    link = Source(url="http://8.8.8.8/a.png")
    data = picture(format="JPEG")

    task = await bench.submit(sources=(link, upload(data, Role.MASK)))

    name = f"{task_folder(task.id)}source-1"
    assert bench.files() == [name]
    assert (bench.folder / name).read_bytes() == data
    assert task.submit.sources == (
        link,
        Source(role=Role.MASK, blob=name, media_type="image/jpeg"),
    )
    stored = await bench.service.fetch("alice", Fetch(id=task.id))
    assert stored.submit.sources == task.submit.sources


REFUSED = [
    (upload(b"no picture"), "sources.0: not a picture"),
    (upload(picture(200, 51)), "sources.0: 200x51"),
    (upload(b"x" * (MOST_BYTES + 1), Role.VIDEO), "larger than 2000 bytes"),
    (Source(url="http://127.0.0.1/"), "private"),
    (Source(url="http://169.254.169.254/files/x"), "private"),
    (Source(url="file:///etc/passwd"), "http"),
]


@pytest.mark.parametrize(("source", "said"), REFUSED)
async def test_a_source_that_cannot_be_is_refused_at_once(
    bench: Bench, source: Source, said: str
) -> None:
    with pytest.raises(InvalidValue, match=said) as told:
        await bench.submit(sources=(source, upload(picture())))

    assert told.value.parameter == "sources.0"
    assert bench.files() == []


async def test_sounds_and_films_are_not_taken_for_pictures(bench: Bench) -> None:
    await bench.submit(sources=(upload(b"ID3", Role.AUDIO), upload(b"film", Role.VIDEO)))


async def test_too_many_sources_are_refused(bench: Bench) -> None:
    with pytest.raises(InvalidValue, match="16"):
        await bench.submit(sources=(upload(picture()),) * 17)


async def test_a_link_of_ours_needs_no_check(bench: Bench) -> None:
    task = await bench.submit()
    url = bench.links.write("http://127.0.0.1:8000", Target(task.id, "a", 0), "image/png")

    await bench.submit(sources=(Source(url=url),))


@pytest.mark.parametrize("problem", ["store", "second blob"])
async def test_nothing_is_kept_of_what_was_not_accepted(
    bench: Bench, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = (upload(picture()), upload(picture()))
    if problem == "store":
        await bench.store.close()
        with pytest.raises(StoreClosed):
            await bench.submit(sources=sources)
    else:
        put = Blobs.put

        async def full(self: Blobs, name: str, data: bytes | Path, *more: Any) -> None:
            if name.endswith("source-1"):
                raise OSError("No space left on device")
            await put(self, name, data, *more)

        monkeypatch.setattr(Blobs, "put", full)
        with pytest.raises(OSError, match="space"):
            await bench.submit(sources=sources)

    assert bench.files() == []


# --------------------------------------------------------------------------------- idempotency


async def test_the_same_token_and_request_is_the_same_task(bench: Bench) -> None:
    sources = (upload(picture()),)
    first = await bench.submit(prompt="a", idempotency_key="t", sources=sources)

    again = await bench.submit(prompt="a", idempotency_key="t", sources=sources)

    assert again.id == first.id
    assert bench.files() == [f"{task_folder(first.id)}source-0"]
    assert (await bench.service.list("alice", List())).total == 1


@pytest.mark.parametrize(
    "other",
    [
        {"prompt": "b"},
        {"seed": 3},
        {"extra": {"category": "x"}},
        {"sources": (upload(picture(9, 9)),)},
        {"sources": ()},
        {"dialect": "kie"},
    ],
)
async def test_the_same_token_with_another_request_is_a_conflict(
    bench: Bench, other: dict[str, Any]
) -> None:
    asked: dict[str, Any] = {
        "prompt": "a",
        "idempotency_key": "t",
        "sources": (upload(picture()),),
    }
    first = await bench.submit(**asked)

    with pytest.raises(Conflict):
        await bench.submit(**{**asked, **other})

    assert bench.files() == [f"{task_folder(first.id)}source-0"]


async def test_a_repeat_is_looked_up_before_anything_is_judged(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was accepted stays so, whatever has become of its model and its source since."""
    asked: dict[str, Any] = {
        "prompt": "a",
        "idempotency_key": "t",
        "sources": (Source(url="http://93.184.216.34/a.png"),),
    }
    first = await bench.submit(**asked)

    def refuse(*_: object) -> None:
        raise Unsupported("not any more")

    async def gone(*_: object) -> None:
        raise InvalidValue("the address leads inside by now")

    monkeypatch.setattr(bench.engine, "check", refuse)
    monkeypatch.setattr(Fetcher, "check", gone)

    assert (await bench.submit(**asked)).id == first.id
    with pytest.raises(Conflict):
        await bench.submit(**{**asked, "prompt": "b"})
    with pytest.raises(Unsupported):
        await bench.submit(**{**asked, "idempotency_key": "u"})


async def test_a_repeat_of_what_is_forgotten_is_a_new_task(bench: Bench) -> None:
    first = await bench.submit(prompt="a", idempotency_key="t")
    await bench.end(first)
    bench.now[0] = NOW + RETENTION

    again = await bench.submit(prompt="b", idempotency_key="t")

    assert again.id != first.id


LONG = "x" * MOST_TEXT


@pytest.mark.parametrize(
    ("words", "parameter"),
    [
        ({"prompt": LONG}, "prompt"),
        ({"prompt": "a", "negative": LONG}, "negative"),
        ({"prompt": "a" * 9, "extra": {"input": {"style": LONG}}}, "extra"),
        ({"prompt": LONG, "extra": {"body": {"prompt": LONG}}}, "prompt"),
        ({"sources": (Source(url=f"http://93.184.216.34/{LONG}"),)}, "sources.0"),
        ({"sources": (upload(picture()), Source(data=picture(), name=LONG))}, "sources.1"),
        ({"idempotency_key": LONG}, "idempotency_key"),
    ],
)
async def test_what_is_asked_with_too_much_is_refused_by_its_parameter(
    bench: Bench, words: dict[str, Any], parameter: str
) -> None:
    with pytest.raises(InvalidValue, match=f"{parameter}: .* at most {MOST_TEXT} bytes") as told:
        await bench.submit(**words)

    assert told.value.parameter == parameter
    assert bench.files() == []


async def test_files_are_no_text(bench: Bench) -> None:
    await bench.submit(prompt="a" * (MOST_TEXT - 500), sources=(upload(picture(90, 90)),))


async def test_a_list_of_long_texts_is_refused_by_its_limit(bench: Bench) -> None:
    for number in range(70):
        long = task(new_id(NOW + number, bytes(6)), prompt="x" * 250_000)
        await bench.store.write(scripts.add(long, ""))

    with pytest.raises(InvalidValue, match=r"limit: .* ask for fewer") as told:
        await bench.service.list("alice", List(limit=70))

    assert told.value.parameter == "limit"
    assert len((await bench.service.list("alice", List(limit=60))).tasks) == 60


async def test_a_token_is_its_owners(bench: Bench) -> None:
    first = await bench.submit(idempotency_key="t")

    assert (await bench.submit("bob", prompt="else", idempotency_key="t")).id != first.id


async def test_many_at_once_with_one_token_are_one_task(bench: Bench) -> None:
    asked: dict[str, Any] = {"idempotency_key": "t", "sources": (upload(picture()),)}

    tasks = await asyncio.gather(*(bench.submit(**asked) for _ in range(8)))

    assert len({task.id for task in tasks}) == 1
    assert bench.files() == [f"{task_folder(tasks[0].id)}source-0"]


# ------------------------------------------------------------------------- fetch, cancel, delete


async def faults(bench: Bench, who: str, id: str, kind: Kind | None = None) -> list[Fault]:
    """What fetching and cancelling say."""
    told = []
    for command in (Fetch(id=id, kind=kind), Cancel(id=id, kind=kind)):
        with pytest.raises(Fault) as fault:
            await bench.service.carry_out(who, "tensorslab", command)
        told.append(fault.value)
    return told


async def test_what_is_not_there_is_not_found_whatever_the_reason(bench: Bench) -> None:
    task, expired = await bench.submit(), await bench.submit()
    await bench.end(expired, at=NOW - RETENTION)

    told = [
        *await faults(bench, "alice", "0" * 24),
        *await faults(bench, "alice", "no id at all"),
        *await faults(bench, "alice", ""),
        *await faults(bench, "alice", expired.id),
        *await faults(bench, "alice", task.id, Kind.VIDEO),
        *await faults(bench, "bob", task.id),
    ]

    assert {(type(fault), fault.message) for fault in told} == {(NotFound, NotFound.default())}
    assert (await bench.service.fetch("alice", Fetch(id=task.id))).status is Status.QUEUED


async def test_a_task_is_kept_for_just_as_long(bench: Bench) -> None:
    task = await bench.submit()
    await bench.end(task)

    bench.now[0] = NOW + RETENTION - 1
    await bench.service.fetch("alice", Fetch(id=task.id))
    bench.now[0] = NOW + RETENTION
    with pytest.raises(NotFound):
        await bench.service.fetch("alice", Fetch(id=task.id))


async def test_an_id_may_be_decorated(bench: Bench) -> None:
    task = await bench.submit()

    for id in (f"2600-WorkflowTask-{task.id}", task.id.upper()):
        assert (await bench.service.fetch("alice", Fetch(id=id))).id == task.id


async def test_cancel_ends_the_task_and_stops_its_run(bench: Bench) -> None:
    task = await bench.submit()

    canceled = await bench.service.carry_out("alice", "tensorslab", Cancel(id=task.id))

    assert isinstance(canceled, Task)
    assert canceled.status is Status.CANCELED
    assert bench.stopped == [task.id]


async def test_an_ended_task_is_not_cancelled(bench: Bench) -> None:
    task = await bench.submit()
    await bench.end(task)

    with pytest.raises(Conflict, match="succeeded"):
        await bench.service.cancel("alice", Cancel(id=task.id))
    assert bench.stopped == []


async def test_delete_removes_rows_and_files_and_stops_runs(bench: Bench) -> None:
    kept, gone = [await bench.submit(sources=(upload(picture()),)) for _ in range(2)]
    asked = (gone.id, f"x-{gone.id}", "no id", "0" * 24)

    deleted = await bench.service.carry_out("alice", "tensorslab", Delete(ids=asked))

    assert deleted == Deleted(ids=(gone.id,))
    assert bench.stopped == [gone.id]
    assert bench.files() == [f"{task_folder(kept.id)}source-0"]
    with pytest.raises(NotFound):
        await bench.service.fetch("alice", Fetch(id=gone.id))


async def test_delete_leaves_what_is_anothers_or_of_another_kind(bench: Bench) -> None:
    task = await bench.submit(sources=(upload(picture()),))

    assert (await bench.service.delete("bob", Delete(ids=(task.id,)))).ids == ()
    assert (await bench.service.delete("alice", Delete(ids=(task.id,), kind=Kind.VIDEO))).ids == ()
    assert (await bench.service.delete("alice", Delete(ids=("none",)))).ids == ()
    assert bench.files() != []


# --------------------------------------------------------------------------- lists and models


async def test_a_list_is_ones_own_and_without_what_expired(bench: Bench) -> None:
    mine, expired = await bench.submit(), await bench.submit()
    await bench.submit("bob")
    await bench.end(expired, at=NOW - RETENTION)

    page = await bench.service.carry_out("alice", "tensorslab", List())

    assert isinstance(page, Page)
    assert [task.id for task in page.tasks] == [mine.id]
    assert page.total == 1


async def test_a_list_goes_on_before_a_decorated_id(bench: Bench) -> None:
    bench.now[0] = NOW
    first = await bench.submit()
    bench.now[0] = NOW + 1
    second = await bench.submit()

    page = await bench.service.list("alice", List(before=f"x-{second.id}"))

    assert [task.id for task in page.tasks] == [first.id]
    with pytest.raises(NotFound):
        await bench.service.list("alice", List(before="no id"))


@pytest.mark.parametrize("limit", [0, -1, 1001])
async def test_a_list_has_a_limit(bench: Bench, limit: int) -> None:
    with pytest.raises(InvalidValue):
        await bench.service.list("alice", List(limit=limit))


async def test_the_models_are_told(bench: Bench) -> None:
    catalogue = await bench.service.carry_out("alice", "tensorslab", Models(kind=Kind.VIDEO))

    assert isinstance(catalogue, Catalogue)
    assert [card.name for card in catalogue.models] == ["still"]


# ------------------------------------------------------------------------------------ trouble


async def test_a_caller_who_leaves_has_submitted_all_the_same(bench: Bench, tmp_path: Path) -> None:
    other = connect(tmp_path / "db")
    other.execute("begin immediate")  # the write has to wait
    caller = asyncio.create_task(bench.submit())
    await asyncio.sleep(0)  # it has got as far as the write
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    other.execute("rollback")
    other.close()

    await bench.store.write(scripts.revoke_key("after it", NOW))

    assert (await bench.service.list("alice", List())).total == 1


async def test_a_database_that_refuses_is_told(bench: Bench, tmp_path: Path) -> None:
    broken = connect(tmp_path / "db")
    broken.execute(
        "create trigger full before insert on events begin select raise(abort, 'full'); end"
    )

    with pytest.raises(apsw.ConstraintError, match="full"):
        await bench.submit(sources=(upload(picture()),))

    assert bench.files() == []
    assert (await bench.service.list("alice", List())).total == 0
    broken.close()
