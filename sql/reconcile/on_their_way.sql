-- Purpose: those of the bills of which an event waits, or was finished since a moment: what the stream of changes brought after a look at them.
-- Inputs: $1 reference type, $2 ids, $3 the moment. Touches: sync_queue, sync_audit_log, read only.
SELECT k.id
FROM unnest($2::text[]) AS k (id)
WHERE EXISTS (SELECT FROM daybook.sync_queue AS q WHERE q.reference_type = $1 AND q.reference_id = k.id)
   OR EXISTS (SELECT FROM daybook.sync_queue AS q WHERE q.reference_type = $1 AND q.reference_id IS NULL)
   OR EXISTS (SELECT FROM daybook.sync_audit_log AS a
              WHERE a.reference_type = $1 AND (a.reference_id = k.id OR a.reference_id IS NULL) AND a.finished_at >= $3)
