-- Purpose: where the keys of a transaction wait that has more of them than memory is to hold. Of this session alone; it leaves no WAL.
CREATE TEMPORARY TABLE IF NOT EXISTS daybook_spill (
    chunk integer NOT NULL, relation oid, reference_type text, reference_id text NOT NULL, operation text)
