-- Purpose: the bills of which an operator's word that they need not be posted does not count: a change of theirs is queued, seen by the
--          operator or not; or they were parked again since, by a worker that was faster than this one. In one statement: whoever
--          finished the change has taken it from the queue and opened the dead letter in one transaction.
-- Inputs: $1 reference type, $2 ids. Touches: sync_queue, sync_dead_letter, read only.
SELECT w.id
FROM unnest($2::text[]) AS w (id)
WHERE EXISTS (SELECT FROM daybook.sync_queue AS q
              WHERE q.reference_type = $1 AND q.reference_id = w.id AND q.operation IN ('insert', 'update', 'delete', 'truncate'))
   OR EXISTS (SELECT FROM daybook.sync_dead_letter AS d
              WHERE d.reference_type = $1 AND d.reference_id = w.id AND d.resolved_at IS NULL)
