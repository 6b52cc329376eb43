-- What an engine must know of a task if it is run again: JSON, its own.
alter table tasks add column memory text;

-- Keys of ours at other services; `secret` is encrypted.
create table provider_keys (
    name text primary key,
    secret text not null,
    created bigint not null
);

-- Turns to ask another service, shared by all processes: when the next one is, in microseconds.
create table turns (
    name text primary key,
    next bigint not null
);
