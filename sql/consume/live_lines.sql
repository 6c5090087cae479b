-- Purpose: the lines of live entries, oldest entry first. Inputs: $1 entry ids. Touches: the journal, read only.
-- A statement of its own, after the lock: in the locking statement they would be read as of before the wait.
SELECT e.id, e.effective_date, l.account_code, l.debit - l.credit AS amount, l.is_settlement, l.site, l.department, l.party
FROM ledger.journal_entries AS e
JOIN ledger.journal_lines AS l ON l.entry_id = e.id
WHERE e.id = ANY ($1)
ORDER BY e.id, l.line_no
