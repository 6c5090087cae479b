-- Purpose: the events of a bill, finished and unfinished, in one snapshot: an event that finishes meanwhile is seen once.
-- Inputs: $1 source, $2 reference type, $3 reference id. Touches: sync_audit_log, sync_queue, read only, by index.
SELECT seq, operation, origin, xid::text AS xid, enqueued_at, session_user_name, application_name, outcome, entry_id, attempts,
       NULL::text AS last_error, finished_at
FROM daybook.sync_audit_log
WHERE source = $1 AND reference_type = $2 AND reference_id = $3
UNION ALL
SELECT seq, operation, origin, xid::text, enqueued_at, session_user_name, application_name, 'queued', NULL, attempts,
       last_error, NULL
FROM daybook.sync_queue
WHERE source = $1 AND reference_type = $2 AND reference_id = $3
ORDER BY seq
