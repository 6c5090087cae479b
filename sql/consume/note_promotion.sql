-- Purpose: note that a source or its ledger was promoted, and that all is reconciled. Inputs: $1 book, $2 source, $3 what happened.
-- Touches: ledger.sources.
UPDATE ledger.sources
SET rejoined_at = clock_timestamp(), rejoined_by = session_user, rejoined_because = $3
WHERE book = $1 AND source = $2
