-- Purpose: the digests of a table's rows as its bills were last judged, by buckets of their lowest bits: how many, and their sum.
-- Inputs: $1 book, $2 source, $3 reference type, $4 number of buckets less one, a power of two less one.
-- Touches: ledger.sync_master_status, read only; all bills of the table.
SELECT row_digest & $4 AS bucket, count(*) AS bills, sum(row_digest)::text AS digests
FROM ledger.sync_master_status
WHERE book = $1 AND source = $2 AND reference_type = $3 AND row_digest IS NOT NULL
GROUP BY 1
