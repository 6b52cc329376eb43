"""Several real processes of one installation: one database, one bucket, and a data folder each."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from backends import Bucket
from end_to_end.running import (
    START_SECONDS,
    TASK_SECONDS,
    Running,
    environment,
    files_in,
    until,
)
from end_to_end.words import IMAGES
from programs import Process
from safelight import AsyncClient, Fault, Key, SubmissionUnknown
from safelight.postgres import SCHEMA
from safelight.task import bare_id

SECRET = "the secret of all processes of these tests"
ENDS = ("succeeded", "failed", "canceled")
_ENDS = ", ".join(f"'{status}'" for status in ENDS)
_FIRST_KEY = re.compile(r"id +(AKID\S+)\s+secret +(sk-\S+)")
_RUNS = "Safelight runs tasks of "
_AGAIN_SECONDS = 0.1  # before a submission that failed is made again
# Nothing of this may be in a log, whatever was done to the process.
_MISTAKES = (
    "request_broke",
    "engine_broke",
    "run_failed",
    "housekeeping_failed",
    "listening_broke",
    "notice_broke",
    "workers_stopped",
    "never retrieved",
    "was never awaited",
)


def rules(seconds: float) -> str:
    """A rule by which every picture takes that long."""
    return f'[[models]]\nname = "*"\nengine = "sketch"\noptions = {{ seconds = {seconds} }}\n'


async def so(
    condition: Callable[[], Awaitable[Any]], seconds: float = TASK_SECONDS, every: float = 0.05
) -> Any:
    """The first true value that `condition` has. Fails when it has none within the time."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        if value := await condition():
            return value
        assert loop.time() < deadline, f"not so within {seconds:g} seconds"
        await asyncio.sleep(every)


@dataclass
class Cluster:
    """An installation, and the processes of it that were started here."""

    folder: Path
    database: str
    bucket: Bucket
    models: str
    settings: dict[str, Any] = field(default_factory=dict)
    key: Key = field(default_factory=Key)
    started: list[Running] = field(default_factory=list)

    # ------------------------------------------------------------------------------- processes

    def begin(self, *words: str, **environ: str) -> Running:
        """Start a process, `serve …` or `work …`, and do not wait for it."""
        name = f"{words[0]}-{len(self.started)}"
        data, log = self.folder / name, self.folder / f"{name}.log"
        with log.open("wb") as output:
            process = Process(
                *(*words, "--data", str(data), "--config", str(self._write_settings())),
                stdout=output,
                stderr=output,
                cwd=self.folder,
                env={**environment(), "SAFELIGHT_SECRET": SECRET, **environ},
            )
        running = Running(data, log, process)
        self.started.append(running)
        return running

    def start(self, *commands: str, **environ: str) -> list[Running]:
        """Start processes side by side, and wait until all are ready.

        An API listens on a free port unless its command names one.
        """
        begun = [self.begin(*_with_port(command.split()), **environ) for command in commands]
        for running in begun:
            self.wait_until_ready(running)
        return begun

    def wait_until_ready(self, running: Running) -> None:
        """Wait until an API answers, or a worker works; an API gets the first key to ask with."""

        def works() -> bool:
            text = running.log.read_text(errors="replace")
            assert running.process.poll() is None, f"the worker ended: {text}"
            return _RUNS in text

        if running.data.name.startswith("work"):
            until(works, START_SECONDS)
            return
        running.wait_until_ready()
        self.key = self.key if self.key.id else self._find_key()
        running.key = self.key

    def first_keys(self) -> list[Key]:
        """The first keys that processes told of."""
        found = [_FIRST_KEY.search(one.log.read_text(errors="replace")) for one in self.started]
        return [Key(id=match[1], secret=match[2]) for match in found if match]

    def _find_key(self) -> Key:
        return until(lambda: self.first_keys() or None, START_SECONDS)[0]  # type: ignore[no-any-return]

    def _write_settings(self) -> Path:
        path = self.folder / "safelight.toml"
        values = {
            "database": self.database,
            "files": self.bucket.url,
            "log_level": "debug",
            **self.settings,
        }
        lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
        lines.append("[files_options]")
        lines += [f"{name} = {json.dumps(value)}" for name, value in self.bucket.options.items()]
        text = "\n".join([*lines, self.models])
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
        return path

    def close(self) -> None:
        """Kill what is left, also what was stopped."""
        for running in self.started:
            if running.process.poll() is None:
                running.kill()

    def check_logs(self) -> None:
        """No process told of a mistake of its own."""
        for running in self.started:
            lines = running.log.read_text(errors="replace").splitlines()
            found = [line for line in lines if any(sign in line for sign in _MISTAKES)]
            assert not found, (running.log.name, found[:5], lines[-60:])

    # ------------------------------------------------------------------------------- looking

    async def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """What is in the database."""
        connection = await asyncpg.connect(self.database, server_settings={"search_path": SCHEMA})
        try:
            return [tuple(row) for row in await connection.fetch(query, *values)]
        finally:
            await connection.close()

    async def unfinished(self) -> int:
        """How many tasks are not at an end."""
        rows = await self.rows(f"select count(*) from tasks where status not in ({_ENDS})")
        return int(rows[0][0])

    async def all_end(self, seconds: float = TASK_SECONDS) -> None:
        """Wait until every task is at an end, and no job is left in the queue."""

        async def ended() -> bool:
            return await self.unfinished() == 0 and not await self.jobs()

        try:
            await so(ended, seconds)
        except AssertionError:
            stuck = await self.rows(f"select id, status, attempt, deaths, worker from tasks"
                                    f" where status not in ({_ENDS})")  # fmt: skip
            raise AssertionError(f"stuck: {stuck[:9]}, jobs: {(await self.jobs())[:9]}") from None

    async def jobs(self) -> list[tuple[Any, ...]]:
        """The jobs that wait, or are being run."""
        return await self.rows(
            "select dedupe_key, status, entrypoint from pgqueuer"
            " where status in ('queued', 'picked')"
        )

    async def statuses(self, ids: Sequence[str]) -> dict[str, int]:
        """How many of these tasks are in each status; those that are not there are `lost`."""
        found = dict(await self.rows("select id, status from tasks"))
        return dict(Counter(found.get(id, "lost") for id in ids))

    async def check_ends(self) -> None:
        """Every task that is kept has ended, and once."""
        rows = await self.rows(
            "select tasks.id, count(events.what) from tasks left join events"
            f" on events.task_id = tasks.id and events.what in ({_ENDS}) group by tasks.id"
        )
        wrong = [row for row in rows if row[1] != 1]
        assert not wrong, (wrong[:5], [await self.story(row[0]) for row in wrong[:3]])

    async def story(self, id: str) -> list[tuple[Any, ...]]:
        """What happened to a task."""
        query = "select what, attempt, note from events where task_id = $1 order by number"
        return await self.rows(query, bare_id(id))

    async def all_of(self, id: str) -> Any:
        """All that is kept of a task: its row, its events, and its files with what is in them."""
        row = await self.rows("select * from tasks where id = $1", bare_id(id))
        files = [path for path in files_in(self.bucket.folder) if f"/{bare_id(id)}/" in str(path)]
        return row, await self.story(id), [(path, path.read_bytes()) for path in files]

    async def runner(self, id: str, other_than: Sequence[Running] = ()) -> Running:
        """The process that runs a task, once one does."""
        members = {one.process.pid: one for one in self.started if one not in other_than}

        async def found() -> Running | None:
            query = "select worker from tasks where id = $1 and status = 'running'"
            for (worker,) in await self.rows(query, bare_id(id)):
                # Its name ends in its process id and a few digits.
                if worker is not None and (one := members.get(int(worker.split("-")[-2]))):
                    return one
            return None

        return await so(found)  # type: ignore[no-any-return]


