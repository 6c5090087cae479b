-- Purpose: what the journal says of bills, by reference type, site, day of the bill and account: bills and balance. A settlement is dated by
--          the day of the change, and counts on the day of its bill, which its last original or correction has; a reversal takes back what
--          it reverses on the same day.
--          For all tables at once, since it reads every line; entries and lines side by side in the order of the entries' ids.
-- Inputs: $1 book, $2 source, $3 reference types; $4 types and $5 ids of bills to leave out. Touches: the journal, read only; all of it.
WITH settlements AS (
    SELECT id, reference_type, reference_id
    FROM ledger.journal_entries
    WHERE kind = 'settlement' AND book = $1 AND source = $2 AND reference_type = ANY ($3::text[])
), moved AS (
    SELECT m.id,
           (SELECT (array_agg(effective_date ORDER BY id DESC))[1]
            FROM ledger.journal_entries
            WHERE book = $1 AND source = $2 AND reference_type = m.reference_type AND reference_id = m.reference_id
              AND kind IN ('original', 'correction')) AS day
    FROM (SELECT id, reference_type, reference_id FROM settlements
          UNION ALL
          SELECT r.id, s.reference_type, s.reference_id
          FROM settlements AS s
          JOIN ledger.journal_entries AS r ON r.reverses_id = s.id) AS m
), entries AS (
    SELECT e.id, e.reference_type, CASE WHEN m.id IS NULL THEN e.effective_date ELSE m.day END AS day,
           CASE WHEN m.id IS NOT NULL THEN 0 WHEN e.kind = 'reversal' THEN -1 ELSE 1 END AS bills
    FROM ledger.journal_entries AS e
    LEFT JOIN moved AS m ON m.id = e.id
    WHERE e.book = $1 AND e.source = $2 AND e.reference_type = ANY ($3::text[])
      AND (e.reference_type, e.reference_id) NOT IN (SELECT x.type, x.id FROM unnest($4::text[], $5::text[]) AS x (type, id))
)
SELECT e.reference_type, l.site, e.day::text AS day, l.account_code,
       coalesce(sum(e.bills) FILTER (WHERE l.line_no = 1), 0)::bigint AS bills, (sum(l.debit) - sum(l.credit))::text AS balance
FROM entries AS e
JOIN ledger.journal_lines AS l ON l.entry_id = e.id
GROUP BY e.reference_type, l.site, e.day, l.account_code
