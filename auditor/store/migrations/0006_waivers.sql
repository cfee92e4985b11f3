-- Waivers: findings that somebody accepts until a day. They mute; status, severity and evidence stay what they are.

-- Those that `auditor waive` makes; the others stand in files. One that is withdrawn stays, for those who ask later.
create table waiver (
    id text primary key,
    finding_key text not null,
    owner text not null check (owner <> ''),
    approver text not null check (approver <> ''),
    reason text not null check (reason <> ''),
    ticket text not null check (ticket <> ''),
    since timestamptz not null,
    until timestamptz not null check (until > since),
    removed_at timestamptz
);

-- When sweeps met each waiver, from files or from above: tells the ones that match nothing.
create table waiver_sight (
    waiver_id text not null,
    since timestamptz not null,             -- of the waiver: tells one from another that had its id before
    first_seen_at timestamptz not null,
    matched_at timestamptz,                 -- when a sweep last ended with a finding that it waives
    primary key (waiver_id, since)
);

-- What was said of waivers that are about to end, so that it is said once; a later end is another thing to say.
create table waiver_warning (
    environment_id smallint not null references environment,
    waiver_id text not null,
    until timestamptz not null,
    at timestamptz not null,
    primary key (environment_id, waiver_id, until)
);

alter table finding
    add column waiver jsonb,                -- the terms of the waiver that mutes it
    add column waived_severity text check (waived_severity in ('info', 'low', 'medium', 'high', 'critical')),
    add constraint waived_whole check ((waiver is null) = (waived_severity is null)),
    add constraint waived_while_open check (waiver is null or status = 'open');
create index finding_waived on finding (environment_id) where waiver is not null;

-- `auditor waive` acts between sweeps.
alter table finding_event
    alter column sweep_id drop not null,
    add column waiver jsonb,
    drop constraint finding_event_transition_check,
    add constraint finding_event_transition_check check (
        transition in ('opened', 'escalated', 'eased', 'resolved', 'reopened', 'waived', 'lapsed')
    ),
    add constraint waiver_of_waived check ((waiver is not null) = (transition in ('waived', 'lapsed')));
