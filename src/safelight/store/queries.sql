-- Every query, by name, once for both databases. {task} are the columns of a task, in the order in
-- which `read_task` reads them, and {unfinished} is true of those that are not at an end: see
-- `safelight.store.queries`.

-- name: get_tasks(ids)
-- Tasks by their ids, a JSON list: those that are asked for at the same time, in one query.
select {task}
from tasks
where id in (select value from json_each(:ids));

-- name: get_any_task(id, oldest)
-- A task of any owner: for its files, whose links need no key, and for its worker.
select {task}
from tasks
where id = :id and (finished is null or finished > :oldest);

-- name: add_task(id, owner, kind, dialect, status, seed, submit, created)
insert into tasks (id, owner, kind, dialect, status, seed, submit, created, updated)
values (:id, :owner, :kind, :dialect, :status, :seed, :submit, :created, :created)
returning id;

-- name: add_event(task_id, at, what, attempt, note)!
-- Events are numbered, for several may happen in one millisecond.
insert into events (task_id, number, at, what, attempt, note)
values (
    :task_id, (select coalesce(max(number), 0) + 1 from events where task_id = :task_id),
    :at, :what, :attempt, :note
);

-- name: add_event_of_attempt(task_id, at, what, attempt, note)!
-- As `add_event`, for a worker that still holds the task and for no other.
insert into events (task_id, number, at, what, attempt, note)
select id, (select coalesce(max(number), 0) + 1 from events where task_id = :task_id),
       cast(:at as bigint), cast(:what as text), attempt, cast(:note as text)
from tasks
where id = :task_id and attempt = :attempt and {unfinished};

-- name: get_events(task_id)
-- An attempt begins when another has lost its claim: of those that wait for the same row at once, the
-- numbers alone may be the same.
select at, what, attempt, note from events where task_id = :task_id order by attempt, number, at;

-- name: get_idempotency(owner, token)
-- What that key was used for last, and when that task ended.
select digest, task_id, finished
from idempotency join tasks on tasks.id = task_id
where idempotency.owner = :owner and token = :token;

-- name: drop_idempotency(owner, token, task_id)!
delete from idempotency where owner = :owner and token = :token and task_id = :task_id;

-- name: add_idempotency(owner, token, digest, task_id)
-- Nothing is returned where another submission with that key was first, at this very moment.
insert into idempotency (owner, token, digest, task_id)
values (:owner, :token, :digest, :task_id)
on conflict (owner, token) do nothing
returning task_id;

-- name: claim_task(id, worker, again, waits, now)
-- Take a task for a worker. A task that a worker still held has lost that worker to a death; but
-- not where `again` names it, which claims once more because the answer to its claim was lost.
update tasks
set status = case when status = 'queued' and :waits = 0 then 'running' else status end,
    attempt = attempt + 1,
    deaths = deaths + case when worker is null or worker = :again then 0 else 1 end,
    worker = :worker,
    started = case when :waits = 0 then coalesce(started, :now) else started end,
    updated = :now
where id = :id and {unfinished}
returning {task};

-- name: start_task(id, attempt, now)
-- A task that was claimed to wait elsewhere, and is being made there by now.
update tasks
set status = 'running', started = coalesce(started, :now), updated = :now
where id = :id and attempt = :attempt and status = 'queued'
returning id;

-- name: remember(id, attempt, memory)
update tasks
set memory = :memory
where id = :id and attempt = :attempt and {unfinished}
returning id;

-- name: recall(id)
select memory from tasks where id = :id;

-- name: release_task(id, attempt, now)
-- Give a task back unharmed, to be run again: a worker that is told to stop did not die.
update tasks
set worker = null, updated = :now
where id = :id and attempt = :attempt and {unfinished}
returning id;

-- name: set_progress(id, attempt, progress, now)
-- Also while uploading: a task whose worker died there is made once more, and stays uploading.
-- And while queued, of a task that waits elsewhere.
update tasks
set progress = :progress, updated = :now
where id = :id and attempt = :attempt and {unfinished}
returning id;

-- name: set_uploading(id, attempt, now)
update tasks
set status = 'uploading', updated = :now
where id = :id and attempt = :attempt and status in ('running', 'uploading')
returning id;

-- name: finish_task(id, attempt, status, progress, artifacts, failure, now)
-- The end of a task, written by the worker that holds it and by no other. Any task that is not at
-- an end may fail, and one that was made may succeed.
update tasks
set status = :status, progress = coalesce(:progress, progress), artifacts = :artifacts,
    failure = :failure, worker = null, finished = :now, updated = :now
where id = :id and attempt = :attempt and {unfinished}
  and (status <> 'queued' or :status = 'failed')
returning id;

