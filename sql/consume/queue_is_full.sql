-- Purpose: whether so many events of a table wait that no more are to be enqueued for it. Inputs: $1 reference type, $2 how many.
-- Touches: sync_queue, read only, no more of it than needed.
SELECT count(*) >= $2
FROM (SELECT FROM daybook.sync_queue WHERE reference_type = $1 LIMIT $2) AS waiting
