-- Purpose: entries of a range whose bill has no status. A closing of cash is no bill, and has none. Inputs: $1 book, $2 after which id, $3 up to which.
-- Touches: journal_entries, sync_master_status, read only.
SELECT 'status', e.id, e.source, e.reference_type, e.reference_id, 'its bill has no row in ledger.sync_master_status'
FROM ledger.journal_entries AS e
LEFT JOIN ledger.sync_master_status AS s USING (book, source, reference_type, reference_id)
WHERE e.book = $1 AND e.id > $2 AND e.id <= $3 AND s.book IS NULL AND e.reference_type <> 'CASH_CLOSURE'
ORDER BY e.id
