-- Files that callers gave to be named as sources by their links: `name` and `folder` are their words
-- for them, `received` is when the file was here, and `blob` where it is; null while it is to come.
create table uploads (
    id text primary key,
    owner text not null,
    name text not null,
    folder text not null,
    size bigint not null,
    media_type text,
    created bigint not null,
    received bigint,
    blob text
);
-- What a caller has, and what is to be swept.
create index uploads_of_owner on uploads (owner, created);
create index uploads_by_time on uploads (created);
