-- Since when a finding is open without a break, which its deadline counts from.
alter table finding add column open_since timestamptz;
update finding f set open_since = coalesce(
    (select max(e.at) from finding_event e where e.finding_id = f.id and e.transition in ('reopened', 'lapsed')),
    f.opened_at
);
alter table finding alter column open_since set not null;
