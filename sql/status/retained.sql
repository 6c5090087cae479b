-- Purpose: how many bills of each table of a source are gone and keep their entries. Inputs: $1 book, $2 source.
-- Touches: sync_master_status by its index of what is not current, read only.
SELECT reference_type, count(*)
FROM ledger.sync_master_status
WHERE book = $1 AND source = $2 AND state <> 'current' AND state = 'retained'
GROUP BY reference_type
