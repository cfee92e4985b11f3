-- What tells whether a token's history has to be read at all, kept where a sweep reads the token anyway.

alter table token
    add column uses integer not null default 0,       -- how many uses sweeps saw
    add column notable_use_at timestamptz;            -- when a sweep saw the last use that was out of the ordinary

update token set uses = seen.uses
from (select token_id, count(*) as uses from token_use group by token_id) seen
where seen.token_id = token.id;

alter table token_change
    add column misses integer not null default 0;     -- in so many evident lookups running before it, missing
