-- Purpose: bills that are owed for longer than the clinic allows: the balance of their lines on receivable accounts, and the day of the bill.
--          Those lines are few, and picked out first.
-- Inputs: $1 book, $2 source, $3 reference type, $4 first days of the rule, $5 its days, $6 today, $7 most bills.
-- Touches: journal and accounts, read only; all lines of receivable accounts.
WITH owed AS MATERIALIZED (
    SELECT entry_id, site, debit - credit AS owed
    FROM ledger.journal_lines
    WHERE account_code IN (SELECT account_code FROM ledger.accounts WHERE book = $1 AND account_role = 'receivable')
)
SELECT b.reference_id, b.site, b.day::text AS day, b.owed::text AS owed
FROM (SELECT e.reference_id, min(l.site) AS site, sum(l.owed) AS owed,
             (array_agg(e.effective_date ORDER BY e.kind IN ('original', 'correction') DESC, e.id DESC))[1] AS day
      FROM owed AS l
      JOIN ledger.journal_entries AS e ON e.id = l.entry_id
      WHERE e.book = $1 AND e.source = $2 AND e.reference_type = $3
      GROUP BY e.reference_id
      HAVING sum(l.owed) > 0) AS b
CROSS JOIN LATERAL (SELECT r.days FROM unnest($4::text[]::date[], $5::integer[]) AS r (first_day, days)
                    WHERE r.first_day <= b.day ORDER BY r.first_day DESC LIMIT 1) AS r
WHERE b.day < $6::text::date - r.days
ORDER BY b.day, b.reference_id
LIMIT $7
