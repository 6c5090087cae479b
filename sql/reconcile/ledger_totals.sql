-- Purpose: what the journal says of a table's bills, by site, day of the bill and account: bills and balance. A settlement is dated by the
--          day of the change, and counts on the day of its bill, which its last original or correction has; a reversal takes back what it
--          reverses on the same day.
--          The entries are made out before their lines are joined, which are several to each: OFFSET 0 keeps that order.
-- Inputs: $1 book, $2 source, $3 reference type, $4 bills to leave out. Touches: the journal, read only; all entries of the table.
WITH settlements AS (
    SELECT id, reference_id FROM ledger.journal_entries
    WHERE book = $1 AND source = $2 AND reference_type = $3 AND kind = 'settlement'
), bases AS (
    SELECT e.reference_id, (array_agg(e.effective_date ORDER BY e.id DESC))[1] AS day
    FROM ledger.journal_entries AS e
    JOIN (SELECT DISTINCT reference_id FROM settlements) AS s ON s.reference_id = e.reference_id
    WHERE e.book = $1 AND e.source = $2 AND e.reference_type = $3 AND e.kind IN ('original', 'correction')
    GROUP BY e.reference_id
), entries AS (
    SELECT e.id, CASE WHEN e.kind = 'settlement' OR s.id IS NOT NULL THEN b.day ELSE e.effective_date END AS day,
           CASE WHEN e.kind = 'settlement' OR s.id IS NOT NULL THEN 0 WHEN e.kind = 'reversal' THEN -1 ELSE 1 END AS bills
    FROM ledger.journal_entries AS e
    LEFT JOIN settlements AS s ON s.id = e.reverses_id
    LEFT JOIN bases AS b ON b.reference_id = e.reference_id
    LEFT JOIN unnest($4::text[]) AS x (id) ON x.id = e.reference_id
    WHERE e.book = $1 AND e.source = $2 AND e.reference_type = $3 AND x.id IS NULL
    OFFSET 0
)
SELECT l.site, e.day::text AS day, l.account_code, coalesce(sum(e.bills) FILTER (WHERE l.line_no = 1), 0)::bigint AS bills,
       (sum(l.debit) - sum(l.credit))::text AS balance
FROM entries AS e
JOIN ledger.journal_lines AS l ON l.entry_id = e.id
GROUP BY l.site, e.day, l.account_code
