-- Purpose: the bills in some of the buckets, with their digests. Inputs: $1 book, $2 source, $3 reference type, $4 number of buckets less
--          one, $5 buckets. Touches: ledger.sync_master_status, read only; all bills of the table.
SELECT reference_id, row_digest
FROM ledger.sync_master_status
WHERE book = $1 AND source = $2 AND reference_type = $3 AND row_digest IS NOT NULL AND row_digest & $4 = ANY ($5::bigint[])
