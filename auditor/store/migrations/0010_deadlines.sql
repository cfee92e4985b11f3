-- Since when a finding is open, without a break, with the severity that its own rule gives it or a worse one: its deadline
-- counts from then.
alter table finding add column severity_since timestamptz;
update finding f set severity_since = coalesce(
    (select max(e.at) from finding_event e where e.finding_id = f.id and e.transition in ('reopened', 'lapsed', 'escalated')),
    f.opened_at
);
alter table finding alter column severity_since set not null;
