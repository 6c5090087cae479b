-- Purpose: put claimed events back with a later due time.
-- Inputs: $1 reference type, $2 seqs, $3 seconds from now, $4 attempts to add (0 where nothing but time is needed),
--         $5 what went wrong, without row values. Touches: sync_queue.
UPDATE daybook.sync_queue
SET due_at = clock_timestamp() + $3 * interval '1 second', attempts = attempts + $4, last_error = $5
WHERE reference_type = $1 AND seq = ANY ($2)
