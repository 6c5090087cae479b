-- Purpose: of some bills of a table those that are owed for longer than the clinic allows, the oldest first: the balance of their lines on
--          receivable accounts, and the day of the bill.
-- Inputs: $1 book, $2 source, $3 reference type, $4 bills, $5 first days of the rule, $6 its days, $7 today, $8 most bills.
-- Touches: journal and accounts, read only; the entries of these bills, a probe of the key a bill.
WITH owed AS (
    SELECT b.reference_id, min(l.site) AS site, sum(l.debit) - sum(l.credit) AS owed,
           (array_agg(e.effective_date ORDER BY e.kind IN ('original', 'correction') DESC, e.id DESC))[1] AS day
    FROM unnest($4::text[]) AS b (reference_id)
    CROSS JOIN LATERAL (
        SELECT id, kind, effective_date
        FROM ledger.journal_entries
        WHERE book = $1 AND source = $2 AND reference_type = $3 AND reference_id = b.reference_id
        OFFSET 0) AS e
    CROSS JOIN LATERAL (SELECT site, account_code, debit, credit FROM ledger.journal_lines WHERE entry_id = e.id OFFSET 0) AS l
    WHERE l.account_code = ANY (ARRAY(SELECT account_code FROM ledger.accounts WHERE book = $1 AND account_role = 'receivable'))
    GROUP BY b.reference_id
    HAVING sum(l.debit) > sum(l.credit)
)
SELECT reference_id, site, day::text AS day, owed::text AS owed
FROM owed
WHERE day < $7::text::date - (SELECT r.days FROM unnest($5::text[]::date[], $6::integer[]) AS r (first_day, days)
                              WHERE r.first_day <= owed.day ORDER BY r.first_day DESC LIMIT 1)
ORDER BY day, reference_id
LIMIT $8
