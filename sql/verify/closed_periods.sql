-- Purpose: entries of a range that were posted into a period when it was closed: the last word of the log before them says so.
-- Inputs: $1 book, $2 after which id, $3 up to which. Touches: journal_entries, period_log, read only.
SELECT 'period', e.id, e.source, e.reference_type, e.reference_id, 'it was posted into a period that was closed before'
FROM ledger.journal_entries AS e
CROSS JOIN LATERAL (SELECT l.state FROM ledger.period_log AS l
                    WHERE l.book = e.book AND e.posting_date BETWEEN l.first_day AND l.last_day AND l.logged_at < e.posted_at
                    ORDER BY l.logged_at DESC, l.id DESC LIMIT 1) AS p
WHERE e.book = $1 AND e.id > $2 AND e.id <= $3 AND p.state <> 'open'
ORDER BY e.id
