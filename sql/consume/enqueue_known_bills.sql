-- Purpose: enqueue bills that the ledger knows, unless an event of them is in the queue already.
-- Inputs: $1 source, $2 reference type, $3 ids, $4 operation. Touches: sync_queue.
INSERT INTO daybook.sync_queue (source, reference_type, reference_id, operation, origin)
SELECT $1, $2, id, $4, 'repair'
FROM unnest($3::text[]) AS id
WHERE $4 <> 'synchronise' OR NOT EXISTS (SELECT FROM daybook.sync_queue AS q
                                     WHERE q.reference_type = $2 AND q.reference_id = id)
