-- Purpose: the schema of the source side, owned by daybook_owner. What follows it runs as that role.
-- Touches: nothing that exists.
CREATE SCHEMA IF NOT EXISTS daybook AUTHORIZATION daybook_owner;
