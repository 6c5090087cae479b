-- Purpose: a spell of a site's day of cash. Inputs: $1 book, $2 site, $3 day, $4 spell or null for the last, $5 decimals of the currency.
-- Touches: cash_closures, read only. Amounts and times are texts, times in the session's zone.
SELECT c.spell, c.state, round(c.opening_float, $5)::text AS opening_float, c.drawer_account,
       to_char(c.opened_at, 'YYYY-MM-DD HH24:MI OF') AS opened_at, c.opened_by,
       to_char(c.closed_at, 'YYYY-MM-DD HH24:MI OF') AS closed_at, c.closed_by, c.forced, c.note, c.entry_id,
       to_char(c.reopened_at, 'YYYY-MM-DD HH24:MI OF') AS reopened_at, c.reopened_by, c.reason, c.reversal_id,
       to_char(clock_timestamp(), 'YYYY-MM-DD HH24:MI OF') AS told_at
FROM ledger.cash_closures AS c
WHERE c.book = $1 AND c.site = $2 AND c.day = $3 AND ($4::integer IS NULL OR c.spell = $4)
ORDER BY c.spell DESC
LIMIT 1
