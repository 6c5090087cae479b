-- Purpose: the closed periods of a book, who closed them why, and how many entries each moved to a later day. Inputs: $1 book.
-- Touches: periods, period_log, journal_entries, read only.
SELECT p.first_day::text, p.last_day::text, p.state, to_char(l.logged_at, 'YYYY-MM-DD HH24:MI TZ'), l.logged_by,
       concat_ws(' ', CASE WHEN l.forced THEN '(forced)' END, l.reason),
       (SELECT count(*)::text FROM ledger.late_entries AS e
        WHERE e.book = p.book AND e.effective_date BETWEEN p.first_day AND p.last_day AND e.posting_date > p.last_day)
FROM ledger.periods AS p
LEFT JOIN LATERAL (SELECT * FROM ledger.period_log AS l WHERE l.book = p.book AND l.first_day = p.first_day
                   ORDER BY l.id DESC LIMIT 1) AS l ON true
WHERE p.book = $1
ORDER BY p.first_day
