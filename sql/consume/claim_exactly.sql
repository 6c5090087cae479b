-- Purpose: claim part of a batch that failed, to find the bill that it failed on.
-- Inputs: $1 reference type, $2 seqs. Touches: row locks in sync_queue.
SELECT seq, reference_id, operation, attempts, xid::text AS xid, origin, progress_key
FROM daybook.sync_queue
WHERE reference_type = $1 AND seq = ANY ($2)
ORDER BY seq
FOR UPDATE SKIP LOCKED
