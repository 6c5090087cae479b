-- Purpose: bills that are owed for longer than the clinic allows: the balance of their lines on receivable accounts, and the day of the bill.
--          For all tables at once, since it reads every line; entries and lines side by side in the order of the entries' ids.
-- Inputs: $1 book, $2 source, $3 reference types, $4 first days of the rule, $5 its days, $6 today, $7 most bills a type.
-- Touches: journal and accounts, read only; all of them.
WITH owed AS (
    SELECT e.reference_type, e.reference_id, min(l.site) AS site, sum(l.debit) - sum(l.credit) AS owed,
           (array_agg(e.effective_date ORDER BY e.kind IN ('original', 'correction') DESC, e.id DESC))[1] AS day
    FROM ledger.journal_entries AS e
    JOIN ledger.journal_lines AS l ON l.entry_id = e.id
    WHERE e.book = $1 AND e.source = $2 AND e.reference_type = ANY ($3::text[])
      AND l.account_code = ANY (ARRAY(SELECT account_code FROM ledger.accounts WHERE book = $1 AND account_role = 'receivable'))
    GROUP BY e.reference_type, e.reference_id
    HAVING sum(l.debit) > sum(l.credit)
), overdue AS (
    SELECT *, row_number() OVER (PARTITION BY reference_type ORDER BY day, reference_id) AS position
    FROM owed
    WHERE owed.day < $6::text::date - (SELECT r.days FROM unnest($4::text[]::date[], $5::integer[]) AS r (first_day, days)
                                  WHERE r.first_day <= owed.day ORDER BY r.first_day DESC LIMIT 1)
)
SELECT reference_type, reference_id, site, day::text AS day, owed::text AS owed
FROM overdue
WHERE position <= $7
ORDER BY reference_type, day, reference_id
