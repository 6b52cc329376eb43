-- `revision` goes up by one with every write of a row: it orders what is told of a task. `change` is
-- the transaction that last changed its status: it orders the changes of all tasks. `model` and
-- `engine` are of the time when the task was accepted; tasks from before this schema have none.
alter table tasks add column revision integer not null default 0;
alter table tasks add column change bigint not null default 0;
alter table tasks add column model text not null default '';
alter table tasks add column engine text not null default '';
-- How many pictures there were of how far it was: the last one is kept.
alter table tasks add column previews integer not null default 0;
-- The task that this one retries.
alter table tasks add column parent text;
-- Of two waiting tasks the one of the higher priority is run first.
alter table tasks add column priority integer not null default 0;
-- When a task that is not begun has failed, and when one that is not at its end is canceled.
alter table tasks add column start_by bigint;
alter table tasks add column end_by bigint;

create index tasks_changed on tasks (owner, change, id);
create index tasks_of_model on tasks (owner, model, id);
create index tasks_waiting on tasks (engine, priority, id) where status = 'queued';
create index tasks_to_start on tasks (start_by) where start_by is not null and status = 'queued';
create index tasks_to_end on tasks (end_by) where end_by is not null and finished is null;

-- What callers call their tasks: labels, under no name, and metadata under their own.
create table labels (
    owner text not null,
    name text not null,
    value text not null,
    task_id text not null references tasks (id) on delete cascade,
    primary key (owner, name, value, task_id)
);
create index labels_of_task on labels (task_id);

-- How long the tasks of a model took of late, in milliseconds: a moving mean of so many runs.
create table paces (
    model text not null,
    engine text not null,
    runs integer not null,
    mean double precision not null,
    primary key (model, engine)
);

-- An event has the number of the revision of the task that it was written with.
create table numbered (
    task_id text not null references tasks (id) on delete cascade,
    number integer not null,
    at bigint not null,
    what text not null,
    attempt integer not null,
    note text not null,
    primary key (task_id, number)
);
insert into numbered (task_id, number, at, what, attempt, note)
select task_id, row_number() over (partition by task_id order by attempt, number, at),
       at, what, attempt, note
from events;
drop table events;
alter table numbered rename to events;
update tasks
set revision = (select coalesce(max(number), 0) from events where task_id = tasks.id);
