-- A token's environment is the one that its sweep owns, its lookup is made in the statement that makes the token, and nothing
-- ever removes either: see docs/decisions/0006-certain-parents.md.
alter table token drop constraint token_environment_id_fkey;
alter table lookup drop constraint lookup_token_id_fkey;
alter table finding drop constraint finding_token_id_fkey;
