-- Purpose: what a table's bills were last judged from, by buckets of the lowest bits of their rows' digests: how many, the sum of the digests,
-- and of what the bills amount to that are in order, each fingerprint mixed with its digest.
-- Inputs: $1 book, $2 source, $3 reference type, $4 number of buckets less one, a power of two less one.
-- Touches: ledger.sync_master_status, read only; all bills of the table.
SELECT row_digest & $4 AS bucket, count(*) AS bills, sum(row_digest)::text AS digests,
       coalesce(sum(fingerprint # row_digest) FILTER (WHERE state = 'current'), 0)::text AS amounts
FROM ledger.sync_master_status
WHERE book = $1 AND source = $2 AND reference_type = $3 AND row_digest IS NOT NULL
GROUP BY 1
