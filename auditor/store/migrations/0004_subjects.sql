-- Findings about what is no stored token: the environment itself, or a token that is in no store. They say of whom they
-- are in a text, their subject, which takes the place of a token's label in their key.
alter table finding add environment_id smallint;
update finding f set environment_id = t.environment_id from token t where t.id = f.token_id;
alter table finding
    alter environment_id set not null,      -- written with the sweep's own id, so no reference is checked row by row
    alter token_id drop not null,
    add subject text check (subject ~ '^[^/]+$'),
    add constraint of_a_token_or_a_subject check ((token_id is null) = (subject is not null));
create unique index finding_of_subject on finding (environment_id, subject, rule_id, discriminator)
    where token_id is null;

-- What is open is read by environment and rule, never by token alone.
drop index finding_open;
create index finding_open on finding (environment_id, rule_id) where status = 'open';
