-- Purpose: put claimed events back with a later due time.
-- Inputs: $1 reference type, $2 seqs, $3 seconds from now, $4 failed attempts so far (0 where nothing but time is needed),
--         $5 what went wrong, without row values. Touches: sync_queue.
-- With jitter, a quarter up or down, so that what failed together does not come together again.
-- Two workers may have failed on the same attempt, one after the other: it counts once.
UPDATE daybook.sync_queue
SET due_at = clock_timestamp() + $3 * (0.75 + random() / 2) * interval '1 second', attempts = greatest(attempts, $4), last_error = $5
WHERE reference_type = $1 AND seq = ANY ($2)
