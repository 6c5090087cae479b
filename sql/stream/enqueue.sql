-- Purpose: enqueue what the stream found, as caused by its transactions. Who wrote is not in the WAL.
-- Inputs: $1 reference types, $2 ids, $3 operations, $4 transactions, $5 when they committed, in microseconds since the beginning of 2000,
--         pairwise. Touches: sync_queue. A table that was detached meanwhile is passed over.
INSERT INTO daybook.sync_queue (source, reference_type, reference_id, operation, origin, xid, enqueued_at, session_user_name, application_name)
SELECT s.source, n.reference_type, n.reference_id, n.operation, 'wal', n.xid::xid8,
       '2000-01-01 00:00:00+00'::timestamptz + n.committed_at * interval '1 microsecond', '', ''
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[])
     WITH ORDINALITY AS n (reference_type, reference_id, operation, xid, committed_at, position)
JOIN daybook.sync_source AS s ON s.reference_type = n.reference_type
ORDER BY n.position
