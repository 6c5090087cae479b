-- Purpose: bills that are owed for longer than the clinic allows: the balance of their lines on receivable accounts, and the day of the bill.
-- Inputs: $1 book, $2 source, $3 reference type, $4 first days of the rule, $5 its days, $6 today, $7 most bills.
-- Touches: journal and accounts, read only; all lines of receivable accounts.
SELECT b.reference_id, b.site, b.day::text AS day, b.owed::text AS owed
FROM (SELECT e.reference_id, min(l.site) AS site, sum(l.debit - l.credit) AS owed,
             (array_agg(e.effective_date ORDER BY e.kind IN ('original', 'correction') DESC, e.id DESC))[1] AS day
      FROM ledger.journal_lines AS l
      JOIN ledger.journal_entries AS e ON e.id = l.entry_id
      JOIN ledger.accounts AS a ON a.book = e.book AND a.account_code = l.account_code AND a.account_role = 'receivable'
      WHERE e.book = $1 AND e.source = $2 AND e.reference_type = $3
      GROUP BY e.reference_id
      HAVING sum(l.debit - l.credit) > 0) AS b
CROSS JOIN LATERAL (SELECT r.days FROM unnest($4::text[]::date[], $5::integer[]) AS r (first_day, days)
                    WHERE r.first_day <= b.day ORDER BY r.first_day DESC LIMIT 1) AS r
WHERE b.day < $6::text::date - r.days
ORDER BY b.day, b.reference_id
LIMIT $7
