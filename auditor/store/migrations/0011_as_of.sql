-- The past, so that a report can be made of any earlier day: what history lacked, and a schema in which the tables that
-- reports read are as they stood at an instant.

-- A finding whose words or evidence changed, and nothing else.
alter table finding_event
    drop constraint finding_event_transition_check,
    add constraint finding_event_transition_check check (
        transition in ('opened', 'escalated', 'eased', 'resolved', 'reopened', 'waived', 'lapsed', 'renewed')
    );
create index finding_event_turn on finding_event (finding_id, id)
    where transition in ('resolved', 'reopened', 'waived', 'lapsed');
create index finding_event_at on finding_event using brin (at);
-- When the words of now were first said is not known; from here on it is.
insert into finding_event (finding_id, at, transition, severity, message, evidence)
select f.id, now(), 'renewed', f.severity, f.message, f.evidence
from finding f
cross join lateral (
    select e.message, e.evidence from finding_event e where e.finding_id = f.id order by e.id desc limit 1
) last
where f.status = 'open' and (last.message, last.evidence) is distinct from (f.message, f.evidence);

-- How a token was stored, and what it went by, until it changed.
create table token_before (
    token_id bigint not null,
    until timestamptz not null,
    label text not null,
    places text[] not null,
    tags text[] not null,
    removed_at timestamptz,
    primary key (token_id, until)
);
-- How a token's lookups ended, until they began to give evidence, ceased to, or went on after it had not been stored.
create table lookup_before (
    token_id bigint not null,
    until timestamptz not null,
    outcome text not null check (outcome in ('found', 'missing', 'refused', 'throttled', 'unreachable', 'malformed')),
    reason text not null,
    evident_at timestamptz,
    failures integer not null,
    primary key (token_id, until)
);

-- First in the search path, these stand in for the tables they are named after, as of the setting auditor.as_of.
create schema as_of;
create function as_of.instant() returns timestamptz language sql stable
    as $$ select current_setting('auditor.as_of')::timestamptz $$;

create view as_of.sweep as
select id, environment_id, policy_digest, rules, self_lookup, started_at,
    case when is_over then finished_at end as finished_at, case when is_over then status else 'running' end as status,
    case when is_over then enrolled else 0 end as enrolled, case when is_over then found else 0 end as found,
    case when is_over then missing else 0 end as missing, case when is_over then refused else 0 end as refused,
    case when is_over then failed else 0 end as failed, case when is_over then reasons else '{}' end as reasons,
    case when is_over then source_problems else '{}' end as source_problems
from (select *, coalesce(finished_at <= as_of.instant(), false) as is_over from sweep) s
where started_at <= as_of.instant();

create view as_of.environment as
select * from environment e
where exists (select from sweep s where s.environment_id = e.id and s.started_at <= as_of.instant());

create view as_of.finding_event as select * from finding_event where at <= as_of.instant();

create view as_of.token_change as select * from token_change where at <= as_of.instant();

create view as_of.token_use as select * from token_use where observed_at <= as_of.instant();

create view as_of.finding as
select f.id, f.token_id, f.rule_id, f.discriminator, e.severity,
    case e.transition when 'resolved' then 'resolved' else 'open' end as status, e.message, e.evidence, f.opened_at,
    case e.transition when 'resolved' then e.at end as resolved_at, e.resolution,
    (select count(*) from finding_event r
        where r.finding_id = f.id and r.at <= as_of.instant() and r.transition = 'reopened')::integer as reopenings,
    f.environment_id, f.subject,
    case turn.transition when 'waived' then turn.waiver end as waiver,
    case turn.transition when 'waived' then turn.severity end as waived_severity,
    case when f.severity_since <= as_of.instant() then f.severity_since else coalesce((
        select max(r.at) from finding_event r
        where r.finding_id = f.id and r.at <= as_of.instant()
            and (r.transition in ('reopened', 'lapsed') or r.transition = 'escalated' and not r.evidence ? 'overdue')
    ), f.opened_at) end as severity_since
from finding f
cross join lateral (
    select * from finding_event e where e.finding_id = f.id and e.at <= as_of.instant() order by e.id desc limit 1
) e
left join lateral (
    select * from finding_event t
    where t.finding_id = f.id and t.at <= as_of.instant()
        and t.transition in ('resolved', 'reopened', 'waived', 'lapsed')
    order by t.id desc limit 1
) turn on true;

