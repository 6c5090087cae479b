-- Purpose: what was counted of each account on a spell of a day of cash, and, once it is closed, what was expected and how they differ. The
--          last row is the total. Inputs: $1 book, $2 site, $3 day, $4 spell, $5 decimals of the currency.
-- Touches: cash_closing_accounts, last_cash_counts, cash_closures, accounts, read only. Amounts are texts; what is not known yet is null.
SELECT t.account_code, t.account_name, t.counted_as, round(t.expected, $5)::text AS expected,
       round(t.opening_float, $5)::text AS opening_float, round(t.counted, $5)::text AS counted,
       round(t.difference, $5)::text AS difference
FROM (
    SELECT r.account_code, a.account_name, a.counted_as, sum(r.expected) AS expected, sum(r.opening_float) AS opening_float,
           sum(r.counted) AS counted, sum(r.difference) AS difference, grouping(r.account_code) = 1 AS is_total
    FROM (
        SELECT account_code, expected, opening_float, counted, difference
        FROM ledger.cash_closing_accounts
        WHERE (book, site, day, spell) = ($1, $2, $3, $4)
        UNION ALL
        SELECT coalesce(n.account_code, c.drawer_account), NULL, CASE WHEN n.account_code = c.drawer_account OR n.account_code IS NULL
                                                                      THEN c.opening_float ELSE 0 END, n.counted, NULL
        FROM ledger.cash_closures AS c
        LEFT JOIN ledger.last_cash_counts AS n ON (n.book, n.site, n.day, n.spell) = (c.book, c.site, c.day, c.spell)
        WHERE (c.book, c.site, c.day, c.spell) = ($1, $2, $3, $4) AND c.state IN ('open', 'counted')
          AND coalesce(n.account_code, c.drawer_account) IS NOT NULL
    ) AS r
    LEFT JOIN ledger.accounts AS a ON a.book = $1 AND a.account_code = r.account_code
    GROUP BY GROUPING SETS ((r.account_code, a.account_name, a.counted_as), ())
) AS t
ORDER BY t.is_total, t.account_code COLLATE "C"
