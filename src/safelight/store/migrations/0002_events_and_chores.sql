-- Several events may happen in one millisecond: a number says their order.
alter table events add column number integer not null default 0;
drop index events_of_task;
create index events_of_task on events (task_id, number);

-- What one of all processes does now and then, and when it was done last.
create table chores (
    name text primary key,
    done bigint not null
);