create view as_of.token as
select t.id, t.environment_id, t.fingerprint, coalesce(b.label, t.label) as label, t.public_id,
    coalesce(b.places, t.places) as places, coalesce(b.tags, t.tags) as tags, t.first_seen_at,
    case when b.token_id is not null then b.removed_at
        when t.removed_at <= as_of.instant() then t.removed_at end as removed_at,
    case when n.is_now then t.outcome else c.outcome end as outcome,
    case when n.is_now then t.changed_at else c.at end as changed_at,
    case when n.is_now then t.disabled_since when c.outcome = 'found' and c.state->'enabled' = 'false' then (
        select min(d.at) from token_change d
        where d.token_id = t.id and d.at <= as_of.instant() and d.at > coalesce((
            select max(x.at) from token_change x
            where x.token_id = t.id and x.at <= as_of.instant()
                and (x.outcome = 'missing' or x.state->'enabled' is distinct from 'false')
        ), '-infinity')
    ) end as disabled_since,
    case when n.is_now then t.returned_id else s.state->>'id' end as returned_id,
    case when n.is_now then t.name else s.state->>'name' end as name,
    case when n.is_now then t.owner else s.state->>'owner' end as owner,
    case when n.is_now then t.enabled else (s.state->>'enabled')::boolean end as enabled,
    case when n.is_now then t.personal_access_token
        else (s.state->>'personal_access_token')::boolean end as personal_access_token,
    case when n.is_now then t.creation_date else (s.state->>'creation_date')::timestamptz end as creation_date,
    case when n.is_now then t.modified_date else (s.state->>'modified_date')::timestamptz end as modified_date,
    case when n.is_now then t.expiration_date else (s.state->>'expiration_date')::timestamptz end as expiration_date,
    u.used_at as last_used_date, u.ip_address as last_used_ip_address,
    case when n.is_now then t.scopes else array(
        select scope from jsonb_array_elements_text(s.state->'scopes') with ordinality as held (scope, place)
        order by place
    ) end as scopes,
    case when n.is_now then t.additional_metadata
        else coalesce(s.state->'additional_metadata', '{}') end as additional_metadata,
    t.uses,                                 -- read by sweeps only, which know no other time than now
    t.notable_use_at
from token t
cross join lateral (select coalesce(t.changed_at <= as_of.instant(), false) as is_now) n
left join lateral (
    select * from token_before b where b.token_id = t.id and b.until > as_of.instant() order by b.until limit 1
) b on true
left join lateral (
    select c.at, c.outcome, c.state from token_change c
    where not n.is_now and c.token_id = t.id and c.at <= as_of.instant() order by c.at desc limit 1
) c on true
left join lateral (
    select c.state from token_change c
    where not n.is_now and c.token_id = t.id and c.at <= as_of.instant() and c.outcome = 'found'
    order by c.at desc limit 1
) s on true
left join lateral (
    select u.used_at, u.ip_address from token_use u
    where u.token_id = t.id and u.observed_at <= as_of.instant() order by u.observed_at desc limit 1
) u on true
where t.first_seen_at <= as_of.instant();

-- When a lookup of a past sweep gave evidence of a token is kept only where a later one did not; else that sweep's
-- beginning says it, and how often lookups did is reckoned from the sweeps.
create view as_of.lookup as
select l.token_id, l.sweep_id,
    case when l.at <= as_of.instant() then l.at else coalesce(swept.at, l.first_evident_at) end as at,
    case when l.at <= as_of.instant() then l.outcome
        when was.is_evident then coalesce((
            select c.outcome from token_change c
            where c.token_id = l.token_id and c.at <= as_of.instant() order by c.at desc limit 1
        ), 'unreachable')
        else coalesce(b.outcome, l.outcome) end as outcome,
    case when l.at <= as_of.instant() then l.reason when was.is_evident then ''
        else coalesce(b.reason, l.reason) end as reason,
    case when l.evident_at <= as_of.instant() then l.evident_at
        when b.evident_at <= as_of.instant() or not was.is_evident then b.evident_at
        when l.first_evident_at <= as_of.instant() then greatest(swept.at, l.first_evident_at) end as evident_at,
    case when l.at <= as_of.instant() then l.misses
        when was.is_evident and (
            select c.outcome from token_change c
            where c.token_id = l.token_id and c.at <= as_of.instant() order by c.at desc limit 1
        ) = 'missing' then greatest(1, (
            select count(*) from sweep s
            where s.environment_id = t.environment_id and s.finished_at <= as_of.instant() and s.status <> 'failed'
                and s.finished_at >= (
                    select max(c.at) from token_change c where c.token_id = l.token_id and c.at <= as_of.instant()
                )
        ))::integer else 0 end as misses,
    case when l.at <= as_of.instant() then l.failures when was.is_evident then 0
        else coalesce(b.failures, 1) end as failures,
    case when l.first_evident_at <= as_of.instant() then l.first_evident_at end as first_evident_at,
    case when l.evident_at <= as_of.instant() or l.first_evident_at is null then l.evidence
        when l.first_evident_at <= as_of.instant() then greatest(1, l.evidence - (
            select count(*) from sweep s
            where s.environment_id = t.environment_id and s.started_at > as_of.instant()
                and s.status in ('complete', 'incomplete')
        ))::integer else 0 end as evidence
from lookup l
join token t on t.id = l.token_id
left join lateral (
    select * from lookup_before b
    where l.at > as_of.instant() and b.token_id = l.token_id and b.until > as_of.instant() order by b.until limit 1
) b on true
cross join lateral (
    select case when b.token_id is null then l.failures = 0 else b.outcome in ('found', 'missing') end as is_evident
) was
left join (
    select environment_id, max(started_at) as at from sweep
    where finished_at <= as_of.instant() and status <> 'failed' group by environment_id
) swept on swept.environment_id = t.environment_id
where t.first_seen_at <= as_of.instant();
