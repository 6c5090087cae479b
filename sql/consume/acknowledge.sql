-- Purpose: finish claimed events, each with its outcome: they leave the queue and enter the audit log in one statement.
-- Inputs: $1 reference type; $2 seqs, $3 outcomes, $4 entry ids or null, of equal length.
-- Touches: sync_queue, sync_audit_log. The number of rows must be the number of events; the caller looks.
-- The LATERAL query finds each event by one probe of the primary key; its place cannot move, for its lock is ours.
WITH finished AS (
    DELETE FROM daybook.sync_queue AS q
    USING unnest($2::bigint[], $3::text[], $4::bigint[]) AS f (seq, outcome, entry_id)
    CROSS JOIN LATERAL (SELECT ctid AS place FROM daybook.sync_queue
                        WHERE reference_type = $1 AND seq = f.seq LIMIT 1) AS p
    WHERE q.ctid = p.place
    RETURNING q.seq, q.source, q.reference_type, q.reference_id, q.operation, q.origin, f.outcome, f.entry_id, q.xid,
              q.enqueued_at, q.session_user_name, q.application_name, q.attempts,
              CASE WHEN q.reference_id IS NULL THEN q.keys_seen END, CASE WHEN q.reference_id IS NULL THEN q.keys_enqueued END
)
INSERT INTO daybook.sync_audit_log (seq, source, reference_type, reference_id, operation, origin, outcome, entry_id, xid,
                                    enqueued_at, session_user_name, application_name, attempts,
                                    keys_seen, keys_enqueued)
SELECT * FROM finished
