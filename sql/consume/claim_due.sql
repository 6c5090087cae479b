-- Purpose: claim the oldest due events of one table until this transaction ends. What another worker holds is skipped.
-- Inputs: $1 reference type, $2 most events. Touches: row locks in sync_queue.
-- There is no lower bound to seq: ids do not commit in order, and an older one may appear at any time.
SELECT seq, reference_id, operation, attempts, xid::text AS xid, origin, progress_key
FROM daybook.sync_queue
WHERE reference_type = $1 AND due_at <= statement_timestamp()
ORDER BY seq
LIMIT $2
FOR UPDATE SKIP LOCKED
