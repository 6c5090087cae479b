-- Purpose: how far an event that enqueues a whole table has come. Inputs: $1 reference type, $2 its number.
-- Touches: sync_queue, sync_audit_log, read only. One row, also where the event is in neither.
SELECT q.seq IS NULL AS is_finished, coalesce(q.keys_seen, a.keys_seen, 0) AS keys_seen,
       coalesce(q.keys_enqueued, a.keys_enqueued, 0) AS keys_enqueued, q.last_error
FROM (SELECT $1::text AS reference_type, $2::bigint AS seq) AS e
LEFT JOIN daybook.sync_queue AS q ON q.reference_type = e.reference_type AND q.seq = e.seq
LEFT JOIN daybook.sync_audit_log AS a ON a.reference_type = e.reference_type AND a.reference_id IS NULL AND a.seq = e.seq
