-- Scheduled reports: the latest slot that was taken of each, every report that was made, and its files.

create table report_slot (
    name text primary key,
    slot timestamptz not null
);

create table report (
    id bigint generated always as identity primary key,
    name text not null,
    slot timestamptz,                       -- null: made by hand
    period text,                            -- null: of the instant at which it was made
    asked_at timestamptz not null,
    status text not null default 'waiting' check (status in ('waiting', 'made', 'failed')),
    failures integer not null default 0,
    problem text not null default '',       -- of the last failure
    made_at timestamptz,
    host text,                              -- on whose disk its files are
    said jsonb,                             -- what it says in short
    constraint made check ((status = 'made') = (made_at is not null and host is not null and said is not null)),
    unique (name, slot)
);
create index report_made on report (name, made_at) where status = 'made';

create table report_file (
    report_id bigint not null references report,
    format text not null,
    path text not null,                     -- absolute
    media_type text not null,
    bytes bigint not null check (bytes >= 0),
    sha256 bytea not null check (length(sha256) = 32),
    deleted_at timestamptz,                 -- when it made room for a newer one
    primary key (report_id, format)
);
create index report_file_kept on report_file (report_id) where deleted_at is null;
