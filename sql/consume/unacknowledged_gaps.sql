-- Purpose: of events that an entry names as its cause already, those that the stream found and whose posting nobody has acknowledged: the
--          process died between the two commits, and told nobody of a gap. Bills that are parked are none.
-- Inputs: $1 reference type; $2 ids, $3 events, $4 the last entries that name them, pairwise.
-- Touches: sync_queue, sync_source, sync_dead_letter, sync_audit_log, read only.
SELECT q.reference_id, q.seq, q.xid::text AS xid, q.operation, b.entry_id
FROM unnest($2::text[], $3::bigint[], $4::bigint[]) AS b (id, seq, entry_id)
JOIN daybook.sync_queue AS q ON q.reference_type = $1 AND q.reference_id = b.id AND q.seq = b.seq
JOIN daybook.sync_source AS s ON s.reference_type = q.reference_type AND s.capture_mode_began_at <= q.enqueued_at
WHERE q.origin = 'wal' AND q.operation IN ('insert', 'update', 'delete')
  AND NOT EXISTS (SELECT FROM daybook.sync_dead_letter AS d
                  WHERE d.reference_type = $1 AND d.reference_id = b.id AND d.resolved_at IS NULL)
  AND NOT EXISTS (SELECT FROM daybook.sync_audit_log AS a
                  WHERE a.reference_type = $1 AND a.reference_id = b.id AND a.entry_id = b.entry_id)
