-- Purpose: the bills whose entries name an event as their cause; several only where several sources count from 1.
-- Inputs: $1 seq, $2 book or null, $3 source or null. Touches: journal_entries, read only; reads all of it: no index is kept
-- for a question that is asked so rarely.
SELECT DISTINCT book, source, reference_type, reference_id
FROM ledger.journal_entries
WHERE event_seq = $1 AND ($2::text IS NULL OR book = $2) AND ($3::text IS NULL OR source = $3)
ORDER BY book, source, reference_type, reference_id
