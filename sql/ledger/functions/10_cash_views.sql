-- Purpose: the days of cash of each site, as their steps make them.

-- Days that are closed now. Nothing is posted there for that site.
CREATE OR REPLACE VIEW ledger.closed_cash_days AS
    SELECT c.book, c.site, c.day, c.spell
    FROM ledger.cash_closings AS c
    WHERE NOT EXISTS (SELECT FROM ledger.cash_reopenings AS r
                      WHERE (r.book, r.site, r.day, r.spell) = (c.book, c.site, c.day, c.spell));

-- Each spell of a day, from opening to reopening. The last spell of a day is the one that counts.
CREATE OR REPLACE VIEW ledger.cash_closures AS
    SELECT d.book, d.site, d.day, d.spell,
           CASE WHEN r.spell IS NOT NULL THEN 'reopened'
                WHEN c.spell IS NOT NULL THEN 'closed'
                WHEN n.count_no IS NOT NULL THEN 'counted'
                ELSE 'open' END AS state,
           d.opening_float, d.drawer_account, d.opened_at, d.opened_by,
           n.count_no AS last_count_no, n.counted_at, n.counted_by,
           s.expected, s.counted, s.difference,
           c.closed_at, c.closed_by, c.forced, c.note, c.entry_id,
           r.reopened_at, r.reopened_by, r.reason, r.entry_id AS reversal_id
    FROM ledger.cash_days AS d
    LEFT JOIN LATERAL (SELECT * FROM ledger.cash_counts AS n
                       WHERE (n.book, n.site, n.day, n.spell) = (d.book, d.site, d.day, d.spell)
                       ORDER BY n.count_no DESC LIMIT 1) AS n ON true
    LEFT JOIN ledger.cash_closings AS c ON (c.book, c.site, c.day, c.spell) = (d.book, d.site, d.day, d.spell)
    LEFT JOIN LATERAL (SELECT sum(a.expected) AS expected, sum(a.counted) AS counted, sum(a.difference) AS difference
                       FROM ledger.cash_closing_accounts AS a
                       WHERE (a.book, a.site, a.day, a.spell) = (c.book, c.site, c.day, c.spell)) AS s ON c.spell IS NOT NULL
    LEFT JOIN ledger.cash_reopenings AS r ON (r.book, r.site, r.day, r.spell) = (d.book, d.site, d.day, d.spell);

-- Of each account the count that counts: the last that names it.
CREATE OR REPLACE VIEW ledger.last_cash_counts AS
    SELECT DISTINCT ON (book, site, day, spell, account_code) book, site, day, spell, account_code, count_no, counted, note, counted_at, counted_by
    FROM ledger.cash_counts
    ORDER BY book, site, day, spell, account_code, count_no DESC;

-- Bills that came after the day of cash that they belong to was closed, and stand on a later one: by their own date, or, where they
-- changed afterwards, by the day of the change. amount is what they move on the accounts that are counted.
CREATE OR REPLACE VIEW ledger.late_cash_entries AS
    SELECT e.book, s.site, w.day, e.id AS entry_id, e.source, e.reference_type, e.reference_id, e.kind, e.effective_date, e.posting_date,
           s.amount, e.total, e.posted_at
    FROM ledger.journal_entries AS e
    JOIN ledger.books AS b ON b.book = e.book
    CROSS JOIN LATERAL (SELECT CASE WHEN e.kind = 'original' THEN e.effective_date
                                    ELSE greatest(e.effective_date, timezone(b.time_zone, e.changed_at)::date) END AS day) AS w
    CROSS JOIN LATERAL (SELECT l.site, coalesce(sum(l.debit - l.credit) FILTER (WHERE a.counted_as IS NOT NULL), 0) AS amount
                        FROM ledger.journal_lines AS l
                        LEFT JOIN ledger.accounts AS a ON a.book = e.book AND a.account_code = l.account_code
                        WHERE l.entry_id = e.id AND l.site IS NOT NULL
                        GROUP BY l.site) AS s
    WHERE e.late AND e.reference_type <> 'CASH_CLOSURE'
      AND EXISTS (SELECT FROM ledger.cash_closings AS c
                  WHERE (c.book, c.site, c.day) = (e.book, s.site, w.day) AND c.closed_at < e.posted_at);
