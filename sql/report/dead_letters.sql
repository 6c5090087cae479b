-- Purpose: parked bills, the oldest first. Inputs: $1 reference type or null for all, $2 whether those that are resolved, too.
-- Touches: dead_letters, read only.
SELECT reference_type, reference_id, state, reason, advice, parked_at, event_seq, attempts, resolved_at, resolved_by, note
FROM daybook.dead_letters
WHERE ($1::text IS NULL OR reference_type = $1) AND ($2 OR state = 'open')
ORDER BY parked_at, reference_type, reference_id, spell
