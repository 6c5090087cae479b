-- Purpose: what the journal says of a table's bills, by site, day of the bill and account: bills and balance. A settlement is dated by the
--          day of the change, and counts on the day of its bill; a reversal takes back what it reverses, day by day.
-- Inputs: $1 book, $2 source, $3 reference type, $4 bills to leave out. Touches: the journal, read only; all entries of the table.
WITH bases AS ( -- the days of bills that were settled in another way later
    SELECT s.reference_id, b.effective_date
    FROM (SELECT DISTINCT reference_id FROM ledger.journal_entries
          WHERE book = $1 AND source = $2 AND reference_type = $3 AND kind = 'settlement') AS s
    JOIN ledger.journal_entries AS b
      ON b.book = $1 AND b.source = $2 AND b.reference_type = $3 AND b.reference_id = s.reference_id AND b.kind IN ('original', 'correction')
    WHERE NOT EXISTS (SELECT FROM ledger.journal_entries AS r WHERE r.reverses_id = b.id)
), entries AS (
    SELECT e.id, CASE WHEN coalesce(r.kind, e.kind) = 'settlement' THEN b.effective_date ELSE e.effective_date END AS day,
           CASE WHEN coalesce(r.kind, e.kind) = 'settlement' THEN 0 WHEN e.kind = 'reversal' THEN -1 ELSE 1 END AS bills
    FROM ledger.journal_entries AS e
    LEFT JOIN ledger.journal_entries AS r ON r.id = e.reverses_id AND e.kind = 'reversal'
    LEFT JOIN bases AS b ON b.reference_id = e.reference_id AND coalesce(r.kind, e.kind) = 'settlement'
    WHERE e.book = $1 AND e.source = $2 AND e.reference_type = $3
      AND NOT EXISTS (SELECT FROM unnest($4::text[]) AS x (id) WHERE x.id = e.reference_id)
)
SELECT l.site, e.day::text AS day, l.account_code, coalesce(sum(e.bills) FILTER (WHERE l.line_no = 1), 0)::bigint AS bills,
       sum(l.debit - l.credit)::text AS balance
FROM entries AS e
JOIN ledger.journal_lines AS l ON l.entry_id = e.id
GROUP BY l.site, e.day, l.account_code
