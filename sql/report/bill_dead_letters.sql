-- Purpose: when and why a bill was parked, and how that was resolved, oldest first.
-- Inputs: $1 source, $2 reference type, $3 reference id. Touches: sync_dead_letter, read only, by key.
SELECT reason, advice, event_seq, parked_at, resolved_at, resolution, resolved_by, note
FROM daybook.sync_dead_letter
WHERE source = $1 AND reference_type = $2 AND reference_id = $3
ORDER BY spell
