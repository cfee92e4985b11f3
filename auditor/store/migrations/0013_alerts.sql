-- Alerts that wait and are gathered, every attempt to deliver them, and what was said of findings again.

alter table alert
    add column finding_key text,            -- null: of no finding
    add column recipients text[] not null default '{}';     -- addresses of who can act, as they were when it came up
update alert set finding_key = data->>'key' where data ? 'key';
create index alert_of_finding on alert (finding_key) where finding_key is not null;
create index alert_at on alert using brin (at);     -- they come in this order, so that it costs next to nothing

-- A digest is an alert, too: its data is the message, frozen before the first attempt.
alter table delivery
    add column since timestamptz,           -- since when it may leave; so long after it trying ends
    add column due_at timestamptz,          -- when a held one leaves
    add column digest_id uuid references alert on delete cascade deferrable initially deferred,
    add column next_attempt_at timestamptz, -- about when, where an attempt failed
    drop constraint delivery_state_check,
    drop constraint delivery_alert_id_fkey,
    add constraint delivery_alert_id_fkey foreign key (alert_id) references alert on delete cascade;
update delivery d set since = a.at, state = case state when 'given_up' then 'dead' else state end
    from alert a where a.id = d.alert_id;
alter table delivery
    alter since set not null,
    add constraint delivery_state_check check (state in ('held', 'gathered', 'pending', 'delivered', 'dead')),
    add constraint held_until check ((state = 'held') = (due_at is not null)),
    add constraint gathered_into check ((state = 'gathered') = (digest_id is not null));
drop index delivery_pending;
create index delivery_pending on delivery (hook, since) where state = 'pending';
create index delivery_held on delivery (hook, due_at) where state = 'held';
create index delivery_dead on delivery (hook, last_attempt_at) where state = 'dead';
create index delivery_gathered on delivery (digest_id) where digest_id is not null;

create table delivery_attempt (
    alert_id uuid not null,
    hook text not null,
    number integer not null check (number > 0),
    at timestamptz not null,
    seconds real,                           -- null: not measured
    is_delivered boolean not null,
    answer text not null,
    primary key (alert_id, hook, number),
    foreign key (alert_id, hook) references delivery on delete cascade
);
insert into delivery_attempt (alert_id, hook, number, at, is_delivered, answer)
    select alert_id, hook, attempts, last_attempt_at, state = 'delivered', last_answer
    from delivery where attempts > 0 and last_attempt_at is not null;

-- When hooks were last told that another takes nothing.
create table dead_letter_notice (
    hook text primary key,
    at timestamptz not null
);
insert into dead_letter_notice select hook, max(last_attempt_at) from delivery where state = 'dead' group by 1
    having max(last_attempt_at) is not null;

-- When hooks were told of an environment for the first time: its first sweep makes one summary.
alter table environment add column introduced_at timestamptz;
update environment e set introduced_at = s.at from (
    select environment_id, min(finished_at) as at from sweep where status in ('complete', 'incomplete') group by 1
) s where s.environment_id = e.id;

-- When word last went out that a finding is still open.
alter table finding add column reminded_at timestamptz;

create table acknowledgement (
    finding_id bigint primary key references finding,
    at timestamptz not null,
    until timestamptz check (until > at),   -- null: for as long as it is open and gets no worse
    by text not null check (by <> ''),
    note text not null,
    severity text not null check (severity in ('info', 'low', 'medium', 'high', 'critical'))    -- the worst it covers
);

-- Which hooks were told that nobody attended to a finding.
create table escalation (
    finding_id bigint not null references finding,
    hook text not null,
    at timestamptz not null,
    is_told boolean not null,               -- whether it heard of this one, so that it hears of its end
    primary key (finding_id, hook)
);

-- Findings that are resolved and back again and again, until they have settled.
create table flapping (
    finding_id bigint primary key references finding,
    told_at timestamptz not null,
    severity text not null check (severity in ('info', 'low', 'medium', 'high', 'critical')),
    is_behind boolean not null default false        -- whether something happened since that hooks were not told of
);
create index flapping_told on flapping (told_at);
