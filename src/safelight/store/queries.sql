-- Every query, by name, once for both databases. {task} are the columns of a task, in the order in
-- which `read_task` reads them, and {unfinished} is true of those that are not at an end: see
-- `safelight.store.queries`. Every write of what is told of a task raises its `revision`, and that of
-- its status says in `change` which transaction it is part of. Transactions are numbered by
-- PostgreSQL; on SQLite functions of the same names do so.

-- name: get_tasks(ids)
-- Tasks by their ids, a JSON list: those that are asked for at the same time, in one query.
select {task}
from tasks
where id in (select value from json_each(:ids));

-- name: get_revisions(ids)
select id, revision from tasks where id in (select value from json_each(:ids));

-- name: get_any_task(id, oldest)
-- A task of any owner: for its files, whose links need no key, and for its worker.
select {task}
from tasks
where id = :id and (finished is null or finished > :oldest);

-- name: add_task(id, owner, kind, dialect, status, seed, submit, model, engine, parent, priority, start_by, end_by, created)
insert into tasks (id, owner, kind, dialect, status, seed, submit, model, engine, parent, priority,
                   start_by, end_by, created, updated, revision, change)
values (:id, :owner, :kind, :dialect, :status, :seed, :submit, :model, :engine, :parent, :priority,
        :start_by, :end_by, :created, :created, 1, txid_current())
returning {task};

-- name: add_label(owner, name, value, task_id)!
insert into labels (owner, name, value, task_id) values (:owner, :name, :value, :task_id)
on conflict (owner, name, value, task_id) do nothing;

-- name: add_event(task_id, number, at, what, attempt, note)!
insert into events (task_id, number, at, what, attempt, note)
values (:task_id, :number, :at, :what, :attempt, :note);

-- name: note_line(id, attempt)
-- A line of the engine's log, from a worker that still holds the task and from no other.
update tasks
set revision = revision + 1
where id = :id and attempt = :attempt and {unfinished}
returning {task};

-- name: get_events(task_id, after)
select number, at, what, attempt, note from events
where task_id = :task_id and number > :after
order by number;

-- name: changed_tasks(owner, change, id, limit, oldest)
-- The changes of a caller's tasks after one of them. A transaction that began first may be
-- committed last: what is told is older than all that are still under way, so that none is missed.
select {task}, change
from tasks
where owner = :owner and change >= :change and (change > :change or id > :id)
  and change < txid_snapshot_xmin(txid_current_snapshot())
  and (finished is null or finished > :oldest)
order by change, id
limit :limit;

-- name: last_change(owner)
select coalesce(max(change), 0) from tasks
where owner = :owner and change < txid_snapshot_xmin(txid_current_snapshot());

-- name: is_to_come(change)
-- Whether no transaction has had that number yet.
select case when :change >= txid_snapshot_xmin(txid_current_snapshot()) then 1 else 0 end;

-- name: last_change_of_all()
-- Of all callers, one after the other, for the index of changes begins with them.
with recursive owners (owner) as (
    select min(owner) from tasks
    union all
    select (select min(owner) from tasks where owner > owners.owner)
    from owners where owners.owner is not null
)
select coalesce(max((select max(change) from tasks where tasks.owner = owners.owner)), 0)
from owners;

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
-- not where `again` names it, which claims once more because the answer to its claim was lost. What
-- is late is begun by nobody.
update tasks
set status = case when status = 'queued' and :waits = 0 then 'running' else status end,
    attempt = attempt + 1,
    deaths = deaths + case when worker is null or worker = :again then 0 else 1 end,
    worker = :worker,
    started = case when :waits = 0 then coalesce(started, :now) else started end,
    updated = :now, revision = revision + 1, change = txid_current()
where id = :id and {unfinished}
  and (start_by is null or status <> 'queued' or start_by > :now)
  and (end_by is null or end_by > :now)
returning {task};

-- name: start_task(id, attempt, now)
-- A task that was claimed to wait elsewhere, and is being made there by now.
update tasks
set status = 'running', started = coalesce(started, :now), updated = :now,
    revision = revision + 1, change = txid_current()
where id = :id and attempt = :attempt and status = 'queued'
returning {task};

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
set worker = null, updated = :now, revision = revision + 1
where id = :id and attempt = :attempt and {unfinished}
returning id;

-- name: set_progress(id, attempt, progress, now)
-- Also while uploading: a task whose worker died there is made once more, and stays uploading.
-- And while queued, of a task that waits elsewhere.
update tasks
set progress = :progress, updated = :now, revision = revision + 1
where id = :id and attempt = :attempt and {unfinished}
returning id, {wants_progress};

-- name: note_preview(id, attempt)
-- There is a picture of how far the task is, of the number that `previews` is now.
update tasks
set previews = previews + 1, revision = revision + 1
where id = :id and attempt = :attempt and {unfinished}
returning id;

