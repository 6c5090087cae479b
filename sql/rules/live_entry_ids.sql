-- Purpose: the live entries of bills, without any lock. Inputs: $1 book, $2 source, $3 reference type, $4 ids.
-- Touches: sync_master_status, read only.
SELECT reference_id, live_entry_ids
FROM ledger.sync_master_status
WHERE book = $1 AND source = $2 AND reference_type = $3 AND reference_id = ANY ($4)
