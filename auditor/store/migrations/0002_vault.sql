-- The encrypted store of tokens, and the keys that live in the database, each wrapped by a master key that does not.

create table keyring (
    name text primary key,
    key_id text not null check (key_id ~ '^[0-9a-f]{8}$'),              -- the master key it is wrapped by
    nonce bytea not null check (octet_length(nonce) = 12),
    ciphertext bytea not null check (octet_length(ciphertext) = 32 + 16),
    created_at timestamptz not null
);

-- The ciphertext is bound to table, id and environment; so the id is made by whoever encrypts.
create table vault_entry (
    id uuid primary key,
    environment text not null check (environment ~ '^[A-Za-z0-9][A-Za-z0-9_.-]*$'),
    label text not null check (label <> ''),
    fingerprint bytea not null check (octet_length(fingerprint) = 16),
    key_id text not null check (key_id ~ '^[0-9a-f]{8}$'),
    nonce bytea not null check (octet_length(nonce) = 12),
    ciphertext bytea not null check (octet_length(ciphertext) > 16),
    note text not null,
    added_at timestamptz not null,
    unique (environment, fingerprint),
    unique (environment, label)
);
