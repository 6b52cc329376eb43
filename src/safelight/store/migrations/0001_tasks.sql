-- Times are milliseconds since 1970, UTC. One text for SQLite and PostgreSQL.

create table tasks (
    id text primary key,
    owner text not null,
    kind text not null,
    dialect text not null,
    status text not null,
    attempt integer not null default 0,
    deaths integer not null default 0,
    worker text,
    progress integer,
    seed bigint,
    credits double precision not null default 0,
    submit text not null,
    artifacts text,
    failure text,
    created bigint not null,
    started bigint,
    finished bigint,
    updated bigint not null
);

-- A caller's list, the newest first.
create index tasks_of_owner on tasks (owner, id);
-- What has to be run again after a crash, and the counts by status.
create index tasks_by_status on tasks (status, id);
-- What is to be swept.
create index tasks_by_end on tasks (finished) where finished is not null;

-- What happened to a task: every change of its status, and the lines of its engine's log.
create table events (
    task_id text not null references tasks (id) on delete cascade,
    at bigint not null,
    what text not null,
    attempt integer not null,
    note text not null
);
create index events_of_task on events (task_id, at);

-- The same key, header and body is the same task.
create table idempotency (
    owner text not null,
    token text not null,
    digest text not null,
    task_id text not null references tasks (id) on delete cascade,
    primary key (owner, token)
);
create index idempotency_of_task on idempotency (task_id);

-- `lookup` is a keyed hash of the secret; `secret` is the secret itself, encrypted.
create table keys (
    id text primary key,
    name text not null,
    lookup text not null unique,
    secret text not null,
    created bigint not null,
    revoked bigint
);
