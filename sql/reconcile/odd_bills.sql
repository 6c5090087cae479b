-- Purpose: the bills that a comparison of digests does not prove: parked, resolved or retained ones; those that were judged by a version
--          of the rule that is not in force; and those without row that have entries. A page at a time.
-- Inputs: $1 book, $2 source, $3 reference type, $4 digests of the versions in force, $5 last id of the page before, $6 page size.
-- Touches: ledger.sync_master_status, read only; all bills of the table.
SELECT reference_id
FROM ledger.sync_master_status
WHERE book = $1 AND source = $2 AND reference_type = $3 AND reference_id > $5
  AND (state <> 'current' OR rule_digest <> ALL ($4::bigint[])
       OR live_entry_ids <> '{}' AND (row_digest IS NULL OR fingerprint IS NULL))
ORDER BY reference_id
LIMIT $6
