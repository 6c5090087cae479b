-- Purpose: note how far an event that has a whole table enqueued has come; it goes on from there.
-- Inputs: $1 reference type, $2 seq, $3 the last key's parts, $4 keys seen and $5 enqueued since. Touches: sync_queue.
UPDATE daybook.sync_queue
SET progress_key = $3, keys_seen = keys_seen + $4, keys_enqueued = keys_enqueued + $5, due_at = clock_timestamp()
WHERE reference_type = $1 AND seq = $2
