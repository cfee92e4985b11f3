-- Environments, sweeps, stored tokens with what lookups said of them, findings, and the alerts that findings cause.

create table environment (
    id smallint generated always as identity primary key,
    name text not null unique check (name ~ '^[A-Za-z0-9][A-Za-z0-9_.-]*$'),
    url text not null
);

-- The policies that sweeps applied, whole, so that a finding can be explained years later.
create table policy (
    digest text primary key check (digest ~ '^[0-9a-f]{64}$'),
    document jsonb not null,
    first_applied_at timestamptz not null
);

create table sweep (
    id bigint generated always as identity primary key,
    environment_id smallint not null references environment,
    policy_digest text not null references policy,
    rules jsonb not null,                   -- rule id -> state and reason: what the policy amounted to here
    self_lookup boolean not null,
    started_at timestamptz not null,
    finished_at timestamptz,
    status text not null check (status in ('running', 'complete', 'incomplete', 'failed')),
    enrolled integer not null default 0 check (enrolled >= 0),
    found integer not null default 0 check (found >= 0),
    missing integer not null default 0 check (missing >= 0),
    refused integer not null default 0 check (refused >= 0),
    failed integer not null default 0 check (failed >= 0),
    reasons jsonb not null default '{}',
    source_problems jsonb not null default '{}',
    constraint running_until_finished check ((status = 'running') = (finished_at is null)),
    constraint accounts_for_every_token check (finished_at is null or enrolled = found + missing + refused + failed)
);
create index sweep_latest on sweep (environment_id, id desc);

-- One row a stored token: who it is, where it is stored, and the latest evidence about it.
create table token (
    id bigint generated always as identity primary key,
    environment_id smallint not null references environment,
    fingerprint bytea not null check (octet_length(fingerprint) = 16),
    label text not null,
    public_id text,
    places text[] not null,
    tags text[] not null,
    first_seen_at timestamptz not null,
    removed_at timestamptz,                 -- when a complete reading of the sources no longer held it
    outcome text check (outcome in ('found', 'missing')),
    changed_at timestamptz,                 -- when anything but use last changed
    disabled_since timestamptz,             -- when a sweep first saw it disabled
    returned_id text,
    name text,
    owner text,
    enabled boolean,
    personal_access_token boolean,
    creation_date timestamptz,
    modified_date timestamptz,
    expiration_date timestamptz,
    last_used_date timestamptz,
    last_used_ip_address text,
    scopes text[] not null default '{}',
    additional_metadata jsonb not null default '{}',
    unique (environment_id, fingerprint),
    unique (environment_id, label)
);

-- The last lookup of each token: the one row a token that every sweep writes, so it is narrow and updates in place.
create table lookup (
    token_id bigint primary key references token,
    sweep_id bigint not null,
    at timestamptz not null,
    outcome text not null check (outcome in ('found', 'missing', 'refused', 'throttled', 'unreachable', 'malformed')),
    reason text not null,
    evident_at timestamptz,                 -- the last lookup that was found or missing
    misses integer not null,                -- missing in so many evident lookups running
    failures integer not null               -- without evidence in so many lookups running
) with (fillfactor = 50);

-- What a sweep has enrolled so far: tells a secret's second place from its first, and what is no longer stored.
-- Needed only while the sweep runs, hence unlogged.
create unlogged table enrolment (
    sweep_id bigint not null,
    fingerprint bytea not null,
    places text[] not null,
    tags text[] not null,
    primary key (sweep_id, fingerprint)
);

-- The state of a token after each change of anything but use.
create table token_change (
    token_id bigint not null references token,
    at timestamptz not null,
    sweep_id bigint not null references sweep,
    outcome text not null check (outcome in ('found', 'missing')),
    state jsonb not null,
    primary key (token_id, at)
);

-- Uses as sweeps saw them: at most one a sweep, only when the date or the address moved.
create table token_use (
    token_id bigint not null references token,
    observed_at timestamptz not null,
    used_at timestamptz not null,
    ip_address text,
    primary key (token_id, observed_at)
);

create table finding (
    id bigint generated always as identity primary key,
    token_id bigint not null references token,
    rule_id text not null,
    discriminator text not null,
    severity text not null check (severity in ('info', 'low', 'medium', 'high', 'critical')),
    status text not null check (status in ('open', 'resolved')),
    message text not null,
    evidence jsonb not null,
    opened_at timestamptz not null,
    resolved_at timestamptz,
    resolution text check (resolution in ('evidence', 'missing', 'policy')),
    reopenings integer not null default 0,
    unique (token_id, rule_id, discriminator),
    constraint resolved_with_a_reason check ((status = 'resolved') = (resolved_at is not null and resolution is not null))
);
create index finding_open on finding (token_id) where status = 'open';
create index finding_resolved on finding (resolved_at) where status = 'resolved';

create table finding_event (
    id bigint generated always as identity primary key,
    finding_id bigint not null references finding,
    sweep_id bigint not null references sweep,
    at timestamptz not null,
    transition text not null check (transition in ('opened', 'escalated', 'eased', 'resolved', 'reopened')),
    severity text not null check (severity in ('info', 'low', 'medium', 'high', 'critical')),
    resolution text check (resolution in ('evidence', 'missing', 'policy')),
    message text not null,
    evidence jsonb not null
);
create index finding_event_of on finding_event (finding_id, id);

-- Alerts that at least one hook wants, and how their deliveries stand. The queue's jobs only say that there is work.
create table alert (
    id uuid primary key,
    event text not null,
    severity text not null check (severity in ('info', 'low', 'medium', 'high', 'critical')),
    environment text not null,
    at timestamptz not null,
    data jsonb not null
);

create table delivery (
    alert_id uuid not null references alert,
    hook text not null,
    state text not null default 'pending' check (state in ('pending', 'delivered', 'given_up')),
    attempts integer not null default 0,
    last_attempt_at timestamptz,
    last_answer text not null default '',
    primary key (alert_id, hook)
);
create index delivery_pending on delivery (hook) where state = 'pending';

-- Slots of schedules that were taken, so that each makes one sweep however many replicas fire it.
create table schedule_slot (
    environment_id smallint not null references environment,
    slot timestamptz not null,
    primary key (environment_id, slot)
);
