-- Purpose: what a bill amounts to now, per account: debit - credit of all its entries, zeros left out.
-- Inputs: $1 book, $2 source, $3 reference type, $4 reference id. Touches: the journal, books, accounts, read only, by key.
SELECT l.account_code, a.account_name, round(sum(l.debit) - sum(l.credit), b.minor_unit)::text AS balance
FROM ledger.journal_entries AS e
JOIN ledger.books AS b ON b.book = e.book
JOIN ledger.journal_lines AS l ON l.entry_id = e.id
LEFT JOIN ledger.accounts AS a ON a.book = e.book AND a.account_code = l.account_code
WHERE e.book = $1 AND e.source = $2 AND e.reference_type = $3 AND e.reference_id = $4
GROUP BY l.account_code, a.account_name, b.minor_unit
HAVING sum(l.debit) <> sum(l.credit)
ORDER BY l.account_code COLLATE "C"
