-- Purpose: the last bill of the next page; null: there is no more after it. Inputs: $1 book, $2 source, $3 reference type and $4 id that
--          it follows. Touches: sync_master_status, read only.
SELECT source, reference_type, reference_id
FROM ledger.sync_master_status
WHERE book = $1 AND (source, reference_type, reference_id) > ($2, $3, $4)
ORDER BY source, reference_type, reference_id
LIMIT 1 OFFSET 1999
