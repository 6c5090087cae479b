-- Purpose: of some bills of a table those that are owed for longer than the clinic allows, the oldest first: the balance of their lines on
--          receivable accounts, and the day of the bill. For the few whose entries are not to be what their rows say; of all others the
--          rows tell what is owed.
-- Inputs: $1 book, $2 source, $3 reference type, $4 bills, $5 first days of the rule, $6 its days, $7 today, $8 most bills.
-- Touches: journal and accounts, read only; the entries of these bills, by the indexes of keys.
WITH owed AS (
    SELECT e.reference_id, min(l.site) AS site, sum(l.debit) - sum(l.credit) AS owed,
           (array_agg(e.effective_date ORDER BY e.kind IN ('original', 'correction') DESC, e.id DESC))[1] AS day
    FROM unnest($4::text[]) AS b (reference_id)
    JOIN ledger.journal_entries AS e
      ON e.book = $1 AND e.source = $2 AND e.reference_type = $3 AND e.reference_id = b.reference_id
    JOIN ledger.journal_lines AS l ON l.entry_id = e.id
    WHERE l.account_code = ANY (ARRAY(SELECT account_code FROM ledger.accounts WHERE book = $1 AND account_role = 'receivable'))
    GROUP BY e.reference_id
    HAVING sum(l.debit) > sum(l.credit)
)
SELECT reference_id, site, day::text AS day, owed::text AS owed
FROM owed
WHERE day < $7::text::date - (SELECT r.days FROM unnest($5::text[]::date[], $6::integer[]) AS r (first_day, days)
                              WHERE r.first_day <= owed.day ORDER BY r.first_day DESC LIMIT 1)
ORDER BY day, reference_id
LIMIT $8
