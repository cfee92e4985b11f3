-- A change was made between two lookups; the first of them is known while the second is recorded, and never again.
alter table token_change add column previous_at timestamptz;
