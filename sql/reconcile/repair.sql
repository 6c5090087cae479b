-- Purpose: enqueue bills that have findings, unless an event of theirs waits, or as many of the table as is bearable wait.
-- Inputs: $1 source, $2 reference type, $3 ids, $4 most events of the table. Touches: sync_queue, reconciliation_findings.
WITH enqueued AS (
    INSERT INTO daybook.sync_queue (source, reference_type, reference_id, operation, origin)
    SELECT $1, $2, k.id, 'synchronise', 'repair'
    FROM unnest($3::text[]) AS k (id)
    WHERE NOT EXISTS (SELECT FROM daybook.sync_queue AS q WHERE q.reference_type = $2 AND q.reference_id = k.id)
      AND (SELECT count(*) FROM (SELECT FROM daybook.sync_queue AS q WHERE q.reference_type = $2 LIMIT $4) AS w) < $4
    ORDER BY k.id
    RETURNING reference_id
)
UPDATE daybook.reconciliation_findings AS f
SET repaired_at = clock_timestamp()
FROM enqueued AS e
WHERE f.resolved_at IS NULL AND f.found_by IN ('bills', 'status') AND f.reference_type = $2 AND f.reference_id = e.reference_id
