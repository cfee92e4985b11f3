-- How much is known of a token: tells how far a verdict on it can be trusted.
alter table lookup
    add column first_evident_at timestamptz,        -- the first lookup that was found or missing
    add column evidence integer not null default 0; -- how many lookups were

-- Of earlier lookups only those that changed something or saw a use left a trace: at least so many there were.
update lookup l set first_evident_at = traced.first_at, evidence = traced.lookups
from (
    select token_id, min(at) as first_at, count(*) as lookups
    from (select token_id, at from token_change union select token_id, observed_at from token_use) traces
    group by token_id
) traced
where traced.token_id = l.token_id;
