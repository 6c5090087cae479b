-- Purpose: bills of which an event waits. Inputs: $1 reference type, $2 how many at most. Touches: sync_queue, read only, by its index of bills.
SELECT DISTINCT reference_id
FROM daybook.sync_queue
WHERE reference_type = $1 AND reference_id IS NOT NULL
ORDER BY reference_id
LIMIT $2
