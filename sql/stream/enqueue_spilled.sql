-- Purpose: enqueue.sql for a transaction whose keys were spilled.
-- Inputs: $1 relations, $2 their reference types, $3 whether what triggers enqueued is left out, $4 whether the events are looks of our own,
--         pairwise; $5 the transaction, $6 when it committed. Touches: sync_queue, and a table of this session.
INSERT INTO daybook.sync_queue (source, reference_type, reference_id, operation, origin, xid, enqueued_at, session_user_name, application_name)
SELECT s.source, d.reference_type, c.reference_id,
       CASE WHEN d.are_looks THEN 'synchronise' WHEN c.last = 'update' AND c.is_inserted THEN 'insert' ELSE c.last END, 'wal', $5::text::xid8,
       '2000-01-01 00:00:00+00'::timestamptz + $6::bigint * interval '1 microsecond', '', ''
FROM (SELECT relation, reference_id, (array_agg(operation ORDER BY chunk DESC))[1] AS last, bool_or(operation = 'insert') AS is_inserted
      FROM pg_temp.daybook_spill WHERE relation IS NOT NULL GROUP BY relation, reference_id) AS c
JOIN unnest($1::oid[], $2::text[], $3::boolean[], $4::boolean[]) AS d (relation, reference_type, leaves_out, are_looks) ON d.relation = c.relation
JOIN daybook.sync_source AS s ON s.reference_type = d.reference_type
LEFT JOIN (SELECT DISTINCT reference_type, reference_id FROM pg_temp.daybook_spill WHERE relation IS NULL) AS e
       ON d.leaves_out AND e.reference_type = d.reference_type AND e.reference_id = c.reference_id
WHERE e.reference_id IS NULL
