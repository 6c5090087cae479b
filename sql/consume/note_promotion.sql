-- Purpose: note that a source was promoted, and is reconciled. Inputs: $1 book, $2 source, $3 its new timeline. Touches: ledger.sources.
UPDATE ledger.sources
SET rejoined_at = clock_timestamp(), rejoined_by = session_user, rejoined_because = 'promoted to timeline ' || $3
WHERE book = $1 AND source = $2