-- name: set_uploading(id, attempt, now)
update tasks
set status = 'uploading', updated = :now, revision = revision + 1, change = txid_current()
where id = :id and attempt = :attempt and status in ('running', 'uploading')
returning {task};

-- name: finish_task(id, attempt, status, progress, artifacts, failure, now)
-- The end of a task, written by the worker that holds it and by no other. Any task that is not at
-- an end may fail, and one that was made may succeed.
update tasks
set status = :status, progress = coalesce(:progress, progress), artifacts = :artifacts,
    failure = :failure, worker = null, finished = :now, updated = :now,
    revision = revision + 1, change = txid_current()
where id = :id and attempt = :attempt and {unfinished}
  and (status <> 'queued' or :status = 'failed')
returning {task};

-- name: cancel_task(id, owner, kind, failure, now)
update tasks
set status = 'canceled', failure = :failure, worker = null, finished = :now, updated = :now,
    revision = revision + 1, change = txid_current()
where id = :id and owner = :owner and kind = coalesce(:kind, kind)
  and {unfinished}
returning {task};

-- name: delete_task(id, owner, kind, force)
delete from tasks
where id = :id and owner = :owner and kind = coalesce(:kind, kind)
  and (:force = 1 or not {unfinished})
returning id;

-- name: list_tasks(owner, kind, queued, running, uploading, succeeded, failed, canceled, since, until, oldest, model, dialect, parent, ended_since, named, names, before, limit, offset)
-- The parameters named like statuses are the status itself where it is wanted, else null.
select {task}, change
from tasks
where {listed} and id < :before
order by id desc
limit :limit offset :offset;

-- name: list_tasks_of_model(owner, kind, queued, running, uploading, succeeded, failed, canceled, since, until, oldest, model, dialect, parent, ended_since, named, names, before, limit, offset)
select {task}, change
from tasks
where model = :model and {listed} and id < :before
order by id desc
limit :limit offset :offset;

-- name: list_named_tasks(owner, kind, queued, running, uploading, succeeded, failed, canceled, since, until, oldest, model, dialect, parent, ended_since, named, names, name, value, before, limit, offset)
-- Those that their caller calls so, by the index of that.
select {task}, change
from (select task_id as called from labels
      where owner = :owner and name = :name and value = :value) as so_called
join tasks on id = called
where {listed} and called < :before
order by called desc
limit :limit offset :offset;

-- name: list_changed_tasks(owner, kind, queued, running, uploading, succeeded, failed, canceled, since, until, oldest, model, dialect, parent, ended_since, named, names, change, before, limit, offset)
select {task}, change
from tasks
where {listed} and change <= :change and (change < :change or id < :before)
order by change desc, id desc
limit :limit offset :offset;

-- name: count_tasks(owner, kind, queued, running, uploading, succeeded, failed, canceled, since, until, oldest, model, dialect, parent, ended_since, named, names)
select count(*)
from tasks
where {listed};

-- name: late_tasks(now, limit)
-- Tasks that are not begun, or not at their end, in the time that they were given for it.
select id, 1, (start_by - created) / 1000.0 from tasks
where status = 'queued' and start_by <= :now
union all
select id, 0, (end_by - created) / 1000.0 from tasks
where finished is null and end_by <= :now
limit :limit;

-- name: end_late_task(id, status, failure, starting, now)
-- The end of a task that is late: to be begun, or to be at its end.
update tasks
set status = :status, failure = :failure, worker = null, finished = :now, updated = :now,
    revision = revision + 1, change = txid_current()
where id = :id and {unfinished}
  and (:starting = 1 and status = 'queued' and start_by <= :now
       or :starting = 0 and end_by <= :now)
returning {task};

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

-- name: learn_pace(model, engine, millis)!
-- The mean of the runs that there were at first, and then a moving one.
insert into paces (model, engine, runs, mean) values (:model, :engine, 1, :millis)
on conflict (model, engine) do update
set runs = paces.runs + 1,
    mean = paces.mean + (excluded.mean - paces.mean)
           * case when paces.runs < 9 then 1.0 / (paces.runs + 1) else 0.1 end;

-- name: get_paces()
select model, engine, mean from paces;

-- name: get_loads()
select engine, status, count(*), min(created)
from tasks
where {unfinished}
group by engine, status;

-- name: count_ahead(engine, priority, id, limit)
-- Those that wait for an engine and are run before a task of that priority and id, up to `limit`.
select count(*) from (
    select 1 from tasks
    where engine = :engine and status = 'queued'
      and (priority > :priority or priority = :priority and id < :id)
    limit :limit
) as ahead;

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

-- name: get_key_name(id)
select name from keys where id = :id;

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

