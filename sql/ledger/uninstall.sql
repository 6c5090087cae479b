-- Purpose: delete the ledger with every entry. There is no way back but a backup.
DROP SCHEMA IF EXISTS ledger CASCADE;
