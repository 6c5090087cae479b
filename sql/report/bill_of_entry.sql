-- Purpose: the bill of an entry. Inputs: $1 entry id, $2 book or null, $3 source or null.
-- Touches: journal_entries, read only, by key.
SELECT book, source, reference_type, reference_id
FROM ledger.journal_entries
WHERE id = $1 AND ($2::text IS NULL OR book = $2) AND ($3::text IS NULL OR source = $3)
