-- Purpose: the same of single bills: of those whose own day is one of these, or of these ids. Inputs: $1 book, $2 source, $3 reference type,
--          $4 days, $5 ids. Touches: the journal, read only.
WITH bills AS (
    SELECT DISTINCT reference_id FROM ledger.journal_entries
    WHERE book = $1 AND source = $2 AND reference_type = $3 AND (effective_date = ANY ($4::text[]::date[]) OR reference_id = ANY ($5::text[]))
)
SELECT e.reference_id, l.site, (SELECT b.effective_date::text FROM ledger.journal_entries AS b
                                WHERE b.book = $1 AND b.source = $2 AND b.reference_type = $3 AND b.reference_id = e.reference_id
                                  AND b.kind IN ('original', 'correction')
                                  AND NOT EXISTS (SELECT FROM ledger.journal_entries AS r WHERE r.reverses_id = b.id)
                                LIMIT 1) AS day,
       l.account_code, sum(l.debit - l.credit)::text AS balance
FROM bills AS k
JOIN ledger.journal_entries AS e ON e.book = $1 AND e.source = $2 AND e.reference_type = $3 AND e.reference_id = k.reference_id
JOIN ledger.journal_lines AS l ON l.entry_id = e.id
GROUP BY e.reference_id, l.site, l.account_code
HAVING sum(l.debit) <> sum(l.credit)
