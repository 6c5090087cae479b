-- Purpose: periods whose state is not the one that was logged last. Those from before the log are left alone.
-- Inputs: $1 book. Touches: periods, period_log, read only.
SELECT 'period', NULL::bigint, NULL::text, NULL::text, NULL::text,
       'the period from ' || l.first_day || ' on was last logged as ' || l.state || ', and is ' || coalesce(p.state, 'open')
FROM (SELECT DISTINCT ON (o.first_day) o.book, o.first_day, o.state FROM ledger.period_log AS o
      WHERE o.book = $1 ORDER BY o.first_day, o.id DESC) AS l
LEFT JOIN ledger.periods AS p ON p.book = l.book AND p.first_day = l.first_day
WHERE l.state <> coalesce(p.state, 'open')
ORDER BY l.first_day
