"""PostgreSQL: plain SQL, one module a table group, numbered migrations."""
