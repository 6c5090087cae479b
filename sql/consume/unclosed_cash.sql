-- Purpose: the days of cash that should be closed by now and are not, one row a site. Only sites that close their cash, which had a day
--          opened once; of those that are no source's, every source tells. Days that were opened; and of the last seven, also those that
--          nobody opened although something was taken.
-- Inputs: $1 book, $2 source, $3 the time of day by which a day is to be closed. Touches: cash_days, sources, books, expected_cash, read only.
WITH due AS (
    SELECT n.local::date - CASE WHEN n.local::time >= $3::text::time THEN 0 ELSE 1 END AS last_day
    FROM (SELECT timezone(b.time_zone, clock_timestamp()) AS local FROM ledger.books AS b WHERE b.book = $1) AS n
), opened AS (
    SELECT d.site, d.day
    FROM ledger.cash_days AS d
    WHERE d.book = $1
      AND (d.site = $2 OR NOT EXISTS (SELECT FROM ledger.sources AS s WHERE s.book = $1 AND s.source = d.site))
), unclosed AS (
    SELECT o.site, o.day FROM opened AS o
    UNION
    SELECT s.site, r.day
    FROM (SELECT o.site, min(o.day) AS first_day FROM opened AS o GROUP BY o.site) AS s
    CROSS JOIN due
    CROSS JOIN LATERAL (SELECT due.last_day - n AS day FROM generate_series(0, 6) AS n) AS r
    WHERE r.day > s.first_day
      AND NOT EXISTS (SELECT FROM opened AS o WHERE o.site = s.site AND o.day = r.day)
      AND EXISTS (SELECT FROM ledger.expected_cash($1, s.site, r.day))
)
SELECT u.site, array_agg(u.day::text ORDER BY u.day) AS days
FROM unclosed AS u CROSS JOIN due
WHERE u.day <= due.last_day
  AND NOT EXISTS (SELECT FROM ledger.closed_cash_days AS c WHERE (c.book, c.site, c.day) = ($1, u.site, u.day))
GROUP BY u.site
ORDER BY u.site
