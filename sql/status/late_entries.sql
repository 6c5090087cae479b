-- Purpose: the entries of a book that a closed period moved to a later day. Inputs: $1 book. Touches: late_entries, read only.
SELECT effective_date::text, posting_date::text, reference_type || ' ' || reference_id, source, entry_id::text, kind, total::text
FROM ledger.late_entries
WHERE book = $1
ORDER BY posting_date, entry_id
