-- Which uses are no longer kept. A link that states their removal says the same, and cannot be altered unnoticed.
alter table chain_head
    add column uses_through bigint not null default -1,     -- links up to this one have no uses of their own any more
    add column uses_since timestamptz;      -- from then on every use is there, of before the last one of each token
