-- A chain of hashes over what each transaction adds to an environment's history; docs/evidence.md has its form.

-- Numbers a transaction that adds to history; its records carry the number, and one link of the chain covers them.
create sequence history_batch;

-- 0: from before the chain. Null: from outside every link, which `auditor evidence verify` tells.
alter table finding_event add column batch bigint default 0;
alter table token_change add column batch bigint default 0;
alter table token_use add column batch bigint default 0;
alter table sweep add column batch bigint default 0;        -- of the transaction that closed it
update sweep set batch = null where status = 'running';
alter table finding_event alter batch set default nullif(current_setting('auditor.batch', true), '')::bigint;
alter table token_change alter batch set default nullif(current_setting('auditor.batch', true), '')::bigint;
alter table token_use alter batch set default nullif(current_setting('auditor.batch', true), '')::bigint;
alter table sweep alter batch set default null;
create index finding_event_batch on finding_event (batch) where batch > 0;
create index token_change_batch on token_change (batch) where batch > 0;
create index token_use_batch on token_use (batch) where batch > 0;
create index sweep_batch on sweep (batch) where batch > 0;

create table chain_link (
    environment_id smallint not null references environment,
    number bigint not null check (number >= 0),
    batch bigint check (batch > 0),         -- null: it only states something
    at timestamptz not null,
    header text not null,
    hash bytea not null check (octet_length(hash) = 32),    -- SHA-256 of the header
    primary key (environment_id, number)
);
create unique index chain_link_batch on chain_link (batch);

-- The last link of each environment: locked, briefly, by whoever adds the next one.
create table chain_head (
    environment_id smallint primary key references environment,
    number bigint not null,
    hash bytea not null
);
