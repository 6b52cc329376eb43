"""The only road from a command to the store.

Knows no HTTP and no dialect. A command comes with who gives it: the id of a key, whose tasks alone
it sees; another's task answers exactly as one that never was.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

import msgspec
import structlog

from safelight import blob_names
from safelight.blobs import BlobError, Blobs
from safelight.callbacks import Callbacks
from safelight.clock import now_millis
from safelight.config import Settings
from safelight.errors import Conflict, Internal, InvalidValue, NotFound, Unsupported
from safelight.fetching import Fetcher
from safelight.inspection import Inspector
from safelight.links import Links
from safelight.lists import Lists
from safelight.media_types import media_type_of
from safelight.models import ModelMap, Place
from safelight.store import Store, StoreUnavailable, hooks, scripts
from safelight.store.hooks import MOST_ORIGINS, TooMany
from safelight.store.scripts import DifferentBody, Script, TooLong
from safelight.task import (
    Balance,
    Callback,
    Cancel,
    Catalogue,
    Changed,
    Changes,
    Command,
    Confirm,
    Credits,
    Delete,
    Deleted,
    Events,
    Fetch,
    FetchMany,
    History,
    Kind,
    List,
    Locate,
    Models,
    Page,
    Reply,
    Retry,
    Role,
    Several,
    Source,
    Status,
    Submit,
    Task,
    TaskEvent,
    TemplatePage,
    Templates,
    Upload,
    bare_id,
    drop_data,
    new_id,
)
from safelight.uploads import Uploads
from safelight.wire import CANNOT

_log = structlog.get_logger("safelight.service")

_PICTURES = frozenset({Role.IMAGE, Role.FIRST_FRAME, Role.LAST_FRAME, Role.MASK})
_MOST_SOURCES = 16
_MOST_IDS = 500  # that are asked for at once
_RETRYING = 2  # tasks whose sources are copied at a time
_SETTLING = (0.2, 0.5, 1.0, 2.0, 4.0)  # seconds between two looks for a task
_MOST_IN_A_LIST = 1000
_encoder = msgspec.json.Encoder()
_REMOVING_SECONDS = 5.0  # that a caller waits for files that cannot be removed


class Definitions(Protocol):
    """The templates that the settings number, which tasks may be asked with instead of operations.

    The number is a demand of that name: an engine that passes demands on gets the number itself.
    """

    def expand(self, submit: Submit) -> Submit:
        """`submit` with the operations of its template in the place of the number.

        Raises `InvalidValue` where there are no templates at all, `NotFound` where there is not
        that one.
        """

    def page(self, asked: Templates) -> TemplatePage:
        """The templates that are asked for."""


DEFINITION = "Definition"  # the demand


class Service:
    """Carries out commands."""

    def __init__(
        self,
        store: Store,
        blobs: Blobs,
        models: ModelMap,
        fetcher: Fetcher,
        inspector: Inspector,
        links: Links,
        uploads: Uploads,
        *,
        retention: int,
        max_source: int,
        max_text: int,
        definitions: Definitions | None = None,
        callbacks: Callbacks | None = None,
        ended: Callable[[Task], None] = lambda task: None,
        clock: Callable[[], int] = now_millis,
    ) -> None:
        self._store = store
        self._lists = Lists(store)
        self._blobs = blobs
        self._models = models
        self._fetcher = fetcher
        self._inspector = inspector
        self._links = links
        self._uploads = uploads
        self._retention = retention
        self._max_source = max_source
        self._max_text = max_text
        self._definitions = definitions
        self._callbacks = callbacks
        self._ended = ended  # is told of each task that is canceled here
        self._clock = clock
        self._retrying = asyncio.Semaphore(_RETRYING)

    @classmethod
    def build(
        cls,
        settings: Settings,
        store: Store,
        blobs: Blobs,
        models: ModelMap,
        fetcher: Fetcher,
        inspector: Inspector,
        links: Links,
        uploads: Uploads,
        definitions: Definitions,
        callbacks: Callbacks,
        ended: Callable[[Task], None],
    ) -> Service:
        """A service with the bounds that the settings name."""
        return cls(
            store,
            blobs,
            models,
            fetcher,
            inspector,
            links,
            uploads,
            retention=settings.retention,
            max_source=settings.max_source,
            max_text=settings.max_text,
            definitions=definitions,
            callbacks=callbacks,
            ended=ended,
        )

    async def carry_out(self, who: str, dialect: str, command: Command) -> Reply:
        """Do what the key `who` asks for in `dialect`. Raises `Fault`."""
        match command:
            case Fetch():
                return await self.fetch(who, command)
            case Submit():
                return await self.submit(who, dialect, command)
            case Retry():
                return await self.retry(who, dialect, command)
            case FetchMany() | Changes() | Events():
                return await self._look(who, command)
            case Cancel():
                return await self.cancel(who, command)
            case Delete():
                return await self.delete(who, command)
            case List():
                return await self.list(who, command)
            case Models() | Templates() | Balance():
                return self._tell(command)
            case Upload() | Confirm() | Locate():
                return await self._keep_file(who, command)

    async def _look(self, who: str, command: FetchMany | Changes | Events) -> Reply:
        match command:
            case FetchMany():
                return await self.fetch_many(who, command)
            case Changes():
                return await self.changes(who, command)
            case Events():
                return await self.events(who, command)

    def _tell(self, command: Models | Templates | Balance) -> Reply:
        match command:
            case Models():
                return self.catalogue(command)
            case Templates():
                return self.templates(command)
            case Balance():
                return Credits()  # nothing is charged here

    async def _keep_file(self, who: str, command: Upload | Confirm | Locate) -> Reply:
        match command:
            case Upload():
                return await self._uploads.keep(who, command)
            case Confirm():
                return await self._uploads.confirm(who, command)
            case Locate():
                return await self._uploads.locate(who, command, self._oldest())

    async def fetch(self, who: str, asked: Fetch) -> Task:
        id = _id(asked.id)
        task = await self._store.get(id, who, self._oldest())
        if task is None or asked.kind not in (None, task.kind):
            raise NotFound
        return task

    async def fetch_many(self, who: str, asked: FetchMany) -> Several:
        """The tasks of these ids, each once for each time that it is asked for."""
        if len(asked.ids) > _MOST_IDS:
            raise InvalidValue(f"ids: more than {_MOST_IDS}", parameter="ids")
        known = {text: id for text in asked.ids if (id := bare_id(text)) is not None}
        oldest, wanted = self._oldest(), list(dict.fromkeys(known.values()))
        tasks = await asyncio.gather(*(self._store.get(id, who, oldest) for id in wanted))
        found = {task.id: task for task in tasks if task is not None}
        return Several(
            tasks=tuple(found[known[text]] for text in asked.ids if known.get(text) in found),
            missing=tuple(text for text in asked.ids if known.get(text) not in found),
        )

    async def changes(self, who: str, asked: Changes) -> Changed:
        """The tasks that changed since; without a `since`, where to begin."""
        if not 1 <= asked.limit <= _MOST_IN_A_LIST:
            raise InvalidValue(f"limit: must be 1 to {_MOST_IN_A_LIST}", parameter="limit")
        feed = self._store.feed
        if asked.since is None:
            after = await self._store.read(scripts.last_change(who))
            return Changed(tasks=(), after=after, feed=feed)
        change, id = asked.since
        if asked.feed != feed:
            raise _expired()
        script = scripts.changes(who, change, id, asked.limit + 1, self._oldest())
        found = await self._store.read_aside(script)
        if not found and await self._store.read(scripts.is_to_come(change)):
            raise _expired()
        told = found[: asked.limit]
        after = (told[-1].change, told[-1].task.id) if told else asked.since
        more = len(found) > asked.limit
        tasks = tuple(each.task for each in told)
        return Changed(tasks=tasks, after=after, feed=feed, more=more)

    async def events(self, who: str, asked: Events) -> History:
        """What happened to a task. Raises `NotFound`."""
        task = await self.fetch(who, Fetch(id=asked.id))
        rows = await self._store.read(scripts.events(task.id, asked.after))
        events = tuple(TaskEvent(**row._asdict()) for row in rows)
        return History(events=events, last=events[-1].number if events else asked.after)

    async def retry(self, who: str, dialect: str, asked: Retry) -> Task:
        """A new task, asked for as an earlier one of the same caller. Raises `Fault`."""
        key = asked.idempotency_key
        said = _digest_of((dialect, "retry", msgspec.structs.replace(asked, idempotency_key=None)))
        if (earlier := await self._find_repeat(who, key, said)) is not None:
            return _replayed(earlier)
        task = await self.fetch(who, Fetch(id=asked.id))
        if not task.ended:
            raise Conflict(f"the task is {task.status.value}: one at its end is retried")
        seed = {"seed": task.seed} if asked.same_seed else {"seed": None}
        words = {**seed, **asked.words, "extra": {}, "parent": task.id, "idempotency_key": key}
        submit = msgspec.structs.replace(task.submit, **words)
        submit = await self._with_secret(task.id, submit)
        async with self._retrying:  # the sources are in memory, until they are kept
            submit = await self._load_sources(submit)
            return await self._accept(who, dialect, submit, said)

    async def _with_secret(self, earlier: str, submit: Submit) -> Submit:
        """`submit` with the secret that signs for an earlier task's own address."""
        if submit.callback is None or self._callbacks is None:
            return submit
        sealed = await self._store.read(hooks.callback_secret(earlier))
        secret = None if sealed is None else self._callbacks.unseal(sealed)
        told = msgspec.structs.replace(submit.callback, secret=secret)
        return msgspec.structs.replace(submit, callback=told)

    async def _load_sources(self, submit: Submit) -> Submit:
        """`submit` with what is kept of its sources, to be kept anew. Raises `InvalidValue`."""
        sources = []
        for index, source in enumerate(submit.sources):
            if source.blob is None:
                sources.append(source)
                continue
            try:
                data = await self._blobs.get(source.blob)
            except FileNotFoundError:
                name = f"sources.{index}"
                raise InvalidValue(f"{name}: it is not kept any more", parameter=name) from None
            sources.append(msgspec.structs.replace(source, data=data, blob=None))
        return msgspec.structs.replace(submit, sources=tuple(sources))

    async def submit(self, who: str, dialect: str, submit: Submit) -> Task:
        """A new task, or the one that the same idempotency key made. Raises `Fault`."""
        self._check_length(submit)
        if len(submit.sources) > _MOST_SOURCES:  # before anybody goes through them
            raise InvalidValue(f"more than {_MOST_SOURCES} sources", parameter="sources")
        said = await _digest(dialect, submit)
        # Before anything is judged: what was accepted once is answered so again, whatever has
        # become of its model and its sources since.
        if (earlier := await self._find_repeat(who, submit.idempotency_key, said)) is not None:
            return _replayed(earlier)
        return await self._accept(who, dialect, submit, said)

    async def _accept(self, who: str, dialect: str, submit: Submit, said: str) -> Task:
        """A new task, of which nobody knows yet. Raises `Fault`."""
        self._check_length(submit)
        submit, place = self._find_place(submit)
        place.engine.check(submit, place.options)
        _check_demands(submit, place)
        await self._check_sources(who, submit)
        if submit.callback is not None:
            await self._check_callback(who, submit.callback)
        now = self._clock()
        # No secrets: who has no key gains nothing by an id, and links are signed. The kernel's
        # random numbers would cost as much as two queries.
        drawn = random.randbytes(10)  # noqa: S311
        task = Task(
            id=new_id(now, drawn[:6]),
            status=Status.QUEUED,
            submit=submit,
            revision=1,
            dialect=dialect,
            owner=who,
            seed=submit.seed if submit.seed is not None else _seed(drawn[6:]),
            created=now,
            updated=now,
        )
        return await self._add(task, said, place.engine.name)

    def _find_place(self, submit: Submit) -> tuple[Submit, Place]:
        """Where `submit` runs, and as what: a template's number is its operations, run here."""
        place = self._models.find(submit)
        here = not place.engine.traits.passes_on
        if here and DEFINITION in submit.demands and self._definitions is not None:
            submit = self._definitions.expand(submit)
            place = self._models.find(submit)
        return submit, place

    def _check_length(self, submit: Submit) -> None:
        """Raise `InvalidValue` where a task is asked with more than is kept and told of one."""
        if len(_encoder.encode(drop_data(submit))) > self._max_text:
            name = _longest(submit)
            raise InvalidValue(
                f"{name}: a task is asked with at most {self._max_text} bytes", parameter=name
            )

    async def _find_repeat(self, who: str, key: str | None, said: str) -> Task | None:
        """The task that the same request made before, by its idempotency key."""
        if key is None:
            return None
        try:
            return await self._store.read(scripts.find_repeat(who, key, said, self._oldest()))
        except DifferentBody:
            raise _different() from None

    async def _add(self, task: Task, digest: str, engine: str) -> Task:
        try:
            kept = await self._keep_sources(task)
            also = self._add_callback(task)
            accepted = await self._store.write(
                scripts.add(kept, digest, self._oldest(), engine, also)
            )
        except DifferentBody:
            await self._drop_sources(task)
            raise _different() from None
        except TooMany:
            await self._drop_sources(task)
            raise InvalidValue(
                f"callback.url: one key's tasks are told at {MOST_ORIGINS} hosts at most",
                parameter="callback.url",
            ) from None
        except StoreUnavailable as problem:
            # Sources are left: housekeeping removes what turns out to be nobody's.
            if not problem.unclear:
                raise
            return await self._settle(task, problem)
        except Exception:
            # Not when cancelled: what was given to the store is written all the same.
            await self._drop_sources(task)
            raise
        if not accepted.new:
            await self._drop_sources(task)
        return accepted.task if accepted.new else _replayed(accepted.task)

    async def _settle(self, task: Task, problem: StoreUnavailable) -> Task:
        """The task, where it turns out that it was accepted although nobody said so.

        Not seen is not yet "not accepted": the database may still be about to commit.

        Raises `StoreUnavailable` where it was not, and `Internal` where that cannot be known soon:
        who hears that something is just not to be had now may well submit it once more.
        """
        for pause in _SETTLING:
            await asyncio.sleep(pause)
            try:
                settled = await self._store.is_settled(problem)
                found = await self._store.read(scripts.get_any(task.id))
            except StoreUnavailable:
                continue
            if found is not None:
                return found
            if settled:
                raise StoreUnavailable("the database went away before the task was written")
        raise Internal("The database went away: whether the task was accepted is not known")

    async def _check_callback(self, who: str, callback: Callback) -> None:
        """Raise `Fault` where a task cannot be told so."""
        if self._callbacks is None:
            raise Unsupported(f"callback: {CANNOT}", parameter="callback")
        await self._callbacks.check(who, callback)

    def _add_callback(self, task: Task) -> Script[None] | None:
        """What is to be written with a task that has an address of its own."""
        callback = task.submit.callback
        if callback is None or self._callbacks is None:
            return None
        endpoint, now = self._callbacks.new_id(), task.created or 0
        row = self._callbacks.row(callback)
        return hooks.add_callback(task.id, task.owner, row, endpoint, now)

    async def _drop_sources(self, task: Task) -> None:
        """Remove what was kept of the sources of a task that was not accepted."""
        if any(source.data is not None for source in task.submit.sources):
            await self._remove_files(task.id)

    async def _check_sources(self, who: str, submit: Submit) -> None:
        named: list[tuple[str, str]] = []
        for index, source in enumerate(submit.sources):
            parameter = f"sources.{index}"
            if source.data is not None:
                if len(source.data) > self._max_source:
                    raise InvalidValue(
                        f"{parameter}: larger than {self._max_source} bytes", parameter=parameter
                    )
                if source.role in _PICTURES:
                    await self._inspector.check(source.data, parameter)
            elif source.url is not None and self._links.read_url(source.url) is None:
                named.append((source.url, parameter))
        await self._fetcher.on_behalf(who).check(named)

    async def _keep_sources(self, task: Task) -> Task:
        """`task` with what came with the request kept in blobs."""
        kept = []
        for index, source in enumerate(task.submit.sources):
            if source.data is not None:
                kept.append(await self._keep(task, index, source, source.data))
            else:
                kept.append(source)
        submit = msgspec.structs.replace(task.submit, sources=tuple(kept))
        return msgspec.structs.replace(task, submit=submit)

    async def _keep(self, task: Task, index: int, source: Source, data: bytes) -> Source:
        blob = blob_names.source(task.id, index)
        media_type = media_type_of(data[:32])
        await self._blobs.put(blob, data, media_type)
        return msgspec.structs.replace(source, data=None, blob=blob, media_type=media_type)

    async def load(self, task: Task) -> Task:
        """`task` with its files in it; without them where they cannot be had just now."""
        try:
            loaded = [
                msgspec.structs.replace(artifact, data=await self._blobs.get(artifact.blob or ""))
                for artifact in task.artifacts
            ]
        except (FileNotFoundError, BlobError, OSError) as problem:
            _log.warning("files_not_loaded", task=task.id, problem=str(problem)[:300])
            return task
        return msgspec.structs.replace(task, artifacts=tuple(loaded))

    async def cancel(self, who: str, asked: Cancel) -> Task:
        """The task, which is canceled by now. Raises `Conflict` at another end, `NotFound`."""
        id = _id(asked.id)
        task = await self._store.write(scripts.cancel(id, who, self._clock(), asked.kind))
        if task is None:
            ended = await self.fetch(who, Fetch(id=id, kind=asked.kind))
            if ended.status is Status.CANCELED and asked.again:
                return ended
            raise Conflict(f"the task is at its end: {ended.status.value}", parameter="TaskId")
        self._ended(task)
        return task

    async def delete(self, who: str, asked: Delete) -> Deleted:
        ids = tuple(id for id in map(bare_id, asked.ids) if id is not None)
        if not ids:
            return Deleted(ids=())
        removed = await self._store.write(scripts.delete(ids, who, asked.kind, asked.force))
        if not asked.force:
            await self._refuse_unfinished(who, asked.kind, set(ids) - set(removed))
        began = time.monotonic()
        for id in removed:
            if not await self._remove_files(id) and time.monotonic() - began > _REMOVING_SECONDS:
                break
        return Deleted(ids=removed)

    async def _refuse_unfinished(self, who: str, kind: Kind | None, ids: set[str]) -> None:
        """Raise `Conflict` where one of the tasks is there, and so is not at its end."""
        for id in sorted(ids):
            with suppress(NotFound):
                task = await self.fetch(who, Fetch(id=id, kind=kind))
                raise Conflict(f"the task is {task.status.value}: cancel it, or delete by force")

    async def _remove_files(self, id: str) -> bool:
        """Remove the files of a task that is gone; what cannot be now, housekeeping will."""
        try:
            await self._blobs.remove(blob_names.task_folder(id))
        except (BlobError, OSError) as problem:
            _log.warning("files_not_removed", task=id, problem=str(problem)[:300])
            return False
        return True

    async def list(self, who: str, asked: List) -> Page:
        if asked.before is not None:
            asked = msgspec.structs.replace(asked, before=_id(asked.before))
        if not 1 <= asked.limit <= _MOST_IN_A_LIST:
            raise InvalidValue(f"limit: must be 1 to {_MOST_IN_A_LIST}", parameter="limit")
        try:
            return await self._lists.page(who, asked, self._oldest())
        except TooLong:
            raise InvalidValue(
                "limit: so many tasks with such long texts are not told together; ask for fewer",
                parameter="limit",
            ) from None

    def catalogue(self, asked: Models) -> Catalogue:
        found = self._models.catalogue(asked)
        if asked.name is not None and not found.models:
            raise NotFound(f"there is no model {asked.name[:100]!r}", parameter="name")
        return found

    def templates(self, asked: Templates) -> TemplatePage:
        if self._definitions is None:
            return TemplatePage(templates=(), total=0)
        return self._definitions.page(asked)

    def _oldest(self) -> int:
        return self._clock() - self._retention


