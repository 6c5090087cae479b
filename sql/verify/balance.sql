-- Purpose: entries of a range that are not balanced, not whole, or not in their book's currency; lines without entry.
-- Inputs: $1 book, $2 after which id, $3 up to which. Touches: the journal and books, read only.
WITH l AS (
    SELECT entry_id, count(*) AS lines, min(line_no) AS lowest, max(line_no) AS highest, sum(debit) AS debit, sum(credit) AS credit,
           min(currency) AS currency, max(currency) AS other_currency, max(scale(trim_scale(greatest(debit, credit)))) AS decimals,
           count(*) FILTER (WHERE ((debit = 0) <> (credit = 0) AND debit >= 0 AND credit >= 0) IS NOT TRUE) AS odd_lines
    FROM ledger.journal_lines
    WHERE entry_id > $2 AND entry_id <= $3
    GROUP BY entry_id
),
e AS (
    SELECT * FROM ledger.journal_entries WHERE id > $2 AND id <= $3
)
SELECT f.kind, f.entry_id, f.source, f.reference_type, f.reference_id, f.problem
FROM (SELECT CASE WHEN e.id IS NULL THEN 'orphan_line' ELSE 'unbalanced' END AS kind, coalesce(e.id, l.entry_id) AS entry_id, e.source,
             e.reference_type, e.reference_id,
             CASE WHEN e.id IS NULL THEN 'there are lines, and no entry that they belong to'
                  WHEN l.entry_id IS NULL THEN 'it has no lines'
                  WHEN (l.lines = e.line_count AND l.lowest = 1 AND l.highest = e.line_count) IS NOT TRUE
                      THEN 'its lines are not those that it counts'
                  WHEN (l.debit = l.credit) IS NOT TRUE THEN 'its debits and credits differ'
                  WHEN (l.debit = e.total) IS NOT TRUE THEN 'its total is not that of its lines'
                  WHEN l.odd_lines > 0 THEN 'a line has not exactly one positive side'
                  WHEN (l.currency = b.currency AND l.other_currency = b.currency AND l.decimals <= b.minor_unit) IS NOT TRUE
                      THEN 'it is not in the currency of its book, or has more decimals' END AS problem
      FROM e
      FULL JOIN l ON l.entry_id = e.id
      LEFT JOIN ledger.books AS b ON b.book = e.book
      WHERE e.book = $1 OR e.id IS NULL) AS f
WHERE f.problem IS NOT NULL
ORDER BY f.entry_id
