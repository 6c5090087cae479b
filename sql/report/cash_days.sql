-- Purpose: the days of cash of a book, latest first, each with its last spell. Inputs: $1 book, $2 site or null, $3 first and $4 last day or
--          null, $5 decimals of the currency. Touches: cash_closures, read only. All columns are texts.
SELECT c.site, c.day::text, c.state, c.spell::text, round(c.opening_float, $5)::text, round(c.expected, $5)::text, round(c.counted, $5)::text,
       round(c.difference, $5)::text, to_char(c.closed_at, 'YYYY-MM-DD HH24:MI OF'), c.closed_by
FROM ledger.cash_closures AS c
WHERE c.book = $1 AND ($2::text IS NULL OR c.site = $2) AND ($3::date IS NULL OR c.day >= $3) AND ($4::date IS NULL OR c.day <= $4)
  AND c.state <> 'reopened'
ORDER BY c.day DESC, c.site COLLATE "C"
