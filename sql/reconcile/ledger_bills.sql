-- Purpose: the same of single bills: of those that have an entry of one of these days, or these ids. Inputs: $1 book, $2 source,
--          $3 reference type, $4 days, $5 ids. Touches: the journal, read only.
WITH bills AS (
    SELECT reference_id FROM ledger.journal_entries
    WHERE book = $1 AND source = $2 AND reference_type = $3 AND effective_date = ANY ($4::text[]::date[])
    UNION
    SELECT unnest($5::text[])
), entries AS (
    SELECT e.id, e.reference_id,
           first_value(CASE WHEN e.kind IN ('original', 'correction') THEN e.effective_date END)
               OVER (PARTITION BY e.reference_id ORDER BY (e.kind IN ('original', 'correction')) DESC, e.id DESC) AS day
    FROM bills AS k
    JOIN ledger.journal_entries AS e ON e.book = $1 AND e.source = $2 AND e.reference_type = $3 AND e.reference_id = k.reference_id
)
SELECT e.reference_id, l.site, e.day::text AS day, l.account_code, sum(l.debit - l.credit)::text AS balance
FROM entries AS e
JOIN ledger.journal_lines AS l ON l.entry_id = e.id
GROUP BY e.reference_id, l.site, e.day, l.account_code
HAVING sum(l.debit) <> sum(l.credit)
