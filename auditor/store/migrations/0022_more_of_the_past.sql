-- An environment's url as of an instant is the one that its last sweep by then began with, where that wrote it down.
create or replace view as_of.environment as
select e.id, e.name, coalesce(last.url, e.url) as url
from environment e
cross join lateral (
    select s.url from sweep s
    where s.environment_id = e.id and s.started_at <= as_of.instant() order by s.id desc limit 1
) last;

-- When a lookup that found a token did not tell of a last use any more, though the one before had.
create table use_withdrawal (
    token_id bigint not null,
    at timestamptz not null,
    primary key (token_id, at)
);
-- Of those whose use is gone it is not known when it went; it was gone when they changed last.
insert into use_withdrawal (token_id, at)
select id, changed_at from token where last_used_date is null and uses > 0 and changed_at is not null;

-- As before, but that a use that was withdrawn by then is none.
create or replace view as_of.token as
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
    where u.token_id = t.id and u.observed_at <= as_of.instant() and u.observed_at > coalesce((
        select max(w.at) from use_withdrawal w where w.token_id = t.id and w.at <= as_of.instant()
    ), '-infinity')
    order by u.observed_at desc limit 1
) u on true
where t.first_seen_at <= as_of.instant();
