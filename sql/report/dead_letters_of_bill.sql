-- Purpose: the spells in which a bill was parked, the oldest first. Inputs: $1 reference type, $2 id as a person writes it.
-- Touches: dead_letters, read only, by key.
SELECT source, reference_type, reference_id, state, reason, advice, parked_at, event_seq, attempts, resolved_at, resolved_by, note
FROM daybook.dead_letters
WHERE reference_type = $1 AND reference_id = daybook.canonical_id($1, $2)
ORDER BY spell
