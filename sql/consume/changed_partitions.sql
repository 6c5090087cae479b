-- Purpose: notice partitions that came or went, and have the table reconciled: rows move along without any event. One that came
--          empty brings nothing.
-- Touches: sync_source, sync_queue; the catalog, read only.
WITH present AS (
    SELECT s.relation, s.partitions AS before, daybook.partition_triggers(s.relation) AS now
    FROM daybook.sync_source AS s
    JOIN pg_class AS c ON c.oid = s.relation AND c.relkind = 'p'
    WHERE s.suspended_at IS NULL
), changed AS (
    UPDATE daybook.sync_source AS s SET partitions = p.now
    FROM present AS p
    WHERE s.relation = p.relation AND s.partitions = p.before AND p.now <> p.before
    RETURNING s.relation, s.source, s.reference_type, p.before, p.now
)
INSERT INTO daybook.sync_queue (source, reference_type, operation, origin)
SELECT source, reference_type, 'reconcile', 'repair'
FROM changed
WHERE NOT before <@ now
   OR EXISTS (SELECT FROM daybook.partition_marks(relation) AS m WHERE m.mark <> ALL (before) AND pg_relation_size(m.part) > 0)