-- --------------------------------------------------------------------------------------- webhooks

-- name: is_heard(id, owner)
-- Whether anybody may want to hear of a task: a look that costs next to nothing, for SQLite, where
-- to add what is to be told costs twenty times as much, also where that is nothing.
select exists (select 1 from endpoints where owner = :owner and origin is null)
    or exists (select 1 from callbacks where task_id = :id);

-- name: add_deliveries(id, at)
{telling};

-- name: add_progress(id, now)
-- How far a task is, to who wants to hear of it.
insert into deliveries (id, endpoint, owner, task_id, type, revision, status, attempt, progress,
                        started, updated, created)
select 'msg_' || id || '_' || revision || '_' || endpoint, endpoint, owner, id, 'task.progress',
       revision, status, attempt, progress, started, updated, :now
from tasks join ({progress_hearers}) as hearers on true
where id = :id
on conflict (id) do nothing
returning endpoint;

-- name: drop_progress(id)!
-- What of it was not sent yet, nor tried: the newest alone is told.
delete from deliveries
where task_id = :id and type = 'task.progress' and ended is null;

-- name: add_endpoint(id, owner, url, events, description, secret, now)!
insert into endpoints (id, owner, url, events, description, secret, state, used, created)
values (:id, :owner, :url, :events, :description, :secret, 'on', :now, :now);

-- name: count_endpoints(owner)
select count(*) from endpoints where owner = :owner and origin is null;

-- name: count_origins(owner)
select count(*) from endpoints where owner = :owner and origin is not null;

-- name: list_endpoints(owner)
select {endpoint} from endpoints where owner = :owner and origin is null order by id;

-- name: get_endpoint(id, owner)
select {endpoint} from endpoints where id = :id and owner = :owner and origin is null;

-- name: change_endpoint(id, owner, url, events, description)
-- What is null stays as it is.
update endpoints
set url = coalesce(:url, url), events = coalesce(:events, events),
    description = coalesce(:description, description)
where id = :id and owner = :owner and origin is null
returning {endpoint};

-- name: rotate_endpoint(id, owner, secret, until)
update endpoints
set old_secret = secret, old_until = :until, secret = :secret
where id = :id and owner = :owner and origin is null
returning {endpoint};

-- name: enable_endpoint(id, owner)
-- Also where it is on: what was to be waited for is over.
update endpoints
set state = 'on', reason = null, failures = 0, failing_since = null, held = 0
where id = :id and owner = :owner and origin is null
returning {endpoint};

-- name: remove_endpoint(id, owner)
delete from endpoints where id = :id and owner = :owner and origin is null returning id;

-- name: remove_deliveries_to(endpoint)!
delete from deliveries where endpoint = :endpoint;

-- name: add_origin(id, owner, origin, now)
insert into endpoints (id, owner, origin, url, events, description, state, used, created)
values (:id, :owner, :origin, '', '', '', 'on', :now, :now)
on conflict (owner, origin) do nothing
returning id;

-- name: use_origin(owner, origin, now, before)!
-- Now and then, so that those who use it need not wait for each other.
update endpoints set used = :now where owner = :owner and origin = :origin and used < :before;

-- name: get_origin(owner, origin)
select id from endpoints where owner = :owner and origin = :origin;

-- name: callback_secret(task_id)
select secret from callbacks where task_id = :task_id;

-- name: add_callback(task_id, endpoint, url, events, secret, format)!
insert into callbacks (task_id, endpoint, url, events, secret, format)
values (:task_id, :endpoint, :url, :events, :secret, :format);

-- name: waiting_endpoints(limit)
-- The endpoints to which something is to be sent, and when that is due: those that are due longest
-- first. Each is found by the index of what is to be sent, and none of what waits behind it.
with recursive waiting (endpoint) as (
    select min(endpoint) from deliveries where ended is null
    union all
    select (select min(endpoint) from deliveries
            where ended is null and endpoint > waiting.endpoint)
    from waiting where waiting.endpoint is not null
), dues (id, owner, ready, due) as (
    select endpoints.id, endpoints.owner,
           case when endpoints.held > endpoints.lease then endpoints.held else endpoints.lease end,
           (select min(next) from deliveries
            where deliveries.endpoint = endpoints.id and ended is null)
    from waiting join endpoints on endpoints.id = waiting.endpoint
    where endpoints.state = 'on'
)
select id, owner, case when ready > due then ready else due end as due
from dues order by due, id limit :limit;

-- name: take_endpoint(id, holder, now, until)
-- Take an endpoint, so that one process alone sends there.
update endpoints
set holder = :holder, lease = :until
where id = :id and lease <= :now and held <= :now and state = 'on'
returning id, owner, origin, url, secret, old_secret, old_until, failures, failing_since;

