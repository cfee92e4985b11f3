-- An environment's url as of an instant is the one that its last sweep by then began with, where that wrote it down.
create or replace view as_of.environment as
select e.id, e.name, coalesce(last.url, e.url) as url
from environment e
cross join lateral (
    select s.url from sweep s
    where s.environment_id = e.id and s.started_at <= as_of.instant() order by s.id desc limit 1
) last;
