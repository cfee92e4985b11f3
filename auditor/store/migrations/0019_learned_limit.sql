-- How many requests at once an environment was found to serve best, for whoever sweeps it next.

create table learned_limit (
    environment_id smallint primary key references environment,
    url text not null,                      -- at which it was found
    concurrency integer not null check (concurrency >= 1),
    learned_at timestamptz not null
);
