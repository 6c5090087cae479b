-- Purpose: give no id again that an entry had which this ledger lost, by a promotion or a restoration: a source's audit log names it. Ids
--          only go forward. Inputs: the highest id that a source knows of. Touches: the sequence.
CREATE OR REPLACE FUNCTION ledger.pass_entry_ids(told bigint) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    -- Not set to what it is: meanwhile others have taken ids beyond that, and the mark of a chain may have passed them.
    SELECT CASE WHEN given < told THEN setval('ledger.journal_entry_id', told) ELSE given END
    FROM (SELECT nextval('ledger.journal_entry_id') AS given OFFSET 0) AS next
$$;
