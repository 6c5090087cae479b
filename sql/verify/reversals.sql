-- Purpose: reversals of a range that do not mirror an entry of their own bill, line by line and once.
-- Inputs: $1 book, $2 after which id, $3 up to which. Touches: journal_entries, journal_lines, read only.
SELECT f.kind, f.entry_id, f.source, f.reference_type, f.reference_id, f.problem
FROM (SELECT 'reversal' AS kind, e.id AS entry_id, e.source, e.reference_type, e.reference_id,
             CASE WHEN e.kind <> 'reversal' OR e.reverses_id IS NULL THEN 'it is no reversal, and names an entry that it reverses, or the other way round'
                  WHEN r.id IS NULL THEN 'it reverses entry ' || e.reverses_id || ', which is not there'
                  WHEN (r.book, r.source, r.reference_type, r.reference_id) <> (e.book, e.source, e.reference_type, e.reference_id)
                      THEN 'it reverses entry ' || r.id || ' of another bill'
                  WHEN r.kind = 'reversal' THEN 'it reverses entry ' || r.id || ', which is a reversal itself'
                  WHEN r.effective_date <> e.effective_date THEN 'its effective date is not that of entry ' || r.id || ', which it reverses'
                  WHEN EXISTS (SELECT FROM ledger.journal_entries AS o WHERE o.reverses_id = r.id AND o.id <> e.id)
                      THEN 'entry ' || r.id || ' is reversed more than once'
                  WHEN r.line_count <> e.line_count
                       OR e.line_count <> (SELECT count(*)
                                           FROM ledger.journal_lines AS l
                                           JOIN ledger.journal_lines AS m ON m.entry_id = r.id AND m.line_no = l.line_no
                                           WHERE l.entry_id = e.id
                                             AND (l.account_code, l.currency, l.debit, l.credit)
                                                 = (m.account_code, m.currency, m.credit, m.debit))
                      THEN 'it does not mirror entry ' || r.id || ' line by line' END AS problem
      FROM ledger.journal_entries AS e
      LEFT JOIN ledger.journal_entries AS r ON r.id = e.reverses_id
      WHERE e.book = $1 AND e.id > $2 AND e.id <= $3 AND (e.kind = 'reversal' OR e.reverses_id IS NOT NULL)) AS f
WHERE f.problem IS NOT NULL
ORDER BY f.entry_id
