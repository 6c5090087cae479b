-- Purpose: the bills of a table that the ledger holds entries of, or has parked or retained; a page at a time.
-- Inputs: $1 book, $2 source, $3 reference type, $4 last id of the page before, $5 page size,
--         $6 whether only those that the brake holds.
-- Touches: ledger.sync_master_status, read only.
SELECT reference_id
FROM ledger.sync_master_status
WHERE book = $1 AND source = $2 AND reference_type = $3 AND reference_id > $4
  AND (live_entry_ids <> '{}' OR state <> 'current')
  AND (NOT $6 OR retained_because = 'brake')
ORDER BY reference_id
LIMIT $5
