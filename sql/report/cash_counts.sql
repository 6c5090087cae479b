-- Purpose: each count of a spell of a day of cash, in order. Inputs: $1 book, $2 site, $3 day, $4 spell, $5 decimals of the currency.
-- Touches: cash_counts, accounts, read only. Amounts and times are texts, times in the session's zone.
SELECT n.count_no, n.account_code, a.counted_as, round(n.counted, $5)::text AS counted, n.note,
       to_char(n.counted_at, 'YYYY-MM-DD HH24:MI OF') AS counted_at, n.counted_by
FROM ledger.cash_counts AS n
LEFT JOIN ledger.accounts AS a ON a.book = n.book AND a.account_code = n.account_code
WHERE (n.book, n.site, n.day, n.spell) = ($1, $2, $3, $4)
ORDER BY n.count_no, n.account_code COLLATE "C"