def _replayed(task: Task) -> Task:
    """A task that an earlier request with the same idempotency key has made."""
    return msgspec.structs.replace(task, replayed=True)


def _check_demands(submit: Submit, place: Place) -> None:
    """Raise `Unsupported` for what only one wire can say, where nobody hands it on."""
    if not place.engine.traits.passes_on:
        for name in submit.demands:
            raise Unsupported(f"{name}: {CANNOT}", parameter=name)


def _expired() -> InvalidValue:
    """That a place among the changes is none any more, since the database is another."""
    return InvalidValue(
        "cursor: expired, for the database was restored since: begin without one, and look at all "
        "tasks",
        parameter="cursor",
    )


def _different() -> Conflict:
    return Conflict(
        "the idempotency key was used before, with another request", parameter="Idempotency-Key"
    )


def _longest(submit: Submit) -> str:
    """The parameter that makes a submission as long as it is."""
    sizes = {
        name: len(_encoder.encode(value))
        for name, value in msgspec.structs.asdict(drop_data(submit)).items()
        if name not in ("extra", "sources")
    } | {
        f"sources.{index}": len(_encoder.encode(source))
        for index, source in enumerate(drop_data(submit).sources)
    }
    longest = max(sizes, key=sizes.__getitem__)
    # What is there on one wire only may repeat the others: it is named where it has more than they.
    beyond = len(_encoder.encode(submit.extra)) > 2 * sizes[longest]
    return "extra" if beyond else longest


def _id(text: str) -> str:
    id = bare_id(text)
    if id is None:
        raise NotFound
    return id


def _seed(drawn: bytes) -> int:
    """A seed that every wire can say: 0 to 2**31 - 1."""
    return int.from_bytes(drawn, "big") >> 1


async def _digest(dialect: str, submit: Submit) -> str:
    """The `digest`, made apart from the loop where there is much to hash."""
    if submit.idempotency_key is None or all(source.data is None for source in submit.sources):
        return digest(dialect, submit)
    return await asyncio.to_thread(digest, dialect, submit)


def digest(dialect: str, submit: Submit) -> str:
    """Equal for equal submissions in one dialect, whatever their boundary or order of fields."""
    if submit.idempotency_key is None:
        return ""
    sources = tuple(
        msgspec.structs.replace(source, data=hashlib.sha256(source.data).digest())
        if source.data is not None
        else source
        for source in submit.sources
    )
    plain = msgspec.structs.replace(submit, sources=sources)
    return _digest_of((dialect, plain))


def _digest_of(value: Any) -> str:
    """Equal for equal values, whatever the order of names in them."""
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()
