-- A sweep that was cut short goes on where it was, if it is still the same sweep.

alter table sweep add column url text;                      -- of the environment when it began; null: from before this
alter table sweep add column recorded_at timestamptz;       -- when it began, was taken up, or last recorded a batch
alter table sweep add column resumptions integer not null default 0;
