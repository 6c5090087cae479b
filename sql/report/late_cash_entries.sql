-- Purpose: the bills of a day of cash that came after it was closed, and where they stand. Inputs: $1 book, $2 site, $3 day, $4 decimals
--          of the currency. Touches: late_cash_entries, read only.
SELECT e.source, e.reference_type, e.reference_id, e.entry_id, e.kind, e.effective_date, e.posting_date, round(e.amount, $4)::text AS amount
FROM ledger.late_cash_entries AS e
WHERE e.book = $1 AND e.site = $2 AND e.day = $3
ORDER BY e.posting_date, e.entry_id