-- name: cancel_task(id, owner, kind, failure, now)
update tasks
set status = 'canceled', failure = :failure, worker = null, finished = :now, updated = :now
where id = :id and owner = :owner and kind = coalesce(:kind, kind)
  and {unfinished}
returning {task};

-- name: delete_task(id, owner, kind)
delete from tasks
where id = :id and owner = :owner and kind = coalesce(:kind, kind)
returning id;

-- name: list_tasks(owner, kind, queued, running, uploading, succeeded, failed, canceled, before, since, until, oldest, limit, offset)
-- The parameters named like statuses are the status itself where it is wanted, else null.
select {task}
from tasks
where owner = :owner and kind = coalesce(:kind, kind)
  and status in (:queued, :running, :uploading, :succeeded, :failed, :canceled)
  and id < :before and created >= :since and created <= :until
  and (finished is null or finished > :oldest)
order by id desc
limit :limit offset :offset;

-- name: count_tasks(owner, kind, queued, running, uploading, succeeded, failed, canceled, since, until, oldest)
select count(*)
from tasks
where owner = :owner and kind = coalesce(:kind, kind)
  and status in (:queued, :running, :uploading, :succeeded, :failed, :canceled)
  and created >= :since and created <= :until
  and (finished is null or finished > :oldest);

-- name: unfinished_tasks(after, limit)
-- What has to be in the queue, in the order of acceptance.
select id from tasks
where {unfinished} and id > :after
order by id
limit :limit;

-- name: expired_tasks(oldest, finished, id, limit)
-- In an order that can be gone on with after a task that has to stay.
select finished, id from tasks
where finished <= :oldest and finished >= :finished and (finished > :finished or id > :id)
order by finished, id
limit :limit;

-- name: remove_task(id)!
delete from tasks where id = :id;

-- name: count_by_status()
select status, count(*) from tasks group by status;

-- name: claim_chore(name, now, due, late)
-- Take what one of all processes is to do now and then; nothing where it was done after `due`. Done
-- after `late` it was by a clock that was wrong, which says nothing.
insert into chores (name, done) values (:name, :now)
on conflict (name) do update
set done = excluded.done where chores.done <= :due or chores.done > :late
returning name;

-- name: get_chore(name)
select done from chores where name = :name;

-- name: take_turns(name, now, late, span)
-- Times in microseconds: from when on the turns are that were taken, plus `span`. What was taken
-- up to a time after `late` was so by a clock that was wrong, and counts as nothing.
insert into turns (name, next) values (:name, cast(:now as bigint) + :span)
on conflict (name) do update
set next = case when turns.next between :now and :late then turns.next else :now end + :span
returning next;

-- name: keep_provider_key(name, secret, created)!
insert into provider_keys (name, secret, created) values (:name, :secret, :created)
on conflict (name) do update set secret = excluded.secret, created = excluded.created;

-- name: get_provider_key(name)
select secret from provider_keys where name = :name;

-- name: list_provider_keys()
select name, created from provider_keys order by name;

-- name: remove_provider_key(name)
delete from provider_keys where name = :name returning name;

-- name: add_key(id, name, lookup, secret, created)!
insert into keys (id, name, lookup, secret, created)
values (:id, :name, :lookup, :secret, :created);

-- name: find_key(lookup)
select id, secret from keys where lookup = :lookup and revoked is null;

-- name: get_key(id)
select id, secret from keys where id = :id and revoked is null;

-- name: list_keys()
select id, name, created, revoked from keys order by created, id;

-- name: revoke_key(id, now)
update keys set revoked = :now where id = :id and revoked is null returning id;

-- name: lock_key(id)
-- One transaction at a time for what is counted of a key.
update keys set name = name where id = :id returning id;

-- name: weigh_uploads(owner, oldest, least)
-- The bytes that a caller keeps; each file counts `least` at least.
select cast(coalesce(sum(case when size < :least then :least else size end), 0) as bigint)
from uploads
where owner = :owner and created > :oldest;

-- name: add_upload(id, owner, name, folder, size, media_type, created)!
insert into uploads (id, owner, name, folder, size, media_type, created)
values (:id, :owner, :name, :folder, :size, :media_type, :created);

-- name: resize_upload(id, size)
update uploads set size = :size where id = :id and received is null returning id;

-- name: receive_upload(id, blob, size, media_type, now)
update uploads set blob = :blob, size = :size, media_type = :media_type, received = :now
where id = :id and received is null
returning id;

-- name: get_upload(id)
select id, owner, name, folder, size, media_type, created, received, blob
from uploads
where id = :id;

-- name: old_uploads(oldest, created, id, limit)
select created, id from uploads
where created <= :oldest and created >= :created and (created > :created or id > :id)
order by created, id
limit :limit;

-- name: remove_upload(id)!
delete from uploads where id = :id;
