-- Purpose: first of two statements that lock bills: insert the status rows that are missing, in key order. It waits where
--          another worker inserts the same bill just now. Inputs: $1 book, $2 source, $3 reference type, $4 ids, sorted.
-- Touches: ledger.sync_master_status.
INSERT INTO ledger.sync_master_status (book, source, reference_type, reference_id)
SELECT $1, $2, $3, id
FROM unnest($4::text[]) WITH ORDINALITY AS k (id, position)
ORDER BY position
ON CONFLICT DO NOTHING
