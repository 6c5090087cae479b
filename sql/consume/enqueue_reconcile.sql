-- Purpose: have a table reconciled whose key could not be read, unless an event that has not begun waits to do that anyway.
-- Inputs: $1 source, $2 reference type. Touches: sync_queue.
-- One that another worker holds may have begun to read before the key's event came; it does not count.
WITH waiting AS (
    SELECT FROM daybook.sync_queue
    WHERE reference_type = $2 AND reference_id IS NULL AND operation = 'reconcile' AND origin = 'repair' AND progress_key IS NULL
    LIMIT 1
    FOR UPDATE SKIP LOCKED
)
INSERT INTO daybook.sync_queue (source, reference_type, operation, origin)
SELECT $1, $2, 'reconcile', 'repair'
WHERE NOT EXISTS (SELECT FROM waiting)
