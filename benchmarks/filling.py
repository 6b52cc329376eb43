"""Rows of tasks in PostgreSQL, made there: as they would be had the server written them."""

from __future__ import annotations

import msgspec

from benchmarks.crew import connected
from safelight.clock import now_millis
from safelight.store.groups import queries_of
from safelight.task import Artifact, Submit

_FINISHED = """
insert into tasks (id, owner, kind, dialect, status, attempt, progress, seed, submit, artifacts,
                   created, started, finished, updated, model, revision)
select id, $1, 'image', 'tensorslab', 'succeeded', 1, 100, number,
       replace($2, 'NUMBER', number::text), replace($3, 'TASKID', id),
       at, at + 1, at + 3, at + 3, 'seedreamv4', 4
from (
    select number, at, lpad(to_hex(at), 12, '0') || substr(md5(random()::text), 1, 12) as id
    from (select number, $4::bigint + number as at from generate_series($5::int, $6::int) number) a
) b
"""
_EVENTS = """
insert into events (task_id, number, at, what, attempt, note)
select id, what.number, created + what.number - 1, what.word, least(what.number - 1, 1), ''
from (select id, created from tasks where created between $1 and $2 order by id) tasks,
     (values (1, 'queued'), (2, 'running'), (3, 'uploading'), (4, 'succeeded')) what (number, word)
"""
_QUEUED = """
with made as (
    insert into tasks (id, owner, kind, dialect, status, seed, submit, created, updated,
                       revision)
    select lpad(to_hex($3::bigint), 12, '0') || lpad(to_hex(number), 12, '0'), $1, 'image',
           'tensorslab', 'queued', number, $2, $3, $3, 1
    from generate_series(1, $4::int) number
    returning id
), noted as (
    insert into events (task_id, number, at, what, attempt, note)
    select id, 1, $3, 'queued', 0, '' from made
)
select id from made order by id
"""
_BATCH = 50_000


async def finish(url: str, owner: str, count: int) -> None:
    """Put `count` finished tasks in the database."""
    began = now_millis() - count
    prompt = "a lighthouse at dusk, view NUMBER"
    submit = msgspec.json.encode(Submit(model="seedreamv4", prompt=prompt)).decode()
    artifact = Artifact(blob="tasks/TASKID/1-0.png", media_type="image/png", size=100_000,
                        width=1024, height=1024, etag="0" * 32)  # fmt: skip
    artifacts = msgspec.json.encode((artifact,)).decode()
    async with connected(url) as connection:
        for first in range(0, count, _BATCH):
            last = min(count, first + _BATCH) - 1
            await connection.execute(_FINISHED, owner, submit, artifacts, began, first, last)
            await connection.execute(_EVENTS, began + first, began + last)
        await connection.execute("vacuum analyze")


async def sample(url: str, count: int) -> list[str]:
    """The ids of that many tasks of the database, by chance, or of all."""
    async with connected(url) as connection:
        rows = await connection.fetch("select id from tasks order by random() limit $1", count)
        return [row["id"] for row in rows]


async def enqueue(url: str, owner: str, submit: Submit, engine: str, count: int) -> int:
    """Put `count` tasks in the database and in the queue of an engine, all at the same moment.

    That moment in milliseconds.
    """
    text = msgspec.json.encode(submit).decode()
    async with connected(url) as connection, connection.transaction():
        rows = await connection.fetch(_QUEUED, owner, text, now_millis(), count)
        ids = [row["id"] for row in rows]
        await queries_of(connection).enqueue(
            [engine] * count, [id.encode() for id in ids], [0] * count, dedupe_key=list(ids)
        )
        # Nobody sees them before this transaction is through, in an instant.
        return now_millis()
