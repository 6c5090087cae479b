-- Purpose: the schema of the ledger side, owned by daybook_owner. What follows it runs as that role.
-- Touches: nothing that exists.
CREATE SCHEMA IF NOT EXISTS ledger AUTHORIZATION daybook_owner;
