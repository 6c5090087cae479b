-- Purpose: of these days of sites, those on which their cash is closed, with the last closed day in a row from there on.
-- Inputs: $1 book, $2 sites, $3 days, pairwise. Touches: closed_cash_days, read only, by key.
SELECT w.site, w.day, r.last_day
FROM unnest($2::text[], $3::date[]) AS w (site, day)
JOIN ledger.closed_cash_days AS c ON c.book = $1 AND c.site = w.site AND c.day = w.day
CROSS JOIN LATERAL (SELECT l.day AS last_day
                    FROM ledger.closed_cash_days AS l
                    WHERE l.book = $1 AND l.site = w.site AND l.day >= w.day
                      AND NOT EXISTS (SELECT FROM ledger.closed_cash_days AS n
                                      WHERE n.book = $1 AND n.site = w.site AND n.day = l.day + 1)
                    ORDER BY l.day LIMIT 1) AS r
