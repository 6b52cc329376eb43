"""The text of `queries.sql`, with what its queries share put in its places."""

from __future__ import annotations

from importlib import resources

# In this order `scripts.read_task` reads them.
TASK = """id, revision, owner, dialect, status, attempt, deaths, progress, seed,
       credits, submit, artifacts, failure, created, started, finished, updated, previews"""
UNFINISHED = "status in ('queued', 'running', 'uploading')"
# Which tasks are listed. What they are called is one text a name and its value, of a known length.
_LISTED = """owner = :owner and kind = coalesce(:kind, kind)
  and status in (:queued, :running, :uploading, :succeeded, :failed, :canceled)
  and created >= :since and created <= :until
  and (finished is null or finished > :oldest)
  and model = coalesce(:model, model) and dialect = coalesce(:dialect, dialect)
  and coalesce(parent, '') = coalesce(:parent, parent, '')
  and coalesce(finished, 0) >= :ended_since
  and (:names = 0 or :names = (
      select count(*) from labels
      where labels.task_id = tasks.id
        and cast(length(labels.name) as text) || ':' || labels.name || labels.value
            in (select value from json_each(:named))))"""
# What of a task is kept with each delivery as it was then.
_KEPT = frozenset(
    (
        *("revision", "status", "attempt", "progress", "artifacts", "failure"),
        *("started", "finished", "updated"),
    )
)
# Whether what is listed in `events` has what is told of a task, which is all three ends of it too.
_WANTED = """(
    ' ' || {events} || ' ' like '% task.' || task.status || ' %'
    or task.finished is not null and ' ' || {events} || ' ' like '% task.ended %'
)"""
_TELL = """
select 'msg_' || task.id || '_' || task.revision || '_' || {endpoint}, {endpoint}, task.owner,
       task.id, 'task.' || task.status, task.revision, task.status, task.attempt, task.progress,
       task.artifacts, task.failure, task.started, task.finished, task.updated, {at}
from {source} as task
join {hearers}
where (task.status <> 'queued' or task.attempt = 0) and {wanted}"""
_HEARERS = (
    ("endpoints.id", "endpoints", "endpoints on endpoints.owner = task.owner"
     " and endpoints.origin is null and endpoints.state = 'on'"),
    ("callbacks.endpoint", "callbacks", "callbacks on callbacks.task_id = task.id"),
)  # fmt: skip

_PROGRESS = "' ' || events || ' ' like '% task.progress %'"
# Those who want to hear how far a task is, by its id and its owner.
_PROGRESS_HEARERS = f"""select id as endpoint from endpoints
    where owner = {{owner}} and origin is null and state = 'on' and {_PROGRESS}
    union all
    select endpoint from callbacks where task_id = {{id}} and {_PROGRESS}"""  # noqa: S608
# In this order `hooks` reads them.
ENDPOINT = """id, url, events, description, secret, old_secret, old_until, state, reason,
       failures, failing_since, held, created"""
DELIVERY = """id, endpoint, type, task_id, revision, status, state, tries, next, created, ended"""


def telling(source: str, at: str) -> str:
    """The text that has a task told to whoever wants to hear of it.

    `source` is a table with the row of the task as it is to be told, and `at` the time. The text
    returns the endpoints. A task that waits again is not told to be queued again.
    """
    tells = (
        _TELL.format(
            source=source,
            at=at,
            endpoint=endpoint,
            hearers=hearers,
            wanted=_WANTED.format(events=f"{table}.events"),
        )
        for endpoint, table, hearers in _HEARERS
    )
    return f"""
insert into deliveries (id, endpoint, owner, task_id, type, revision, status, attempt, progress,
                        artifacts, failure, started, finished, updated, created)
{" union all ".join(tells)}
on conflict (id) do nothing
returning endpoint"""


def query_text() -> str:
    """All queries, as both databases take them."""
    text = resources.files(__package__).joinpath("queries.sql").read_text()
    own = telling(f"(select {TASK} from tasks where id = :id)", "cast(:at as bigint)")  # noqa: S608
    text = text.replace("{telling}", own)
    wants = _PROGRESS_HEARERS.format(owner="tasks.owner", id="tasks.id")
    text = text.replace("{wants_progress}", f"exists ({wants})")
    said = _PROGRESS_HEARERS.format(owner="(select owner from tasks where id = :id)", id=":id")
    text = text.replace("{progress_hearers}", said)
    names = (name.strip() for name in TASK.split(","))
    told = (f"{'deliveries' if name in _KEPT else 'tasks'}.{name}" for name in names)
    text = text.replace("{told}", ", ".join(told))
    text = text.replace("{endpoint}", ENDPOINT).replace("{delivery}", DELIVERY)
    text = text.replace("{listed}", _LISTED)
    return text.replace("{task}", TASK).replace("{unfinished}", UNFINISHED)
