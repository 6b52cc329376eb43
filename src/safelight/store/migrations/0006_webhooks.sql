-- Where callers are told of their tasks. An endpoint is what its owner made, or, with an `origin`
-- (scheme, host and port) and no address, all the addresses there that tasks were given for
-- themselves: a place that does not answer is one endpoint, however many tasks name it. `held` is
-- the time before which nothing is sent there, and `lease` that up to which `holder`, a process,
-- sends alone. Secrets are encrypted.
create table endpoints (
    id text primary key,
    owner text not null,
    origin text,
    url text not null,
    events text not null,
    description text not null,
    secret text,
    old_secret text,
    old_until bigint,
    state text not null,
    reason text,
    failures integer not null default 0,
    failing_since bigint,
    held bigint not null default 0,
    holder text,
    lease bigint not null default 0,
    used bigint not null,
    created bigint not null
);
create unique index endpoints_of_owners on endpoints (owner, origin);
create index endpoints_of_origins on endpoints (used) where origin is not null;

-- The address that one task was given for itself.
create table callbacks (
    task_id text primary key references tasks (id) on delete cascade,
    endpoint text not null,
    url text not null,
    events text not null,
    secret text,
    format text not null
);
create index callbacks_of_endpoints on callbacks (endpoint);

-- What is told to an endpoint: of a task as it was then, or a `body`. No key refers to the
-- endpoint: one that is removed just now must not undo the change of a task that is told to it.
create table deliveries (
    id text primary key,
    endpoint text not null,
    owner text not null,
    task_id text references tasks (id) on delete cascade,
    type text not null,
    revision integer not null default 0,
    status text,
    attempt integer,
    progress integer,
    artifacts text,
    failure text,
    started bigint,
    finished bigint,
    updated bigint,
    body text,
    state text not null default 'pending',
    tries integer not null default 0,
    step integer not null default 0,
    next bigint not null default 0,
    created bigint not null,
    ended bigint
);
create index deliveries_due on deliveries (endpoint, next, created, id) where ended is null;
create index deliveries_of_endpoint on deliveries (endpoint, created, id);
create index deliveries_of_task on deliveries (task_id);
create index deliveries_listed on deliveries (owner, created, id);
create index deliveries_old on deliveries (created);

create table tries (
    delivery text not null references deliveries (id) on delete cascade,
    number integer not null,
    at bigint not null,
    millis integer not null,
    status integer,
    problem text,
    answer text,
    primary key (delivery, number)
);