def _with_port(words: list[str]) -> list[str]:
    return [*words, "--port", "0"] if words[0] == "serve" and "--port" not in words else words


@contextmanager
def installed(
    folder: Path, database: str, bucket: Bucket, models: str, **settings: Any
) -> Iterator[Cluster]:
    """An installation whose processes are gone at the end, and made no mistakes."""
    folder.mkdir(parents=True, exist_ok=True)
    cluster = Cluster(folder, database, bucket, models, settings)
    try:
        yield cluster
    finally:
        cluster.close()
    cluster.check_logs()


def children(pid: int) -> set[int]:
    """The processes that a process has started."""
    with suppress(OSError):
        return {int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    return set()


def lives(pid: int) -> bool:
    """Whether a process is there, and is not waiting to be buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def pause(running: Running) -> None:
    """Hold a process up: it does nothing, and does not know it."""
    running.process.send_signal(signal.SIGSTOP)


def go_on(running: Running) -> None:
    """Let a process go on."""
    running.process.send_signal(signal.SIGCONT)


# ------------------------------------------------------------------------------------------ load


class Load:
    """Clients that submit without end, in every dialect, and go to another API when one fails.

    A submission that failed is made again, with its idempotency key, until it is accepted: so
    there are in the end exactly as many tasks as were `accepted`. `faults` says what was told.
    `pace` is the seconds between two submissions of one dialect; about `most` are made.
    """

    def __init__(
        self,
        urls: Sequence[str],
        key: Key,
        dialects: Sequence[str],
        pace: float = 0.2,
        most: float = float("inf"),
    ) -> None:
        self.accepted: list[str] = []
        self.faults: Counter[str] = Counter()
        self.unknown: list[str] = []
        self._urls = list(urls)
        self._key = key
        self._dialects = dialects
        self._pace = pace
        self._most = most
        self._stopping = asyncio.Event()
        self._running: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Load:
        self._running = [asyncio.create_task(self._submit(name)) for name in self._dialects]
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            for task in self._running:
                task.cancel()
        self._stopping.set()
        results = await asyncio.gather(*self._running, return_exceptions=True)
        if kind is None:
            for result in results:
                assert result is None, result

    async def grow(self, count: int, seconds: float = TASK_SECONDS) -> None:
        """Wait until that many more are accepted."""
        wanted = len(self.accepted) + count

        async def grown() -> bool:
            for task in self._running:
                if task.done():
                    task.result()
            return len(self.accepted) >= wanted

        try:
            await so(grown, seconds)
        except AssertionError:
            raise AssertionError(f"{len(self.accepted)} accepted; {self.faults}") from None

    async def _submit(self, dialect: str) -> None:
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(AsyncClient(dialect, url, self._key, timeout=20))
                for url in self._urls
            ]
            turn = 0
            while not self._stopping.is_set() and len(self.accepted) < self._most:
                token, accepted = uuid.uuid4().hex, False
                while not accepted:
                    turn += 1
                    accepted = await self._submit_once(clients[turn % len(clients)], dialect, token)
                    await asyncio.sleep(self._pace if accepted else _AGAIN_SECONDS)

    async def _submit_once(self, client: AsyncClient, dialect: str, token: str) -> bool:
        asked = IMAGES[dialect]
        try:
            task = await client.submit(asked, width=64, height=64, idempotency_key=token)
        except SubmissionUnknown as fault:
            self.unknown.append(fault.message)
            return False
        except Fault as fault:
            self.faults[fault.code] += 1
            return False
        self.accepted.append(bare_id(task.id) or task.id)
        return True


async def open_link(url: str) -> httpx.Response:
    """What a link answers to somebody without a key."""
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        return await http.get(url)
