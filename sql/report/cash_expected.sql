-- Purpose: the same of a day that is not closed yet, with what the journal expects by now. The last row is the total. Not for who counts.
-- Inputs: $1 book, $2 site, $3 day, $4 spell, $5 decimals of the currency.
-- Touches: expected_cash, last_cash_counts, cash_closures, accounts, read only. Amounts are texts; what was not counted is null.
SELECT t.account_code, t.account_name, t.counted_as, round(t.expected, $5)::text AS expected,
       round(t.opening_float, $5)::text AS opening_float, round(t.counted, $5)::text AS counted,
       round(t.difference, $5)::text AS difference
FROM (
    SELECT a.account_code, a.account_name, a.counted_as, sum(coalesce(e.expected, 0)) AS expected, sum(f.opening_float) AS opening_float,
           sum(n.counted) AS counted, sum(n.counted - f.opening_float - coalesce(e.expected, 0)) AS difference,
           grouping(a.account_code) = 1 AS is_total
    FROM ledger.cash_closures AS c
    JOIN ledger.accounts AS a ON a.book = c.book
    CROSS JOIN LATERAL (SELECT CASE WHEN a.account_code = c.drawer_account THEN c.opening_float ELSE 0 END AS opening_float) AS f
    LEFT JOIN ledger.expected_cash($1, $2, $3) AS e ON e.account_code = a.account_code
    LEFT JOIN ledger.last_cash_counts AS n
         ON (n.book, n.site, n.day, n.spell, n.account_code) = (c.book, c.site, c.day, c.spell, a.account_code)
    WHERE (c.book, c.site, c.day, c.spell) = ($1, $2, $3, $4)
      AND (e.account_code IS NOT NULL OR n.account_code IS NOT NULL OR f.opening_float > 0)
    GROUP BY GROUPING SETS ((a.account_code, a.account_name, a.counted_as), ())
) AS t
ORDER BY t.is_total, t.account_code COLLATE "C"