-- name: keep_endpoint(id, holder, until)
update endpoints set lease = :until where id = :id and holder = :holder returning id;

-- name: leave_endpoint(id, holder)!
update endpoints set lease = 0, holder = null where id = :id and holder = :holder;

-- name: due_deliveries(endpoint, now, limit)
-- What is due at an endpoint, and of a task what it was then, with what of it does not change.
select deliveries.id, deliveries.type, deliveries.tries, deliveries.step, deliveries.body,
       deliveries.created, callbacks.url, callbacks.secret, callbacks.format,
       {told}, tasks.finished
from deliveries
left join tasks on tasks.id = deliveries.task_id
left join callbacks on callbacks.task_id = deliveries.task_id
    and callbacks.endpoint = deliveries.endpoint
where deliveries.endpoint = :endpoint and deliveries.ended is null and deliveries.next <= :now
order by deliveries.next, deliveries.created, deliveries.id
limit :limit;

-- name: note_try(id, tries, step, state, next, ended)
-- What became of a delivery; nothing where it is gone, or another has noted that try.
update deliveries
set tries = :tries, step = :step, state = :state, next = :next, ended = :ended
where id = :id and ended is null and tries < :tries
returning id;

-- name: add_try(delivery, number, at, millis, status, problem, answer)!
insert into tries (delivery, number, at, millis, status, problem, answer)
values (:delivery, :number, :at, :millis, :status, :problem, :answer)
on conflict (delivery, number) do nothing;

-- name: note_success(id)!
update endpoints set failures = 0, failing_since = null, held = 0
where id = :id and failures > 0;

-- name: note_failure(id, failures, now, held)
-- How many failed one after the other; of those that were under way at once it is one.
update endpoints
set failures = :failures, failing_since = coalesce(failing_since, :now),
    held = case when held > :held then held else :held end
where id = :id and failures < :failures
returning failing_since;

-- name: disable_endpoint(id, reason)
update endpoints
set state = 'off', reason = :reason
where id = :id and state = 'on' and origin is null
returning owner, url;

-- name: drop_delivery(id)!
delete from deliveries where id = :id and ended is null;

-- name: give_up_deliveries(endpoint, now)
-- What is to be sent to an endpoint that is off is not sent any more.
update deliveries
set state = 'failed', ended = :now
where endpoint = :endpoint and ended is null
returning id;

-- name: add_message(id, endpoint, owner, type, body, now)!
insert into deliveries (id, endpoint, owner, type, body, created)
values (:id, :endpoint, :owner, :type, :body, :now)
on conflict (id) do nothing;

-- name: other_endpoints(owner, id)
select id from endpoints
where owner = :owner and origin is null and state = 'on' and id <> :id
order by id;

-- name: redeliver(id, owner)
-- Send it once more, whatever became of it, with its schedule from the beginning.
update deliveries
set state = 'pending', step = 0, next = 0, ended = null
where id = :id and owner = :owner
returning endpoint;

-- name: recover_deliveries(endpoint, owner, since)
update deliveries
set state = 'pending', step = 0, next = 0, ended = null
where endpoint = :endpoint and owner = :owner and created >= :since and state = 'failed'
returning id;

-- name: list_deliveries(owner, endpoint, state, task, created, id, limit)
-- The newest first, those before one of them; what is null is not asked for.
select {delivery}
from deliveries
where owner = :owner
  and deliveries.endpoint = coalesce(:endpoint, deliveries.endpoint)
  and state = coalesce(:state, state)
  and coalesce(deliveries.task_id, '') = coalesce(:task, deliveries.task_id, '')
  and created <= :created and (created < :created or id < :id)
order by created desc, id desc
limit :limit;

-- name: get_delivery(id, owner)
select {delivery}
from deliveries where id = :id and owner = :owner;

-- name: get_tries(delivery)
select number, at, millis, status, problem, answer from tries
where delivery = :delivery
order by number;

-- name: remove_old_deliveries(before)
-- Old ones, and those of endpoints that were removed just as they were made: some at a time.
delete from deliveries
where id in (select id from deliveries where created < :before order by created limit 500)
returning id;

-- name: remove_stray_deliveries()!
delete from deliveries
where ended is null and not exists (select 1 from endpoints where endpoints.id = endpoint);

-- name: remove_origins(before)!
-- Hosts of tasks' own addresses to which nothing is to be told any more.
delete from endpoints
where origin is not null and used < :before
  and not exists (select 1 from callbacks where callbacks.endpoint = endpoints.id);

-- name: count_deliveries()
-- How many are to be sent yet, how many endpoints are off, and when the oldest of the first was made.
select (select count(*) from deliveries where ended is null),
       (select count(*) from endpoints where state = 'off'),
       (select min(created) from deliveries where ended is null);
