-- Purpose: the reference types that the journal has entries of, for those of them that no table is attached as. A loose scan: one probe of the
--          bills' unique key a type. Inputs: $1 book, $2 source. Touches: journal_entries, read only.
WITH RECURSIVE types AS (
    (SELECT reference_type FROM ledger.journal_entries WHERE book = $1 AND source = $2 ORDER BY reference_type LIMIT 1)
    UNION ALL
    SELECT (SELECT e.reference_type FROM ledger.journal_entries AS e
            WHERE e.book = $1 AND e.source = $2 AND e.reference_type > t.reference_type ORDER BY e.reference_type LIMIT 1)
    FROM types AS t
    WHERE t.reference_type IS NOT NULL
)
SELECT reference_type FROM types WHERE reference_type IS NOT NULL
