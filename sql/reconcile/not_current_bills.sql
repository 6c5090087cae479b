-- Purpose: the bills whose entries are not to be what their rows say: parked, resolved, retained. Inputs: $1 book, $2 source, $3 reference
--          types. Touches: ledger.sync_master_status, read only, by the index of those few.
SELECT reference_type, reference_id
FROM ledger.sync_master_status
WHERE book = $1 AND source = $2 AND reference_type = ANY ($3::text[]) AND state <> 'current'
