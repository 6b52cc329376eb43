"""The feed of changes: whoever reads on sees each task's last state, whatever comes between."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from doubles import NOW, task
from safelight.store import scripts
from safelight.store.sqlite import SQLiteStore
from safelight.task import Failure, FailureCode, Status, new_id

FAILURE = Failure(code=FailureCode.PROVIDER_ERROR, message="no")
MOST = 6  # tasks

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "claim", "log", "progress", "end", "fail", "cancel", "read"]),
        st.integers(0, MOST - 1),
    ),
    max_size=40,
)


class Reader:
    """Reads on from where it was, a few at a time."""

    def __init__(self, store: SQLiteStore) -> None:
        self._store = store
        self._after = (0, "")
        self.seen: dict[str, Status] = {}

    async def read(self, limit: int) -> int:
        rows = await self._store.read(scripts.changes("alice", *self._after, limit, 0))
        for row in rows:
            assert (row.change, row.task.id) > self._after
            self._after = (row.change, row.task.id)
            self.seen[row.task.id] = row.task.status
        return len(rows)


async def carry_out(store: SQLiteStore, what: str, id: str) -> None:
    attempt = 1
    if what == "add":
        if await store.read(scripts.get_any(id)) is None:
            await store.write(scripts.add(task(id), ""))
    elif what == "claim":
        found = await store.read(scripts.get_any(id))
        if found is not None and found.attempt == 0:
            await store.write(scripts.claim(id, "w", NOW))
    elif what == "log":
        await store.write(scripts.log(id, attempt, "line", NOW))
    elif what == "progress":
        await store.write(scripts.progress(id, attempt, 5, NOW))
    elif what == "end":
        await store.write(scripts.succeed(id, attempt, (), NOW + 1))
    elif what == "fail":
        await store.write(scripts.fail(id, attempt, FAILURE, NOW + 1))
    else:
        await store.write(scripts.cancel(id, "alice", NOW + 1))


async def play(path: Path, steps: list[tuple[str, int]], reopen: int) -> None:
    store = SQLiteStore.open(path)
    ids = [new_id(NOW + n, bytes(6)) for n in range(MOST)]
    reader = Reader(store)
    try:
        for number, (what, index) in enumerate(steps):
            if number == reopen:  # another process goes on
                await store.close()
                store = reader._store = SQLiteStore.open(path)
            if what == "read":
                await reader.read(index + 1)
            else:
                await carry_out(store, what, ids[index])
        while await reader.read(2):
            pass
        kept = [await store.read(scripts.get_any(id)) for id in ids]
        assert reader.seen == {task.id: task.status for task in kept if task is not None}
    finally:
        await store.close()


@settings(max_examples=40, deadline=None)
@given(steps=STEPS, reopen=st.integers(0, 40))
def test_no_last_state_is_missed(steps: list[tuple[str, int]], reopen: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder) / "store.db", steps, reopen))
