-- Purpose: the bills of one reference in all books and sources, or in those that are named; and the day of cash of that reference.
-- Inputs: $1 reference type, $2 reference id, $3 book or null, $4 source or null. Touches: sync_master_status, read only; all
-- of it where book or source is left out. The journal by key.
SELECT book, source, reference_type, reference_id
FROM ledger.sync_master_status
WHERE reference_type = $1 AND reference_id = $2 AND ($3::text IS NULL OR book = $3) AND ($4::text IS NULL OR source = $4)
UNION ALL
SELECT e.book, e.source, e.reference_type, e.reference_id
FROM ledger.books AS b
JOIN ledger.journal_entries AS e ON e.book = b.book AND e.source = '(closure)' AND e.reference_type = 'CASH_CLOSURE'
WHERE e.reference_type = $1 AND e.reference_id = $2 AND e.revision = 1 AND ($3::text IS NULL OR e.book = $3)
  AND ($4::text IS NULL OR e.source = $4)
ORDER BY book, source
