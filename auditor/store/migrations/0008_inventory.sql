-- Tokens of an environment's own list that none of its stores holds, while a sweep reads the list: what they amount to
-- is known only at its end. Needed only until then, hence unlogged.
create unlogged table unstored (
    sweep_id bigint not null,
    public_id text not null,
    token jsonb not null,
    stored_for text[] not null,             -- other environments for which a store does hold it
    primary key (sweep_id, public_id)
);

-- A stored token is found by its label, which is its public id; these few go by another name than the list's.
create index token_by_returned_id on token (environment_id, returned_id) where returned_id is distinct from label;

-- Tokens that lookups gave no evidence of. The rows of the others, which every sweep updates, are in no index.
create index lookup_failing on lookup (token_id) where failures > 0;
